import math

import pytest

from scnn_tf.datasets.annotations import (
    AMBIGUOUS,
    Instance,
    VideoAnnotation,
    class_names,
    subset_in_name,
    trainable,
)

JUMP = Instance("jump", 1.0, 2.5)
DOUBT = Instance(AMBIGUOUS, 3.0, 4.0)


def test_actions_leave_out_ambiguous_intervals():
    video = VideoAnnotation("v", "test", 9.0, 25.0, (DOUBT, JUMP))
    assert video.actions == (JUMP,)
    assert video.ambiguous == (DOUBT,)
    assert class_names([video]) == ("jump",)


def test_clipped_cuts_instances_at_the_end_and_drops_later_ones():
    late = Instance("run", 6.0, 7.0)
    video = VideoAnnotation("v", "train", 9.0, None, (JUMP, DOUBT, late))
    clipped = video.clipped(3.5)
    assert clipped.duration == 3.5
    assert clipped.instances == (JUMP, Instance(AMBIGUOUS, 3.0, 3.5))
    assert video.instances == (JUMP, DOUBT, late)


@pytest.mark.parametrize(
    ("start", "end", "usable"),
    [
        (0, 0.1, True),
        (0, 0, False),
        (3, 2, False),
        (-1, 2, False),
        (math.nan, 2, False),
        (1, math.nan, False),
        (math.inf, math.inf, False),
    ],
)
def test_a_usable_instance_has_a_length_and_does_not_start_before_0(start, end, usable):
    assert Instance("jump", start, end).is_usable() is usable


def test_only_in_a_trimmed_video_the_end_may_be_unknown():
    whole = Instance("jump", 0, math.inf)
    assert whole.is_usable(trimmed=True) and not whole.is_usable()


def test_training_leaves_out_unusable_instances_and_videos_without_any_other(caplog):
    none, back = Instance("run", 0, 0), Instance("hop", 4, 3)

    def video(*instances):
        return VideoAnnotation("v", "train", 9.0, None, instances)

    videos = {"some": video(JUMP, none), "no": video(none, back), "empty": video()}
    assert trainable(videos) == {"some": video(JUMP), "empty": video()}
    (record,) = caplog.records
    assert record.getMessage() == (
        "left out 3 instance(s) without a length, or before the start, of 2 video(s) such as some, "
        "and with them 1 video(s) that have no other instance"
    )
    caplog.clear()
    assert trainable({"empty": video(), "jump": video(JUMP)}) and not caplog.records


@pytest.mark.parametrize(
    ("name", "subset"),
    [
        ("EPIC_100_train.csv", "train"),
        ("EPIC_100_uda_source_val.csv", "validation"),
        ("Charades_v1_test.csv", "test"),
        ("action_test_anno.json", "test"),
        ("kinetics-600_validate.csv", "validation"),
        ("multithumos.json", None),
        ("trainer_latest.csv", None),
    ],
)
def test_the_name_of_a_file_may_state_its_subset(name, subset):
    assert subset_in_name(name) == subset
