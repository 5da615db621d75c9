"""The layers that Keras lacks, and two whose Keras versions are wrong or slow on a CPU."""

import keras
from keras import ops

# Mean of the Sports-1M training frames in BGR, 0–255, as ports of C3D commonly give it. The mean
# volume was not available to check it; `convert_weights --mean` uses the volume in its place.
SPORTS1M_MEAN_BGR = (90.25, 97.66, 101.41)


@keras.saving.register_keras_serializable("scnn_tf")
class FrameNormalization(keras.layers.Layer):
    """Normalizes raw frames for the first convolution.

    Args:
        mode: "mean": BGR minus the Sports-1M mean, unscaled: the input of the authors' C3D. The
            mean is a weight that is not trained, `mean`, float32 `[T, H, W, 3]`, BGR: at first the
            color `SPORTS1M_MEAN_BGR`; converted weights bring the center crop of the mean volume.
            In training, that crop is also subtracted from other crops and from mirrored ones.
            "mean128": BGR minus 128, unscaled: the input of the authors' Res3D.
            "motion": the frames minus their mean over the segment's 16 frames, scaled. A static
            background becomes zero, so that a small training set cannot be memorized by its
            backgrounds and clothes.
            "still": the middle frame 16 times, scaled to [-1, 1]: a network that sees no motion,
            which shows how much of a dataset a single picture reveals.

    Call arguments:
        frames: uint8 `[N, T, H, W, 3]`, RGB.

    Returns:
        float `[N, T, H, W, 3]`.
    """

    def __init__(self, mode: str = "mean", **kwargs):
        if mode not in ("mean", "mean128", "motion", "still"):
            raise ValueError(
                f'mode must be "mean", "mean128", "motion" or "still". Received: {mode!r}'
            )
        super().__init__(**kwargs)
        self.mode = mode

    def build(self, input_shape):
        """Creates the mean, if the mode has one."""
        if self.mode == "mean":
            self.mean = self.add_weight(
                name="mean",
                shape=input_shape[1:],
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
        if self.mode == "mean":
            x = ops.flip(x, axis=-1) - self.mean
        elif self.mode == "mean128":
            x = ops.flip(x, axis=-1) - 128.0
        elif self.mode == "motion":
            x = (x - ops.mean(x, axis=1, keepdims=True)) / 32.0
        else:
            middle = x.shape[1] // 2
            x = ops.repeat(x[:, middle : middle + 1], x.shape[1], axis=1) / 127.5 - 1.0
        return ops.cast(x, self.compute_dtype)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mode": self.mode}


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
    """

    def call(self, inputs, training=None):  # noqa: D102
        if training is False:
            return super().call(inputs)  # TensorFlow fuses bias and activation into it
        if inputs.shape[-1] <= 4:
            outputs = self._unfolded(inputs, self.kernel)
        elif inputs.shape[1] == 2:
            padded = ops.pad(inputs, [[0, 0], [1, 1], [1, 1], [1, 1], [0, 0]])
            outputs = ops.conv(padded, self.kernel, padding="valid")
        else:
            outputs = self.convolution_op(inputs, self.kernel)
        return self.activation(ops.subtract(outputs, ops.negative(self.bias)))

    def _unfolded(self, inputs, kernel):
        _, time, height, width, channels = inputs.shape
        padded = ops.pad(inputs, [[0, 0], [1, 1], [0, 0], [0, 0], [0, 0]])
        stacked = ops.concatenate([padded[:, t : t + time] for t in range(3)], axis=-1)
        outputs = ops.conv(
            ops.reshape(stacked, [-1, height, width, 3 * channels]),
            ops.reshape(ops.transpose(kernel, [1, 2, 0, 3, 4]), [3, 3, 3 * channels, -1]),
            padding="same",
        )
        return ops.reshape(outputs, [-1, time, height, width, self.filters])


@keras.saving.register_keras_serializable("scnn_tf")
class MaxPool(keras.layers.Layer):
    """Max pooling by 2 in height and width, and by `time` in time, that is fast on a CPU.

    It computes what `keras.layers.MaxPooling3D(padding="same")` does with a stride that equals the
    pool (an odd border counts: ceil mode), but one frame at a time: on a CPU, the gradient of
    TensorFlow 2.16's 3D pool runs on a single core and takes longer than the convolution before it.

    Args:
        time: Factor in time, 1 or 2; must divide the number of frames.

    Call arguments:
        inputs: `[N, T, H, W, C]`.

    Returns:
        `[N, T / time, ⌈H / 2⌉, ⌈W / 2⌉, C]`.
    """

    def __init__(self, time: int, **kwargs):
        super().__init__(**kwargs)
        self.time = time

    def call(self, inputs):  # noqa: D102
        _, frames, height, width, channels = inputs.shape
        x = ops.reshape(inputs, [-1, height, width, channels])
        x = ops.max_pool(x, 2, strides=2, padding="same")
        _, height, width, _ = x.shape
        x = ops.reshape(x, [-1, frames // self.time, self.time, height, width, channels])
        return ops.max(x, axis=2)

    def compute_output_shape(self, input_shape):  # noqa: D102
        count, frames, height, width, channels = input_shape
        return (count, frames // self.time, -(-height // 2), -(-width // 2), channels)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "time": self.time}


def with_window_length(features, window_frames, precision: str):
    """Appends the encoded length of the segment to its features.

    Args:
        features: `[N, C]`.
        window_frames: int `[N]`.
        precision: Precision of the network.

    Returns:
        `[N, C + 6]`.
    """
    encoding = WindowLengthEncoding(dtype=precision, name="window_length")(window_frames)
    return keras.layers.Concatenate(dtype=precision, name="with_length")([features, encoding])


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
