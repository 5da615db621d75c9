"""EPIC-Kitchens-100's tables, shortened."""

import pytest

from scnn_tf.datasets.labels.labelled import LabelledVideo
from scnn_tf.errors import InputError
from tests.datasets.labels.spans import spans

ACTIONS = """\
narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,\
start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes
P03_02_0,P03,P03_02,00:00:04.310,00:00:03.29,00:00:04.26,197,255,put lunch box,put,1,box:lunch,23,\
['box:lunch'],[23]
P03_02_15,P03,P03_02,00:00:24.900,00:00:23.79,00:00:24.60,1427,1476,put rubbish in the bin,put-in,\
5,rubbish,54,"['rubbish', 'bin']","[54, 36]"
P03_02_29,P03,P03_02,00:01:01.440,00:00:59.70,01:01:01.78,3582,3706,pick up lunch box,pick-up,0,\
box:lunch,23,['box:lunch'],[23]
"""


@pytest.mark.parametrize(
    ("attribute", "labels"),
    [
        ("verb", ["put", "put-in", "pick-up"]),
        ("noun", ["box:lunch", "rubbish", "box:lunch"]),
        ("verb,noun", ["put box:lunch", "put-in rubbish", "pick-up box:lunch"]),
        ("verb_class", ["1", "5", "0"]),
        ("all_nouns", ["box:lunch", "rubbish", "bin", "box:lunch"]),
        ("verb_class, all_noun_classes", ["1 23", "5 54", "5 36", "0 23"]),
    ],
)
def test_columns_are_the_class_and_each_of_a_list_is_one(read, attribute, labels):
    (video,) = read("EPIC_100_train.csv", ACTIONS, attribute)
    assert [label for label, _, _ in spans(video)] == labels


def test_times_are_exact_and_the_subset_is_in_the_name_of_the_file(read):
    (video,) = read("EPIC_100_validation.csv", ACTIONS, "verb")
    assert (video.file, video.subset, video.in_frames) == ("P03_02", "validation", False)
    # 61.78 s: the sum of 3600, 60 and 1.78 as floats might be another number.
    assert spans(video) == [
        ("put", 3.29, 4.26), ("put-in", 23.79, 24.6), ("pick-up", 59.7, 3661.78),
    ]  # fmt: skip
    (video,) = read("actions.csv", ACTIONS, "verb")
    assert video.subset == ""


@pytest.mark.parametrize("attribute", [None, "narration", "verb,", "verb,hand"])
def test_the_column_of_the_class_must_be_named(read, attribute):
    with pytest.raises(InputError) as error:
        read("EPIC_100_train.csv", ACTIONS, attribute)
    assert str(error.value).endswith(
        "expected the column that is the class, or two, such as --attribute=verb,noun; verb, noun, "
        "all_nouns, verb_class, noun_class, all_noun_classes may be. "
        f"Received: {attribute or 'none'}"
    )


def test_a_bad_row_costs_that_row(read):
    header, first, *_ = ACTIONS.splitlines()
    rows = [
        header,
        first.replace("['box:lunch']", "['box:lunch'"),
        first.replace("['box:lunch']", "[[]]"),
        first.replace("00:00:03.29", "00:00:93.29"),
        first.replace("P03_02", ""),
        "P03_02_9,P03",
        first,
    ]
    *others, video = read("EPIC_100_train.csv", "\n".join(rows), "all_nouns")
    assert [each.problem for each in others] == [
        "line 2: expected a list such as ['tap', 'pan']. Received: \"['box:lunch'\"",
        "line 3: expected a list such as ['tap', 'pan']. Received: '[[]]'",
        "line 6: expected 15 values. Received: 2",
        "line 5: expected the name of a video. Found: none",
    ]
    bad, good = video.spans
    assert bad.where == "line 4, 00:00:93.29 to 00:00:04.26"
    assert bad.problem.startswith("its start is no time")
    assert (good.label, good.start, good.problem) == ("box:lunch", 3.29, "")


def test_the_table_of_videos_has_durations_and_no_labels(read):
    text = "video_id,duration,fps,resolution\nP01_01,1652.152817,59.94,1920x1080\nP01_02,-,50.0\n"
    first, second = read("EPIC_100_video_info.csv", text)
    assert first == LabelledVideo("P01_01", duration=1652.152817, labelled=False)
    assert second.problem == "line 3: duration must be above 0. Received: '-'"
