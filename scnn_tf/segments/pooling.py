"""Features of windows from a sequence of feature vectors, which another network computed.

A window is six intervals: its four strides, and a stride before and after it, which show what
changes at its ends. The feature of an interval is the mean of the vectors over its time.
"""

from collections.abc import Sequence

import numpy as np

from scnn_tf.segments.windows import STRIDES_PER_WINDOW, Segment

INTERVALS = STRIDES_PER_WINDOW + 2
"""Number of intervals of a window, those before and after it included."""


def pooled_size(feature_size: int) -> int:
    """Returns the number of features of a window, of vectors of so many."""
    return INTERVALS * feature_size


def pooled(vectors: np.ndarray, vector_frames: float, windows: Sequence[Segment]) -> np.ndarray:
    """Returns the features of windows, of any length and at any place of a video.

    Vector i holds for the time from i · vector_frames to (i + 1) · vector_frames; before the first
    and after the last vector, these two hold.

    Args:
        vectors: float `[T, F]`, T > 0.
        vector_frames: Time from a vector to the next, in frames at the dataset's frame rate.
        windows: The windows, in frames.

    Returns:
        float32 `[N, 6 F]`: the means over the interval before a window, over its four strides, and
        over the interval after it.
    """
    spans = np.array([(w.start, w.length) for w in windows], float).reshape(-1, 2)
    strides = spans[:, 1:] / STRIDES_PER_WINDOW
    edges = (spans[:, :1] + strides * np.arange(-1, STRIDES_PER_WINDOW + 2)) / vector_frames
    sums = _integral(np.asarray(vectors, np.float64), edges)
    means = np.diff(sums, axis=1) / np.diff(edges, axis=1)[..., None]
    return means.reshape(len(spans), pooled_size(means.shape[-1])).astype(np.float32)


def _integral(vectors: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Returns the integral of the vectors over time, from 0 to each of the times.

    Args:
        vectors: float64 `[T, F]`, each of which holds for a unit of time.
        times: float64 `[N, E]`.

    Returns:
        float64 `[N, E, F]`.
    """
    totals = np.concatenate([np.zeros_like(vectors[:1]), np.cumsum(vectors, axis=0)])
    vector = np.clip(np.floor(times).astype(int), 0, len(vectors) - 1)
    return totals[vector] + vectors[vector] * (times - vector)[..., None]
