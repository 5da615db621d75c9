"""Reads the weights in files of other libraries: Caffe (C3D v1.0), PyTorch, safetensors, Keras."""

import dataclasses
import math
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError, Message

from scnn_tf.errors import InputError
from scnn_tf.training.keras_files import read_keras

_PICKLE_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_LONGEST_HEADER = 100_000_000  # bytes of the JSON in a .safetensors file, by its own definition
_CAFFE = "expected a file of Caffe's C3D v1.0"
_ANY = f"{_CAFFE}, PyTorch, safetensors or Keras"
# The part of C3D v1.0's Caffe schema that is needed here; a parser skips other fields. A layer has
# its name and blobs either itself or in its older form, `layer`. Caffe declares `data` as `repeated
# float data = 6 [packed = true]`: TYPE_BYTES reads the same bytes without 80 million Python floats.
_SCHEMA = """
name: "c3d.proto" package: "c3d" syntax: "proto2"
message_type { name: "BlobProto"
  field { name: "num" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "channels" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "length" number: 3 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "height" number: 4 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "width" number: 5 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "data" number: 6 label: LABEL_OPTIONAL type: TYPE_BYTES } }
message_type { name: "V0LayerParameter"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "blobs" number: 50 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".c3d.BlobProto" } }
message_type { name: "LayerParameter"
  field { name: "layer" number: 1 label: LABEL_OPTIONAL
          type: TYPE_MESSAGE type_name: ".c3d.V0LayerParameter" }
  field { name: "name" number: 4 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "blobs" number: 6 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".c3d.BlobProto" } }
message_type { name: "NetParameter"
  field { name: "layers" number: 2 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".c3d.LayerParameter" } }
"""


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """The content of a file of weights.

    Attributes:
        format: "Caffe", "PyTorch", "safetensors" or "Keras".
        tensors: Name → tensor. Those of Caffe, PyTorch and safetensors are unchanged, such as
            "conv1a.weight"; all of Caffe's have five dimensions. For Keras see `read_keras`.
        config: Keras's description of the network; empty if the file has none.
    """

    format: str
    tensors: Mapping[str, np.ndarray]
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)


def read_weight_file(path: Path) -> WeightFile:
    """Reads all tensors of a file, whose format is recognized from its first bytes.

    Args:
        path: A `.safetensors` file, a state dict of PyTorch, an HDF5 file or `.keras` archive of
            Keras, or a model of Caffe's C3D v1.0; under any name.

    Raises:
        InputError: The file is of another format, or cut short; the library for it is missing; or
            reading it would require unpickling, which can run code.
    """
    file_format = _format(path)
    if file_format == "Keras":
        return WeightFile(file_format, *read_keras(path))
    read = {"PyTorch": _read_torch, "safetensors": _read_safetensors, "Caffe": _read_caffe}
    return WeightFile(file_format, read[file_format](path))


def _format(path: Path) -> str:
    """Returns the format of a file; Caffe's, which has no mark, if it is no other.

    Raises:
        InputError: The file cannot be read, or is an archive of another kind.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "Keras"
    if start.startswith(b"PK\x03\x04"):
        return _format_of_archive(path)
    if start[:1] == b"\x80" and start[1:2] in _PICKLE_PROTOCOLS:
        return "PyTorch"
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    return "Caffe"


def _format_of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:  # ValueError: of a name
        raise InputError(
            f"{path}: expected a zip archive of PyTorch or Keras; it is damaged, or cut short"
        ) from error
    if "model.weights.h5" in names:
        return "Keras"
    if any(name.endswith("data.pkl") for name in names):
        return "PyTorch"
    raise InputError(
        f"{path}: expected a zip archive of PyTorch or Keras. Found: {first_names(names)}"
    )


def first_names(names: Iterable[str]) -> str:
    """Returns the first dozen of many names, for the sentence of an error."""
    names = list(names)
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def read_blob(path: Path) -> np.ndarray:
    """Reads the only blob of a file of Caffe's, such as a mean volume; float32, five dimensions.

    Raises:
        InputError: The file holds no blob, or is cut short.
    """
    return _array(path, "its blob", _parse(path, "BlobProto", _CAFFE))


def _read_caffe(path: Path) -> dict[str, np.ndarray]:
    """Reads the blobs of a `.caffemodel`, such as "conv1a.weight"."""
    tensors: dict[str, np.ndarray] = {}
    for layer in _parse(path, "NetParameter", _ANY).layers:
        name = (layer.name or layer.layer.name).decode(errors="replace")
        # Kernel and bias; a layer without weights has no blobs.
        for part, blob in zip(("weight", "bias"), layer.blobs or layer.layer.blobs, strict=False):
            if f"{name}.{part}" in tensors:
                raise InputError(f"{path}: expected one layer {name}. Found: two")
            tensors[f"{name}.{part}"] = _array(path, f"the {part} of {name}", blob)
    if not tensors:
        raise InputError(f"{path}: {_ANY}; it holds no layers")
    return tensors


def _array(path: Path, what: str, blob: Message) -> np.ndarray:
    shape = (blob.num, blob.channels, blob.length, blob.height, blob.width)
    if min(shape) < 1 or 4 * math.prod(shape) != len(blob.data):
        raise InputError(
            f"{path}: expected {what} of shape {shape}. Found: {len(blob.data) / 4:g} values"
        )
    return np.frombuffer(blob.data, "<f4").reshape(shape)


def _parse(path: Path, message_name: str, expected: str) -> Message:
    message = _message_class(message_name)()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(f"{path}: {expected}; it is of another format, or cut short") from error
    return message


def _message_class(name: str) -> type[Message]:
    file = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"c3d.{name}"))


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict, without running code that the file may contain."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: reading a PyTorch file requires torch, which is not installed; run pip "
            "install torch, or convert the file to .safetensors"
        ) from error
    try:
        with path.open("rb") as file:  # given a name, torch would go by its suffix
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors, or is damaged; anything else is not unpickled, "
            "since that can run code: save only the model's state_dict()"
        ) from error
    except Exception as error:  # damage raises errors of many types
        raise InputError(
            f"{path}: expected a file of PyTorch; it is of another format, or cut short"
        ) from error
    # Training scripts save the state dict along with other values.
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a state dict. Found: {type(content).__name__}")
    return {
        # NumPy has no bfloat16.
        key: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for key, tensor in content.items()
        if isinstance(tensor, torch.Tensor)
    }


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a `.safetensors` file."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise InputError(
            f"{path}: reading it requires safetensors, which is not installed; run pip install "
            "safetensors"
        ) from error
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, TypeError) as error:  # TypeError: bfloat16
        raise InputError(f"{path}: cannot be read as .safetensors ({error})") from error
