"""Diagnosis of detections: error types, what each costs, and which instances are missed.

After Alwassel, Caba Heilbron, Escorcia and Ghanem, "Diagnosing Error in Temporal Action
Detectors" (DETAD, ECCV 2018). `diagnose` takes the arguments of `evaluate`, and a detection is true
if the same protocol finds it true, so that both give the same mAP. `scnn_tf.evaluation.error_types`
defines the error types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import (
    COUNTED,
    FALSE,
    Classified,
    ErrorType,
    all_fixed,
    classify_ranked,
    fixed,
    mean_ap,
    normalized_map,
    without,
)
from scnn_tf.evaluation.evaluate import Evaluation, evaluate, known_detections
from scnn_tf.evaluation.protocols import get_protocol
from scnn_tf.localization.tables import Detections

MISSED = "missed instances"
EVERYTHING = "everything"
DEPTHS = 10
"""The profile covers the 10 · G best detections of a class with G instances."""
SIZES = ("XS", "S", "M", "L", "XL")
# Upper bounds, inclusive, of all buckets but the last. For ActivityNet they are DETAD's; for
# THUMOS'14, where actions are shorter and videos contain more of them, those of later papers
# (ActionFormer). The number of instances in the video has four buckets.
BUCKETS: Mapping[str, Mapping[str, tuple[float, ...]] | None] = {
    "thumos14": {
        "length": (3, 6, 12, 18),
        "coverage": (2, 4, 6, 8),
        "instances": (1, 40, 80),
    },
    "activitynet": {
        "length": (30, 60, 120, 180),
        "coverage": (20, 40, 60, 80),
        "instances": (1, 4, 8),
    },
    "fifths": None,  # the same number of instances in each, as far as equal values allow
}
CHARACTERISTICS = {
    "length": "length of the instance, s",
    "coverage": "length of the instance, % of its video",
    "instances": "instances of its class in its video",
}


@dataclass(frozen=True)
class Bucket:
    """The instances of which a characteristic lies within bounds.

    Attributes:
        name: `XS` to `XL`.
        above: Exclusive lower bound; −inf for the first bucket.
        up_to: Inclusive upper bound; inf for the last bucket.
        instances: Number of instances.
        normalized_map: Mean over thresholds of mAP_N of these instances alone; None without any.
        missed: Share that no detection finds, mean over thresholds; None without any.
    """

    name: str
    above: float
    up_to: float
    instances: int
    normalized_map: float | None
    missed: float | None

    def bounds(self) -> str:
        """Returns the bounds as text, such as `3 – 6`."""
        if self.up_to == np.inf:
            return f"> {self.above:.4g}" if self.above > -np.inf else "all"
        if self.above == -np.inf:
            return f"≤ {self.up_to:.4g}"
        return f"{self.above:.4g} – {self.up_to:.4g}"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Error types of detections, what each type costs, and which instances are missed.

    Attributes:
        evaluation: mAP of the same detections, at T thresholds.
        instances: Number of instances in the ground truth.
        detections: Number of detections that were scored, N.
        normalized_map: float64 [T], mAP_N of all instances: precision as if every class had the
            mean number of instances.
        error_types: int8 [N, T], `ErrorType` of each detection, best first.
        profile: int64 [T, 10, 6], number of detections of each type in `COUNTED` among those that
            rank, within their class of G instances, from 1 to G, from G + 1 to 2G, … to 10G.
        removed: Label of an error type, or `EVERYTHING` → float64 [T], mAP without the false
            detections of that type.
        fixed: Label of an error type, `MISSED` or `EVERYTHING` → float64 [T], mAP with these fixed.
        missed: float64 [T], share of the instances that no detection finds.
        buckets: Name in `CHARACTERISTICS` → its buckets; without coverage where no duration of
            a video is known.
        unmeasured: Number of instances that coverage leaves out, since the duration of their video
            is unknown.
    """

    evaluation: Evaluation
    instances: int
    detections: int
    normalized_map: np.ndarray
    error_types: np.ndarray
    profile: np.ndarray
    removed: Mapping[str, np.ndarray]
    fixed: Mapping[str, np.ndarray]
    missed: np.ndarray
    buckets: Mapping[str, tuple[Bucket, ...]]
    unmeasured: int

    def to_json(self) -> dict:
        """Returns the evaluation and the diagnosis in plain Python types; thresholds are text."""

        def by_threshold(values: np.ndarray) -> dict[str, float]:
            return dict(zip(thresholds, values.tolist(), strict=True))

        thresholds = [f"{threshold:g}" for threshold in self.evaluation.tiou_thresholds]
        labels = [kind.label for kind in COUNTED]
        return {
            **self.evaluation.to_json(),
            "normalized_map": by_threshold(self.normalized_map),
            "missed": by_threshold(self.missed),
            "profile": {
                threshold: [dict(zip(labels, row, strict=True)) for row in table.tolist()]
                for threshold, table in zip(thresholds, self.profile, strict=True)
            },
            "error_types": {
                threshold: {kind.label: int((column == kind).sum()) for kind in ErrorType}
                for threshold, column in zip(thresholds, self.error_types.T, strict=True)
            },
            "map_if_removed": {name: by_threshold(v) for name, v in self.removed.items()},
            "map_if_fixed": {name: by_threshold(v) for name, v in self.fixed.items()},
            "buckets": {
                name: [
                    {
                        "name": b.name,
                        "above": b.above if np.isfinite(b.above) else None,
                        "up_to": b.up_to if np.isfinite(b.up_to) else None,
                        "instances": b.instances,
                        "normalized_map": b.normalized_map,
                        "missed": b.missed,
                    }
                    for b in buckets
                ]
                for name, buckets in self.buckets.items()
            },
            "unmeasured": self.unmeasured,
        }

    def table(self) -> str:
        """Returns text tables: the profile at each threshold, gains and buckets, means over all."""
        overall = self.evaluation
        at = ", ".join(f"{threshold:g}" for threshold in overall.tiou_thresholds)
        lines = [
            f"protocol {overall.protocol}: {overall.videos} videos, {self.instances} instances, "
            f"{len(overall.class_names)} classes, {self.detections} detections",
            f"tIoU {at}: mAP {overall.map.mean():.4f}, mAP_N {self.normalized_map.mean():.4f}, "
            f"{self.missed.mean():.1%} of the instances missed",
        ]
        for threshold, table in zip(overall.tiou_thresholds, self.profile, strict=True):
            lines += ["", *self._profile_lines(threshold, table)]
        lines += ["", *self._gain_lines()]
        for name, buckets in self.buckets.items():
            lines += ["", f"{CHARACTERISTICS[name]:42}{'instances':>10}{'mAP_N':>10}{'missed':>10}"]
            for b in buckets:
                figures = f"{'–':>10}{'–':>10}"
                if b.instances:
                    figures = f"{b.normalized_map:>10.4f}{b.missed:>10.1%}"
                lines.append(f"{b.name:4}{b.bounds():38}{b.instances:>10}{figures}")
        if self.unmeasured:
            lines += ["", f"coverage is unknown of {self.unmeasured} instances: no video duration"]
        return "\n".join(lines)

    def _gain_lines(self) -> list[str]:
        lines = [f"{'mAP, and its gain if they were':32}{'removed':>10}{'fixed':>10}"]
        for name in self.fixed:
            line = f"{name:32}"
            for maps in (self.removed, self.fixed):
                gain = (maps[name] - self.evaluation.map).mean() if name in maps else None
                line += f"{'–' if gain is None else f'{gain:+.4f}':>10}"
            lines.append(line)
        return lines

    def _profile_lines(self, threshold: float, table: np.ndarray) -> list[str]:
        rows = [
            (f"{depth}G – {depth + 1}G" if depth else "best G", counts)
            for depth, counts in enumerate(table)
        ]
        lines = [
            f"detections at tIoU {threshold:g} by rank in their class, of G instances; %",
            f"{'rank':10}{'number':>8}" + "".join(f"{kind.label:>18}" for kind in COUNTED),
        ]
        for name, counts in [*rows, (f"best {DEPTHS}G", table.sum(axis=0))]:
            number = counts.sum()
            shares = [f"{count / number:>18.1%}" if number else f"{'–':>18}" for count in counts]
            lines.append(f"{name:10}{number:>8}" + "".join(shares))
        return lines


def diagnose(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    *,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
    buckets: str | None = None,
) -> Diagnosis:
    """Diagnoses detections: error types, what each type costs, and which instances are missed.

    Args:
        ground_truth: See `evaluate`; durations are needed for coverage only.
        detections: See `evaluate`.
        tiou_thresholds: T tIoU thresholds in (0, 1].
        protocol: `thumos14` or `activitynet`.
        buckets: A name in `BUCKETS`; None: the protocol's.

    Raises:
        InputError: See `evaluate`, or there are no such buckets.

    Example:
        >>> walk = scnn_tf.Instance("walk", 12.0, 15.0)
        >>> truth = {"tour": scnn_tf.VideoAnnotation("tour", "test", 60.0, None, (walk,))}
        >>> found = scnn_tf.Detections(["tour"] * 2, [12.4, 30], [15, 32], ["walk"] * 2, [0.9, 0.4])
        >>> diagnosis = scnn_tf.diagnose(truth, found, tiou_thresholds=[0.9])
        >>> diagnosis.fixed["localization"].tolist()  # [12.4, 15) has tIoU .867 with [12, 15)
        [1.0]
    """
    rules = get_protocol(protocol)
    if (buckets := buckets or protocol) not in BUCKETS:
        raise InputError(f"expected buckets, one of {', '.join(BUCKETS)}. Received: {buckets!r}")
    detections = known_detections(detections, ground_truth)
    evaluation = evaluate(
        ground_truth, detections, tiou_thresholds=tiou_thresholds, protocol=protocol
    )
    classified = classify_ranked(
        ground_truth,
        detections.take(rules.ranks(detections)),
        evaluation.class_names,
        np.array(evaluation.tiou_thresholds),
        rules,
    )
    found = np.stack([part.found() for part in classified], axis=1)
    characteristics = _characteristics(ground_truth)
    measured = {
        name: values for name, values in characteristics.items() if not np.isnan(values).all()
    }
    return Diagnosis(
        evaluation=evaluation,
        instances=len(found),
        detections=len(detections),
        normalized_map=np.array([normalized_map(part) for part in classified]),
        error_types=np.stack([part.type for part in classified], axis=1).astype(np.int8),
        profile=np.stack([_profile(part) for part in classified]),
        removed=_removed(classified),
        fixed=_fixed(classified),
        missed=1 - found.mean(axis=0),
        buckets={
            name: tuple(
                _bucket(classified, found, size, low, high, values)
                for size, low, high in _bounds(BUCKETS[buckets], name, values)
            )
            for name, values in measured.items()
        },
        unmeasured=int(np.isnan(characteristics["coverage"]).sum()),
    )


def _removed(classified: Sequence[Classified]) -> dict[str, np.ndarray]:
    """Returns mAP, float64 [T], without the false detections of each type, and without all."""
    maps = {
        error.label: np.array([mean_ap(without(part, error)) for part in classified])
        for error in FALSE
    }
    true = [part.take(part.type == ErrorType.TRUE_POSITIVE) for part in classified]
    return maps | {EVERYTHING: np.array([mean_ap(part) for part in true])}


def _fixed(classified: Sequence[Classified]) -> dict[str, np.ndarray]:
    """Returns mAP, float64 [T], with each error type, missed instances, or everything fixed."""
    maps = {
        error.label: np.array([mean_ap(fixed(part, error)) for part in classified])
        for error in FALSE
    }
    everything = [all_fixed(part) for part in classified]
    return maps | {
        MISSED: np.array([mean_ap(part, part.found()) for part in classified]),
        EVERYTHING: np.array([mean_ap(part, part.found()) for part in everything]),
    }


def _profile(classified: Classified) -> np.ndarray:
    """Returns the number of detections of each type by multiples of G, int64 [10, 6]."""
    counts = np.zeros((DEPTHS, len(COUNTED)), np.int64)
    for label in range(classified.num_classes):
        types = classified.type[classified.counted(label)]
        instances = int(np.sum(classified.truth == label))
        for depth in range(DEPTHS):
            part = types[depth * instances : (depth + 1) * instances]
            counts[depth] += np.bincount(part, minlength=len(COUNTED))
    return counts


def _characteristics(ground_truth: Mapping[str, VideoAnnotation]) -> dict[str, np.ndarray]:
    """Returns each characteristic of the instances, float64 [G], NaN where it is unknown."""
    values = {name: [] for name in CHARACTERISTICS}
    for key in sorted(ground_truth):
        video = ground_truth[key]
        labels = [i.label for i in video.actions]
        for i in video.actions:
            values["length"].append(i.end - i.start)
            values["coverage"].append(100 * (i.end - i.start) / (video.duration or np.nan))
            values["instances"].append(labels.count(i.label))
    # 3.9 – 0.9 is 3.0000000000000004, which must not count as more than 3.
    return {name: np.round(np.array(column, float), 9) for name, column in values.items()}


def _bounds(
    known: Mapping[str, tuple[float, ...]] | None, name: str, values: np.ndarray
) -> list[tuple[str, float, float]]:
    """Returns name, exclusive lower and inclusive upper bound of each bucket."""
    if known is None:
        inner = np.unique(np.nanquantile(values, [0.2, 0.4, 0.6, 0.8], method="inverted_cdf"))
        inner = inner[inner < np.nanmax(values)].tolist()
    else:
        inner = known[name]
    limits = [-np.inf, *inner, np.inf]
    return list(zip(SIZES, limits, limits[1:], strict=False))


def _bucket(
    classified: Sequence[Classified],
    found: np.ndarray,
    name: str,
    above: float,
    up_to: float,
    values: np.ndarray,
) -> Bucket:
    """Returns the bucket of the instances whose value lies above one bound and up to the other."""
    among = (values > above) & (values <= up_to)
    some = among.any()
    maps = [normalized_map(part, among) for part in classified] if some else []
    return Bucket(
        name=name,
        above=float(above),
        up_to=float(up_to),
        instances=int(among.sum()),
        normalized_map=float(np.mean(maps)) if some else None,
        missed=float(1 - found[among].mean()) if some else None,
    )
