"""Exports of Label Studio, shortened by hand."""

import pytest

from tests.datasets.labels.spans import spans

# Label Studio 1.13, "JSON": TimelineLabels on Video.
TIMELINE = [
    {
        "id": 7,
        "annotations": [
            {
                "id": 3, "completed_by": 1, "was_cancelled": False, "ground_truth": False,
                "result": [
                    {
                        "value": {
                            "ranges": [{"start": 1, "end": 50}], "timelinelabels": ["pour"],
                        },
                        "id": "hT3xk", "from_name": "timelineLabels", "to_name": "video",
                        "type": "timelinelabels", "origin": "manual",
                    },
                    {
                        "value": {"choices": ["sharp"]}, "id": "c0", "from_name": "quality",
                        "to_name": "video", "type": "choices", "origin": "manual",
                    },
                ],
            },
            {"id": 4, "was_cancelled": True, "result": []},
        ],
        "file_upload": "1f2e3d4c-kitchen_01.mp4", "predictions": [], "meta": {}, "project": 2,
        "data": {"video": "/data/upload/2/1f2e3d4c-kitchen_01.mp4"},
    }
]  # fmt: skip

# The same tool's Labels on Audio, over the sound of a video, from a local folder.
AUDIO = [
    {
        "id": 8,
        "annotations": [
            {
                "id": 5, "was_cancelled": False,
                "result": [
                    {
                        "original_length": 61.5,
                        "value": {"start": 1.25, "end": 3.5, "channel": 0, "labels": ["clap"]},
                        "id": "w1", "from_name": "labels", "to_name": "audio", "type": "labels",
                    }
                ],
            }
        ],
        "data": {"audio": "/data/local-files/?d=my%20videos/hall_02.mp4"},
    }
]  # fmt: skip


def test_label_studio_counts_frames_from_1_both_ends_inclusive(read):
    (video,) = read("ls.json", TIMELINE)
    assert (video.file, video.in_frames, video.own_rate) == (
        "/data/upload/2/kitchen_01.mp4", True, False,
    )  # fmt: skip
    assert video.stored_as == "/data/upload/2/1f2e3d4c-kitchen_01.mp4"
    assert spans(video) == [("pour", 0, 50)]
    (region, *_) = TIMELINE[0]["annotations"][0]["result"]
    value = {"ranges": [{"start": 0, "end": 90}], "timelinelabels": ["pour"]}
    (video,) = read("ls.json", with_regions({**region, "value": value}))
    assert video.spans[0].problem == "its frames count from 1. Received: 0 to 90"


def with_regions(*regions, **changes):
    return [{**TIMELINE[0], "annotations": [{"id": 3, "result": list(regions)}], **changes}]


@pytest.mark.parametrize(
    ("video", "file", "stored_as"),
    [
        ("s3://bkt/day1/cam.mp4", "s3://bkt/day1/cam.mp4", ""),
        ("s3://bkt/1f2e3d4c-cam.mp4", "s3://bkt/1f2e3d4c-cam.mp4", ""),
        (
            "/data/upload/1/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.mp4",
            "/data/upload/1/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.mp4", "",
        ),
        (
            "/data/upload/1/1f2e3d4c-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.mp4",
            "/data/upload/1/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.mp4",
            "/data/upload/1/1f2e3d4c-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.mp4",
        ),
        ("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", ""),
        ("https://h/day1/cam.mp4?Signature=a", "https://h/day1/cam.mp4", ""),
        ("/data/local-files/?d=day%201/cam%3F.mp4", "day 1/cam?.mp4", ""),
    ],
)  # fmt: skip
def test_label_studio_names_keep_their_folders(read, video, file, stored_as):
    (labelled,) = read("ls.json", [{**TIMELINE[0], "data": {"video": video}}])
    assert (labelled.file, labelled.stored_as) == (file, stored_as)


def test_label_studio_tasks_that_nobody_labelled_are_not_empty(read):
    done, empty = TIMELINE[0]["annotations"][0], {"id": 6, "was_cancelled": False, "result": []}
    skipped = {"id": 7, "was_cancelled": True, "result": done["result"]}
    predictions = [{"result": done["result"]}]
    tasks = [
        {"data": {"video": f"{name}.mp4"}, **task}
        for name, task in {
            "done": {"annotations": [done]}, "empty": {"annotations": [empty]},
            "new": {"annotations": []}, "skipped": {"annotations": [skipped]},
            "draft": {"annotations": [], "drafts": [{"result": done["result"]}]},
            "guessed": {"predictions": predictions},
            "seen": {"annotations": [empty, skipped], "predictions": predictions},
        }.items()
    ]  # fmt: skip
    assert {video.file: (len(video.spans), video.labelled) for video in read("a.json", tasks)} == {
        "done.mp4": (1, True), "empty.mp4": (0, True), "new.mp4": (0, False),
        "skipped.mp4": (0, False), "draft.mp4": (0, False), "guessed.mp4": (0, False),
        "seen.mp4": (0, True),
    }  # fmt: skip


def test_label_studio_boxes_are_named_and_are_no_actions(read, warnings):
    range_, choice = TIMELINE[0]["annotations"][0]["result"]
    box = {"type": "videorectangle", "value": {"sequence": [], "labels": ["cup"]}}
    (video,) = read("a.json", with_regions(range_, choice, box, box))
    assert (spans(video), video.labelled) == ([("pour", 0, 50)], True)
    assert warnings[0].endswith(
        "a.json: skipped labels that are no ranges of time: 2 videorectangle"
    )
    # With boxes only, nobody has said that there is no action.
    (video,) = read("a.json", with_regions(box))
    assert (video.spans, video.labelled) == ((), False)
    (video,) = read("a.json", with_regions(choice))
    assert video.labelled


@pytest.mark.parametrize(
    ("data", "rate"),
    [
        ({"fps": 10}, 10), ({"frameRate": "29.97"}, 29.97),
        ({"frame_rate": "30000/1001"}, 30000 / 1001), ({"fps": 0}, None), ({"fps": "x"}, None),
        ({"fps": None}, None), ({}, None),
    ],
)  # fmt: skip
def test_label_studio_tasks_may_say_their_frame_rate(read, data, rate):
    (video,) = read("a.json", [{**TIMELINE[0], "data": {"video": "v.mp4", **data}}])
    assert video.rate == (rate and pytest.approx(rate))


def test_label_studio_may_have_frames_and_seconds_in_a_task(read):
    (region, *_), (timed,) = (t[0]["annotations"][0]["result"] for t in (TIMELINE, AUDIO))
    frames, seconds_ = read("a.json", with_regions(region, timed))
    assert (frames.in_frames, spans(frames)) == (True, [("pour", 0, 50)])
    assert (seconds_.in_frames, spans(seconds_)) == (False, [("clap", 1.25, 3.5)])
    assert frames.file == seconds_.file


def test_a_task_that_cannot_be_read_costs_that_task(read):
    bad = {"id": 8, "data": {"video": "v.mp4"}}
    range_ = {"value": {"timelinelabels": ["a"]}}
    open_end = {"value": {"ranges": [{"start": 1}], "timelinelabels": ["a"]}}
    label = {"value": {"ranges": [{"start": 1, "end": 2}], "timelinelabels": [["a"]]}}
    *problems, listed, good = read("a.json", [
        {**bad, "annotations": 3}, {**bad, "annotations": [{"result": [range_]}]},
        {"id": 9, "data": {}, "annotations": []},
        {**bad, "annotations": [{"result": [label, open_end]}]},
        *TIMELINE,
    ])  # fmt: skip
    assert [video.problem for video in problems] == [
        "task 8: expected an export of Label Studio. Received: a part of another form "
        "(TypeError: 'int' object is not iterable); export it again",
        "task 8: expected an export of Label Studio. Received: a part of another form "
        "(KeyError: 'ranges'); export it again",
        'task 9: expected a video in "data". Found: none',
    ]
    assert [span.problem for span in listed.spans] == [
        "expected a text as class. Received: ['a']", "expected two numbers. Received: 1 to None",
    ]  # fmt: skip
    assert spans(good) == [("pour", 0, 50)]


def test_label_studio_has_seconds_on_audio(read):
    (video,) = read("ls.json", AUDIO)
    assert (video.file, video.in_frames, video.duration) == ("my videos/hall_02.mp4", False, 61.5)
    assert spans(video) == [("clap", 1.25, 3.5)]


def test_label_studio_with_two_annotations_uses_the_ground_truth(read):
    other = {"id": 6, "was_cancelled": False, "result": []}
    task = {**TIMELINE[0], "annotations": [TIMELINE[0]["annotations"][0], other]}
    (video,) = read("ls.json", [task])
    assert video.problem.startswith("task 7: expected one annotation. Found: 2; mark one as ground")
    task["annotations"][1] = {**other, "ground_truth": True}
    assert read("ls.json", task)[0].spans == ()
