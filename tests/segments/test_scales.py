import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.segments.labels import label_segments, tiou, widened
from scnn_tf.segments.scales import grid_tious, needed_scales
from scnn_tf.segments.windows import sliding_windows


@given(st.integers(1, 300), st.integers(0, 280), st.integers(1, 200), st.data())
def test_tious_are_those_of_the_sliding_windows(num_frames, start, length, data):
    quarter = data.draw(st.sampled_from([0, 0.25, 0.5]))
    span = np.array([[start + quarter, start + quarter + length]])
    margin = data.draw(st.sampled_from([0, 0.25]))
    (found,) = grid_tious(span, np.array([float(num_frames)]), (16, 32, 128), margin)
    windows = sliding_windows(num_frames, (16, 32, 128))
    for column, frames in enumerate((16, 32, 128)):
        ours = [w for w in windows if w.length == frames or (num_frames < 16 and column == 0)]
        wide = widened(np.array([(w.start, w.end) for w in ours]), margin)
        expected = tiou(span, wide).max(initial=0)
        assert found[column] == pytest.approx(expected)


def test_each_instance_has_a_best_length():
    # [0, 40): 32 frames lie inside, 32/40 = .8; 64 frames around it are 40/64; 16 are 16/40.
    spans = np.array([[0, 40], [80, 112], [160, 260]])
    tious = grid_tious(spans, np.full(3, math.inf), (16, 32, 64, 128))
    assert tious[0] == pytest.approx([0.4, 0.8, 0.625, 0.3125])
    # [80, 112) is a window of 32. Of 64: [64, 128) has 32/64. [160, 260) of 100 frames is in
    # [160, 288) of 128, 100/128; 64 of it is .64.
    assert tious[1] == pytest.approx([0.5, 1, 0.5, 0.25])
    assert tious[2] == pytest.approx([0.16, 0.32, 0.64, 0.78125])
    scales = needed_scales(spans, np.full(3, math.inf), (128, 64, 32, 16), 0.5)
    assert scales == ((32, 128), {16: 0, 32: 2, 64: 0, 128: 1}, 0, 0, 0)
    assert str(scales) == (
        "window lengths, and the instances that each fits best: 16 (0), 32 (2), 64 (0), 128 (1)"
    )


def test_instances_out_of_reach_are_counted():
    """One of 6 frames, 6/16; one of 200, 64/200; one of 40 in a video of 40: [0, 16), 16/40."""
    spans = np.array([[0, 6], [0, 200], [0, 40], [0, 16]])
    scales = needed_scales(spans, np.array([400, 400, 40, 400]), (16, 64))
    assert scales == ((16,), {16: 1, 64: 0}, 1, 1, 1)
    assert str(scales).endswith(
        "; out of reach of all: 1 shorter than the shortest window, 1 longer than the longest, "
        "1 badly placed in their video"
    )


def test_no_instance_needs_no_window():
    assert needed_scales(np.zeros((0, 2)), np.zeros(0)).needed == ()


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(1, 150)), min_size=1), st.data())
def test_the_needed_lengths_cover_what_all_lengths_cover(instances, data):
    """An instance has a positive window among all windows just if it has one among the needed."""
    spans = np.array([(start, start + length) for start, length in instances], float)
    threshold = data.draw(st.sampled_from([0.4, 0.5, 0.7]))
    margin = data.draw(st.sampled_from([0, 0.25]))
    scales = needed_scales(spans, np.full(len(spans), 300.0), (16, 32, 64, 128), threshold, margin)

    def covered(span, lengths):
        windows = np.array([(w.start, w.end) for w in sliding_windows(300, lengths)])
        labels = label_segments(windows, span[None], positive_tiou=threshold, margin=margin)
        return labels.positive.any()

    reached = [covered(span, (16, 32, 64, 128)) for span in spans]
    assert sum(reached) == sum(scales.best_for.values())
    assert len(spans) == sum(reached) + scales.short + scales.long + scales.other
    if scales.needed:
        assert reached == [covered(span, scales.needed) for span in spans]
