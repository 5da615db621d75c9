"""Converts weights to a folder that training can start from (section 3.2)."""

import dataclasses
import json
import math
import shlex
from pathlib import Path

import keras
import numpy as np
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, read_json, sha256, write_text
from scnn_tf.io.folders import locked
from scnn_tf.models.checkpoints import (
    METRICS,
    MODEL_JSON,
    PRETRAINED,
    WEIGHTS,
    StageInfo,
    load_stage,
    not_finite,
    read_metrics,
    save_weights,
    weights_checksum,
)
from scnn_tf.models.recipes import RECIPES, Recipe
from scnn_tf.models.stages import BACKBONES, LAST_LAYERS
from scnn_tf.shards.frames import centre_crop
from scnn_tf.training.c3d_weights import C3DWeights, checked_values, read_c3d, with_shape
from scnn_tf.training.keras_files import layer_configs
from scnn_tf.training.video_resnet_weights import read_video_resnet
from scnn_tf.training.weight_files import WeightFile, first_names, read_blob, read_weight_file

PROVENANCE = "provenance.json"
_PAPER = RECIPES["thumos14"]
_UNKNOWN = "unknown"
_MEAN = (1, 3, 16, 128, 171)  # 1, channels (B, G, R), frames, height, width
_SIDES = {"far": "the far side", "both": "both sides", None: "unknown"}


def convert_weights(
    input_path: PathLike,
    *,
    output_dir: PathLike,
    mean_path: PathLike | None = None,
    pool5: str | None = None,
    trained_on: str | None = None,
    licence: str | None = None,
) -> dict:
    """Converts a backbone's weights to `model.json`, `model.weights.h5` and `provenance.json`.

    Everything above the backbone is left out, since its outputs are the classes of another dataset.
    The width of a network follows from the shapes of its tensors.

    Args:
        input_path: A file that `read_weight_file` reads, with a C3D for frames of 112 × 112, a
            video ResNet of torchvision, or a backbone of scnn_tf that Keras saved (`.keras`); or
            the folder of a trained stage.
        output_dir: Folder that `train_stage` takes as `start_from`. If it already holds this
            conversion, nothing is done.
        mean_path: Caffe's mean volume (`.binaryproto`), 3 × 16 × 128 × 171, for a network with
            the normalization "mean"; None: that of the stage, or one color,
            `layers.SPORTS1M_MEAN_BGR`.
        pool5: "both" for a C3D that was *trained* with padding on both sides of pool5; None or
            "far": the pooling of Caffe's C3D, from which most ports took their weights.
        trained_on: Dataset that the weights were trained on; None: the classes of a trained stage,
            "unknown" for other files.
        licence: Licence of the weights; None: "unknown".

    Returns:
        The content of `provenance.json`, the card of the weights: network, width, hidden (units of
        fc6 and of fc7; only for C3D), parameters (count), format, input, input_sha256, mean,
        mean_sha256 (None without a mean), pool5 (of the converted network) and pool5_of_input (only
        for C3D), trained_on, licence, figures (the metrics of a trained stage), command.

    Raises:
        InputError: A tensor is missing, ambiguous or of another shape, a file cannot be read, or
            the folder holds other weights.
    """
    source, folder = _source(Path(input_path)), Path(output_dir)
    mean_path = None if mean_path is None else Path(mean_path)
    inputs = {
        "input_sha256": weights_checksum(source) if source.is_dir() else sha256(source),
        "mean_sha256": None if mean_path is None else sha256(mean_path),
    }
    given = {"pool5": pool5, "trained_on": trained_on, "licence": licence}
    given = {key: value for key, value in given.items() if value is not None}
    with locked(folder, "conversion of weights"):
        if (folder / WEIGHTS).is_file():
            return _converted_already(folder, {**inputs, "pool5": "far", **given})
        found = _read_stage(source) if source.is_dir() else _read_file(source, pool5)
        if pool5 is not None and "pool5" not in found.facts:
            raise InputError(
                f"{source}: has a pool5 of its own, {found.recipe.pool5}; leave out --pool5"
            )
        _add_mean(found, mean_path)
        info = StageInfo(PRETRAINED, (), 0.0, 0, found.recipe)
        model = info.build()
        _fill(source, model, found.weights)
        card = {
            **_described(found.recipe, model),
            "input": str(input_path),
            "mean": None if mean_path is None else str(mean_path),
            **inputs,
            **found.facts,
            **given,
            "command": _command(weights=input_path, mean=mean_path, output_dir=output_dir, **given),
        }
        write_text(folder / PROVENANCE, json.dumps(card, indent=1) + "\n")
        save_weights(model, folder, info)
    return card


@dataclasses.dataclass(frozen=True)
class _Backbone:
    """A backbone that was read.

    Attributes:
        recipe: Recipe whose backbone it is.
        weights: Keras layer → its arrays, for `set_weights`.
        facts: What the card says about it.
    """

    recipe: Recipe
    weights: dict[str, list[np.ndarray]]
    facts: dict[str, object]


def _source(path: Path) -> Path:
    """Returns a file of weights, or the folder of the trained stage to which it belongs."""
    is_ours = path.name == WEIGHTS and (path.parent / MODEL_JSON).is_file()
    return path.parent if is_ours else path


def _read_stage(folder: Path) -> _Backbone:
    """Reads the backbone of a trained stage."""
    model, info = load_stage(folder)
    if info.stage == PRETRAINED:
        raise InputError(
            f"{folder}: expected a trained stage. Found: converted weights, from which training "
            "can start as they are"
        )
    weights = {
        layer.name: layer.get_weights()
        for layer in model.layers
        if layer.weights and layer.name not in LAST_LAYERS
    }
    facts = {
        "format": "scnn_tf",
        "trained_on": f"the classes {', '.join(info.class_names)}",
        "figures": _figures(folder),
    }
    return _Backbone(info.recipe, weights, facts)


def _figures(folder: Path) -> dict | None:
    """Returns the metrics of a stage, of its validations only the one of the kept weights."""
    if not (folder / METRICS).is_file():
        return None
    metrics = read_metrics(folder)
    rows = metrics.pop("validation", [])
    best = [row for row in rows if row["step"] == metrics["best_step"]]
    return {**metrics, "validation": best[0]} if best else metrics


def _read_file(path: Path, pool5: str | None) -> _Backbone:
    """Reads the backbone in a file of another library, or one that Keras saved for scnn_tf.

    Raises:
        InputError: The network is unknown, or has no pool5 to be padded.
    """
    file = read_weight_file(path)
    if own := _own_backbone(path, file):
        return own
    if c3d := read_c3d(path, file.tensors, file.config):
        return _converted_c3d(path, file, c3d, pool5 or "far")
    if video := read_video_resnet(path, file.tensors):
        if video.head is not None:
            logging.info("%s: fc is left out; training starts from a fresh last layer", path)
        return _Backbone(video.recipe, video.weights, {"format": file.format})
    layers = dict.fromkeys(key.rpartition(".")[0] for key in file.tensors)
    raise InputError(f"{path}: expected a C3D or a video ResNet. Found: {first_names(layers)}")


def _own_backbone(path: Path, file: WeightFile) -> _Backbone | None:
    """Returns the backbone of scnn_tf in an archive of Keras, if it is one."""
    if any(layer["class_name"] == "FrameNormalization" for layer in layer_configs(file.config)):
        raise InputError(
            f"{path}: expected a backbone of scnn_tf. Found: the network of a stage; give the "
            "folder of the stage, which has its recipe"
        )
    arguments = file.config.get("config")
    if not isinstance(arguments, dict):
        return None
    arguments = {**arguments, "name": "converted"}
    classes = {"C3D": "c3d", "ResNet3D18": "resnet3d18", "VideoResNet": arguments.get("kind")}
    name = classes.get(str(file.config.get("registered_name")).removeprefix("scnn_tf>"))
    if name not in tuple(BACKBONES):
        return None
    try:
        height, width = arguments["frame_shape"]
        if height != width:
            raise InputError(f"its frames are not square, but {height} × {width}")
        same = {f.name for f in dataclasses.fields(Recipe)} & arguments.keys()
        recipe = dataclasses.replace(
            _PAPER, backbone=name, crop=height, **{field: arguments[field] for field in same}
        )
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no recipe can have this {name} ({error})") from error
    weights: dict[str, list[np.ndarray]] = {}
    for key, tensor in file.tensors.items():
        weights.setdefault(key.rpartition(".")[0], []).append(tensor)
    return _Backbone(recipe, weights, {"format": file.format})


def _converted_c3d(path: Path, file: WeightFile, c3d: C3DWeights, pool5: str) -> _Backbone:
    """Returns a C3D of another library with the pooling that was asked for."""
    recipe = dataclasses.replace(c3d.recipe, pool5=pool5)
    source = "far" if file.format == "Caffe" else c3d.pool5
    logging.info(
        "%s: its network pads %s of pool5, the converted one %s; weights of Caffe need the far "
        "side, weights that were trained with both sides need --pool5=both",
        path,
        _SIDES[source],
        _SIDES[pool5],
    )
    facts = {
        "hidden": recipe.hidden,
        "format": file.format,
        "pool5": pool5,
        "pool5_of_input": source or _UNKNOWN,
    }
    return _Backbone(recipe, c3d.weights, facts)


def _add_mean(found: _Backbone, path: Path | None) -> None:
    """Adds the center crop of a mean volume to the weights.

    Raises:
        InputError: The network subtracts no mean volume, or the file holds none.
    """
    normalization = found.recipe.normalization
    if path is None:
        if normalization == "mean" and "normalization" not in found.weights:
            logging.info("no mean volume was given: one mean color is subtracted from all frames")
        return
    if normalization != "mean":
        raise InputError(
            f'{path}: expected a network with the normalization "mean". Found: "{normalization}"; '
            "leave out --mean"
        )
    volume = centre_crop(_read_mean(path).transpose(1, 2, 3, 0), found.recipe.crop)
    found.weights["normalization"] = [volume]


def _read_mean(path: Path) -> np.ndarray:
    """Returns the mean volume, float32 `[3, 16, 128, 171]`, channels B, G, R, 0–255."""
    mean = checked_values(path, "the mean volume", read_blob(path))
    return with_shape(path, "the mean volume", mean, _MEAN)[0]


def _fill(path: Path, model: keras.Model, weights: dict[str, list[np.ndarray]]) -> None:
    """Copies all weights into the network.

    Raises:
        InputError: They are not those of the network, or not finite.
    """
    needed = {layer.name for layer in model.layers if layer.weights} - {"normalization"}
    if missing := sorted(needed - weights.keys()):
        raise InputError(f"{path}: the weights of {first_names(missing)} are missing")
    try:
        for name, arrays in weights.items():
            model.get_layer(name).set_weights(arrays)
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: its weights do not fit its network ({reason})") from error
    if weight := not_finite(model):
        raise InputError(f"{path}: expected the weights {weight} to be finite")


def _described(recipe: Recipe, model: keras.Model) -> dict:
    """Returns the fields of a card that follow from the network, and the unknown ones."""
    return {
        "network": recipe.backbone,
        "width": recipe.width,
        "parameters": sum(math.prod(weight.shape) for weight in model.trainable_weights),
        "trained_on": _UNKNOWN,
        "licence": _UNKNOWN,
        "figures": None,
    }


def _command(**flags: object) -> str:
    """Returns the command line of a conversion."""
    given = (f"--{flag}={value}" for flag, value in flags.items() if value is not None)
    return shlex.join(["python", "-m", "pipelines.convert_weights", *given])


def _converted_already(folder: Path, expected: dict) -> dict:
    """Returns the card of a finished folder.

    Raises:
        InputError: The folder holds other weights, or the same ones converted otherwise.
    """
    try:
        card = read_json(folder / PROVENANCE)
        found = {"pool5": "far", **card}
        wrong = [key for key, value in expected.items() if found.get(key) != value]
    except (ValueError, TypeError):  # a trained stage has no card
        wrong = ["input_sha256"]
    if wrong:
        raise InputError(
            f"{folder}: holds other weights; choose another --output_dir, or remove the folder"
        )
    logging.info("%s is converted already", folder)
    return card
