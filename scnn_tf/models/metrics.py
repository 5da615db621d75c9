"""Metrics that read the targets of `losses`. Any Keras backend."""

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


@keras.saving.register_keras_serializable("scnn_tf")
class MultiLabelAccuracy(keras.metrics.Metric):
    """The mean of the fractions of positive and of background pairs whose logit's sign is right.

    A pair is a window and a class. Pairs that are neither, of label -1, do not count.

    Call arguments:
        y_true: float `[N, n, K, 4]` of `losses.pack_targets`.
        y_pred: float `[N, n, K]`, logits.
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        # Right and all, of positive and of background pairs.
        self._counts = self.add_weight(shape=(2, 2), initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):  # noqa: D102
        label, _ = unpack_targets(y_true)
        found = [
            [ops.sum(ops.cast(ops.logical_and(kind, right), "float32")),
             ops.sum(ops.cast(kind, "float32"))]
            for kind, right in ((label > 0, y_pred > 0), (ops.equal(label, 0), y_pred <= 0))
        ]  # fmt: skip
        self._counts.assign_add(ops.convert_to_tensor(found))

    def result(self):  # noqa: D102
        right, number = ops.unstack(ops.convert_to_tensor(self._counts), axis=1)
        return ops.mean(right / ops.maximum(number, 1.0))
