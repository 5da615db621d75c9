import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.localization.formats import read_detections, read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.tables import RawSegments
from scnn_tf.segments.prior import WindowPrior, read_prior

PRIOR = WindowPrior(
    ("hop", "run"), (16, 32), np.array([[1, 1], [1, 3]]), np.array([[0.5, 0.5], [0.25, 0.75]])
)


def segments(*rows):
    return RawSegments(*zip(*rows, strict=True))


def rows(table):
    return list(zip(*(column.tolist() for column in vars(table).values()), strict=True))


def test_prior_nms_and_order_by_hand():
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
    assert rows(found) == [
        ("v2", 0.0, 2.0, "run", pytest.approx(0.6)),
        ("v2", 0.0, 1.0, "hop", 0.4),
        ("v1", 0.0, 1.0, "run", 0.2),
    ]


def test_without_prior_or_nms_every_action_stays():
    table = segments(
        ("v", 16, 0.0, 1.0, "run", 0.3),
        ("v", 16, 0.0, 1.0, "Background", 0.9),
        ("v", 99, 0.0, 1.0, "swim", 0.5),
    )
    assert rows(detections_from_segments(table, None, None)) == [
        ("v", 0.0, 1.0, "swim", 0.5),
        ("v", 0.0, 1.0, "run", 0.3),
    ]


def test_equal_scores_come_by_video_then_class_then_as_picked():
    table = segments(
        ("v2", 16, 0.0, 1.0, "hop", 0.5),
        ("v1", 16, 0.0, 1.0, "run", 0.5),
        ("v1", 16, 0.0, 1.0, "hop", 0.5),
        ("v1", 16, 3.0, 4.0, "hop", 0.5),  # NMS picks the later row first
    )
    found = detections_from_segments(table, None, 0.4)
    assert [row[:4] for row in rows(found)] == [
        ("v1", 3.0, 4.0, "hop"),
        ("v1", 0.0, 1.0, "hop"),
        ("v1", 0.0, 1.0, "run"),
        ("v2", 0.0, 1.0, "hop"),
    ]


def test_text_rounding_is_that_of_printf():
    # .25 is exact in binary: %.1f gives the even .2; .15 is a little less: .1.
    table = segments(("v", 16, 0.15, 0.25, "run", 0.123456789))
    assert rows(detections_from_segments(table, None, 0.4, text_rounding=True)) == [
        ("v", 0.1, 0.2, "run", 0.12346)
    ]


def test_a_video_shorter_than_any_window_takes_the_weight_of_the_shortest():
    table = segments(("v", 7, 0.0, 0.3, "run", 0.8))
    assert detections_from_segments(table, PRIOR, 0.4).score.tolist() == [0.2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("v", 16, 0.0, 1.0, "swim", 0.5), "no class swim"),
        (("v", 64, 0.0, 1.0, "run", 0.5), "no window length 64"),
    ],
)
def test_prior_of_other_segments_is_an_error(row, message):
    with pytest.raises(InputError, match=message):
        detections_from_segments(segments(row), PRIOR, 0.4)


def test_no_segments_no_detections():
    table = segments(("v", 16, 0.0, 1.0, "Background", 0.5))
    assert len(detections_from_segments(table, PRIOR, 0.4)) == 0
    assert len(detections_from_segments(table, None, None, text_rounding=True)) == 0


@pytest.mark.data
@pytest.mark.parametrize("tiou", [0.1, 0.5])
def test_the_authors_detections_come_out_of_their_raw_segments(data_dir, tiou):
    data = data_dir / "thumos14"
    raw = read_segments(data / "scnn" / "c3d_localization_raw_segments.csv.gz")
    prior = read_prior(data / "window_prior.csv")
    ours = detections_from_segments(raw, prior, tiou - 0.1, text_rounding=True)
    theirs = read_detections(data / "scnn" / f"c3d_final_detections_eval{tiou}.csv.gz")
    assert len(raw) == 79475
    for name in ("video", "start", "end", "label"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    # Two scores lie on the border of their fifth digit; the raw file's nine do not decide.
    assert (ours.score != theirs.score).sum() == 2
    np.testing.assert_allclose(ours.score, theirs.score, rtol=1e-4)
