"""The window lengths that instances need: other lengths cost time, and give false positives."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.segments.labels import BEST_POSITIVE_TIOU, POSITIVE_TIOU
from scnn_tf.segments.windows import STRIDES_PER_WINDOW, WINDOW_FRAMES


def grid_tious(
    spans: np.ndarray,
    num_frames: np.ndarray,
    window_frames: Sequence[int] = WINDOW_FRAMES,
    margin: float = 0.0,
) -> np.ndarray:
    """Returns the largest tIoU of each instance with the windows of each length in its video.

    Args:
        spans: float [N, 2], start and end, in frames.
        num_frames: float [N], length of the instance's video; infinite if unknown.
        window_frames: W lengths of the windows.
        margin: What counts as window on either side, in window lengths (`labels.label_segments`).

    Returns:
        float64 [N, W]; 0 where no window of that length fits into the video. The only window of a
        video shorter than all lengths counts for the shortest one.
    """
    start, end = np.reshape(spans, (-1, 2)).T

    def tiou(begin: np.ndarray, length: np.ndarray | int) -> np.ndarray:
        first, last = begin - margin * length, begin + (1 + margin) * length
        inside = np.minimum(end, last) - np.maximum(start, first)
        around = np.maximum(end, last) - np.minimum(start, first)
        return np.maximum(inside, 0) / around

    columns = []
    for length in window_frames:
        best = np.zeros(len(start))
        stride = length // STRIDES_PER_WINDOW
        last = np.floor((num_frames - length) / stride)
        # Between the first and the last start at which one interval contains the other, tIoU is
        # constant, and it falls outside: the largest is at the steps around these two starts.
        for edge in (start + margin * length, end - (1 + margin) * length):
            for step in (np.floor(edge / stride), np.ceil(edge / stride)):
                begin = np.clip(step, 0, np.maximum(last, 0)) * stride
                best = np.where(last >= 0, np.maximum(best, tiou(begin, length)), best)
        if length == min(window_frames):
            short = num_frames < length
            whole = tiou(np.zeros(len(start)), np.where(short, num_frames, 1))
            best = np.where(short, whole, best)
        columns.append(best)
    return np.stack(columns, axis=1)


class Scales(NamedTuple):
    """How instances and window lengths fit each other.

    Attributes:
        needed: Lengths that are the best for at least one instance within reach, ascending: with
            these, the same instances are within reach as with all.
        best_for: Length → number of instances within reach for which it is the best.
        short: Number of instances out of reach that are shorter than the shortest window.
        long: Number of instances out of reach that are longer than the longest window.
        other: Number of other instances out of reach, such as one at the end of its video.
    """

    needed: tuple[int, ...]
    best_for: dict[int, int]
    short: int
    long: int
    other: int

    def __str__(self) -> str:
        counts = ", ".join(f"{length} ({count})" for length, count in self.best_for.items())
        missed = {
            "shorter than the shortest window": self.short,
            "longer than the longest": self.long,
            "badly placed in their video": self.other,
        }
        out_of_reach = ", ".join(f"{count} {why}" for why, count in missed.items() if count)
        return f"window lengths, and the instances that each fits best: {counts}" + (
            f"; out of reach of all: {out_of_reach}" if out_of_reach else ""
        )


def needed_scales(
    spans: np.ndarray,
    num_frames: np.ndarray,
    window_frames: Sequence[int] = WINDOW_FRAMES,
    positive_tiou: float = POSITIVE_TIOU,
    margin: float = 0.0,
) -> Scales:
    """Returns which of some window lengths the instances need.

    An instance is within reach if one of its windows is positive in training
    (`labels.label_segments`): if its largest tIoU with a window is above `positive_tiou`, or above
    `BEST_POSITIVE_TIOU`. Of two lengths with the same tIoU the shorter one is the best.

    Args:
        spans: float [N, 2], start and end, in frames.
        num_frames: float [N], length of the instance's video; infinite if unknown.
        window_frames: Lengths to choose from.
        positive_tiou: A segment with a higher tIoU is positive.
        margin: What counts as window on either side, in window lengths.
    """
    lengths = sorted(window_frames)
    tious = grid_tious(spans, num_frames, lengths, margin)
    reached = tious.max(axis=1) > min(positive_tiou, BEST_POSITIVE_TIOU)
    counts = np.bincount(tious[reached].argmax(axis=1), minlength=len(lengths))
    best_for = dict(zip(lengths, counts.tolist(), strict=True))
    durations = np.diff(np.reshape(spans, (-1, 2)), axis=1)[~reached, 0]
    short, long = int((durations < lengths[0]).sum()), int((durations > lengths[-1]).sum())
    return Scales(
        needed=tuple(length for length, count in best_for.items() if count),
        best_for=best_for,
        short=short,
        long=long,
        other=len(durations) - short - long,
    )
