"""Mean average precision of detections, or of scored segments, under a named protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.errors import InputError
from scnn_tf.evaluation.protocols import PROTOCOLS, average_precision, match, ranks
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.segments.windows import sliding_windows

NMS_MARGIN = 0.1
"""The paper's NMS threshold is the evaluation's less this."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a protocol says of detections.

    Attributes:
        protocol: `thumos14` or `activitynet`.
        tiou_thresholds: T of them.
        class_names: K, those that have instances in the ground truth, alphabetical.
        ap: float64 [K, T], average precision; 0 for a class without detections.
        class_instances: int64 [K], ground-truth instances of each class.
        videos: number of videos in the ground truth.
        ambiguous: number of ambiguous intervals in them.
        detections: int64 [T], number of detections that were scored.
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
        """float64 [T], the mean of `ap` over classes."""
        return self.ap.mean(axis=0)

    def to_json(self) -> dict:
        """All of it in plain Python types; thresholds as text, so that they can be keys."""
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
        """A text table: AP for each class, then mAP, all with what they were measured on."""
        width = max(len("detections"), *map(len, self.class_names))
        instances = self.class_instances.sum()
        lines = [
            f"protocol {self.protocol}: {self.videos} videos, {instances} instances, "
            f"{self.ambiguous} ambiguous intervals, {len(self.class_names)} classes",
            f"{'tIoU':<{width}} {'instances':>9}"
            + "".join(f"{threshold:>10g}" for threshold in self.tiou_thresholds),
        ]
        for name, count, row in zip(
            [*self.class_names, "mAP"],
            [*self.class_instances, instances],
            [*self.ap, self.map],
            strict=True,
        ):
            lines.append(f"{name:<{width}} {count:>9}" + "".join(f"{ap:>10.6f}" for ap in row))
        lines.append(
            f"{'detections':<{width}} {'':>9}" + "".join(f"{n:>10}" for n in self.detections)
        )
        return "\n".join(lines)


def evaluate(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
) -> Evaluation:
    """Scores detections against all videos of the ground truth.

    Args:
        ground_truth: by video id, as read, not clipped to the videos' durations. Every class
            that has an instance counts, with detections or without.
        detections: those of videos or classes that the ground truth lacks are passed over, and
            the log says how many. Row order decides between equal scores (`thumos14`: within
            a video; between videos the lower id comes first).
        tiou_thresholds: in (0, 1].
        protocol: `thumos14` or `activitynet`.

    Raises:
        InputError: an unknown protocol or threshold, no instance, or detections of other videos
            only.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    thresholds = np.array(tiou_thresholds, np.float64)
    if not thresholds.size or not ((0 < thresholds) & (thresholds <= 1)).all():
        raise InputError(f"tIoU thresholds lie in (0, 1]; received {list(tiou_thresholds)}")
    classes = class_names(ground_truth.values())
    if not classes:
        raise InputError("the ground truth has no instance of any action; nothing to evaluate")
    detections = known_detections(detections, ground_truth, classes)
    detections = detections.take(ranks(detections, protocol))
    matches = match(ground_truth, detections, thresholds, protocol)
    labels = [i.label for video in ground_truth.values() for i in video.actions]
    class_instances = np.unique(labels, return_counts=True)[1]
    ap = np.zeros((len(classes), len(thresholds)))
    for row, (name, count) in enumerate(zip(classes, class_instances, strict=True)):
        found = detections.label == name
        for column in range(len(thresholds)):
            hit = matches.instance[found & matches.counted[:, column], column] >= 0
            ap[row, column] = average_precision(hit, count, protocol)
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


def evaluate_segments(
    ground_truth: Mapping[str, VideoAnnotation],
    segments: RawSegments,
    prior: WindowPrior | None,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
    text_rounding: bool = False,
) -> Evaluation:
    """Scores raw segments, post-processed for each threshold with NMS at that less .1.

    Args, returns and raises as `evaluate` and `postprocessing.detections_from_segments`.
    """
    parts = []
    for threshold in tiou_thresholds:
        nms_threshold = max(0.0, threshold - NMS_MARGIN)
        detections = detections_from_segments(segments, prior, nms_threshold, text_rounding)
        parts.append(evaluate(ground_truth, detections, [threshold], protocol))
    return replace(
        parts[0],
        tiou_thresholds=tuple(part.tiou_thresholds[0] for part in parts),
        ap=np.concatenate([part.ap for part in parts], axis=1),
        detections=np.concatenate([part.detections for part in parts]),
    )


def chance(
    ground_truth: Mapping[str, VideoAnnotation], window_frames: Sequence[int], seed: int = 0
) -> RawSegments:
    """What guessing looks like: all windows of all videos, with random classes and scores."""
    random = np.random.default_rng(seed)
    names = class_names(ground_truth.values())
    fps = 25.0
    rows = [
        (video.video_id, window)
        for video in ground_truth.values()
        for window in sliding_windows(round(video.duration * fps), window_frames)
    ]
    return RawSegments(
        video=[video_id for video_id, _ in rows],
        window_frames=[window.length for _, window in rows],
        start=[window.start / fps for _, window in rows],
        end=[window.end / fps for _, window in rows],
        label=random.choice(names, len(rows)),
        score=random.random(len(rows)),
    )


def of_known_videos(
    detections: Detections, ground_truth: Mapping[str, VideoAnnotation]
) -> Detections:
    """The detections of the ground truth's videos; the log says what is left out.

    Raises:
        InputError: there are detections, but none of these videos.
    """
    known = np.isin(detections.video, sorted(ground_truth))
    if len(detections) and not known.any():
        raise InputError(
            f"none of the {len(detections)} detections is of a video of the ground truth: they "
            f"name '{detections.video[0]}', it names {next(iter(ground_truth))!r}"
        )
    if not known.all():
        logging.warning(
            "%d of %d detections are of %d videos outside the ground truth: passed over",
            np.sum(~known),
            len(known),
            len(np.unique(detections.video[~known])),
        )
    return detections.take(known)


def known_detections(
    detections: Detections,
    ground_truth: Mapping[str, VideoAnnotation],
    classes: tuple[str, ...],
) -> Detections:
    """The detections that can be scored; logs what is left out.

    Raises:
        InputError: as `of_known_videos`.
    """
    detections = of_known_videos(detections, ground_truth)
    known = np.isin(detections.label, classes)
    if not known.all():
        logging.warning(
            "%d of %d detections are of classes without instances in the ground truth (%s): "
            "passed over",
            np.sum(~known),
            len(known),
            ", ".join(np.unique(detections.label[~known])),
        )
    return detections.take(known)
