import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.localization.tables import Detections
from scnn_tf.report.labels.drafts import Interval, draft_threshold, drafts_of, without_overlap

NONE = Detections([], [], [], [], [])


def found(*rows) -> Detections:
    """Detections of (start, end, score), of "run" in the video v."""
    start, end, score = zip(*rows, strict=True)
    return Detections(["v"] * len(rows), start, end, ["run"] * len(rows), score)


def test_a_draft_by_hand():
    rows = found((5.0, 6.0, 0.5), (1.0, 2.0, 0.9), (3.0, 4.0, 0.4))
    truth = {"v": VideoAnnotation("v", "test", 10.0, 50.0, (Instance("sit", 0.5, 1.0),))}
    (draft,) = drafts_of(rows, 0.5, ground_truth=truth)
    assert draft.found == (Interval("run", 1.0, 2.0, 0.9), Interval("run", 5.0, 6.0, 0.5))
    assert draft.truth == (Interval("sit", 0.5, 1.0),)
    assert (draft.name, draft.address, draft.duration, draft.frame_rate) == ("v", "", 10.0, 50.0)
    labels = [interval.label for interval in draft.in_one_layer()]
    assert labels == ["ground truth: sit", "run", "run"]


def test_files_give_names_durations_and_rates(drafts, video_dir):
    ann, bob = drafts
    assert (ann.video_id, ann.file, ann.duration, ann.frame_rate) == (
        "cam1/ann_1", "cam1/ann_1.mp4", 3.2, 25.0
    )  # fmt: skip
    assert ann.info.path == str(video_dir / "cam1" / "ann_1.mp4")
    assert ann.info.num_pictures == 80
    # The last detection ends half a second after its video.
    assert (bob.name, bob.frame_rate, bob.found[0].end) == ("bob.mp4", 10.0, 6.0)
    assert bob.truth is None and [i.label for i in ann.truth] == ["run", "sit"]


def test_an_address_is_a_url(video_dir):
    rows = Detections(["cam1/ann_1"], [0.0], [1.0], ["run"], [1.0])
    (draft,) = drafts_of(rows, 0.0, video_dir=video_dir, video_url="/data/local-files/?d=v/")
    assert draft.address == "/data/local-files/?d=v/cam1/ann_1.mp4"
    (draft,) = drafts_of(rows.take([0]), 0.0, video_url="http://host/a b/")
    assert draft.address == "http://host/a b/cam1/ann_1"


def test_a_video_whose_detections_are_left_out_has_an_empty_draft():
    (draft,) = drafts_of(found((1.0, 2.0, 0.5)), 0.6)
    assert draft.found == () and draft.truth is None
    assert drafts_of(NONE, 0.0) == []


def test_intervals_are_inside_their_video():
    nan, inf = float("nan"), float("inf")
    rows = found(
        (-1.0, 1.0, 0.5), (-2.0, -1.0, 0.5), (8.0, 12.0, 0.5), (11.0, 12.0, 0.5), (5.0, 5.0, 0.5),
        (3.0, 2.0, 0.5), (nan, 2.0, 0.5), (1.0, inf, 0.5), (1.0, 2.0, nan),
    )  # fmt: skip
    instances = (Instance("sit", 9.0, inf), Instance("sit", 5.0, 5.0), Instance("sit", 10.0, 11.0))
    truth = {"v": VideoAnnotation("v", "test", 10.0, None, instances)}
    (draft,) = drafts_of(rows, 0.0, ground_truth=truth)
    assert [(i.start, i.end) for i in draft.found] == [(0.0, 1.0), (8.0, 10.0)]
    assert draft.truth == (Interval("sit", 9.0, 10.0),)
    (draft,) = drafts_of(found((0.0, 1.7e308, 0.5)), 0.0)
    assert draft.found[0].milliseconds == (0, 10**12)


def test_an_interval_lasts_a_millisecond():
    assert Interval("run", 1.0, 1.0001).milliseconds == (1000, 1001)
    assert Interval("run", 0.9996, 2.0004).milliseconds == (1000, 2000)


def test_rows_without_overlap_by_hand():
    run, sit, lie = Interval("run", 0, 4), Interval("sit", 2, 5), Interval("lie", 4, 6)
    assert without_overlap([run, sit, lie]) == [[run, lie], [sit]]
    assert without_overlap([]) == [[]]


spans = st.tuples(st.integers(0, 2000), st.integers(1, 900))


@given(st.lists(spans, max_size=12))
def test_rows_hold_every_interval_and_do_not_overlap(values):
    intervals = [Interval("x", start / 3000, (start + length) / 3000) for start, length in values]
    intervals.sort(key=lambda interval: interval.start)
    rows = without_overlap(intervals)
    assert sorted(i for row in rows for i in row) == sorted(intervals)
    for row in rows:
        times = [time for interval in row for time in interval.milliseconds]
        assert times == sorted(times)
    at_once = np.zeros(4000, int)
    for interval in intervals:
        at_once[slice(*interval.milliseconds)] += 1
    assert len(rows) == max(1, at_once.max())


def test_the_threshold_has_the_highest_f_of_one_half():
    # True at .9, .7 and .5, of four instances: 1.25 × true / (found + 1) is .625, .417, .625, .5,
    # .625, and the highest score of equally good ones is taken. F1 would be highest at .5.
    rows = found(
        (0.0, 1.0, 0.9), (6.0, 7.0, 0.8), (2.0, 3.0, 0.7), (8.0, 9.0, 0.6), (4.0, 5.0, 0.5)
    )  # fmt: skip
    truth = tuple(Instance("run", start, start + 1.0) for start in (0.0, 2.0, 4.0, 10.0))
    truth = {"v": VideoAnnotation("v", "test", 20.0, None, truth)}
    assert draft_threshold(rows, truth) == 0.9
    # Videos without ground truth, or without detections, do not matter.
    more = Detections(
        [*rows.video, "w"], [*rows.start, 0.0], [*rows.end, 1.0], [*rows.label, "run"],
        [*rows.score, 0.95],
    )  # fmt: skip
    unseen = {"u": VideoAnnotation("u", "test", 10.0, None, truth["v"].instances * 9)}
    assert draft_threshold(more, truth | unseen) == 0.9
    for annotated in (None, unseen):
        with pytest.raises(InputError, match="give --score_threshold, or --annotations"):
            draft_threshold(rows, annotated)


def test_names_that_no_form_holds_are_refused():
    for label in ("a\nb", "a\x00b", "\u2028a", " a", "a ", "", "\ud800", "\uffff"):
        rows = Detections(["v"], [0.0], [1.0], [label], [1.0])
        with pytest.raises(InputError, match=r"expected classes of one line.*rename the class"):
            drafts_of(rows, 0.0)
    with pytest.raises(InputError, match=r"ids of videos without control characters.*'v\\nw'"):
        drafts_of(Detections(["v\nw"], [0.0], [1.0], ["run"], [1.0]), 0.0)
    with pytest.raises(InputError, match="expected a number as score threshold. Received: NaN"):
        drafts_of(NONE, float("nan"))


def test_missing_videos(video_dir, caplog):
    rows = Detections(["bob", "eve"], [0.0, 0.0], [1.0, 1.0], ["run"] * 2, [1.0] * 2)
    bob, eve = drafts_of(rows, 0.0, video_dir=video_dir)
    assert bob.info and eve.info is None and eve.file is None and eve.frame_rate == 25.0
    assert "eve" in caplog.text
    with pytest.raises(InputError, match="none of the 1 videos with detections was found"):
        drafts_of(rows.take([1]), 0.0, video_dir=video_dir)
