"""Reads the weights and the description of a network from files that Keras 1, 2 and 3 wrote."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from scnn_tf.errors import InputError

# What h5py, zipfile and json raise on damage.
_DAMAGES = (
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"  # in a .keras archive
_THEANO_LAYER = re.compile(r"layer_(\d+)")
Layers = list[tuple[str, list[np.ndarray]]]


def read_keras(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Reads the layers of an HDF5 file of Keras, or of a `.keras` archive.

    Three layouts are known: that of the first versions, with Theano (`layer_0/param_0`); that of
    Keras 1 and 2 (`conv1/conv1_W:0`, `model_weights/conv1/conv1/kernel:0`); and that of Keras 3
    (`layers/conv3d/vars/0`), where a layer without a stored name keeps that of its group.

    Whatever the layout, kernels are returned as a network with the data format channels_last has
    them: `[t, h, w, in, out]` and `[in, out]`. Theano stored `[out, in, t, h, w]`, rotated by 180°
    in height and width, since its convolution mirrors the kernel. Of a network with the data format
    channels_first, the rows of the first dense layer after the convolutions are put in order.

    Args:
        path: HDF5 file or zip archive.

    Returns:
        Name → tensor, "conv1.kernel" and "conv1.bias" of a layer with two tensors, "name.0",
        "name.1" and so on of others, in the order of the file; and the description of the network,
        empty if the file has none.

    Raises:
        InputError: The file is damaged, of another layout, or holds the weights of a stage of
            scnn_tf without their description.
    """
    try:
        if zipfile.is_zipfile(path):
            layers, config = _read_archive(path)
        else:
            layers, config = _read_hdf5(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except _DAMAGES as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: expected weights of Keras; the file is damaged, or cut short ({reason})"
        ) from error
    if not layers:
        raise InputError(f"{path}: expected an HDF5 file with weights of Keras. Found: none")
    return dict(_tensors(layers)), config


def layer_configs(config: dict) -> list[dict]:
    """Returns class_name and settings of each layer in the description of a network."""
    inner = config.get("config", {})
    layers = inner if isinstance(inner, list) else inner.get("layers", [])
    return [{"class_name": layer["class_name"], **layer["config"]} for layer in layers]


def _read_archive(path: Path) -> tuple[Layers, dict]:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(_CONFIG))
        return _read_hdf5(io.BytesIO(archive.read(_WEIGHTS)), config)


def _read_hdf5(file: Path | io.BytesIO, config: dict | None = None) -> tuple[Layers, dict]:
    with h5py.File(file, "r") as root:
        config = config or json.loads(root.attrs.get("model_config", "{}"))
        group = root.get("model_weights", root)
        channels_first = _is_channels_first(config)
        if "layer_names" in group.attrs:
            layers = list(_named_layers(group))
            if _text(group.attrs.get("backend", "")) == "theano":  # of Keras 2
                layers = _changed(layers, lambda kernel: kernel[::-1, ::-1, ::-1])
        elif any(_THEANO_LAYER.fullmatch(name) for name in group):
            layers = list(_numbered_layers(group))
        else:
            if not config and "frame_normalization" in root.get("layers", ()):
                raise InputError(
                    "expected model.json, which describes this network of scnn_tf, in the same "
                    "folder; give the folder of a trained stage"
                )
            layers = list(_layers_of_keras3(root))
        if any(map(_is_theano, _kernels(layers))):
            layers, channels_first = _changed(layers, _from_theano), True
    return _channels_last(layers) if channels_first else layers, config


def _named_layers(group: h5py.Group) -> Iterator[tuple[str, list[np.ndarray]]]:
    for name in map(_text, group.attrs["layer_names"]):
        weights = map(_text, group[name].attrs["weight_names"])
        yield name, [group[name][weight][()] for weight in weights]


def _numbered_layers(group: h5py.Group) -> Iterator[tuple[str, list[np.ndarray]]]:
    numbers = sorted(int(match[1]) for match in map(_THEANO_LAYER.fullmatch, group) if match)
    for number in numbers:
        layer = group[f"layer_{number}"]
        yield f"layer_{number}", [layer[f"param_{index}"][()] for index in range(len(layer))]


def _layers_of_keras3(root: h5py.File) -> Iterator[tuple[str, list[np.ndarray]]]:
    found: Layers = []

    def visit(path: str, node: h5py.Group | h5py.Dataset) -> None:
        *above, last = path.split("/")
        if last == "vars" and len(node) and above and above[0] != "optimizer":
            name = _text(node.attrs.get("name", above[-1]))
            found.append((name, [node[str(index)][()] for index in range(len(node))]))

    root.visititems(visit)
    return iter(found)


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _is_channels_first(config: dict) -> bool:
    formats = {
        layer.get(key) for layer in layer_configs(config) for key in ("data_format", "dim_ordering")
    }
    return bool(formats & {"channels_first", "th"})


def _kernels(layers: Layers) -> list[np.ndarray]:
    return [array for _, arrays in layers for array in arrays if array.ndim == 5]


def _is_theano(kernel: np.ndarray) -> bool:
    """Returns whether the three equal sides of a kernel are its last axes, not its first."""
    return len(set(kernel.shape[2:])) == 1 and len(set(kernel.shape[:3])) > 1


def _changed(layers: Layers, change) -> Layers:
    """Returns the layers with every kernel of a 3D convolution changed."""
    return [
        (name, [change(array) if array.ndim == 5 else array for array in arrays])
        for name, arrays in layers
    ]


def _from_theano(kernel: np.ndarray) -> np.ndarray:
    return kernel[:, :, :, ::-1, ::-1].transpose(2, 3, 4, 1, 0)


def _channels_last(layers: Layers) -> Layers:
    """Returns the layers with the rows of the first dense kernel in the order t, h, w, c."""
    channels, changed = None, []
    for name, arrays in layers:
        if arrays and arrays[0].ndim == 5:
            channels = arrays[0].shape[-1]
        elif arrays and arrays[0].ndim == 2 and channels:
            rows, units = arrays[0].shape
            kernel = arrays[0].reshape(channels, rows // channels, units).swapaxes(0, 1)
            arrays, channels = [kernel.reshape(rows, units), *arrays[1:]], None
        changed.append((name, arrays))
    return changed


def _tensors(layers: Layers) -> Iterator[tuple[str, np.ndarray]]:
    for name, arrays in layers:
        is_plain = len(arrays) == 2 and arrays[0].ndim > 1
        parts = ("kernel", "bias") if is_plain else map(str, range(len(arrays)))
        for part, array in zip(parts, arrays, strict=True):
            yield f"{name}.{part}", array
