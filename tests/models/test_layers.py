import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models.layers import (
    Convolution,
    FrameNormalization,
    MaxPool,
    WindowEnds,
    WindowLengthEncoding,
    WithLength,
)
from tests.models.small import frames, with_gradients


@pytest.mark.parametrize(("channels", "time"), [(1, 4), (3, 4), (8, 4), (3, 2), (8, 2)])
def test_convolution_equals_conv3d_of_keras(channels, time):
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


# To round the sums to bfloat16 is an error of .0035 by itself.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 0.01)])
@pytest.mark.parametrize("apart", [1, 2])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("time", [1, 2, 3, 4, 7])
def test_convolution_of_many_channels_equals_its_definition(
    time, use_bias, apart, dtype, tolerance
):
    """Without gradients, where two frames take four products in place of six."""
    random = np.random.default_rng(time)
    x = random.normal(size=[2, time, 4, 5, 64]).astype(np.float32)
    kernel, bias = random.normal(size=[3, 3, 3, 64, 6]), random.normal(size=[6]) * use_bias
    layer = Convolution(6, 3, padding="same", apart=apart, use_bias=use_bias, dtype=dtype)
    layer.build(x.shape)
    layer.set_weights([kernel, bias] if use_bias else [kernel])

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4, 5, 64])])
    def run(inputs):
        return layer(inputs, training=False)

    expected = dilated(x, kernel, bias, apart)
    outputs = run(x)
    assert outputs.dtype == dtype
    error = np.linalg.norm(tf.cast(outputs, tf.float32) - expected) / np.linalg.norm(expected)
    assert error < tolerance


def dilated(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, apart: int = 2) -> np.ndarray:
    """A convolution of the frames t - apart, t and t + apart, padded with zeros."""
    time, height, width = x.shape[1:4]
    padded = np.pad(x, [(0, 0), (apart, apart), (1, 1), (1, 1), (0, 0)])
    outputs = np.zeros([*x.shape[:4], kernel.shape[-1]]) + bias
    for i, j, k in np.ndindex(3, 3, 3):
        part = padded[:, apart * i : apart * i + time, j : j + height, k : k + width]
        outputs += part @ kernel[i, j, k]
    return outputs


def dilated_gradients(x: np.ndarray, kernel: np.ndarray, upstream: np.ndarray) -> list[np.ndarray]:
    """The gradients of the kernel and of the bias, by their definition."""
    time, height, width = x.shape[1:4]
    padded = np.pad(x, [(0, 0), (2, 2), (1, 1), (1, 1), (0, 0)])
    gradient = np.zeros(kernel.shape)
    for i, j, k in np.ndindex(3, 3, 3):
        part = padded[:, 2 * i : 2 * i + time, j : j + height, k : k + width]
        gradient[i, j, k] = np.einsum("nthwc,nthwo->co", part, upstream)
    return [gradient, upstream.sum(axis=(0, 1, 2, 3))]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.02)])
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("time", [1, 3, 4, 7])
def test_convolution_of_frames_two_apart_by_its_definition(time, channels, dtype, tolerance):
    random = np.random.default_rng(time)
    x = random.normal(size=[2, time, 4, 5, channels]).astype(np.float32)
    kernel, bias = random.normal(size=[3, 3, 3, channels, 6]), random.normal(size=[6])
    upstream = random.normal(size=[2, time, 4, 5, 6]).astype(np.float32)
    layer = Convolution(6, 3, padding="same", apart=2, dtype=dtype)
    layer.build(x.shape)
    layer.set_weights([kernel, bias])

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4, 5, channels])])
    def gradients(inputs):
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
        return outputs, tape.gradient(loss, [layer.kernel.value, layer.bias.value])

    outputs, found = gradients(x)
    expected = [dilated(x, kernel, bias), *dilated_gradients(x, kernel, upstream)]
    assert outputs.dtype == layer.compute_dtype
    for a, b in zip(
        [outputs, layer(x, training=False), *found], [expected[0], *expected], strict=True
    ):
        error = np.linalg.norm(tf.cast(a, tf.float32) - b) / np.linalg.norm(b)
        assert error < tolerance


@pytest.mark.parametrize("time", [3, 4])
def test_gradient_of_the_inputs_of_frames_two_apart(time):
    """A frame's gradient, with a kernel of ones: how many outputs it is in."""
    layer = Convolution(1, 3, padding="same", apart=2, use_bias=False)
    x = tf.ones([1, time, 1, 1, 1])
    layer.build(x.shape)
    layer.set_weights([np.ones([3, 3, 3, 1, 1])])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x, training=True))
    # Itself, and those two before and two after, as far as there are.
    expected = {3: [2, 1, 2], 4: [2, 2, 2, 2]}[time]
    assert tape.gradient(total, x).numpy().ravel().tolist() == expected


def test_a_convolution_is_rebuilt_from_its_config():
    layer = Convolution(4, 3, padding="same", apart=2)
    assert Convolution.from_config(layer.get_config()).apart == 2
    assert Convolution(4, 3, padding="same").apart == 1


@pytest.mark.parametrize("channels", [1, 8])
def test_gradient_of_a_bias_in_bfloat16(channels):
    """In a large feature map, a sum that is accumulated in bfloat16 would stop at 512."""
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
def test_gradient_of_a_kernel_in_bfloat16(time):
    """Right for two frames too, for which TensorFlow 2.16's own gradient is garbage."""
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


def test_mean_normalization_by_a_mean_of_each_pixel():
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


def test_local_motion_normalization_by_hand():
    """Minus the mean of the frames from three before to three after, divided by 32."""
    # Of 20 frames, one pixel is 160 in frames 2 and 16 only, 0 elsewhere.
    pixels = np.zeros([1, 20, 1, 2, 3], np.uint8)
    pixels[0, [2, 16], 0, 0, 0] = 160
    pixels[0, :, 0, 1] = 200  # stands still
    normalized = FrameNormalization("local_motion")(pixels).numpy()
    expected = np.zeros(20)
    # Frame 2 is among the frames around 0 … 5, which are fewer at the start (around frame 0: four,
    # 0 … 3); frame 16 is among those around 13 … 19, fewer at the end (around 17: six, 14 … 19).
    counts = {0: 4, 1: 5, 2: 6, 3: 7, 4: 7, 5: 7,
              13: 7, 14: 7, 15: 7, 16: 7, 17: 6, 18: 5, 19: 4}  # fmt: skip
    for frame, count in counts.items():
        expected[frame] = -160 / count / 32
    expected[[2, 16]] += 160 / 32
    np.testing.assert_allclose(normalized[0, :, 0, 0, 0], expected, atol=1e-6)
    normalized[0, :, 0, 0, 0] = 0
    assert not normalized.any()


def test_local_motion_does_not_depend_on_where_a_stretch_begins():
    stretch = frames(1, (4, 6), windows=10)
    whole = FrameNormalization("local_motion")(stretch).numpy()
    part = FrameNormalization("local_motion")(stretch[:, 9:45]).numpy()
    np.testing.assert_array_equal(part[:, 3:-3], whole[:, 12:42])  # to the bit
    assert (part[:, 2] != whole[:, 11]).any() and (part[:, -3] != whole[:, 42]).any()


def test_local_motion_of_a_long_bright_stretch_is_exact():
    """Sums over thousands of frames, which float32 would round."""
    pixels = np.full([1, 80_000, 1, 1, 3], 255, np.uint8)
    pixels[0, -1] = 254
    normalized = FrameNormalization("local_motion")(pixels).numpy()
    # The last frame is among those around the last four; its mean is of four frames.
    assert not normalized[0, :-4].any() and normalized[0, -4].any()
    np.testing.assert_allclose(normalized[0, -1], (254 - (3 * 255 + 254) / 4) / 32, rtol=1e-5)


@pytest.mark.parametrize("windows", [1, 2, 5])
def test_the_mean_of_a_stretch_is_the_mean_over_time(windows):
    """One window: each frame minus its own mean; more: minus the mean of all 16 means."""
    layer = FrameNormalization("mean")
    pixels = np.full([2, 16 + 4 * (windows - 1), 2, 3, 3], [10, 20, 30], np.uint8)
    layer(pixels)
    mean = np.arange(16 * 2 * 3 * 3, dtype=np.float32).reshape(16, 2, 3, 3)
    layer.set_weights([mean])
    expected = np.float32([30, 20, 10]) - (mean if windows == 1 else mean.mean(axis=0))
    np.testing.assert_allclose(layer(pixels)[1], np.broadcast_to(expected, pixels.shape[1:]))


def test_still_normalization_by_hand():
    # Frame 8 of 16, every time: 0 is −1, 255 is 1, 102 is 102/127.5 − 1 = −.2.
    pixels = np.full([1, 16, 1, 1, 3], 77, np.uint8)
    pixels[0, 8, 0, 0] = [0, 255, 102]
    normalized = FrameNormalization("still")(pixels)
    np.testing.assert_allclose(normalized, np.broadcast_to([-1, 1, -0.2], pixels.shape), atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "mean128", "motion", "local_motion", "still"])
def test_normalization_subtracts_in_float32(mode):
    # bfloat16 has 8 bits: the mean must be subtracted before they are all there is.
    pixels = frames(1)
    exact = FrameNormalization(mode)(pixels).numpy()
    rounded = FrameNormalization(mode, dtype="mixed_bfloat16")(pixels)
    assert rounded.dtype == "bfloat16"
    np.testing.assert_array_equal(rounded, tf.cast(exact, tf.bfloat16))


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        # The greatest of 2 × 2 pixels is 4, 1, 3, 2 and 0 in the five frames.
        (None, [4, 1, 3, 2, 0]),
        (1, [4, 3, 3, 2]),
        (2, [4, 2, 3]),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_pooling_of_frames_apart_by_hand(training, apart, expected):
    x = np.zeros([2, 5, 2, 2, 1], np.float32)
    x[:, range(5), [0, 1, 0, 1, 0], [0, 0, 1, 1, 0], 0] = [4, 1, 3, 2, 0]
    pool = MaxPool(apart=apart)
    for row in pool(x, training=training).numpy():
        assert row.shape[1:] == (1, 1, 1)
        assert row.ravel().tolist() == expected
    assert pool.compute_output_shape((2, 5, 2, 2, 1)) == (2, len(expected), 1, 1, 1)
    assert pool.compute_output_shape((None, None, 7, 2, 1)) == (None, None, 4, 1, 1)
    assert MaxPool.from_config(pool.get_config()).apart == apart


@pytest.mark.parametrize("training", [True, False])
def test_pooling_of_pairs_counts_an_odd_border(training):
    x = np.arange(4 * 3 * 5, dtype=np.float32).reshape(1, 4, 3, 5, 1)
    pooled = MaxPool(time=2)(x, training=training).numpy()
    # The second frame of a pair is greater: 15 + 5 · row + column, at the far corner of 2 × 2.
    first = [[21, 23, 24], [26, 28, 29]]
    assert pooled[0, :, :, :, 0].tolist() == [first, (np.array(first) + 30).tolist()]


@pytest.mark.parametrize("training", [True, False])
def test_pooling_with_padding_on_both_sides_by_hand(training):
    # 3 × 4 pixels with zeros around them: rows (·, 0), (1, 2); columns (·, 0), (1, 2), (3, ·).
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4, 1)
    pool = MaxPool(both_sides=True)
    assert pool(x, training=training).numpy()[0, 0, :, :, 0].tolist() == [[1, 3, 4], [9, 11, 12]]
    assert pool.compute_output_shape(x.shape) == (1, 1, 2, 3, 1)
    assert MaxPool.from_config(pool.get_config()).both_sides


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_gradient_of_pooling_goes_to_the_greatest(dtype):
    # Frames 4, 1, 3, 2 of one pixel: the pairs (4, 1), (1, 3), (3, 2) have 4, 3 and 3.
    x = tf.reshape(tf.constant([4.0, 1.0, 3.0, 2.0]), [1, 4, 1, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.cast(MaxPool(apart=1, dtype=dtype)(x), tf.float32)
        total = tf.reduce_sum(outputs * tf.reshape([1.0, 10.0, 100.0], [1, 3, 1, 1, 1]))
    assert tape.gradient(total, x).numpy().ravel().tolist() == [1, 0, 110, 0]


def test_window_ends_by_hand():
    # Five steps are two windows, [0, 1, 2, 3] and [1, 2, 3, 4], of which the first and third count.
    steps = np.array([[[0, 10], [1, 11], [2, 12], [3, 13], [4, 14]]], np.float32)
    assert WindowEnds()(steps).numpy().tolist() == [[[0, 10, 2, 12], [1, 11, 3, 13]]]
    assert WindowEnds().compute_output_shape((None, 5, 2)) == (None, 2, 4)
    assert WindowEnds().compute_output_shape((None, None, 2)) == (None, None, 4)


def test_a_length_is_appended_to_each_window():
    features = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
    lengths = np.array([[0, 1, 0], [1, 0, 0]], np.float32)
    assert WithLength()([features, lengths]).numpy().tolist() == [
        [[1, 2, 0, 1, 0], [3, 4, 0, 1, 0]], [[5, 6, 1, 0, 0], [7, 8, 1, 0, 0]]
    ]  # fmt: skip
    assert WithLength().compute_output_shape([(None, None, 2), (None, 3)]) == (None, None, 5)


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


def test_window_length_encoding_is_a_monotonic_partition_of_one():
    encoding = WindowLengthEncoding()(np.arange(1, 2000)).numpy()
    np.testing.assert_allclose(encoding.sum(axis=1), 1, atol=1e-5)
    assert encoding.min() >= 0
    assert ((encoding > 0).sum(axis=1) <= 2).all()
    # Longer is further along the scale.
    assert (np.diff(encoding @ np.arange(6)) >= -1e-6).all()
