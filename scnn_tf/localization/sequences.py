"""A video to scored windows with a network of three heads, which runs here or on a server."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.localization.tables import RawSegments
from scnn_tf.segments.labels import BACKGROUND, LEAST_TIOU
from scnn_tf.segments.stretches import Part, stream_parts
from scnn_tf.segments.windows import STRIDES_PER_WINDOW, Segment

_T = TypeVar("_T")


class Scored(NamedTuple):
    """A segment with its scores.

    Attributes:
        segment: The segment.
        label: Its best class; perhaps `BACKGROUND`, where the network scores it.
        score: That class's score.
        start_offset: From the segment's start to the action's, in segment lengths.
        end_offset: From the segment's end to the action's, in segment lengths.
    """

    segment: Segment
    label: str
    score: float
    start_offset: float = 0.0
    end_offset: float = 0.0


class Judged(NamedTuple):
    """The outcome of a part of a video at one window length.

    Attributes:
        length: Window length, in frames.
        next_start: First frame of the first window of this length that is not judged yet.
        rows: The kept segments of the part.
    """

    length: int
    next_start: int
    rows: list[Scored]


class HeadOutputs(NamedTuple):
    """The outputs of the three heads for the n windows of a stretch.

    Attributes:
        action: Scores of being an action, float32 `[n]`.
        classes: Class scores, float32 `[n, K + 1]`, of `scnn.joint_scores`; column 0, background,
            is 0 unless the class head alone scores.
        offsets: Offsets of start and end in window lengths, float32 `[n, 2]`; of a multi-label
            network those of each class, `[n, K, 2]`.
    """

    action: np.ndarray
    classes: np.ndarray
    offsets: np.ndarray


@dataclasses.dataclass(frozen=True)
class SequenceScorer:
    """The settings by which the sequences of a video are scored, part by part.

    Attributes:
        class_names: The K classes.
        window_frames: Lengths of the windows, in frames.
        frame_rate: Rate of the frames, in Hz.
        proposal_threshold: Windows whose proposal score is lower are discarded.
        part_windows: Number of windows of a part.
        context_windows: Number of windows on either side that decide on the outputs for a window.
    """

    class_names: Sequence[str]
    window_frames: Sequence[int]
    frame_rate: float
    proposal_threshold: float
    part_windows: int
    context_windows: int

    def score(
        self,
        frames: Iterable[_T],
        video_id: str,
        network: Callable[[list[_T], int], HeadOutputs],
    ) -> RawSegments:
        """Returns the scored windows of a video; see `scnn.Localizer.score_frames`.

        Args:
            frames: Frames of the video, in order, of any type that the network takes.
            video_id: Id of the video in the rows.
            network: Takes the frames of a stretch and the length of its windows.

        Raises:
            InputError: The network gives a score that is not finite.
        """
        counted = Counted(frames)
        judged = self.judged(counted, network)
        return collected(judged, counted, video_id, self.frame_rate)

    def judged(
        self,
        frames: Iterable[_T],
        network: Callable[[list[_T], int], HeadOutputs],
        skips: Callable[[int], bool] | None = None,
    ) -> Iterator[Judged]:
        """Yields the parts of a video, each as soon as its frames are there and it is scored.

        Args:
            frames: See `score`.
            network: See `score`.
            skips: Whether to leave out the next part of a window length; it has no rows then.

        Raises:
            InputError: The network gives a score that is not finite.
        """
        parts = stream_parts(frames, self.window_frames, self.part_windows, self.context_windows)
        for part, samples in parts:
            length = part.stretch.window_frames
            skipped = skips is not None and skips(length)
            rows = [] if skipped else list(self.kept(part, network(samples, length)))
            last = part.stretch.windows[part.last - 1]
            yield Judged(length, last.start + length // STRIDES_PER_WINDOW, rows)

    @property
    def prompt(self) -> "SequenceScorer":
        """The same scorer with short parts: it judges four windows, one length, at a time."""
        shortest = 2 * self.context_windows + STRIDES_PER_WINDOW
        return dataclasses.replace(self, part_windows=min(self.part_windows, shortest))

    def kept(self, part: Part, outputs: HeadOutputs) -> Iterator[Scored]:
        """Yields the judged windows of a part that the proposal head keeps, with their best class.

        Of a multi-label network, a window is yielded with each class whose score is high enough.

        Args:
            part: The part.
            outputs: The outputs for all its windows.

        Raises:
            InputError: A score is not finite.
        """
        names = (BACKGROUND, *self.class_names)
        windows = part.stretch.windows
        for number in range(part.first, part.last):
            segment = windows[number]
            action, scores, offsets = (output[number] for output in outputs)
            if not np.isfinite([action, *scores, *offsets.ravel()]).all():
                raise InputError(
                    f"expected finite scores of the joint network. Received: {scores.min()} for "
                    f"frames {segment.start} to {segment.end}; train it again"
                )
            if action < self.proposal_threshold:
                continue
            if offsets.ndim > 1:
                labels = 1 + np.flatnonzero(scores[1:] >= self.proposal_threshold)
                offsets = offsets[labels - 1]
            else:
                labels, offsets = scores.argmax(keepdims=True), offsets[None]
            for label, (start, end) in zip(labels.tolist(), offsets.tolist(), strict=True):
                yield Scored(segment, names[label], float(scores[label]), start, end)


class Counted(Generic[_T]):
    """An iterable that counts its items.

    Attributes:
        count: Number of items so far.
    """

    def __init__(self, items: Iterable[_T]):
        self._items, self.count = items, 0

    def __iter__(self) -> Iterator[_T]:
        for item in self._items:
            self.count += 1
            yield item


def collected(
    judged: Iterable[Judged], counted: Counted, video_id: str, frame_rate: float
) -> RawSegments:
    """Returns the segments of all parts of a video, by window length, then by start.

    Args:
        judged: The parts.
        counted: The frames of which they are made.
        video_id: Id of the video, for all rows.
        frame_rate: Rate of the frames, in Hz.
    """
    rows = [row for part in judged for row in part.rows]
    rows.sort(key=lambda row: (row.segment.length, row.segment.start))
    return segments_table(video_id, rows, frame_rate, counted.count)


def segments_table(
    video_id: str, rows: Sequence[Scored], frame_rate: float, num_frames: int
) -> RawSegments:
    """Returns a video's scored segments as a table; actions are within the video.

    Args:
        video_id: Id of the video, for all rows.
        rows: The scored segments, in their order.
        frame_rate: Rate of the segments' frames, in Hz.
        num_frames: Length of the video, in frames.
    """
    starts, lengths = (
        np.array([getattr(row.segment, name) for row in rows], float)
        for name in ("start", "length")
    )
    action_starts, action_ends = np.clip(actions(rows), 0, num_frames).T
    return RawSegments(
        video=[video_id] * len(rows),
        window_frames=[row.segment.length for row in rows],
        start=starts / frame_rate,
        end=(starts + lengths) / frame_rate,
        label=[row.label for row in rows],
        score=[row.score for row in rows],
        action_start=action_starts / frame_rate,
        action_end=action_ends / frame_rate,
    )


def actions(rows: Sequence[Scored]) -> np.ndarray:
    """Returns start and end of the action in each segment, in frames, perhaps outside the video.

    An action has a tIoU of `LEAST_TIOU` or more with its segment: where the boundaries leave less,
    such as where they cross, it is the segment.

    Returns:
        float64 `[N, 2]`.
    """
    segments = np.array([row.segment for row in rows], float).reshape(-1, 2)
    windows = segments @ [[1, 1], [0, 1]]
    offsets = np.array([(row.start_offset, row.end_offset) for row in rows], float).reshape(-1, 2)
    regressed = windows + segments[:, 1:] * offsets
    inside = np.minimum(windows, regressed)[:, 1] - np.maximum(windows, regressed)[:, 0]
    around = np.maximum(windows, regressed)[:, 1] - np.minimum(windows, regressed)[:, 0]
    return np.where((inside < LEAST_TIOU * around)[:, None], windows, regressed)
