"""Tensors in files of other libraries: Caffe's (C3D v1.0), PyTorch's, safetensors. NumPy only."""

import math
import pickle
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError, Message

from scnn_tf.errors import InputError

_TORCH_SUFFIXES = (".pth", ".pt", ".pickle", ".pkl")
# What C3D v1.0's Caffe writes, as far as it matters here; a parser skips other fields. A layer has
# its name and blobs either itself or in its older form, `layer`. `data` is declared there as
# `repeated float data = 6 [packed = true]`: the same bytes, without eighty million Python numbers.
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


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file; its ending says what it is.

    Args:
        path: `.safetensors`; `.pth`, `.pt`, `.pickle` or `.pkl` for a PyTorch state dict; anything
            else is Caffe's, of C3D v1.0.

    Returns:
        By name, such as "conv1a.weight", as they are; Caffe's have five dimensions, all of them.

    Raises:
        InputError: it cannot be read as what its ending says, or is cut short; a library for it is
            missing; it would take unpickling, which can run code.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path) if path.suffix in _TORCH_SUFFIXES else _read_caffe(path)


def read_blob(path: Path) -> np.ndarray:
    """The one blob of Caffe's in a file, such as a mean volume; float32, five dimensions.

    Raises:
        InputError: there is none in it, or it is cut short.
    """
    return _array(path, "its blob", _parse(path, "BlobProto"))


def _read_caffe(path: Path) -> dict[str, np.ndarray]:
    """The blobs of a `.caffemodel`, by layer: "conv1a.weight"."""
    tensors: dict[str, np.ndarray] = {}
    for layer in _parse(path, "NetParameter").layers:
        name = (layer.name or layer.layer.name).decode(errors="replace")
        # Kernel and bias; a layer without weights has no blobs.
        for part, blob in zip(("weight", "bias"), layer.blobs or layer.layer.blobs, strict=False):
            if f"{name}.{part}" in tensors:
                raise InputError(f"{path}: layer {name} is there twice")
            tensors[f"{name}.{part}"] = _array(path, f"the {part} of {name}", blob)
    if not tensors:
        raise InputError(
            f"{path}: no weights in it as Caffe's C3D v1.0 stores them; the name of a PyTorch file "
            f"must end in {', '.join(_TORCH_SUFFIXES)} or .safetensors"
        )
    return tensors


def _array(path: Path, what: str, blob: Message) -> np.ndarray:
    shape = (blob.num, blob.channels, blob.length, blob.height, blob.width)
    if min(shape) < 1 or 4 * math.prod(shape) != len(blob.data):
        raise InputError(
            f"{path}: {what} must have the values of the shape {shape}. Found: "
            f"{len(blob.data) / 4:g} values"
        )
    return np.frombuffer(blob.data, "<f4").reshape(shape)


def _parse(path: Path, message_name: str) -> Message:
    message = _message_class(message_name)()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(f"{path}: not a file of Caffe's C3D v1.0, or cut short") from error
    return message


def _message_class(name: str) -> type[Message]:
    file = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"c3d.{name}"))


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict; no code that the file may bring is run."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: PyTorch's files need torch (pip install torch), which is not here; "
            ".safetensors does without"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors, or is damaged; to unpickle anything else can run "
            "code, and is not done: save the model's state_dict() alone"
        ) from error
    except Exception as error:  # of many types, by what the damage happens to look like
        raise InputError(f"{path}: not a file of PyTorch, or cut short") from error
    # Training scripts put the state dict beside what else they keep.
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a state dict. Found: {type(content).__name__}")
    return {
        # NumPy has no bfloat16.
        key: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for key, tensor in content.items()
        if isinstance(tensor, torch.Tensor)
    }


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a `.safetensors` file."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise InputError(
            f"{path}: needs the package safetensors (pip install safetensors), which is not here"
        ) from error
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, TypeError) as error:  # TypeError: bfloat16
        raise InputError(f"{path}: cannot be read as .safetensors ({error})") from error
