"""Mean average precision of detections, or of scored segments, under a named protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.errors import InputError
from scnn_tf.evaluation.protocols import get_protocol, tiou_array
from scnn_tf.io.files import CONTROL_ESCAPES
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.segments.prior import WindowPrior

NMS_MARGIN = 0.1
"""The paper's NMS threshold is the evaluation's tIoU threshold minus this margin."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Average precision of detections under a protocol.

    Attributes:
        protocol: `thumos14` or `activitynet`.
        tiou_thresholds: T tIoU thresholds.
        class_names: K classes that have instances in the ground truth, alphabetical.
        ap: float64 [K, T], average precision; 0 for a class without detections.
        class_instances: int64 [K], number of ground-truth instances of each class.
        videos: Number of videos in the ground truth.
        ambiguous: Number of ambiguous intervals in these videos.
        detections: int64 [T], number of detections that were scored.

    Example:
        >>> walk = scnn_tf.Instance("walk", 12.0, 15.0)
        >>> truth = {"tour": scnn_tf.VideoAnnotation("tour", "test", 60.0, None, (walk,))}
        >>> found = scnn_tf.Detections(["tour"] * 2, [12.4, 30], [15, 32], ["walk"] * 2, [0.9, 0.4])
        >>> evaluation = scnn_tf.evaluate(truth, found, tiou_thresholds=[0.5, 0.9])
        >>> print(evaluation.table())
        protocol thumos14: 1 videos, 1 instances, 0 ambiguous intervals, 1 classes
        tIoU       instances       0.5       0.9
        walk               1  1.000000  0.000000
        mAP                1  1.000000  0.000000
        detections                   2         2
    """

    protocol: str
    tiou_thresholds: tuple[float, ...]
    class_names: tuple[str, ...]
    ap: np.ndarray
    class_instances: np.ndarray
    videos: int
    ambiguous: int
    detections: np.ndarray

    @property
    def map(self) -> np.ndarray:
        """Mean of `ap` over classes, float64 [T]."""
        return self.ap.mean(axis=0)

    def to_json(self) -> dict:
        """Returns the evaluation in plain Python types; thresholds are text, to serve as keys."""
        keys = [f"{threshold:g}" for threshold in self.tiou_thresholds]
        return {
            "protocol": self.protocol,
            "videos": self.videos,
            "instances": int(self.class_instances.sum()),
            "ambiguous": self.ambiguous,
            "classes": len(self.class_names),
            "detections": dict(zip(keys, self.detections.tolist(), strict=True)),
            "map": dict(zip(keys, self.map.tolist(), strict=True)),
            "ap": {
                name: dict(zip(keys, row, strict=True))
                for name, row in zip(self.class_names, self.ap.tolist(), strict=True)
            },
        }

    def table(self) -> str:
        """Returns a text table: what was measured on, AP of each class, and mAP."""
        title = (
            f"protocol {self.protocol}: {self.videos} videos, {self.class_instances.sum()} "
            f"instances, {self.ambiguous} ambiguous intervals, {len(self.class_names)} classes"
        )
        columns = [f"{threshold:g}" for threshold in self.tiou_thresholds]
        rows = ap_rows(
            "tIoU", columns, self.class_names, self.class_instances, self.ap, self.detections
        )
        return "\n".join([title, *rows])


def ap_rows(
    measure: str,
    columns: Sequence[str],
    names: Sequence[str],
    instances: np.ndarray,
    ap: np.ndarray,
    detections: Sequence[int],
) -> list[str]:
    """Returns the rows of a text table of AP: a header, a row a class, mAP, and detections.

    Args:
        measure: What the columns are values of, such as `tIoU`.
        columns: Name of each of C columns.
        names: K classes.
        instances: int64 [K], number of instances of each class.
        ap: float64 [K, C].
        detections: Number of detections that were scored for each column.
    """
    width = max(len("detections"), len(measure), *map(len, names))
    rows = [f"{measure:<{width}} {'instances':>9}" + "".join(f"{name:>10}" for name in columns)]
    for name, count, row in zip(
        [*names, "mAP"], [*instances, instances.sum()], [*ap, ap.mean(axis=0)], strict=True
    ):
        rows.append(f"{name:<{width}} {count:>9}" + "".join(f"{value:>10.6f}" for value in row))
    rows.append(f"{'detections':<{width}} {'':>9}" + "".join(f"{n:>10}" for n in detections))
    return [row.translate(CONTROL_ESCAPES) for row in rows]


def evaluate(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    *,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
) -> Evaluation:
    """Evaluates detections against all videos of the ground truth.

    Args:
        ground_truth: Annotations by video id, as read, not clipped to the videos' durations. Every
            class that has an instance counts, with detections or without.
        detections: Detections; those of videos or classes that the ground truth lacks are skipped,
            and the log reports how many. Row order decides between equal scores (`thumos14`:
            within a video; between videos the lower id comes first).
        tiou_thresholds: T tIoU thresholds in (0, 1].
        protocol: `thumos14` or `activitynet`.

    Raises:
        InputError: The protocol or a threshold is unknown, the ground truth has no instance, or
            none of the detections is of one of its videos.

    Example:
        >>> walk = scnn_tf.Instance("walk", 12.0, 15.0)
        >>> truth = {"tour": scnn_tf.VideoAnnotation("tour", "test", 60.0, None, (walk,))}
        >>> found = scnn_tf.Detections(["tour"] * 2, [12.4, 30], [15, 32], ["walk"] * 2, [0.9, 0.4])
        >>> scnn_tf.evaluate(truth, found, tiou_thresholds=[0.5, 0.9]).map.tolist()
        [1.0, 0.0]
    """
    rules, thresholds = get_protocol(protocol), tiou_array(tiou_thresholds)
    classes, class_instances = instances_by_class(ground_truth)
    detections = known_detections(detections, ground_truth)
    detections = detections.take(rules.ranks(detections))
    matches = rules.match(ground_truth, detections, thresholds)
    ap = np.zeros((len(classes), len(thresholds)))
    for row, (name, count) in enumerate(zip(classes, class_instances, strict=True)):
        found = detections.label == name
        for column in range(len(thresholds)):
            hit = matches.instance[found & matches.counted[:, column], column] >= 0
            ap[row, column] = rules.average_precision(hit, count)
    return Evaluation(
        protocol=protocol,
        tiou_thresholds=tuple(thresholds.tolist()),
        class_names=classes,
        ap=ap,
        class_instances=class_instances,
        videos=len(ground_truth),
        ambiguous=sum(len(video.ambiguous) for video in ground_truth.values()),
        detections=np.full(len(thresholds), len(detections)),
    )


def instances_by_class(
    ground_truth: Mapping[str, VideoAnnotation],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the K classes that have instances, alphabetical, and their number, int64 [K].

    Raises:
        InputError: The ground truth has no instance.
    """
    labels = [i.label for video in ground_truth.values() for i in video.actions]
    if not labels:
        raise InputError(
            "expected ground truth with at least one instance of an action. Received: "
            f"{len(ground_truth)} videos without any"
        )
    names, counts = np.unique(labels, return_counts=True)
    return tuple(names.tolist()), counts


def evaluate_segments(
    ground_truth: Mapping[str, VideoAnnotation],
    segments: RawSegments,
    *,
    prior: WindowPrior | None,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
    text_rounding: bool = False,
) -> Evaluation:
    """Evaluates scored segments, which are post-processed for each threshold, as in the paper.

    The NMS threshold is the tIoU threshold minus `NMS_MARGIN`.

    Args:
        ground_truth: See `evaluate`.
        segments: Scored segments of any number of videos.
        prior: Window-length prior to multiply the scores with, or None.
        tiou_thresholds: T tIoU thresholds in (0, 1].
        protocol: `thumos14` or `activitynet`.
        text_rounding: See `scnn_tf.localization.postprocess.detections_from_segments`.

    Raises:
        InputError: See `evaluate` and `detections_from_segments`.
    """
    parts = []
    for threshold in tiou_array(tiou_thresholds).tolist():
        nms_threshold = max(0.0, threshold - NMS_MARGIN)
        detections = detections_from_segments(segments, prior, nms_threshold, text_rounding)
        parts.append(
            evaluate(ground_truth, detections, tiou_thresholds=[threshold], protocol=protocol)
        )
    return replace(
        parts[0],
        tiou_thresholds=tuple(part.tiou_thresholds[0] for part in parts),
        ap=np.concatenate([part.ap for part in parts], axis=1),
        detections=np.concatenate([part.detections for part in parts]),
    )


def of_known_videos(
    detections: Detections, ground_truth: Mapping[str, VideoAnnotation]
) -> Detections:
    """Returns the detections of the ground truth's videos; the log reports what is skipped.

    Raises:
        InputError: There are detections, but none of these videos.
    """
    known = np.isin(detections.video, sorted(ground_truth))
    if len(detections) and not known.any():
        raise InputError(
            "expected detections of videos of the ground truth, such as "
            f"{next(iter(ground_truth), None)!r}. Received: {len(detections)} detections of other "
            f"videos, such as {str(detections.video[0])!r}"
        )
    if not known.all():
        logging.warning(
            "skipped %d of %d detections: their %d videos are not in the ground truth",
            np.sum(~known),
            len(known),
            len(np.unique(detections.video[~known])),
        )
    return detections.take(known)


def known_detections(
    detections: Detections, ground_truth: Mapping[str, VideoAnnotation]
) -> Detections:
    """Returns the detections that can be scored; the log reports what is skipped.

    Raises:
        InputError: See `of_known_videos`.
    """
    detections = of_known_videos(detections, ground_truth)
    known = np.isin(detections.label, class_names(ground_truth.values()))
    if not known.all():
        logging.warning(
            "skipped %d of %d detections: their classes have no instance in the ground truth (%s)",
            np.sum(~known),
            len(known),
            ", ".join(np.unique(detections.label[~known])),
        )
    return detections.take(known)
