"""C3D, the 3D convolutional network under all three stages of S-CNN (section 3.1)."""

import math

import keras

from scnn_tf.models.convolutions import Convolution
from scnn_tf.models.layers import FrameNormalization, MaxPool, hidden_layers, with_window_length

# Name, filters at width 1, distance of the frames that it combines, and the pool that follows. From
# the fourth pool on, time is no longer shortened, since every window of a stretch needs its own
# steps: frames and pooled frames are two apart instead.
_CONVOLUTIONS = (
    ("conv1a", 64, 1, {"time": 1}),
    ("conv2a", 128, 1, {"time": 2}),
    ("conv3a", 256, 1, None),
    ("conv3b", 256, 1, {"time": 2}),
    ("conv4a", 512, 1, None),
    ("conv4b", 512, 1, {"apart": 1}),
    ("conv5a", 512, 2, None),
    ("conv5b", 512, 2, {"apart": 2}),
)


@keras.saving.register_keras_serializable("scnn_tf")
class C3D(keras.Model):
    """C3D without its last layer, from a stretch of frames to a feature vector of each window.

    A stretch of 16 + 4 (n - 1) frames has n windows of 16, one every four. They share eight 3×3×3
    convolutions with five max pools (ceil mode); then come fc6 and fc7. The input is raw frames;
    their normalization is part of the model. At width 1 with 16 × 112 × 112 frames, one window, and
    a head of 21 outputs, it is the network of the paper, with 78,081,813 parameters.

    Next to other windows, a window sees their frames where a lone one sees zeros: a network must be
    trained on stretches to be run on them.

    Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015.

    Args:
        width: Factor on the number of filters of every convolution.
        hidden: Number of units of fc6 and of fc7.
        frame_shape: Height and width of a frame, in pixels.
        dropout: Dropout rate after fc6 and fc7, in [0, 1).
        normalization: Mode of `FrameNormalization`; "mean" is the paper's.
        pool5: Borders that are padded before the last pool where they are odd: "far", as in
            Caffe's network, whose pools are in ceil mode; or "both", as in most of its ports: the
            7 × 7 pixels of conv5b are then paired as (·, 1), (2, 3) … instead of (1, 2) … (7, ·).
        initializer: "caffe" (the authors' Gaussians, for fine-tuning) or "he" (to train from
            scratch, where the authors' initial weights do not learn).
        window_input: Whether the network is also given the length of the segment, from which it
            can judge speed: 16 frames sampled from 16 or from 512 look alike.
        precision: "float32", or "mixed_bfloat16" to compute in bfloat16 with float32 weights.

    Call arguments: a dict of
        frames: uint8 `[N, 16 + 4 (n - 1), height, width, 3]`, RGB.
        window_frames: int `[N]`, length of each window in frames, at the dataset's frame rate;
            only with `window_input`.

    Returns:
        `[N, n, hidden]`, float.

    Example:
        >>> backbone = C3D(width=0.125, hidden=512, frame_shape=(56, 56), initializer="he")
        >>> backbone({"frames": np.zeros([1, 24, 56, 56, 3], "uint8")}).shape
        (1, 3, 512)
    """

    def __init__(
        self,
        width: float = 1.0,
        hidden: int = 4096,
        frame_shape: tuple[int, int] = (112, 112),
        dropout: float = 0.5,
        normalization: str = "mean",
        pool5: str = "far",
        initializer: str = "caffe",
        window_input: bool = False,
        precision: str = "float32",
        name: str = "c3d",
        **kwargs,
    ):
        if initializer not in ("caffe", "he"):
            raise ValueError(f'initializer must be "caffe" or "he". Received: {initializer!r}')
        if pool5 not in ("far", "both"):
            raise ValueError(f'pool5 must be "far" or "both". Received: {pool5!r}')
        frames = keras.Input([None, *frame_shape, 3], dtype="uint8", name="frames")
        inputs = {"frames": frames}
        x = FrameNormalization(normalization, dtype=precision, name="normalization")(frames)
        for layer, filters, apart, pool in _CONVOLUTIONS:
            x = Convolution(
                max(1, round(filters * width)),
                3,
                padding="same",
                activation="relu",
                kernel_initializer=_kernel(initializer, 0.01),
                bias_initializer=_bias(initializer, 0.0 if layer == "conv1a" else 1.0),
                apart=apart,
                dtype=precision,
                name=layer,
            )(x)
            if pool:
                both = layer == "conv5b" and pool5 == "both"
                pool = MaxPool(**pool, both_sides=both, dtype=precision, name=f"pool{layer[4]}")
                x = pool(x)
        x = keras.layers.Reshape((-1, math.prod(x.shape[2:])), dtype=precision, name="flatten")(x)
        if window_input:
            inputs["window_frames"] = keras.Input([], dtype="int32", name="window_frames")
            x = with_window_length(x, inputs["window_frames"], precision)
        x = hidden_layers(
            x,
            hidden,
            dropout,
            precision,
            lambda: {
                "kernel_initializer": _kernel(initializer, 0.005),
                "bias_initializer": _bias(initializer, 1.0),
            },
        )
        super().__init__(inputs=inputs, outputs=x, name=name, **kwargs)

        self.width = width
        self.hidden = hidden
        self.frame_shape = tuple(frame_shape)
        self.dropout = dropout
        self.normalization = normalization
        self.pool5 = pool5
        self.initializer = initializer
        self.window_input = window_input
        self.precision = precision

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            "width": self.width,
            "hidden": self.hidden,
            "frame_shape": self.frame_shape,
            "dropout": self.dropout,
            "normalization": self.normalization,
            "pool5": self.pool5,
            "initializer": self.initializer,
            "window_input": self.window_input,
            "precision": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict) -> "C3D":
        """Returns the network that `get_config` describes."""
        return cls(**config)


def _kernel(initializer: str, stddev: float) -> keras.initializers.Initializer:
    if initializer == "he":
        return keras.initializers.HeNormal()
    return keras.initializers.RandomNormal(stddev=stddev)


def _bias(initializer: str, value: float) -> keras.initializers.Initializer:
    return keras.initializers.Constant(value if initializer == "caffe" else 0.0)
