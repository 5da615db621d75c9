"""Boundaries of actions, looked for among the windows around a window. Any Keras backend.

A network that gives a boundary as a number has to know how long actions last. Here, as in the
trident head of TriDet (Shi et al., "TriDet: Temporal Action Detection with Relative Boundary
Modeling", CVPR 2023), each window says how much its middle looks like the start or the end of an
action, whatever its length, and how far away it expects its own. A boundary is the expectation over
the windows around.
"""

import keras
from keras import ops

from scnn_tf.segments.windows import STRIDES_PER_WINDOW

SURROUNDINGS = "surroundings"
"""The layer that combines a window's features with its neighbors'."""
OFFSETS = "offsets"
"""The layer that makes offsets of the logits of a head."""
NEIGHBORS = 2  # windows on either side that `SURROUNDINGS` combines with a window
_CHANNELS = 64  # of `SURROUNDINGS`


def boundaries_among(features, reach: int, actions: int, name: str):
    """Returns the boundaries of each window's actions, looked for among the windows around it.

    It depends on `NEIGHBORS + reach` windows on either side of a window.

    Args:
        features: A Keras tensor, `[N, n, F]`, of n consecutive windows.
        reach: Number of windows on either side whose middles may be boundaries.
        actions: Number of actions A that a window may be of.
        name: Name of the head, the last layer that has weights.

    Returns:
        float32 `[N, n, 2 A]`, offsets of start and end of each, in window lengths.
    """
    # A window's features tell what it shows; next to its neighbors', what begins or ends in it.
    around = keras.layers.Conv1D(
        _CHANNELS, 2 * NEIGHBORS + 1, padding="same", activation="relu", dtype="float32",
        name=SURROUNDINGS,
    )(features)  # fmt: skip
    logits = keras.layers.Dense(
        2 * actions * (2 * reach + 2), kernel_initializer="zeros", dtype="float32", name=name
    )(around)
    return ExpectedOffsets(reach, name=OFFSETS)(logits)


@keras.saving.register_keras_serializable("scnn_tf")
class ExpectedOffsets(keras.layers.Layer):
    """Offsets of boundaries, as expectations over the middles of the windows around a window.

    The logit of a start in the middle of window j, of the action that window i shows, is the sum of
    how much j looks like a start, how likely one is at this distance from i, and how near it is to
    the start of i. The start is the mean distance of the windows from i - R to i + R, weighted by
    the softmax of their logits. So is the end. With a reach of 8, logits of 0 give the window
    itself to .002 of its length; the smaller the reach, the further inside it.

    Args:
        reach: R.

    Call arguments:
        logits: float `[N, n, A · 2 (2 R + 2)]` of A actions of each window: of its start and of its
            end, first how much the window looks like it, then the logits of the 2 R + 1 distances.
            Of a window beyond the stretch, how much it looks like a boundary is 0.

    Returns:
        float32 `[N, n, 2 A]`, offsets of the start and the end of each action from the window's, in
        window lengths.
    """

    def __init__(self, reach: int, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.reach = reach

    def call(self, logits):  # noqa: D102
        reach, places = self.reach, 2 * self.reach + 1
        stretches, windows, columns = ops.shape(logits)
        logits = ops.reshape(logits, (stretches, windows, -1, 2, 1 + places))
        looks, likely = logits[..., 0], logits[..., 1:]
        looks = ops.pad(looks, [[0, 0], [reach, reach], [0, 0], [0, 0]])
        # Of each window, those around it: [N, n, A, 2, 2 R + 1].
        looks = ops.stack([looks[:, p : p - 2 * reach or None] for p in range(places)], axis=-1)
        distances = ops.arange(-reach, reach + 1, dtype="float32") / STRIDES_PER_WINDOW
        own = ops.convert_to_tensor([-0.5, 0.5], "float32")  # the window's start and end
        near = -STRIDES_PER_WINDOW * ops.abs(distances - own[:, None])
        weights = ops.softmax(looks + likely + near, axis=-1)
        offsets = ops.sum(weights * distances, axis=-1) - own
        return ops.reshape(offsets, (stretches, windows, columns // (1 + places)))

    def compute_output_shape(self, logits_shape):  # noqa: D102
        return (*logits_shape[:2], logits_shape[2] // (2 * self.reach + 2))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "reach": self.reach}
