"""Ablations: what each of the three networks is good for (section 4.3, Figure 7)."""

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import find_video
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import NMS_MARGIN, evaluate, evaluate_segments
from scnn_tf.io.files import write_text
from scnn_tf.localization.formats import read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.run import SEGMENTS_CSV, ModelFolder, localize_videos
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.models.recipes import STAGES, Recipe
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import MANIFEST
from scnn_tf.training.train import train_stage

FULL = "S-CNN"
# Variant → the folder of the network that scores, and whether the proposal network filters.
VARIANTS = {
    FULL: ("localization", True),
    "w/o proposal": ("localization", False),
    "w/o classification": ("localization_fresh", True),
    "w/o localization": ("classification", True),
}
DEPTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # κ, in instances of the class
CURVE_TIOU = 0.5


def run(
    datasets: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    recipe: Recipe,
    seeds: Sequence[int] = (0,),
    alphas: Sequence[float] = (),
    tiou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    protocol: str = "thumos14",
    start_from: str | os.PathLike | None = None,
    dataset_name: str = "",
) -> dict:
    """Trains and tests every variant on every data set with every seed.

    What is finished is not done again: the same call goes on where a killed one stopped.

    Args:
        datasets: folders with `annotations.json` (subsets train and test) and `videos/`, as
            `examples/stitch_videos.py` writes them; several are the folds of one.
        output_dir: folder to write to.
        recipe: All settings.
        seeds: one run each.
        alphas: α of further localization networks: the sweep. The recipe's needs no naming.
        tiou_thresholds: of the mAP.
        protocol: of the evaluation.
        start_from: Initial weights for stages that are not initialized from an earlier stage.
        dataset_name: Free text that the records of the shards hold.

    Returns:
        "variants": name → "map": tIoU → mAP of each run; "alphas": the same; "top_k": variant →
        mAP at `CURVE_TIOU` for each depth and run; "training_seconds" of each run's three stages;
        "runs": (data set, seed) each; and what it was measured on.
    """
    names = [Path(dataset).name for dataset in datasets]
    if not names or not seeds or not tiou_thresholds or len(set(names)) < len(names):
        raise InputError(
            "give a data set, a seed and a tIoU threshold at least, and data sets whose folders "
            f"have different names. Received: {', '.join(map(str, datasets)) or 'none'}; seeds "
            f"{list(seeds)}; thresholds {list(tiou_thresholds)}"
        )
    if (
        not all(0 <= seed <= 2**31 for seed in seeds)
        or not all(0 <= alpha <= 1 for alpha in alphas)
        or not all(0 < threshold <= 1 for threshold in tiou_thresholds)
    ):
        raise InputError(
            "seeds lie in [0, 2³¹], α in [0, 1], tIoU thresholds in (0, 1]. "
            f"Received: {list(seeds)}, {list(alphas)}, {list(tiou_thresholds)}"
        )
    variants = dict(VARIANTS)
    for alpha in alphas:
        if alpha != recipe.alpha:
            variants[f"α = {alpha:g}"] = (f"localization_alpha_{alpha:g}", True)
    table: dict = {name: [] for name in variants}
    curves: dict = {name: [] for name in VARIANTS}
    runs, seconds, counts = [], [], {"videos": 0, "instances": 0}
    for dataset in datasets:
        folder = Path(output_dir) / Path(dataset).name
        annotations = Path(dataset) / "annotations.json"
        test = read_annotations(annotations, "test")
        shards = folder / "shards"
        if not (shards / MANIFEST).is_file():
            build_shards(
                read_annotations(annotations),
                video_dir=Path(dataset) / "videos",
                output_dir=shards,
                recipe=recipe,
                dataset_name=dataset_name,
            )
        counts["videos"] += len(test)
        counts["instances"] += sum(len(video.actions) for video in test.values())
        counts["classes"] = len(class_names(test.values()))
        for seed in seeds:
            models = folder / f"seed{seed}"
            runs.append([Path(dataset).name, seed])
            seconds.append(_train_all(shards, models, recipe, seed, alphas, start_from))
            for name, (scorer, proposal) in variants.items():
                segments = _segments(models, scorer, proposal, dataset, test)
                prior = read_prior(models / scorer / WINDOW_PRIOR)
                result = evaluate_segments(
                    test,
                    segments,
                    prior=prior,
                    tiou_thresholds=tiou_thresholds,
                    protocol=protocol,
                )
                table[name].append(result.map.tolist())
                logging.info("%s, seed %d, %s: mAP %s", dataset, seed, name, result.map.round(3))
                if name in curves:
                    curves[name].append(top_k_curve(test, segments, prior, protocol))
    keys = [f"{threshold:g}" for threshold in tiou_thresholds]
    summary = {
        "protocol": protocol,
        **counts,
        "runs": runs,
        "training_seconds": seconds,
        "variants": {
            name: dict(zip(keys, map(list, zip(*maps, strict=True)), strict=True))
            for name, maps in table.items()
        },
        "depths": list(DEPTHS),
        "top_k": curves,
    }
    write_text(Path(output_dir) / "ablation.json", json.dumps(summary, indent=1) + "\n")
    return summary


def top_k_curve(
    ground_truth: Mapping[str, VideoAnnotation],
    segments: RawSegments,
    prior: WindowPrior | None,
    protocol: str = "thumos14",
    depths: Sequence[float] = DEPTHS,
) -> list[float]:
    """MAP at tIoU .5 of only the best detections of each class (top-κ selection, Figure 7).

    Args:
        ground_truth: video id → annotation.
        segments: raw scores.
        prior: of window lengths.
        protocol: of the evaluation.
        depths: κ: how many detections of a class count for each of its instances.

    Returns:
        The mAP at each depth.
    """
    detections = detections_from_segments(segments, prior, CURVE_TIOU - NMS_MARGIN)
    return [
        float(evaluate(ground_truth, best, tiou_thresholds=[CURVE_TIOU], protocol=protocol).map[0])
        for best in (top_k(detections, ground_truth, depth) for depth in depths)
    ]


def top_k(
    detections: Detections, ground_truth: Mapping[str, VideoAnnotation], depth: float
) -> Detections:
    """Each class's best ⌈depth · instances⌉ detections over all videos, in their old order."""
    kept = []
    for name in class_names(ground_truth.values()):
        instances = sum(i.label == name for video in ground_truth.values() for i in video.actions)
        rows = np.flatnonzero(detections.label == name)
        best = rows[np.argsort(-detections.score[rows], kind="stable")]
        kept.append(best[: int(np.ceil(depth * instances))])
    return detections.take(np.sort(np.concatenate(kept)))


def format_table(summary: dict) -> str:
    """The variants side by side: mean ± standard deviation over the runs."""
    keys = list(summary["variants"][FULL])
    lines = [
        f"protocol {summary['protocol']}: {summary['videos']} videos, {summary['instances']} "
        f"instances, {summary['classes']} classes; {len(summary['runs'])} runs, mean ± SD",
        f"{'mAP at tIoU':<20}" + "".join(f"{key:>16}" for key in keys),
    ]
    for name, maps in summary["variants"].items():
        cells = (f"{np.mean(maps[key]):.3f} ± {_deviation(maps[key]):.3f}" for key in keys)
        lines.append(f"{name:<20}" + "".join(f"{cell:>16}" for cell in cells))
    lines.append("mAP at .5 of the best κ detections of a class for each instance")
    lines.append(f"{'κ':<20}" + "".join(f"{depth:>8g}" for depth in summary["depths"]))
    for name, curves in summary["top_k"].items():
        lines.append(f"{name:<20}" + "".join(f"{value:>8.3f}" for value in np.mean(curves, 0)))
    return "\n".join(lines)


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _train_all(
    shards: Path,
    models: Path,
    recipe: Recipe,
    seed: int,
    alphas: Sequence[float],
    start_from: str | os.PathLike | None,
) -> float:
    """Trains the three stages and the variants; seconds that the three stages took."""
    seconds = 0.0
    for stage in STAGES:
        start = models / "classification" if stage == "localization" else start_from
        metrics = train_stage(
            stage, str(shards), str(models / stage), recipe, start_from=start, seed=seed
        )
        seconds += metrics["seconds"]
    # Without classification as its start, localization gets that stage's steps and rate: from
    # fresh weights its own, meant for fine-tuning, would say nothing.
    fresh = recipe.with_stage(
        "localization",
        steps=recipe.classification.steps,
        learning_rate=recipe.classification.learning_rate,
    )
    train_stage(
        "localization",
        str(shards),
        str(models / "localization_fresh"),
        fresh,
        start_from=start_from,
        seed=seed,
    )
    for alpha in alphas:
        if alpha != recipe.alpha:
            train_stage(
                "localization",
                str(shards),
                str(models / f"localization_alpha_{alpha:g}"),
                dataclasses.replace(recipe, alpha=alpha),
                start_from=str(models / "classification"),
                seed=seed,
            )
    return round(seconds, 1)


def _segments(
    models: Path,
    scorer: str,
    proposal: bool,
    dataset: str | os.PathLike,
    test: Mapping[str, VideoAnnotation],
) -> RawSegments:
    """The raw segments of all test videos, from file where they are there already.

    Raises:
        InputError: a test video cannot be used.
    """
    folder = models / f"test_{scorer}{'' if proposal else '_all'}"
    done = folder / "seconds.json"
    if not done.is_file():
        began = time.monotonic()
        paths = [find_video(video, Path(dataset) / "videos") for video in test.values()]
        networks = ModelFolder(models, scorer=scorer, proposal=proposal)
        failures = localize_videos(paths, networks, folder, retry_failed=True).failures
        if failures:
            raise InputError(
                f"{failures[0]['cause']}: without that test video the figures would be wrong; mend "
                "it, or take it out of the annotations, and run the same command again"
            )
        write_text(done, json.dumps(round(time.monotonic() - began, 1)))
    return read_segments(folder / SEGMENTS_CSV)
