"""Ablations: what each of the three networks contributes (section 4.3, Figure 7)."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import find_video
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import NMS_MARGIN, evaluate, evaluate_segments
from scnn_tf.io.files import PathLike, write_text
from scnn_tf.localization.formats import read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.run import SEGMENTS_CSV, ModelFolder, localize_videos
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.models.recipes import STAGES, Recipe
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import MANIFEST
from scnn_tf.training.train import train_stage


class Variant(NamedTuple):
    """One way to localize with trained networks.

    Attributes:
        scorer: Folder of the network that scores classes.
        proposal: Whether the proposal network discards segments first.
    """

    scorer: str
    proposal: bool = True


FULL = "S-CNN"
VARIANTS = {
    FULL: Variant("localization"),
    "w/o proposal": Variant("localization", proposal=False),
    "w/o classification": Variant("localization_fresh"),
    "w/o localization": Variant("classification"),
}
DEPTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # κ, in instances of the class
CURVE_TIOU = 0.5


def run(
    datasets: Sequence[PathLike],
    *,
    output_dir: PathLike,
    recipe: Recipe,
    seeds: Sequence[int] = (0,),
    alphas: Sequence[float] = (),
    tiou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    protocol: str = "thumos14",
    start_from: PathLike | None = None,
    dataset_name: str = "",
) -> dict:
    """Trains and tests every variant on every dataset with every seed.

    Finished steps are not repeated: the same call resumes an interrupted one.

    Args:
        datasets: Folders with `annotations.json` (subsets train and test) and `videos/`, as
            `examples/stitch_videos.py` writes them, such as the folds of one experiment.
        output_dir: Folder to write to.
        recipe: All settings of the shards, the training and the localization.
        seeds: Random seeds; each is one run on each dataset.
        alphas: α of further localization networks, in addition to the recipe's.
        tiou_thresholds: Thresholds of the mAP.
        protocol: Evaluation protocol, "thumos14" or "activitynet".
        start_from: Initial weights of the stages that do not start from another stage's; None:
            random weights.
        dataset_name: Free text that every record of the shards holds.

    Returns:
        "variants": name → tIoU → mAP of each run, those of `alphas` included; "top_k": variant →
        mAP at `CURVE_TIOU` for each of "depths" and each run; "training_seconds" of the three
        stages, for each run; "runs": (dataset, seed) of each run; and "protocol", "videos",
        "instances" and "classes" of the evaluation.

    Raises:
        InputError: An argument is out of its range, or a dataset or a test video cannot be used.
    """
    _check(datasets, seeds, alphas, tiou_thresholds)
    alphas = [alpha for alpha in alphas if alpha != recipe.alpha]
    sweep = {f"α = {alpha:g}": Variant(_alpha_folder(alpha)) for alpha in alphas}
    variants = {**VARIANTS, **sweep}
    table: dict = {name: [] for name in variants}
    curves: dict = {name: [] for name in VARIANTS}
    runs, seconds, counts = [], [], {"videos": 0, "instances": 0}
    for dataset in map(Path, datasets):
        folder = Path(output_dir) / dataset.name
        test = read_annotations(dataset / "annotations.json", "test")
        if not (folder / "shards" / MANIFEST).is_file():
            annotations = read_annotations(dataset / "annotations.json")
            build_shards(
                annotations,
                video_dir=dataset / "videos",
                output_dir=folder / "shards",
                recipe=recipe,
                dataset_name=dataset_name,
            )
        counts["videos"] += len(test)
        counts["instances"] += sum(len(video.actions) for video in test.values())
        counts["classes"] = len(class_names(test.values()))
        for seed in seeds:
            models = folder / f"seed{seed}"
            runs.append([dataset.name, seed])
            seconds.append(_train_all(folder / "shards", models, recipe, seed, alphas, start_from))
            for name, variant in variants.items():
                segments = _segments(models, variant, dataset / "videos", test)
                prior = read_prior(models / variant.scorer / WINDOW_PRIOR)
                prior = prior if recipe.inference.window_prior else None
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
    """Returns the mAP at tIoU .5 of each class's best detections (top-κ selection, Figure 7).

    Args:
        ground_truth: Video id → annotation.
        segments: Scored segments.
        prior: Window-length prior to multiply the scores with; None: no prior.
        protocol: Evaluation protocol.
        depths: κ: numbers of detections of a class that count for each of its instances.

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
    """Returns each class's best ⌈depth · instances⌉ detections of all videos, order unchanged."""
    kept = []
    for name in class_names(ground_truth.values()):
        instances = sum(i.label == name for video in ground_truth.values() for i in video.actions)
        rows = np.flatnonzero(detections.label == name)
        best = rows[np.argsort(-detections.score[rows], kind="stable")]
        kept.append(best[: int(np.ceil(depth * instances))])
    return detections.take(np.sort(np.concatenate(kept)))


def format_table(summary: dict) -> str:
    """Returns the variants side by side as text: mean ± standard deviation over the runs."""
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


def _check(
    datasets: Sequence[PathLike],
    seeds: Sequence[int],
    alphas: Sequence[float],
    tiou_thresholds: Sequence[float],
) -> None:
    names = [Path(dataset).name for dataset in datasets]
    if not names or not seeds or not tiou_thresholds or len(set(names)) < len(names):
        raise InputError(
            "expected a dataset, a seed and a tIoU threshold or more of each, and datasets whose "
            f"folders have different names. Received: {', '.join(map(str, datasets)) or 'none'}; "
            f"seeds {list(seeds)}; thresholds {list(tiou_thresholds)}"
        )
    if (
        not all(0 <= seed <= 2**31 for seed in seeds)
        or not all(0 <= alpha <= 1 for alpha in alphas)
        or not all(0 < threshold <= 1 for threshold in tiou_thresholds)
    ):
        raise InputError(
            "expected seeds in [0, 2³¹], α in [0, 1], tIoU thresholds in (0, 1]. "
            f"Received: {list(seeds)}, {list(alphas)}, {list(tiou_thresholds)}"
        )


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _alpha_folder(alpha: float) -> str:
    return f"localization_alpha_{alpha:g}"


def _train_all(
    shards: Path,
    models: Path,
    recipe: Recipe,
    seed: int,
    alphas: Sequence[float],
    start_from: PathLike | None,
) -> float:
    """Trains the networks of all variants; returns the seconds that the three stages took."""
    classification = models / "classification"
    # Random weights need the steps and the rate of classification: those of localization are for
    # fine-tuning, and would leave this variant untrained.
    fresh = recipe.with_stage(
        "localization",
        steps=recipe.classification.steps,
        learning_rate=recipe.classification.learning_rate,
    )
    trainings = {
        "proposal": ("proposal", recipe, start_from),
        "classification": ("classification", recipe, start_from),
        "localization": ("localization", recipe, classification),
        "localization_fresh": ("localization", fresh, start_from),
    }
    for alpha in alphas:
        changed = dataclasses.replace(recipe, alpha=alpha)
        trainings[_alpha_folder(alpha)] = ("localization", changed, classification)
    seconds = {}
    for folder, (stage, settings, start) in trainings.items():
        metrics = train_stage(
            stage,
            data_dir=shards,
            output_dir=models / folder,
            recipe=settings,
            start_from=start,
            seed=seed,
        )
        seconds[folder] = metrics["seconds"]
    return round(sum(seconds[stage] for stage in STAGES), 1)


def _segments(
    models: Path, variant: Variant, video_dir: Path, test: Mapping[str, VideoAnnotation]
) -> RawSegments:
    """Returns the scored segments of all test videos, from file where a run has written them.

    Raises:
        InputError: A test video cannot be used.
    """
    folder = models / f"test_{variant.scorer}{'' if variant.proposal else '_all'}"
    done = folder / "seconds.json"
    if not done.is_file():
        began = time.monotonic()
        failures = localize_videos(
            [find_video(video, video_dir) for video in test.values()],
            ModelFolder(models, scorer=variant.scorer, proposal=variant.proposal),
            folder,
            retry_failed=True,
        ).failures
        if failures:
            raise InputError(
                f"{failures[0]['cause']}: the figures need every test video; fix the file, or "
                "remove the video from the annotations, and run the same command again"
            )
        write_text(done, json.dumps(round(time.monotonic() - began, 1)))
    return read_segments(folder / SEGMENTS_CSV)
