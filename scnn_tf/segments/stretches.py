"""Stretches: consecutive windows of one length, which share the frames that a network sees.

At one window length L, every L/16-th frame of a video is its sequence at that scale. A window is 16
samples of it, and the next window starts four samples later: neighbors have 12 samples in common. A
stretch of n windows is 16 + 4 (n - 1) samples; a stretch of one window is the paper's segment.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from scnn_tf.segments.windows import SAMPLED_FRAMES, STRIDES_PER_WINDOW, Segment

SAMPLES_PER_STRIDE = SAMPLED_FRAMES // STRIDES_PER_WINDOW
SHARED_WINDOWS = 8  # of stretches that follow each other: what a C3D sees on one side of a window
_T = TypeVar("_T")


class Stretch(NamedTuple):
    """Consecutive windows of one length.

    Attributes:
        start: First frame of the first window.
        window_frames: Length of each window, in frames; of several windows a multiple of 16.
        count: Number of windows.
    """

    start: int
    window_frames: int
    count: int = 1

    @property
    def end(self) -> int:
        """Index of the first frame after the last window."""
        return self.start + (self.count - 1) * _stride(self.window_frames) + self.window_frames

    @property
    def windows(self) -> list[Segment]:
        """The windows, by start."""
        stride = _stride(self.window_frames)
        return [Segment(self.start + k * stride, self.window_frames) for k in range(self.count)]

    @property
    def frames(self) -> np.ndarray:
        """Indices of the sampled frames, int64 `[16 + 4 (count - 1)]`."""
        samples = np.arange(num_samples(self.count))
        return self.start + samples * self.window_frames // SAMPLED_FRAMES


def num_samples(num_windows: int) -> int:
    """Returns the number of samples of a stretch."""
    return SAMPLED_FRAMES + SAMPLES_PER_STRIDE * (num_windows - 1)


def num_windows(num_frames: int, window_frames: int) -> int:
    """Returns the number of windows of one length that end within a video."""
    return max(0, (num_frames - window_frames) // _stride(window_frames) + 1)


def _stride(window_frames: int) -> int:
    """Returns the frames between windows; a video of fewer than four frames is one window."""
    return max(1, window_frames // STRIDES_PER_WINDOW)


def overlapping(num_windows: int, count: int) -> list[range]:
    """Returns the numbers of the windows of stretches that together cover a sequence.

    Neighbors share `SHARED_WINDOWS` windows, so that every window is in a stretch along with those
    around it; at most half of a short stretch is shared. The last stretch ends with the sequence.

    Args:
        num_windows: Number of windows of the sequence.
        count: Number of windows of a stretch; of a shorter sequence, all are one stretch.
    """
    step = count - min(SHARED_WINDOWS, count // 2)
    last = max(0, num_windows - count)
    return [
        range(first, min(first + count, num_windows)) for first in [*range(0, last, step), last]
    ]


def stream_stretches(
    frames: Iterable[_T], stretches: Iterable[Stretch]
) -> Iterator[tuple[Stretch, list[_T]]]:
    """Yields stretches of a stream of frames, each as soon as its last window has ended.

    Memory holds only the frames that a stretch still needs, so that a video can have any length.

    Args:
        frames: Frames of one video, in order, of any type.
        stretches: Stretches of the video, in any order.

    Yields:
        (stretch, its sampled frames), by the stretch's end, then by its window length.
    """
    needing, ending = defaultdict(list), defaultdict(list)
    for stretch in stretches:
        ending[stretch.end - 1].append(stretch)
        for index in stretch.frames.tolist():
            needing[index].append(stretch)
    held: dict[Stretch, list[_T]] = defaultdict(list)
    for index, frame in enumerate(frames):
        for stretch in needing.pop(index, ()):
            held[stretch].append(frame)
        for stretch in sorted(ending.pop(index, ()), key=lambda s: (s.window_frames, s.start)):
            yield stretch, held.pop(stretch)


class Part(NamedTuple):
    """A part of a video's sequence at one scale, and the windows that are judged in it.

    Attributes:
        stretch: The windows of the part.
        first: Number of the first window that is judged in this part.
        last: Number after the last one; the others lend it their frames.
    """

    stretch: Stretch
    first: int
    last: int


def stream_parts(
    frames: Iterable[_T], window_frames: Sequence[int], count: int, context: int
) -> Iterator[tuple[Part, list[_T]]]:
    """Yields the sequences of a video at all scales, in overlapping parts.

    Every window of the video is judged in one part, in which it has `context` windows on either
    side, or as many as the video has. A video shorter than the shortest window is one window.

    Args:
        frames: Frames of one video, in order, of any type.
        window_frames: Lengths of the windows, in frames.
        count: Number of windows of a part, more than twice `context`.
        context: Number of windows on either side that a judged window needs.

    Yields:
        (part, its sampled frames), each as soon as it is complete, then those at the video's end.
    """
    held: dict[int, list[_T]] = {length: [] for length in sorted(window_frames)}
    begun = dict.fromkeys(held, 0)  # The first window of the part that is being filled.
    start: list[_T] = []
    total = 0
    for frame in frames:
        if total < min(held):
            start.append(frame)
        for length, samples in held.items():
            step = length // SAMPLED_FRAMES
            if total % step == 0:
                samples.append(frame)
                # One sample more than the part has: so its last window has ended.
                if len(samples) > num_samples(count):
                    part = _part(begun[length], length, count)
                    yield Part(part, context if begun[length] else 0, count - context), samples[:-1]
                    moved = count - 2 * context
                    begun[length] += moved
                    del samples[: moved * SAMPLES_PER_STRIDE]
        total += 1
    if 0 < total < min(held):
        whole = Stretch(0, total)
        yield Part(whole, 0, 1), [start[index] for index in whole.frames]
    for length, samples in held.items():
        left = num_windows(total, length) - begun[length]
        first = context if begun[length] else 0
        if left > first:
            yield (
                Part(_part(begun[length], length, left), first, left),
                samples[: num_samples(left)],
            )


def sequences(num_frames: int, window_frames: Sequence[int], count: int) -> list[Stretch]:
    """Returns the windows of a video as stretches that share no window.

    Args:
        num_frames: Length of the video, in frames.
        window_frames: Lengths of the windows, in frames.
        count: Largest number of windows of a stretch.
    """
    if 0 < num_frames < min(window_frames):
        return [Stretch(0, num_frames)]
    return [
        _part(first, length, min(count, total - first))
        for length in sorted(window_frames)
        for total in [num_windows(num_frames, length)]
        for first in range(0, total, count)
    ]


def _part(first: int, length: int, count: int) -> Stretch:
    return Stretch(first * _stride(length), length, count)
