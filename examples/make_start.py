"""Makes the weights that come with scnn_tf, `train --start_from=motion`.

    python examples/make_start.py DIR

Trains the one network of the recipe `small` on synthetic videos of jointed figures and blobs
(`make_synthetic.py --motions=rich`), with all 20 actions as its classes. Its backbone, in half
precision, goes to DIR/start, whose three files are those of `scnn_tf/models/starts/motion`.
Finished steps are not repeated.
"""

import dataclasses
import json
import sys
from pathlib import Path

import h5py
import numpy as np
from commands import run

from scnn_tf.io.files import sha256
from scnn_tf.models.checkpoints import WEIGHTS, read_info, write_info
from scnn_tf.training.pretrained import PROVENANCE

VIDEOS = 480
STEPS = 8000
RECIPE = {
    "base": "small",
    "start": "",
    "precision": "mixed_bfloat16",
    "joint": {"steps": STEPS},
}


def main(folder: Path) -> None:
    """Runs the commands one by one, and halves the precision of the weights."""
    videos, shards, recipe = folder / "videos", folder / "shards", folder / "recipe.json"
    folder.mkdir(parents=True, exist_ok=True)
    recipe.write_text(json.dumps(RECIPE))
    if not (videos / "annotations.json").is_file():
        run(
            "make_synthetic.py",
            motions="rich", num_train=VIDEOS, num_test=12, num_trimmed_per_class=0, seed=100,
            output_dir=videos,
        )  # fmt: skip
    run(
        "build_tfrecords",
        annotations=videos / "annotations.json", video_dir=videos / "videos", recipe=recipe,
        output_dir=shards,
    )  # fmt: skip
    run("train", data_dir=shards, model_dir=folder / "model", recipe=recipe)
    start = folder / "start"
    run(
        "convert_weights",
        weights=folder / "model" / "joint", output_dir=start, licence="Apache-2.0",
        trained_on=f"{VIDEOS} synthetic videos of 20 actions (examples/make_start.py)",
    )  # fmt: skip
    halve(start)
    card = json.loads((start / PROVENANCE).read_text())
    card |= {"input": "model/joint", "command": "python examples/make_start.py DIR"}
    (start / PROVENANCE).write_text(json.dumps(card, indent=1) + "\n")


def halve(folder: Path) -> None:
    """Stores the weights of a folder in float16; networks that load them compute as before."""
    halved = folder / "half.h5"
    with h5py.File(folder / WEIGHTS) as old, h5py.File(halved, "w") as new:

        def copy(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset):
                values = node[()].astype(np.float16)
                copied = new.create_dataset(name, data=values, compression="gzip", shuffle=True)
            else:
                copied = new.require_group(name)
            copied.attrs.update(node.attrs)

        old.visititems(copy)
    halved.replace(folder / WEIGHTS)
    info = read_info(folder)
    checksums = {**info.checksums, "weights": sha256(folder / WEIGHTS)}
    write_info(folder, dataclasses.replace(info, checksums=checksums))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/make_start.py DIR")
    main(Path(sys.argv[1]).resolve())
