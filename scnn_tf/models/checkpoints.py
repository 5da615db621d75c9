"""The folder of a trained network: its description, its weights and its metrics."""

import contextlib
import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    PathLike,
    as_path,
    atomic_write,
    copy_file,
    read_json,
    sha256,
    write_text,
)
from scnn_tf.models.recipes import JOINT, STAGES, Recipe, from_dict
from scnn_tf.models.settings import shown

if TYPE_CHECKING:
    import keras

MODEL_JSON = "model.json"  # description of the stage; written first
WEIGHTS = "model.weights.h5"  # written last: with it, the stage is finished
METRICS = "metrics.json"
PRETRAINED = "pretrained"  # the stage of a folder that `convert_weights` wrote
_HDF5_OVERHEAD = 1 << 12  # bytes of each tensor in an HDF5 file, besides its values


@dataclasses.dataclass(frozen=True)
class StageInfo:
    """The description of a trained stage: the content of `model.json`.

    Attributes:
        stage: "proposal", "classification", "localization" or "joint"; or "pretrained": a backbone
            without last layers to start from, which has no classes and a frame rate of 0.
        class_names: The K classes; output k is `class_names[k - 1]`, 0 is background.
        frame_rate: Rate of the frames that it was trained on, in Hz.
        seed: Seed of the run.
        recipe: Settings of the run.
        checksums: SHA-256 of "shards" and "start_from" (the initial weights), by which a run knows
            its inputs again, and of "weights", the finished file. A checksum is absent where there
            is no such input, or none was written: earlier versions wrote none.
    """

    stage: str
    class_names: tuple[str, ...]
    frame_rate: float
    seed: int
    recipe: Recipe
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def build(self) -> "keras.Model":
        """Returns the network with fresh weights.

        Raises:
            InputError: There is no such backbone.
        """
        from scnn_tf.models.stages import BACKBONES, network  # which load Keras

        name = self.recipe.backbone
        if name not in BACKBONES:
            raise InputError(f"backbone must be one of {', '.join(BACKBONES)}. Received: {name!r}")
        arguments = self.recipe.backbone_arguments()
        backbone = BACKBONES[name](**arguments)
        if self.stage == PRETRAINED:
            return backbone
        return network(
            self.stage,
            len(self.class_names),
            backbone,
            initializer=arguments.get("initializer", "caffe"),
            multi_label=self.recipe.shards.multi_label,
            boundary_reach=self.recipe.boundary_reach,
        )


def default_scorer(folder: AnyPath) -> str:
    """Returns the sub-folder of the network that scores: "joint" or "localization"."""
    return JOINT if (folder / JOINT).is_dir() else "localization"


def load_stage(folder: PathLike, stage: str | None = None) -> "tuple[keras.Model, StageInfo]":
    """Returns a trained network and its description.

    Args:
        folder: Folder or URL of the stage.
        stage: Stage that it must be; None: any.

    Raises:
        InputError: The folder holds no finished stage, or another stage; or its weights are
            damaged, or not finite.
    """
    folder = as_path(folder)
    info = _read_finished(folder)
    if stage is not None and info.stage != stage:
        raise InputError(f"{folder}: holds a {info.stage} network where {stage} is needed")
    path = folder / WEIGHTS
    try:
        with _local(path) as local:
            expected = info.checksums.get("weights")
            if expected is not None and sha256(local) != expected:
                raise ValueError(f"its checksum is not that of {MODEL_JSON}: it was damaged")
            model = info.build()
            model.load_weights(local)
        if weight := not_finite(model):
            raise ValueError(f"its weights {weight} are not finite")
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # also those of h5py
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be loaded ({reason}); train it again") from error
    return model, info


def weights_checksum(folder: PathLike) -> str:
    """Returns the SHA-256 checksum of the weights of a trained stage.

    Raises:
        InputError: The folder holds no finished stage.
    """
    folder = as_path(folder)
    _read_finished(folder)
    return sha256(folder / WEIGHTS)


def not_finite(model: "keras.Model") -> str:
    """Returns the path of the first weights of a model that hold NaN or infinity; "" if none do."""
    wrong = (weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all())
    return next(wrong, "")


def write_info(folder: AnyPath, info: StageInfo) -> None:
    """Writes `model.json`, the description of a stage."""
    write_text(folder / MODEL_JSON, json.dumps(dataclasses.asdict(info), indent=1) + "\n")


def save_weights(model: "keras.Model", folder: AnyPath, info: StageInfo) -> None:
    """Writes the weights, without the state of an optimizer, and their checksum.

    `model.json` gets the checksum; then `model.weights.h5` appears, the last file of a stage.

    Raises:
        InputError: The files cannot be written.
    """
    import keras

    bare = keras.Model(model.input, model.output, name=model.name)  # has no optimizer
    with atomic_write(folder / WEIGHTS) as aside:
        file = aside.with_name(f"{aside.name}.weights.h5")  # Keras insists on this ending
        try:
            _reserve(file, sum(w.numpy().nbytes + _HDF5_OVERHEAD for w in bare.weights))
            bare.save_weights(file)
            file.replace(aside)
        finally:
            file.unlink(missing_ok=True)
        checksums = {**info.checksums, "weights": sha256(aside)}
        write_info(folder, dataclasses.replace(info, checksums=checksums))


def _reserve(path: Path, size: int) -> None:
    """Checks that a disk takes so many bytes more: h5py 3.16 crashes Python when it is full.

    Raises:
        OSError: It does not.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def read_metrics(folder: AnyPath) -> dict:
    """Returns the final metrics of a finished stage, as `train_stage` returned them.

    Raises:
        InputError: They are missing or damaged.
    """
    again = f"remove {folder} to train again"
    try:
        metrics = read_json(folder / METRICS)
    except InputError as error:
        raise InputError(f"{error}; {again}") from error
    if not isinstance(metrics, dict):
        raise InputError(f"{folder / METRICS}: expected an object of metrics; {again}")
    return metrics


def read_info(folder: PathLike) -> StageInfo:
    """Reads `model.json`, the description of a trained stage.

    Raises:
        InputError: There is no such file, or it is damaged or of another version.
    """
    path = as_path(folder) / MODEL_JSON
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a trained network, but {MODEL_JSON} is missing; run train first"
        )
    try:
        fields = dict(read_json(path))
        fields["class_names"] = tuple(fields["class_names"])
        fields["recipe"] = from_dict(fields["recipe"])
        info = StageInfo(**fields)
        _check(info)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # also an `InputError`
        raise InputError(
            f"{path}: not the description of a network by this version of scnn_tf ({error}); "
            "train the network again"
        ) from error
    return info


def _check(info: StageInfo) -> None:
    """Checks the values of a description.

    Raises:
        ValueError: A value is of another type, or out of its range.
    """
    good = {
        "stage": info.stage in (*STAGES, JOINT, PRETRAINED),
        "class_names": all(isinstance(name, str) for name in info.class_names),
        "frame_rate": isinstance(info.frame_rate, float)
        and math.isfinite(info.frame_rate)
        and (info.stage == PRETRAINED or info.frame_rate > 0),
        "seed": type(info.seed) is int,
        "checksums": isinstance(info.checksums, dict),
    }
    for name, is_good in good.items():
        if not is_good:
            raise ValueError(f"{name} cannot be {shown(getattr(info, name))}")


def _read_finished(folder: AnyPath) -> StageInfo:
    """Reads the description of a stage.

    Raises:
        InputError: There is none, or the stage has no weights yet.
    """
    info = read_info(folder)
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder}: the {info.stage} network is not trained yet; run train")
    return info


@contextlib.contextmanager
def _local(path: AnyPath) -> Iterator[Path]:
    """Gives a file of this machine; one behind a URL is copied, since HDF5 knows no URLs."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy_file(path, Path(folder) / WEIGHTS)
        yield Path(folder) / WEIGHTS
