"""Figures of the paper and of a diagnosis, drawn with matplotlib from result files alone.

Each function returns a figure, and `save` writes it as PNG or SVG, without a screen. The same input
gives the same SVG, byte for byte.
"""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scnn_tf.errors import InputError
from scnn_tf.evaluation.diagnosis import CHARACTERISTICS, EVERYTHING, Bucket, Diagnosis
from scnn_tf.evaluation.error_types import COUNTED
from scnn_tf.io.files import PathLike, atomic_write, read_json

OVERLAPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_TYPE_COLOURS = ("tab:green", "tab:blue", "tab:purple", "tab:orange", "tab:red", "0.7")


def loss_curves(overlaps: Sequence[float] = OVERLAPS, alpha: float = 0.25) -> Figure:
    """Draws Figure 3: the overlap loss, and its sum with the softmax loss, against the score P.

    Args:
        overlaps: Overlap v of each curve, in (0, 1].
        alpha: Exponent α, in [0, 1].

    Returns:
        A figure with two axes: L_overlap = ½ · (P² / v^α − 1), and − log P + L_overlap with its
        minimum, at √(v^α), marked. Each v has a line, followed in the second by a point.

    Raises:
        InputError: An overlap or α is out of range, or there is no overlap.
    """
    if not overlaps or not all(0 < v <= 1 for v in overlaps) or not 0 <= alpha <= 1:
        raise InputError(
            f"expected overlaps in (0, 1] and α in [0, 1]. Received: {list(overlaps)} and {alpha:g}"
        )
    score = np.linspace(0.01, 1, 100)
    figure = Figure(figsize=(9, 4), layout="constrained")
    term, total = figure.subplots(1, 2)
    for v, colour in zip(overlaps, _shades(len(overlaps)), strict=True):
        overlap_loss = 0.5 * (score**2 / v**alpha - 1)
        term.plot(score, overlap_loss, color=colour, label=f"v = {v:g}")
        total.plot(score, overlap_loss - np.log(score), color=colour)
        least = (v ** (alpha / 2), -(alpha / 2) * math.log(v))
        total.plot(*least, "o", color=colour, markersize=5, clip_on=False)
    term.set_ylabel("overlap loss")
    total.set_ylabel("softmax loss + overlap loss")
    term.set_xlim(0, 1)
    total.set_xlim(0.4, 1)  # below, − log P hides the rest
    total.set_ylim(-0.05, 0.55)
    for axes in (term, total):
        axes.set_xlabel("score P of the true class")
        axes.grid(alpha=0.3)
    term.legend(title=f"α = {alpha:g}")
    return figure


def ap_bars(evaluations: Mapping[str, dict], tiou_threshold: float = 0.5) -> Figure:
    """Draws Figure 4: the average precision of each class, and the mean, as groups of bars.

    Args:
        evaluations: Name → result of `Evaluation.to_json`; each is a bar in every group.
        tiou_threshold: The tIoU threshold to draw.

    Raises:
        InputError: An evaluation lacks the threshold, or has other classes or another protocol
            than the first.
    """
    key = f"{tiou_threshold:g}"
    first, *_ = evaluations.values()
    for name, evaluation in evaluations.items():
        if key not in evaluation["map"]:
            raise InputError(
                f"{name}: expected an evaluation at tIoU {key}. Received: at "
                f"{', '.join(evaluation['map'])}"
            )
        if evaluation["protocol"] != first["protocol"] or set(evaluation["ap"]) != set(first["ap"]):
            raise InputError(
                f"{name}: expected the same protocol and classes as {next(iter(evaluations))}. "
                f"Received: {evaluation['protocol']}, {', '.join(evaluation['ap'])}"
            )
    names = [*first["ap"], "mean"]
    positions = np.arange(len(names), dtype=float)
    positions[-1] += 0.5
    width = 0.8 / len(evaluations)
    figure = Figure(
        figsize=(max(5.0, 1.5 + len(names) * max(0.4, 0.2 * len(evaluations))), 4.5),
        layout="constrained",
    )
    axes = figure.subplots()
    for row, (name, evaluation) in enumerate(evaluations.items()):
        heights = [*(evaluation["ap"][c][key] for c in first["ap"]), evaluation["map"][key]]
        axes.bar(positions + (row + 0.5) * width - 0.4, heights, width * 0.95, label=_plain(name))
    labels = [_plain(name) for name in names]
    axes.set_xticks(positions, labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.7, positions[-1] + 0.7)
    axes.set_ylim(0, 1)
    axes.set_ylabel(f"average precision at tIoU {key}")
    axes.set_title(
        f"{first['videos']} videos, {first['instances']} instances, protocol {first['protocol']}",
        fontsize="medium",
    )
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if len(evaluations) > 1:
        figure.legend(loc="outside lower center", ncols=min(4, len(evaluations)))
    return figure


def top_k_curves(summary: dict) -> Figure:
    """Draws Figure 7: mAP at tIoU .5 of the best κ detections of a class for each instance.

    Args:
        summary: Result of `scnn_tf.experiments.ablation.run`: "depths", κ of each point, and
            "top_k": variant → the mAP curve of each run.

    Returns:
        A figure with the mean and, for several runs, the standard deviation.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, curves in summary["top_k"].items():
        mean = np.mean(curves, axis=0)
        axes.plot(summary["depths"], mean, marker="o", label=_plain(name))
        if len(curves) > 1:
            spread = np.std(curves, axis=0, ddof=1)
            axes.fill_between(summary["depths"], mean - spread, mean + spread, alpha=0.15)
    axes.set_xscale("log", base=2)
    axes.set_xticks(summary["depths"], [f"{depth:g}" for depth in summary["depths"]])
    axes.set_xlabel("κ: detections kept for each instance of a class")
    axes.set_ylabel("mAP at tIoU 0.5")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def differences(summary: dict) -> Figure:
    """Draws how much each variant of an ablation differs from the variant that it is compared with.

    Args:
        summary: Result of `scnn_tf.experiments.ablation.run`, with "differences".

    Returns:
        A figure with axes for each tIoU, in which a variant is a point with its confidence
        interval; filled where the interval excludes 0.

    Raises:
        InputError: No variant has one to be compared with.
    """
    rows = summary["differences"]
    if not rows:
        raise InputError("expected a variant and the one that it is compared with. Found: neither")
    keys = list(next(iter(rows.values()))["map"])
    figure = Figure(figsize=(4 + 2.5 * len(keys), 1.5 + 0.3 * len(rows)), layout="constrained")
    parts = figure.subplots(1, len(keys), sharex=True, sharey=True, squeeze=False)[0]
    places = np.arange(len(rows))[::-1]
    for axes, key in zip(parts, keys, strict=True):
        axes.axvline(0, color="0.3", linewidth=1)
        for place, row in zip(places, rows.values(), strict=True):
            each = row["map"][key]
            color = "tab:blue" if each["exceeds_noise"] else "0.6"
            fill = color if each["exceeds_noise"] else "none"
            axes.plot(each["interval"], [place, place], color=color)
            axes.plot(each["mean"], place, "o", color=color, markerfacecolor=fill)
        axes.set_title(f"tIoU {key}", fontsize="medium")
        axes.set_xlabel("difference of mAP")
        axes.grid(axis="x", alpha=0.3)
    names = [_plain(f"{name} − {row['reference']}") for name, row in rows.items()]
    parts[0].set_yticks(places, names)
    return figure


def diagnosis_panels(diagnosis: Diagnosis) -> Figure:
    """Draws a diagnosis: the profile at the first threshold, what each error costs, the buckets.

    Returns:
        A figure with these axes in order: stacked bars of the error types of every G ranks; bars
        of the gain in mAP; for each characteristic, bars of mAP_N with a line at mAP_N of all, and
        the share of missed instances as points.
    """
    overall = diagnosis.evaluation
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
    at = ", ".join(f"{threshold:g}" for threshold in overall.tiou_thresholds)
    figure.suptitle(
        f"{overall.videos} videos, {diagnosis.instances} instances, protocol "
        f"{overall.protocol}, tIoU {at}: mAP {overall.map.mean():.3f}",
        fontsize="medium",
    )
    return figure


def _profile(axes: Axes, diagnosis: Diagnosis) -> None:
    table = diagnosis.profile[0]
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    places = np.arange(1, len(table) + 1)
    bottom = np.zeros(len(table))
    for kind, colour, column in zip(COUNTED, _TYPE_COLOURS, shares.T, strict=True):
        axes.bar(places, column, 0.85, bottom, color=colour, label=kind.label)
        bottom += column
    axes.set_xticks(places, [f"{place}G" for place in places])
    axes.set_ylim(0, 1)
    axes.set_xlabel("rank in the class, up to")
    axes.set_ylabel(f"share of detections, tIoU {diagnosis.evaluation.tiou_thresholds[0]:g}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.24), ncols=3, fontsize="small")


def _gains(axes: Axes, diagnosis: Diagnosis) -> None:
    names = [name for name in reversed(diagnosis.fixed) if name != EVERYTHING]
    rows = np.arange(len(names))
    overall = diagnosis.evaluation.map
    for offset, label, maps in (
        (0.2, "removed", diagnosis.removed),
        (-0.2, "fixed", diagnosis.fixed),
    ):
        gains = [(maps[name] - overall).mean() if name in maps else 0.0 for name in names]
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
    bounds = [textwrap.fill(b.bounds(), 9) for b in buckets]  # wider ones would overlap
    labels = [f"{b.name}\n{at}\n{b.instances}" for b, at in zip(buckets, bounds, strict=True)]
    axes.set_xticks(places, labels)
    axes.tick_params(axis="x", labelsize="small")
    axes.set_ylim(0, 1)
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def read_evaluation(path: PathLike) -> dict:
    """Reads an evaluation that `evaluate --output_json` wrote.

    Raises:
        InputError: The file cannot be read, or contains something else.
    """
    content = read_json(path)
    try:
        keys = set(content["map"])
        good = bool(content["ap"]) and all(set(row) == keys for row in content["ap"].values())
        values = [v for row in (content["map"], *content["ap"].values()) for v in row.values()]
        good &= all(0 <= float(v) <= 1 for v in values)
        good &= {"protocol", "videos", "instances"} <= set(content)
    except (KeyError, TypeError, ValueError, AttributeError):
        good = False
    if not good:
        raise InputError(f"{path}: expected a file that `evaluate --output_json` wrote")
    return content


def read_ablation(path: PathLike) -> dict:
    """Reads the results of an ablation.

    Raises:
        InputError: The file cannot be read, or contains something else.
    """
    content = read_json(path)
    try:
        depths = np.array(content["depths"], float)
        curves = [np.array(curves, float) for curves in content["top_k"].values()]
        good = bool(curves) and all(c.ndim == 2 and c.shape[1:] == depths.shape for c in curves)
        good &= bool((depths > 0).all())
    except (KeyError, TypeError, ValueError, AttributeError):
        good = False
    if not good:
        raise InputError(f"{path}: expected the results of an ablation, ablation.json")
    return content


def save(figure: Figure, path: PathLike) -> None:
    """Writes a figure, whole or not at all, as PNG or SVG, by the extension of the file.

    Raises:
        InputError: The extension is neither `.png` nor `.svg`, or the file cannot be written.
    """
    kind = os.path.splitext(path)[1].lower()[1:]
    if kind not in ("png", "svg"):
        raise InputError(f"{path}: expected a .png or .svg file for a figure")
    with atomic_write(path) as aside, matplotlib.rc_context({"svg.hashsalt": "scnn_tf"}):
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(aside, format=kind, dpi=150, metadata=metadata)


def _plain(name: str) -> str:
    """Returns a name that matplotlib shows as it is, since a dollar would begin a formula."""
    return name.replace("$", r"\$")


def _shades(count: int) -> np.ndarray:
    """Returns colours from dark to light, float [count, 4]."""
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count))
