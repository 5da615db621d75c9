"""Converts C3D weights of other libraries to a folder that training can start from (section 3.2).

Caffe and PyTorch store a convolution as (out, in, t, h, w) and a dense layer as (out, in), and fc6
reads pool5 in the order c, t, h, w. Keras has (t, h, w, in, out), (in, out) and t, h, w, c. The
channels of the frames are B, G, R in both.
"""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, read_json, sha256, write_text
from scnn_tf.io.folders import locked
from scnn_tf.models.checkpoints import PRETRAINED, WEIGHTS, StageInfo, save_weights
from scnn_tf.models.recipes import RECIPES, Recipe
from scnn_tf.shards.frames import centre_crop
from scnn_tf.training.weight_files import read_blob, read_tensors

PROVENANCE = "provenance.json"
# Number of filters of each convolution, as a multiple of conv1a's, which gives the width.
_CONVOLUTIONS = {
    "conv1a": 1,
    "conv2a": 2,
    "conv3a": 4,
    "conv3b": 4,
    "conv4a": 8,
    "conv4b": 8,
    "conv5a": 8,
    "conv5b": 8,
}
_LAYERS = (*_CONVOLUTIONS, "fc6", "fc7")
# Other names of the layers, in Caffe's model and in PyTorch's ports.
_ALIASES = {"fc6-1": "fc6", "fc7-1": "fc7", "conv1": "conv1a", "conv2": "conv2a"}
_PAPER = RECIPES["thumos14"]
_POOL5 = (1, 4, 4)  # frames, height and width of fc6's input, for frames of 112 × 112
_MEAN = (1, 3, 16, 128, 171)  # 1, channels (B, G, R), frames, height, width
Layers = dict[str, tuple[np.ndarray, np.ndarray]]


def convert_weights(
    input_path: PathLike,
    *,
    output_dir: PathLike,
    mean_path: PathLike | None = None,
) -> dict:
    """Converts C3D weights to `model.json`, `provenance.json` and `model.weights.h5`.

    The network is C3D up to fc7, for 16 frames of 112 × 112; its width follows from the shapes of
    the tensors. A layer fc8 is left out, since its outputs are the classes of another dataset.
    The weights of PyTorch ports whose pool5 pads both sides are converted like those of the Caffe
    network, from which they were taken.

    Args:
        input_path: A file that `weight_files.read_tensors` reads. Layers have Caffe's names or
            those of PyTorch's ports, after any prefix.
        output_dir: Folder that `train_stage` takes as `start_from`. If it already holds this
            conversion, nothing is done.
        mean_path: Caffe's mean volume (`.binaryproto`), 3 × 16 × 128 × 171; None: one color,
            `layers.SPORTS1M_MEAN_BGR`.

    Returns:
        The content of `provenance.json`: input, input_sha256, mean, mean_sha256 (None without a
        mean), width, hidden (number of units of fc6 and of fc7).

    Raises:
        InputError: A tensor is missing, ambiguous or of another shape, a file cannot be read, or
            the folder holds other weights.
    """
    input_path, folder = Path(input_path), Path(output_dir)
    mean_path = None if mean_path is None else Path(mean_path)
    sources = {
        "input": str(input_path),
        "input_sha256": sha256(input_path),
        "mean": None if mean_path is None else str(mean_path),
        "mean_sha256": None if mean_path is None else sha256(mean_path),
    }
    with locked(folder, "conversion of weights"):
        if (folder / WEIGHTS).is_file():
            return _converted_already(folder, sources)
        layers = _read_layers(input_path)
        mean = None if mean_path is None else _read_mean(mean_path)
        recipe = _recipe(input_path, layers)
        info = StageInfo(PRETRAINED, (), 0.0, 0, recipe)
        model = info.build()
        _fill(model, layers, mean)
        provenance = {**sources, "width": recipe.width, "hidden": recipe.hidden}
        write_text(folder / PROVENANCE, json.dumps(provenance, indent=1) + "\n")
        save_weights(model, folder, info)
    return provenance


def _recipe(path: Path, layers: Layers) -> Recipe:
    """Returns the recipe of the network whose layers these are.

    Raises:
        InputError: It is too large.
    """
    try:
        return dataclasses.replace(
            _PAPER,
            name="converted",
            width=layers["conv1a"][1].size / 64,
            hidden=layers["fc6"][1].size,
        )
    except InputError as error:
        raise InputError(f"{path}: the network in it is too large ({error})") from error


def _read_layers(path: Path) -> Layers:
    """Returns the checked weight and bias of each layer, float32, with the axes of the file."""
    tensors = read_tensors(path)
    layers = {name: _layer(path, tensors, name) for name in _LAYERS}
    for key in tensors:
        if "fc8" in key and key.endswith(".weight"):
            logging.info("%s: %s is left out; training starts from a fresh fc8", path, key)
    return _in_shape(path, layers)


def _read_mean(path: Path) -> np.ndarray:
    """Returns the mean volume, float32 `[3, 16, 128, 171]`, channels B, G, R, 0–255."""
    mean = _checked_values(path, "the mean volume", read_blob(path))
    return _with_shape(path, "the mean volume", mean, _MEAN)[0]


def _fill(model: keras.Model, layers: Layers, mean: np.ndarray | None) -> None:
    """Copies weights into the network, with the axes in Keras' order."""
    for name, (weight, bias) in layers.items():
        if name in _CONVOLUTIONS:
            kernel = weight.transpose(2, 3, 4, 1, 0)
        elif name == "fc6":
            kernel = weight.reshape(len(weight), -1, *_POOL5)
            kernel = kernel.transpose(2, 3, 4, 1, 0).reshape(-1, len(weight))
        else:
            kernel = weight.T
        model.get_layer(name).set_weights([kernel, bias])
    if mean is None:
        logging.info("no mean volume was given: one mean color is subtracted from all frames")
    else:
        crop = centre_crop(mean.transpose(1, 2, 3, 0), _PAPER.crop)
        model.get_layer("normalization").set_weights([crop])


def _converted_already(folder: Path, sources: dict) -> dict:
    """Returns the provenance of a finished folder.

    Raises:
        InputError: The folder holds other weights.
    """
    try:
        provenance = read_json(folder / PROVENANCE)
        same = all(provenance[key] == sources[key] for key in ("input_sha256", "mean_sha256"))
    except (ValueError, KeyError, TypeError):  # a trained stage has no provenance
        same = False
    if not same:
        raise InputError(
            f"{folder}: holds other weights; choose another --output_dir, or remove the folder"
        )
    logging.info("%s is converted already", folder)
    return provenance


def _layer(path: Path, tensors: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, ...]:
    """Returns the weight and bias of a layer, which are found by any of its names."""
    found = []
    for part in ("weight", "bias"):
        keys = [key for key in tensors if _is(key, name, part)]
        if not keys:
            there = sorted({key.rpartition(".")[0] for key in tensors})
            raise InputError(f"{path}: the {part} of {name} is missing. Found: {_some(there)}")
        if len(keys) > 1:
            raise InputError(f"{path}: the {part} of {name} is ambiguous. Found: {_some(keys)}")
        found.append(_checked_values(path, keys[0], tensors[keys[0]]))
    return tuple(found)


def _is(key: str, name: str, part: str) -> bool:
    """Returns whether a key, such as "module.conv1.weight", names a part of a layer (conv1a)."""
    *where, last = key.split(".")
    return last == part and any(_ALIASES.get(word, word) == name for word in where)


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def _checked_values(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(
            f"{path}: expected {key} to be float16, float32 or float64. Found: {array.dtype}"
        )
    if not array.size or not np.isfinite(array).all():
        raise InputError(f"{path}: expected {key} to hold finite numbers, at least one")
    return array.astype(np.float32, copy=False)


def _in_shape(path: Path, layers: Layers) -> Layers:
    """Returns the layers in the shapes that follow from the biases of conv1a and fc6."""
    filters, hidden = layers["conv1a"][1].size, layers["fc6"][1].size
    inputs, shaped = 3, {}
    for name, (weight, bias) in layers.items():
        if name in _CONVOLUTIONS:
            outputs = filters * _CONVOLUTIONS[name]
            expected = (outputs, inputs, 3, 3, 3)
        else:
            outputs = hidden
            expected = (outputs, inputs * int(np.prod(_POOL5)) if name == "fc6" else inputs)
        shaped[name] = tuple(
            _with_shape(path, f"the {part} of {name}", array, shape)
            for part, array, shape in (("weight", weight, expected), ("bias", bias, (outputs,)))
        )
        inputs = outputs
    return shaped


def _with_shape(path: Path, what: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    ones = array.ndim - len(shape)  # Caffe's shapes begin with ones, PyTorch's do not
    if array.shape != (1,) * ones + shape:
        raise InputError(f"{path}: expected {what} of shape {shape}. Found: {array.shape}")
    return array.reshape(shape)
