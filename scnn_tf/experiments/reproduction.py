"""The paper's experiments (sections 4.2 and 4.3), from the challenges' folders to its tables.

prepare → convert → shards → three stages → localize → evaluate → tables and figures. Finished
steps are not repeated.
"""

import itertools
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names, instance_spans
from scnn_tf.datasets.challenges import ANNOTATIONS, Challenge, prepare
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.mexaction2 import mexaction2
from scnn_tf.datasets.thumos14 import thumos14
from scnn_tf.datasets.video_files import find_video
from scnn_tf.errors import InputError, VideoError
from scnn_tf.evaluation.evaluate import evaluate_segments
from scnn_tf.experiments import ablation
from scnn_tf.experiments.variants import PAPER_ABLATION, S_CNN, all_variants
from scnn_tf.io.files import PathLike, write_text
from scnn_tf.io.video import read_frames
from scnn_tf.localization.formats import read_segments
from scnn_tf.localization.run import SEGMENTS_CSV
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import STAGES, Recipe, ShardRecipe
from scnn_tf.report import figures
from scnn_tf.segments.labels import label_segments
from scnn_tf.segments.prior import WINDOW_PRIOR, read_prior
from scnn_tf.segments.windows import SAMPLED_FRAMES, sliding_windows
from scnn_tf.shards.records import encode_jpeg
from scnn_tf.training.networks import compiled
from scnn_tf.training.pretrained import convert_weights

CHALLENGES = {"thumos14": thumos14, "mexaction2": mexaction2}
FRAME_RATE = 25.0  # Hz, the default of `build_shards`
TIOU = (0.1, 0.2, 0.3, 0.4, 0.5)
PAPER = {  # mAP, in percent
    "thumos14": {
        S_CNN: (47.7, 43.5, 36.3, 28.7, 19.0),
        f"{S_CNN} without proposal": (None,) * 4 + (17.1,),
    },
    "mexaction2": {"BullChargeCape": 11.6, "HorseRiding": 3.1, "mean": 7.4},  # at tIoU .5
}
_PROBED_STEPS = 3  # timed steps, and timed batches, of the estimate


def run(
    experiment: str,
    *,
    video_dir: PathLike,
    output_dir: PathLike,
    recipe: Recipe,
    annotations_dir: PathLike | None = None,
    weights: PathLike | None = None,
    mean: PathLike | None = None,
    allow_missing: bool = False,
    estimate_only: bool = False,
) -> dict:
    """Runs an experiment of the paper; the same call resumes an interrupted one.

    Args:
        experiment: "thumos14" or "mexaction2".
        video_dir: Folder that contains all videos, as for `prepare_dataset`.
        output_dir: Folder for everything: `dataset/`, `pretrained/`, `runs/`, `results.json`,
            `tables.md` and the figures.
        recipe: All settings of the shards, the training and the localization.
        annotations_dir: Folder that contains the text; None: `video_dir`.
        weights: Sports-1M weights, as for `convert_weights`; None: random weights.
        mean: The mean volume that belongs to the weights; None: one mean colour.
        allow_missing: Whether to run with the videos that are present if others are missing.
        estimate_only: Whether to stop after the estimate.

    Returns:
        The content of `results.json`: the estimate, mAP by variant, AP by class, and counts; with
        `estimate_only` just the estimate.

    Raises:
        InputError: Videos or text are missing, or something cannot be read.
    """
    if recipe.stages != STAGES:
        raise InputError(
            "expected a recipe of the paper's three networks. Received: "
            f"{recipe.name!r}, of {', '.join(recipe.stages)}"
        )
    folder = Path(output_dir)
    challenge = CHALLENGES[experiment](video_dir, annotations_dir or video_dir)
    dataset = _dataset(folder / "dataset", challenge, allow_missing)
    expected = estimate(dataset, recipe)
    logging.info("expected: %s", ", ".join(f"{k} {v}" for k, v in expected.items()))
    if estimate_only:
        return {"estimate": expected}
    start_from = None
    if weights is not None:
        start_from = folder / "pretrained"
        convert_weights(input_path=weights, output_dir=start_from, mean_path=mean)
    summary = ablation.run(
        [dataset],
        output_dir=folder / "runs",
        recipes=[recipe],
        names=PAPER_ABLATION,
        tiou_thresholds=TIOU,
        start_from=start_from,
        dataset_name=experiment,
    )
    models = folder / "runs" / dataset.name / "seed0"
    prior = read_prior(models / "localization" / WINDOW_PRIOR)
    full = evaluate_segments(
        read_annotations(dataset / ANNOTATIONS, "test"),
        read_segments(models / "test_localization" / SEGMENTS_CSV),
        prior=prior if recipe.inference.window_prior else None,
        tiou_thresholds=TIOU,
    )
    results = {"experiment": experiment, "estimate": expected, **full.to_json(), **summary}
    write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "tables.md", tables(experiment, results))
    figures.save(figures.ap_bars({S_CNN: results}, TIOU[-1]), folder / "figure4.svg")
    figures.save(figures.top_k_curves(summary), folder / "figure7.svg")
    return results


def estimate(dataset: Path, recipe: Recipe) -> dict:
    """Returns time and space that an experiment will take on this machine, before it starts.

    Steps and windows are counted. The duration of a step and of a window is measured with the
    real network for a few steps, and the size of a frame on the first video.

    Args:
        dataset: Folder with `annotations.json` and `videos/`.
        recipe: All settings.

    Returns:
        train_segments, test_windows (counts); step_s, window_s (measured, in seconds); training_h,
        localization_h (hours; all variants, as if the proposal network kept every window);
        shards_gb and memory_gb (10⁹ bytes; memory of this process so far, and what the networks
        will add).
    """
    videos = read_annotations(dataset / ANNOTATIONS)
    train = [video for video in videos.values() if video.subset == "train"]
    positives = sum(_positives(video, recipe.shards) for video in train)
    segments = int(positives * (1 + recipe.shards.background_ratio))
    windows = sum(
        len(_windows(video, recipe.shards)) for video in videos.values() if video.subset == "test"
    )
    step_s, window_s, weight_bytes = _measured(recipe, len(class_names(videos.values())))
    trained = [all_variants([recipe])[name] for name in PAPER_ABLATION]
    networks = {network for variant in trained for network in variant.networks}
    steps = sum(network.recipe.stage(network.stage).steps for network in networks)
    passes = sum(1 + variant.proposal for variant in trained)
    frame_bytes = _frame_bytes(dataset, train, recipe.shards)
    so_far = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # TensorFlow 2.16 keeps the graph of a training step and all that it holds: of each network its
    # weights, their momentum and those that it started from. Once more when it scores the videos.
    kept = 4 * weight_bytes * len(networks)
    return {
        "train_segments": segments,
        "test_windows": windows,
        "step_s": round(step_s, 3),
        "window_s": round(window_s, 4),
        "training_h": round(steps * step_s / 3600, 2),
        "localization_h": round(windows * passes * window_s / 3600, 2),
        "shards_gb": round(segments * SAMPLED_FRAMES * frame_bytes / 1e9, 2),
        "memory_gb": round((so_far + kept) / 1e9, 2),
    }


def tables(experiment: str, results: Mapping) -> str:
    """Returns the paper's tables next to the measured figures, as Markdown, in percent.

    Args:
        experiment: "thumos14" (Tables 2 and 3) or "mexaction2" (Table 1).
        results: What `run` returned.
    """
    keys = [f"{tiou:g}" for tiou in TIOU]
    counts = (
        f"Protocol {results['protocol']}: {results['videos']} videos, {results['instances']} "
        f"instances, {results['classes']} classes."
    )
    if experiment == "mexaction2":
        lines = ["Table 1: AP at tIoU .5, %", "", "| class | paper | here |", "|---|---|---|"]
        rows = {name: ap[keys[-1]] for name, ap in results["ap"].items()}
        rows["mean"] = results["map"][keys[-1]]
        for name, value in rows.items():
            lines.append(f"| {name} | {PAPER[experiment].get(name, '–')} | {100 * value:.1f} |")
        return "\n".join([*lines, "", counts, ""])
    variants = {
        name: [100 * float(np.mean(maps[key])) for key in keys]
        for name, maps in results["variants"].items()
    }
    lines = ["Table 2: mAP, %", "", "| tIoU | " + " | ".join(keys) + " |", "|---" * 6 + "|"]
    paper = PAPER[experiment]
    lines.append("| paper | " + " | ".join(map(str, paper[S_CNN])) + " |")
    lines.append("| here | " + " | ".join(f"{v:.1f}" for v in variants[S_CNN]) + " |")
    lines += ["", "Table 3: mAP at tIoU .5, %", "", "| | paper | here |", "|---|---|---|"]
    for name, values in variants.items():
        lines.append(f"| {name} | {paper.get(name, ['–'])[-1]} | {values[-1]:.1f} |")
    return "\n".join([*lines, "", counts, ""])


def _dataset(folder: Path, challenge: Challenge, allow_missing: bool) -> Path:
    """Returns a folder with the challenge's `annotations.json` and `videos/`, a link."""
    link = folder / "videos"
    if not (folder / ANNOTATIONS).is_file():
        report = prepare(challenge, folder, allow_missing=allow_missing)
        logging.info("dataset:\n%s", report.table())
        if not allow_missing:
            report.check()
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(challenge.video_dir.resolve())
    elif link.resolve() != challenge.video_dir.resolve():
        raise InputError(
            f"{folder}: expected a dataset of {challenge.video_dir}. Found: one of "
            f"{link.resolve()}; choose another --output_dir"
        )
    return folder


def _windows(video: VideoAnnotation, shards: ShardRecipe) -> np.ndarray:
    """Returns start and end of the windows, in frames, `[N, 2]`; N is 0 without a duration."""
    frames = round((video.duration or 0) * FRAME_RATE)
    windows = sliding_windows(frames, shards.window_frames)
    return np.array([(w.start, w.end) for w in windows], float).reshape(-1, 2)


def _positives(video: VideoAnnotation, shards: ShardRecipe) -> int:
    if video.trimmed:
        return 1
    labels = label_segments(
        _windows(video, shards),
        instance_spans(video.actions) * FRAME_RATE,
        positive_tiou=shards.positive_tiou,
        margin=shards.margin,
    )
    return int(labels.positive.sum())


def _measured(recipe: Recipe, num_classes: int) -> tuple[float, float, int]:
    """Returns the seconds of a training step and of scoring a window, and the bytes of the weights.

    The weights are random.
    """
    names = tuple(map(str, range(num_classes)))
    model = compiled(StageInfo("classification", names, 25.0, 0, recipe))
    frames = np.zeros([recipe.batch_size, 16, recipe.crop, recipe.crop, 3], np.uint8)
    inputs = {"frames": frames}
    if recipe.window_input:
        inputs["window_frames"] = np.full(recipe.batch_size, 16, np.int32)
    targets = np.tile(np.float32([1, 1]), [recipe.batch_size, 1, 1])  # of one window each

    def seconds(call) -> float:
        call()  # traces the graph
        began = time.monotonic()
        for _ in range(_PROBED_STEPS):
            call()
        return (time.monotonic() - began) / _PROBED_STEPS

    step_s = seconds(lambda: model.train_on_batch(inputs, targets))
    window_s = seconds(lambda: model.predict_on_batch(inputs)) / recipe.batch_size
    return step_s, window_s, 4 * model.count_params()


def _frame_bytes(dataset: Path, train: list[VideoAnnotation], shards: ShardRecipe) -> float:
    """Returns the mean bytes of a JPEG over the first second of the first readable video."""
    for video in train:
        try:
            frames = read_frames(
                find_video(video, dataset / "videos"),
                FRAME_RATE,
                shards.frame_height,
                shards.frame_width,
            )
            sizes = [len(encode_jpeg(f)) for f in itertools.islice(frames, 25)]
        except VideoError:
            continue
        return float(np.mean(sizes))
    raise InputError(f"{dataset}: none of the {len(train)} training videos can be read")
