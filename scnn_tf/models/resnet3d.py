"""Res3D-18, the 3D residual network under the second S-CNN that the authors released."""

import math

import keras

from scnn_tf.models.convolutions import Convolution, batch_normalization, he_by_outputs
from scnn_tf.models.layers import FrameNormalization, WindowEnds, with_window_length

# Number, filters at width 1, and stride of the first block in time and in height and width. In the
# last group time is no longer shortened, since every window of a stretch needs its own steps: the
# frames that later convolutions combine are two apart instead.
_GROUPS = ((2, 64, (1, 1)), (3, 128, (2, 2)), (4, 256, (2, 2)), (5, 512, (1, 2)))


@keras.saving.register_keras_serializable("scnn_tf")
class ResNet3D18(keras.Model):
    """The 3D ResNet of 18 layers without its last layer: stretch to a feature vector a window.

    A stretch of 16 + 4 (n - 1) frames has n windows of 16, one every four, which share a 3×7×7
    convolution, then four groups of two blocks of two 3×3×3 convolutions, each with batch
    normalization and no bias. The first block of a group has a 1×1×1 convolution as its shortcut
    and, except in the first group, halves height and width, and time up to the third group. For a
    stretch of T frames of 112 × 112 pixels:

        conv1 and res2 T × 56×56×64 and T × 56×56×64, res3 T/2 × 28×28×128, res4 T/4 × 14×14×256,
        res5 T/4 × 7×7×512

    The output is averaged over height and width. A window has four steps of res5, of which the
    first and the third are concatenated: those that the authors' network, for one window, has. At
    width 1 with a head of 21 outputs, it has 33,192,021 trained parameters and 9,728 moving means
    and variances.

    Tran et al., "ConvNet Architecture Search for Spatiotemporal Feature Learning", 2017,
    arXiv 1708.05038.

    Args:
        width: Factor on the number of filters of every convolution.
        frame_shape: Height and width of a frame, in pixels.
        normalization: Mode of `FrameNormalization`; "mean128" is the authors'.
        window_input: Whether the network is also given the length of the segment, whose encoding
            is appended to the features.
        precision: "float32", or "mixed_bfloat16" to compute in bfloat16 with float32 weights.

    Call arguments: a dict of
        frames: uint8 `[N, 16 + 4 (n - 1), height, width, 3]`, RGB.
        window_frames: int `[N]`, length of each window in frames, at the dataset's frame rate;
            only with `window_input`.

    Returns:
        `[N, n, 1024 · width]`, float; six more with `window_input`.

    Example:
        >>> backbone = ResNet3D18(width=0.125, frame_shape=(56, 56))
        >>> backbone({"frames": np.zeros([1, 24, 56, 56, 3], "uint8")}).shape
        (1, 3, 128)
    """

    def __init__(
        self,
        width: float = 1.0,
        frame_shape: tuple[int, int] = (112, 112),
        normalization: str = "mean128",
        window_input: bool = False,
        precision: str = "float32",
        name: str = "resnet3d18",
        **kwargs,
    ):
        frames = keras.Input([None, *frame_shape, 3], dtype="uint8", name="frames")
        inputs = {"frames": frames}
        x = FrameNormalization(normalization, dtype=precision, name="normalization")(frames)
        x = _convolved(x, "conv1", "_conv1", _filters(64, width), (3, 7, 7), (1, 2, 2), precision)
        x = keras.layers.ReLU(dtype=precision, name="conv1_relu")(x)
        for group, filters, stride in _GROUPS:
            apart = 2 if group == 5 else 1
            x = _block(x, f"{group}a", _filters(filters, width), stride, apart, precision)
            x = _block(x, f"{group}b", _filters(filters, width), None, apart, precision)
        x = keras.layers.AveragePooling3D((1, *x.shape[2:4]), dtype=precision, name="pool5")(x)
        x = keras.layers.Reshape((-1, math.prod(x.shape[2:])), dtype=precision, name="flatten")(x)
        x = WindowEnds(dtype=precision, name="ends")(x)
        if window_input:
            inputs["window_frames"] = keras.Input([], dtype="int32", name="window_frames")
            x = with_window_length(x, inputs["window_frames"], precision)
        super().__init__(inputs=inputs, outputs=x, name=name, **kwargs)

        self.width = width
        self.frame_shape = tuple(frame_shape)
        self.normalization = normalization
        self.window_input = window_input
        self.precision = precision

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            "width": self.width,
            "frame_shape": self.frame_shape,
            "normalization": self.normalization,
            "window_input": self.window_input,
            "precision": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict) -> "ResNet3D18":
        """Returns the network that `get_config` describes."""
        return cls(**config)


def _block(x, name: str, filters: int, stride: tuple[int, int] | None, apart: int, precision: str):
    """Adds two convolutions to a shortcut; layers are named as in the authors' network.

    Args:
        x: `[N, T, H, W, C]`.
        name: Name of the block, such as "3a".
        filters: Number of filters of both convolutions.
        stride: Stride of the first convolution and of the shortcut's, in time and in space; None:
            the shortcut has no convolution.
        apart: Distance in time of the frames that the convolutions combine; the first convolution
            of a group still combines neighbors.
        precision: Precision of the network.
    """

    def convolved(x, branch: str, kernel: int, stride: tuple[int, int], apart: int):
        layer = f"{name}_{branch}"
        strides = (stride[0], stride[1], stride[1])
        return _convolved(
            x, f"res{layer}", layer, filters, (kernel,) * 3, strides, precision, apart
        )

    shortcut = x if stride is None else convolved(x, "branch1", 1, stride, 1)
    x = convolved(x, "branch2a", 3, stride or (1, 1), apart if stride is None else 1)
    x = keras.layers.ReLU(dtype=precision, name=f"res{name}_branch2a_relu")(x)
    x = convolved(x, "branch2b", 3, (1, 1), apart)
    x = keras.layers.Add(dtype=precision, name=f"res{name}")([shortcut, x])
    return keras.layers.ReLU(dtype=precision, name=f"res{name}_relu")(x)


def _convolved(
    x,
    name: str,
    suffix: str,
    filters: int,
    kernel: tuple[int, int, int],
    strides: tuple[int, int, int],
    precision: str,
    apart: int = 1,
):
    """Applies a convolution, padded by half its kernel, and batch normalization."""
    settings = {
        "use_bias": False,
        "kernel_initializer": he_by_outputs(),  # like the authors' initial weights
        "dtype": precision,
        "name": name,
    }
    if apart == 2:
        x = Convolution(filters, kernel, padding="same", apart=2, **settings)(x)
    else:
        if max(kernel) > 1:
            # Equal on both sides, like Caffe: with a stride, "same" pads the far side more. It also
            # avoids TensorFlow's wrong gradients in bfloat16 on a CPU (see `Convolution`).
            border = tuple(size // 2 for size in kernel)
            x = keras.layers.ZeroPadding3D(border, dtype=precision, name=f"pad{suffix}")(x)
        x = keras.layers.Conv3D(filters, kernel, strides, **settings)(x)
    return batch_normalization(f"bn{suffix}", precision)(x)


def _filters(at_width_1: int, width: float) -> int:
    return max(1, round(at_width_1 * width))
