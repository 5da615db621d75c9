"""Finds a video ResNet of torchvision in the tensors of a file, and brings them into Keras's order.

PyTorch stores a convolution as (out, in, t, h, w) and a dense layer as (out, in); Keras has
(t, h, w, in, out) and (in, out).
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.models.recipes import RECIPES, Recipe
from scnn_tf.models.stages import BACKBONES
from scnn_tf.models.video_resnet import KINDS
from scnn_tf.training.c3d_weights import checked_values
from scnn_tf.training.weight_files import first_names

# Prefix, number of the layer, index of the block, and the part of a factorized convolution.
_CONVOLUTION = re.compile(r"(|.*\.)layer([1-4])\.(\d+)\.conv[12]\.0(\.[03])?\.weight")
_OWN = re.compile(r"(stem|layer\d)\..*(?<!\.num_batches_tracked)")  # a tensor of the backbone
_WIDEST = "layer4.0.downsample.0.weight"  # of 512 · width filters


@dataclasses.dataclass(frozen=True)
class VideoResNetWeights:
    """A video ResNet that was found in a file.

    Attributes:
        recipe: The paper's, with the backbone and the width of the file, and torchvision's
            normalization. Frames are 128 × 171, of which networks see 112 × 112, as in torchvision.
        weights: Keras layer → its arrays, float32, for `set_weights`: all layers of the backbone.
        head: Kernel `[features, classes]` and bias `[classes]` of fc, float32; None: the file has
            no fc.
    """

    recipe: Recipe
    weights: dict[str, list[np.ndarray]]
    head: tuple[np.ndarray, np.ndarray] | None


def read_video_resnet(path: Path, tensors: Mapping[str, np.ndarray]) -> VideoResNetWeights | None:
    """Finds the layers of an `r3d_18`, `mc3_18`, `r2plus1d_18` or `r2plus1d_34`.

    Kind, depth and width follow from the names and the shapes. Nothing in a file says what batch
    normalization adds to the variance: it is 1e-5 of 18 layers, and 1e-3 of 34.

    Args:
        path: The file, for errors.
        tensors: Name → tensor, with torchvision's names after any prefix, such as "module." or
            "backbone.", and PyTorch's axes.

    Returns:
        The network; None if the tensors are not a video ResNet.

    Raises:
        InputError: A tensor is missing, of no use, of another shape or type, or not finite; or
            there are several networks, or one of another depth.
    """
    found = {
        key: match
        for key, tensor in tensors.items()
        if tensor.ndim == 5 and (match := _CONVOLUTION.fullmatch(key))
    }
    if not found:
        return None
    prefixes = sorted({match[1] for match in found.values()})
    if len(prefixes) > 1:
        raise InputError(
            f"{path}: expected one video ResNet. Found: {first_names(prefixes)}; keep one of them"
        )
    file = _Tensors(path, prefixes[0], tensors)
    recipe = _recipe(file, _kind(file, list(found.values())))
    backbone = BACKBONES[recipe.backbone](**recipe.backbone_arguments())
    weights = _weights(file, backbone)
    return VideoResNetWeights(recipe, weights, _head(file, backbone.output.shape[-1]))


@dataclasses.dataclass(frozen=True)
class _Tensors:
    """The tensors of a file, by torchvision's names."""

    path: Path
    prefix: str
    tensors: Mapping[str, np.ndarray]

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def names(self) -> list[str]:
        """Returns the names of the tensors with the prefix."""
        return [
            key.removeprefix(self.prefix) for key in self.tensors if key.startswith(self.prefix)
        ]

    def read(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """Returns a tensor as float32.

        Args:
            name: Name without the prefix.
            shape: Its shape, in which None is any size.

        Raises:
            InputError: It is missing, of another shape or type, or not finite.
        """
        key = self.prefix + name
        if name not in self:
            raise InputError(f"{self.path}: {key} is missing. Found: {first_names(self.tensors)}")
        array = checked_values(self.path, key, self.tensors[key])
        if array.ndim != len(shape) or any(
            size not in (None, found) for size, found in zip(shape, array.shape, strict=True)
        ):
            raise InputError(f"{self.path}: expected {key} of shape {shape}. Found: {array.shape}")
        return array


def _kind(file: _Tensors, convolutions: list[re.Match]) -> str:
    """Returns the kind of network, by its blocks and the kernels of its convolutions.

    Raises:
        InputError: There is no such network.
    """
    blocks = tuple(len({m[3] for m in convolutions if m[2] == number}) for number in "1234")
    factorized = any(match[4] for match in convolutions)
    timeless = (
        "layer2.0.conv1.0.weight" in file
        and file.read("layer2.0.conv1.0.weight", (None, None, None, 3, 3)).shape[2] == 1
    )
    for name, kind in KINDS.items():
        if (kind.blocks, kind.factorized, kind.timeless) == (blocks, factorized, timeless):
            return name
    kernels = "1×3×3 and 3×1×1" if factorized else "1×3×3" if timeless else "3×3×3"
    raise InputError(
        f"{file.path}: expected the blocks of {', '.join(KINDS)}. Found: "
        f"{', '.join(map(str, blocks))} blocks in layer1 to layer4, of {kernels} convolutions"
    )


def _recipe(file: _Tensors, kind: str) -> Recipe:
    """Returns the recipe of a network, whose width follows from its widest layer.

    Raises:
        InputError: It is too wide.
    """
    filters = len(file.read(_WIDEST, (None, None, 1, 1, 1)))
    try:
        return dataclasses.replace(
            RECIPES["thumos14"],
            name="converted",
            backbone=kind,
            width=filters / 512,
            normalization="kinetics",
        )
    except InputError as error:
        raise InputError(f"{file.path}: the network in it is too large ({error})") from error


def _weights(file: _Tensors, backbone: keras.Model) -> dict[str, list[np.ndarray]]:
    """Returns the arrays of each layer of a backbone.

    Raises:
        InputError: A tensor is missing, of another shape, or of no use.
    """
    layers = {layer.name: _shapes(layer) for layer in backbone.layers if layer.weights}
    needed = {name for shapes in layers.values() for name in shapes}
    odd = [name for name in file.names() if _OWN.fullmatch(name) and name not in needed]
    weights = {
        layer: [_in_order(file.read(name, shape)) for name, shape in shapes.items()]
        for layer, shapes in layers.items()
    }
    if odd:
        raise InputError(
            f"{file.path}: expected no tensors but those of {backbone.kind}. Found: "
            f"{first_names(file.prefix + name for name in odd)}"
        )
    return weights


def _shapes(layer: keras.layers.Layer) -> dict[str, tuple[int, ...]]:
    """Returns name and shape of a layer's tensors in PyTorch, in the order of Keras's weights."""
    if isinstance(layer, keras.layers.Conv3D):
        *window, inputs, filters = layer.kernel.shape
        return {f"{layer.name}.weight": (filters, inputs, *window)}
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{layer.name}.{part}": layer.gamma.shape for part in parts}


def _in_order(array: np.ndarray) -> np.ndarray:
    """Returns a kernel, or a vector, with Keras's axes."""
    return array.transpose(2, 3, 4, 1, 0) if array.ndim == 5 else array


def _head(file: _Tensors, features: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns kernel and bias of fc; None if there is no fc."""
    if "fc.weight" not in file:
        return None
    weight = file.read("fc.weight", (None, features))
    return weight.T, file.read("fc.bias", (len(weight),))
