"""Metrics that read the targets `[N, 2]` of `losses`. Any Keras backend."""

import keras
from keras import ops

from scnn_tf.models.losses import unpack_targets


@keras.saving.register_keras_serializable("scnn_tf")
class SegmentAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The fraction of segments whose highest score is that of their label.

    Windows that are neither an action nor background, of label -1, do not count.

    Call arguments:
        y_true: float `[N, 2]` of `losses.pack_targets`, or `[N, n, 4]`.
        y_pred: float `[N, K + 1]` or `[N, n, K + 1]`, logits.
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):  # noqa: D102
        label, _ = unpack_targets(y_true)
        counts = ops.cast(label >= 0, "float32")
        weight = counts if sample_weight is None else counts * sample_weight
        super().update_state(label, y_pred, weight)
