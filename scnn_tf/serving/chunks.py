"""Cuts a video into overlapping chunks, one a request, and joins the rows of its chunks."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from scnn_tf.localization.tables import RawSegments
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.windows import STRIDES_PER_WINDOW

_T = TypeVar("_T")


def cut(
    frames: Iterable[_T], window_frames: Sequence[int], new_frames: int
) -> Iterator[tuple[int, int, list[_T]]]:
    """Cuts a video into overlapping chunks such that a chunk holds every window whole.

    Chunks begin on the grid of every window length, so that the windows of a chunk are
    windows of the video. Each chunk repeats the last frames of the one before: the frames of a
    window that ends in the first new frame. Windows that end within the repeated frames are known
    already.

    Args:
        frames: The frames of one video, in order, of any type.
        window_frames: Lengths of the windows, in frames.
        new_frames: Distance between the starts of two chunks, in frames; rounded down to the
            grid.

    Yields:
        (offset, scored, chunk): the index of the chunk's first frame in the video, how many of
        its frames the chunk before had, and the frames.
    """
    # A window of length L starts at a multiple of its stride s = L // 4.
    grid = math.lcm(*(length // STRIDES_PER_WINDOW for length in window_frames))
    step = max(new_frames // grid, 1) * grid
    # A window that ends after `scored` starts after scored − L, thus at scored − L + 1 or later;
    # being a multiple of s, its start is not before the chunk (≥ 0) if scored − L + 1 > −s. And
    # a chunk must not be shorter than all windows, or it would pass for a short video.
    longest = max(window_frames)
    overlap = max(longest - longest // STRIDES_PER_WINDOW, min(window_frames) - 1)
    chunk: list[_T] = []
    offset = scored = 0
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == step + overlap:
            yield offset, scored, chunk
            chunk = chunk[step:]
            offset, scored = offset + step, overlap
    if len(chunk) > scored:
        yield offset, scored, chunk


def join(
    answers: Sequence[dict[str, np.ndarray]],
    class_names: Sequence[str],
    frame_rate: float,
    video_id: str,
) -> RawSegments:
    """Joins the rows of a video's chunks, in the order in which local networks give them.

    Args:
        answers: Of each chunk, "start_frame" (int `[S]`, counted from the start of the video),
            "window_frames" (int `[S]`) and "class_scores" (float `[S, K + 1]`).
        class_names: Names of the K classes.
        frame_rate: In frames a second.
        video_id: The video's id in the rows.
    """
    start, length, scores = (
        np.concatenate([answer[column] for answer in answers])
        for column in ("start_frame", "window_frames", "class_scores")
    )
    order = np.lexsort((start, length))
    start, length, scores = start[order], length[order], scores[order]
    names = np.array([BACKGROUND, *class_names])
    return RawSegments(
        video=[video_id] * len(start),
        window_frames=length,
        start=start / frame_rate,
        end=(start + length) / frame_rate,
        label=names[scores.argmax(axis=1)],
        score=scores.max(axis=1),
    )
