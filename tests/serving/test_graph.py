import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from scnn_tf.localization import postprocess
from scnn_tf.segments.windows import sliding_windows
from scnn_tf.serving import graph


@pytest.mark.parametrize("num_frames", [1, 15, 16, 17, 19, 20, 31, 32, 33, 100, 511, 512, 700])
def test_windows_are_those_of_the_whole_video(num_frames):
    lengths = (16, 32, 512)
    found = graph.windows(tf.constant(num_frames), lengths).numpy()
    assert found.tolist() == [list(w) for w in sliding_windows(num_frames, lengths)]


def in_graph(starts, ends, labels, scores, threshold):
    return graph.nms(
        tf.constant(starts, tf.float64),
        tf.constant(ends, tf.float64),
        tf.constant(labels, tf.int32),
        tf.constant(scores, tf.float64),
        threshold,
    ).numpy()


def test_nms_by_hand():
    # Row 1 is the best, and overlaps row 0 by 8/12 > .4; row 2 by 4/16, which is not. Row 3 lies
    # on row 1 but is of another class. Rows 4 and 5 are the same: the later one stays.
    starts, ends = [0, 2, 8, 2, 50, 50], [10, 12, 18, 12, 60, 60]
    labels, scores = [1, 1, 1, 2, 1, 1], [0.5, 0.9, 0.4, 0.3, 0.2, 0.2]
    assert in_graph(starts, ends, labels, scores, 0.4).tolist() == [1, 2, 3, 5]


def test_exact_threshold_survives():
    # 4/10 of each other in frames at 25 a second: whatever .16 / .4 is in floating point, both
    # ways must say the same.
    starts, ends = np.array([0, 3]) / 25, np.array([7, 10]) / 25
    kept = in_graph(starts, ends, [1, 1], [0.9, 0.8], 0.4).tolist()
    assert kept == postprocess.nms(starts, ends, np.array([0.9, 0.8]), 0.4).tolist()


def test_nothing_gives_nothing():
    assert in_graph([], [], [], [], 0.4).tolist() == []


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 20), st.integers(1, 3), st.integers(1, 5)),
        max_size=25,
    ),
    threshold=st.sampled_from([0.0, 0.2, 0.4, 0.5, 1.0]),
)
def test_nms_equals_the_plain_one(rows, threshold):
    """Class by class, then sorted by score; equal ones by class, in the order of picking."""
    start, length, label, score = np.array(rows, np.int64).reshape(-1, 4).T
    starts, ends, scores = start / 25, (start + length) / 25, score / 5
    expected = np.concatenate(
        [np.empty(0, np.int64)]
        + [
            of_class[postprocess.nms(starts[of_class], ends[of_class], scores[of_class], threshold)]
            for of_class in (np.flatnonzero(label == c) for c in (1, 2, 3))
        ]
    )
    expected = expected[np.argsort(-scores[expected], kind="stable")]
    assert in_graph(starts, ends, label, scores, threshold).tolist() == expected.tolist()
