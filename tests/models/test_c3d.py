import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models import C3D, network
from scnn_tf.models.recipes import RECIPES
from scnn_tf.models.stages import context_windows
from tests.models.small import SMALL, frames, output_shape, predict, with_gradients

CONVOLUTIONS = (
    *("conv1a", "conv2a", "conv3a", "conv3b"),
    *("conv4a", "conv4b", "conv5a", "conv5b"),
)
POOLS = {"conv1a": 1, "conv2a": 2, "conv3b": 2, "conv4b": 2, "conv5b": 2}  # factors in time


@pytest.fixture(scope="module")
def paper_network():
    """The classification network of the paper for THUMOS'14; built, never run."""
    keras.utils.set_random_seed(0)
    return network("classification", 20, C3D())


def test_number_of_parameters_in_the_paper(paper_network):
    # Convolutions 27·in·out + out: 5,248 + 221,312 + 884,992 + 1,769,728 + 3,539,456
    # + 3 · 7,078,400 = 27,655,936; fc6 8192·4096 + 4096, fc7 4096·4096 + 4096, fc8
    # 4096·21 + 21.
    assert 27_655_936 + 33_558_528 + 16_781_312 + 86_037 == 78_081_813
    assert sum(int(np.prod(w.shape)) for w in paper_network.trainable_weights) == 78_081_813
    # What does not learn is the mean of the frames.
    assert [w.shape for w in paper_network.non_trainable_weights] == [(16, 112, 112, 3)]


@pytest.mark.parametrize(
    ("layer", "time", "shape"),
    [
        # A layer's steps in time for one window of 16 frames, and for 9 windows of 16 + 4 · 8.
        ("frames", (16, 48), (112, 112, 3)),
        ("conv1a", (16, 48), (112, 112, 64)),
        ("pool1", (16, 48), (56, 56, 64)),
        ("pool2", (8, 24), (28, 28, 128)),
        ("pool3", (4, 12), (14, 14, 256)),
        # The paper's are 2 and 1: pools with a stride of 1 give every window its own steps.
        ("pool4", (3, 11), (7, 7, 512)),
        ("conv5b", (3, 11), (7, 7, 512)),
        ("pool5", (1, 9), (4, 4, 512)),
        ("flatten", (1, 9), (8192,)),
        ("fc6", (1, 9), (4096,)),
        ("fc7", (1, 9), (4096,)),
        ("fc8", (1, 9), (21,)),
    ],
)
def test_output_shapes(paper_network, layer, time, shape):
    for num_frames, steps in zip((16, 48), time, strict=True):
        assert output_shape(paper_network, layer, num_frames) == (None, steps, *shape)


def test_initial_weights_of_the_paper(paper_network):
    for name in (*CONVOLUTIONS, "fc6", "fc7", "fc8"):
        layer = paper_network.get_layer(name)
        kernel = layer.kernel.numpy().reshape(-1)[:1_000_000]
        expected = 0.005 if name in ("fc6", "fc7") else 0.01
        # Of n values the standard deviation is known to 1/√(2n): 1 % for conv1a's 5184.
        assert kernel.std() == pytest.approx(expected, rel=0.04)
        assert abs(kernel.mean()) < 4 * expected / np.sqrt(kernel.size)
        assert set(layer.bias.numpy()) == {0.0 if name in ("conv1a", "fc8") else 1.0}


def test_initial_weights_for_training_from_scratch():
    model = C3D(**SMALL | {"width": 0.5, "hidden": 512})
    for name in (*CONVOLUTIONS, "fc6", "fc7"):
        kernel, bias = model.get_layer(name).get_weights()
        assert kernel.std() == pytest.approx((2 / np.prod(kernel.shape[:-1])) ** 0.5, rel=0.1)
        assert not bias.any()


def test_pooling_counts_an_odd_border():
    """Caffe's ceil mode, 7 → 4, by hand."""
    pool = C3D(**SMALL).get_layer("pool2")
    x = np.random.default_rng(0).normal(size=[2, 2, 7, 7, 3]).astype(np.float32)
    padded = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)], constant_values=-np.inf)
    expected = padded.reshape(2, 1, 2, 4, 2, 4, 2, 3).max(axis=(2, 4, 6))
    np.testing.assert_array_equal(pool(x), expected)
    # The first pool leaves time alone.
    pool = C3D(**SMALL).get_layer("pool1")
    expected = padded.reshape(2, 2, 4, 2, 4, 2, 3).max(axis=(3, 5))
    np.testing.assert_array_equal(pool(x), expected)


def textbook_c3d(backbone: C3D) -> keras.Model:
    """The same network, with the same weights, out of Keras' own 3D layers."""
    inputs = keras.Input([16, *backbone.frame_shape, 3], dtype="uint8")
    mean = np.array([90.25, 97.66, 101.41], np.float32)
    x = keras.ops.cast(inputs, "float32")[..., ::-1] - mean
    for name in CONVOLUTIONS:
        filters = backbone.get_layer(name).filters
        x = keras.layers.Conv3D(filters, 3, padding="same", activation="relu", name=name)(x)
        if time := POOLS.get(name):
            x = keras.layers.MaxPooling3D((time, 2, 2), padding="same")(x)
    x = keras.layers.Flatten()(x)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(backbone.hidden, activation="relu", name=name)(x)
    model = keras.Model(inputs, x)
    for name in (*CONVOLUTIONS, "fc6", "fc7"):
        model.get_layer(name).set_weights(backbone.get_layer(name).get_weights())
    return model


def test_outputs_and_gradients_equal_those_of_keras_layers():
    keras.utils.set_random_seed(1)
    backbone = C3D(**SMALL)
    ours = with_gradients(backbone, {"frames": frames()})
    theirs = with_gradients(textbook_c3d(backbone), frames())
    assert ours[0].shape == (2, 1, 24)
    ours[0] = ours[0][:, 0]
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5 * theirs[0].max())
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


def changed_outputs(model: keras.Model, stretch: np.ndarray, window: int) -> list[int]:
    """Returns the frames, from the window's first one, of which any changes the window's output."""
    before = predict(model, {"frames": stretch})[0, window]
    changing = []
    for frame in range(stretch.shape[1]):
        other = stretch.copy()
        other[:, frame] = 255 - other[:, frame]
        if np.abs(predict(model, {"frames": other})[0, window] - before).max() > 0:
            changing.append(frame - 4 * window)
    return changing


def test_a_window_sees_thirty_frames_on_either_side():
    # Convolutions of one step on either side, of 1, 1, 2, 2, 4, 4, 8 and 8 frames: 30.
    keras.utils.set_random_seed(0)
    model = C3D(**SMALL | {"frame_shape": (4, 4)}, normalization="mean128")
    stretch = frames(1, (4, 4), windows=20)
    assert changed_outputs(model, stretch, 9) == list(range(-30, 16 + 30))


@pytest.mark.parametrize("normalization", ["mean", "local_motion"])
def test_a_window_is_the_same_in_any_stretch_with_enough_context(normalization):
    keras.utils.set_random_seed(0)
    model = C3D(**SMALL, normalization=normalization)
    recipe = dataclasses.replace(RECIPES["small"], normalization=normalization, boundary_reach=0)
    context = context_windows(recipe)
    assert context == {"mean": 8, "local_motion": 9}[normalization]  # ⌈30 / 4⌉, ⌈33 / 4⌉
    stretch = frames(1, windows=2 * context + 9)
    whole = predict(model, {"frames": stretch})[0]
    first = 5  # A stretch of 2 · context + 2 windows from window 5 on.
    other = stretch[:, 4 * first : 4 * (first + 2 * context + 2) + 12]
    part = predict(model, {"frames": other})[0]
    assert (len(whole), len(part)) == (2 * context + 9, 2 * context + 2)
    error = np.abs(part - whole[first : first + len(part)]).max(axis=1)
    assert error[context:-context].max() < 1e-5 * whole.max()
    # At the ends, where zeros are in the place of frames, the windows are other ones.
    assert min(error[0], error[-1]) > 1e-3 * whole.max()


def test_outputs_in_bfloat16_are_close_to_float32():
    exact = C3D(**SMALL, normalization="motion")
    rounded = C3D(**SMALL, normalization="motion", precision="mixed_bfloat16")
    rounded.set_weights(exact.get_weights())
    expected = predict(exact, {"frames": frames()})
    got = rounded({"frames": frames()})
    assert got.dtype == "bfloat16"
    # Ten layers, each rounded to 1/256.
    np.testing.assert_allclose(tf.cast(got, tf.float32), expected, atol=0.05 * expected.max())


def test_dropout_acts_in_training_only():
    model = C3D(**SMALL, dropout=0.5)
    inputs = {"frames": frames()}
    np.testing.assert_array_equal(predict(model, inputs), predict(model, inputs))
    dropped = (model(inputs, training=True).numpy() == 0).mean(axis=-1)
    assert (dropped > (predict(model, inputs) == 0).mean(axis=-1)).all()


def test_the_window_length_changes_the_outputs():
    keras.utils.set_random_seed(0)
    backbone = C3D(**SMALL, window_input=True, normalization="motion")
    # Six numbers more into fc6.
    without = C3D(**SMALL, normalization="motion")
    assert backbone.count_params() == without.count_params() + 6 * 24
    model = network("proposal", 5, backbone)
    same = np.repeat(frames(1), 3, axis=0)
    logits = predict(model, {"frames": same, "window_frames": np.array([16, 512, 16])})
    np.testing.assert_allclose(logits[0], logits[2], rtol=1e-4)
    assert not np.allclose(logits[0], logits[1], rtol=1e-2)


def test_motion_normalization_ignores_a_static_background():
    moving = frames() // 4
    model = C3D(**SMALL, normalization="motion")
    background = (frames(1, seed=1)[:, :1] // 2).astype(np.uint8)
    np.testing.assert_allclose(
        predict(model, {"frames": moving + background}),
        predict(model, {"frames": moving}),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"window_input": True, "normalization": "motion", "dropout": 0.2, "name": "other"},
        {"window_input": True, "precision": "mixed_bfloat16"},
        {"initializer": "caffe", "width": 0.05},
        {"pool5": "both"},
    ],
)
def test_from_config_rebuilds_the_network(changes):
    backbone = C3D(**SMALL | changes)
    copy = C3D.from_config(backbone.get_config())
    assert copy.get_config() == backbone.get_config()
    assert copy.name == changes.get("name", "c3d")
    for key, value in (SMALL | changes).items():
        assert getattr(copy, key) == value
    copy.set_weights(backbone.get_weights())
    inputs = {"frames": frames(), "window_frames": np.array([16, 100])}
    inputs = {key: inputs[key] for key in backbone.input}
    np.testing.assert_array_equal(predict(copy, inputs), predict(backbone, inputs))


@pytest.mark.parametrize("window_input", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_saved_network_gives_the_same_outputs(tmp_path, whole, window_input):
    model = C3D(**SMALL, window_input=window_input, normalization="motion")
    if whole:
        model = network("localization", 5, model)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    inputs = {"frames": frames()}
    if window_input:
        inputs["window_frames"] = np.array([16, 100])
    np.testing.assert_array_equal(predict(copy, inputs), predict(model, inputs))
    if not whole:
        assert type(copy) is C3D


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initializer": "lecun"}, """initializer must be .*"caffe".* 'lecun'"""),
        ({"pool5": "near"}, """pool5 must be "far" or "both". Received: 'near'"""),
        ({"normalization": "std"}, """must be one of mean, .*motion.* Received: 'std'"""),
    ],
)
def test_unknown_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        C3D(**arguments)
