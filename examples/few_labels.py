"""Measures what labels are worth: mAP by the number of labelled instances, chosen in two ways.

    python examples/few_labels.py CLIPS DIR [RECIPE]

CLIPS is a folder of the Weizmann actions, as `weizmann.py` takes it. Of three people, one after the
other, all videos are for testing. Of the videos of the others, two are labelled at first; a network
is trained on them, two more are labelled, and so on: once drawn at random, once as `check_dataset
--suggest` says, by what the network finds in the videos without labels. Finished steps are not
repeated. Writes everything to DIR, the figures to DIR/results.json and DIR/few_labels.png.
"""

import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from commands import run
from matplotlib.figure import Figure
from weizmann import TARGETS

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.formats import read_annotations, write_annotations
from scnn_tf.localization.formats import read_detections
from scnn_tf.localization.suggest import suggest

TEST_PEOPLE = 3
ROUNDS = 4
VIDEOS = 2  # that are labelled in a round
TIOU = ("0.3", "0.5", "0.7")
RANDOM, SUGGESTED = "at random", "as suggested"


def main(clips: Path, folder: Path, recipe: str = "few_shot") -> None:
    """Labels, trains and tests, round by round."""
    data = folder / "data"
    if not (data / "annotations.json").is_file():
        run(
            "stitch_videos.py",
            clips_dir=clips, targets=TARGETS, sequences_per_person=4, output_dir=data,
        )  # fmt: skip
    videos = read_annotations(data / "annotations.json")
    people = sorted({video_id.split("_")[0] for video_id in videos})
    results: dict[str, dict[str, list]] = {RANDOM: {}, SUGGESTED: {}}
    for person in people[:TEST_PEOPLE]:
        test = [video_id for video_id in videos if video_id.startswith(f"{person}_")]
        pool = sorted(set(videos) - set(test))
        for way, rows in results.items():
            draw = random.Random(person)
            model, labelled = folder / person / "first", draw.sample(pool, VIDEOS)  # of both ways
            for number in range(1, ROUNDS + 1):
                instances = sum(len(videos[video_id].instances) for video_id in labelled)
                maps = measured(model, videos, labelled, test, data, recipe)
                rows.setdefault(instances, []).append(maps)
                if number == ROUNDS:
                    break
                rest = [video_id for video_id in pool if video_id not in labelled]
                if way == RANDOM:
                    labelled += draw.sample(rest, VIDEOS)
                else:
                    labelled += suggested(model, videos, labelled, rest, data)
                model = folder / person / f"{way[3:]}{number}"
    means = {
        way: {n: dict(zip(TIOU, np.mean(maps, axis=0), strict=True)) for n, maps in rows.items()}
        for way, rows in results.items()
    }
    (folder / "results.json").write_text(json.dumps(means, indent=1) + "\n")
    plot(means, folder / "few_labels.png")
    print(f"\n{'labelled instances':<24}" + "".join(f"{f'mAP@{t}':>10}" for t in TIOU))
    for way, rows in means.items():
        for number, maps in rows.items():
            print(f"{number:>4} {way:<19}" + "".join(f"{maps[t]:>10.3f}" for t in TIOU))


def measured(
    folder: Path,
    videos: Mapping[str, VideoAnnotation],
    labelled: list[str],
    test: list[str],
    data: Path,
    recipe: str,
) -> list[float]:
    """Trains on the labelled videos; returns the mAP on those for testing, at each of `TIOU`."""
    annotations, found = folder / "annotations.json", folder / "found"
    if not (found / "map.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_annotations(annotations, {key: videos[key] for key in labelled})
        run(
            "build_tfrecords",
            annotations=annotations, video_dir=data / "videos", output_dir=folder / "shards",
            recipe=recipe,
        )  # fmt: skip
        run("train", data_dir=folder / "shards", model_dir=folder / "model", recipe=recipe)
        localize(folder, test, data, found)
        truth = folder / "test.json"
        write_annotations(truth, {key: videos[key] for key in test})
        run(
            "evaluate",
            annotations=truth, subset="train", detections=found / "detections.json",
            tiou=",".join(TIOU), output_json=found / "map.json",
        )  # fmt: skip
    maps = json.loads((found / "map.json").read_text())["map"]
    return [maps[tiou] for tiou in TIOU]


def suggested(
    folder: Path,
    videos: Mapping[str, VideoAnnotation],
    labelled: list[str],
    rest: list[str],
    data: Path,
) -> list[str]:
    """Returns the videos to label next, by what a network finds in those without labels."""
    found = folder / "unlabelled"
    if not (found / "detections.json").is_file():
        localize(folder, rest, data, found)
    instances = [action.label for key in labelled for action in videos[key].actions]
    ordered = suggest(
        read_detections(found / "detections.json"),
        {key: videos[key].duration for key in rest},
        instances,
    )
    return [each.video_id for each in ordered[:VIDEOS]]


def localize(folder: Path, keys: list[str], data: Path, output: Path) -> None:
    """Runs the network of a folder on videos."""
    paths = [str(data / "videos" / f"{key}.mp4") for key in keys]
    run("localize", *paths, model_dir=folder / "model", output_dir=output)


def plot(means: Mapping[str, Mapping[int, Mapping[str, float]]], path: Path) -> None:
    """Draws mAP by the number of labelled instances, a picture a tIoU."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, tiou in zip(figure.subplots(1, len(TIOU), sharey=True), TIOU, strict=True):
        for way, rows in means.items():
            axes.plot(list(rows), [maps[tiou] for maps in rows.values()], marker="o", label=way)
        axes.set(title=f"tIoU {tiou}", xlabel="labelled instances", ylim=(0, 1))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mAP")
    figure.axes[0].legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python examples/few_labels.py CLIPS DIR [RECIPE]")
    main(*(Path(argument).resolve() for argument in sys.argv[1:3]), *sys.argv[3:])
