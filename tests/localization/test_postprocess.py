import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.errors import InputError
from scnn_tf.localization.formats import read_detections, read_segments
from scnn_tf.localization.postprocess import detections_from_segments, nms
from scnn_tf.localization.tables import RawSegments
from scnn_tf.segments.labels import tiou
from scnn_tf.segments.prior import WindowPrior, read_prior

PRIOR = WindowPrior(
    ("hop", "run"), (16, 32), np.array([[1, 1], [1, 3]]), np.array([[0.5, 0.5], [0.25, 0.75]])
)


def segments(*rows):
    return RawSegments(*zip(*rows, strict=True))


def test_prior_nms_and_order_computed_by_hand():
    found = detections_from_segments(
        segments(
            ("v2", 16, 0.0, 1.0, "run", 0.9),  # × .25 = .225, loses to the next: tIoU 1/2
            ("v2", 32, 0.0, 2.0, "run", 0.8),  # × .75 = .6
            ("v2", 16, 0.0, 1.0, "hop", 0.8),  # × .5 = .4, another class
            ("v2", 16, 0.5, 1.5, "Background", 1.0),
            ("v1", 16, 0.0, 1.0, "run", 0.8),  # × .25 = .2, another video
        ),
        PRIOR,
        0.4,
    )
    assert list(found.rows()) == [
        ("v2", 0.0, 2.0, "run", pytest.approx(0.6)),
        ("v2", 0.0, 1.0, "hop", 0.4),
        ("v1", 0.0, 1.0, "run", 0.2),
    ]


def test_nms_and_detections_are_of_the_regressed_actions():
    """The prior is that of the window."""
    found = detections_from_segments(
        segments(
            # Windows that do not meet, of actions that do: [0, 2) and [1, 2), tIoU .5.
            ("v", 16, 0.0, 1.0, "run", 0.8, 0.0, 2.0),
            ("v", 16, 1.5, 2.5, "run", 0.4, 1.0, 2.0),
            # One window, of two actions that do not meet.
            ("v", 32, 4.0, 6.0, "run", 0.4, 4.0, 5.0),
            ("v", 32, 4.0, 6.0, "run", 0.2, 5.0, 6.0),
        ),
        PRIOR,
        0.4,
    )
    assert list(found.rows()) == [
        ("v", 4.0, 5.0, "run", pytest.approx(0.3)),  # × .75
        ("v", 0.0, 2.0, "run", pytest.approx(0.2)),  # × .25
        ("v", 5.0, 6.0, "run", pytest.approx(0.15)),
    ]


def test_boundaries_are_the_mean_of_all_segments_of_the_action():
    found = detections_from_segments(
        segments(
            ("v", 16, 0.0, 1.6, "run", 0.9, 0.0, 2.0),
            ("v", 16, 0.4, 2.0, "run", 0.3, 0.4, 2.4),  # tIoU 1.6 / 2.4
            ("v", 16, 0.8, 2.4, "run", 0.6, 0.3, 2.3),  # tIoU 1.7 / 2.3
            ("v", 32, 0.0, 2.1, "run", 0.6, 0.0, 2.1),  # a window as it is has no boundaries
            ("v", 16, 0.0, 1.6, "jump", 0.6, 0.5, 2.0),  # of another class
            ("w", 16, 0.0, 1.6, "run", 0.6, 0.1, 2.0),  # of another video
        ),
        None,
        0.4,
    )
    assert list(found.rows()) == [
        ("v", pytest.approx(0.6 * 0.3 / 1.5), pytest.approx(2 + 0.6 * 0.3 / 1.5), "run", 0.9),
        ("v", 0.5, 2.0, "jump", 0.6),
        ("w", 0.1, 2.0, "run", 0.6),
    ]


def test_windows_without_boundaries_are_the_detections_themselves():
    found = detections_from_segments(
        segments(("v", 16, 0.0, 1.6, "run", 0.9), ("v", 16, 0.2, 1.8, "run", 0.8)), None, 0.4
    )
    assert list(found.rows()) == [("v", 0.0, 1.6, "run", 0.9)]


def test_without_prior_and_nms_every_action_is_kept():
    table = segments(
        ("v", 16, 0.0, 1.0, "run", 0.3),
        ("v", 16, 0.0, 1.0, "Background", 0.9),
        ("v", 99, 0.0, 1.0, "swim", 0.5),
    )
    assert list(detections_from_segments(table, None, None).rows()) == [
        ("v", 0.0, 1.0, "swim", 0.5),
        ("v", 0.0, 1.0, "run", 0.3),
    ]


def test_equal_scores_are_ordered_by_video_then_class_then_picking():
    table = segments(
        ("v2", 16, 0.0, 1.0, "hop", 0.5),
        ("v1", 16, 0.0, 1.0, "run", 0.5),
        ("v1", 16, 0.0, 1.0, "hop", 0.5),
        ("v1", 16, 3.0, 4.0, "hop", 0.5),  # NMS picks the later row first
    )
    found = detections_from_segments(table, None, 0.4)
    assert [row[:4] for row in found.rows()] == [
        ("v1", 3.0, 4.0, "hop"),
        ("v1", 0.0, 1.0, "hop"),
        ("v1", 0.0, 1.0, "run"),
        ("v2", 0.0, 1.0, "hop"),
    ]


def test_text_rounding_equals_printf():
    # .25 is exact in binary: %.1f gives the even .2; .15 is a little less: .1.
    table = segments(("v", 16, 0.15, 0.25, "run", 0.123456789))
    assert list(detections_from_segments(table, None, 0.4, text_rounding=True).rows()) == [
        ("v", 0.1, 0.2, "run", 0.12346)
    ]


def test_a_video_shorter_than_any_window_has_the_prior_of_the_shortest_window():
    table = segments(("v", 7, 0.0, 0.3, "run", 0.8))
    assert detections_from_segments(table, PRIOR, 0.4).score.tolist() == [0.2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("v", 16, 0.0, 1.0, "swim", 0.5), "no class swim"),
        (("v", 64, 0.0, 1.0, "run", 0.5), "no window length 64"),
    ],
)
def test_a_prior_without_the_class_or_window_length_of_a_segment_is_an_error(row, message):
    with pytest.raises(InputError, match=message):
        detections_from_segments(segments(row), PRIOR, 0.4)


def test_background_alone_gives_no_detections():
    table = segments(("v", 16, 0.0, 1.0, "Background", 0.5))
    assert len(detections_from_segments(table, PRIOR, 0.4)) == 0
    assert len(detections_from_segments(table, None, None, text_rounding=True)) == 0


def test_nms_by_hand():
    # Best first: row 1 [1, 5). tIoU with row 0 [0, 4): 3/5; with row 2 [4, 8): 1/7; with row 3
    # [6, 10): 0. At .5 row 0 is removed. Then row 3, whose tIoU with row 2 is 2/6: both stay.
    starts, ends, scores = [0, 1, 4, 6], [4, 5, 8, 10], [0.8, 0.9, 0.1, 0.7]
    assert nms(starts, ends, scores, 0.5).tolist() == [1, 3, 2]
    # At .3, 2/6 is too much.
    assert nms(starts, ends, scores, 0.3).tolist() == [1, 3]
    assert nms(starts, ends, scores, 0.6).tolist() == [1, 0, 3, 2]


def test_nms_keeps_a_tiou_equal_to_the_threshold():
    # [0, 2) and [1, 3): 1/3; [0, 1) and [1, 2) only touch: 0.
    assert nms([0.0, 1.0], [2.0, 3.0], [2.0, 1.0], 1 / 3).tolist() == [0, 1]
    assert nms([0.0, 1.0], [1.0, 2.0], [2.0, 1.0], 0.0).tolist() == [0, 1]


def test_nms_picks_the_later_row_among_equal_scores():
    assert nms([0, 0, 5], [2, 2, 6], [0.5, 0.5, 0.5], 0.3).tolist() == [2, 1]


def test_nms_with_threshold_one_keeps_everything_and_terminates():
    assert nms([0, 0], [2, 2], [0.1, 0.2], 1.0).tolist() == [1, 0]


def test_nms_of_no_segments_is_empty():
    assert nms([], [], [], 0.5).tolist() == []


SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(0, 3)), max_size=30)


@given(SPANS, st.sampled_from([0.0, 0.15, 0.4, 0.7, 1.0]))
def test_nms_survivors_are_apart_and_each_removed_segment_overlaps_a_better_one(
    segments, threshold
):
    table = np.array(segments, np.float64).reshape(-1, 3)
    spans, scores = np.stack([table[:, 0], table[:, 0] + table[:, 1]], 1), table[:, 2]
    kept = nms(spans[:, 0], spans[:, 1], scores, threshold)
    overlap = tiou(spans, spans)
    among = overlap[np.ix_(kept, kept)]
    assert (among[~np.eye(len(kept), dtype=bool)] <= threshold + 1e-12).all()
    ranks = [(-scores[i], -i) for i in kept]
    assert ranks == sorted(ranks)
    for removed in set(range(len(table))) - set(kept.tolist()):
        better = [i for i in kept if (scores[i], i) > (scores[removed], removed)]
        assert (overlap[removed, better] > threshold - 1e-12).any()


@pytest.mark.data
@pytest.mark.parametrize("tiou_threshold", [0.1, 0.5])
def test_the_authors_raw_segments_give_their_detections(data_dir, tiou_threshold):
    data = data_dir / "thumos14"
    raw = read_segments(data / "scnn" / "c3d_localization_raw_segments.csv.gz")
    prior = read_prior(data / "window_prior.csv")
    ours = detections_from_segments(raw, prior, tiou_threshold - 0.1, text_rounding=True)
    theirs = read_detections(data / "scnn" / f"c3d_final_detections_eval{tiou_threshold}.csv.gz")
    assert len(raw) == 79475
    for name in ("video", "start", "end", "label"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    # Two scores lie on the border of their fifth digit, on which the raw file's nine digits do
    # not decide.
    assert (ours.score != theirs.score).sum() == 2
    np.testing.assert_allclose(ours.score, theirs.score, rtol=1e-4)
