"""Post-processing of scored segments to detections (section 3.3): prior, NMS and order."""

import math

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WindowPrior

SAME_TIOU = 0.7
"""tIoU from which on two segments of a class have found the same action."""


def detections_from_segments(
    segments: RawSegments,
    prior: WindowPrior | None,
    nms_threshold: float | None,
    text_rounding: bool = False,
) -> Detections:
    """Post-processes scored segments.

    Background rows are dropped, scores are multiplied by the prior of their class and window
    length, NMS runs within each video and class, and the remaining rows are sorted by score. Where
    segments have boundaries of their own, those of a remaining row are the `mean_action`.

    Args:
        segments: Segments of any number of videos. Row order decides between equal scores.
        prior: Prior of every class and window length that occurs; None: no prior. A video shorter
            than the shortest window has one segment, which has the weight of that window.
        nms_threshold: tIoU in [0, 1], in the paper .1 less than that of the evaluation; None: no
            NMS, and no means of boundaries.
        text_rounding: Whether to round like the authors' result files, times to `%.1f`, scores to
            `%.5g`. The paper's figures need this, because it changes which detections tie.

    Returns:
        Detections by descending score; equal scores by video, class, and order of picking.

    Raises:
        InputError: The prior lacks a class or window length of the segments.
    """
    segments = segments.take(segments.label != BACKGROUND)
    scores = weighted_scores(segments, prior)
    starts, ends = segments.action_start, segments.action_end
    # One group for each video and class, ascending, with its rows in their original order.
    order = np.lexsort((segments.label, segments.video))
    video, label = segments.video[order], segments.label[order]
    borders = np.flatnonzero((video[1:] != video[:-1]) | (label[1:] != label[:-1])) + 1
    actions = np.stack([starts, ends], axis=1)
    if nms_threshold is not None:
        regressed, kept = segments.is_regressed, []
        for rows in np.split(order, borders):
            group = starts[rows], ends[rows], scores[rows]
            picked = nms(*group, nms_threshold)
            if regressed[rows].any():
                for place in picked:
                    actions[rows[place]] = mean_action(place, *group, regressed[rows])
            kept.append(rows[picked])
        order = np.concatenate(kept)
    order = order[np.argsort(-scores[order], kind="stable")]
    (start, end), scores = actions[order].T, scores[order]
    if text_rounding:
        start, end = _rounded("%.1f", start), _rounded("%.1f", end)
        scores = _rounded("%.5g", scores)
    return Detections(segments.video[order], start, end, segments.label[order], scores)


def weighted_scores(segments: RawSegments, prior: WindowPrior | None) -> np.ndarray:
    """Returns each segment's score, multiplied by the prior of its class and window length.

    Args:
        segments: Segments without background.
        prior: See `detections_from_segments`.

    Returns:
        float64 [N].

    Raises:
        InputError: The prior lacks a class or window length of the segments.
    """
    if prior is None:
        return segments.score
    lengths = np.maximum(segments.window_frames, min(prior.window_frames))
    rows = _positions(segments.label, prior.class_names, "class")
    columns = _positions(lengths, prior.window_frames, "window length")
    return segments.score * prior.weights[rows, columns]


def _positions(values: np.ndarray, known: tuple, what: str) -> np.ndarray:
    present, inverse = np.unique(values, return_inverse=True)
    missing = sorted(set(present.tolist()) - set(known))
    if missing:
        raise InputError(
            f"the window-length prior has no {what} {', '.join(map(str, missing))}, which the "
            "segments have; give the prior of the same dataset, or none"
        )
    return np.array([known.index(value) for value in present.tolist()], np.int64)[inverse]


def _rounded(form: str, values: np.ndarray) -> np.ndarray:
    # np.round scales by powers of ten first, and rounds some halves the other way than printf.
    return np.array([float(form % value) for value in values.tolist()], np.float64)


def nms(starts: np.ndarray, ends: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression: greedy by score, the later row first among equal scores.

    A segment is kept if its tIoU with every segment kept before it is at most the threshold.

    Args:
        starts: float [N], seconds (or frames).
        ends: float [N], each after its start.
        scores: float [N].
        threshold: tIoU in [0, 1].

    Returns:
        Rows of the kept segments in the order in which they were picked, int64 [M].
    """
    waiting = np.argsort(scores, kind="stable")[::-1]
    start, end = np.asarray(starts)[waiting], np.asarray(ends)[waiting]
    picked = []
    while waiting.size:
        picked.append(waiting[0])
        intersection, union = overlaps(start, end, 0)
        apart = intersection <= threshold * union
        apart[0] = False  # at a threshold of 1 it would wait forever
        waiting, start, end = waiting[apart], start[apart], end[apart]
    return np.array(picked, dtype=np.int64)


def mean_action(
    row: int, starts: np.ndarray, ends: np.ndarray, scores: np.ndarray, regressed: np.ndarray
) -> tuple[float, float]:
    """Returns the mean start and end of the segments that have found the same action as one.

    Each of several windows of an action has boundaries of its own, and the best-scored one has not
    always the best. The mean is over the segments with boundaries whose tIoU with this one is
    `SAME_TIOU` or more, weighted by their scores (box voting: Gidaris and Komodakis, "Object
    detection via a multi-region & semantic segmentation-aware CNN model", ICCV 2015, section 4).

    Args:
        row: The segment.
        starts: float [N], seconds, of segments of the same class and video.
        ends: float [N], each after its start.
        scores: float [N], not negative.
        regressed: bool [N], whether a segment has boundaries other than its window's.

    Returns:
        Start and end; the segment's own, if none of these segments has boundaries.
    """
    intersection, union = overlaps(starts, ends, row)
    same = regressed & (intersection >= SAME_TIOU * union)
    weights = scores[same]
    total = math.fsum(weights)  # exact: the same in any order of the segments
    if not total:
        return starts[row], ends[row]
    return tuple(
        times[row] + math.fsum(weights * (times[same] - times[row])) / total
        for times in (starts, ends)
    )


def overlaps(starts: np.ndarray, ends: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns intersections and unions of all segments with one of them, float64 `[N]` each.

    They are compared without a division: suppression does this 10⁵ times on THUMOS'14. Disjoint
    intervals have a negative intersection.

    Args:
        starts: float64 `[N]`.
        ends: float64 `[N]`.
        row: Number of the one segment.
    """
    intersection = np.minimum(ends, ends[row]) - np.maximum(starts, starts[row])
    union = np.maximum(ends, ends[row]) - np.minimum(starts, starts[row])
    return intersection, union
