"""C3D in NumPy: random weights, and a forward pass that shares no code with the library."""

import math

import keras
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

CONVOLUTIONS = {
    "conv1a": 1, "conv2a": 2, "conv3a": 4, "conv3b": 4,
    "conv4a": 8, "conv4b": 8, "conv5a": 8, "conv5b": 8,
}  # fmt: skip
POOLS = {
    "conv1a": ("pool1", 1), "conv2a": ("pool2", 2), "conv3b": ("pool3", 2),
    "conv4b": ("pool4", 2), "conv5b": ("pool5", 2),
}  # fmt: skip


def random_layers(filters: int, hidden: int, outputs: int = 11) -> dict:
    """Weights (out, in, t, h, w) and (out, in) that keep the scale of the outputs; biases."""
    random = np.random.default_rng(0)
    shapes, inputs = {}, 3
    for name, factor in CONVOLUTIONS.items():
        shapes[name] = (filters * factor, inputs, 3, 3, 3)
        inputs = filters * factor
    shapes |= {"fc6": (hidden, inputs * 16), "fc7": (hidden, hidden), "fc8": (outputs, hidden)}
    return {
        name: (
            random.normal(0, (2 / math.prod(shape[1:])) ** 0.5, shape).astype(np.float32),
            random.normal(0, 0.1, shape[0]).astype(np.float32),
        )
        for name, shape in shapes.items()
    }


def forward(layers: dict, frames: np.ndarray, mean: np.ndarray, pool5: str = "far") -> dict:
    """Returns every output of C3D up to fc7, `[c, t, h, w]` or `[units]`.

    `frames` is uint8 [16, 112, 112, 3], RGB; `mean` [3, 16, 112, 112], BGR.
    """
    x = frames[..., ::-1].transpose(3, 0, 1, 2) - mean
    outputs = {"normalization": x}
    for name in CONVOLUTIONS:
        weight, bias = layers[name]
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1)])
        patches = sliding_window_view(padded, (3, 3, 3), axis=(1, 2, 3))
        x = np.tensordot(weight, patches, axes=([1, 2, 3, 4], [0, 4, 5, 6]))
        x = outputs[name] = np.maximum(x + bias[:, None, None, None], 0)
        if name in POOLS:
            pool, time = POOLS[name]
            if (pool, pool5) == ("pool5", "both"):  # 7 × 7 to 9 × 9, of which 8 × 8 are pooled
                x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])[:, :, :8, :8]
            x = outputs[pool] = ceil_pool(x, time)
    x = outputs["flatten"] = x.reshape(-1)
    for name in ("fc6", "fc7"):
        weight, bias = layers[name]
        x = outputs[name] = np.maximum(weight @ x + bias, 0)
    return outputs


def ceil_pool(x: np.ndarray, time: int) -> np.ndarray:
    """Max pooling over (time, 2, 2) in ceil mode: an odd border counts."""
    channels, frames, height, width = x.shape
    rest = [(0, 0), (0, 0), (0, height % 2), (0, width % 2)]
    x = np.pad(x, rest, constant_values=-np.inf)
    x = x.reshape(channels, frames // time, time, x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    return x.max(axis=(2, 4, 6))


def assert_every_output_agrees(model: keras.Model, expected: dict, frames: np.ndarray) -> None:
    got = keras.Model(model.input, {name: model.get_layer(name).output for name in expected})(
        {"frames": frames[None]}, training=False
    )
    for name, values in expected.items():
        output = got[name].numpy()[0]
        if name in ("pool4", "conv5a", "conv5b"):
            output = output[::2]  # the second of the three steps is of no window
        if output.ndim == 2:
            (output,) = output  # of the only window
        if name == "flatten":  # in another order in Keras, which fc6 allows for
            output, values = np.sort(output), np.sort(values)
        elif output.ndim == 4:
            output = output.transpose(3, 0, 1, 2)
        assert output.shape == values.shape
        scale = np.abs(values).max()
        assert scale > 0.1, name
        np.testing.assert_allclose(output, values, rtol=0, atol=1e-4 * scale, err_msg=name)
