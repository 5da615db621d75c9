"""Detections of a stream, each as soon as it is final; after the stream, all those of its file.

A candidate is a scored window with its action [a, e). Non-maximum suppression picks the candidates
of a class by descending score and drops those whose tIoU with one that it has picked is above its
threshold t. Whether it picks a candidate thus depends only on the higher-scored ones that overlap
it by more than t, its rivals. So a candidate is decided as soon as

- one of its rivals is picked for good: then it is dropped; or
- its end has been seen, all its rivals are decided, and no later window can give a further rival:
  then it is picked, unless one of them is.

A dropped candidate suppresses nothing. A picked one is final, and written, as soon as no later
window can give a segment of the same action (`postprocess.mean_action`), which would change its
start and end. A picked one is remembered as long as a later window can give a candidate that it
suppresses, and either kind as long as it may be of the same action as one that is not written.

What later windows can give follows from the scales. At length L, windows are judged in the order of
their starts; let s be the next start. An action [x, y) of this or a later window has a tIoU of at
least v = `LEAST_TIOU` with its window, so

- x is s + L - L / v or later,
- y is s + v · L or later, and s + v · (L + s - x) or later if x is before s, and
- y - x is v · L or more.

Its tIoU with [a, e) is the larger the earlier it starts, up to x = max(a, s + L - L / v), where the
intersection is at most e - x and the union at least max(e - a, v · L, y - a). No later window gives
a rival if for every L either this intersection is at most t times this union, or the largest score
at L, the prior of class and length, is less than the candidate's. A candidate of length ℓ never
waits for windows longer than ℓ / (v · t).

Decisions depend on each other along chains of rising scores, which in theory have no end. A
candidate that is still open when 32 of the longest windows have passed since its end is decided by
what is known: memory is bounded. A single action does not wait so long at any length.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.localization.postprocess import SAME_TIOU, mean_action, overlaps, weighted_scores
from scnn_tf.localization.sequences import Judged, Scored, actions, segments_table
from scnn_tf.localization.tables import Table, column, concatenate
from scnn_tf.segments.labels import BACKGROUND, LEAST_TIOU
from scnn_tf.segments.prior import WindowPrior

FINAL, PROVISIONAL, WITHDRAWN = "final", "provisional", "withdrawn"
_PATIENCE = 32  # of the longest windows
_ROUNDING = 1e-6  # seconds, and share of a score: far more than the arithmetic loses


class LiveDetection(NamedTuple):
    """A detection in a stream.

    Attributes:
        video: Id of the stream.
        label: Class.
        start: Seconds.
        end: Seconds.
        score: Only the order of scores matters.
        status: "final"; "provisional", while a later window may still suppress it or change its
            boundaries; or "withdrawn", if this has happened: with other boundaries it is written
            again.
        window_frames: Length of the window that found it, in frames.
        utc: Seconds since 1970 at which the action began to be received; None: of frames that are
            given as such.
    """

    video: str
    label: str
    start: float
    end: float
    score: float
    status: str
    window_frames: int
    utc: float | None = None


@dataclasses.dataclass(frozen=True)
class LiveRules:
    """The settings of post-processing, like those of `postprocess.detections_from_segments`.

    Attributes:
        window_frames: Lengths of the windows, in frames.
        frame_rate: Rate of the frames, in Hz.
        prior: Prior of every class and window length; None: no prior.
        nms_threshold: tIoU above which the lower-scored of two detections is suppressed; None: no
            NMS and no means of boundaries, and every window is final at once.
    """

    window_frames: Sequence[int]
    frame_rate: float
    prior: WindowPrior | None
    nms_threshold: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidates(Table):
    """The candidates that are not decided, and the others that may still change what is written.

    Attributes:
        label: str [N], classes.
        start: float64 [N], seconds.
        end: float64 [N], seconds.
        score: float64 [N], with the prior.
        window_frames: int64 [N], length of the window, in frames.
        window_start: float64 [N], start of the window, in seconds.
        regressed: bool [N], whether it has boundaries other than the window's.
        written: bool [N], whether it is final.
        dropped: bool [N], whether it is suppressed for good.
        shown_start: float64 [N], start that was written, provisional, in seconds; NaN: none.
        shown_end: float64 [N], the end, likewise.
    """

    label: np.ndarray = column(str)
    start: np.ndarray = column(np.float64)
    end: np.ndarray = column(np.float64)
    score: np.ndarray = column(np.float64)
    window_frames: np.ndarray = column(np.int64)
    window_start: np.ndarray = column(np.float64)
    regressed: np.ndarray = column(bool)
    written: np.ndarray = column(bool)
    dropped: np.ndarray = column(bool)
    shown_start: np.ndarray = column(np.float64)
    shown_end: np.ndarray = column(np.float64)


class LiveSuppression:
    """Non-maximum suppression of a stream: see the module.

    Args:
        video: Id of the stream.
        rules: The settings of post-processing.
        provisional: Whether to yield detections that are not final, too.
    """

    def __init__(self, video: str, rules: LiveRules, *, provisional: bool = False):
        self._video, self._rules, self._provisional = video, rules, provisional
        threshold = rules.nms_threshold
        self._merges = threshold is not None
        self._threshold = threshold if self._merges else math.inf
        self._next = dict.fromkeys(rules.window_frames, 0)
        self._late: list[Scored] = []  # Their actions end behind the last frame.
        self._open = _Candidates(*([] for _ in dataclasses.fields(_Candidates)))

    def add(self, judged: Judged, num_frames: int) -> list[LiveDetection]:
        """Takes the next part of the stream.

        Args:
            judged: The part.
            num_frames: Number of frames of the stream so far.

        Returns:
            The detections that have become final, and with `provisional` others that have become
            provisional or are withdrawn, by their ends.
        """
        if judged.length in self._next:  # The only window of a video shorter than all is not.
            self._next[judged.length] = judged.next_start
        rows = self._late + [row for row in judged.rows if row.label != BACKGROUND]
        late = actions(rows)[:, 1] > num_frames
        self._late = [row for row, waits in zip(rows, late, strict=True) if waits]
        self._admit([row for row, waits in zip(rows, late, strict=True) if not waits], num_frames)
        return self._decided(self._later_windows(), num_frames / self._rules.frame_rate)

    def finish(self, num_frames: int) -> list[LiveDetection]:
        """Returns what is left at the end of the stream, like `add`.

        Args:
            num_frames: Number of frames of the stream.
        """
        self._admit(self._late, num_frames)
        return self._decided(np.zeros((0, 2), int), num_frames / self._rules.frame_rate)

    def _later_windows(self) -> np.ndarray:
        """Returns length and earliest start of the windows to come, int `[W, 2]`, in frames.

        Windows whose actions end behind the last frame are still to come.
        """
        starts = dict(self._next)
        for row in self._late:
            length = max(row.segment.length, min(starts))
            starts[length] = min(starts[length], row.segment.start)
        return np.array(sorted(starts.items()))

    def _admit(self, rows: list[Scored], num_frames: int) -> None:
        """Makes candidates of scored windows, whose actions end within the stream so far."""
        table = segments_table(self._video, rows, self._rules.frame_rate, num_frames)
        new = _Candidates(
            label=table.label,
            start=table.action_start,
            end=table.action_end,
            score=weighted_scores(table, self._rules.prior),
            window_frames=table.window_frames,
            window_start=table.start,
            regressed=table.is_regressed & self._merges,
            written=np.zeros(len(table), bool),
            dropped=np.zeros(len(table), bool),
            shown_start=np.full(len(table), np.nan),
            shown_end=np.full(len(table), np.nan),
        )
        self._open = concatenate([self._open, new])

    def _decided(self, later: np.ndarray, now: float) -> list[LiveDetection]:
        """Decides what can be decided and returns it.

        Args:
            later: Length and earliest start of the windows to come, see `_later_windows`.
            now: Length of the stream so far, in seconds.
        """
        table = self._open
        reached = self._reached(later, self._threshold)
        certain = ~(reached & (self._ceilings(later) >= table.score[:, None])).any(axis=1)
        may_change = self._reached(later, SAME_TIOU).any(axis=1) & self._merges
        longest = max(self._rules.window_frames) / self._rules.frame_rate
        overdue = table.end < now - _PATIENCE * longest
        stands, decided = ~table.dropped, table.written | table.dropped | overdue
        # Among equal scores the later row of `segments.csv` is picked first.
        order = (table.window_start, table.window_frames, table.score, table.written)
        for rows in _by_class(table.label, np.lexsort(order)[::-1]):
            self._pick(rows, certain, stands, decided)
        final = decided & stands & ~table.written & (~may_change | overdue)
        shown = stands & ~final & ~table.written & self._provisional
        start, end = self._actions(final | shown)
        was_shown = ~np.isnan(table.shown_start)
        changed = (table.shown_start != start) | (table.shown_end != end)
        found = self._lines(final, FINAL, start, end)
        found += self._lines(shown & changed, PROVISIONAL, start, end)
        found += self._lines(was_shown & changed, WITHDRAWN, table.shown_start, table.shown_end)
        written, dropped = table.written | final, decided & ~stands
        # What is not written may still be of the same action as what is decided.
        begins = _earliest(table.label, np.where(written | dropped, np.inf, table.start))
        matters = table.regressed & (may_change | (table.end > begins))
        kept = ~(written | dropped) | matters | (written & reached.any(axis=1))
        table = dataclasses.replace(
            table,
            written=written,
            dropped=dropped,
            shown_start=np.where(shown, start, np.nan),
            shown_end=np.where(shown, end, np.nan),
        )
        self._open = table.take(kept)
        # What is withdrawn may be written again, with other boundaries or of another window.
        return sorted(found, key=lambda line: (line.status != WITHDRAWN, line.end))

    def _pick(
        self, rows: np.ndarray, certain: np.ndarray, stands: np.ndarray, decided: np.ndarray
    ) -> None:
        """Picks among the candidates of one class, as far as is known.

        Args:
            rows: The candidates, in the order of picking.
            certain: bool [N], whether no later window can give a rival.
            stands: bool [N], set to whether each is picked if no more windows come.
            decided: bool [N], whether this holds in any case; set where it becomes known.
        """
        start, end = self._open.start[rows], self._open.end[rows]
        for place in np.flatnonzero(~(self._open.written | self._open.dropped)[rows]):
            row = rows[place]
            intersection, union = overlaps(start[: place + 1], end[: place + 1], place)
            rivals = rows[:place][(intersection > self._threshold * union)[:place]]
            stands[row] = not stands[rivals].any()
            decided[row] |= (stands[rivals] & decided[rivals]).any()
            decided[row] |= certain[row] and decided[rivals].all()

    def _reached(self, later: np.ndarray, threshold: float) -> np.ndarray:
        """Returns whether later windows of each length can overlap each candidate, bool `[N, W]`.

        Overlap means a tIoU above the threshold, but for rounding.
        """
        length, first = later.T / self._rules.frame_rate
        start, end = self._open.start[:, None], self._open.end[:, None]
        begin = np.maximum(start, first + length - length / LEAST_TIOU)
        least_end = first + LEAST_TIOU * (length + np.maximum(0, first - begin))
        union = np.maximum(np.maximum(end - start, LEAST_TIOU * length), least_end - start)
        intersection = end - begin
        return intersection > threshold * union - _ROUNDING

    def _ceilings(self, later: np.ndarray) -> np.ndarray:
        """Returns the largest score of a candidate's class at each length, `[N, W]` or `[1, W]`."""
        prior = self._rules.prior
        if prior is None:
            return np.full((1, len(later)), 1 + _ROUNDING)
        classes = [prior.class_names.index(label) for label in self._open.label.tolist()]
        lengths = [prior.window_frames.index(length) for length in later[:, 0].tolist()]
        return prior.weights[classes][:, lengths] * (1 + _ROUNDING)

    def _actions(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns start and end, as far as is known, of the candidates of a mask; NaN of others."""
        table, spans = self._open, np.full((2, len(mask)), np.nan)
        for rows in _by_class(table.label, np.arange(len(mask))):
            group = table.start[rows], table.end[rows], table.score[rows], table.regressed[rows]
            for place in np.flatnonzero(mask[rows]):
                spans[:, rows[place]] = mean_action(place, *group)
        return spans[0], spans[1]

    def _lines(
        self, mask: np.ndarray, status: str, start: np.ndarray, end: np.ndarray
    ) -> list[LiveDetection]:
        """Returns the candidates of a mask, with starts and ends, as detections."""
        table = self._open
        columns = (table.label, start, end, table.score, table.window_frames)
        rows = zip(*(values[mask].tolist() for values in columns), strict=True)
        return [LiveDetection(self._video, *row, status, length) for *row, length in rows]


def _earliest(labels: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the earliest start of each one's class, float64 [N]."""
    earliest = np.empty_like(starts)
    for rows in _by_class(labels, np.arange(len(labels))):
        earliest[rows] = starts[rows].min()
    return earliest


def _by_class(labels: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows of each class, in an order."""
    for label in np.unique(labels):
        yield order[labels[order] == label]
