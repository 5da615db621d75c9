"""Converted weights, compared with a C3D of NumPy; the tests write the files byte by byte."""

import hashlib
import importlib.util
import json
import math
import struct
import sys

import keras
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from scnn_tf.errors import InputError
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.training.pretrained import convert_weights

CONVOLUTIONS = {
    "conv1a": 1, "conv2a": 2, "conv3a": 4, "conv3b": 4,
    "conv4a": 8, "conv4b": 8, "conv5a": 8, "conv5b": 8,
}  # fmt: skip
POOLS = {
    "conv1a": ("pool1", 1), "conv2a": ("pool2", 2), "conv3b": ("pool3", 2),
    "conv4b": ("pool4", 2), "conv5b": ("pool5", 2),
}  # fmt: skip
CAFFE = {"fc6": "fc6-1", "fc7": "fc7-1", "fc8": "fc8-1"}
PYTORCH = {"conv1a": "conv1", "conv2a": "conv2"}

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
needs_safetensors = pytest.mark.skipif(
    importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed"
)


# Files.


def random_layers(filters: int, hidden: int, outputs: int = 11) -> dict:
    """Weights (out, in, t, h, w) and (out, in) that keep the scale of the outputs; biases."""
    random = np.random.default_rng(0)
    shapes, inputs = {}, 3
    for name, factor in CONVOLUTIONS.items():
        shapes[name] = (filters * factor, inputs, 3, 3, 3)
        inputs = filters * factor
    shapes |= {"fc6": (hidden, inputs * 16), "fc7": (hidden, hidden), "fc8": (outputs, hidden)}
    return {
        name: (
            random.normal(0, (2 / math.prod(shape[1:])) ** 0.5, shape).astype(np.float32),
            random.normal(0, 0.1, shape[0]).astype(np.float32),
        )
        for name, shape in shapes.items()
    }


def varint(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def field(number: int, value: int | bytes) -> bytes:
    """A field of protobuf's wire format: an integer, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array: np.ndarray, values: bytes | None = None) -> bytes:
    """BlobProto: five dimensions, and packed floats. The gradients in field 7 are of no use."""
    shape = (1,) * (5 - array.ndim) + array.shape
    dimensions = b"".join(field(number, size) for number, size in enumerate(shape, start=1))
    packed = array.astype("<f4").tobytes() if values is None else values
    return dimensions + field(6, packed) + field(7, struct.pack("<f", 3))


def caffemodel(layers: dict, old: bool = False) -> bytes:
    """NetParameter with a layer for each, and one without weights; `old`: LayerParameter.layer."""
    net = field(1, b"DeepConv3DNet_Sport1M") + field(2, field(4, b"data") + field(5, 35))
    for name, blobs in layers.items():
        name = CAFFE.get(name, name).encode()
        if old:
            v0 = field(1, name) + field(2, b"conv3d") + b"".join(field(50, blob(b)) for b in blobs)
            net += field(2, field(1, v0) + field(2, b"pool1"))
        else:
            net += field(2, field(2, b"pool1") + field(4, name) + field(5, 36)
                         + b"".join(field(6, blob(b)) for b in blobs))  # fmt: skip
    return net


def state_dict(layers: dict, name_format: str = "{}", names: dict = PYTORCH) -> dict:
    return {
        f"{name_format.format(names.get(name, name))}.{part}": array
        for name, arrays in layers.items()
        for part, array in zip(("weight", "bias"), arrays, strict=True)
    }


def write_torch(path, tensors: dict, wrap=lambda content: content, **options) -> None:
    import torch

    tensors = {key: torch.from_numpy(array.copy()) for key, array in tensors.items()}
    torch.save(wrap(tensors), path, **options)


def write_safetensors(path, tensors: dict) -> None:
    import safetensors.numpy

    safetensors.numpy.save_file(tensors, path)


# file name: how to write it.
WRITERS = {
    "sport1m_iter_1900000": lambda path, layers: path.write_bytes(caffemodel(layers)),
    "old.caffemodel": lambda path, layers: path.write_bytes(caffemodel(layers, old=True)),
    "port.safetensors": lambda path, layers: write_safetensors(path, state_dict(layers)),
    "port.pth": lambda path, layers: write_torch(path, state_dict(layers)),
    "c3d.pickle": lambda path, layers: write_torch(
        path, state_dict(layers, "module.{}"), _use_new_zipfile_serialization=False
    ),
    "checkpoint.pt": lambda path, layers: write_torch(
        path,
        state_dict({k: layers[k] for k in layers if k != "fc8"}, "backbone.{}.conv", names={}),
        lambda content: {"meta": {"epoch": 45}, "state_dict": content},
    ),
}


def needs(name: str):
    if name.endswith(".safetensors"):
        return needs_safetensors
    return needs_torch if name.endswith((".pth", ".pickle", ".pt")) else ()


# The network, in NumPy.


def forward(layers: dict, frames: np.ndarray, mean: np.ndarray) -> dict:
    """Returns every output of C3D up to fc7, `[c, t, h, w]` or `[units]`.

    `frames` is uint8 [16, 112, 112, 3], RGB; `mean` [3, 16, 112, 112], BGR.
    """
    x = frames[..., ::-1].transpose(3, 0, 1, 2) - mean
    outputs = {"normalization": x}
    for name in CONVOLUTIONS:
        weight, bias = layers[name]
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1)])
        patches = sliding_window_view(padded, (3, 3, 3), axis=(1, 2, 3))
        x = np.tensordot(weight, patches, axes=([1, 2, 3, 4], [0, 4, 5, 6]))
        x = outputs[name] = np.maximum(x + bias[:, None, None, None], 0)
        if name in POOLS:
            pool, time = POOLS[name]
            x = outputs[pool] = ceil_pool(x, time)
    x = outputs["flatten"] = x.reshape(-1)
    for name in ("fc6", "fc7"):
        weight, bias = layers[name]
        x = outputs[name] = np.maximum(weight @ x + bias, 0)
    return outputs


def ceil_pool(x: np.ndarray, time: int) -> np.ndarray:
    """Max pooling over (time, 2, 2) in ceil mode: an odd border counts."""
    channels, frames, height, width = x.shape
    rest = [(0, 0), (0, 0), (0, height % 2), (0, width % 2)]
    x = np.pad(x, rest, constant_values=-np.inf)
    x = x.reshape(channels, frames // time, time, x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    return x.max(axis=(2, 4, 6))


def assert_every_output_agrees(model: keras.Model, expected: dict, frames: np.ndarray) -> None:
    got = keras.Model(model.input, {name: model.get_layer(name).output for name in expected})(
        {"frames": frames[None]}, training=False
    )
    for name, values in expected.items():
        output = got[name].numpy()[0]
        if name in ("pool4", "conv5a", "conv5b"):
            output = output[::2]  # the second of the three steps is of no window
        if output.ndim == 2:
            (output,) = output  # of the only window
        if name == "flatten":  # in another order in Keras, which fc6 allows for
            output, values = np.sort(output), np.sort(values)
        elif output.ndim == 4:
            output = output.transpose(3, 0, 1, 2)
        assert output.shape == values.shape
        scale = np.abs(values).max()
        assert scale > 0.1, name
        np.testing.assert_allclose(output, values, rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.fixture(scope="module")
def layers():
    return random_layers(filters=4, hidden=24)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(1).integers(0, 256, [16, 112, 112, 3], np.uint8)


@pytest.fixture(scope="module")
def volume():
    """A mean volume in which no two values are alike."""
    return np.random.default_rng(2).uniform(0, 255, [3, 16, 128, 171]).astype(np.float32)


@pytest.fixture(scope="module")
def expected(layers, frames, volume):
    return forward(layers, frames, volume[:, :, 8 : 8 + 112, 29 : 29 + 112])


@pytest.fixture
def converted(layers, volume, tmp_path):
    """A converted Caffe model: the folder, and the two files that it came from."""
    (tmp_path / "model").write_bytes(caffemodel(layers))
    (tmp_path / "mean.binaryproto").write_bytes(blob(volume[None]))
    files = tmp_path / "model", tmp_path / "mean.binaryproto"
    convert_weights(files[0], output_dir=tmp_path / "converted", mean_path=files[1])
    return tmp_path / "converted", *files


@pytest.mark.parametrize("name", [pytest.param(n, id=n, marks=needs(n)) for n in WRITERS])
def test_every_layer_gives_the_outputs_of_the_source(
    name, layers, frames, volume, expected, tmp_path
):
    WRITERS[name](tmp_path / name, layers)
    mean = tmp_path / "mean.binaryproto"
    mean.write_bytes(blob(volume[None]))
    done = convert_weights(tmp_path / name, output_dir=tmp_path / "converted", mean_path=mean)
    assert (done["width"], done["hidden"]) == (4 / 64, 24)
    model, _ = load_stage(tmp_path / "converted")
    assert_every_output_agrees(model, expected, frames)


def test_without_a_mean_volume_one_color_is_subtracted(layers, frames, caplog, tmp_path):
    (tmp_path / "model").write_bytes(caffemodel(layers))
    with caplog.at_level("INFO", logger="absl"):
        done = convert_weights(tmp_path / "model", output_dir=tmp_path / "converted")
    assert done["mean"] is None
    assert "no mean volume was given: one mean color is subtracted" in caplog.text
    assert "model: fc8-1.weight is left out; training starts from a fresh fc8" in caplog.text
    model, _ = load_stage(tmp_path / "converted")
    color = np.array([90.25, 97.66, 101.41], np.float32)[:, None, None, None]
    assert_every_output_agrees(model, forward(layers, frames, color), frames)


@pytest.mark.slow
def test_the_network_of_the_paper_at_full_width(frames, volume, tmp_path):
    """78 million weights go through a file of 312 MB."""
    layers = random_layers(filters=64, hidden=4096, outputs=487)
    path, mean = tmp_path / "sport1m_iter_1900000", tmp_path / "mean.binaryproto"
    path.write_bytes(caffemodel(layers))
    mean.write_bytes(blob(volume[None]))
    convert_weights(path, output_dir=tmp_path / "converted", mean_path=mean)
    path.unlink()
    model, info = load_stage(tmp_path / "converted")
    (tmp_path / "converted" / "model.weights.h5").unlink()
    assert (info.recipe.width, info.recipe.hidden) == (1.0, 4096)
    # All 78,081,813 parameters except those of fc8 with 21 outputs.
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == 78_081_813 - 86_037
    expected = forward(layers, frames, volume[:, :, 8 : 8 + 112, 29 : 29 + 112])
    assert_every_output_agrees(model, expected, frames)


def test_the_files_of_a_conversion(converted):
    folder, source, mean = converted
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.json", "model.weights.h5", "provenance.json"
    ]  # fmt: skip
    provenance = json.loads((folder / "provenance.json").read_text())
    assert (provenance["input"], provenance["mean"]) == (str(source), str(mean))
    for key, path in (("input_sha256", source), ("mean_sha256", mean)):
        assert provenance[key] == hashlib.sha256(path.read_bytes()).hexdigest()
    model, info = load_stage(folder)
    assert (info.stage, info.class_names, info.recipe.crop) == ("pretrained", (), 112)
    assert model.output_shape == (None, None, 24)
    # Localization does not accept it.
    with pytest.raises(InputError, match="holds a pretrained network where localization is"):
        load_stage(folder, "localization")


def test_a_finished_conversion_is_not_repeated(converted, layers, tmp_path):
    folder, source, mean = converted
    written = (folder / "model.weights.h5").stat().st_mtime_ns
    provenance = json.loads((folder / "provenance.json").read_text())
    assert convert_weights(source, output_dir=folder, mean_path=mean) == provenance
    assert (folder / "model.weights.h5").stat().st_mtime_ns == written

    def fails(source, mean=None):
        with pytest.raises(InputError, match="converted: holds other weights; choose another"):
            convert_weights(source, output_dir=folder, mean_path=mean)

    fails(source)  # without the mean
    other = tmp_path / "other"
    other.write_bytes(caffemodel({**layers, "fc8": layers["fc7"]}))
    fails(other, mean)
    (folder / "provenance.json").unlink()  # like the folder of a trained stage
    fails(source, mean)


def test_an_interrupted_conversion_is_repeated(converted):
    folder, source, mean = converted
    (folder / "model.weights.h5").rename(folder / "partial.model.weights.h5")
    with pytest.raises(InputError, match="not trained yet"):
        load_stage(folder)
    convert_weights(source, output_dir=folder, mean_path=mean)
    load_stage(folder)


def fails(path, message, mean=None):
    with pytest.raises(InputError) as error:
        convert_weights(path, output_dir=path.with_name("converted"), mean_path=mean)
    text = str(error.value)
    assert text.startswith(f"{mean or path}: ") and message in text, text
    assert "\n" not in text
    assert not path.with_name("converted").exists()


def test_models_of_other_shapes_are_refused(layers, tmp_path):
    path = tmp_path / "model.caffemodel"

    def changed(message, **changes):
        path.write_bytes(caffemodel({k: v for k, v in {**layers, **changes}.items() if v}))
        fails(path, message)

    changed("the weight of conv3b is missing. Found: conv1a, conv2a, conv3a, conv4a, conv4b, "
            "conv5a, conv5b, fc6-1, fc7-1, fc8-1", conv3b=None)  # fmt: skip
    weight, bias = layers["conv4a"]
    changed("the bias of conv4a is missing", conv4a=(weight,))
    # conv3b has 16 filters, conv4a 32, since conv1a has 4.
    changed("expected the weight of conv4a of shape (32, 16, 3, 3, 3). Found: (32, 15, 3, 3, 3)",
            conv4a=(weight[:, 1:], bias))  # fmt: skip
    changed("expected the bias of conv4a of shape (32,). Found: (1, 1, 1, 1, 31)",
            conv4a=(weight, bias[1:]))  # fmt: skip
    # A network for frames of 80 × 80, where pool5 is 3 × 3.
    weight, bias = layers["fc6"]
    changed("expected the weight of fc6 of shape (24, 512). Found: (1, 1, 1, 24, 288)",
            fc6=(weight[:, :288], bias))  # fmt: skip
    weight, bias = layers["fc7"]
    changed("expected the bias of fc7 of shape (24,). Found: (1, 1, 1, 1, 23)",
            fc7=(weight, bias[1:]))  # fmt: skip
    changed("expected conv1a.weight to hold finite numbers",
            conv1a=(np.full([4, 3, 3, 3, 3], np.nan), layers["conv1a"][1]))  # fmt: skip
    changed("the weight of conv1a is ambiguous. Found: conv1a.weight, conv1.weight",
            conv1=layers["conv1a"])  # fmt: skip

    path.write_bytes(caffemodel(layers) + caffemodel(layers))
    fails(path, "expected one layer conv1a. Found: two")
    weight, bias = layers["conv1a"]
    few = field(4, b"conv1a") + field(6, blob(weight, bytes(400)))
    path.write_bytes(field(2, few))
    fails(path, "expected the weight of conv1a of shape (4, 3, 3, 3, 3). "
                "Found: 100 values")  # fmt: skip


def test_files_that_are_not_caffe_models_are_refused(layers, tmp_path):
    path = tmp_path / "model"
    whole = caffemodel(layers)
    for content, message in (
        (
            whole[:-1000],
            "expected a file of Caffe's C3D v1.0; it is of another format, or cut short",
        ),
        (whole[:100], "expected a file of Caffe's C3D v1.0; it is of another format, or cut short"),
        (
            b"<html>404</html>",
            "expected a file of Caffe's C3D v1.0; it is of another format, or cut short",
        ),
        (b"", "expected weights in the format of Caffe's C3D v1.0"),
        # Later versions of Caffe keep their layers in field 100.
        (field(1, b"net") + field(100, b""), "expected weights in the format of Caffe's C3D v1.0"),
    ):
        path.write_bytes(content)
        fails(path, message)
    path.unlink()
    fails(path, "cannot be read (No such file or directory)")


def test_means_of_other_shapes_are_refused(layers, volume, tmp_path):
    path, mean = tmp_path / "model", tmp_path / "mean.binaryproto"
    path.write_bytes(caffemodel(layers))
    whole = blob(volume[None])
    for content, message in (
        (blob(volume[None, :, :, :100]),
         "expected the mean volume of shape (1, 3, 16, 128, 171). Found: (1, 3, 16, 100, 171)"),
        (blob(np.full_like(volume, np.inf)), "expected the mean volume to hold finite numbers"),
        (whole[:-1000], "expected a file of Caffe's C3D v1.0; it is of another format"),
        (whole[:12], "expected its blob of shape (1, 3, 16, 128, 171). Found: 0"),
        (b"", "expected its blob of shape (0, 0, 0, 0, 0). Found: 0 values"),
    ):  # fmt: skip
        mean.write_bytes(content)
        fails(path, message, mean)
    mean.unlink()
    fails(path, "cannot be read (No such file or directory)", mean)


@needs_safetensors
def test_unsuitable_safetensors_are_refused(layers, tmp_path):
    path = tmp_path / "port.safetensors"
    tensors = state_dict(layers)
    write_safetensors(path, tensors | {"fc6.bias": np.zeros(24, np.int8)})
    fails(path, "expected fc6.bias to be float16, float32 or float64. Found: int8")
    write_safetensors(path, {"features.0.weight": tensors["conv1.weight"]})
    fails(path, "the weight of conv1a is missing. Found: features.0")
    write_safetensors(path, tensors | {"conv2.bias": np.zeros([], np.float32)})
    fails(path, "expected the bias of conv2a of shape (8,). Found: ()")
    write_safetensors(path, tensors)
    for content in (path.read_bytes()[:-100], b"text", b""):
        path.write_bytes(content)
        fails(path, "cannot be read as .safetensors (")


@needs_safetensors
def test_half_precision_becomes_float32(layers, tmp_path):
    tensors = {key: array.astype(np.float16) for key, array in state_dict(layers).items()}
    write_safetensors(tmp_path / "half.safetensors", tensors)
    convert_weights(tmp_path / "half.safetensors", output_dir=tmp_path / "converted")
    weight, bias = load_stage(tmp_path / "converted")[0].get_layer("fc7").get_weights()
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, tensors["fc7.weight"].T)
    np.testing.assert_array_equal(bias, tensors["fc7.bias"])


class RunsCode:
    def __reduce__(self):
        return exec, ("import scnn_tf; scnn_tf.was_run = True",)


@needs_torch
def test_unsuitable_pytorch_files_are_refused(layers, tmp_path):
    import torch

    import scnn_tf

    path = tmp_path / "port.pth"
    torch.save({"conv1.weight": torch.zeros(3), "extra": RunsCode()}, path)
    fails(path, "holds more than tensors, or is damaged; anything else is not unpickled")
    assert not hasattr(scnn_tf, "was_run")
    torch.save([torch.zeros(3)], path)
    fails(path, "expected a state dict. Found: list")
    write_torch(path, state_dict(layers))
    for content in (path.read_bytes()[:5000], b"text", b""):
        path.write_bytes(content)
        fails(path, "expected a file of PyTorch; it is of another format, or cut short")


@pytest.mark.parametrize(
    ("suffix", "library"),
    [(".pth", "torch"), (".pickle", "torch"), (".safetensors", "safetensors")],
)
def test_a_missing_library_is_named(suffix, library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    path = tmp_path / f"port{suffix}"
    path.write_bytes(b"anything")
    fails(path, f"requires {library}, which is not installed")
