"""What is wrong with detections, in the manner of DETAD.

After Alwassel, Caba Heilbron, Escorcia and Ghanem, "Diagnosing Error in Temporal Action
Detectors" (ECCV 2018): of what kind the false detections are and what each kind costs, which
instances are found badly, and which are missed. It takes what `evaluate` takes, and true is what
the same named protocol finds true, so that its mAP is `evaluate`'s. The kinds of
false detections are in `scnn_tf.evaluation.error_types`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import (
    DOUBLE,
    FORGIVEN,
    KINDS,
    TRUE,
    Judged,
    all_mended,
    found_instances,
    judge_ranked,
    mean_ap,
    mended,
    normalized_map,
    without,
)
from scnn_tf.evaluation.evaluate import evaluate, known_detections
from scnn_tf.evaluation.protocols import ranks
from scnn_tf.localization.tables import Detections

MISSED = "missed instances"
EVERYTHING = "everything"
DEPTHS = 10
"""The profile goes to the 10 · G best detections of a class with G instances."""
SIZES = ("XS", "S", "M", "L", "XL")
# Upper bounds, inclusive, of all buckets but the last: DETAD's for ActivityNet, and those that
# papers since (ActionFormer) have with it for THUMOS'14, where actions are shorter and videos
# fuller. "Instances in the video" has four buckets.
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
    "fifths": None,  # as many instances in each, as far as equal values allow
}
CHARACTERISTICS = {
    "length": "length of the instance, s",
    "coverage": "length of the instance, % of its video",
    "instances": "instances of its class in its video",
}


@dataclass(frozen=True)
class Bucket:
    """The instances of which some characteristic lies within bounds.

    Attributes:
        name: `XS` to `XL`.
        above: exclusive lower bound; −inf for the first.
        up_to: inclusive upper bound; inf for the last.
        instances: how many.
        normalized_map: mean over thresholds of mAP_N of these instances alone; None without any.
        missed: share that no detection finds, mean over thresholds; None without any.
    """

    name: str
    above: float
    up_to: float
    instances: int
    normalized_map: float | None
    missed: float | None

    def bounds(self) -> str:
        """Such as `3 – 6`."""
        if self.up_to == np.inf:
            return f"> {self.above:.4g}" if self.above > -np.inf else "all"
        if self.above == -np.inf:
            return f"≤ {self.up_to:.4g}"
        return f"{self.above:.4g} – {self.up_to:.4g}"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        protocol: `thumos14` or `activitynet`.
        tiou_thresholds: T of them.
        class_names: K, as in `Evaluation`.
        videos: number of videos in the ground truth.
        instances: number of instances.
        detections: number of detections that were scored.
        map: float64 [T], as `evaluate` gives it.
        normalized_map: float64 [T], mAP_N of all instances: precision as if every class had the
            mean number of instances.
        kinds: int8 [N, T], index in `KINDS` or `FORGIVEN`, of the detections best first.
        profile: int64 [T, 10, 6], detections of each kind among those that rank, within their
            class of G instances, from 1 to G, from G + 1 to 2G, … to 10G.
        removed: kind or `EVERYTHING` → float64 [T], mAP without the false detections of it.
        fixed: kind, `MISSED` or `EVERYTHING` → float64 [T], mAP with these mended.
        missed: float64 [T], share of the instances that no detection finds.
        buckets: name in `CHARACTERISTICS` → its buckets; without coverage where no duration of
            a video is known.
        unmeasured: instances whose video has no known duration, which coverage leaves out.
    """

    protocol: str
    tiou_thresholds: tuple[float, ...]
    class_names: tuple[str, ...]
    videos: int
    instances: int
    detections: int
    map: np.ndarray
    normalized_map: np.ndarray
    kinds: np.ndarray
    profile: np.ndarray
    removed: Mapping[str, np.ndarray]
    fixed: Mapping[str, np.ndarray]
    missed: np.ndarray
    buckets: Mapping[str, tuple[Bucket, ...]]
    unmeasured: int

    def to_json(self) -> dict:
        """All but the kind of each detection, in plain Python types; thresholds are text."""

        def by_threshold(values: np.ndarray) -> dict[str, float]:
            return dict(zip(thresholds, values.tolist(), strict=True))

        thresholds = [f"{threshold:g}" for threshold in self.tiou_thresholds]
        return {
            "protocol": self.protocol,
            "videos": self.videos,
            "instances": self.instances,
            "classes": len(self.class_names),
            "detections": self.detections,
            "map": by_threshold(self.map),
            "normalized_map": by_threshold(self.normalized_map),
            "missed": by_threshold(self.missed),
            "profile": {
                threshold: [dict(zip(KINDS, row, strict=True)) for row in table.tolist()]
                for threshold, table in zip(thresholds, self.profile, strict=True)
            },
            "kinds": {
                threshold: {kind: int((column == i).sum()) for i, kind in enumerate(KINDS)}
                | {"forgiven": int((column == FORGIVEN).sum())}
                for threshold, column in zip(thresholds, self.kinds.T, strict=True)
            },
            "map_if_removed": {kind: by_threshold(v) for kind, v in self.removed.items()},
            "map_if_fixed": {kind: by_threshold(v) for kind, v in self.fixed.items()},
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
        """Text tables: the profile at each threshold, then gains and buckets, means over all."""
        at = ", ".join(f"{threshold:g}" for threshold in self.tiou_thresholds)
        lines = [
            f"protocol {self.protocol}: {self.videos} videos, {self.instances} instances, "
            f"{len(self.class_names)} classes, {self.detections} detections",
            f"tIoU {at}: mAP {self.map.mean():.4f}, mAP_N {self.normalized_map.mean():.4f}, "
            f"{self.missed.mean():.1%} of the instances missed",
        ]
        for threshold, table in zip(self.tiou_thresholds, self.profile, strict=True):
            lines += ["", *self._profile_lines(threshold, table)]
        lines += ["", f"{'mAP, and its gain if they were':32}{'removed':>10}{'fixed':>10}"]
        for name, fixed in self.fixed.items():
            gains = [self.removed.get(name), fixed]
            lines.append(
                f"{name:32}"
                + "".join(
                    f"{'–' if gain is None else f'{(gain - self.map).mean():+.4f}':>10}"
                    for gain in gains
                )
            )
        for name, buckets in self.buckets.items():
            lines += ["", f"{CHARACTERISTICS[name]:42}{'instances':>10}{'mAP_N':>10}{'missed':>10}"]
            for b in buckets:
                figures = f"{'–':>10}{'–':>10}"
                if b.instances:
                    figures = f"{b.normalized_map:>10.4f}{b.missed:>10.1%}"
                lines.append(f"{b.name:4}{b.bounds():38}{b.instances:>10}{figures}")
        if self.unmeasured:
            lines += ["", f"coverage is unknown of {self.unmeasured} instances: no duration given"]
        return "\n".join(lines)

    def _profile_lines(self, threshold: float, table: np.ndarray) -> list[str]:
        rows = [
            (f"{depth}G – {depth + 1}G" if depth else "best G", counts)
            for depth, counts in enumerate(table)
        ]
        lines = [
            f"detections at tIoU {threshold:g} by rank in their class, of G instances; %",
            f"{'rank':10}{'number':>8}" + "".join(f"{kind:>18}" for kind in KINDS),
        ]
        for name, counts in [*rows, (f"best {DEPTHS}G", table.sum(axis=0))]:
            number = counts.sum()
            shares = [f"{count / number:>18.1%}" if number else f"{'–':>18}" for count in counts]
            lines.append(f"{name:10}{number:>8}" + "".join(shares))
        return lines


def diagnose(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
    buckets: str | None = None,
) -> Diagnosis:
    """Tells what is wrong with detections.

    Args:
        ground_truth: as for `evaluate`; durations are needed for coverage only.
        detections: as for `evaluate`.
        tiou_thresholds: in (0, 1].
        protocol: `thumos14` or `activitynet`.
        buckets: a name in `BUCKETS`; None: the protocol's.

    Raises:
        InputError: as `evaluate`, or no such buckets.
    """
    if (buckets := buckets or protocol) not in BUCKETS:
        raise InputError(f"no buckets {buckets!r}; there are {', '.join(BUCKETS)}")
    evaluation = evaluate(ground_truth, detections, tiou_thresholds, protocol)
    names = evaluation.class_names
    detections = known_detections(detections, ground_truth, names)
    detections = detections.take(ranks(detections, protocol))
    judged = judge_ranked(ground_truth, detections, names, evaluation.tiou_thresholds, protocol)
    found = np.stack([found_instances(j) for j in judged], axis=1)
    characteristics = _characteristics(ground_truth)
    measured = {
        name: values for name, values in characteristics.items() if not np.isnan(values).all()
    }
    return Diagnosis(
        protocol=protocol,
        tiou_thresholds=evaluation.tiou_thresholds,
        class_names=names,
        videos=len(ground_truth),
        instances=len(found),
        detections=len(detections),
        map=evaluation.map,
        normalized_map=np.array([normalized_map(j) for j in judged]),
        kinds=np.stack([j.kind for j in judged], axis=1).astype(np.int8),
        profile=np.stack([_profile(j) for j in judged]),
        removed={
            **{
                KINDS[kind]: np.array([mean_ap(without(j, kind)) for j in judged])
                for kind in range(DOUBLE, len(KINDS))
            },
            EVERYTHING: np.array([mean_ap(j.take(j.kind == TRUE)) for j in judged]),
        },
        fixed={
            **{
                KINDS[kind]: np.array([mean_ap(mended(j, kind)) for j in judged])
                for kind in range(DOUBLE, len(KINDS))
            },
            MISSED: np.array([mean_ap(j, found_instances(j)) for j in judged]),
            EVERYTHING: np.array([mean_ap(*all_mended(j)) for j in judged]),
        },
        missed=1 - found.mean(axis=0),
        buckets={
            name: tuple(
                _bucket(judged, found, size, low, high, values)
                for size, low, high in _bounds(BUCKETS[buckets], name, values)
            )
            for name, values in measured.items()
        },
        unmeasured=int(np.isnan(characteristics["coverage"]).sum()),
    )


def _profile(judged: Judged) -> np.ndarray:
    """int64 [10, 6], detections of each kind from one multiple of G to the next."""
    counts = np.zeros((DEPTHS, len(KINDS)), np.int64)
    for label in range(judged.num_classes):
        kinds = judged.kind[(judged.label == label) & (judged.kind != FORGIVEN)]
        instances = int(np.sum(judged.truth == label))
        for depth in range(DEPTHS):
            part = kinds[depth * instances : (depth + 1) * instances]
            counts[depth] += np.bincount(part, minlength=len(KINDS))
    return counts


def _characteristics(ground_truth: Mapping[str, VideoAnnotation]) -> dict[str, np.ndarray]:
    """float64 [G] each, NaN where it is not known."""
    values = {name: [] for name in CHARACTERISTICS}
    for key in sorted(ground_truth):
        video = ground_truth[key]
        labels = [i.label for i in video.actions]
        for i in video.actions:
            values["length"].append(i.end - i.start)
            values["coverage"].append(100 * (i.end - i.start) / (video.duration or np.nan))
            values["instances"].append(labels.count(i.label))
    # 3.9 – 0.9 is 3.0000000000000004, which is no more than 3.
    return {name: np.round(np.array(column, float), 9) for name, column in values.items()}


def _bounds(
    known: Mapping[str, tuple[float, ...]] | None, name: str, values: np.ndarray
) -> list[tuple[str, float, float]]:
    """Name, exclusive lower and inclusive upper bound of each bucket."""
    if known is None:
        inner = np.unique(np.nanquantile(values, [0.2, 0.4, 0.6, 0.8], method="inverted_cdf"))
        inner = inner[inner < np.nanmax(values)].tolist()
    else:
        inner = known[name]
    limits = [-np.inf, *inner, np.inf]
    return list(zip(SIZES, limits, limits[1:], strict=False))


def _bucket(
    judged: Sequence[Judged],
    found: np.ndarray,
    name: str,
    above: float,
    up_to: float,
    values: np.ndarray,
) -> Bucket:
    among = (values > above) & (values <= up_to)
    some = among.any()
    return Bucket(
        name=name,
        above=float(above),
        up_to=float(up_to),
        instances=int(among.sum()),
        normalized_map=float(np.mean([normalized_map(j, among) for j in judged])) if some else None,
        missed=float(1 - found[among].mean()) if some else None,
    )
