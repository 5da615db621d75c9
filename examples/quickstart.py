"""Trains and tests S-CNN on synthetic video: `make quickstart`.

    python examples/quickstart.py DIR

Makes videos, builds shards, trains the network, localizes actions in held-out videos and evaluates
them, by the same commands that run on any other data, next to guessing. Writes everything to DIR,
the figures to DIR/results.json, and a page that shows the results to DIR/report.html.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from commands import print_maps, run

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.evaluation.evaluate import evaluate_segments
from scnn_tf.localization.tables import RawSegments
from scnn_tf.models.recipes import get_recipe
from scnn_tf.segments.windows import sliding_windows

RECIPE = Path(__file__).parent / "quickstart.json"
TIOU = (0.3, 0.5, 0.7)
FRAME_RATE = 25.0  # frames/s of the dataset


def main(folder: Path) -> None:
    """Runs the commands one by one, each timed."""
    data, shards, models, found = (folder / n for n in ("data", "shards", "models", "found"))
    annotations = data / "annotations.json"
    seconds = {}

    def step(name: str, pipeline: str, *videos: str, **options) -> None:
        seconds[name] = round(run(pipeline, *videos, **options), 1)

    step(
        "videos", "make_synthetic.py",
        output_dir=data, num_train=40, num_test=9, num_trimmed_per_class=6, seed=2,
    )  # fmt: skip
    step(
        "shards", "build_tfrecords",
        annotations=annotations, video_dir=data / "videos", subset="train", output_dir=shards,
        recipe=RECIPE,
    )  # fmt: skip
    step("train", "train", data_dir=shards, model_dir=models, recipe=RECIPE)
    test = read_annotations(annotations, "test")
    videos = [str(data / "videos" / video.file) for video in test.values()]
    step("localize", "localize", *videos, model_dir=models, output_dir=found)
    step(
        "evaluate", "evaluate",
        annotations=annotations, subset="test", detections=found / "detections.json",
        tiou=",".join(map(str, TIOU)), output_json=found / "map.json",
    )  # fmt: skip
    guessed = chance(test, get_recipe(RECIPE).shards.window_frames, FRAME_RATE)
    by_chance = evaluate_segments(test, guessed, prior=None, tiou_thresholds=TIOU)
    rows = {
        "S-CNN": json.loads((found / "map.json").read_text())["map"],
        "chance": by_chance.to_json()["map"],
    }
    seconds["total"] = round(sum(seconds.values()), 1)
    results = {"map": rows, "seconds": seconds}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    instances = sum(len(video.actions) for video in test.values())
    print(f"\n{len(test)} unseen videos, {instances} instances, 6 classes; protocol thumos14")
    print_maps(rows)
    print(f"{seconds['total']:.0f} s in all → {folder / 'results.json'}")
    run(
        "visualize", detections=found / "detections.json", annotations=annotations, subset="test",
        video_dir=data / "videos", model_dir=models, output=folder / "report.html",
        title="Quickstart: actions in unseen videos",
    )  # fmt: skip


def chance(
    ground_truth: Mapping[str, VideoAnnotation],
    window_frames: Sequence[int],
    frame_rate: float,
    seed: int = 0,
) -> RawSegments:
    """Returns all windows of all videos, with random classes and scores.

    Args:
        ground_truth: Annotations by video id, with durations.
        window_frames: Lengths of the windows, in frames.
        frame_rate: Frame rate of the dataset, in frames/s.
        seed: Random seed.
    """
    random = np.random.default_rng(seed)
    names = class_names(ground_truth.values())
    rows = [
        (video.video_id, window)
        for video in ground_truth.values()
        for window in sliding_windows(round(video.duration * frame_rate), window_frames)
    ]
    return RawSegments(
        video=[video_id for video_id, _ in rows],
        window_frames=[window.length for _, window in rows],
        start=[window.start / frame_rate for _, window in rows],
        end=[window.end / frame_rate for _, window in rows],
        label=random.choice(names, len(rows)),
        score=random.random(len(rows)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart").resolve())
