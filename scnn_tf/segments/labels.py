"""Labels of segments: temporal IoU with the instances, positives and background (section 3.2)."""

from typing import NamedTuple

import numpy as np

BACKGROUND = "Background"
"""Label of a raw segment whose best class is no action."""
POSITIVE_TIOU = 0.7
"""A segment with a higher tIoU with an instance is positive."""
BEST_POSITIVE_TIOU = 0.5
"""The best segment of an instance without one above `POSITIVE_TIOU` is positive above this."""
BACKGROUND_TIOU = 0.3
"""A segment with a lower tIoU with every instance is background; in between it is not used."""
LEAST_TIOU = 0.25
"""A segment with less tIoU than this with an action does not show where it begins and ends.

Networks learn boundaries from windows that have as much tIoU with an action. The boundaries that a
network gives are used only if they leave as much tIoU with their window: so it is known how far an
action reaches beyond its window, on which `localization.live_nms` depends.
"""
_BLOCK = 4096  # segments whose table of tIoU is in memory at a time


def tiou(segments: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Returns the temporal intersection over union (tIoU) of segments and instances.

    Args:
        segments: float [N, 2], start and end.
        instances: float [M, 2], start and end in the same unit.

    Returns:
        float64 [N, M] in [0, 1]: intersection / (max end − min start), 0 without intersection and
        where a time is NaN.
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


def widened(segments: np.ndarray, margin: float) -> np.ndarray:
    """Returns segments, `[N, 2]`, that begin earlier and end later by some of their lengths."""
    segments = np.asarray(segments, np.float64).reshape(-1, 2)
    return segments + margin * np.diff(segments) * [-1, 1]


class Labels(NamedTuple):
    """Labels of N segments for training.

    Attributes:
        instance: int [N], index of the instance that a segment belongs to, with which it has the
            largest tIoU; −1 if that is less than `LEAST_TIOU`.
        overlap: float [N], tIoU with that instance (v of section 3.2); 1 without one.
        positive: bool [N], whether the segment is an example of its instance's class.
        background: bool [N]. A segment that is neither positive nor background is not used.
    """

    instance: np.ndarray
    overlap: np.ndarray
    positive: np.ndarray
    background: np.ndarray


def label_segments(
    segments: np.ndarray,
    instances: np.ndarray,
    ambiguous: np.ndarray | None = None,
    positive_tiou: float = POSITIVE_TIOU,
    background_tiou: float = BACKGROUND_TIOU,
    margin: float = 0.0,
) -> Labels:
    """Labels the segments of an untrimmed video by their tIoU with its instances (section 3.2).

    With a margin, it is the tIoU of the segment and what is around it: so segments are labelled
    with longer actions, too, whose ends a network sees on either side of them.

    Args:
        segments: float [N, 2], start and end.
        instances: float [M, 2], start and end of the actions, in the same unit.
        ambiguous: float [A, 2], start and end of ambiguous intervals; a segment that intersects
            one is not background.
        positive_tiou: A segment with a higher tIoU is positive.
        background_tiou: A segment with a lower tIoU is background; in between it is not used.
        margin: What is added to a segment on either side for its tIoU with instances, in lengths of
            the segment; the paper: 0.
    """
    num_segments, num_instances = len(segments), len(instances)
    instances = np.reshape(instances, (-1, 2))
    ambiguous = np.reshape([] if ambiguous is None else ambiguous, (-1, 2))
    best, highest = np.zeros(num_segments, int), np.zeros(num_segments)  # for each segment
    best_segment, covered = (
        np.zeros(num_instances, int),
        np.zeros(num_instances),
    )  # for each instance
    unclear = np.zeros(num_segments, bool)
    # In blocks, since the whole table of tIoU has gigabytes for hours of video.
    for first in range(0, num_segments, _BLOCK):
        block = slice(first, first + _BLOCK)
        unclear[block] = (tiou(segments[block], ambiguous) > 0).any(axis=1)
        if num_instances:
            table = tiou(widened(segments[block], margin), instances)
            best[block], highest[block] = table.argmax(axis=1), table.max(axis=1)
            better = table.max(axis=0) > covered
            best_segment[better] = first + table.argmax(axis=0)[better]
            covered = np.maximum(covered, table.max(axis=0))
    positive = highest > positive_tiou
    # The best segment of an instance is positive even if no segment covers the instance well. If
    # it is the best of two instances, it belongs to the instance with which it has more tIoU.
    uncovered = np.flatnonzero(covered <= positive_tiou)
    for column in uncovered[np.argsort(-covered[uncovered], kind="stable")]:
        row = best_segment[column]
        if covered[column] > BEST_POSITIVE_TIOU and not positive[row]:
            positive[row] = True
            best[row], highest[row] = column, covered[column]
    belongs = positive | (highest >= LEAST_TIOU)
    return Labels(
        instance=np.where(belongs, best, -1),
        overlap=np.where(belongs, highest, 1.0),
        positive=positive,
        background=~positive & (highest < background_tiou) & ~unclear,
    )
