"""Classifies detections by error type and computes mAP without, or with fixed, errors of a type.

The types are those of DETAD (`scnn_tf.evaluation.diagnosis`). A detection at threshold θ has the
first type that fits:

- true positive: the protocol assigns an instance to it;
- double detection: it reaches θ with an instance of its class that another detection has found;
- wrong label: it reaches θ with an instance of another class;
- localization: it has tIoU .1 or more with an instance of its class;
- confusion: it has tIoU .1 or more with an instance of another class;
- background: none of these.

A false detection that touches an ambiguous interval is ignored under `thumos14`, before any other
type is considered.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation, class_names, instance_spans
from scnn_tf.evaluation.protocols import Protocol, get_protocol, rows_by_video, tiou_array
from scnn_tf.localization.tables import Detections
from scnn_tf.segments.labels import tiou


class ErrorType(enum.IntEnum):
    """The type of a detection at a tIoU threshold."""

    TRUE_POSITIVE = 0
    DOUBLE_DETECTION = 1
    WRONG_LABEL = 2
    LOCALIZATION = 3
    CONFUSION = 4
    BACKGROUND = 5
    IGNORED = 6

    @property
    def label(self) -> str:
        """Name for readers, such as `true positive`."""
        return self.name.lower().replace("_", " ")


COUNTED = tuple(kind for kind in ErrorType if kind != ErrorType.IGNORED)
"""The types of the detections that mAP counts."""
FALSE = tuple(kind for kind in COUNTED if kind != ErrorType.TRUE_POSITIVE)
"""The types of the false detections that mAP counts."""
TOUCHING_TIOU = 0.1
"""A detection with a lower tIoU has nothing to do with an instance."""


class Classified(NamedTuple):
    """N classified detections, best first, and G instances, at one threshold.

    Attributes:
        label: int [N], index of the detection's class.
        instance: int [N], the instance that the detection has found, or -1.
        type: int [N], `ErrorType`.
        target: int [N], the instance that the detection would find if it were fixed, or -1.
        truth: int [G], index of the class of each instance.
        num_classes: Number of classes, K.
        protocol: The rules.
    """

    label: np.ndarray
    instance: np.ndarray
    type: np.ndarray
    target: np.ndarray
    truth: np.ndarray
    num_classes: int
    protocol: Protocol

    def take(self, rows: np.ndarray) -> "Classified":
        """Returns only the detections of an index or a mask."""
        return self._replace(
            label=self.label[rows],
            instance=self.instance[rows],
            type=self.type[rows],
            target=self.target[rows],
        )

    def counted(self, label: int) -> np.ndarray:
        """Returns which detections of a class mAP counts, bool [N]."""
        return (self.label == label) & (self.type != ErrorType.IGNORED)

    def found(self) -> np.ndarray:
        """Returns which instances a detection has found, bool [G]."""
        found = np.zeros(len(self.truth), bool)
        found[self.instance[self.instance >= 0]] = True
        return found


def classify(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    *,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
) -> np.ndarray:
    """Classifies detections by error type.

    A true positive is what the protocol finds true among all detections, whatever their scores.

    Args:
        ground_truth: Annotations by video id.
        detections: N detections; those of other videos are background.
        tiou_thresholds: T thresholds in (0, 1].
        protocol: `thumos14` or `activitynet`.

    Returns:
        int64 [N, T], `ErrorType` of each detection at each threshold.

    Raises:
        InputError: The protocol is unknown, or a threshold lies outside (0, 1].
    """
    rules, thresholds = get_protocol(protocol), tiou_array(tiou_thresholds)
    order = rules.ranks(detections)
    classes = class_names(ground_truth.values())
    parts = classify_ranked(ground_truth, detections.take(order), classes, thresholds, rules)
    types = np.empty((len(detections), len(thresholds)), np.int64)
    types[order] = np.stack([part.type for part in parts], axis=1)
    return types


def classify_ranked(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    names: tuple[str, ...],
    thresholds: np.ndarray,
    protocol: Protocol,
) -> list[Classified]:
    """Classifies detections at each threshold, with all that a diagnosis needs.

    Args:
        ground_truth: Annotations by video id.
        detections: N detections, best first; those of other videos are background.
        names: Classes of the ground truth, alphabetical.
        thresholds: float64 [T], tIoU.
        protocol: The rules.
    """
    matches = protocol.match(ground_truth, detections, thresholds)
    # The best tIoU with an instance of the detection's class and of any other, and its instance.
    same, other = np.zeros(len(detections)), np.zeros(len(detections))
    same_instance, other_instance = np.full((2, len(detections)), -1)
    actions = [ground_truth[key].actions for key in sorted(ground_truth)]
    rows_of = rows_by_video(detections.video, sorted(ground_truth))
    all_spans = detections.spans()
    first = 0
    for rows, instances in zip(rows_of, actions, strict=True):
        if len(rows) and instances:
            overlap = tiou(all_spans[rows], instance_spans(instances))
            own = detections.label[rows][:, None] == np.array([i.label for i in instances])
            for best, index, part in ((same, same_instance, own), (other, other_instance, ~own)):
                table = np.where(part, overlap, 0.0)
                best[rows], index[rows] = table.max(axis=1), first + table.argmax(axis=1)
        first += len(instances)
    classes = np.array(names, str)
    truth = np.searchsorted(classes, [i.label for part in actions for i in part])
    label = np.searchsorted(classes, detections.label)
    classified = []
    for column, threshold in enumerate(thresholds):
        rules = {
            ErrorType.IGNORED: ~matches.counted[:, column],
            ErrorType.TRUE_POSITIVE: matches.instance[:, column] >= 0,
            ErrorType.DOUBLE_DETECTION: protocol.reaches(same, threshold),
            ErrorType.WRONG_LABEL: protocol.reaches(other, threshold),
            ErrorType.LOCALIZATION: same >= TOUCHING_TIOU,
            ErrorType.CONFUSION: other >= TOUCHING_TIOU,
        }
        types = np.select(list(rules.values()), list(rules), ErrorType.BACKGROUND)
        of_other_class = np.isin(types, [ErrorType.WRONG_LABEL, ErrorType.CONFUSION])
        target = np.select(
            [types == ErrorType.LOCALIZATION, of_other_class], [same_instance, other_instance], -1
        )
        instance = matches.instance[:, column]
        classified.append(Classified(label, instance, types, target, truth, len(names), protocol))
    return classified


def best_threshold(
    types: np.ndarray, scores: np.ndarray, num_instances: int, beta: float = 1.0
) -> float:
    """Returns the score threshold with the highest F measure.

    Args:
        types: int [N], `ErrorType` of each detection.
        scores: float [N], score of each detection.
        num_instances: Number of instances in the ground truth.
        beta: How often recall counts as much as precision: 1 for F1, 1/2 for F.5, whose threshold
            is higher.

    Returns:
        A score; detections that have it or more are kept. The highest of equally good ones; the
        highest score of all where no detection is true; 0 without detections.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    order = order[types[order] != ErrorType.IGNORED]
    if not len(order):
        return float(scores.max())
    true = np.cumsum(types[order] == ErrorType.TRUE_POSITIVE)
    measure = (1 + beta**2) * true / (np.arange(1, len(order) + 1) + beta**2 * num_instances)
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # equal scores come together
    return float(scores[order][np.argmax(np.where(last, measure, -1.0))])


def mean_ap(classified: Classified, counted: np.ndarray | None = None) -> float:
    """Returns mAP; only the instances that are `counted`, bool [G], can be missed.

    A class of which no instance is counted has AP 1 if nothing is detected of it, else 0.
    """
    truth = classified.truth if counted is None else classified.truth[counted]
    values = []
    for label in range(classified.num_classes):
        rows = classified.counted(label)
        if count := np.sum(truth == label):
            hit = classified.instance[rows] >= 0
            values.append(classified.protocol.average_precision(hit, count))
        else:
            values.append(float(not rows.any()))
    return float(np.mean(values))


def normalized_map(classified: Classified, among: np.ndarray | None = None) -> float | None:
    """Returns mAP_N of the instances `among`, bool [G]; without any, None.

    A detection that has found another instance is skipped. Precision is R · N / (R · N + F) with
    recall R, F false detections and N the mean number of instances a class, so that classes and
    buckets of different sizes can be compared. The mean is over the classes that have instances
    among them.
    """
    among = np.ones(len(classified.truth), bool) if among is None else among
    mean_number = len(classified.truth) / classified.num_classes
    other = (classified.instance >= 0) & ~among[classified.instance]
    values = []
    for label in np.unique(classified.truth[among]):
        rows = classified.counted(label) & ~other
        count = int(np.sum(classified.truth[among] == label))
        hit = classified.instance[rows] >= 0
        values.append(classified.protocol.average_precision(hit, count, mean_number / count))
    return float(np.mean(values)) if values else None


def without(classified: Classified, error: ErrorType) -> Classified:
    """Returns the detections that are not of an error type."""
    return classified.take(classified.type != error)


def fixed(classified: Classified, error: ErrorType) -> Classified:
    """Returns the detections with those of an error type fixed.

    The best of the detections that aim at an instance finds it, if none has yet: a wrong time or
    label becomes the instance's, scores stay. The others of the type are removed, like double
    detections and background.
    """
    taken = classified.found()
    keep = classified.type != error
    label, instance = classified.label.copy(), classified.instance.copy()
    for row in np.flatnonzero(~keep & (classified.target >= 0)):  # best first
        target = classified.target[row]
        if not taken[target]:
            taken[target] = keep[row] = True
            instance[row], label[row] = target, classified.truth[target]
    return classified._replace(label=label, instance=instance).take(keep)


def all_fixed(classified: Classified) -> Classified:
    """Returns the detections with all error types fixed, one after another."""
    for error in FALSE:
        classified = fixed(classified, error)
    return classified
