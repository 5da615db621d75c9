"""Segments: candidate windows of several lengths, and their 16 sampled frames (section 3.1).

Time is in frames at the dataset's frame rate. A segment is the half-open interval
`[start, start + length)` of 0-based frame indices.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

WINDOW_FRAMES = (16, 32, 64, 128, 256, 512)
"""Lengths of the windows, in frames."""
SAMPLED_FRAMES = 16
"""Number of frames that a network receives of a segment of any length."""
STRIDES_PER_WINDOW = 4
"""A window starts every quarter of its length, so that consecutive windows overlap by 75 %."""
_T = TypeVar("_T")


class Segment(NamedTuple):
    """A candidate window `[start, start + length)`, in frames.

    Example:
        >>> scnn_tf.Segment(start=8, length=32).end
        40
    """

    start: int
    length: int

    @property
    def end(self) -> int:
        """Index of the first frame after the segment."""
        return self.start + self.length


def sliding_windows(num_frames: int, window_frames: Sequence[int] = WINDOW_FRAMES) -> list[Segment]:
    """Returns all windows of a video, by length, then by start.

    Windows end within the video. A video shorter than the shortest window has one segment, which
    is the whole video.

    Args:
        num_frames: Length of the video, in frames.
        window_frames: Lengths of the windows, in frames.
    """
    if 0 < num_frames < min(window_frames):
        return [Segment(0, num_frames)]
    return [
        Segment(start, length)
        for length in sorted(window_frames)
        for start in range(0, num_frames - length + 1, length // STRIDES_PER_WINDOW)
    ]


def sampled_indices(segment: Segment) -> np.ndarray:
    """Returns the indices of a segment's sampled frames: start + k·length/16, k = 0…15.

    Returns:
        int64 [16]; a frame repeats if the segment is shorter than 16 frames.
    """
    return segment.start + np.arange(SAMPLED_FRAMES) * segment.length // SAMPLED_FRAMES


def stream_segments(
    frames: Iterable[_T],
    window_frames: Sequence[int] = WINDOW_FRAMES,
) -> Iterator[tuple[Segment, list[_T]]]:
    """Yields the windows of a stream of frames, each as soon as its last frame has arrived.

    Memory holds only the frames of the longest window, so that a video can have any length.

    Args:
        frames: Frames of one video, in order, of any type.
        window_frames: Lengths of the windows, in frames.

    Yields:
        (segment, its 16 frames), by the segment's end, then by its length. Together, the segments
        are the `sliding_windows` of the video.
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
                yield segment, [held[index] for index in sampled_indices(segment)]
        held.pop(count - lengths[-1], None)
    if 0 < count < lengths[0]:
        whole = Segment(0, count)
        yield whole, [held[index] for index in sampled_indices(whole)]
