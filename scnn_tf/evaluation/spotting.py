"""Mean average precision of points in time, as SoccerNet defines it for spotting.

The point of an instance, and of a detection, is the middle of its interval. At a tolerance of δ
seconds, each instance, in the order of time, takes the free detection of its class with the highest
score among those at most δ/2 away, before or after; the other detections are false. AP is the mean,
over the recalls 0, .1, …, 1, of the highest precision at that recall or a higher one. Average-mAP
is the mean height of the curve of mAP over the tolerances, with straight lines between them.

Giancola et al., SoccerNet, CVPR Workshops 2018; Deliège et al., SoccerNet-v2, CVPR Workshops 2021;
and their code, the package SoccerNet 0.2.0, `Evaluation/ActionSpotting.py`. That code rounds times
to the frames of its features, and takes precision at 200 thresholds from 0 to 1 only; here times
are exact, and precision is taken at each score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation, instance_spans
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import ap_rows, instances_by_class, known_detections
from scnn_tf.evaluation.protocols import rows_by_video
from scnn_tf.localization.tables import Detections

TOLERANCES = {"tight": (1, 2, 3, 4, 5), "loose": tuple(range(5, 61, 5))}
"""SoccerNet's names → tolerances in seconds."""
_RECALLS = np.arange(11) / 10
_ROUNDING = 1e-9  # Seconds by which times that were written as decimals may differ.


@dataclass(frozen=True, eq=False)
class SpotEvaluation:
    """Average precision of points.

    Attributes:
        tolerances: T tolerances in seconds, ascending.
        class_names: K classes that have instances in the ground truth, alphabetical.
        ap: float64 [K, T], average precision; 0 for a class without detections.
        class_instances: int64 [K], number of instances of each class.
        videos: Number of videos in the ground truth.
        detections: Number of detections that were scored.
    """

    tolerances: tuple[float, ...]
    class_names: tuple[str, ...]
    ap: np.ndarray
    class_instances: np.ndarray
    videos: int
    detections: int

    @property
    def map(self) -> np.ndarray:
        """Mean of `ap` over classes, float64 [T]."""
        return self.ap.mean(axis=0)

    @property
    def average_ap(self) -> np.ndarray:
        """Mean of `ap` over the range of tolerances, float64 [K]."""
        steps = np.diff(self.tolerances)
        if not steps.size:
            return self.ap[:, 0]
        return (self.ap[:, :-1] + self.ap[:, 1:]) / 2 @ steps / steps.sum()

    @property
    def average_map(self) -> float:
        """Mean of `average_ap` over classes: SoccerNet's average-mAP."""
        return float(self.average_ap.mean())

    def to_json(self) -> dict:
        """Returns the evaluation in plain Python types; tolerances are text, to serve as keys."""
        keys = [f"{tolerance:g}" for tolerance in self.tolerances]
        return {
            "protocol": "soccernet",
            "videos": self.videos,
            "instances": int(self.class_instances.sum()),
            "classes": len(self.class_names),
            "detections": self.detections,
            "map": dict(zip(keys, self.map.tolist(), strict=True)),
            "average_map": self.average_map,
            "ap": {
                name: dict(zip(keys, row, strict=True))
                for name, row in zip(self.class_names, self.ap.tolist(), strict=True)
            },
        }

    def table(self) -> str:
        """Returns a text table: what was measured on, AP of each class, mAP and average-mAP."""
        title = (
            f"protocol soccernet: {self.videos} videos, {self.class_instances.sum()} instances, "
            f"{len(self.class_names)} classes; points are the middles of intervals"
        )
        columns = [*(f"{tolerance:g}" for tolerance in self.tolerances), "average"]
        ap = np.column_stack([self.ap, self.average_ap])
        counts = [self.detections] * len(columns)
        rows = ap_rows("tolerance, s", columns, self.class_names, self.class_instances, ap, counts)
        return "\n".join([title, *rows])


def evaluate_spots(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    *,
    tolerances: Sequence[float],
) -> SpotEvaluation:
    """Evaluates the middles of detections against the middles of instances.

    Args:
        ground_truth: Annotations by video id. An instance may be a point already, with equal start
            and end. Ambiguous intervals have no effect.
        detections: Detections; those of videos or classes that the ground truth lacks are skipped,
            and the log reports how many.
        tolerances: T tolerances in seconds, above 0: full widths, half before and half after.

    Raises:
        InputError: There is no tolerance or an impossible one, the ground truth has no instance, or
            none of the detections is of one of its videos.
    """
    given = np.unique(np.array(tolerances, np.float64))
    if not given.size or not ((0 < given) & (given < np.inf)).all():
        raise InputError(
            f"expected tolerances above 0, in seconds. Received: {list(tolerances) or 'none'}"
        )
    classes, class_instances = instances_by_class(ground_truth)
    detections = known_detections(detections, ground_truth)
    points = _middles(detections.start, detections.end)
    points[np.isnan(detections.score)] = np.nan
    detections = detections.take(order := np.lexsort((points, -detections.score)))
    hit = _hits(ground_truth, detections, points[order], given)
    ap = np.zeros((len(classes), len(given)))
    for row, (name, count) in enumerate(zip(classes, class_instances, strict=True)):
        found = detections.label == name
        for column in range(len(given)):
            ap[row, column] = _average_precision(hit[found, column], detections.score[found], count)
    return SpotEvaluation(
        tolerances=tuple(given.tolist()),
        class_names=classes,
        ap=ap,
        class_instances=class_instances,
        videos=len(ground_truth),
        detections=len(detections),
    )


def _middles(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Returns the middle of each interval, float64 [N]; NaN where it ends before it starts."""
    with np.errstate(invalid="ignore"):
        return np.where(end >= start, (start + end) / 2, np.nan)


def _hits(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    points: np.ndarray,
    tolerances: np.ndarray,
) -> np.ndarray:
    """Returns which detections find an instance, bool [N, T].

    Args:
        ground_truth: Annotations by video id.
        detections: N detections, best first, equal ones in the order of time.
        points: float64 [N], their points.
        tolerances: float64 [T], seconds.
    """
    keys = sorted(ground_truth)
    hit = np.zeros((len(detections), len(tolerances)), bool)
    for key, rows in zip(keys, rows_by_video(detections.video, keys), strict=True):
        actions = ground_truth[key].actions
        labels = np.array([i.label for i in actions], str)
        truth = _middles(*instance_spans(actions).T)
        for label in np.unique(detections.label[rows]):
            found = rows[detections.label[rows] == label]
            instances = np.sort(truth[labels == label])
            hit[found] = _taken(np.abs(points[found, None] - instances), tolerances)
    return hit


def _taken(distance: np.ndarray, tolerances: np.ndarray) -> np.ndarray:
    """Returns the detections that an instance takes, bool [D, T].

    Args:
        distance: float64 [D, G], of D detections, best first, to G instances in the order of time.
        tolerances: float64 [T], seconds.
    """
    taken = np.zeros((len(distance), len(tolerances)), bool)
    columns = np.arange(len(tolerances))
    for instance in distance.T:
        free = (instance[:, None] <= tolerances / 2 + _ROUNDING) & ~taken
        best = free.argmax(axis=0)
        found = free[best, columns]
        taken[best[found], columns[found]] = True
    return taken


def _average_precision(hit: np.ndarray, score: np.ndarray, num_instances: int) -> float:
    """Returns the mean of the interpolated precision at 11 recalls.

    Args:
        hit: bool [D], whether each detection of a class is true, best first.
        score: float64 [D]; equal scores are one step of the curve.
        num_instances: Number of instances of the class, above 0.
    """
    if not hit.size:
        return 0.0
    last = np.flatnonzero(np.append(np.diff(score) != 0, True))
    true = np.cumsum(hit)[last]
    precision, recall = true / (last + 1), true / num_instances
    return float(np.mean([precision[recall >= level].max(initial=0) for level in _RECALLS]))
