import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models import BACKBONES, C3D, ResNet3D18, network
from scnn_tf.models.layers import Convolution, FrameNormalization, WindowLengthEncoding
from scnn_tf.models.recipes import RECIPES

CONVOLUTIONS = (
    *("conv1a", "conv2a", "conv3a", "conv3b"),
    *("conv4a", "conv4b", "conv5a", "conv5b"),
)
POOLS = {"conv1a": 1, "conv2a": 2, "conv3b": 2, "conv4b": 2, "conv5b": 2}  # in time

# 20 × 28 pixels: halved to 10 × 14, 5 × 7, 3 × 4, 2 × 2, 1 × 1.
SMALL = {"width": 1 / 16, "hidden": 24, "frame_shape": (20, 28), "initializer": "he"}


def frames(count: int = 2, shape: tuple[int, int] = (20, 28), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, [count, 16, *shape, 3]).astype(np.uint8)


def predict(model, inputs) -> np.ndarray:
    return model(inputs, training=False).numpy()


@pytest.fixture(scope="module")
def paper_network():
    """The classification network of the paper for THUMOS'14; built, never run."""
    keras.utils.set_random_seed(0)
    return network("classification", 20, C3D())


def test_number_of_parameters(paper_network):
    # Convolutions 27·in·out + out: 5,248 + 221,312 + 884,992 + 1,769,728 + 3,539,456
    # + 3 · 7,078,400 = 27,655,936; fc6 8192·4096 + 4096, fc7 4096·4096 + 4096, fc8
    # 4096·21 + 21.
    assert 27_655_936 + 33_558_528 + 16_781_312 + 86_037 == 78_081_813
    assert sum(int(np.prod(w.shape)) for w in paper_network.trainable_weights) == 78_081_813
    # What does not learn is the mean of the frames.
    assert [w.shape for w in paper_network.non_trainable_weights] == [(16, 112, 112, 3)]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("frames", (16, 112, 112, 3)),
        ("conv1a", (16, 112, 112, 64)),
        ("pool1", (16, 56, 56, 64)),
        ("pool2", (8, 28, 28, 128)),
        ("pool3", (4, 14, 14, 256)),
        ("pool4", (2, 7, 7, 512)),
        ("pool5", (1, 4, 4, 512)),
        ("flatten", (8192,)),
        ("fc6", (4096,)),
        ("fc7", (4096,)),
        ("fc8", (21,)),
    ],
)
def test_shapes_of_the_paper(paper_network, layer, shape):
    assert paper_network.get_layer(layer).output.shape == (None, *shape)


def test_initializers_of_the_paper(paper_network):
    for name in (*CONVOLUTIONS, "fc6", "fc7", "fc8"):
        layer = paper_network.get_layer(name)
        kernel = layer.kernel.numpy().reshape(-1)[:1_000_000]
        expected = 0.005 if name in ("fc6", "fc7") else 0.01
        # Of n values the standard deviation is known to 1/√(2n): 1 % for conv1a's 5184.
        assert kernel.std() == pytest.approx(expected, rel=0.04)
        assert abs(kernel.mean()) < 4 * expected / np.sqrt(kernel.size)
        assert set(layer.bias.numpy()) == {0.0 if name in ("conv1a", "fc8") else 1.0}


def test_initializers_from_scratch():
    model = network("classification", 3, C3D(**SMALL | {"width": 0.5, "hidden": 512}))
    for name in (*CONVOLUTIONS, "fc6", "fc7"):
        kernel, bias = model.get_layer(name).get_weights()
        assert kernel.std() == pytest.approx((2 / np.prod(kernel.shape[:-1])) ** 0.5, rel=0.1)
        assert not bias.any()


def test_pooling_counts_an_odd_border():
    """Caffe's ceil mode, 7 → 4, by hand."""
    pool = C3D(**SMALL).get_layer("pool5")
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


def with_gradients(model, inputs) -> list[np.ndarray]:
    """The outputs, and the gradient of each weight."""
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=False)
        loss = tf.reduce_sum(outputs * np.linspace(-1, 1, outputs.shape[1], dtype=np.float32))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    return [outputs.numpy(), *(g.numpy() for g in gradients)]


def test_c3d_is_the_textbooks():
    keras.utils.set_random_seed(1)
    backbone = C3D(**SMALL)
    ours = with_gradients(backbone, {"frames": frames()})
    theirs = with_gradients(textbook_c3d(backbone), frames())
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize(("channels", "time"), [(1, 4), (3, 4), (8, 4), (3, 2), (8, 2)])
def test_convolution_is_kerass(channels, time):
    random = np.random.default_rng(0)
    x = random.normal(size=[2, time, 5, 6, channels]).astype(np.float32)
    weights = [random.normal(size=[3, 3, 3, channels, 7]), random.normal(size=[7])]

    def run(layer_class):
        layer = layer_class(7, 3, padding="same", activation="relu")
        layer.build(x.shape)
        layer.set_weights(weights)
        return with_gradients(keras.Sequential([layer, keras.layers.Flatten()]), x)

    for a, b in zip(run(Convolution), run(keras.layers.Conv3D), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 8])
def test_bias_learns_in_bfloat16(channels):
    """Of a large map, where a sum that is kept in bfloat16 would stop at 512."""
    random = np.random.default_rng(0)
    x = random.normal(size=[1, 8, 64, 64, channels]).astype(np.float32)
    weights = [random.normal(0, 0.1, [3, 3, 3, channels, 4]), np.ones(4)]

    def gradients(dtype):
        layer = Convolution(4, 3, padding="same", activation="relu", dtype=dtype)
        layer.build(x.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.cast(layer(x), tf.float32))
        return [g.numpy() for g in tape.gradient(total, [layer.kernel.value, layer.bias.value])]

    kernel, bias = gradients("mixed_bfloat16")
    expected_kernel, expected_bias = gradients("float32")
    assert bias.dtype == np.float32
    # Each counts the places where its filter is positive: most of 8 · 64 · 64 = 32,768.
    assert expected_bias.min() > 20_000
    np.testing.assert_allclose(bias, expected_bias, rtol=0.01)
    error = np.linalg.norm(kernel - expected_kernel) / np.linalg.norm(expected_kernel)
    assert error < 0.1


@pytest.mark.parametrize("time", [1, 2, 3, 4])
def test_kernel_learns_in_bfloat16(time):
    """Of two frames too, for which TensorFlow's own gradient may be anything."""
    random = np.random.default_rng(0)
    x = random.normal(size=[4, time, 7, 7, 8]).astype(np.float32)
    weights = [random.normal(size=[3, 3, 3, 8, 6]), np.zeros(6)]

    def gradient(dtype):
        layer = Convolution(6, 3, padding="same", dtype=dtype)
        layer.build(x.shape)
        layer.set_weights(weights)

        @tf.function
        def compiled():
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(tf.square(tf.cast(layer(x), tf.float32)))
            return tape.gradient(total, layer.kernel.value)

        return compiled().numpy()

    expected = gradient("float32")
    error = np.linalg.norm(gradient("mixed_bfloat16") - expected) / np.linalg.norm(expected)
    assert error < 0.02


@pytest.mark.parametrize(
    ("stage", "columns"), [("proposal", 2), ("classification", 6), ("localization", 6)]
)
def test_heads(stage, columns):
    model = network(stage, 5, C3D(**SMALL))
    assert model.name == stage
    logits = predict(model, {"frames": frames()})
    assert logits.shape == (2, columns)
    # Logits, not scores.
    assert not np.allclose(logits.sum(axis=1), 1)


def test_logits_are_float32_in_any_precision():
    backbone = C3D(**SMALL, precision="mixed_bfloat16")
    assert backbone.output.dtype == "bfloat16"
    assert {w.dtype for w in backbone.weights} == {"float32"}
    model = network("proposal", 3, backbone)
    assert model.output.dtype == "float32"
    assert model({"frames": frames()}).dtype == "float32"


def test_precision_changes_little():
    exact = C3D(**SMALL, normalization="motion")
    rounded = C3D(**SMALL, normalization="motion", precision="mixed_bfloat16")
    rounded.set_weights(exact.get_weights())
    expected = predict(exact, {"frames": frames()})
    got = rounded({"frames": frames()})
    assert got.dtype == "bfloat16"
    # Ten layers, each rounded to 1/256.
    np.testing.assert_allclose(tf.cast(got, tf.float32), expected, atol=0.05 * expected.max())


def test_dropout_only_when_training():
    model = C3D(**SMALL, dropout=0.5)
    inputs = {"frames": frames()}
    np.testing.assert_array_equal(predict(model, inputs), predict(model, inputs))
    dropped = (model(inputs, training=True).numpy() == 0).mean(axis=1)
    assert (dropped > (predict(model, inputs) == 0).mean(axis=1)).all()


def test_window_length_is_seen():
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"window_input": True, "normalization": "motion", "dropout": 0.2, "name": "other"},
        {"window_input": True, "precision": "mixed_bfloat16"},
        {"initializer": "caffe", "width": 0.05},
    ],
)
def test_config_brings_the_backbone_back(changes):
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
def test_a_saved_model_gives_the_same(tmp_path, whole, window_input):
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


def test_localization_can_start_from_classification():
    source = network("classification", 5, C3D(**SMALL))
    target = network("localization", 5, C3D(**SMALL))
    assert [w.path.split("/")[-2:] for w in source.weights] == [
        w.path.split("/")[-2:] for w in target.weights
    ]
    target.set_weights(source.get_weights())
    inputs = {"frames": frames()}
    np.testing.assert_array_equal(predict(target, inputs), predict(source, inputs))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: C3D(initializer="lecun"), """initializer must be .*"caffe".* 'lecun'"""),
        (lambda: C3D(normalization="std"), """must be .*"mean".*"motion".* Received: 'std'"""),
        (lambda: network("detection", 5, None), "stage must be .*proposal.* 'detection'"),
    ],
    ids=["initializer", "normalization", "stage"],
)
def test_what_does_not_exist_is_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mean_normalization_by_hand():
    # (30, 20, 10), as B, G, R, minus (90.25, 97.66, 101.41).
    pixels = np.full([1, 16, 2, 3, 3], [10, 20, 30], np.uint8)
    normalized = FrameNormalization("mean")(pixels)
    np.testing.assert_allclose(
        normalized, np.broadcast_to([-60.25, -77.66, -91.41], pixels.shape), rtol=1e-6
    )


def test_mean128_normalization_by_hand():
    # (30, 20, 10), as B, G, R, minus 128.
    pixels = np.full([1, 16, 2, 3, 3], [10, 20, 30], np.uint8)
    normalized = FrameNormalization("mean128")(pixels)
    np.testing.assert_array_equal(
        normalized, np.broadcast_to([-98, -108, -118], pixels.shape).astype(np.float32)
    )


def test_a_mean_of_its_own_for_every_pixel():
    layer = FrameNormalization("mean")
    pixels = np.full([2, 16, 2, 3, 3], [10, 20, 30], np.uint8)
    layer(pixels)
    mean = np.arange(16 * 2 * 3 * 3, dtype=np.float32).reshape(16, 2, 3, 3) / 2
    layer.set_weights([mean])
    assert not layer.trainable_weights
    np.testing.assert_array_equal(layer(pixels)[1], np.float32([30, 20, 10]) - mean)


def test_motion_normalization_by_hand():
    # A pixel is 100 in 12 frames and 164 in 4: mean 116; (100 − 116)/32 = −.5, (164 − 116)/32 =
    # 1.5. The other stands still: 0. Colours stay in their order.
    pixels = np.full([1, 16, 1, 2, 3], 250, np.uint8)
    pixels[0, :, 0, 0, 0] = [100] * 12 + [164] * 4
    normalized = FrameNormalization("motion")(pixels).numpy()
    np.testing.assert_allclose(normalized[0, :, 0, 0, 0], [-0.5] * 12 + [1.5] * 4)
    normalized[0, :, 0, 0, 0] = 0
    assert not normalized.any()


def test_still_normalization_by_hand():
    # Frame 8 of 16, every time: 0 is −1, 255 is 1, 102 is 102/127.5 − 1 = −.2.
    pixels = np.full([1, 16, 1, 1, 3], 77, np.uint8)
    pixels[0, 8, 0, 0] = [0, 255, 102]
    normalized = FrameNormalization("still")(pixels)
    np.testing.assert_allclose(normalized, np.broadcast_to([-1, 1, -0.2], pixels.shape), atol=1e-6)


def test_motion_is_the_same_whatever_stands_still():
    moving = frames() // 4
    model = C3D(**SMALL, normalization="motion")
    background = (frames(1, seed=1)[:, :1] // 2).astype(np.uint8)
    np.testing.assert_allclose(
        predict(model, {"frames": moving + background}),
        predict(model, {"frames": moving}),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("mode", ["mean", "mean128", "motion", "still"])
def test_normalization_subtracts_before_it_rounds(mode):
    # bfloat16 has 8 bits: the mean must be subtracted before they are all there is.
    pixels = frames(1)
    exact = FrameNormalization(mode)(pixels).numpy()
    rounded = FrameNormalization(mode, dtype="mixed_bfloat16")(pixels)
    assert rounded.dtype == "bfloat16"
    np.testing.assert_array_equal(rounded, tf.cast(exact, tf.bfloat16))


def test_window_length_encoding_by_hand():
    # 24 is log2(24/16) = .58496 of the way from 16 to 32; 8 and 1000 are off the scale.
    encoding = WindowLengthEncoding()(np.array([16, 32, 512, 24, 8, 1000])).numpy()
    unit = np.eye(6)
    expected = [
        *(unit[0], unit[1], unit[5]),
        0.41504 * unit[0] + 0.58496 * unit[1],
        *(unit[0], unit[5]),
    ]
    np.testing.assert_allclose(encoding, expected, atol=1e-5)


def test_window_length_encoding_of_any_length():
    encoding = WindowLengthEncoding()(np.arange(1, 2000)).numpy()
    np.testing.assert_allclose(encoding.sum(axis=1), 1, atol=1e-5)
    assert encoding.min() >= 0
    assert ((encoding > 0).sum(axis=1) <= 2).all()
    # Longer is further along the scale.
    assert (np.diff(encoding @ np.arange(6)) >= -1e-6).all()


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


def test_number_of_parameters_of_res3d(res3d):
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
    ("layer", "shape"),
    [
        ("frames", (16, 112, 112, 3)),
        ("conv1_relu", (16, 56, 56, 64)),
        ("res2b_relu", (16, 56, 56, 64)),
        ("res3a_relu", (8, 28, 28, 128)),
        ("res4a_relu", (4, 14, 14, 256)),
        ("res5b_relu", (2, 7, 7, 512)),
        ("pool5", (2, 1, 1, 512)),
        ("flatten", (1024,)),
        ("fc8", (21,)),
    ],
)
def test_shapes_of_res3d(res3d, layer, shape):
    assert res3d.get_layer(layer).output.shape == (None, *shape)


def test_initializers_of_res3d(res3d):
    for name in ("conv1", "res2a_branch1", "res3a_branch2a", "res5b_branch2b"):
        kernel = res3d.get_layer(name).kernel
        *window, _, filters = kernel.shape
        expected = (2 / (np.prod(window) * filters)) ** 0.5
        assert kernel.numpy().std() == pytest.approx(expected, rel=0.05)
    assert res3d.get_layer("fc8").kernel.numpy().std() == pytest.approx(0.01, rel=0.05)


def convolved(x: np.ndarray, layer: keras.layers.Conv3D) -> np.ndarray:
    """Convolution with Caffe's padding, in NumPy: half the kernel on either side."""
    kernel = layer.kernel.numpy().astype(np.float64)
    x = np.pad(x, [(0, 0), *((size // 2, size // 2) for size in kernel.shape[:3]), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:3], axis=(1, 2, 3))
    t, h, w = layer.strides
    return np.einsum("nthwcijk,ijkco->nthwo", windows[:, ::t, ::h, ::w], kernel, optimize=True)


def test_res3d_is_the_textbooks():
    """Against the definition: y = γ (x − mean) / √(variance + 1e-5) + β, and residual blocks."""
    backbone = small_resnet()

    def layer(x, name, bn):
        gamma, beta, mean, variance = backbone.get_layer(bn).get_weights()
        x = convolved(x, backbone.get_layer(name))
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    x = frames()[..., ::-1] - 128.0
    x = np.maximum(layer(x, "conv1", "bn_conv1"), 0)
    for block in ("2a", "2b", "3a", "3b", "4a", "4b", "5a", "5b"):
        first = block[1] == "a"
        shortcut = layer(x, f"res{block}_branch1", f"bn{block}_branch1") if first else x
        x = np.maximum(layer(x, f"res{block}_branch2a", f"bn{block}_branch2a"), 0)
        x = np.maximum(layer(x, f"res{block}_branch2b", f"bn{block}_branch2b") + shortcut, 0)
    expected = x.mean(axis=(2, 3)).reshape(2, -1)  # the two moments side by side

    got = predict(backbone, {"frames": frames()})
    assert expected.shape == (2, 64) and expected.max() > 1
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_statistics_move_in_training_only():
    backbone = small_resnet()
    norm = backbone.get_layer("bn_conv1")
    before = norm.moving_mean.numpy()
    predict(backbone, {"frames": frames()})
    np.testing.assert_array_equal(norm.moving_mean, before)
    backbone({"frames": frames()}, training=True)
    batch = convolved(frames()[..., ::-1] - 128.0, backbone.get_layer("conv1"))
    expected = 0.95 * before + 0.05 * batch.mean(axis=(0, 1, 2, 3))
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-3, atol=1e-4)


def test_res3d_learns_in_bfloat16():
    """The same gradients as in float32, as far as eight bits go through 18 layers."""

    def gradients(precision):
        backbone = small_resnet(precision=precision)
        with tf.GradientTape() as tape:
            features = tf.cast(backbone({"frames": frames(8)}, training=True), tf.float32)
            loss = tf.reduce_mean(tf.square(features - 1.0))
        found = tape.gradient(loss, [w.value for w in backbone.trainable_weights])
        return np.concatenate([g.numpy().ravel() for g in found])

    expected, rounded = gradients("float32"), gradients("mixed_bfloat16")
    assert np.linalg.norm(rounded - expected) < 0.3 * np.linalg.norm(expected)


@pytest.mark.parametrize("changes", [{}, {"window_input": True, "normalization": "motion"}])
def test_a_saved_res3d_gives_the_same(tmp_path, changes):
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


def test_res3d_sees_the_window_length():
    backbone = small_resnet(window_input=True)
    same = np.repeat(frames(1), 2, axis=0)
    features = predict(backbone, {"frames": same, "window_frames": np.array([16, 512])})
    np.testing.assert_allclose(features[0, :64], features[1, :64], rtol=1e-4)
    assert features[:, 64:].tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_what_its_recipe_says(name):
    recipe = dataclasses.replace(
        RECIPES["small"], backbone=name, crop=20, width=1 / 16, precision="mixed_bfloat16"
    )
    backbone = BACKBONES[name](**recipe.backbone_arguments())
    config = backbone.get_config()
    assert config.pop("frame_shape") == (20, 20)
    assert config.pop("name") == name
    assert config.items() <= dataclasses.asdict(recipe).items()
    assert network("proposal", 5, backbone).output_shape == (None, 2)
