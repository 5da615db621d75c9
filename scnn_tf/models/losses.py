"""The losses (section 3.2, equations 1–6), and those of one network with three heads.

Any Keras backend.
"""

from collections.abc import Callable

import keras
from keras import ops


def pack_targets(label, overlap, offsets=None):
    """Packs the labels and overlaps of windows into one tensor, the `y_true` of a Keras loss.

    Args:
        label: int `[...]`, 0 for background, 1…K for the classes, -1 for a window that is neither.
        overlap: float `[...]`, tIoU v with the window's instance.
        offsets: float `[..., 2]`, what is missing from the window's start and end to those of its
            instance, in window lengths: ((a - s) / L, (b - e) / L) for a window [s, e) of length L
            and an instance [a, b). None: the losses do not need it.

    Returns:
        float32 `[..., 2]`, or `[..., 4]` with offsets.
    """
    targets = ops.stack([ops.cast(label, "float32"), ops.cast(overlap, "float32")], axis=-1)
    if offsets is None:
        return targets
    return ops.concatenate([targets, ops.cast(offsets, "float32")], axis=-1)


def with_counts(targets, devices: int = 1):
    """Adds the numbers of a batch's positive and background windows, for losses that are means.

    Where the batch is divided among devices, each has its share of these numbers, however many such
    windows it gets: so the mean of the devices' losses is the loss of the whole batch.

    Args:
        targets: float32 `[N, n, 4]` or `[N, n, K, 4]` of `pack_targets`, of a whole batch.
        devices: Number of devices that the batch is divided among.

    Returns:
        float32 `[N, n, 6]` or `[N, n, K, 6]`, whose last two columns are the same everywhere.
    """
    label, _ = unpack_targets(targets)
    counts = [ops.sum(ops.cast(each, "float32")) for each in (label > 0, ops.equal(label, 0))]
    columns = [ops.full_like(targets[..., :1], 1.0) * (count / devices) for count in counts]
    return ops.concatenate([targets, *columns], axis=-1)


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
        label, _ = unpack_targets(y_true)
        return self.terms(y_true, _log_score(label, y_pred))

    def terms(self, y_true, log_score):
        """Returns the term of each segment, `[...]`, by log P_k, `[...]`."""
        label, overlap = unpack_targets(y_true)
        counts = ops.logical_and(label > 0, overlap > 0)
        # Replaced before the logarithm: the gradient through the other branch would be NaN · 0.
        log_overlap = ops.log(ops.where(counts, overlap, ops.ones_like(overlap)))
        squared = ops.exp(2.0 * log_score - self.alpha * log_overlap)
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


@keras.saving.register_keras_serializable("scnn_tf")
class ProposalLoss(keras.losses.Loss):
    """Softmax loss of action against background: the mean of both means, however many each has.

    Call arguments:
        y_true: float `[N, n, 4]` of `pack_targets`, or `[N, n, 6]` of `with_counts`.
        y_pred: float `[N, n, 2]`, logits of background and action.
    """

    def __init__(self, reduction="sum_over_batch_size", name: str = "proposal_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Returns the loss of the batch, `[1]`."""
        label, _ = unpack_targets(y_true)
        losses = -_log_score(ops.minimum(label, 1), y_pred)
        return (_mean_over_positives(losses, y_true) + _mean_over_background(losses, y_true)) / 2.0


@keras.saving.register_keras_serializable("scnn_tf")
class ClassLoss(SegmentLoss):
    """Softmax loss of the classes, of which background is one, and the overlap term.

    (p + b / K) / (1 + 1 / K) + λ · o, where p and b are the means of the softmax loss over positive
    and background windows, so that background counts like one class, and o is the mean of
    `OverlapLoss` over positive windows.

    Args:
        overlap_weight: λ ≥ 0, or a function that returns it: 0 while the classes are learned, as in
            the paper's first networks.
        alpha: α of the overlap term.

    Call arguments:
        y_true: float `[N, n, 4]` of `pack_targets`, or `[N, n, 6]` of `with_counts`.
        y_pred: float `[N, n, K + 1]`, logits.
    """

    def __init__(
        self,
        overlap_weight: float | Callable[[], object] = 1.0,
        alpha: float = 0.25,
        name: str = "class_loss",
        **kwargs,
    ):
        super().__init__(overlap_weight, alpha, name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Returns the loss of the batch, `[1]`."""
        label, _ = unpack_targets(y_true)
        losses = -_log_score(label, y_pred)
        share = 1.0 / (y_pred.shape[-1] - 1)
        background = _mean_over_background(losses, y_true)
        overlap = _mean_over_positives(self._overlap.call(y_true, y_pred), y_true)
        classes = (_mean_over_positives(losses, y_true) + share * background) / (1.0 + share)
        return classes + self._weight() * overlap

    def _weight(self):
        return self.overlap_weight() if callable(self.overlap_weight) else self.overlap_weight


@keras.saving.register_keras_serializable("scnn_tf")
class MultiLabelLoss(ClassLoss):
    """Logistic loss of each class by itself, and the overlap term: a window may be of several.

    (p + b) / 2 + λ · o, where p and b are the means of -log P and -log (1 - P) over positive and
    background pairs of a window and a class, P is the sigmoid of the class's logit, and o is the
    mean of `OverlapLoss` over positive pairs.

    Args:
        overlap_weight: λ ≥ 0, or a function that returns it.
        alpha: α of the overlap term.

    Call arguments:
        y_true: float `[N, n, K, 4]` of `pack_targets`, or `[N, n, K, 6]` of `with_counts`.
        y_pred: float `[N, n, K]`, logits.
    """

    def __init__(
        self,
        overlap_weight: float | Callable[[], object] = 1.0,
        alpha: float = 0.25,
        name: str = "multi_label_loss",
        **kwargs,
    ):
        super().__init__(overlap_weight, alpha, name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Returns the loss of the batch, `[1]`."""
        log_score = ops.log_sigmoid(y_pred)
        classes = (
            _mean_over_positives(-log_score, y_true)
            + _mean_over_background(-ops.log_sigmoid(-y_pred), y_true)
        ) / 2.0
        overlap = _mean_over_positives(self._overlap.terms(y_true, log_score), y_true)
        return classes + self._weight() * overlap


@keras.saving.register_keras_serializable("scnn_tf")
class BoundaryLoss(keras.losses.Loss):
    """Huber loss of both boundaries, added, and its mean over the windows of actions.

    They are those whose targets have a label above 0: in its own targets, all that belong to an
    action (`shards.batches`), and not only those that are labelled with its class.

    For an error x, in window lengths: x² / 2 up to |x| = δ, and δ (|x| - δ / 2) above.

    Args:
        delta: δ, in window lengths.

    Call arguments:
        y_true: float `[N, n, 4]` of `pack_targets`, or `[N, n, 6]` of `with_counts`; of windows of
            several classes, `[N, n, K, …]`.
        y_pred: float `[N, n, 2]` or `[N, n, K, 2]`, offsets of start and end, in window lengths.
    """

    def __init__(
        self,
        delta: float = 0.1,
        reduction: str = "sum_over_batch_size",
        name: str = "boundary_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        """Returns the loss of the batch, `[1]`."""
        error = ops.abs(y_pred - ops.convert_to_tensor(y_true)[..., 2:4])
        near = ops.minimum(error, self.delta)
        return _mean_over_positives(ops.sum(near * (error - near / 2.0), axis=-1), y_true)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "delta": self.delta}


def _mean_over_positives(values, targets):
    """Returns the mean of the values of positive windows, `[1]`; 0 if there are none."""
    label, _ = unpack_targets(targets)
    return _mean_over(values, label > 0, targets[..., 4:5])


def _mean_over_background(values, targets):
    """Returns the mean of the values of background windows, `[1]`; 0 if there are none."""
    label, _ = unpack_targets(targets)
    return _mean_over(values, ops.equal(label, 0), targets[..., 5:6])


def _mean_over(values, chosen, counts):
    """Returns the sum of the chosen values, divided by their number, or by that of `with_counts`.

    It has an axis, `[1]`: Keras divides a loss by the number of devices unless it is a scalar.

    Args:
        values: float `[N, n]`, or `[N, n, K]`.
        chosen: bool, of the same shape.
        counts: float `[N, n, 1]`, the same number everywhere; or `[N, n, 0]`: they are counted.
    """
    chosen = ops.cast(chosen, values.dtype)
    if counts.shape[-1]:
        number = ops.max(counts)
        number = ops.where(number > 0.0, number, ops.ones_like(number))
    else:
        number = ops.maximum(ops.sum(chosen), 1.0)
    return ops.reshape(ops.sum(values * chosen) / number, [1])


def _log_score(label, logits):
    """Returns log P_k, the logarithm of the true class's softmax score, `[...]`."""
    scores = ops.log_softmax(logits, axis=-1)
    return ops.take_along_axis(scores, ops.maximum(label, 0)[..., None], axis=-1)[..., 0]
