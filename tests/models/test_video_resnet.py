import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view

from scnn_tf.models import BACKBONES, VideoResNet, network
from scnn_tf.models.recipes import RECIPES
from scnn_tf.models.stages import context_windows
from tests.models.small import frames, output_shape, predict

SHALLOW = ("r3d_18", "mc3_18", "r2plus1d_18")
KINDS = (*SHALLOW, "r2plus1d_34")
BLOCKS = {"r2plus1d_34": (3, 4, 6, 3)}
MEAN, DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
# 20 × 28 pixels: halved to 10 × 14, 5 × 7, 3 × 4, 2 × 2. The narrowest convolution has 3 filters.
SMALL = {"width": 1 / 16, "frame_shape": (20, 28)}


def small(kind: str, seed: int = 0, **changes) -> VideoResNet:
    """A small one whose batch normalization does something."""
    keras.utils.set_random_seed(seed)
    backbone = VideoResNet(kind, **SMALL | changes)
    random = np.random.default_rng(seed)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, variance = random.uniform(0.5, 2, [2, *layer.gamma.shape])
            beta, mean = random.normal(0, 0.5, [2, *layer.gamma.shape])
            layer.set_weights([gamma, beta, mean, variance])
    return backbone


def blocks(kind: str) -> list[tuple[str, bool]]:
    """The name of each block, and whether it is the first of layer2, layer3 or layer4."""
    return [
        (f"layer{number}.{index}", number > 1 and index == 0)
        for number, count in enumerate(BLOCKS.get(kind, (2, 2, 2, 2)), start=1)
        for index in range(count)
    ]


def stages(kind: str) -> dict[str, str]:
    """Name of a stage → name of its last Keras layer."""
    last = {name[:6]: f"{name}.relu" for name, _ in blocks(kind)}
    return {"stem": "stem.5" if "plus" in kind else "stem.2", **last}


def outputs_of(backbone: VideoResNet, layers: dict[str, str], inputs: dict) -> dict:
    """The outputs of some layers, by the names of the stages."""
    outputs = {stage: backbone.get_layer(name).output for stage, name in layers.items()}
    found = keras.Model(backbone.input, outputs)(inputs, training=False)
    return {stage: output.numpy() for stage, output in found.items()}


class Textbook:
    """A network of one window, by the definitions of the paper and of its layers, in NumPy."""

    def __init__(self, backbone: VideoResNet):
        self.kind = backbone.kind
        self.weights = {
            layer.name: [each.astype(np.float64) for each in layer.get_weights()]
            for layer in backbone.layers
        }
        self.epsilon = 1e-3 if self.kind == "r2plus1d_34" else 1e-5

    def convolution(self, x, name, strides):
        """With half the kernel as the border on both sides."""
        (kernel,) = self.weights[name]
        x = np.pad(x, [(0, 0), *((size // 2, size // 2) for size in kernel.shape[:3]), (0, 0)])
        windows = sliding_window_view(x, kernel.shape[:3], axis=(1, 2, 3))
        t, h, w = strides
        return np.einsum("nthwcijk,ijkco->nthwo", windows[:, ::t, ::h, ::w], kernel, optimize=True)

    def normalized(self, x, name):
        gamma, beta, mean, variance = self.weights[name]
        return gamma * (x - mean) / np.sqrt(variance + self.epsilon) + beta

    def unit(self, x, name, stride, time_stride):
        """A convolution of three kinds, and batch normalization."""
        if "plus" in self.kind:
            x = self.convolution(x, f"{name}.0.0", (1, stride, stride))
            x = np.maximum(self.normalized(x, f"{name}.0.1"), 0)
            x = self.convolution(x, f"{name}.0.3", (time_stride, 1, 1))
        else:
            x = self.convolution(x, f"{name}.0", (time_stride, stride, stride))
        return self.normalized(x, f"{name}.1")

    def stages(self, x) -> dict[str, np.ndarray]:
        """The outputs of the stem, the layers, and the mean over all steps and pixels."""
        x = self.convolution(x, "stem.0", (1, 2, 2))
        x = np.maximum(self.normalized(x, "stem.1"), 0)
        if "plus" in self.kind:
            x = self.convolution(x, "stem.3", (1, 1, 1))
            x = np.maximum(self.normalized(x, "stem.4"), 0)
        found = {"stem": x}
        for name, halves in blocks(self.kind):
            stride = 2 if halves else 1
            time_stride = 1 if self.kind == "mc3_18" else stride
            shortcut = x
            if halves:
                strides = (time_stride, stride, stride)
                shortcut = self.convolution(x, f"{name}.downsample.0", strides)
                shortcut = self.normalized(shortcut, f"{name}.downsample.1")
            x = np.maximum(self.unit(x, f"{name}.conv1", stride, time_stride), 0)
            x = np.maximum(self.unit(x, f"{name}.conv2", 1, 1) + shortcut, 0)
            found[name[:6]] = x
        return {**found, "avgpool": x.mean(axis=(1, 2, 3))[:, None]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_equals_that_of_numpy(kind):
    backbone = small(kind)
    expected = Textbook(backbone).stages((frames() / 255 - MEAN) / DEVIATION)
    inputs = {"frames": frames()}
    found = outputs_of(backbone, {**stages(kind), "avgpool": "windows"}, inputs)
    if kind != "mc3_18":  # layer4 has the steps that torchvision's skips, too
        assert found["layer4"].shape[1] == 4
        found["layer4"] = found["layer4"][:, ::2]
    assert found.keys() == expected.keys() and expected["avgpool"].shape == (2, 1, 32)
    for stage, output in expected.items():
        tolerance = 1e-5 * output.max()
        np.testing.assert_allclose(found[stage], output, rtol=1e-4, atol=tolerance, err_msg=stage)
    np.testing.assert_array_equal(found["avgpool"], predict(backbone, inputs))


@pytest.mark.parametrize(
    ("kind", "trained", "statistics"),
    [
        # torchvision gives the same numbers with its weights, for 400 classes.
        ("r3d_18", 33_371_472, 9_600),
        ("mc3_18", 11_695_440, 9_600),
        ("r2plus1d_18", 31_505_325, 25_350),
    ],
)
def test_number_of_parameters(kind, trained, statistics):
    model = network("classification", 399, BACKBONES[kind]())
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == trained
    assert model.count_params() == trained + statistics


@pytest.mark.parametrize(
    ("kind", "width", "name", "planes"),
    [
        # ⌊27 · 64 · 64 / (9 · 64 + 3 · 64)⌋ = 144; 27 · 64 · 128 / (9 · 64 + 3 · 128) = 230.4.
        ("r2plus1d_18", 1, "layer1.0.conv1.0.0", 144),
        ("r2plus1d_18", 1, "layer2.0.conv1.0.0", 230),
        ("r2plus1d_18", 1, "layer2.0.conv2.0.0", 230),
        ("r2plus1d_18", 1, "layer2.1.conv1.0.0", 288),
        # IG-65M's network has planes of their own there: 27 · 128 · 128 / (12 · 128) = 288.
        ("r2plus1d_34", 1, "layer2.0.conv1.0.0", 230),
        ("r2plus1d_34", 1, "layer2.0.conv2.0.0", 288),
        ("r2plus1d_34", 1, "layer3.0.conv2.0.0", 576),
        ("r2plus1d_34", 1, "layer4.0.conv2.0.0", 1152),
        # A quarter of the planes on either side: 27 · 16 · 32 / (9 · 16 + 3 · 32) = 57.6.
        ("r2plus1d_18", 0.25, "layer2.0.conv1.0.0", 57),
        ("r2plus1d_18", 0.25, "stem.0", 11),
    ],
)
def test_planes_between_space_and_time(kind, width, name, planes):
    assert cached(kind, width).get_layer(name).kernel.shape[-1] == planes


@functools.cache
def cached(kind: str, width: float) -> VideoResNet:
    return VideoResNet(kind, width=width)


@pytest.mark.parametrize("kind", KINDS)
def test_output_shapes(kind):
    """For one window of 16 frames, and for 9 windows of 16 + 4 · 8 frames."""
    halvings = {"stem": 0, "layer1": 0, "layer2": 1, "layer3": 2, "layer4": 2}
    shapes = {"stem": (56, 56, 16), "layer1": (56, 56, 16), "layer2": (28, 28, 32),
              "layer3": (14, 14, 64), "layer4": (7, 7, 128)}  # fmt: skip
    backbone = cached(kind, 0.25)
    for stage, layer in stages(kind).items():
        for time in (16, 48):
            steps = time if kind == "mc3_18" else time // 2 ** halvings[stage]
            assert output_shape(backbone, layer, time) == (None, steps, *shapes[stage])
    assert output_shape(backbone, "windows", 16) == (None, 1, 128)
    assert output_shape(backbone, "windows", 48) == (None, 9, 128)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_of_a_stretch_is_the_mean_of_its_steps(kind):
    """A window of mc3_18 has sixteen steps; of other kinds, the first and third of its four."""
    backbone = small(kind)
    found = outputs_of(
        backbone, {"steps": "flatten", "windows": "windows"}, {"frames": frames(1, windows=5)}
    )
    steps, windows = found["steps"][0], found["windows"][0]
    assert len(windows) == 5
    for k, window in enumerate(windows):
        own = steps[4 * k : 4 * k + 16] if kind == "mc3_18" else steps[[k, k + 2]]
        np.testing.assert_allclose(window, own.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "reach"), [("r3d_18", 54), ("mc3_18", 5), ("r2plus1d_18", 54), ("r2plus1d_34", 112)]
)
def test_reach_of_a_window(kind, reach):
    """With weights that are all positive, a bright frame among zeros reaches what depends on it."""
    backbone = VideoResNet(kind, width=1 / 64, frame_shape=(4, 4), normalization="mean128")
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv3D):
            time, _, _, channels, _ = layer.kernel.shape
            layer.set_weights([np.full(layer.kernel.shape, 1 / (time * channels))])
    context = -(-reach // 4)
    count = 2 * context + 8
    # Stretch i is bright in frame i after the middle.
    middle = 2 * (count + 3)
    stretches = np.full([4, 4 * (count + 3), 4, 4, 3], 128, np.uint8)
    stretches[range(4), range(middle, middle + 4)] = 255
    before, after = [], []
    for i, features in enumerate(predict(backbone, {"frames": stretches})):
        (depending,) = features.any(axis=-1).nonzero()
        assert 0 < depending[0] and depending[-1] < count - 1
        before.append(4 * depending[-1] - (middle + i))
        after.append(middle + i - (4 * depending[0] + 15))
    assert max(*before, *after) == reach
    recipe = dataclasses.replace(
        RECIPES["small"], backbone=kind, normalization="kinetics", boundary_reach=0
    )
    assert context_windows(recipe) == context


@pytest.mark.parametrize("kind", SHALLOW)
def test_a_window_is_the_same_in_any_stretch_with_enough_context(kind):
    backbone = small(kind, frame_shape=(8, 8), normalization="local_motion")
    context = context_windows(
        dataclasses.replace(RECIPES["small"], backbone=kind, boundary_reach=0)
    )
    stretch = frames(1, (8, 8), windows=2 * context + 6)
    whole = predict(backbone, {"frames": stretch})[0]
    first = 3  # A stretch of 2 · context + 2 windows from window 3 on.
    other = stretch[:, 4 * first : 4 * (first + 2 * context + 2) + 12]
    part = predict(backbone, {"frames": other})[0]
    error = np.abs(part - whole[first : first + len(part)]).max(axis=1)
    assert error[context:-context].max() < 1e-5 * whole.max()
    assert min(error[0], error[-1]) > 1e-3 * whole.max()


@pytest.mark.parametrize("kind", SHALLOW)
def test_gradients_in_bfloat16_are_close_to_float32(kind):
    """With moving statistics: those of a batch make gradients of so deep a network chaotic.

    Of r2plus1d_34, even gradients in float32 become others when only its weights are rounded.
    """

    def gradients(precision):
        backbone = small(kind, precision=precision)
        with tf.GradientTape() as tape:
            features = tf.cast(backbone({"frames": frames()}, training=False), tf.float32)
            loss = tf.reduce_mean(tf.square(features - 1.0))
        found = tape.gradient(loss, [w.value for w in backbone.trainable_weights])
        return np.concatenate([g.numpy().ravel() for g in found])

    expected, rounded = gradients("float32"), gradients("mixed_bfloat16")
    assert np.linalg.norm(rounded - expected) < 0.4 * np.linalg.norm(expected)


@pytest.mark.parametrize("kind", SHALLOW)
def test_a_saved_network_gives_the_same_outputs(tmp_path, kind):
    backbone = small(kind, window_input=True, name="other")
    copy = VideoResNet.from_config(backbone.get_config())
    assert copy.get_config() == backbone.get_config() == {
        "kind": kind, "width": 1 / 16, "frame_shape": (20, 28), "normalization": "kinetics",
        "window_input": True, "precision": "float32", "name": "other",
    }  # fmt: skip
    backbone.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert type(copy) is VideoResNet
    inputs = {"frames": frames(), "window_frames": np.array([16, 512])}
    features = predict(backbone, inputs)
    np.testing.assert_array_equal(predict(copy, inputs), features)
    assert features[:, 0, 32:].tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of r3d_18, .*Received: 'r3d_50'"):
        VideoResNet("r3d_50")
