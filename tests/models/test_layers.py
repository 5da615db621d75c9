import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models.layers import Convolution, FrameNormalization, WindowLengthEncoding
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


def test_still_normalization_by_hand():
    # Frame 8 of 16, every time: 0 is −1, 255 is 1, 102 is 102/127.5 − 1 = −.2.
    pixels = np.full([1, 16, 1, 1, 3], 77, np.uint8)
    pixels[0, 8, 0, 0] = [0, 255, 102]
    normalized = FrameNormalization("still")(pixels)
    np.testing.assert_allclose(normalized, np.broadcast_to([-1, 1, -0.2], pixels.shape), atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "mean128", "motion", "still"])
def test_normalization_subtracts_in_float32(mode):
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


def test_window_length_encoding_is_a_monotonic_partition_of_one():
    encoding = WindowLengthEncoding()(np.arange(1, 2000)).numpy()
    np.testing.assert_allclose(encoding.sum(axis=1), 1, atol=1e-5)
    assert encoding.min() >= 0
    assert ((encoding > 0).sum(axis=1) <= 2).all()
    # Longer is further along the scale.
    assert (np.diff(encoding @ np.arange(6)) >= -1e-6).all()
