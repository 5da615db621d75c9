"""The layers that Keras lacks, and two whose Keras versions are wrong or slow on a CPU."""

import math

import keras
from keras import ops

from scnn_tf.segments.windows import SAMPLED_FRAMES

# Mean of the Sports-1M training frames in BGR, 0–255, as ports of C3D commonly give it. The mean
# volume was not available to check it; `convert_weights --mean` uses the volume in its place.
SPORTS1M_MEAN_BGR = (90.25, 97.66, 101.41)
LOCAL_MEAN_REACH = 3  # frames on either side whose mean "local_motion" subtracts from a frame
_MANY_CHANNELS = 64  # from which on adding up frames costs less than the products that it saves
_MODES = ("mean", "mean128", "motion", "local_motion", "still")


@keras.saving.register_keras_serializable("scnn_tf")
class FrameNormalization(keras.layers.Layer):
    """Normalizes raw frames for the first convolution.

    Args:
        mode: "mean": BGR minus the Sports-1M mean, unscaled: the input of the authors' C3D. The
            mean is a weight that is not trained, `mean`, float32 `[16, H, W, 3]`, BGR: at first the
            color `SPORTS1M_MEAN_BGR`; converted weights bring the center crop of the mean volume.
            In training, that crop is also subtracted from other crops and from mirrored ones. From
            a stretch of several windows, the volume's mean over time is subtracted.
            "mean128": BGR minus 128, unscaled: the input of the authors' Res3D.
            "motion": the frames minus their mean over the segment's 16 frames, scaled. A static
            background becomes zero, so that a small training set cannot be memorized by its
            backgrounds and clothes.
            "local_motion": each frame minus the mean of the 7 frames around it, fewer at the ends,
            scaled: motion that does not depend on where a stretch begins.
            "still": the middle frame of a segment 16 times, scaled to [-1, 1]: a network that sees
            no motion, which shows how much of a dataset a single picture reveals.

    Call arguments:
        frames: uint8 `[N, T, H, W, 3]`, RGB; T is 16 for a segment, more for a stretch.

    Returns:
        float `[N, T, H, W, 3]`.
    """

    def __init__(self, mode: str = "mean", **kwargs):
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}. Received: {mode!r}")
        super().__init__(**kwargs)
        self.mode = mode

    def build(self, input_shape):
        """Creates the mean, if the mode has one."""
        if self.mode == "mean":
            self.mean = self.add_weight(
                name="mean",
                shape=(SAMPLED_FRAMES, *input_shape[2:]),
                initializer=lambda shape, dtype: ops.broadcast_to(
                    ops.convert_to_tensor(SPORTS1M_MEAN_BGR, dtype), shape
                ),
                dtype="float32",
                trainable=False,
                autocast=False,  # bfloat16 would round it before the subtraction
            )

    def call(self, frames):  # noqa: D102
        # In float32: bfloat16 has eight significant bits, too few for the subtraction.
        x = ops.cast(frames, "float32")
        time = ops.shape(frames)[1]
        if self.mode == "mean":
            x = ops.flip(x, axis=-1) - self._mean_of(time)
        elif self.mode == "mean128":
            x = ops.flip(x, axis=-1) - 128.0
        elif self.mode == "motion":
            x = (x - ops.mean(x, axis=1, keepdims=True)) / 32.0
        elif self.mode == "local_motion":
            x = (x - _local_mean(frames)) / 32.0
        else:
            middle = x[:, SAMPLED_FRAMES // 2 : SAMPLED_FRAMES // 2 + 1]
            x = ops.repeat(middle, SAMPLED_FRAMES, axis=1) / 127.5 - 1.0
        return ops.cast(x, self.compute_dtype)

    def _mean_of(self, time):
        """Returns the mean of each frame of a segment, or of a stretch of `time` frames."""
        everywhere = ops.mean(self.mean, axis=0, keepdims=True)
        frame = ops.arange(time)
        row = ops.where(ops.equal(time, SAMPLED_FRAMES), frame, SAMPLED_FRAMES)
        return ops.take(ops.concatenate([self.mean, everywhere]), row, axis=0)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mode": self.mode}


def _local_mean(frames):
    """Returns the mean of the 7 frames around each frame, fewer at the ends.

    Args:
        frames: uint8 `[N, T, H, W, 3]`.

    Returns:
        float32, of the same shape; it does not depend on where a stretch begins.
    """
    time = ops.shape(frames)[1]
    pixels = ops.cast(frames, "float32")
    # Sums of so few integers are exact in float32, in whichever order they are added.
    rows = ops.reshape(pixels, [-1, time, math.prod(frames.shape[2:])])
    means = ops.average_pool(rows, 2 * LOCAL_MEAN_REACH + 1, strides=1, padding="same")
    return ops.reshape(means, ops.shape(pixels))


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
      bfloat16 kernel is garbage, at times NaN. Such inputs are padded before the convolution.

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
        if training is False:
            if inputs.shape[-1] >= _MANY_CHANNELS and not keras.distribution.list_devices("gpu"):
                return self._by_pairs(inputs)
            return super().call(inputs)  # TensorFlow fuses bias and activation into it
        if inputs.shape[-1] <= 4:
            outputs = self._unfolded(inputs, self.kernel)
        elif self.apart == 2 or inputs.shape[1] == 2:  # of the shortest stretch, a turn has two
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


@keras.saving.register_keras_serializable("scnn_tf")
class MaxPool(keras.layers.Layer):
    """Max pooling by 2 in height and width, and of one or two frames in time.

    It computes what `keras.layers.MaxPooling3D(padding="same")` does with a stride of 2 (an odd
    border counts: ceil mode), but in training one frame at a time: on a CPU, the gradient of
    TensorFlow 2.16's 3D pool runs on a single core and takes longer than the convolution before it.

    Args:
        time: Number of frames that become one, 1 or 2; must divide the number of frames.
        apart: None, or the distance of two frames, of which each frame and the one so much later
            become one: pooling with stride 1, by which windows share what follows.
        both_sides: Whether height and width are padded by 1 on both sides before, as PyTorch's
            `padding=(0, 1, 1)` does; an odd border then counts at the near side only. The inputs
            must not be negative.

    Call arguments:
        inputs: `[N, T, H, W, C]`.

    Returns:
        `[N, T / time, ⌈H / 2⌉, ⌈W / 2⌉, C]`, or `[N, T - apart, …]`; with `both_sides`
        `[…, ⌊H / 2⌋ + 1, ⌊W / 2⌋ + 1, C]`.
    """

    def __init__(self, time: int = 1, apart: int | None = None, both_sides: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.time = time
        self.apart = apart
        self.both_sides = both_sides

    def call(self, inputs, training=None):  # noqa: D102
        if self.both_sides:
            # An odd border needs no second zero: no pool would reach it.
            height, width = ([1, 1 - size % 2] for size in inputs.shape[2:4])
            inputs = ops.pad(inputs, [[0, 0], [0, 0], height, width, [0, 0]])
        if training is False:
            x = ops.max_pool(inputs, (self.time, 2, 2), padding="same")
        else:
            x = self._frame_by_frame(inputs)
        if self.apart:
            x = ops.maximum(x[:, : -self.apart], x[:, self.apart :])
        return x

    def _frame_by_frame(self, inputs):
        height, width, channels = inputs.shape[2:]
        count = ops.shape(inputs)[0]
        x = ops.reshape(inputs, [-1, height, width, channels])
        x = ops.max_pool(x, 2, strides=2, padding="same")
        height, width = x.shape[1:3]
        x = ops.max(ops.reshape(x, [-1, self.time, height, width, channels]), axis=1)
        return ops.reshape(x, [count, -1, height, width, channels])

    def compute_output_shape(self, input_shape):  # noqa: D102
        count, frames, height, width, channels = input_shape
        frames = frames and frames // self.time - (self.apart or 0)
        height, width = (
            size // 2 + 1 if self.both_sides else -(-size // 2) for size in (height, width)
        )
        return (count, frames, height, width, channels)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        own = {"time": self.time, "apart": self.apart, "both_sides": self.both_sides}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("scnn_tf")
class WindowEnds(keras.layers.Layer):
    """Concatenates the first and the third of the four steps of each window of a stretch.

    Call arguments:
        steps: `[N, n + 3, C]`.

    Returns:
        `[N, n, 2 C]`.
    """

    def call(self, steps):  # noqa: D102
        return ops.concatenate([steps[:, :-3], steps[:, 2:-1]], axis=-1)

    def compute_output_shape(self, input_shape):  # noqa: D102
        count, steps, channels = input_shape
        return (count, steps and steps - 3, 2 * channels)


def with_window_length(features, window_frames, precision: str):
    """Appends the encoded length of the windows of a stretch to the features of each.

    Args:
        features: `[N, n, C]`.
        window_frames: int `[N]`.
        precision: Precision of the network.

    Returns:
        `[N, n, C + 6]`.
    """
    encoding = WindowLengthEncoding(dtype=precision, name="window_length")(window_frames)
    return WithLength(dtype=precision, name="with_length")([features, encoding])


@keras.saving.register_keras_serializable("scnn_tf")
class WithLength(keras.layers.Layer):
    """Appends one vector of a stretch to the features of each of its windows.

    Call arguments:
        inputs: features `[N, n, C]` and vector `[N, D]`.

    Returns:
        `[N, n, C + D]`.
    """

    def call(self, inputs):  # noqa: D102
        features, vector = inputs
        repeated = ops.repeat(vector[:, None], ops.shape(features)[1], axis=1)
        return ops.concatenate([features, repeated], axis=-1)

    def compute_output_shape(self, input_shape):  # noqa: D102
        features, vector = input_shape
        return (*features[:-1], features[-1] + vector[-1])


@keras.saving.register_keras_serializable("scnn_tf")
class WindowLengthEncoding(keras.layers.Layer):
    """Encodes a segment's length as six soft indicators, one for each window length of the paper.

    Linear between neighbors on the logarithmic scale 16, 32 … 512, so that a trimmed clip of any
    length has its place among the windows: 16 is (1, 0, 0, 0, 0, 0), and 23 is half 16, half 32.

    Call arguments:
        window_frames: int `[N]`.

    Returns:
        float `[N, 6]`; each row sums to 1.
    """

    def call(self, window_frames):  # noqa: D102
        position = ops.log(ops.cast(window_frames, "float32") / 16.0) / ops.log(2.0)
        position = ops.clip(position, 0.0, 5.0)[:, None]
        encoding = ops.relu(1.0 - ops.abs(position - ops.arange(6, dtype="float32")))
        return ops.cast(encoding, self.compute_dtype)

    def compute_output_shape(self, input_shape):  # noqa: D102
        return (*input_shape, 6)
