"""Mean average precision under a named protocol.

`thumos14` is the challenge's own, behind the paper's figures: each instance, in file order,
takes the free detection with the largest tIoU if that is above the threshold; others are false,
but those that touch an ambiguous interval do not count; AP is the mean over instances of the
precision at each one found.

`activitynet`: each detection, best score first, takes the free instance with the largest tIoU
if that is at or above the threshold; ambiguous intervals mean nothing; AP is the area under the
interpolated precision-recall curve. It reads 1 to 5 points higher on the same detections, so a
figure without its protocol says nothing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation, instance_spans
from scnn_tf.localization.tables import Detections
from scnn_tf.segments.labels import tiou


class Matches(NamedTuple):
    """Which instance each of N detections has found, at T thresholds.

    Attributes:
        instance: int64 [N, T], the index among all actions of the ground truth, videos by
            ascending id and within one in file order; -1: none.
        counted: bool [N, T], False where the protocol passes the detection over.
    """

    instance: np.ndarray
    counted: np.ndarray


def ranks(detections: Detections, protocol: str) -> np.ndarray:
    """The rows of the detections, best first, int64 [N].

    Of equal scores, `thumos14` ranks the lower video first, `activitynet` the earlier row.
    """
    keys = (detections.video,) if protocol == "thumos14" else ()
    return np.lexsort((np.arange(len(detections)), *keys, -detections.score))


def match(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    thresholds: np.ndarray,
    protocol: str,
) -> Matches:
    """Gives instances to detections of their class, by the protocol's rules.

    Args:
        ground_truth: by video id.
        detections: N, in the order of `ranks`; of other videos and classes they find nothing.
        thresholds: float [T], of tIoU.
        protocol: `thumos14` or `activitynet`.
    """
    keys = sorted(ground_truth)
    instance = np.full((len(detections), len(thresholds)), -1)
    counted = np.ones(instance.shape, bool)
    first = 0  # of the video's instances
    for key, rows in zip(keys, rows_by_video(detections.video, keys), strict=True):
        video = ground_truth[key]
        labels = np.array([i.label for i in video.actions], str)
        spans = np.stack([detections.start[rows], detections.end[rows]], axis=1)
        overlap = tiou(spans, instance_spans(video.actions))
        for label in np.unique(detections.label[rows]):
            found = np.flatnonzero(detections.label[rows] == label)
            truth = np.flatnonzero(labels == label)
            if len(truth):
                given = _MATCHING[protocol](overlap[np.ix_(found, truth)], thresholds)
                instance[rows[found]] = np.where(given >= 0, first + truth[given], -1)
        if protocol == "thumos14" and len(rows) and video.ambiguous:
            touches = (tiou(spans, instance_spans(video.ambiguous)) > 0).any(axis=1)
            counted[rows] = (instance[rows] >= 0) | ~touches[:, None]
        first += len(labels)
    return Matches(instance, counted)


def rows_by_video(video: np.ndarray, keys: Sequence[str]) -> list[np.ndarray]:
    """The rows of each video, in their order.

    Args:
        video: str [N], of each row.
        keys: V videos, ascending.
    """
    order = np.argsort(video, kind="stable")
    starts = np.searchsorted(video[order], keys, side="left")
    ends = np.searchsorted(video[order], keys, side="right")
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def match_thumos14(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Each instance, in file order, takes the free detection with the largest tIoU.

    Args:
        overlap: float [D, G], tIoU of a video's detections, best first, with its instances.
        thresholds: float [T].

    Returns:
        int64 [D, T], the instance that each detection is given at each threshold; -1: none.
    """
    given = np.full((len(overlap), len(thresholds)), -1)
    columns = np.arange(len(thresholds))
    for number, instance in enumerate(overlap.T):
        free = np.where(given >= 0, -1.0, instance[:, None])
        best = free.argmax(axis=0)
        found = free[best, columns] > thresholds
        given[best[found], columns[found]] = number
    return given


def _match_activitynet(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Each detection, best first, takes the free instance with the largest tIoU.

    Args and returns as `match_thumos14`.
    """
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


_MATCHING = {"thumos14": match_thumos14, "activitynet": _match_activitynet}
PROTOCOLS = tuple(_MATCHING)


def average_precision(
    hit: np.ndarray, num_instances: int, protocol: str, weight: float = 1.0
) -> float:
    """Sum of the precision at each true positive, over the number of instances.

    `activitynet` interpolates: a precision is the highest at this or any later recall.

    Args:
        hit: bool [D], detections of a class, best first.
        num_instances: above 0.
        protocol: `thumos14` or `activitynet`.
        weight: how many true positives each one counts for in the precision.
    """
    true = weight * np.cumsum(hit)
    precision = true / (true + np.cumsum(~hit))
    if protocol == "activitynet":
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[hit].sum() / num_instances)
