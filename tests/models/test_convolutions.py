import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models.convolutions import Convolution, PaddedConvolution
from tests.models.small import with_gradients


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


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("apart", [1, 2])
@pytest.mark.parametrize("time", [1, 2, 3, 4])
def test_gradient_of_a_kernel_in_bfloat16(time, apart, training):
    """Right for two frames too, for which TensorFlow 2.16's own gradient is garbage."""
    random = np.random.default_rng(0)
    x = random.normal(size=[4, time, 7, 7, 8]).astype(np.float32)
    weights = [random.normal(size=[3, 3, 3, 8, 6]), np.zeros(6)]

    def gradient(dtype):
        layer = Convolution(6, 3, padding="same", apart=apart, dtype=dtype)
        layer.build(x.shape)
        layer.set_weights(weights)

        @tf.function
        def compiled():
            with tf.GradientTape() as tape:
                outputs = layer(x, training=training)
                total = tf.reduce_sum(tf.square(tf.cast(outputs, tf.float32)))
            return tape.gradient(total, layer.kernel.value)

        return compiled().numpy()

    expected = gradient("float32")
    error = np.linalg.norm(gradient("mixed_bfloat16") - expected) / np.linalg.norm(expected)
    assert error < 0.02


def convolved(x: np.ndarray, kernel: np.ndarray, strides, apart: int) -> np.ndarray:
    """A convolution with half its kernel as the border, product by product."""
    distances = (apart, 1, 1)
    borders = [size // 2 * d for size, d in zip(kernel.shape[:3], distances, strict=True)]
    padded = np.pad(x, [(0, 0), *((border, border) for border in borders), (0, 0)])
    outputs = 0
    for place in np.ndindex(kernel.shape[:3]):
        part = tuple(
            slice(d * at, d * at + size, stride)
            for at, d, size, stride in zip(place, distances, x.shape[1:4], strides, strict=True)
        )
        outputs = outputs + padded[(slice(None), *part)] @ kernel[place]
    return outputs


@pytest.mark.parametrize(("time", "height", "width"), [(4, 6, 5), (5, 5, 8), (2, 4, 4)])
@pytest.mark.parametrize(
    ("channels", "kernel", "strides", "apart"),
    [
        (3, (1, 7, 7), (1, 2, 2), 1),  # over space, and pictures
        (3, (3, 7, 7), (1, 2, 2), 1),
        (8, (1, 3, 3), (1, 2, 2), 1),
        (8, (1, 1, 1), (2, 2, 2), 1),
        (8, (3, 1, 1), (1, 1, 1), 1),  # over time
        (8, (3, 1, 1), (2, 1, 1), 1),
        (8, (3, 1, 1), (1, 1, 1), 2),
        (8, (3, 3, 3), (2, 2, 2), 1),  # over both
        (8, (3, 3, 3), (1, 2, 2), 1),
    ],
)
def test_a_padded_convolution_by_its_definition(
    channels, kernel, strides, apart, time, height, width
):
    random = np.random.default_rng(0)
    x = random.normal(size=[2, time, height, width, channels]).astype(np.float32)
    weights = random.normal(size=[*kernel, channels, 6]).astype(np.float32)
    layer = PaddedConvolution(6, kernel, strides, apart=apart)
    layer.build(x.shape)
    layer.set_weights([weights])

    @tf.function(input_signature=[tf.TensorSpec([None, None, height, width, channels])])
    def gradients(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs * outputs) / 2
        return outputs, tape.gradient(loss, [layer.kernel.value, inputs])

    outputs, (of_kernel, of_inputs) = gradients(x)
    expected = convolved(x, weights, strides, apart)
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    assert layer.compute_output_shape(x.shape) == expected.shape
    # Twice the loss is a square of the kernel and of the inputs: Euler's Σ w ∂loss/∂w = Σ y².
    square = np.sum(expected**2)
    assert np.sum(of_kernel * weights) == pytest.approx(square, rel=1e-4)
    assert np.sum(of_inputs * x) == pytest.approx(square, rel=1e-4)


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (3, 3, 3)])
def test_gradient_of_a_padded_kernel_in_bfloat16(kernel):
    """Two frames are included, for which the gradient of TensorFlow 2.16 itself is garbage."""
    random = np.random.default_rng(0)
    x = random.normal(size=[4, 2, 7, 7, 8]).astype(np.float32)
    weights = random.normal(size=[*kernel, 8, 6])

    def gradient(dtype):
        layer = PaddedConvolution(6, kernel, dtype=dtype)
        layer.build(x.shape)
        layer.set_weights([weights])
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(tf.cast(layer(x), tf.float32)))
        return tape.gradient(total, layer.kernel.value).numpy()

    expected = gradient("float32")
    error = np.linalg.norm(gradient("mixed_bfloat16") - expected) / np.linalg.norm(expected)
    assert error < 0.02


def test_a_padded_convolution_is_rebuilt_from_its_config():
    layer = PaddedConvolution(4, (3, 1, 1), (1, 1, 1), apart=2, name="time")
    copy = PaddedConvolution.from_config(layer.get_config())
    assert (copy.apart, copy.kernel_size, copy.use_bias, copy.name) == (2, (3, 1, 1), False, "time")
