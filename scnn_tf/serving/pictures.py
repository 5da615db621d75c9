"""Networks as operations on pictures, which interpreters on devices have and compute fast.

LiteRT has neither 3D pools nor a 3D convolution of integers; and its 2D convolutions, like those of
onnxruntime, are its fastest operation.
"""

import keras
from keras import ops

from scnn_tf.models.layers import MaxPool


def as_pictures(network: keras.Model) -> keras.Model:
    """Returns a network with the same weights and outputs, for one stretch of any length.

    Each 3D layer becomes a 2D layer over pictures: one picture a frame, whose channels are those of
    all frames under the kernel.

    Args:
        network: A network of `models.stages`, in float32; called with a batch of one stretch.
    """
    kinds = {
        keras.layers.Conv3D: PictureConvolution,  # also the convolutions of `models`
        MaxPool: PictureMaxPool,
        keras.layers.AveragePooling3D: PictureMean,
    }

    def clone(layer: keras.Layer) -> keras.Layer:
        found = (new for old, new in kinds.items() if isinstance(layer, old))
        return next(found, type(layer)).from_config(layer.get_config())

    pictures = keras.models.clone_model(network, clone_function=clone)
    for new, old in zip(pictures.weights, network.weights, strict=True):
        new.assign(old)
    return pictures


class PictureConvolution(keras.layers.Conv3D):
    """A 3D convolution of one stretch as a 2D convolution of pictures.

    Args:
        apart: Distance in time of the frames that the kernel combines.

    Call arguments:
        inputs: `[1, T, H, W, C]`; with the padding "same", half the kernel is padded on all sides,
            as by the convolutions of `models`.
    """

    def __init__(self, *args, apart: int = 1, **kwargs):
        super().__init__(*args, **kwargs)
        self.apart = apart

    def call(self, inputs):  # noqa: D102
        frames, *sides = self.kernel_size
        inside = self.padding == "same" and self.strides[1:] == (1, 1)  # padded by the operation
        if self.padding == "same":
            border = frames // 2 * self.apart
            borders = [0 if inside else size // 2 for size in sides]
            inputs = _padded(inputs, [border, *borders])
        reach = (frames - 1) * self.apart
        shifted = [
            inputs[:, first : first - reach or None : self.strides[0]]
            for first in range(0, reach + 1, self.apart)
        ]
        pictures = ops.concatenate(shifted, axis=-1) if reach else shifted[0]
        kernel = ops.transpose(self.kernel, [1, 2, 0, 3, 4])
        outputs = ops.conv(
            ops.reshape(pictures, [-1, *pictures.shape[2:]]),
            ops.reshape(kernel, [*sides, -1, self.filters]),
            self.strides[1:],
            padding="same" if inside else "valid",
        )
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return _in_a_stretch(self.activation(outputs))


class PictureMaxPool(MaxPool):
    """The max pool of `models.layers` over pictures; inputs are `[1, T, H, W, C]`."""

    def call(self, inputs):  # noqa: D102
        if self.both_sides:
            inputs = _padded(inputs, [0, 1, 1])
            height, width = (size - size % 2 for size in inputs.shape[2:4])
            inputs = inputs[:, :, :height, :width]  # an odd border needs no second zero
        pictures = ops.reshape(inputs, [-1, *inputs.shape[2:]])
        x = _in_a_stretch(ops.max_pool(pictures, 2, padding="same"))
        if self.time == 2:
            x = ops.maximum(x[:, ::2], x[:, 1::2])
        if self.apart:
            x = ops.maximum(x[:, : -self.apart], x[:, self.apart :])
        return x


class PictureMean(keras.layers.AveragePooling3D):
    """The mean of whole pictures: the average pool of residual networks."""

    def call(self, inputs):  # noqa: D102
        return ops.mean(inputs, axis=(2, 3), keepdims=True)


def _padded(inputs, borders: list[int]):
    """Pads time, height and width on both sides."""
    return ops.pad(inputs, [(0, 0), *((border, border) for border in borders), (0, 0)])


def _in_a_stretch(pictures):
    """Returns pictures `[T, H, W, C]` as a batch of one stretch, `[1, T, H, W, C]`."""
    return ops.reshape(pictures, [1, -1, *pictures.shape[1:]])
