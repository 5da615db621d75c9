"""JSON of data sets, read as labels; `test_activitynet` has the forms themselves."""

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span


def test_multithumos_is_read_with_a_problem_for_each_bad_row(read):
    content = {
        "video_test_0000950": {
            "subset": "testing", "duration": 1315.39,
            "actions": [[25, 1032.96, 1036.48], [25, 1.0]],
        },
        "82990": {"subset": "training", "duration": 16.5, "actions": []},
        "46GP8": {"subset": "training", "duration": 24.83, "actions": [[92, 11.9, 21.2]]},
    }  # fmt: skip
    bad, long, empty, short = read("multithumos.json", content)
    assert bad.problem == (
        "video 'video_test_0000950', instance 2: expected [class, start, end], times in seconds. "
        "Received: [25, 1.0]"
    )
    assert long == LabelledVideo(
        "video_test_0000950",
        (Span("25", 1032.96, 1036.48, "1032.96 to 1036.48 s"),),
        subset="testing",
        duration=1315.39,
    )
    assert (empty.file, empty.spans, empty.labelled) == ("82990", (), True)
    assert short.spans[0].label == "92"


def test_activitynet_s_unlabelled_videos_are_not_labelled(read):
    item = {"label": "run", "segment": [1, 2]}
    content = {
        "a": {"subset": "training", "annotations": [item]},
        "b": {"subset": "testing", "annotations": []},
    }
    assert [video.labelled for video in read("a.json", {"database": content})] == [True, False]
