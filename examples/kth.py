"""Tests on untrimmed film of another dataset: `make kth CLIPS=folder FILMS=folder`.

    python examples/kth.py CLIPS FILMS DIR

CLIPS is a folder of the Weizmann actions, as `weizmann.py` takes it; all of its people are for
training. FILMS is a folder of the KTH films, with their file 00sequences.txt. The films of walking
and running are untrimmed and have no cuts: the actor crosses the picture, leaves it and comes back.
The network never sees a film in training. It is trained with three seeds; finished steps are not
repeated. Writes everything to DIR, the figures to DIR/results.json, and a page with the films to
DIR/report.html.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from commands import print_maps, run
from weizmann import TARGETS

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import write_annotations
from scnn_tf.errors import InputError
from scnn_tf.io import video

CLASSES = {"walking": "walk", "running": "run"}  # KTH's name → Weizmann's
FPS = 25.0  # of the films, whose labels count frames
SEEDS = (0, 1, 2)
TIOU = ("0.3", "0.5", "0.7")


def main(clips: Path, films: Path, folder: Path, recipe: str = "small") -> None:
    """Runs the commands one by one, and prints the mAP of each seed."""
    truth = ground_truth(films)
    train, shards, test = folder / "weizmann", folder / "shards", folder / "annotations.json"
    if not (train / "annotations.json").is_file():
        run(
            "stitch_videos.py",
            clips_dir=clips, targets=TARGETS, sequences_per_person=4, output_dir=train,
        )  # fmt: skip
    write_annotations(test, truth)
    run(
        "build_tfrecords",
        annotations=train / "annotations.json", video_dir=train / "videos", output_dir=shards,
        recipe=recipe,
    )  # fmt: skip
    paths = [str(films / v.file) for v in truth.values()]
    results = {}
    for seed in SEEDS:
        models, found = folder / f"seed{seed}", folder / f"found{seed}"
        run("train", data_dir=shards, model_dir=models, recipe=recipe, seed=seed)
        run("localize", *paths, model_dir=models, output_dir=found)
        run(
            "evaluate",
            annotations=test, subset="test", detections=found / "detections.json",
            tiou=",".join(TIOU), output_json=found / "map.json",
        )  # fmt: skip
        results[f"seed {seed}"] = json.loads((found / "map.json").read_text())["map"]
    results["mean"] = {t: float(np.mean([row[t] for row in results.values()])) for t in TIOU}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    run(
        "visualize",
        detections=folder / "found0" / "detections.json", annotations=test, subset="test",
        video_dir=films, model_dir=folder / "seed0", output=folder / "report.html",
        title="KTH: untrimmed films, found by a network that was trained on Weizmann",
    )  # fmt: skip
    instances = sum(len(v.instances) for v in truth.values())
    print(f"\n{len(truth)} films, {instances} instances, 2 classes; protocol thumos14")
    print_maps(results)


def ground_truth(films: Path) -> dict[str, VideoAnnotation]:
    """Returns the annotations of the films of walking and running, by the dataset's own labels.

    A line of 00sequences.txt has a film's name and intervals of frames, which count from 1 and
    include their last frame: `person07_walking_d2  frames  1-120, 170-288`.

    Args:
        films: Folder of 00sequences.txt and `<name>_uncomp.avi`; films may be missing.

    Raises:
        InputError: There is no 00sequences.txt, or no film of walking or running that it lists.
        VideoError: A film cannot be read.
    """
    labels = films / "00sequences.txt"
    if not labels.is_file():
        raise InputError(f"{films}: expected the KTH films and their labels, 00sequences.txt")
    videos = {}
    for name, label, intervals in re.findall(
        r"^(\w+?_([a-z]+)_d\d)\s+frames\s+(.+)$", labels.read_text(), re.MULTILINE
    ):
        path = films / f"{name}_uncomp.avi"
        if label not in CLASSES or not path.is_file():
            continue
        videos[path.stem] = VideoAnnotation(
            video_id=path.stem,
            subset="test",
            duration=video.probe(path).duration,
            fps=FPS,
            instances=tuple(
                Instance(CLASSES[label], (int(first) - 1) / FPS, int(last) / FPS)
                for first, last in re.findall(r"(\d+)-(\d+)", intervals)
            ),
            file=path.name,
        )
    if not videos:
        raise InputError(
            f"{films}: expected films of walking or running, such as person01_walking_d1_uncomp.avi"
        )
    return videos


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/kth.py CLIPS FILMS DIR")
    try:
        main(*(Path(argument).resolve() for argument in sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
