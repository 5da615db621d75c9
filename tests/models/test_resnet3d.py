import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models import ResNet3D18, network
from scnn_tf.models.recipes import RECIPES
from scnn_tf.models.stages import context_windows
from tests.models.small import frames, output_shape, predict

# 20 × 28 pixels: halved to 10 × 14, 5 × 7, 3 × 4, 2 × 2. The narrowest convolution has 4 filters.
SMALL_RESNET = {"width": 1 / 16, "frame_shape": (20, 28)}


@pytest.fixture(scope="module")
def res3d():
    """The authors' classification network for THUMOS'14; built, never run."""
    keras.utils.set_random_seed(0)
    return network("classification", 20, ResNet3D18())


def small_resnet(seed: int = 0, **changes) -> ResNet3D18:
    """A small one whose batch normalisation does something."""
    keras.utils.set_random_seed(seed)
    backbone = ResNet3D18(**SMALL_RESNET | changes)
    random = np.random.default_rng(seed)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            gamma, variance = random.uniform(0.5, 2, [2, *shape])
            beta, mean = random.normal(0, 0.5, [2, *shape])
            layer.set_weights([gamma, beta, mean, variance])
    return backbone


def test_number_of_parameters(res3d):
    # Convolutions: 3·7·7·3·64 = 28,224. A group from i to o filters: 1·i·o of the shortcut,
    # 27·i·o, and 3 · 27·o²: 446,464 + 1,556,480 + 6,225,920 + 24,903,680.
    # Batch normalisation: 64, and five times 64, 128, 256, 512: 4,864 scales, offsets, means and
    # variances. fc8: 1024·21 + 21.
    groups = [28 * i * o + 81 * o * o for i, o in ((64, 64), (64, 128), (128, 256), (256, 512))]
    trained = 28_224 + sum(groups) + 2 * 4_864 + 21_525
    assert trained == 33_192_021
    assert res3d.count_params() == 33_192_021 + 9_728
    assert sum(np.prod(w.shape) for w in res3d.trainable_weights) == trained


@pytest.mark.parametrize(
    ("layer", "time", "shape"),
    [
        # A layer's steps in time for one window of 16 frames, and for 9 windows of 16 + 4 · 8.
        ("frames", (16, 48), (112, 112, 3)),
        ("conv1_relu", (16, 48), (56, 56, 64)),
        ("res2b_relu", (16, 48), (56, 56, 64)),
        ("res3a_relu", (8, 24), (28, 28, 128)),
        ("res4a_relu", (4, 12), (14, 14, 256)),
        ("res5b_relu", (4, 12), (7, 7, 512)),
        ("pool5", (4, 12), (1, 1, 512)),
        ("flatten", (4, 12), (512,)),
        ("ends", (1, 9), (1024,)),
        ("fc8", (1, 9), (21,)),
    ],
)
def test_output_shapes(res3d, layer, time, shape):
    for num_frames, steps in zip((16, 48), time, strict=True):
        assert output_shape(res3d, layer, num_frames) == (None, steps, *shape)


def test_initial_weights(res3d):
    for name in ("conv1", "res2a_branch1", "res3a_branch2a", "res5b_branch2b"):
        kernel = res3d.get_layer(name).kernel
        *window, _, filters = kernel.shape
        expected = (2 / (np.prod(window) * filters)) ** 0.5
        assert kernel.numpy().std() == pytest.approx(expected, rel=0.05)
    assert res3d.get_layer("fc8").kernel.numpy().std() == pytest.approx(0.01, rel=0.05)


def convolved(
    x: np.ndarray, layer: keras.layers.Conv3D, strides: tuple[int, int, int]
) -> np.ndarray:
    """Convolution with Caffe's padding, in NumPy: half the kernel on either side."""
    kernel = layer.kernel.numpy().astype(np.float64)
    x = np.pad(x, [(0, 0), *((size // 2, size // 2) for size in kernel.shape[:3]), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:3], axis=(1, 2, 3))
    t, h, w = strides
    return np.einsum("nthwcijk,ijkco->nthwo", windows[:, ::t, ::h, ::w], kernel, optimize=True)


def test_outputs_equal_those_of_numpy():
    """Against the definition: y = γ (x − mean) / √(variance + 1e-5) + β, and residual blocks.

    It is the authors' network, whose fifth group halves time, too.
    """
    backbone = small_resnet()

    def layer(x, name, bn, stride=1):
        gamma, beta, mean, variance = backbone.get_layer(bn).get_weights()
        strides = (1, 2, 2) if name == "conv1" else (stride,) * 3
        x = convolved(x, backbone.get_layer(name), strides)
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    x = frames()[..., ::-1] - 128.0
    x = np.maximum(layer(x, "conv1", "bn_conv1"), 0)
    for block in ("2a", "2b", "3a", "3b", "4a", "4b", "5a", "5b"):
        first = block[1] == "a"
        stride = 2 if block in ("3a", "4a", "5a") else 1
        shortcut = layer(x, f"res{block}_branch1", f"bn{block}_branch1", stride) if first else x
        x = np.maximum(layer(x, f"res{block}_branch2a", f"bn{block}_branch2a", stride), 0)
        x = np.maximum(layer(x, f"res{block}_branch2b", f"bn{block}_branch2b") + shortcut, 0)
    expected = x.mean(axis=(2, 3)).reshape(2, -1)  # the two moments side by side

    got = predict(backbone, {"frames": frames()})[:, 0]
    assert expected.shape == (2, 64) and expected.max() > 1
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_a_window_is_the_same_in_any_stretch_with_enough_context():
    backbone = small_resnet(normalization="local_motion", frame_shape=(12, 12))
    recipe = dataclasses.replace(
        RECIPES["small"], backbone="resnet3d18", normalization="local_motion", boundary_reach=0
    )
    context = context_windows(recipe)
    # A window sees 54 frames, and the mean of a frame 3 more: ⌈57 / 4⌉.
    assert context == 15
    stretch = frames(1, (12, 12), windows=2 * context + 6)
    whole = predict(backbone, {"frames": stretch})[0]
    first = 3  # A stretch of 2 · context + 2 windows from window 3 on.
    other = stretch[:, 4 * first : 4 * (first + 2 * context + 2) + 12]
    part = predict(backbone, {"frames": other})[0]
    assert (len(whole), len(part)) == (36, 32)
    error = np.abs(part - whole[first : first + len(part)]).max(axis=1)
    assert error[context:-context].max() < 1e-5 * whole.max()
    assert min(error[0], error[-1]) > 1e-3 * whole.max()


def test_a_window_of_a_stretch_has_its_first_and_third_step():
    """Of the steps 0 … 11, window k has k … k + 3."""
    backbone = small_resnet()
    stretch = frames(1, windows=9)
    until = keras.Model(backbone.input, backbone.get_layer("flatten").output)
    steps = predict(until, {"frames": stretch})[0]
    windows = predict(backbone, {"frames": stretch})[0]
    assert steps.shape == (12, 32) and windows.shape == (9, 64)
    for k in range(9):
        np.testing.assert_array_equal(windows[k], [*steps[k], *steps[k + 2]])


def test_moving_statistics_change_in_training_only():
    backbone = small_resnet()
    norm = backbone.get_layer("bn_conv1")
    before = norm.moving_mean.numpy()
    predict(backbone, {"frames": frames()})
    np.testing.assert_array_equal(norm.moving_mean, before)
    backbone({"frames": frames()}, training=True)
    batch = convolved(frames()[..., ::-1] - 128.0, backbone.get_layer("conv1"), (1, 2, 2))
    expected = 0.95 * before + 0.05 * batch.mean(axis=(0, 1, 2, 3))
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-3, atol=1e-4)


def test_gradients_in_bfloat16_are_close_to_float32():
    """The same gradients as in float32, as far as eight bits go through 18 layers.

    Means and variances are fixed: of a small batch of noise, they would amplify the rounding.
    """

    def gradients(precision):
        backbone = small_resnet(precision=precision)
        for layer in backbone.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        with tf.GradientTape() as tape:
            features = tf.cast(backbone({"frames": frames(8)}, training=True), tf.float32)
            loss = tf.reduce_mean(tf.square(features - 1.0))
        found = tape.gradient(loss, [w.value for w in backbone.trainable_weights])
        return np.concatenate([g.numpy().ravel() for g in found])

    expected, rounded = gradients("float32"), gradients("mixed_bfloat16")
    assert np.linalg.norm(rounded - expected) < 0.3 * np.linalg.norm(expected)


@pytest.mark.parametrize("changes", [{}, {"window_input": True, "normalization": "motion"}])
def test_a_saved_network_gives_the_same_outputs(tmp_path, changes):
    backbone = small_resnet(**changes, name="other")
    copy = ResNet3D18.from_config(backbone.get_config())
    assert copy.get_config() == backbone.get_config() == {
        "width": 1 / 16, "frame_shape": (20, 28), "normalization": "mean128",
        "window_input": False, "precision": "float32", "name": "other", **changes,
    }  # fmt: skip
    backbone.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert type(copy) is ResNet3D18
    inputs = {"frames": frames(), "window_frames": np.array([16, 100])}
    inputs = {key: inputs[key] for key in backbone.input}
    np.testing.assert_array_equal(predict(copy, inputs), predict(backbone, inputs))


def test_the_window_length_is_appended_to_the_features():
    backbone = small_resnet(window_input=True)
    same = np.repeat(frames(1), 2, axis=0)
    features = predict(backbone, {"frames": same, "window_frames": np.array([16, 512])})
    np.testing.assert_allclose(features[0, 0, :64], features[1, 0, :64], rtol=1e-4)
    assert features[:, 0, 64:].tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
