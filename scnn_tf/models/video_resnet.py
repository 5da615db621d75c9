"""torchvision's video ResNets: R3D, MC3 and R(2+1)D."""

import dataclasses
import math

import keras

from scnn_tf.models.convolutions import (
    Convolution,
    PaddedConvolution,
    batch_normalization,
    he_by_outputs,
)
from scnn_tf.models.layers import FrameNormalization, with_window_length
from scnn_tf.segments.stretches import SAMPLES_PER_STRIDE
from scnn_tf.segments.windows import SAMPLED_FRAMES


@dataclasses.dataclass(frozen=True)
class _Kind:
    """The structure of a network.

    Attributes:
        blocks: Numbers of blocks in layer1, layer2, layer3 and layer4.
        factorized: Whether each convolution is one over space and then one over time.
        timeless: Whether the convolutions from layer2 on are over space only.
        own_middle: Whether the second convolution of each block has as many planes between space
            and time as follows from itself, and not as many as the first convolution.
        epsilon: What batch normalization adds to the variance.
    """

    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    factorized: bool = False
    timeless: bool = False
    own_middle: bool = False
    epsilon: float = 1e-5


KINDS = {
    "r3d_18": _Kind(),
    "mc3_18": _Kind(timeless=True),
    "r2plus1d_18": _Kind(factorized=True),
    # In Caffe2, for which it was trained, epsilon is larger.
    "r2plus1d_34": _Kind((3, 4, 6, 3), factorized=True, own_middle=True, epsilon=1e-3),
}
"""The networks, by their names in torchvision; the last one was trained on IG-65M."""

# Filters at width 1, strides of the first block in time, height and width, and distance in time of
# the steps that are combined after it. In layer4 time is no longer shortened, since every window of
# a stretch needs its own steps: the steps that later convolutions combine are two apart instead.
_LAYERS = (
    (64, None, 1),
    (128, (2, 2, 2), 1),
    (256, (2, 2, 2), 1),
    (512, (1, 2, 2), 2),
)
Strides = tuple[int, int, int]


@keras.saving.register_keras_serializable("scnn_tf")
class VideoResNet(keras.Model):
    """A video ResNet of torchvision without its last layer: stretch to a feature vector a window.

    A stretch of 16 + 4 (n - 1) frames has n windows of 16, one every four, which share the stem and
    four layers (groups) of blocks. A block adds two convolutions, each with batch normalization and
    no bias, to its input; the first block of the layers 2, 3 and 4 halves height and width, and has
    a 1×1×1 convolution as its shortcut. The kinds are

        r3d_18: 3×3×3 convolutions, of which the first in layer2, layer3 and layer4 halves time;
        mc3_18: such in the stem and in layer1, then 1×3×3: time is never halved;
        r2plus1d_18: 1×3×3, batch normalization, ReLU and 3×1×1 for each 3×3×3;
        r2plus1d_34: the same with 3, 4, 6 and 3 blocks, as it was trained on IG-65M.

    Keras layers have the names of torchvision's modules, such as "layer4.0.conv1.0". For a stretch
    of T frames of 112 × 112 pixels, of which mc3_18 has T steps everywhere:

        stem and layer1 T × 56×56×64, layer2 T/2 × 28×28×128, layer3 T/4 × 14×14×256,
        layer4 T/4 × 7×7×512

    Features are means over height, width, and the steps of a window. Of its four steps in layer4,
    they are the first and the third: those that torchvision's network, for one window, has. Of
    mc3_18, all sixteen are.

    Trained parameters at width 1 with a head of 400 outputs, and moving means and variances:
    r3d_18 33,371,472 and 9,600; mc3_18 11,695,440 and 9,600; r2plus1d_18 31,505,325 and 25,350;
    r2plus1d_34 63,697,175 and 50,288.

    torchvision's weights were trained on Kinetics-400: 16 frames at 15 frames/s, resized to
    128 × 171, the center crop of 112 × 112, RGB / 255 minus a mean, divided by a standard deviation
    ("kinetics"). IG-65M's were trained on clips of 8 or of 32 frames, prepared in the same way.

    Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018.
    Ghadiyaram et al., "Large-scale weakly-supervised pre-training for video action recognition",
    CVPR 2019.

    Args:
        kind: "r3d_18", "mc3_18", "r2plus1d_18" or "r2plus1d_34".
        width: Factor on the number of filters of every convolution. The planes between space and
            time follow from it by torchvision's rule: a pair has as many weights as a 3×3×3
            convolution would.
        frame_shape: Height and width of a frame, in pixels.
        normalization: Mode of `FrameNormalization`; "kinetics" is torchvision's.
        window_input: Whether the network is also given the length of the segment, whose encoding
            is appended to the features.
        precision: "float32", or "mixed_bfloat16" to compute in bfloat16 with float32 weights.
        name: Name of the model; None: the kind.

    Call arguments: a dict of
        frames: uint8 `[N, 16 + 4 (n - 1), height, width, 3]`, RGB.
        window_frames: int `[N]`, length of each window in frames, at the dataset's frame rate;
            only with `window_input`.

    Returns:
        `[N, n, 512 · width]`, float; six more with `window_input`.

    Example:
        >>> backbone = VideoResNet("r2plus1d_18", width=0.125, frame_shape=(56, 56))
        >>> backbone({"frames": np.zeros([1, 24, 56, 56, 3], "uint8")}).shape
        (1, 3, 64)
    """

    def __init__(
        self,
        kind: str,
        width: float = 1.0,
        frame_shape: tuple[int, int] = (112, 112),
        normalization: str = "kinetics",
        window_input: bool = False,
        precision: str = "float32",
        name: str | None = None,
        **kwargs,
    ):
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}. Received: {kind!r}")
        frames = keras.Input([None, *frame_shape, 3], dtype="uint8", name="frames")
        inputs = {"frames": frames}
        x = FrameNormalization(normalization, dtype=precision, name="normalization")(frames)
        x = _Trunk(KINDS[kind], width, precision)(x)
        x = keras.layers.AveragePooling3D((1, *x.shape[2:4]), dtype=precision, name="avgpool")(x)
        x = keras.layers.Reshape((-1, math.prod(x.shape[2:])), dtype=precision, name="flatten")(x)
        x = _windows(x, KINDS[kind], precision)
        if window_input:
            inputs["window_frames"] = keras.Input([], dtype="int32", name="window_frames")
            x = with_window_length(x, inputs["window_frames"], precision)
        super().__init__(inputs=inputs, outputs=x, name=name or kind, **kwargs)

        self.kind = kind
        self.width = width
        self.frame_shape = tuple(frame_shape)
        self.normalization = normalization
        self.window_input = window_input
        self.precision = precision

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            "kind": self.kind,
            "width": self.width,
            "frame_shape": self.frame_shape,
            "normalization": self.normalization,
            "window_input": self.window_input,
            "precision": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict) -> "VideoResNet":
        """Returns the network that `get_config` describes."""
        return cls(**config)


def _windows(x, kind: _Kind, precision: str):
    """Returns the mean of the steps of each window, `[N, n, C]`, of `[N, steps, C]`."""
    if kind.timeless:
        return keras.layers.AveragePooling1D(
            SAMPLED_FRAMES, SAMPLES_PER_STRIDE, dtype=precision, name="windows"
        )(x)
    first = keras.layers.Cropping1D((0, 3), dtype=precision, name="first_steps")(x)
    third = keras.layers.Cropping1D((2, 1), dtype=precision, name="third_steps")(x)
    return keras.layers.Average(dtype=precision, name="windows")([first, third])


@dataclasses.dataclass(frozen=True)
class _Trunk:
    """The stem and the four layers of a network, whose modules have torchvision's names."""

    kind: _Kind
    width: float
    precision: str

    def __call__(self, x):
        x = self._stem(x)
        for number, (filters, strides, apart) in enumerate(_LAYERS, start=1):
            filters = self._filters(filters)
            if self.kind.timeless and number > 1:
                time, strides, apart = 1, (1, *strides[1:]), 1
            else:
                time = 3
            for index in range(self.kind.blocks[number - 1]):
                name = f"layer{number}.{index}"
                x = self._block(x, name, filters, time, None if index else strides, apart)
        return x

    def _stem(self, x):
        filters = self._filters(64)
        if not self.kind.factorized:
            x = self._convolved(x, "stem.0", filters, (3, 7, 7), (1, 2, 2))
            return self._relu(self._normalized(x, "stem.1"), "stem.2")
        x = self._convolved(x, "stem.0", self._filters(45), (1, 7, 7), (1, 2, 2))
        x = self._relu(self._normalized(x, "stem.1"), "stem.2")
        x = self._convolved(x, "stem.3", filters, (3, 1, 1))
        return self._relu(self._normalized(x, "stem.4"), "stem.5")

    def _block(self, x, name: str, filters: int, time: int, strides: Strides | None, apart: int):
        """Adds two convolutions to a shortcut.

        Args:
            x: `[N, T, H, W, C]`.
            name: Name of the block, such as "layer4.0".
            filters: Number of filters of both convolutions.
            time: Number of frames that a convolution combines.
            strides: Strides of the first convolution and of the shortcut's; None: the shortcut has
                no convolution.
            apart: Distance in time of these frames; with `strides`, those of the first convolution
                are neighbors.
        """
        middle = _middle(x.shape[-1], filters)
        shortcut, first_apart = x, apart
        if strides:
            shortcut = self._convolved(x, f"{name}.downsample.0", filters, (1, 1, 1), strides)
            shortcut = self._normalized(shortcut, f"{name}.downsample.1")
            first_apart = 1
        x = self._unit(x, f"{name}.conv1", filters, middle, time, strides or (1, 1, 1), first_apart)
        x = self._relu(x, f"{name}.conv1.2")
        if self.kind.own_middle:
            middle = _middle(filters, filters)
        x = self._unit(x, f"{name}.conv2", filters, middle, time, (1, 1, 1), apart)
        x = keras.layers.Add(dtype=self.precision, name=f"{name}.add")([shortcut, x])
        return self._relu(x, f"{name}.relu")

    def _unit(
        self, x, name: str, filters: int, middle: int, time: int, strides: Strides, apart: int
    ):
        """Applies a convolution, or two with `middle` planes between them, and normalizes."""
        if self.kind.factorized:
            x = self._convolved(x, f"{name}.0.0", middle, (1, 3, 3), (1, *strides[1:]))
            x = self._relu(self._normalized(x, f"{name}.0.1"), f"{name}.0.2")
            x = self._convolved(x, f"{name}.0.3", filters, (time, 1, 1), (strides[0], 1, 1), apart)
        else:
            x = self._convolved(x, f"{name}.0", filters, (time, 3, 3), strides, apart)
        return self._normalized(x, f"{name}.1")

    def _convolved(
        self,
        x,
        name: str,
        filters: int,
        kernel: tuple[int, int, int],
        strides: Strides = (1, 1, 1),
        apart: int = 1,
    ):
        settings = {
            "apart": apart,
            "kernel_initializer": he_by_outputs(),
            "dtype": self.precision,
            "name": name,
        }
        if kernel == (3, 3, 3) and strides == (1, 1, 1):
            return Convolution(filters, kernel, padding="same", use_bias=False, **settings)(x)
        return PaddedConvolution(filters, kernel, strides, **settings)(x)

    def _normalized(self, x, name: str):
        return batch_normalization(name, self.precision, self.kind.epsilon)(x)

    def _relu(self, x, name: str):
        return keras.layers.ReLU(dtype=self.precision, name=name)(x)

    def _filters(self, at_width_1: int) -> int:
        return max(1, round(at_width_1 * self.width))


def _middle(inputs: int, filters: int) -> int:
    """Returns the planes between space and time with which a pair is as large as a 3×3×3 kernel."""
    return 27 * inputs * filters // (9 * inputs + 3 * filters)
