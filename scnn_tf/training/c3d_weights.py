"""Finds a C3D in the tensors of a file, and brings them into the order of Keras (section 3.2).

Caffe and PyTorch store a convolution as (out, in, t, h, w) and a dense layer as (out, in), and fc6
reads pool5 in the order c, t, h, w. Keras has (t, h, w, in, out), (in, out) and t, h, w, c.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.models.recipes import RECIPES, Recipe
from scnn_tf.training.keras_files import layer_configs
from scnn_tf.training.weight_files import first_names

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
# Other names of the layers, in Caffe's model and in the ports.
_ALIASES = {"fc6-1": "fc6", "fc7-1": "fc7", "conv1": "conv1a", "conv2": "conv2a"}
_OWN_NAMES = {*_LAYERS, "fc6-1", "fc7-1"} - {"conv1a", "conv2a"}  # no other network has them
_WEIGHTS = ("weight", "kernel")  # the name of a weight in Caffe and PyTorch; in Keras
_PAPER = RECIPES["thumos14"]
_POOL5 = (1, 4, 4)  # frames, height and width of fc6's input, for frames of 112 × 112


@dataclasses.dataclass(frozen=True)
class C3DWeights:
    """A C3D that was found in a file.

    Attributes:
        recipe: The paper's, with the width and the hidden units of the file.
        weights: Keras layer → its arrays, float32, for `set_weights`: conv1a to fc7.
        pool5: Borders that the file's network pads before pool5: "far" as Caffe does, "both" as
            most ports do; None: the file does not say.
    """

    recipe: Recipe
    weights: dict[str, list[np.ndarray]]
    pool5: str | None


def read_c3d(
    path: Path, tensors: Mapping[str, np.ndarray], config: Mapping[str, object]
) -> C3DWeights | None:
    """Finds the layers of a C3D for 16 frames of 112 × 112, up to fc7.

    A layer fc8 is left out, since its outputs are the classes of another dataset.

    Args:
        path: The file, for errors.
        tensors: Name → tensor, as `WeightFile` has them. The layers have Caffe's names or those of
            the ports, after any prefix; or no name of C3D's at all, and are then known by their
            order: eight convolutions and two or three dense layers, numbered.
        config: Keras's description of the network; empty if there is none.

    Returns:
        The network; None if the tensors are not a C3D.

    Raises:
        InputError: A tensor is missing, ambiguous, of another shape, or not finite; or the network
            is too large.
    """
    named = any(word in _OWN_NAMES for key in tensors for word in key.split("."))
    if not named and not (tensors := _named_by_order(tensors)):
        return None
    found = {name: _layer(path, tensors, name) for name in _LAYERS}
    for key in tensors:
        if "fc8" in key and key.endswith(_WEIGHTS):
            logging.info("%s: %s is left out; training starts from a fresh fc8", path, key)
    weights = _in_order(path, found)
    return C3DWeights(_recipe(path, weights), weights, _pool5(config))


@dataclasses.dataclass(frozen=True)
class _Layer:
    """Weight and bias of a layer, with the axes of the file: Keras's, or Caffe's and PyTorch's."""

    weight: np.ndarray
    bias: np.ndarray
    is_keras: bool


def _named_by_order(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors with the names of C3D's layers, {} if they are not as many or as large.

    Such names are "features.0", "features.3" …, "classifier.0" or "layer_0", "layer_2" ….
    """
    layers = sorted({key.rpartition(".")[0] for key in tensors}, key=_natural)
    kernels = {
        layer: tensors[key]
        for layer in layers
        for key in (f"{layer}.{part}" for part in _WEIGHTS)
        if key in tensors
    }
    convolutions = [layer for layer, kernel in kernels.items() if kernel.ndim == 5]
    dense = [layer for layer, kernel in kernels.items() if kernel.ndim == 2]
    if len(convolutions) != len(_CONVOLUTIONS) or len(dense) not in (2, 3):
        return {}
    names = dict(zip(convolutions, _CONVOLUTIONS, strict=True))
    names |= dict(zip(dense, ("fc6", "fc7", "fc8"), strict=False))
    return {
        f"{names.get(layer, layer)}.{part}": array
        for key, array in tensors.items()
        for layer, _, part in [key.rpartition(".")]
    }


def _natural(name: str) -> list[tuple[str, int]]:
    """Returns a key that sorts "conv3d_2" before "conv3d_10"."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _layer(path: Path, tensors: Mapping[str, np.ndarray], name: str) -> _Layer:
    """Returns the weight and bias of a layer, which are found by any of its names."""
    weight_key = _key(path, tensors, name, "weight", _WEIGHTS)
    bias_key = _key(path, tensors, name, "bias", ("bias",))
    return _Layer(
        checked_values(path, weight_key, tensors[weight_key]),
        checked_values(path, bias_key, tensors[bias_key]),
        is_keras=weight_key.endswith(".kernel"),
    )


def _key(
    path: Path, tensors: Mapping[str, np.ndarray], name: str, what: str, parts: tuple[str, ...]
) -> str:
    """Returns the key, such as "module.conv1.weight", of a part of a layer (conv1a)."""
    keys = [
        key
        for key in tensors
        for *where, part in [key.split(".")]
        if part in parts and any(_ALIASES.get(word, word) == name for word in where)
    ]
    if not keys:
        there = sorted({key.rpartition(".")[0] for key in tensors})
        raise InputError(f"{path}: the {what} of {name} is missing. Found: {first_names(there)}")
    if len(keys) > 1:
        raise InputError(f"{path}: the {what} of {name} is ambiguous. Found: {first_names(keys)}")
    return keys[0]


def checked_values(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """Returns a tensor as float32.

    Raises:
        InputError: It is empty, not finite, or of no floating-point type.
    """
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(
            f"{path}: expected {key} to be float16, float32 or float64. Found: {array.dtype}"
        )
    if not array.size or not np.isfinite(array).all():
        raise InputError(f"{path}: expected {key} to hold finite numbers, at least one")
    return array.astype(np.float32, copy=False)


def with_shape(path: Path, what: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a tensor in a shape that it may exceed by ones in front, as Caffe's do.

    Raises:
        InputError: It is of another shape.
    """
    ones = array.ndim - len(shape)
    if array.shape != (1,) * ones + shape:
        raise InputError(f"{path}: expected {what} of shape {shape}. Found: {array.shape}")
    return array.reshape(shape)


def _in_order(path: Path, layers: dict[str, _Layer]) -> dict[str, list[np.ndarray]]:
    """Returns kernel and bias of each layer with Keras's axes.

    All shapes follow from the biases of conv1a and fc6.
    """
    filters, hidden = layers["conv1a"].bias.size, layers["fc6"].bias.size
    inputs, ordered = 3, {}
    for name, layer in layers.items():
        outputs = filters * _CONVOLUTIONS[name] if name in _CONVOLUTIONS else hidden
        channels = inputs
        if name == "fc6":
            inputs *= math.prod(_POOL5)
        shape = (outputs, inputs, *((3, 3, 3) if name in _CONVOLUTIONS else ()))
        if layer.is_keras:
            shape = (*shape[2:], inputs, outputs)
        kernel = with_shape(path, f"the weight of {name}", layer.weight, shape)
        bias = with_shape(path, f"the bias of {name}", layer.bias, (outputs,))
        if not layer.is_keras:
            if name == "fc6":
                kernel = kernel.reshape(outputs, channels, -1).swapaxes(1, 2).reshape(shape)
            kernel = kernel.transpose(*range(2, kernel.ndim), 1, 0)
        ordered[name], inputs = [kernel, bias], outputs
    return ordered


def _recipe(path: Path, weights: dict[str, list[np.ndarray]]) -> Recipe:
    """Returns the recipe of the network whose layers these are.

    Raises:
        InputError: It is too large.
    """
    try:
        return dataclasses.replace(
            _PAPER,
            name="converted",
            width=weights["conv1a"][1].size / 64,
            hidden=weights["fc6"][1].size,
        )
    except InputError as error:
        raise InputError(f"{path}: the network in it is too large ({error})") from error


def _pool5(config: Mapping[str, object]) -> str | None:
    """Returns which borders the network pads before pool5, if Keras's description says so."""
    kinds = [layer["class_name"] for layer in layer_configs(config)]
    if not kinds:
        return None
    return "both" if "ZeroPadding3D" in kinds else "far"
