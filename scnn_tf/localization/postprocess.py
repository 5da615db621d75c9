"""From scored segments to detections (section 3.3): window-length prior, NMS, order; no network."""

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WindowPrior


def detections_from_segments(
    segments: RawSegments,
    prior: WindowPrior | None,
    nms_threshold: float | None,
    text_rounding: bool = False,
) -> Detections:
    """Post-processes scored segments.

    Background rows are dropped, scores are multiplied with the prior of the class and window
    length, NMS runs within each video and class, and what is left is sorted by score.

    Args:
        segments: of any number of videos. Row order decides between equal scores.
        prior: of every class and window length that occurs, or None for none. A video shorter
            than the shortest window has one segment, which takes that window's weight.
        nms_threshold: tIoU in [0, 1], the paper's is the evaluation's less .1; None for no NMS.
        text_rounding: rounds as the authors' result files do, times to `%.1f`, scores to
            `%.5g`. The paper's figures need it: it changes which detections tie.

    Returns:
        Detections by score, descending; equal ones by video, class, and the order of picking.

    Raises:
        InputError: the prior has no such class or window length.
    """
    segments = segments.take(segments.label != BACKGROUND)
    scores = segments.score if prior is None else segments.score * _weights(segments, prior)
    # One group for each video and class, ascending, with its rows in the order they came.
    order = np.lexsort((segments.label, segments.video))
    video, label = segments.video[order], segments.label[order]
    borders = np.flatnonzero((video[1:] != video[:-1]) | (label[1:] != label[:-1])) + 1
    if nms_threshold is not None:
        groups = np.split(order, borders)
        order = np.concatenate(
            [
                rows[nms(segments.start[rows], segments.end[rows], scores[rows], nms_threshold)]
                for rows in groups
            ]
        )
    order = order[np.argsort(-scores[order], kind="stable")]
    start, end, scores = segments.start[order], segments.end[order], scores[order]
    if text_rounding:
        start, end = _rounded("%.1f", start), _rounded("%.1f", end)
        scores = _rounded("%.5g", scores)
    return Detections(segments.video[order], start, end, segments.label[order], scores)


def _weights(segments: RawSegments, prior: WindowPrior) -> np.ndarray:
    """float64 [N], the weight of each segment's class and window length."""
    lengths = np.maximum(segments.window_frames, min(prior.window_frames))
    rows = _positions(segments.label, prior.class_names, "class")
    columns = _positions(lengths, prior.window_frames, "window length")
    return prior.weights[rows, columns]


def _positions(values: np.ndarray, known: tuple, what: str) -> np.ndarray:
    present, inverse = np.unique(values, return_inverse=True)
    missing = sorted(set(present.tolist()) - set(known))
    if missing:
        raise InputError(
            f"the window-length prior has no {what} {', '.join(map(str, missing))}, which the "
            "segments have; give the prior that belongs to them, or none"
        )
    return np.array([known.index(value) for value in present.tolist()], np.int64)[inverse]


def _rounded(form: str, values: np.ndarray) -> np.ndarray:
    # By way of text: np.round scales by ten first, and rounds some halves the other way.
    return np.array([float(form % value) for value in values.tolist()], np.float64)


def nms(starts: np.ndarray, ends: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Keeps the best of what overlaps: greedily by score, the later row first among equals.

    A segment survives if its tIoU with every one kept before it is at most the threshold.

    Args:
        starts: float [N], seconds (or frames).
        ends: float [N], after their starts.
        scores: float [N].
        threshold: tIoU in [0, 1].

    Returns:
        int64 [M], rows of the survivors in the order in which they were picked.
    """
    waiting = np.argsort(scores, kind="stable")[::-1]
    start, end = np.asarray(starts)[waiting], np.asarray(ends)[waiting]
    picked = []
    while waiting.size:
        picked.append(waiting[0])
        # tIoU with the best that waits, without a division (it runs 10⁵ times on THUMOS'14);
        # intervals that do not meet have a negative intersection.
        intersection = np.minimum(end, end[0]) - np.maximum(start, start[0])
        union = np.maximum(end, end[0]) - np.minimum(start, start[0])
        apart = intersection <= threshold * union
        apart[0] = False  # a threshold of 1 must not keep it waiting for ever
        waiting, start, end = waiting[apart], start[apart], end[apart]
    return np.array(picked, dtype=np.int64)
