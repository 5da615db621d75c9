"""Labels of segments: temporal IoU with the instances, positives and background (section 3.2)."""

from typing import NamedTuple

import numpy as np

POSITIVE_TIOU = 0.7  # above: the segment is the instance's
BEST_POSITIVE_TIOU = 0.5  # above: so is the best segment of an instance that has none over .7
BACKGROUND_TIOU = 0.3  # below: the segment is background; between the two: never trained on
_BLOCK = 4096  # segments whose tIoU is held at a time


def tiou(segments: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Temporal intersection over union.

    Args:
        segments: float `[N, 2]`, start and end.
        instances: float `[M, 2]`, start and end in the same unit.

    Returns:
        float64 `[N, M]` in [0, 1]: intersection / (max end − min start), 0 where they do not
        meet.
    """
    segments = np.asarray(segments, np.float64).reshape(-1, 1, 2)
    instances = np.asarray(instances, np.float64).reshape(1, -1, 2)
    intersection = np.minimum(segments[..., 1], instances[..., 1]) - np.maximum(
        segments[..., 0], instances[..., 0]
    )
    union = np.maximum(segments[..., 1], instances[..., 1]) - np.minimum(
        segments[..., 0], instances[..., 0]
    )
    meets = intersection > 0
    return np.where(meets, intersection, 0.0) / np.where(meets, union, 1.0)


class Labels(NamedTuple):
    """What each of N segments is in training.

    Attributes:
        instance: int `[N]`, the index of the instance a positive segment belongs to, else −1.
        overlap: float `[N]`, tIoU with that instance; 1 for the others (their v, section 3.2).
        background: bool `[N]`. A segment that is neither positive nor background is not used.
    """

    instance: np.ndarray
    overlap: np.ndarray
    background: np.ndarray


def label_segments(
    segments: np.ndarray,
    instances: np.ndarray,
    ambiguous: np.ndarray | None = None,
    positive_tiou: float = POSITIVE_TIOU,
    background_tiou: float = BACKGROUND_TIOU,
) -> Labels:
    """Labels the segments of an untrimmed video by their tIoU with its instances (section 3.2).

    Args:
        segments: `[N, 2]`, start and end.
        instances: `[M, 2]`, start and end of the actions, in the same unit.
        ambiguous: `[A, 2]`, stretches of which nobody can say what they are: a segment that
            meets one is no background.
        positive_tiou: above: positive.
        background_tiou: below: background. Between the two a segment is not used.
    """
    num_segments, num_instances = len(segments), len(instances)
    instances = np.reshape(instances, (-1, 2))
    ambiguous = np.reshape([] if ambiguous is None else ambiguous, (-1, 2))
    best, highest = np.zeros(num_segments, int), np.zeros(num_segments)  # of each segment
    best_segment, covered = np.zeros(num_instances, int), np.zeros(num_instances)  # … instance
    unclear = np.zeros(num_segments, bool)
    # Block by block: hours of video would give a table of gigabytes.
    for first in range(0, num_segments, _BLOCK):
        block = slice(first, first + _BLOCK)
        unclear[block] = (tiou(segments[block], ambiguous) > 0).any(axis=1)
        if num_instances:
            table = tiou(segments[block], instances)
            best[block], highest[block] = table.argmax(axis=1), table.max(axis=1)
            better = table.max(axis=0) > covered
            best_segment[better] = first + table.argmax(axis=0)[better]
            covered = np.maximum(covered, table.max(axis=0))
    positive = highest > positive_tiou
    # An instance that no segment covers well still gives its best one, if that will do; where two
    # want the same segment, it is the one's that it covers better.
    uncovered = np.flatnonzero(covered <= positive_tiou)
    for column in uncovered[np.argsort(-covered[uncovered], kind="stable")]:
        row = best_segment[column]
        if covered[column] > BEST_POSITIVE_TIOU and not positive[row]:
            positive[row] = True
            best[row], highest[row] = column, covered[column]
    instance = np.where(positive, best, -1)
    overlap = np.where(positive, highest, 1.0)
    background = ~positive & (highest < background_tiou) & ~unclear
    return Labels(instance, overlap, background)


BACKGROUND = "Background"
"""Label of a raw segment whose best class is none of the actions."""
