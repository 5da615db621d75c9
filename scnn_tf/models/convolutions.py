"""3D convolutions that are right and fast on a CPU, and parts that residual networks share."""

import keras
from keras import ops

_MANY_CHANNELS = 64  # from which on adding up frames costs less than the products that it saves
_FEW_CHANNELS = 4  # up to which TensorFlow's gradient of a 3D kernel is slow
# Momentum of the moving mean and variance. Caffe has .999 and corrects for the initial values;
# Keras does not, and after the hundred steps of a small training would mostly have those values.
_MOMENTUM = 0.95


def he_by_outputs() -> keras.initializers.Initializer:
    """Returns He's Gaussian by the number of outputs: the first weights of residual networks."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def batch_normalization(
    name: str, precision: str, epsilon: float = 1e-5
) -> keras.layers.BatchNormalization:
    """Returns the batch normalization of residual networks.

    Args:
        name: Name of the layer.
        precision: Precision of the network.
        epsilon: What is added to the variance.
    """
    return keras.layers.BatchNormalization(
        momentum=_MOMENTUM,
        epsilon=epsilon,
        # Over all devices: of a batch of 8, a device may hold a single segment.
        synchronized=keras.backend.backend() == "tensorflow",
        dtype=precision,
        name=name,
    )


@keras.saving.register_keras_serializable("scnn_tf")
class Convolution(keras.layers.Conv3D):
    """A 3D convolution whose gradients are right in bfloat16, and fast, on a CPU.

    It computes what `keras.layers.Conv3D` does, with a 3×3×3 kernel, stride 1 and zero padding. In
    training it works around three defects of TensorFlow 2.16 on a CPU (with Keras 3.15):

    - `BiasAddGrad` accumulates in bfloat16, where sums stop growing at 512: the bias of a large
      feature map gets almost no gradient. Keras turns `outputs + bias` into `BiasAdd`. A
      subtraction stays as it is, and its gradient is a `reduce_sum`, which is right.
    - For inputs with the three channels of a picture, the gradient of a 3D kernel is slow. The same
      sums are computed by a 2D convolution over each frame and its two neighbors, stacked to nine
      channels.
    - For inputs of exactly two frames that the operation itself pads, oneDNN's gradient of a
      bfloat16 kernel is garbage, at times NaN. Such inputs are padded before the convolution, with
      `training=False` too, with which a frozen network is fine-tuned.

    And of TensorFlow 2.21, also where no gradient is asked for:

    - On a CPU with AMX, the bfloat16 convolution of a single frame is garbage at some numbers of
      channels, 3 and 9 among them. A single frame is convolved in two dimensions.

    The workarounds are used on a GPU too, where they are not needed.

    Where no gradient is asked for, many channels are convolved on a CPU with two thirds of the
    products (`_by_pairs`).

    Args:
        apart: Distance in time of the frames that the kernel combines: 1, or 2, with which each
            frame is combined with the last but one and the next but one.
    """

    def __init__(self, *args, apart: int = 1, **kwargs):
        super().__init__(*args, **kwargs)
        self.apart = apart

    def call(self, inputs, training=None):  # noqa: D102
        if self.apart == 2:
            return _by_turns(inputs, lambda x: self._convolved(x, training))
        return self._convolved(inputs, training)

    def _convolved(self, inputs, training):
        single = inputs.shape[1] == 1
        two = self.apart == 2 or inputs.shape[1] == 2  # of the shortest stretch, a turn has two
        if training is False and not single:
            if inputs.shape[-1] >= _MANY_CHANNELS and not keras.distribution.list_devices("gpu"):
                return self._by_pairs(inputs)
            if not two:
                return super().call(inputs)  # TensorFlow fuses bias and activation into it
        if inputs.shape[-1] <= _FEW_CHANNELS or single:
            outputs = self._unfolded(inputs, self.kernel)
        elif two:
            padded = ops.pad(inputs, [[0, 0], [1, 1], [1, 1], [1, 1], [0, 0]])
            outputs = ops.conv(padded, self.kernel, padding="valid")
        else:
            outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            outputs = ops.subtract(outputs, ops.negative(self.bias))
        return self.activation(outputs)

    def _by_pairs(self, inputs):
        """Convolves by the minimal filtering F(2, 3) in time: two frames by four products, not six.

        With the frames d0, d1, d2, d3 and the kernel's frames g0, g1, g2:

            m0 = (d2 - d0) g0                   m1 = (d1 + d2) (g0 + g1 + g2) / 2
            m3 = (d1 - d3) g2                   m2 = (d2 - d1) (g0 - g1 + g2) / 2
            d0 g0 + d1 g1 + d2 g2 = m1 + m2 - m0
            d1 g0 + d2 g1 + d3 g2 = m1 - m2 - m3

        Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
        """
        count, time = ops.shape(inputs)[:2]
        frame = inputs.shape[2:]
        pairs = (time + 1) // 2
        # Zeros before the first frame, and after the last one up to the end of its pair and beyond.
        padded = ops.pad(inputs, [[0, 0], [1, 2 * pairs + 1 - time], [0, 0], [0, 0], [0, 0]])
        padded = ops.reshape(padded, [count, pairs + 1, 2, *frame])
        d0, d1, d2, d3 = (
            ops.reshape(padded[:, pair : pair + pairs, place], [-1, *frame])
            for pair in (0, 1)
            for place in (0, 1)
        )
        g0, g1, g2 = ops.unstack(ops.cast(self.kernel, "float32"))

        def product(frames, kernel):
            return ops.conv(frames, ops.cast(kernel, frames.dtype), padding="same")

        m1 = product(d1 + d2, (g0 + g1 + g2) / 2)
        m2 = product(d2 - d1, (g0 - g1 + g2) / 2)
        if self.use_bias:
            m1 = m1 + self.bias
        # Subtractions: where a graph knows the number of frames, TensorFlow's grappler turns sums
        # of three into another operation, which rounds differently.
        first, second = m1 + m2 - product(d2 - d0, g0), m1 - m2 - product(d1 - d3, g2)
        outputs = ops.stack([first, second], axis=1)
        outputs = ops.reshape(outputs, [count, 2 * pairs, *frame[:2], self.filters])
        return self.activation(outputs[:, :time])

    def _unfolded(self, inputs, kernel):
        height, width, channels = inputs.shape[2:]
        count, time = ops.shape(inputs)[:2]
        padded = ops.pad(inputs, [[0, 0], [1, 1], [0, 0], [0, 0], [0, 0]])
        stacked = ops.concatenate([padded[:, t : t + time] for t in range(3)], axis=-1)
        outputs = ops.conv(
            ops.reshape(stacked, [-1, height, width, 3 * channels]),
            ops.reshape(ops.transpose(kernel, [1, 2, 0, 3, 4]), [3, 3, 3 * channels, -1]),
            padding="same",
        )
        return ops.reshape(outputs, [count, time, height, width, self.filters])

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "apart": self.apart}


@keras.saving.register_keras_serializable("scnn_tf")
class PaddedConvolution(keras.layers.Conv3D):
    """A 3D convolution without bias, with half its kernel as the border on both sides.

    With a stride, PyTorch and Caffe have such borders, and Keras's "same" has a wider one on the
    far side.

    What can be a 2D convolution is one: a kernel of a single frame, a kernel of a single pixel, and
    any kernel over pictures of few channels. With TensorFlow 2.16 on a CPU, the gradient of the
    pictures' kernel then takes half to a third of the time; and where the CPU has no products in
    bfloat16, inference in it takes a thirtieth.

    Args:
        filters: Number of filters.
        kernel_size: Frames, height and width of the kernel; odd.
        strides: Strides in time, height and width.
        apart: Distance in time of the frames that the kernel combines, 1 or 2.
    """

    def __init__(self, filters, kernel_size, strides=(1, 1, 1), apart: int = 1, **kwargs):
        settings = {"padding": "same", "use_bias": False, **kwargs}
        super().__init__(filters, kernel_size, strides, **settings)
        self.apart = apart

    def call(self, inputs):  # noqa: D102
        return _by_turns(inputs, self._convolved) if self.apart == 2 else self._convolved(inputs)

    def _convolved(self, inputs):
        borders = [(size // 2, size // 2) for size in self.kernel_size]
        padded = ops.pad(inputs, [(0, 0), *borders, (0, 0)])
        if self.kernel_size[0] == 1 or inputs.shape[-1] <= _FEW_CHANNELS:
            return self._over_space(padded)
        if self.kernel_size[1:] == self.strides[1:] == (1, 1):
            return self._over_time(padded)
        return ops.conv(padded, self.kernel, self.strides)

    def _over_space(self, padded):
        """Convolves pictures, each of which has the channels of all frames under the kernel."""
        size, stride = self.kernel_size[0], self.strides[0]
        count, time = ops.shape(padded)[:2]
        stacked = [padded[:, t : time - size + 1 + t : stride] for t in range(size)]
        pictures = ops.concatenate(stacked, axis=-1)
        channels = pictures.shape[-1]
        kernel = ops.transpose(self.kernel, [1, 2, 0, 3, 4])
        outputs = ops.conv(
            ops.reshape(pictures, [-1, *padded.shape[2:4], channels]),
            ops.reshape(kernel, [*self.kernel_size[1:], channels, self.filters]),
            self.strides[1:],
        )
        return ops.reshape(outputs, [count, -1, *outputs.shape[1:]])

    def _over_time(self, padded):
        """Convolves one picture a stretch, whose rows are the frames."""
        height, width, channels = padded.shape[2:]
        count, time = ops.shape(padded)[:2]
        rows = ops.reshape(padded, [count, time, height * width, channels])
        outputs = ops.conv(rows, self.kernel[:, :, 0], (self.strides[0], 1))
        return ops.reshape(outputs, [count, -1, height, width, self.filters])

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "apart": self.apart}


def _by_turns(inputs, convolve):
    """Applies an operation to the frames 0, 2, 4 … and to 1, 3, 5 …, and puts both in order again.

    It is a dilation in time, which TensorFlow has no gradient of on a CPU.

    Args:
        inputs: `[N, T, H, W, C]`.
        convolve: An operation on `[N, T', H, W, C]` that keeps T' and treats what is outside as 0.
    """
    count, time, height, width = ops.shape(inputs)[:4]
    half = (time + 1) // 2
    padded = ops.pad(inputs, [[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]])[:, : 2 * half]
    turns = ops.reshape(padded, [count, half, 2, height, width, inputs.shape[-1]])
    both = convolve(ops.concatenate([turns[:, :, 0], turns[:, :, 1]], axis=0))
    ordered = ops.stack(ops.split(both, 2, axis=0), axis=2)
    shape = [count, 2 * half, height, width, both.shape[-1]]
    return ops.reshape(ordered, shape)[:, :time]
