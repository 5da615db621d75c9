import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from scnn_tf.localization import postprocess
from scnn_tf.localization.sequences import Scored, SequenceScorer, segments_table
from scnn_tf.segments.stretches import stream_parts
from scnn_tf.segments.windows import Segment, sliding_windows
from scnn_tf.serving import graph, segment_graph, stretch_graph


@settings(max_examples=60)
@given(
    num_frames=st.integers(1, 900),
    lengths=st.sets(st.sampled_from([16, 32, 64, 128]), min_size=1),
    context=st.integers(1, 4),
    new=st.integers(1, 5),
)
def test_parts_in_the_graph_are_those_of_stream_parts(num_frames, lengths, context, new):
    sequences = SequenceScorer((), tuple(lengths), 25.0, 0.5, 2 * context + new, context)
    expected = [
        [part.stretch.start, part.stretch.window_frames, part.stretch.count, part.first, part.last]
        for part, _ in stream_parts(range(num_frames), tuple(lengths), 2 * context + new, context)
    ]
    expected.sort(key=lambda part: (part[1], part[0]))
    assert stretch_graph.parts(tf.constant(num_frames), sequences).numpy().tolist() == expected


@settings(max_examples=60)
@given(
    windows=st.lists(st.tuples(st.integers(0, 60), st.sampled_from([9, 16, 32])), max_size=8),
    seed=st.integers(0, 99),
)
def test_actions_in_the_graph_are_those_of_the_table_of_segments(windows, seed):
    # With offsets of this size, some actions leave the video, and some end before they start.
    offsets = np.random.default_rng(seed).normal(size=(len(windows), 2)).astype(np.float32)
    start, length = np.array(windows, np.int32).reshape(-1, 2).T
    found = stretch_graph.actions(*map(tf.constant, (start, length, offsets, 70)))
    rows = [
        Scored(Segment(*window), "run", 0.5, *offset)
        for window, offset in zip(windows, offsets.tolist(), strict=True)
    ]
    expected = segments_table("v", rows, frame_rate=1.0, num_frames=70)
    assert found[0].numpy().tolist() == expected.action_start.tolist()
    assert found[1].numpy().tolist() == expected.action_end.tolist()


@pytest.mark.parametrize("num_frames", [1, 15, 16, 17, 19, 20, 31, 32, 33, 100, 511, 512, 700])
def test_windows_in_the_graph_are_those_of_sliding_windows(num_frames):
    lengths = (16, 32, 512)
    found = segment_graph.windows(tf.constant(num_frames), lengths).numpy()
    assert found.tolist() == [list(w) for w in sliding_windows(num_frames, lengths)]


def in_graph(starts, ends, labels, scores, threshold):
    return graph.nms(
        tf.constant(starts, tf.float64),
        tf.constant(ends, tf.float64),
        tf.constant(labels, tf.int32),
        tf.constant(scores, tf.float64),
        threshold,
    ).numpy()


def test_nms_of_six_rows_by_hand():
    # Row 1 is the best. Its tIoU with row 0 is 8/12 > .4, and with row 2 4/16 < .4. Row 3 is equal
    # to row 1 but of another class. Rows 4 and 5 are equal: the later one is kept.
    starts, ends = [0, 2, 8, 2, 50, 50], [10, 12, 18, 12, 60, 60]
    labels, scores = [1, 1, 1, 2, 1, 1], [0.5, 0.9, 0.4, 0.3, 0.2, 0.2]
    assert in_graph(starts, ends, labels, scores, 0.4).tolist() == [1, 2, 3, 5]


def test_a_tiou_equal_to_the_threshold_is_kept_or_dropped_like_in_numpy():
    # The tIoU is 4/10, in frames at 25 a second. Whether .16 / .4 is above .4 in floating point
    # does not matter, as long as both ways agree.
    starts, ends = np.array([0, 3]) / 25, np.array([7, 10]) / 25
    kept = in_graph(starts, ends, [1, 1], [0.9, 0.8], 0.4).tolist()
    assert kept == postprocess.nms(starts, ends, np.array([0.9, 0.8]), 0.4).tolist()


def test_nms_of_no_rows_is_empty():
    assert in_graph([], [], [], [], 0.4).tolist() == []


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 20), st.integers(1, 3), st.integers(1, 5)),
        max_size=25,
    ),
    threshold=st.sampled_from([0.0, 0.2, 0.4, 0.5, 1.0]),
)
def test_nms_in_the_graph_equals_nms_in_numpy(rows, threshold):
    # Expected: class by class, then sorted by score; equal scores by class, in picking order.
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


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 9), st.integers(9, 16), st.integers(1, 2), st.integers(0, 5),
            st.booleans(),
        ),
        min_size=1, max_size=25,
    )
)  # fmt: skip
def test_means_of_actions_in_the_graph_are_those_in_numpy(rows):
    start, length, label, score, regressed = np.array(rows, np.int64).reshape(-1, 5).T
    starts, ends, scores, regressed = start / 25, (start + length) / 25, score / 5, regressed > 0
    found = graph.mean_actions(
        tf.range(len(rows)),
        tf.constant(starts),
        tf.constant(ends),
        tf.constant(label, tf.int32),
        tf.constant(scores),
        tf.constant(regressed),
    )
    for row, mean in enumerate(zip(*(each.numpy() for each in found), strict=True)):
        same_class = regressed & (label == label[row])
        expected = postprocess.mean_action(row, starts, ends, scores, same_class)
        np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-12)
