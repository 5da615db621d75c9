"""What `scnn_tf.evaluation.diagnosis` found, as one figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scnn_tf.evaluation.diagnosis import CHARACTERISTICS, EVERYTHING, Bucket, Diagnosis
from scnn_tf.evaluation.error_types import KINDS

_COLOURS = ("tab:green", "tab:blue", "tab:purple", "tab:orange", "tab:red", "0.7")


def panels(diagnosis: Diagnosis) -> Figure:
    """The profile at the first threshold, what each kind of error costs, and the buckets.

    Returns:
        Axes in this order: stacked bars of the kinds of detections for each G ranks; bars of the
        gain in mAP; for each characteristic, bars of mAP_N with a line at that of all, and the
        share that is missed as points.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    above, below = figure.subfigures(2, 1)
    profile, gains = above.subplots(1, 2)
    _profile(profile, diagnosis)
    _gains(gains, diagnosis)
    parts = below.subplots(1, len(diagnosis.buckets), squeeze=False, sharey=True)[0]
    for axes, (name, buckets) in zip(parts, diagnosis.buckets.items(), strict=True):
        _buckets(axes, CHARACTERISTICS[name], buckets, diagnosis.normalized_map.mean())
    parts[0].set_ylabel("mAP_N, share of instances")
    handles, labels = parts[0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    at = ", ".join(f"{threshold:g}" for threshold in diagnosis.tiou_thresholds)
    figure.suptitle(
        f"{diagnosis.videos} videos, {diagnosis.instances} instances, protocol "
        f"{diagnosis.protocol}, tIoU {at}: mAP {diagnosis.map.mean():.3f}",
        fontsize="medium",
    )
    return figure


def _profile(axes: Axes, diagnosis: Diagnosis) -> None:
    table = diagnosis.profile[0]
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    places = np.arange(1, len(table) + 1)
    bottom = np.zeros(len(table))
    for kind, colour, column in zip(KINDS, _COLOURS, shares.T, strict=True):
        axes.bar(places, column, 0.85, bottom, color=colour, label=kind)
        bottom += column
    axes.set_xticks(places, [f"{place}G" for place in places])
    axes.set_ylim(0, 1)
    axes.set_xlabel("rank in the class, up to")
    axes.set_ylabel(f"share of detections, tIoU {diagnosis.tiou_thresholds[0]:g}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.24), ncols=3, fontsize="small")


def _gains(axes: Axes, diagnosis: Diagnosis) -> None:
    names = [name for name in reversed(diagnosis.fixed) if name != EVERYTHING]
    rows = np.arange(len(names))
    for offset, label, maps in (
        (0.2, "removed", diagnosis.removed),
        (-0.2, "fixed", diagnosis.fixed),
    ):
        gains = [(maps[name] - diagnosis.map).mean() if name in maps else 0.0 for name in names]
        axes.barh(rows + offset, gains, 0.38, label=label)
    axes.set_yticks(rows, names)
    axes.set_xlabel("gain in mAP")
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right")


def _buckets(axes: Axes, title: str, buckets: Sequence[Bucket], overall: float) -> None:
    places = np.arange(len(buckets))
    axes.bar(places, [b.normalized_map or 0.0 for b in buckets], 0.7, label="mAP_N")
    axes.axhline(overall, color="0.3", linestyle="--", label="mAP_N of all")
    missed = [np.nan if b.missed is None else b.missed for b in buckets]
    axes.plot(places, missed, "o", color="tab:red", label="missed")
    axes.set_xticks(places, [f"{b.name}\n{b.bounds()}\n{b.instances}" for b in buckets])
    axes.tick_params(axis="x", labelsize="small")
    axes.set_ylim(0, 1)
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
