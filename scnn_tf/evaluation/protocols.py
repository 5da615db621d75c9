"""Evaluation protocols: the rules that decide which detections are true.

In both, a detection whose end is not after its start, or whose score is NaN, is false; and an
instance whose end is not after its start counts, but cannot be found. (The code of THUMOS'14 turns
an interval round that ends before it starts, so that it could overlap others; here it cannot.)

`thumos14` is the challenge's own protocol, behind the paper's figures. Each instance, in file
order, takes the free detection with the largest tIoU, if that is above the threshold. The other
detections are false, but those that touch an ambiguous interval are ignored. AP is the mean over
instances of the precision at each found instance.

`activitynet`: each detection, best score first, takes the free instance with the largest tIoU, if
that is at or above the threshold. Ambiguous intervals have no effect. AP is the area under the
interpolated precision-recall curve. It reads 1 to 5 points higher on the same detections, so an
mAP without its protocol says nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation, instance_spans
from scnn_tf.errors import InputError
from scnn_tf.localization.tables import Detections
from scnn_tf.segments.labels import tiou


class Matches(NamedTuple):
    """The instance that each of N detections has found, at T thresholds.

    Attributes:
        instance: int64 [N, T], index among all actions of the ground truth, videos by ascending
            id and within a video in file order; -1 where the detection has found none.
        counted: bool [N, T], False where the protocol ignores the detection.
    """

    instance: np.ndarray
    counted: np.ndarray


@dataclass(frozen=True)
class Protocol:
    """Rules that decide which detections are true, and how average precision is computed.

    Attributes:
        name: `thumos14` or `activitynet`.
        assign: Assigns the instances of a class in a video to its detections: takes the tIoU,
            float [D, G], of D detections, best first, with G instances, and the thresholds,
            float [T]; returns int64 [D, T], the instance of each detection at each threshold,
            or -1.
        reaches: Whether a tIoU is enough at a threshold: `np.greater` or `np.greater_equal`.
        lower_video_first: Whether equal scores are ranked by video id before row order.
        ignores_ambiguous: Whether a false detection that touches an ambiguous interval is ignored.
        interpolates: Whether a precision is the highest at its own or any later recall.
    """

    name: str
    assign: Callable[[np.ndarray, np.ndarray], np.ndarray]
    reaches: Callable[[np.ndarray, float], np.ndarray]
    lower_video_first: bool
    ignores_ambiguous: bool
    interpolates: bool

    def ranks(self, detections: Detections) -> np.ndarray:
        """Returns the rows of N detections, best score first, int64 [N]."""
        keys = (detections.video,) if self.lower_video_first else ()
        return np.lexsort((np.arange(len(detections)), *keys, -detections.score))

    def match(
        self,
        ground_truth: Mapping[str, VideoAnnotation],
        detections: Detections,
        thresholds: np.ndarray,
    ) -> Matches:
        """Assigns instances to detections of the same class and video.

        Args:
            ground_truth: Annotations by video id.
            detections: N detections in the order of `ranks`; those of other videos or classes
                find nothing.
            thresholds: float [T], tIoU.
        """
        keys = sorted(ground_truth)
        all_spans = detections.spans()
        instance = np.full((len(detections), len(thresholds)), -1)
        counted = np.ones(instance.shape, bool)
        first = 0  # index of the video's first instance
        for key, rows in zip(keys, rows_by_video(detections.video, keys), strict=True):
            video = ground_truth[key]
            labels = np.array([i.label for i in video.actions], str)
            spans = all_spans[rows]
            overlap = tiou(spans, instance_spans(video.actions))
            for label in np.unique(detections.label[rows]):
                found = np.flatnonzero(detections.label[rows] == label)
                truth = np.flatnonzero(labels == label)
                if len(truth):
                    given = self.assign(overlap[np.ix_(found, truth)], thresholds)
                    instance[rows[found]] = np.where(given >= 0, first + truth[given], -1)
            if self.ignores_ambiguous and len(rows) and video.ambiguous:
                touches = (tiou(spans, instance_spans(video.ambiguous)) > 0).any(axis=1)
                counted[rows] = (instance[rows] >= 0) | ~touches[:, None]
            first += len(labels)
        return Matches(instance, counted)

    def average_precision(self, hit: np.ndarray, num_instances: int, weight: float = 1.0) -> float:
        """Returns the sum of the precision at each true positive, over the number of instances.

        Args:
            hit: bool [D], whether each detection of a class is true, best first.
            num_instances: Number of instances of the class, above 0.
            weight: Number of true positives that each one counts for in the precision.
        """
        true = weight * np.cumsum(hit)
        precision = true / (true + np.cumsum(~hit))
        if self.interpolates:
            precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float(precision[hit].sum() / num_instances)


def rows_by_video(video: np.ndarray, keys: Sequence[str]) -> list[np.ndarray]:
    """Returns the rows of each video, in row order.

    Args:
        video: str [N], the video id of each row.
        keys: V video ids, ascending.
    """
    order = np.argsort(video, kind="stable")
    starts = np.searchsorted(video[order], keys, side="left")
    ends = np.searchsorted(video[order], keys, side="right")
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _instances_choose(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Each instance, in file order, takes the free detection with the largest tIoU."""
    given = np.full((len(overlap), len(thresholds)), -1)
    columns = np.arange(len(thresholds))
    for number, instance in enumerate(overlap.T):
        free = np.where(given >= 0, -1.0, instance[:, None])
        best = free.argmax(axis=0)
        found = free[best, columns] > thresholds
        given[best[found], columns[found]] = number
    return given


def _detections_choose(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Each detection, best first, takes the free instance with the largest tIoU."""
    given = np.full((len(overlap), len(thresholds)), -1)
    taken = np.zeros((overlap.shape[1], len(thresholds)), bool)
    columns = np.arange(len(thresholds))
    for row in np.flatnonzero((overlap >= thresholds.min()).any(axis=1)):
        free = np.where(taken, -1.0, overlap[row][:, None])
        best = free.argmax(axis=0)
        found = free[best, columns] >= thresholds
        given[row, found] = best[found]
        taken[best[found], columns[found]] = True
    return given


THUMOS14 = Protocol(
    name="thumos14",
    assign=_instances_choose,
    reaches=np.greater,
    lower_video_first=True,
    ignores_ambiguous=True,
    interpolates=False,
)
ACTIVITYNET = Protocol(
    name="activitynet",
    assign=_detections_choose,
    reaches=np.greater_equal,
    lower_video_first=False,
    ignores_ambiguous=False,
    interpolates=True,
)
PROTOCOLS: dict[str, Protocol] = {p.name: p for p in (THUMOS14, ACTIVITYNET)}
"""The protocols by name."""


def get_protocol(name: str) -> Protocol:
    """Returns the protocol of a name.

    Raises:
        InputError: There is no such protocol.
    """
    if name not in PROTOCOLS:
        raise InputError(f"expected a protocol, {' or '.join(PROTOCOLS)}. Received: {name!r}")
    return PROTOCOLS[name]


def tiou_array(tiou_thresholds: Sequence[float]) -> np.ndarray:
    """Returns tIoU thresholds as float64 [T].

    Raises:
        InputError: There is no threshold, or one lies outside (0, 1].
    """
    thresholds = np.array(tiou_thresholds, np.float64)
    if not thresholds.size or not ((0 < thresholds) & (thresholds <= 1)).all():
        raise InputError(f"expected tIoU thresholds in (0, 1]. Received: {list(tiou_thresholds)}")
    return thresholds
