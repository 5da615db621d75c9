"""Ablations: what each part of the method contributes (section 4.3, Figure 7)."""

import contextlib
import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.datasets.challenges import ANNOTATIONS
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import find_video
from scnn_tf.errors import InputError
from scnn_tf.evaluation.bootstrap import (
    LEVEL,
    MatchedVideos,
    interval,
    match_videos,
    resampled_maps,
)
from scnn_tf.evaluation.evaluate import NMS_MARGIN, evaluate
from scnn_tf.experiments.variants import BOTH, PAPER_ABLATION, Variant, all_variants
from scnn_tf.io.files import PathLike, write_text
from scnn_tf.io.folders import FolderInUseError
from scnn_tf.localization.formats import read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.run import SEGMENTS_CSV, ModelFolder, localize_videos
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.models.recipes import Recipe
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import MANIFEST
from scnn_tf.training.train import train_stage

DEPTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # κ, in instances of the class
CURVE_TIOU = 0.5
_PATIENCE = 5.0  # seconds until what another process does is looked at again
_T = TypeVar("_T")


class _Dataset(NamedTuple):
    """A dataset of the ablation.

    Attributes:
        source: Folder with `annotations.json` and `videos/`.
        folder: Folder of its shards, networks and results.
        test: Its test videos.
    """

    source: Path
    folder: Path
    test: dict[str, VideoAnnotation]


def run(
    datasets: Sequence[PathLike],
    *,
    output_dir: PathLike,
    recipes: Sequence[Recipe],
    names: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    alphas: Sequence[float] = (),
    tiou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    protocol: str = "thumos14",
    start_from: PathLike | None = None,
    dataset_name: str = "",
) -> dict:
    """Trains and tests variants of the method on every dataset with every seed.

    Finished steps are not repeated: the same call resumes an interrupted one. Several processes
    that make the same call share its work, since each does what no other is doing.

    Args:
        datasets: Folders with `annotations.json` (subsets train and test) and `videos/`, as
            `examples/stitch_videos.py` writes them, such as the folds of one experiment.
        output_dir: Folder to write to.
        recipes: All settings of the shards, the training and the localization: a recipe of three
            networks, one of the joint network, or one of each.
        names: Names of the variants, see `variants.all_variants`; none: all.
        seeds: Random seeds; each is one run on each dataset.
        alphas: α of further variants, in addition to the recipes'.
        tiou_thresholds: Thresholds of the mAP.
        protocol: Evaluation protocol, "thumos14" or "activitynet".
        start_from: Initial weights of the stages that do not start from another stage's; None:
            random weights.
        dataset_name: Free text that every record of the shards holds.

    Returns:
        "variants": name → tIoU → mAP of each run; "intervals": name → tIoU → confidence interval
        of the mean; "differences": name → "reference", the variant that it is compared with, and
        "map", tIoU → "mean", "interval" and "exceeds_noise" of the difference; "top_k": name → mAP
        at `CURVE_TIOU` for each of "depths" and each run, of the paper's variants and "both";
        "training_seconds": name → seconds that its networks took in each run; "runs": (dataset,
        seed) of each run; and "protocol", "videos", "instances" and "classes" of the evaluation.

    Raises:
        InputError: An argument is out of its range, or a dataset or a test video cannot be used.
    """
    _check(datasets, seeds, alphas, tiou_thresholds)
    chosen = _chosen(all_variants(recipes, alphas), names)
    sources = [
        _Dataset(path, Path(output_dir) / path.name, read_annotations(path / ANNOTATIONS, "test"))
        for path in map(Path, datasets)
    ]
    runs = [(dataset, seed) for dataset in sources for seed in seeds]

    def work(dataset: _Dataset, seed: int, variant: Variant) -> float:
        shards = _shards(dataset, variant.networks[-1].recipe, dataset_name)
        models = dataset.folder / f"seed{seed}"
        seconds = _train(variant, shards, models, seed, start_from)
        _localize(variant, models, dataset)
        return seconds

    seconds = _done(
        {
            (name, dataset.source, seed): lambda job=(dataset, seed, variant): work(*job)
            for dataset, seed in runs
            for name, variant in chosen.items()
        }
    )
    matched: dict = {}
    curves: dict = {}
    for name, variant in chosen.items():
        for dataset, seed in runs:
            segments, prior = _found(variant, dataset.folder / f"seed{seed}")
            if name in (*PAPER_ABLATION, BOTH):
                curve = top_k_curve(dataset.test, segments, prior, protocol)
                curves.setdefault(name, []).append(curve)
            for tiou in tiou_thresholds:
                detections = detections_from_segments(segments, prior, max(0, tiou - NMS_MARGIN))
                videos = match_videos(
                    dataset.test, detections, tiou_threshold=tiou, protocol=protocol
                )
                matched.setdefault(f"{tiou:g}", {}).setdefault(name, []).append(videos)
    summary = {
        "protocol": protocol,
        "videos": sum(len(dataset.test) for dataset in sources),
        "instances": sum(len(v.actions) for dataset in sources for v in dataset.test.values()),
        "classes": len(class_names(v for dataset in sources for v in dataset.test.values())),
        "runs": [[dataset.source.name, seed] for dataset, seed in runs],
        "training_seconds": {
            name: [seconds[name, dataset.source, seed] for dataset, seed in runs] for name in chosen
        },
        **_statistics(matched, chosen, len(seeds)),
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
    """Returns the variants side by side as a Markdown table; **bold**: exceeds the noise."""
    keys = list(next(iter(summary["variants"].values())))
    lines = [
        f"protocol {summary['protocol']}: {summary['videos']} videos, {summary['instances']} "
        f"instances, {summary['classes']} classes; {len(summary['runs'])} runs; mean "
        f"[{100 * LEVEL:g} % interval]; **bold**: the interval of the difference excludes 0",
        "",
    ]
    rows = [["mAP at tIoU", *keys, "minus", *keys, "training, s"]]
    for name, maps in summary["variants"].items():
        row = [name]
        for key in keys:
            row.append(_cell(np.mean(maps[key]), summary["intervals"][name][key], ""))
        difference = summary["differences"].get(name)
        row.append(difference["reference"] if difference else "")
        for key in keys:
            if difference:
                each = difference["map"][key]
                cell = _cell(each["mean"], each["interval"], "+")
                row.append(f"**{cell}**" if each["exceeds_noise"] else cell)
            else:
                row.append("")
        rows.append([*row, f"{np.mean(summary['training_seconds'][name]):.0f}"])
    lines += _markdown(rows)
    if summary["top_k"]:
        lines += ["", "mAP at tIoU .5 of the best κ detections of a class for each instance", ""]
        rows = [["κ", *(f"{depth:g}" for depth in summary["depths"])]]
        for name, curves in summary["top_k"].items():
            rows.append([name, *(f"{value:.3f}" for value in np.mean(curves, axis=0))])
        lines += _markdown(rows)
    return "\n".join(lines) + "\n"


def _cell(mean: float, ends: Sequence[float], sign: str) -> str:
    low, high = (f"{end:{sign}.3f}" for end in ends)
    return f"{mean:{sign}.3f} [{low}, {high}]"


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table whose first row is its head, padded so that text aligns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]


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


def _chosen(known: Mapping[str, Variant], names: Sequence[str]) -> dict[str, Variant]:
    """Returns the variants of these names; without names, all.

    Raises:
        InputError: There is no variant of a name.
    """
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"expected variants of these: {', '.join(known)}. Received: {', '.join(unknown)}"
        )
    return {name: known[name] for name in names or known}


def _done(jobs: Mapping[Hashable, Callable[[], _T]]) -> dict[Hashable, _T]:
    """Returns the results of all jobs; a job that another process is doing is left for later."""
    results: dict = {}
    while left := [key for key in jobs if key not in results]:
        for key in left:
            with contextlib.suppress(FolderInUseError):
                results[key] = jobs[key]()
                logging.info("%d of %d: %s", len(results), len(jobs), " ".join(map(str, key)))
        if not any(key in results for key in left):
            logging.info("another process does what is left of %d: %d", len(jobs), len(left))
            time.sleep(_PATIENCE)
    return results


def _shards(dataset: _Dataset, recipe: Recipe, dataset_name: str) -> Path:
    """Returns the folder of the shards that a recipe needs, which are built if they are not yet."""
    kind = "segments" if recipe.shards.stretch_windows == 1 else "stretches"
    margin = f"_margin_{recipe.shards.margin:g}" if recipe.shards.margin else ""
    folder = dataset.folder / (kind + margin)
    if not (folder / MANIFEST).is_file():
        build_shards(
            read_annotations(dataset.source / ANNOTATIONS),
            video_dir=dataset.source / "videos",
            output_dir=folder,
            recipe=recipe,
            dataset_name=dataset_name,
        )
    return folder


def _train(
    variant: Variant, shards: Path, models: Path, seed: int, start_from: PathLike | None
) -> float:
    """Trains the networks of a variant that are not trained yet; returns the seconds of all."""
    seconds = 0.0
    for network in variant.networks:
        metrics = train_stage(
            network.stage,
            data_dir=shards,
            output_dir=models / network.folder,
            recipe=network.recipe,
            start_from=models / network.start if network.start else start_from,
            seed=seed,
        )
        seconds += metrics["seconds"]
    return round(seconds, 1)


def _results(variant: Variant, models: Path) -> Path:
    """Returns the folder of a variant's scored segments."""
    return models / f"test_{variant.networks[-1].folder}{'' if variant.proposal else '_all'}"


def _localize(variant: Variant, models: Path, dataset: _Dataset) -> None:
    """Localizes the actions of all test videos, unless it is done.

    Raises:
        InputError: A test video cannot be used.
    """
    folder = _results(variant, models)
    done = folder / "seconds.json"
    if done.is_file():
        return
    began = time.monotonic()
    failures = localize_videos(
        [find_video(video, dataset.source / "videos") for video in dataset.test.values()],
        ModelFolder(models, scorer=variant.networks[-1].folder, proposal=variant.proposal),
        folder,
        retry_failed=True,
    ).failures
    if failures:
        raise InputError(
            f"{failures[0]['cause']}: the figures need every test video; fix the file, or "
            "remove the video from the annotations, and run the same command again"
        )
    write_text(done, json.dumps(round(time.monotonic() - began, 1)))


def _found(variant: Variant, models: Path) -> tuple[RawSegments, WindowPrior | None]:
    """Returns the scored segments of all test videos, and the prior that belongs to them."""
    network = variant.networks[-1]
    prior = None
    if network.recipe.inference.window_prior:
        prior = read_prior(models / network.folder / WINDOW_PRIOR)
    return read_segments(_results(variant, models) / SEGMENTS_CSV), prior


def _statistics(
    matched: Mapping[str, Mapping[str, Sequence[MatchedVideos]]],
    chosen: Mapping[str, Variant],
    num_seeds: int,
) -> dict:
    """Returns mAP of each run, and confidence intervals of the means and of differences.

    Args:
        matched: tIoU → name → for each run, its matched test videos; the runs of a dataset follow
            one another.
        chosen: Name → variant.
        num_seeds: Number of runs of a dataset.
    """
    maps: dict = {name: {} for name in chosen}
    intervals: dict = {name: {} for name in chosen}
    differences: dict = {
        name: {"reference": variant.reference, "map": {}}
        for name, variant in chosen.items()
        if variant.reference in chosen and variant.reference != name
    }
    for key, by_name in matched.items():
        samples = resampled_maps(
            {
                name: [runs[i : i + num_seeds] for i in range(0, len(runs), num_seeds)]
                for name, runs in by_name.items()
            }
        )
        for name, runs in by_name.items():
            maps[name][key] = [run.mean_ap() for run in runs]
            intervals[name][key] = list(interval(samples[name]))
        for name, difference in differences.items():
            reference = difference["reference"]
            ends = interval(samples[name] - samples[reference])
            difference["map"][key] = {
                "mean": float(np.mean(maps[name][key]) - np.mean(maps[reference][key])),
                "interval": list(ends),
                "exceeds_noise": ends.excludes_zero,
            }
    return {"variants": maps, "intervals": intervals, "differences": differences}
