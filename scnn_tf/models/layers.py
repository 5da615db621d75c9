"""The layers that Keras lacks, and a pool whose Keras version is slow on a CPU."""

import math
from collections.abc import Callable

import keras
from keras import ops

from scnn_tf.segments.windows import SAMPLED_FRAMES

# Mean of the Sports-1M training frames in BGR, 0–255, as ports of C3D commonly give it. The mean
# volume was not available to check it; `convert_weights --mean` uses the volume in its place.
SPORTS1M_MEAN_BGR = (90.25, 97.66, 101.41)
LOCAL_MEAN_REACH = 3  # frames on either side whose mean "local_motion" subtracts from a frame
# Mean and standard deviation of the frames of Kinetics-400 in RGB, 0–1, as torchvision has them.
_KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
_KINETICS_DEVIATION = (0.22803, 0.22145, 0.216989)
_MODES = ("mean", "mean128", "kinetics", "motion", "local_motion", "still")


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
            "kinetics": RGB / 255, minus the mean of Kinetics-400, divided by its standard
            deviation: the input of torchvision's video networks.
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
        elif self.mode == "kinetics":
            x = (x / 255.0 - _KINETICS_MEAN) / _KINETICS_DEVIATION
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


def hidden_layers(x, units: int, dropout: float, precision: str, initializers: Callable[[], dict]):
    """Applies C3D's two dense layers, fc6 and fc7, each with a ReLU and dropout.

    Args:
        x: `[N, n, C]`.
        units: Number of units of each layer.
        dropout: Dropout rate after each layer, in [0, 1).
        precision: Precision of the network.
        initializers: Returns the arguments of a layer that initialize its weights.

    Returns:
        `[N, n, units]`.
    """
    for layer in ("fc6", "fc7"):
        x = keras.layers.Dense(
            units, activation="relu", dtype=precision, name=layer, **initializers()
        )(x)
        x = keras.layers.Dropout(dropout, dtype=precision, name=f"dropout_{layer}")(x)
    return x


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
