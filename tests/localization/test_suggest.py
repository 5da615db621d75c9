import numpy as np
import pytest

from scnn_tf.localization.suggest import suggest
from scnn_tf.localization.tables import Detections


def detections(*rows):
    """Detections of (video, label, start, end, score)."""
    video, label, start, end, score = zip(*rows, strict=True)
    return Detections(video, start, end, label, score)


def test_a_score_is_worth_most_halfway_and_nothing_at_both_ends():
    found = detections(
        ("v", "run", 0, 2, 1.0), ("v", "run", 4, 6, 0.75), ("v", "run", 8, 10, 0.5),
        ("v", "run", 12, 14, 0.0),
    )  # fmt: skip
    (video,) = suggest(found, {"v": 30.0})
    assert [(each.start, each.worth) for each in video.stretches] == [(8, 1.0), (4, 0.5)]
    assert video.stretches[0].reason == "run? score 0.50"
    assert video.worth == pytest.approx(1.5 * 2)  # of half a minute


def test_detections_of_two_classes_at_one_time_disagree():
    # tIoU 1.5/2.5 = .6; the better one is named, with 0.72/0.9 = .8 of a vote against it.
    found = detections(("v", "walk", 0, 2, 0.9), ("v", "run", 0.5, 2.5, 0.72))
    (video,) = suggest(found, {"v": 60.0})
    (stretch,) = video.stretches
    assert stretch[:2] == (0, 2) and stretch.worth == pytest.approx(0.8)
    assert stretch.reason == "walk, or run? scores 0.90 and 0.72"
    # Apart in time they do not: 1 - |2 · .9 - 1| = .2 and 1 - |2 · .72 - 1| = .56.
    found = detections(("v", "walk", 0, 2, 0.9), ("v", "run", 2, 4, 0.72))
    (video,) = suggest(found, {"v": 60.0})
    assert [each.worth for each in video.stretches] == pytest.approx([0.56, 0.2])


def test_classes_with_few_instances_count_more():
    found = detections(("v", "run", 0, 2, 0.5), ("v", "walk", 4, 6, 0.5), ("v", "hop", 8, 9, 0.5))
    (video,) = suggest(found, {"v": 60.0}, ["run"] * 2 + ["walk"] * 4)
    # Two a class in the mean: √(4/2), √(4/4), √(4/6).
    assert [each.reason[:3] for each in video.stretches] == ["hop", "run", "wal"]
    worths = [each.worth for each in video.stretches]
    assert worths == pytest.approx(np.sqrt([2, 1, 2 / 3]))


def test_videos_are_ordered_by_what_a_minute_of_them_is_worth():
    found = detections(("long", "run", 0, 2, 0.5), ("short", "run", 0, 2, 0.4))
    videos = suggest(found, {"long": 600.0, "short": 60.0, "empty": 60.0})
    assert [(each.video_id, round(each.worth, 2)) for each in videos] == [
        ("short", 0.8), ("long", 0.1), ("empty", 0)
    ]  # fmt: skip
