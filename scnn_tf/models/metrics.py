"""Metrics that read the targets `[N, 2]` of `losses`. Any Keras backend."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("scnn_tf")
class SegmentAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The share of segments whose highest score is that of their label.

    Call arguments:
        y_true: float `[N, 2]`: label and overlap.
        y_pred: float `[N, K + 1]`, logits.
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch."""
        super().update_state(ops.convert_to_tensor(y_true)[:, 0], y_pred, sample_weight)
