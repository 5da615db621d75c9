"""What is wrong with a detection: the kinds of error of the paper's Figures 5 and 6."""

from collections.abc import Mapping, Sequence

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import judge_ranked
from scnn_tf.evaluation.protocols import PROTOCOLS, ranks
from scnn_tf.localization.tables import Detections

RIGHT, DUPLICATE, POOR_OVERLAP, WRONG_CLASS, BACKGROUND, FORGIVEN = range(6)
KINDS = (
    "right",
    "duplicate",
    "poor overlap",
    "wrong class",
    "background",
    "where nobody could tell",
)
"""The name of each kind."""
# For each of `error_kinds.KINDS`; the last for `error_kinds.FORGIVEN`, which is −1.
_KIND_OF = np.array(
    [RIGHT, DUPLICATE, WRONG_CLASS, POOR_OVERLAP, WRONG_CLASS, BACKGROUND, FORGIVEN]
)


def judge(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    tiou_thresholds: Sequence[float],
    protocol: str = "thumos14",
) -> np.ndarray:
    """Tells the kind of each detection.

    Right is what the protocol finds right among all detections, whatever their scores. The others
    are of the kinds of `error_kinds`, of which wrong label and confusion are one here: the class is
    wrong, whether the overlap would have done or not.

    Args:
        ground_truth: by video id.
        detections: N of them; of other videos they are background.
        tiou_thresholds: T of them, in (0, 1].
        protocol: `thumos14` (a tIoU above the threshold is enough) or `activitynet` (at it, too).

    Returns:
        int64 [N, T], indices into `KINDS`.

    Raises:
        InputError: an unknown protocol or threshold.
    """
    thresholds = np.array(tiou_thresholds, np.float64)
    if protocol not in PROTOCOLS:
        raise InputError(f"no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    if not thresholds.size or not ((0 < thresholds) & (thresholds <= 1)).all():
        raise InputError(f"a tIoU threshold lies in (0, 1]. Received: {list(tiou_thresholds)}")
    order = ranks(detections, protocol)
    judged = judge_ranked(
        ground_truth,
        detections.take(order),
        class_names(ground_truth.values()),
        thresholds.tolist(),
        protocol,
    )
    kinds = np.empty((len(detections), len(thresholds)), np.int64)
    kinds[order] = _KIND_OF[np.stack([each.kind for each in judged], axis=1)]
    return kinds


def best_threshold(kinds: np.ndarray, scores: np.ndarray, num_instances: int) -> float:
    """The score from which on detections are the best compromise: the highest F1.

    Args:
        kinds: int [N], of each detection.
        scores: float [N].
        num_instances: in the ground truth.

    Returns:
        A score at which detections are kept, the highest of equals; the highest score where none
        is right; 0 without detections.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    order = order[kinds[order] != FORGIVEN]
    if not len(order):
        return float(scores.max())
    right = np.cumsum(kinds[order] == RIGHT)
    f1 = 2 * right / (np.arange(1, len(order) + 1) + num_instances)
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # equal scores come together
    return float(scores[order][np.argmax(np.where(last, f1, -1.0))])
