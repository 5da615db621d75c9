import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.localization.postprocess import nms
from scnn_tf.segments.labels import tiou


def test_by_hand():
    # Best first: row 1 [1, 5). tIoU with row 0 [0, 4): 3/5; with row 2 [4, 8): 1/7; with row 3
    # [6, 10): 0. At .5 row 0 goes. Then row 3; its tIoU with row 2 is 2/6: both stay.
    starts, ends, scores = [0, 1, 4, 6], [4, 5, 8, 10], [0.8, 0.9, 0.1, 0.7]
    assert nms(starts, ends, scores, 0.5).tolist() == [1, 3, 2]
    # At .3, 2/6 is too much.
    assert nms(starts, ends, scores, 0.3).tolist() == [1, 3]
    assert nms(starts, ends, scores, 0.6).tolist() == [1, 0, 3, 2]


def test_tiou_equal_to_the_threshold_survives():
    # [0, 2) and [1, 3): 1/3; [0, 1) and [1, 2) only touch: 0.
    assert nms([0.0, 1.0], [2.0, 3.0], [2.0, 1.0], 1 / 3).tolist() == [0, 1]
    assert nms([0.0, 1.0], [1.0, 2.0], [2.0, 1.0], 0.0).tolist() == [0, 1]


def test_of_equal_scores_the_later_row_comes_first():
    assert nms([0, 0, 5], [2, 2, 6], [0.5, 0.5, 0.5], 0.3).tolist() == [2, 1]


def test_threshold_one_keeps_all_and_ends():
    assert nms([0, 0], [2, 2], [0.1, 0.2], 1.0).tolist() == [1, 0]


def test_nothing_in_nothing_out():
    assert nms([], [], [], 0.5).tolist() == []


SEGMENTS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(0, 3)), max_size=30
)


@given(SEGMENTS, st.sampled_from([0.0, 0.15, 0.4, 0.7, 1.0]))
def test_survivors_are_apart_and_each_victim_has_a_better_one(segments, threshold):
    table = np.array(segments, np.float64).reshape(-1, 3)
    spans, scores = np.stack([table[:, 0], table[:, 0] + table[:, 1]], 1), table[:, 2]
    kept = nms(spans[:, 0], spans[:, 1], scores, threshold)
    overlap = tiou(spans, spans)
    among = overlap[np.ix_(kept, kept)]
    assert (among[~np.eye(len(kept), dtype=bool)] <= threshold + 1e-12).all()
    ranks = [(-scores[i], -i) for i in kept]
    assert ranks == sorted(ranks)
    for victim in set(range(len(table))) - set(kept.tolist()):
        better = [i for i in kept if (scores[i], i) > (scores[victim], victim)]
        assert (overlap[victim, better] > threshold - 1e-12).any()
