"""C3D in the files of Keras 1, 2 and 3, converted and compared with a C3D of NumPy."""

import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models import C3D, VideoResNet
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.training.pretrained import convert_weights
from tests.training.c3d_numpy import POOLS, assert_every_output_agrees, forward

NAMES = {"conv1a": "conv1", "conv2a": "conv2"}
MEAN = np.array([90.25, 97.66, 101.41], np.float32)[:, None, None, None]


# Layers as Keras stores them, from Caffe's (out, in, t, h, w) and (out, in).


def channels_last(layers: dict) -> dict:
    """Kernels (t, h, w, in, out) and (in, out); the rows of fc6 in the order t, h, w, c."""
    stored = channels_first(layers)
    kernel, bias = stored["fc6"]
    rows = np.arange(len(kernel)).reshape(-1, 1, 4, 4).transpose(1, 2, 3, 0).ravel()
    return stored | {"fc6": (kernel[rows], bias)}


def channels_first(layers: dict) -> dict:
    """The same, with the rows of fc6 in the order c, t, h, w."""
    return {
        NAMES.get(name, name): (np.moveaxis(weight, (0, 1), (-1, -2)), bias)
        for name, (weight, bias) in layers.items()
    }


def theano(layers: dict) -> dict:
    """Kernels (out, in, t, h, w), each picture of them rotated by 180°; fc6 as channels_first."""
    return channels_first(layers) | {
        NAMES.get(name, name): (np.rot90(layers[name][0], 2, axes=(3, 4)), layers[name][1])
        for name in layers
        if name.startswith("conv")
    }


# Files.


def write_numbered(path, layers: dict) -> None:
    """The layout of Keras 0.3 and of c3d-sports1M_weights.h5, with empty groups in between."""
    numbers = (0, 2, 4, 5, 7, 8, 10, 11, 15, 17, 19)
    stored = dict(zip(numbers, theano(layers).values(), strict=True))
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = 20
        for number in range(20):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = len(stored.get(number, ()))
            for index, array in enumerate(stored.get(number, ())):
                group[f"param_{index}"] = array


def write_named(path, stored: dict, parts: str, config: dict | None = None, **attributes) -> None:
    """The layout of Keras 1 and 2; `parts` are the names of a layer's tensors.

    With a config, it is a whole model.
    """
    with h5py.File(path, "w") as file:
        group = file if config is None else file.create_group("model_weights")
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        group.attrs.update(attributes)
        group.attrs["layer_names"] = np.array([b"pool1", *(name.encode() for name in stored)])
        group.create_group("pool1").attrs["weight_names"] = np.array([], "S1")
        for name, arrays in stored.items():
            keys = parts.format(name=name).split()
            layer = group.create_group(name)
            layer.attrs["weight_names"] = np.array([key.encode() for key in keys])
            for key, array in zip(keys, arrays, strict=True):
                layer[key] = array


KERAS1 = "{name}_W:0 {name}_b:0"
KERAS2 = "{name}/kernel:0 {name}/bias:0"


def sequential(**settings) -> dict:
    """The description of a model of Keras 2, of which only a few settings matter."""
    layers = [
        {"class_name": "Conv3D", "config": {"name": "conv1", **settings}},
        {"class_name": "ZeroPadding3D", "config": {"name": "zeropad5", **settings}},
    ]
    return {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": layers}}


def keras3_model(layers: dict, functional: bool = False) -> keras.Model:
    """C3D with the layers of Keras, whose pool5 pads both sides."""
    x = inputs = keras.Input([16, 112, 112, 3])
    stack = []
    for name, (kernel, bias) in channels_last(layers).items():
        if name == "fc6":
            stack.append(keras.layers.Flatten())
        arguments = {"activation": None if name == "fc8" else "relu", "name": name}
        if kernel.ndim == 2:
            stack.append(keras.layers.Dense(bias.size, **arguments))
            continue
        stack.append(keras.layers.Conv3D(bias.size, 3, padding="same", **arguments))
        pool, time = POOLS.get({"conv1": "conv1a", "conv2": "conv2a"}.get(name, name), ("", 0))
        if pool == "pool5":
            stack.append(keras.layers.ZeroPadding3D((0, 1, 1)))
        if pool:
            stack.append(keras.layers.MaxPooling3D((time, 2, 2)))
    if functional:
        for layer in stack:
            x = layer(x)
        model = keras.Model(inputs, x)
    else:
        model = keras.Sequential([inputs, *stack])
    model.set_weights([array for arrays in channels_last(layers).values() for array in arrays])
    return model


def without_names(path) -> None:
    """Removes the names of the layers, which the first versions of Keras 3 did not store."""
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, node: node.attrs.pop("name", None) and None)


WRITERS = {
    "c3d-sports1M_weights.h5": write_numbered,
    "keras1.h5": lambda path, layers: write_named(path, channels_last(layers), KERAS1),
    "keras1_theano.h5": lambda path, layers: write_named(path, theano(layers), KERAS1),
    "keras2.h5": lambda path, layers: write_named(path, channels_last(layers), KERAS2),
    "keras2_theano.h5": lambda path, layers: write_named(
        path,
        {
            name: (kernel[::-1, ::-1, ::-1] if kernel.ndim == 5 else kernel, bias)
            for name, (kernel, bias) in channels_last(layers).items()
        },
        KERAS2,
        backend=b"theano",
    ),
    "keras2_model.h5": lambda path, layers: write_named(
        path, channels_last(layers), KERAS2, sequential(data_format="channels_last")
    ),
    "keras2_channels_first.h5": lambda path, layers: write_named(
        path, channels_first(layers), KERAS2, sequential(data_format="channels_first")
    ),
    "keras3.weights.h5": lambda path, layers: keras3_model(layers).save_weights(path),
    "keras3.h5": lambda path, layers: keras3_model(layers).save(path),
    "keras3.keras": lambda path, layers: keras3_model(layers, functional=True).save(path),
}


def convert(path, **options) -> tuple[dict, keras.Model]:
    folder = path.with_name("converted")
    card = convert_weights(path, output_dir=folder, **options)
    return card, load_stage(folder)[0]


@pytest.fixture(scope="module")
def outputs(layers, frames):
    return {side: forward(layers, frames, MEAN, side) for side in ("far", "both")}


@pytest.mark.parametrize("name", WRITERS)
def test_every_layer_gives_the_outputs_of_the_source(name, layers, frames, outputs, tmp_path):
    WRITERS[name](tmp_path / name, layers)
    card, model = convert(tmp_path / name)
    assert (card["format"], card["width"], card["hidden"]) == ("Keras", 4 / 64, 24)
    assert_every_output_agrees(model, outputs["far"], frames)
    says = name in ("keras2_model.h5", "keras2_channels_first.h5", "keras3.h5", "keras3.keras")
    assert (card["pool5"], card["pool5_of_input"]) == ("far", "both" if says else "unknown")


def test_a_network_that_pads_both_sides_of_pool5_keeps_its_outputs(
    layers, frames, outputs, tmp_path, caplog
):
    source = keras3_model(layers, functional=True)
    source.save(tmp_path / "model.keras")
    with caplog.at_level("INFO", logger="absl"):
        card, model = convert(tmp_path / "model.keras", pool5="both")
    assert "its network pads both sides of pool5, the converted one both sides" in caplog.text
    assert card["pool5"] == "both"
    assert_every_output_agrees(model, outputs["both"], frames)
    assert np.abs(outputs["both"]["fc7"] - outputs["far"]["fc7"]).max() > 0.1

    normalized = frames[None, ..., ::-1] - MEAN[:, 0, 0, 0]
    fc7 = keras.Model(source.input, source.layers[-2].output)(normalized)[0].numpy()
    got = model({"frames": frames[None]}, training=False)[0, 0].numpy()
    np.testing.assert_allclose(got, fc7, rtol=0, atol=1e-4 * np.abs(fc7).max())


def test_layers_without_names_are_known_by_their_order(layers, frames, outputs, tmp_path):
    path = tmp_path / "first_keras3.weights.h5"
    keras3_model(layers).save_weights(path)
    without_names(path)
    _, model = convert(path)
    assert_every_output_agrees(model, outputs["far"], frames)


def test_a_backbone_of_scnn_tf_that_keras_saved(frames, tmp_path):
    arguments = {"width": 1 / 16, "hidden": 8, "frame_shape": (40, 40)}
    backbone = C3D(**arguments, normalization="local_motion", window_input=True, initializer="he")
    backbone.save(tmp_path / "c3d.keras")
    card, model = convert(tmp_path / "c3d.keras", licence="CC0-1.0")
    assert (card["network"], card["width"], card["licence"]) == ("c3d", 1 / 16, "CC0-1.0")
    inputs = {"frames": frames[None, :, :40, :40], "window_frames": np.array([64])}
    expected, got = backbone(inputs, training=False), model(inputs, training=False)
    np.testing.assert_array_equal(got, expected)


def test_a_video_resnet_that_keras_saved(tmp_path):
    backbone = VideoResNet("mc3_18", width=1 / 16, frame_shape=(32, 32), normalization="kinetics")
    backbone.save(tmp_path / "mc3.keras")
    card, model = convert(tmp_path / "mc3.keras")
    assert (card["network"], card["width"]) == ("mc3_18", 1 / 16)
    for found, expected in zip(model.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def fails(path, message):
    with pytest.raises(InputError) as error:
        convert_weights(path, output_dir=path.with_name("converted"))
    text = str(error.value)
    assert text.startswith(f"{path}: ") and message in text, text
    assert "\n" not in text
    assert not path.with_name("converted").exists()


def test_damaged_files_are_refused(layers, tmp_path):
    path = tmp_path / "model"
    for write in (write_numbered, WRITERS["keras3.h5"]):
        write(tmp_path / "model.h5", layers)
        path.write_bytes((tmp_path / "model.h5").read_bytes()[:-5000])
        fails(path, "expected weights of Keras; the file is damaged, or cut short (")
    keras3_model(layers).save(tmp_path / "model.keras")
    whole = (tmp_path / "model.keras").read_bytes()
    path.write_bytes(whole[:-5000])
    fails(path, "expected a zip archive of PyTorch or Keras; it is damaged, or cut short")
    path.write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    fails(path, "expected weights of Keras; the file is damaged, or cut short (")


def test_files_of_other_networks_are_refused(layers, tmp_path):
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file["video"] = np.zeros(3)
    fails(path, "expected an HDF5 file with weights of Keras. Found: none")
    write_named(path, {"block1_conv1": channels_last(layers)["conv1"]}, KERAS2)
    fails(path, "expected a C3D or a video ResNet. Found: block1_conv1")

    def changed(message, **changes):
        write_named(path, channels_last(layers) | changes, KERAS2)
        fails(path, message)

    kernel, bias = channels_last(layers)["fc6"]
    changed("expected the weight of fc6 of shape (512, 24). Found: (288, 24)",
            fc6=(kernel[:288], bias))  # fmt: skip
    kernel, bias = channels_last(layers)["conv4a"]
    changed("expected the weight of conv4a of shape (3, 3, 3, 16, 32). "
            "Found: (3, 3, 3, 15, 32)", conv4a=(kernel[:, :, :, 1:], bias))  # fmt: skip
    changed("expected conv1.kernel to hold finite numbers",
            conv1=(np.full([3, 3, 3, 3, 4], np.nan), np.zeros(4)))  # fmt: skip
    changed("the weight of conv1a is ambiguous. Found: conv1.kernel, conv1a.kernel",
            conv1a=channels_last(layers)["conv1"])  # fmt: skip


def test_a_description_must_fit_its_weights(tmp_path):
    path = tmp_path / "c3d.keras"

    def rewritten(**changes):
        C3D(width=1 / 32, hidden=8, frame_shape=(24, 24)).save(path)
        shutil.move(path, tmp_path / "whole")
        with zipfile.ZipFile(tmp_path / "whole") as old, zipfile.ZipFile(path, "w") as new:
            config = json.loads(old.read("config.json"))
            config["config"] |= changes
            new.writestr("config.json", json.dumps(config))
            new.writestr("model.weights.h5", old.read("model.weights.h5"))

    rewritten(hidden=16)
    fails(path, "its weights do not fit its network (")
    rewritten(hidden="8")
    fails(path, "no recipe can have this c3d (recipe 'converted': hidden cannot be '8')")
    rewritten(frame_shape=[24, 32])
    fails(path, "its frames are not square, but 24 × 32")
