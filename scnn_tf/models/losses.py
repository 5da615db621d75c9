"""The losses (section 3.2, equations 1–6). Any Keras backend."""

import keras
from keras import ops


def pack_targets(label, overlap):
    """Packs the labels and overlaps of segments into one tensor, the `y_true` of a Keras loss.

    Args:
        label: int `[...]`, 0 for background, 1…K for the classes.
        overlap: float `[...]`, tIoU v with the segment's instance.

    Returns:
        float32 `[..., 2]`.
    """
    return ops.stack([ops.cast(label, "float32"), ops.cast(overlap, "float32")], axis=-1)


def unpack_targets(targets):
    """Returns the labels, int32 `[...]`, and the overlaps, `[...]`, of `pack_targets`."""
    targets = ops.convert_to_tensor(targets)
    return ops.cast(targets[..., 0], "int32"), targets[..., 1]


@keras.saving.register_keras_serializable("scnn_tf")
class OverlapLoss(keras.losses.Loss):
    """The overlap term: ½ · (P_k² / v^α − 1) · [k > 0], equation 4.

    P_k is the softmax score of the true class k, v the segment's tIoU with its instance: a segment
    that covers its instance badly (small v) pays more for the same score. With λ = 1, equation 1
    is least at P_k = √(v^α). The mean is over all N segments, including background, whose term
    is 0.

    Computed as exp(2 · log P_k − α · log v): finite for any logits, and a segment without a usable
    v (background, or v ≤ 0 or NaN) has no term and no gradient.

    Args:
        alpha: α in [0, 1]; the paper uses .25.

    Call arguments:
        y_true: float `[N, 2]` of `pack_targets`: label k (0 is background) and overlap v in (0, 1].
        y_pred: float `[N, K + 1]`, logits.
    """

    def __init__(
        self,
        alpha: float = 0.25,
        reduction: str = "sum_over_batch_size",
        name: str = "overlap_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.alpha = alpha

    def call(self, y_true, y_pred):
        """Returns the term of each segment, `[N]`."""
        label, overlap = unpack_targets(y_true)
        counts = ops.logical_and(label > 0, overlap > 0)
        # Replaced before the logarithm: the gradient through the other branch would be NaN · 0.
        log_overlap = ops.log(ops.where(counts, overlap, ops.ones_like(overlap)))
        squared = ops.exp(2.0 * _log_score(label, y_pred) - self.alpha * log_overlap)
        return ops.where(counts, 0.5 * (squared - 1.0), ops.zeros_like(overlap))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable("scnn_tf")
class SegmentLoss(keras.losses.Loss):
    """L = L_softmax + λ · L_overlap, equation 1.

    With λ = 0 it is the softmax loss of the proposal and the classification network.

    Args:
        overlap_weight: λ ≥ 0; the paper uses 1.
        alpha: α of the overlap term.

    Call arguments:
        y_true: float `[N, 2]` of `pack_targets`.
        y_pred: float `[N, K + 1]`, logits.
    """

    def __init__(
        self,
        overlap_weight: float = 1.0,
        alpha: float = 0.25,
        reduction: str = "sum_over_batch_size",
        name: str = "segment_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.overlap_weight = overlap_weight
        self.alpha = alpha
        self._overlap = OverlapLoss(alpha, reduction="none")

    def call(self, y_true, y_pred):
        """Returns the loss of each segment, `[N]`."""
        label, _ = unpack_targets(y_true)
        loss = -_log_score(label, y_pred)
        if self.overlap_weight:
            loss = loss + self.overlap_weight * self._overlap.call(y_true, y_pred)
        return loss

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "overlap_weight": self.overlap_weight,
            "alpha": self.alpha,
        }


def _log_score(label, logits):
    """Returns log P_k, the logarithm of the true class's softmax score, `[N]`."""
    scores = ops.log_softmax(logits, axis=-1)
    return ops.take_along_axis(scores, label[:, None], axis=-1)[:, 0]
