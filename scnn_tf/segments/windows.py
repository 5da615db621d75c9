"""Segments: multi-scale windows and their 16 sampled frames (section 3.1).

Inside the package time is counted in frames at the data set's rate: a segment is the half-open
interval `[start, start + length)` of 0-based frame indices. Instances keep fractions of a
frame.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

WINDOW_FRAMES = (16, 32, 64, 128, 256, 512)  # lengths of the windows, in frames
SAMPLED_FRAMES = 16  # frames that a network sees of one segment, whatever its length
STRIDES_PER_WINDOW = 4  # 75 % overlap: a window starts every quarter of its length
_T = TypeVar("_T")


class Segment(NamedTuple):
    """A candidate window: `[start, start + length)`, in frames."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """First frame after the segment."""
        return self.start + self.length


def sliding_windows(num_frames: int, window_frames: Sequence[int] = WINDOW_FRAMES) -> list[Segment]:
    """All windows of a video, shortest length first, then by start.

    A window that would pass the end of the video is dropped; a video shorter than the shortest
    window gives one segment, which is all of it.
    """
    if 0 < num_frames < min(window_frames):
        return [Segment(0, num_frames)]
    return [
        Segment(start, length)
        for length in sorted(window_frames)
        for start in range(0, num_frames - length + 1, length // STRIDES_PER_WINDOW)
    ]


def sampled_indices(segment: Segment) -> np.ndarray:
    """The frames that stand for a segment: start + k·length/16, k = 0…15.

    Returns:
        int64 `[16]`, frame indices; a frame repeats where the segment is shorter than 16.
    """
    return segment.start + np.arange(SAMPLED_FRAMES) * segment.length // SAMPLED_FRAMES


def stream_segments(
    frames: Iterable[_T],
    window_frames: Sequence[int] = WINDOW_FRAMES,
    wanted: Callable[[Segment], bool] = lambda segment: True,
) -> Iterator[tuple[Segment, list[_T]]]:
    """Cuts a stream of frames into its windows, each as soon as its last frame is there.

    Only as many frames as the longest window are held, so a video may be of any length.

    Args:
        frames: the frames of one video, in order, of any type.
        window_frames: lengths of the windows, in frames.
        wanted: windows for which this is False are passed over.

    Yields:
        (segment, its 16 frames), ordered by the segment's end, then by its length. Together
        they are the `sliding_windows` of the video.
    """
    lengths = sorted(window_frames)
    held: dict[int, _T] = {}
    count = 0
    for frame in frames:
        held[count] = frame
        count += 1
        for length in lengths:
            start = count - length
            if start >= 0 and start % (length // STRIDES_PER_WINDOW) == 0:
                segment = Segment(start, length)
                if wanted(segment):
                    yield segment, [held[index] for index in sampled_indices(segment)]
        held.pop(count - lengths[-1], None)
    if 0 < count < lengths[0] and wanted(whole := Segment(0, count)):
        yield whole, [held[index] for index in sampled_indices(whole)]
