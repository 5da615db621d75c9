"""Metrics that read the targets `[N, 2]` of `losses`. Any Keras backend."""

import keras

from scnn_tf.models.losses import unpack_targets


@keras.saving.register_keras_serializable("scnn_tf")
class SegmentAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The fraction of segments whose highest score is that of their label.

    Call arguments:
        y_true: float `[N, 2]` of `losses.pack_targets`.
        y_pred: float `[N, K + 1]`, logits.
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):  # noqa: D102
        label, _ = unpack_targets(y_true)
        super().update_state(label, y_pred, sample_weight)
