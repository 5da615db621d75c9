"""Small networks and their inputs, for the tests of the networks."""

import numpy as np
import tensorflow as tf

# 20 × 28 pixels: halved to 10 × 14, 5 × 7, 3 × 4, 2 × 2, 1 × 1.
SMALL = {"width": 1 / 16, "hidden": 24, "frame_shape": (20, 28), "initializer": "he"}
"""Arguments of a small C3D."""


def frames(count: int = 2, shape: tuple[int, int] = (20, 28), seed: int = 0) -> np.ndarray:
    """Returns random segments, uint8 `[count, 16, *shape, 3]`."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, [count, 16, *shape, 3]).astype(np.uint8)


def predict(model, inputs) -> np.ndarray:
    """Returns the outputs of a model at inference."""
    return model(inputs, training=False).numpy()


def with_gradients(model, inputs) -> list[np.ndarray]:
    """Returns the outputs, and the gradient of each trainable weight."""
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=False)
        loss = tf.reduce_sum(outputs * np.linspace(-1, 1, outputs.shape[1], dtype=np.float32))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    return [outputs.numpy(), *(g.numpy() for g in gradients)]
