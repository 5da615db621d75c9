"""Of what kind each false detection is, and mAP as it would be without, or with it mended.

The kinds are those of DETAD (`diagnosis`). The kind of a detection at threshold θ is the
first that fits:

- true positive: the protocol gives it an instance;
- double detection: it reaches θ with an instance of its class, which another detection has;
- wrong label: it reaches θ with an instance of another class;
- localization: it has tIoU .1 or more with an instance of its class;
- confusion: it has tIoU .1 or more with an instance of another class;
- background: the rest.

What `thumos14` forgives, since it touches an ambiguous interval, is of no kind.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation, instance_spans
from scnn_tf.evaluation.protocols import average_precision, match, rows_by_video
from scnn_tf.localization.tables import Detections
from scnn_tf.segments.labels import tiou

KINDS = (
    "true positive",
    "double detection",
    "wrong label",
    "localization",
    "confusion",
    "background",
)
TRUE, DOUBLE, WRONG_LABEL, LOCALIZATION, CONFUSION, BACKGROUND = range(len(KINDS))
FORGIVEN = -1
"""In place of a kind: the protocol passes the detection over."""
TOUCHING_TIOU = 0.1
"""Below, a detection has nothing to do with an instance."""


class Judged(NamedTuple):
    """N detections, best first, and G instances at one threshold.

    Attributes:
        label: int [N], index of the class.
        instance: int [N], the instance that it has found, or −1.
        kind: int [N].
        target: int [N], the instance that it would find if it were mended, or −1.
        truth: int [G], index of the class of each instance.
        num_classes: K.
        protocol: whose rules.
    """

    label: np.ndarray
    instance: np.ndarray
    kind: np.ndarray
    target: np.ndarray
    truth: np.ndarray
    num_classes: int
    protocol: str

    def take(self, rows: np.ndarray) -> "Judged":
        """Only the detections of an index or a mask."""
        return self._replace(
            label=self.label[rows],
            instance=self.instance[rows],
            kind=self.kind[rows],
            target=self.target[rows],
        )


def judge_ranked(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    names: tuple[str, ...],
    tiou_thresholds: Sequence[float],
    protocol: str,
) -> list[Judged]:
    """The detections at each threshold.

    Args:
        ground_truth: by video id.
        detections: N, best first; of other videos they are background.
        names: the classes of the ground truth, alphabetical.
        tiou_thresholds: in (0, 1].
        protocol: `thumos14` or `activitynet`.
    """
    matches = match(ground_truth, detections, np.array(tiou_thresholds), protocol)
    # The best tIoU with an instance of the detection's class, and of any other class; whose.
    right, wrong = np.zeros(len(detections)), np.zeros(len(detections))
    right_one, wrong_one = np.full((2, len(detections)), -1)
    actions = [ground_truth[key].actions for key in sorted(ground_truth)]
    rows_of = rows_by_video(detections.video, sorted(ground_truth))
    first = 0
    for rows, instances in zip(rows_of, actions, strict=True):
        if len(rows) and instances:
            spans = np.stack([detections.start[rows], detections.end[rows]], axis=1)
            overlap = tiou(spans, instance_spans(instances))
            same = detections.label[rows][:, None] == np.array([i.label for i in instances])
            for best, one, part in ((right, right_one, same), (wrong, wrong_one, ~same)):
                table = np.where(part, overlap, 0.0)
                best[rows], one[rows] = table.max(axis=1), first + table.argmax(axis=1)
        first += len(instances)
    classes = np.array(names, str)
    truth = np.searchsorted(classes, [i.label for part in actions for i in part])
    label = np.searchsorted(classes, detections.label)
    judged = []
    for column, threshold in enumerate(tiou_thresholds):
        reaches = np.greater if protocol == "thumos14" else np.greater_equal
        conditions = [
            ~matches.counted[:, column],
            matches.instance[:, column] >= 0,
            reaches(right, threshold),
            reaches(wrong, threshold),
            right >= TOUCHING_TIOU,
            wrong >= TOUCHING_TIOU,
        ]
        kinds = [FORGIVEN, TRUE, DOUBLE, WRONG_LABEL, LOCALIZATION, CONFUSION]
        kind = np.select(conditions, kinds, BACKGROUND)
        target = np.select(
            [kind == LOCALIZATION, (kind == WRONG_LABEL) | (kind == CONFUSION)],
            [right_one, wrong_one],
            -1,
        )
        judged.append(
            Judged(label, matches.instance[:, column], kind, target, truth, len(names), protocol)
        )
    return judged


def found_instances(judged: Judged) -> np.ndarray:
    """Which instances a detection has found, bool [G]."""
    found = np.zeros(len(judged.truth), bool)
    found[judged.instance[judged.instance >= 0]] = True
    return found


def mean_ap(judged: Judged, counted: np.ndarray | None = None) -> float:
    """Mean average precision; only the instances that are `counted`, bool [G], can be missed.

    A class of which no instance is counted has AP 1 if nothing is detected of it, else 0.
    """
    truth = judged.truth if counted is None else judged.truth[counted]
    values = []
    for label in range(judged.num_classes):
        rows = (judged.label == label) & (judged.kind != FORGIVEN)
        if count := np.sum(truth == label):
            values.append(average_precision(judged.instance[rows] >= 0, count, judged.protocol))
        else:
            values.append(float(not rows.any()))
    return float(np.mean(values))


def normalized_map(judged: Judged, among: np.ndarray | None = None) -> float | None:
    """mAP_N of the instances `among`, bool [G]: what has found another one is passed over.

    Precision is R · N / (R · N + F) with recall R, F false detections and N the mean number of
    instances a class, so that classes and buckets of different sizes can be compared. The mean
    is over the classes that have instances among them; None without any.
    """
    among = np.ones(len(judged.truth), bool) if among is None else among
    mean_number = len(judged.truth) / judged.num_classes
    other = (judged.instance >= 0) & ~among[judged.instance]
    values = []
    for label in np.unique(judged.truth[among]):
        rows = (judged.label == label) & (judged.kind != FORGIVEN) & ~other
        count = int(np.sum(judged.truth[among] == label))
        hit = judged.instance[rows] >= 0
        values.append(average_precision(hit, count, judged.protocol, mean_number / count))
    return float(np.mean(values)) if values else None


def without(judged: Judged, kind: int) -> Judged:
    """The detections but those of a kind."""
    return judged.take(judged.kind != kind)


def mended(judged: Judged, kind: int) -> Judged:
    """The detections of a kind put right: the best of each instance finds it, if none has yet.

    A wrong time becomes the instance's, a wrong label too, scores stay. What is left of the kind
    is removed, as doubles and background are.
    """
    taken = found_instances(judged)
    keep = judged.kind != kind
    label, instance = judged.label.copy(), judged.instance.copy()
    for row in np.flatnonzero(~keep & (judged.target >= 0)):  # best first
        target = judged.target[row]
        if not taken[target]:
            taken[target] = keep[row] = True
            instance[row], label[row] = target, judged.truth[target]
    return judged._replace(label=label, instance=instance).take(keep)


def all_mended(judged: Judged) -> tuple[Judged, np.ndarray]:
    """All kinds mended, one after another, and the instances that are then found."""
    for kind in range(DOUBLE, len(KINDS)):
        judged = mended(judged, kind)
    return judged, found_instances(judged)
