"""Reads tensors from files of other libraries: Caffe (C3D v1.0), PyTorch and safetensors."""

import math
import pickle
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError, Message

from scnn_tf.errors import InputError

_TORCH_SUFFIXES = (".pth", ".pt", ".pickle", ".pkl")
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


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a file, in the format of its suffix.

    Args:
        path: `.safetensors`; `.pth`, `.pt`, `.pickle` or `.pkl` for a PyTorch state dict; any
            other suffix for a model of Caffe's C3D v1.0.

    Returns:
        Name, such as "conv1a.weight" → tensor, unchanged; all of Caffe's have five dimensions.

    Raises:
        InputError: The file is not of this format, or cut short; the library for it is missing;
            or reading it would require unpickling, which can run code.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path) if path.suffix in _TORCH_SUFFIXES else _read_caffe(path)


def read_blob(path: Path) -> np.ndarray:
    """Reads the only blob of a file of Caffe's, such as a mean volume; float32, five dimensions.

    Raises:
        InputError: The file holds no blob, or is cut short.
    """
    return _array(path, "its blob", _parse(path, "BlobProto"))


def _read_caffe(path: Path) -> dict[str, np.ndarray]:
    """Reads the blobs of a `.caffemodel`, such as "conv1a.weight"."""
    tensors: dict[str, np.ndarray] = {}
    for layer in _parse(path, "NetParameter").layers:
        name = (layer.name or layer.layer.name).decode(errors="replace")
        # Kernel and bias; a layer without weights has no blobs.
        for part, blob in zip(("weight", "bias"), layer.blobs or layer.layer.blobs, strict=False):
            if f"{name}.{part}" in tensors:
                raise InputError(f"{path}: expected one layer {name}. Found: two")
            tensors[f"{name}.{part}"] = _array(path, f"the {part} of {name}", blob)
    if not tensors:
        raise InputError(
            f"{path}: expected weights in the format of Caffe's C3D v1.0; the name of a PyTorch "
            f"file must end in {', '.join(_TORCH_SUFFIXES)} or .safetensors"
        )
    return tensors


def _array(path: Path, what: str, blob: Message) -> np.ndarray:
    shape = (blob.num, blob.channels, blob.length, blob.height, blob.width)
    if min(shape) < 1 or 4 * math.prod(shape) != len(blob.data):
        raise InputError(
            f"{path}: expected {what} of shape {shape}. Found: {len(blob.data) / 4:g} values"
        )
    return np.frombuffer(blob.data, "<f4").reshape(shape)


def _parse(path: Path, message_name: str) -> Message:
    message = _message_class(message_name)()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(
            f"{path}: expected a file of Caffe's C3D v1.0; it is of another format, or cut short"
        ) from error
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
        content = torch.load(path, map_location="cpu", weights_only=True)
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
