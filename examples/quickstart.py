"""Trains and tests S-CNN on synthetic video: `make quickstart`.

    python examples/quickstart.py DIR

Makes videos, builds shards, trains the three networks, localizes actions in held-out videos and
evaluates them, by the same commands that run on any other data. Two baselines follow: a network
that sees no motion, and guessing. Writes everything to DIR, the figures to DIR/results.json, and
a page that shows the results to DIR/report.html.
"""

import json
import sys
from pathlib import Path

from commands import run

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.evaluation.evaluate import chance, evaluate_segments
from scnn_tf.localization.formats import read_segments
from scnn_tf.segments.prior import read_prior

RECIPES = Path(__file__).parent
TIOU = (0.3, 0.5, 0.7)
STAGES = ("proposal", "classification", "localization")


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
        frame_height=40, frame_width=40, background_ratio=3,
        positive_tiou=0.5, background_tiou=0.5,
    )  # fmt: skip
    recipe = RECIPES / "quickstart.json"
    for stage in STAGES:
        step(
            stage, "train", stage=stage, data_dir=shards, model_dir=models, recipe=recipe
        )  # fmt: skip
    test = read_annotations(annotations, "test")
    videos = [str(data / "videos" / video.file) for video in test.values()]
    step("localize", "localize", *videos, model_dir=models, output_dir=found)
    # Without the window-length prior: these lengths are drawn alike for all classes, so that it has
    # nothing to tell, and only favours the lengths in the middle. What it costs is in the table.
    step(
        "evaluate", "evaluate",
        ground_truth=annotations, subset="test", segments=found / "segments.csv",
        tiou=",".join(map(str, TIOU)), output_json=found / "map.json", text_rounding="false",
    )  # fmt: skip

    # The same classes from one frame of each segment: every window scored, no proposal network.
    still, found_still = folder / "models_single_frame", folder / "found_single_frame"
    step(
        "single frame: train", "train",
        stage="classification", data_dir=shards, model_dir=still,
        recipe=RECIPES / "single_frame.json",
    )  # fmt: skip
    step(
        "single frame: localize", "localize", *videos,
        model_dir=still, output_dir=found_still, scorer="classification", proposal="false",
    )  # fmt: skip
    step(
        "single frame: evaluate", "evaluate",
        ground_truth=annotations, subset="test", segments=found_still / "segments.csv",
        tiou=",".join(map(str, TIOU)), output_json=found_still / "map.json",
        text_rounding="false",
    )  # fmt: skip
    prior = read_prior(models / "localization" / "window_prior.csv")
    with_prior = evaluate_segments(test, read_segments(found / "segments.csv"), prior, TIOU)
    guessed = evaluate_segments(test, chance(test, prior.window_frames), None, TIOU)

    seconds["total"] = round(sum(seconds.values()), 1)
    results = {
        "map": json.loads((found / "map.json").read_text())["map"],
        "map_with_window_prior": with_prior.to_json()["map"],
        "map_single_frame": json.loads((found_still / "map.json").read_text())["map"],
        "map_chance": guessed.to_json()["map"],
        "seconds": seconds,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    instances = sum(len(video.actions) for video in test.values())
    print(f"\n{len(test)} unseen videos, {instances} instances, 6 classes; protocol thumos14")
    print(f"{'mAP at tIoU':<24}" + "".join(f"{tiou:>8}" for tiou in TIOU))
    rows = {
        "S-CNN": "map",
        "with window prior": "map_with_window_prior",
        "single-frame classifier": "map_single_frame",
        "chance": "map_chance",
    }
    for name, key in rows.items():
        print(f"{name:<24}" + "".join(f"{value:>8.3f}" for value in results[key].values()))
    print(f"{seconds['total']:.0f} s in all → {folder / 'results.json'}")
    run(
        "report", detections=found / "detections.json", ground_truth=annotations, subset="test",
        videos=data / "videos", model_dir=models, output=folder / "report.html",
        evaluations=f"{found / 'map.json'},{found_still / 'map.json'}",
        names="without window prior,single frame", title="Quickstart: actions in unseen videos",
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart").resolve())
