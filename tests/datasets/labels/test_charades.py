"""The table of Charades, shortened."""

from tests.datasets.labels.spans import spans

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


def test_each_row_is_a_video_with_all_of_its_actions(read):
    text = HEADER + (
        '46GP8,HR43,Kitchen,6,7,Yes,"A person cooks, then laughs.",food;stove,'
        '"A person cooks.;A person, on a stove.",c092 11.90 21.20;c147 0.00 12.60,24.83\n'
        "N11GT,0KZ7,Stairs,5,5,No,A person sits.,stairs,A person sits.,,18.33\n"
    )
    first, second = read("Charades_v1_train.csv", text)
    assert (first.file, first.subset, first.duration) == ("46GP8", "train", 24.83)
    assert spans(first) == [("c092", 11.9, 21.2), ("c147", 0.0, 12.6)]
    # A video in which there is nothing to label.
    assert (second.file, second.spans, second.labelled) == ("N11GT", (), True)


def test_a_bad_action_costs_that_action(read):
    text = HEADER + (
        "46GP8,HR43,Kitchen,6,7,Yes,,,,c092 11.90;c147 zero 12.60;c001 1 2 3;;c002 3 4,long\n"
        ",HR43,Kitchen,6,7,Yes,,,,c092 1 2,3\n"
    )
    unnamed, video = read("Charades_v1_test.csv", text)
    assert unnamed.problem == "line 3: expected the name of a video. Found: none"
    assert video.duration is None
    assert [(span.label, span.where, span.problem[:17]) for span in video.spans] == [
        ("c092", "line 2, 11.90 to nothing", "its end is no tim"),
        ("c147", "line 2, zero to 12.60", "its start is no t"),
        ("c001", "line 2, 1 to 2 3", "its end is no tim"),
        ("c002", "line 2, 3 to 4", ""),
    ]
