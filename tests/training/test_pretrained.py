"""Weights of Caffe, PyTorch and scnn_tf itself, converted and compared with a C3D of NumPy.

The tests write Caffe's files byte by byte. Files of Keras are in `test_keras_files.py`.
"""

import hashlib
import importlib.util
import json
import math
import shutil
import struct
import sys
import zipfile

import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.training.pretrained import convert_weights
from tests.training.c3d_numpy import assert_every_output_agrees, forward, random_layers

CAFFE = {"fc6": "fc6-1", "fc7": "fc7-1", "fc8": "fc8-1"}
PYTORCH = {"conv1a": "conv1", "conv2a": "conv2"}
# Of a port whose layers have no names.
SEQUENTIAL = (
    *(f"features.{number}" for number in (0, 3, 6, 8, 11, 13, 16, 18)),
    *(f"classifier.{number}" for number in (0, 3, 6)),
)

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
needs_safetensors = pytest.mark.skipif(
    importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed"
)


# Files.


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


def mmaction2(layers: dict) -> dict:
    """The state dict of MMAction2's backbone: convolutions in a ConvModule, no fc8."""
    convolutions = {name: arrays for name, arrays in layers.items() if name.startswith("conv")}
    dense = {name: layers[name] for name in ("fc6", "fc7")}
    return state_dict(convolutions, "{}.conv", names={}) | state_dict(dense)


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
    "c3d_sports1m_pretrain.pth": lambda path, layers: write_torch(path, mmaction2(layers)),
    "checkpoint.pt": lambda path, layers: write_torch(
        path,
        {f"backbone.{key}": array for key, array in mmaction2(layers).items()},
        lambda content: {"meta": {"epoch": 45, "CLASSES": None}, "state_dict": content},
    ),
    "numbered.pth": lambda path, layers: write_torch(
        path, state_dict(layers, names=dict(zip(layers, SEQUENTIAL, strict=True)))
    ),
    # The content decides, not the name.
    "torch.safetensors": lambda path, layers: write_torch(path, state_dict(layers)),
    "caffe.pth": lambda path, layers: path.write_bytes(caffemodel(layers)),
}
NEEDS = {
    "port.safetensors": needs_safetensors,
    **dict.fromkeys(
        ("port.pth", "c3d.pickle", "c3d_sports1m_pretrain.pth", "checkpoint.pt", "numbered.pth",
         "torch.safetensors"),
        needs_torch,
    ),
}  # fmt: skip


@pytest.fixture
def converted(layers, volume, tmp_path):
    """A converted Caffe model: the folder, and the two files that it came from."""
    (tmp_path / "model").write_bytes(caffemodel(layers))
    (tmp_path / "mean.binaryproto").write_bytes(blob(volume[None]))
    files = tmp_path / "model", tmp_path / "mean.binaryproto"
    convert_weights(files[0], output_dir=tmp_path / "converted", mean_path=files[1])
    return tmp_path / "converted", *files


@pytest.mark.parametrize("name", [pytest.param(n, id=n, marks=NEEDS.get(n, ())) for n in WRITERS])
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


def test_the_card_of_a_conversion(layers, tmp_path):
    path, folder = tmp_path / "c3d of caffe", tmp_path / "converted"
    path.write_bytes(caffemodel(layers))
    card = convert_weights(path, output_dir=folder, trained_on="Sports-1M", licence="CC BY 4.0")
    # Every weight and bias but those of fc8.
    parameters = sum(array.size for name in layers if name != "fc8" for array in layers[name])
    expected = {
        "network": "c3d", "width": 4 / 64, "hidden": 24, "parameters": parameters,
        "format": "Caffe", "pool5": "far", "pool5_of_input": "far", "figures": None,
        "trained_on": "Sports-1M", "licence": "CC BY 4.0",
    }  # fmt: skip
    assert card == card | expected
    assert card["command"] == (
        f"python -m pipelines.convert_weights '--weights={path}' --output_dir={folder} "
        "--trained_on=Sports-1M '--licence=CC BY 4.0'"
    )
    # The same conversion again; what is not given is not compared.
    assert convert_weights(path, output_dir=folder, trained_on="Sports-1M") == card
    for other in ({"licence": "CC0"}, {"pool5": "both"}):
        with pytest.raises(InputError, match="converted: holds other weights; choose another"):
            convert_weights(path, output_dir=folder, **other)


@pytest.mark.parametrize("given", [".", "model.weights.h5"])
def test_the_backbone_of_a_trained_stage(given, tiny_joint, tmp_path):
    stage = tiny_joint / "joint"
    card = convert_weights(stage / given, output_dir=tmp_path / "converted")
    trained, info = load_stage(stage)
    assert card["format"] == "scnn_tf" and card["licence"] == "unknown"
    assert card["trained_on"] == f"the classes {', '.join(info.class_names)}"
    assert card["input_sha256"] == info.checksums["weights"]
    metrics = json.loads((stage / "metrics.json").read_text())
    assert card["figures"]["loss"] == metrics["loss"]
    backbone, converted = load_stage(tmp_path / "converted", "pretrained")
    assert converted.recipe == info.recipe
    names = {layer.name for layer in trained.layers} - {layer.name for layer in backbone.layers}
    assert names == {"proposal", "classes", "surroundings", "boundaries", "offsets"}
    for weight in backbone.weights:
        layer, name = weight.path.split("/")[-2:]
        (same,) = (w for w in trained.get_layer(layer).weights if w.name == name)
        np.testing.assert_array_equal(weight.numpy(), same.numpy())


def test_unsuitable_stages_are_refused(converted, tiny_joint, volume, tmp_path):
    def fails(message, path, **options):
        with pytest.raises(InputError) as error:
            convert_weights(path, output_dir=tmp_path / "other", **options)
        assert message in str(error.value)

    folder, _, mean = converted
    fails("converted: expected a trained stage. Found: converted weights", folder)
    stage = shutil.copytree(tiny_joint / "joint", tmp_path / "joint")
    fails('expected a network with the normalization "mean". Found: "local_motion"',
          stage, mean_path=mean)  # fmt: skip
    fails("joint: has a pool5 of its own, far; leave out --pool5", stage, pool5="both")
    (stage / "model.json").unlink()
    fails("expected a trained network, but model.json is missing", stage)
    fails("expected model.json, which describes this network", stage / "model.weights.h5")


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
    expected = "expected a file of Caffe's C3D v1.0, PyTorch, safetensors or Keras; it "
    for content, message in (
        (whole[:-1000], "is of another format, or cut short"),
        (whole[:100], "is of another format, or cut short"),
        (b"<html>404</html>", "is of another format, or cut short"),
        (b"", "holds no layers"),
        # Later versions of Caffe keep their layers in field 100.
        (field(1, b"net") + field(100, b""), "holds no layers"),
    ):
        path.write_bytes(content)
        fails(path, expected + message)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("video.mp4", "")
    fails(path, "expected a zip archive of PyTorch or Keras. Found: video.mp4")
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
    fails(path, "expected a C3D or a video ResNet. Found: features.0")
    write_safetensors(path, tensors | {"conv2.bias": np.zeros([], np.float32)})
    fails(path, "expected the bias of conv2a of shape (8,). Found: ()")
    write_safetensors(path, tensors)
    for size in (-100, 1000, 9):
        path.write_bytes(path.read_bytes()[:size])
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
    path.write_bytes(path.read_bytes()[:5000])
    fails(path, "expected a zip archive of PyTorch or Keras; it is damaged, or cut short")
    write_torch(path, state_dict(layers), _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])
    fails(path, "expected a file of PyTorch; it is of another format, or cut short")


@pytest.mark.parametrize(
    ("start", "library"),
    [(b"\x80\x02", "torch"), (struct.pack("<q", 2) + b"{}", "safetensors")],
)
def test_a_missing_library_is_named(start, library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    path = tmp_path / "port"
    path.write_bytes(start)
    fails(path, f"requires {library}, which is not installed")
