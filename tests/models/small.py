"""Small networks and their inputs, for the tests of the networks."""

import keras
import numpy as np
import tensorflow as tf

# 20 × 28 pixels: halved to 10 × 14, 5 × 7, 3 × 4, 2 × 2, 1 × 1.
SMALL = {"width": 1 / 16, "hidden": 24, "frame_shape": (20, 28), "initializer": "he"}
"""Arguments of a small C3D."""


def frames(
    count: int = 2, shape: tuple[int, int] = (20, 28), seed: int = 0, windows: int = 1
) -> np.ndarray:
    """Returns random stretches, uint8 `[count, 16 + 4 (windows - 1), *shape, 3]`."""
    random = np.random.default_rng(seed)
    size = [count, 16 + 4 * (windows - 1), *shape, 3]
    return random.integers(0, 256, size).astype(np.uint8)


def predict(model, inputs) -> np.ndarray:
    """Returns the outputs of a model at inference."""
    return model(inputs, training=False).numpy()


def output_shape(model, layer: str, time: int) -> tuple:
    """Returns the shape of a layer's output for a stretch of `time` frames."""
    height, width = model.input["frames"].shape[2:4]
    until = keras.Model(model.input, model.get_layer(layer).output)
    return until.compute_output_shape({"frames": (None, time, height, width, 3)})


def with_gradients(model, inputs) -> list[np.ndarray]:
    """Returns the outputs, and the gradient of each trainable weight."""
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=False)
        loss = tf.reduce_sum(outputs * np.linspace(-1, 1, outputs.shape[-1], dtype=np.float32))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    return [outputs.numpy(), *(g.numpy() for g in gradients)]
