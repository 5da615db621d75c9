"""The paper's figures, from result files alone.

Each function gives a matplotlib figure, and `save` writes it as PNG or SVG, without a screen. The
same input gives the same SVG, byte for byte.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import FORGIVEN
from scnn_tf.evaluation.judging import RIGHT, judge
from scnn_tf.io.files import atomic_write, read_json
from scnn_tf.io.video import probe, read_frames
from scnn_tf.localization.tables import Detections

OVERLAPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MOST_DETECTIONS = 100  # of a timeline; more could not be told apart
KEY_FRAMES = 8
_INSTANCE, _RIGHT, _WRONG, _FORGIVEN = "0.25", "tab:green", "tab:red", "0.8"
_KEY_FRAME_HEIGHT = 90  # pixels
_KEY_FRAME_RATE = 25.0  # Hz


def loss_curves(overlaps: Sequence[float] = OVERLAPS, alpha: float = 0.25) -> Figure:
    """Figure 3: the overlap loss, and its sum with the softmax loss, against the score P.

    Args:
        overlaps: v of each curve, in (0, 1].
        alpha: α in [0, 1].

    Returns:
        Two axes: L_overlap = ½ · (P² / v^α − 1), and − log P + L_overlap with its minimum, at
        √(v^α), marked. A line for each v, and in the second a point after each line.

    Raises:
        InputError: v or α out of range, or no v.
    """
    if not overlaps or not all(0 < v <= 1 for v in overlaps) or not 0 <= alpha <= 1:
        raise InputError(
            f"overlaps lie in (0, 1], α in [0, 1]. Received: {list(overlaps)} and {alpha:g}"
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
    total.set_xlim(0.4, 1)  # below, − log P is all there is to see
    total.set_ylim(-0.05, 0.55)
    for axes in (term, total):
        axes.set_xlabel("score P of the true class")
        axes.grid(alpha=0.3)
    term.legend(title=f"α = {alpha:g}")
    return figure


def ap_bars(evaluations: Mapping[str, dict], tiou_threshold: float = 0.5) -> Figure:
    """Figure 4: the average precision of each class, and their mean, as groups of bars.

    Args:
        evaluations: name → what `Evaluation.to_json` gave; each is a bar in every group.
        tiou_threshold: which of their thresholds.

    Raises:
        InputError: one lacks the threshold, or has other classes or another protocol than the
            first.
    """
    key = f"{tiou_threshold:g}"
    first, *_ = evaluations.values()
    for name, evaluation in evaluations.items():
        if key not in evaluation["map"]:
            raise InputError(
                f"{name} was not evaluated at tIoU {key}, but at {', '.join(evaluation['map'])}"
            )
        if evaluation["protocol"] != first["protocol"] or set(evaluation["ap"]) != set(first["ap"]):
            raise InputError(
                f"{name} has another protocol or other classes than {next(iter(evaluations))}: "
                "they cannot stand side by side"
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


def timeline(
    video: VideoAnnotation,
    detections: Detections,
    tiou_threshold: float = 0.5,
    instance: int | None = None,
    video_file: str | Path | None = None,
) -> Figure:
    """Figures 5 and 6: the detections of a video beside its instances, class by class.

    Args:
        video: with its instances.
        detections: those of other videos are left out; of more than `MOST_DETECTIONS`, the best
            are drawn.
        tiou_threshold: above it a detection is right, by the matching of protocol `thumos14`.
        instance: shows only what is around this one, counted from 1 in file order without the
            ambiguous; None: the whole video.
        video_file: the video itself, for key frames; None: no pictures.

    Raises:
        InputError: nothing to draw, no such instance, or a threshold that is none.
        VideoError: the video cannot be used.
    """
    found = detections.take(detections.video == video.video_id)
    bars = [(i.label, i.start, i.end, _INSTANCE) for i in video.actions]
    kinds = judge({video.video_id: video}, found, [tiou_threshold])[:, 0]
    colours = [{RIGHT: _RIGHT, FORGIVEN: _FORGIVEN}.get(kind, _WRONG) for kind in kinds]
    best = np.sort(np.argsort(-found.score, kind="stable")[:MOST_DETECTIONS])
    bars += [(found.label[r], found.start[r], found.end[r], colours[r]) for r in best]
    if not bars:
        raise InputError(f"{video.video_id}: neither an instance nor a detection to draw")
    begin, end = _shown(video, instance, max(bar[2] for bar in bars))
    bars = [bar for bar in bars if bar[1] < end and bar[2] > begin]
    names = sorted({bar[0] for bar in bars})

    lanes, height = [], 0  # (label, ground truth or not, lane of each bar, bars)
    for name in names:
        for true in (True, False):
            group = [b for b in bars if b[0] == name and (b[3] == _INSTANCE) == true]
            lane = _lanes([(b[1], b[2]) for b in group])
            lanes.append((height, lane, group))
            height += max(lane, default=-1) + 1
        height += 0.6  # a gap between classes
    plot_height = 1.2 + 0.2 * max(height, 4)
    if video_file is None:
        figure = Figure(figsize=(10, plot_height), layout="constrained")
        axes = figure.subplots()
    else:
        figure = Figure(figsize=(10, plot_height + 1.3), layout="constrained")
        strip, plot = figure.subfigures(2, 1, height_ratios=[1.3, plot_height])
        times = [begin + (n + 0.5) * (end - begin) / KEY_FRAMES for n in range(KEY_FRAMES)]
        pictures = key_frames(video_file, times)
        for part, time, picture in zip(strip.subplots(1, KEY_FRAMES), times, pictures, strict=True):
            part.imshow(picture)
            part.set_title(f"{time:.1f} s", fontsize="small")
            part.set_axis_off()
        axes = plot.subplots()
    for top, lane, group in lanes:
        for row, (_, start, stop, colour) in zip(lane, group, strict=True):
            axes.barh(
                top + row, stop - start, 0.8, start, color=colour, edgecolor="white", align="edge"
            )
    tops = [top for top, _, _ in lanes[::2]]
    bottoms = [*tops[1:], height]
    middles = [(t + b - 0.6) / 2 for t, b in zip(tops, bottoms, strict=True)]
    axes.set_yticks(middles, [_plain(name) for name in names])
    axes.tick_params(axis="y", length=0)
    for line in tops[1:]:
        axes.axhline(line - 0.4, color="0.85", linewidth=0.8)
    axes.set_ylim(height - 0.4, -0.2)
    axes.set_xlim(begin, end)
    axes.set_xlabel("seconds")
    number = f"the best {len(best)} of {len(found)}" if len(best) < len(found) else len(found)
    axes.set_title(
        f"{_plain(video.video_id)}: {len(video.actions)} instance(s), {number} detection(s)",
        fontsize="medium",
    )
    meaning = {
        _INSTANCE: "instance",
        _RIGHT: f"right (tIoU > {tiou_threshold:g})",
        _WRONG: "wrong",
        _FORGIVEN: "where nobody could tell",
    }
    drawn = {bar[3] for bar in bars}
    axes.figure.legend(
        handles=[Patch(color=c, label=text) for c, text in meaning.items() if c in drawn],
        loc="outside lower center",
        ncols=4,
        fontsize="small",
        frameon=False,
    )
    return figure


def key_frames(path: str | Path, times: Sequence[float]) -> list[np.ndarray]:
    """The picture on display at each of the times; of those after the end, the last one.

    Args:
        path: a video file.
        times: seconds, in ascending order.

    Returns:
        uint8 `[90, W, 3]` each, RGB.

    Raises:
        VideoError: the file cannot be used.
    """
    info = probe(path)
    width = max(1, round(_KEY_FRAME_HEIGHT * info.width / info.height))
    frames = enumerate(read_frames(path, _KEY_FRAME_RATE, _KEY_FRAME_HEIGHT, width))
    number, picture = next(frames)
    pictures = []
    for time in times:
        while number < int(time * _KEY_FRAME_RATE):
            number, picture = next(frames, (math.inf, picture))
        pictures.append(picture)
    return pictures


def top_k_curves(summary: dict) -> Figure:
    """Figure 7: mAP at tIoU .5 of the best κ detections of a class for each of its instances.

    Args:
        summary: what `ablation.run` gave: "depths", and "top_k": variant → a curve of each run.

    Returns:
        Mean and, of several runs, standard deviation.
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


def read_evaluation(path: str | Path) -> dict:
    """What `evaluate --output_json` wrote.

    Raises:
        InputError: the file cannot be read, or holds something else.
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
        raise InputError(f"{path}: not what `evaluate --output_json` writes")
    return content


def read_ablation(path: str | Path) -> dict:
    """What `ablate` wrote.

    Raises:
        InputError: the file cannot be read, or holds something else.
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
        raise InputError(f"{path}: not what `ablate` writes")
    return content


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure, whole or not at all; the extension says how.

    Raises:
        InputError: an extension other than `.png` and `.svg`, or it cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()[1:]
    if kind not in ("png", "svg"):
        raise InputError(f"{path}: a figure is a .png or an .svg file")
    with atomic_write(path) as aside, matplotlib.rc_context({"svg.hashsalt": "scnn_tf"}):
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(aside, format=kind, dpi=150, metadata=metadata)


def _plain(name: str) -> str:
    """A name as it is, none of it taken for a formula."""
    return name.replace("$", r"\$")


def _shades(count: int) -> np.ndarray:
    """Colours from dark to light, `[count, 4]`."""
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count))


def _shown(video: VideoAnnotation, instance: int | None, last: float) -> tuple[float, float]:
    """From when to when, in seconds."""
    if instance is None:
        return 0.0, max(video.duration or 0.0, last)
    if not 1 <= instance <= len(video.actions):
        raise InputError(
            f"{video.video_id} has {len(video.actions)} instances. Received: number {instance}"
        )
    shown = video.actions[instance - 1]
    margin = max(1.0, shown.end - shown.start)
    return max(0.0, shown.start - margin), shown.end + margin


def _lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """The first lane of each span in which it overlaps none before it."""
    lanes: list[int] = []
    for number, (start, end) in enumerate(spans):
        taken = {
            lane
            for lane, other in zip(lanes, spans[:number], strict=True)
            if start < other[1] and other[0] < end
        }
        lanes.append(next(lane for lane in range(number + 1) if lane not in taken))
    return lanes
