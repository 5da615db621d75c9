"""Exports as the tools write them, shortened by hand."""

import json
import math

import pytest
from absl import logging

from scnn_tf.datasets.label_csv import seconds
from scnn_tf.datasets.label_tools import read_labels
from scnn_tf.datasets.labelled import LabelledVideo, Span
from scnn_tf.errors import InputError

# VIA 3.0.13, "Save project": two files, a timeline with options, one region on a still picture.
VIA = {
    "project": {
        "pid": "__VIA_PROJECT_ID__", "rev": "__VIA_PROJECT_REV_ID__",
        "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__", "pname": "Kitchen",
        "creator": "VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
        "created": 1700000000000, "vid_list": ["1", "2"],
    },
    "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
    "attribute": {
        "1": {
            "aname": "TEMPORAL-SEGMENTS", "anchor_id": "FILE1_Z2_XY0", "type": 4,
            "desc": "Temporal segment attribute added by default",
            "options": {"1": "pour", "2": "stir, slowly"}, "default_option_id": "",
        },
        "2": {
            "aname": "object", "anchor_id": "FILE1_Z1_XY1", "type": 1, "desc": "",
            "options": {}, "default_option_id": "",
        },
    },
    "file": {
        "1": {"fid": "1", "fname": "kitchen_01.mp4", "type": 4, "loc": 1, "src": ""},
        "2": {"fid": "2", "fname": "kitchen_02.mp4", "type": 4, "loc": 1, "src": ""},
    },
    "metadata": {
        "1_Pf3xUmKo": {"vid": "1", "flg": 0, "z": [12.4, 15], "xy": [], "av": {"1": "1"}},
        "1_q0Yb9aZc": {"vid": "1", "flg": 0, "z": [21.2, 40.7], "xy": [], "av": {"1": "2"}},
        "1_Region01": {
            "vid": "1", "flg": 0, "z": [13], "xy": [2, 10, 10, 50, 50], "av": {"2": "cup"},
        },
    },
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
}  # fmt: skip

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

# CVAT for video 1.1. Frames are those of the source.
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>5</id><name>kitchen</name><size>100</size><mode>interpolation</mode>
      <start_frame>0</start_frame><stop_frame>99</stop_frame><frame_filter></frame_filter>
      <labels><label><name>pour</name><color>#2080c0</color><type>any</type></label></labels>
      <original_size><width>320</width><height>240</height></original_size>
      <source>kitchen_01.mp4</source>
    </task>
    <dumped>2023-11-14 12:00:00.000000+00:00</dumped>
  </meta>
  <track id="0" label="pour" source="manual">
    <box frame="10" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"><attribute name="hand">left</attribute></box>
    <box frame="11" keyframe="0" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
    <box frame="12" keyframe="1" outside="1" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
    <box frame="40" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
    <box frame="44" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
  </track>
  <track id="1" label="stir" source="manual">
    <polygon frame="5" keyframe="1" outside="0" occluded="0" points="1,1;2,2;3,1"></polygon>
    <polygon frame="8" keyframe="1" outside="1" occluded="0" points="1,1;2,2;3,1"></polygon>
  </track>
</annotations>
"""

# CVAT for images 1.1 of a video of which every second frame was labelled.
TAGS = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><id>9</id><size>50</size><mode>annotation</mode>
    <frame_filter>step=2</frame_filter></job></meta>
  <image id="4" name="frame_000004" width="320" height="240">
    <tag label="pour" source="manual"></tag>
    <box label="cup" source="manual" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2"></box>
  </image>
  <image id="6" name="frame_000006" width="320" height="240">
    <tag label="pour" source="manual"></tag>
    <tag label="stir" source="manual"></tag>
  </image>
  <image id="8" name="frame_000008" width="320" height="240"></image>
  <image id="10" name="frame_000010" width="320" height="240">
    <tag label="pour" source="manual"></tag>
  </image>
</annotations>
"""


@pytest.fixture
def read(tmp_path):
    """Writes an export and reads it."""

    def run(name, content, attribute=None):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_labels(tmp_path / name, attribute)

    return run


@pytest.fixture
def warnings(monkeypatch):
    """The warnings that were logged."""
    logged = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: logged.append(text % args))
    return logged


def spans(video: LabelledVideo):
    return [(s.label, s.start, s.end) for s in video.spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5", 12.5),
        ("02:03.5", 123.5),
        ("1:02:03", 3723),
        (" 90 ", 90),
        ("-1", -1),
        ("1e1", 10),
        ("90:30", 5430),
    ],
)
def test_times_are_seconds_or_clock_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "one", "1:60", "1:2:3:4", "1.5:20", "1:-2", "-1:30", "1_2", "\uff11\uff12", "inf",
        "nan", "1,5", "0:75", "1s", "00:00:01:12", "12:01:30 AM", "2023-01-01", "0:0\u0663",
        "1:60:00",
    ],
)  # fmt: skip
def test_an_invalid_time_is_nan(text):
    assert math.isnan(seconds(text))


def test_csv_columns_may_be_in_any_order_and_have_other_names(read):
    text = (
        "\ufeffEnd_s,Class,note,start_s,Filename,Split\r\n"
        "15.0,pour,,12.4,kitchen_01.mp4,train\r\n"
        "00:00:40.7,stir,good,0:21.2,kitchen_01.mp4,train\r\n"
        "\r\n"
        ",,,,hall_01,test\r\n"
    )
    kitchen, hall = read("a.csv", text)
    assert (kitchen.file, kitchen.subset, kitchen.in_frames) == ("kitchen_01.mp4", "train", False)
    assert spans(kitchen) == [("pour", 12.4, 15.0), ("stir", 21.2, 40.7)]
    assert hall == LabelledVideo("hall_01", (), subset="test")


def test_csv_separated_by_semicolons_may_have_decimal_commas(read):
    (video,) = read("a.csv", 'video;label;start;end\nv;"run; fast";1,5;2,25\n')
    assert spans(video) == [("run; fast", 1.5, 2.25)]
    (video,) = read("a.tsv", "video\tlabel\tstart\tend\nv\trun, fast\t1.5\t2\n")
    assert spans(video) == [("run, fast", 1.5, 2.0)]


def test_invalid_times_of_a_csv_are_kept_with_their_line_and_reason(read):
    (video,) = read("a.csv", 'video,label,start,end\nv,run,1,\nv,run,"1,5",2\n')
    assert [span.where for span in video.spans] == ["line 2, 1 to nothing", "line 3, 1,5 to 2"]
    expected = "is no time (expected seconds or h:m:s, such as 72.5 or 0:01:12.5)"
    assert [span.problem for span in video.spans] == [
        f"its end {expected}. Received: ''", f"its start {expected}. Received: '1,5'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "video,label,start,end\rv,run,1,2\rv,sit,3,4\r",  # as Macs wrote it
        "sep=;\nvideo;label;start;end\nv;run;1,0;2\nv;sit;3;4\n",
        '"sep=|"\r\nvideo|label|start|end\r\nv|run|1|2\r\nv|sit|3|4\r\n',
        "video,label,start,end,,\nv,run,1,2,,\nv,sit,3,4,,,,\n",  # Excel's spare columns
        "\n,,,\nvideo,label,start,end,note\nv,run,1,2\nv,sit,3,4,good\n",
    ],
)
def test_csv_as_spreadsheets_write_it(read, text):
    (video,) = read("a.csv", text)
    assert spans(video) == [("run", 1, 2), ("sit", 3, 4)]


def test_a_quote_that_is_not_closed_is_named(read):
    (row,) = read("a.csv", 'video,label,start,end\nv,"run,1,2\nw,run,1,2\n')
    assert row.problem == (
        "line 3: expected values of one line. Received: 'run,1,2\\nw,run,1,2'…; close its quote"
    )


def test_a_row_that_cannot_be_read_costs_that_row(read):
    unnamed, long, video = read(
        "a.csv", "video,label,start,end\n,run,1,2\nv,run,1,5,2,5\nv,run,1,2\n"
    )
    assert unnamed.problem == "line 2: expected the name of a video. Found: none"
    assert long.problem == "line 3: expected 4 values. Received: 6"
    assert (spans(video), video.problem) == ([("run", 1, 2)], "")


def test_via_has_seconds_and_options(read):
    first, second = read("via.json", VIA)
    assert first == LabelledVideo(
        "kitchen_01.mp4",
        (
            Span("pour", 12.4, 15, "segment '1_Pf3xUmKo', 12.4 to 15 s"),
            Span("stir, slowly", 21.2, 40.7, "segment '1_q0Yb9aZc', 21.2 to 40.7 s"),
        ),
    )
    # Nobody has labelled it: that is not the same as a video without actions.
    assert second == LabelledVideo("kitchen_02.mp4", labelled=False)


def test_via_has_attributes_that_are_no_segments(read, warnings):
    light = {"aname": "light", "anchor_id": "FILE1_Z0_XY0", "type": 4, "options": {"0": "day"}}
    metadata = {
        "1_a": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"1": "1"}},
        "1_b": {"vid": "1", "flg": 0, "z": [], "xy": [], "av": {"3": "0"}},
        "1_c": {"vid": "1", "flg": 0, "z": [4], "xy": [], "av": {"2": "cup"}},
        "2_d": {"vid": "2", "flg": 0, "z": [], "xy": [], "av": {"3": "0"}},
    }
    content = {**VIA, "attribute": {**VIA["attribute"], "3": light}, "metadata": metadata}
    for attribute in (None, "TEMPORAL-SEGMENTS"):
        first, second = read("via.json", content, attribute)
        assert spans(first) == [("pour", 1, 2)]
        assert (second.spans, second.labelled) == ((), False)
    path, _, text = warnings[0].partition("via.json: ")
    assert text == (
        "skipped labels that are no temporal segments: 2 file attribute, 1 picture attribute"
    )
    del content["metadata"]["1_a"]
    assert not any(video.labelled for video in read("via.json", content))


def test_invalid_segments_of_via_are_kept_with_their_reason(read):
    metadata = {
        "1_a": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {}},
        "1_b": {"vid": "1", "flg": 0, "z": [4], "xy": [], "av": {"1": "1"}},
        "1_c": {"vid": "1", "flg": 0, "z": [1, "1_2"], "xy": [], "av": {"1": "1"}},
        "1_d": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"1": ["1"]}},
    }
    first, _ = read("via.json", {**VIA, "metadata": metadata})
    assert [(span.label, span.problem) for span in first.spans] == [
        ("", ""), ("pour", "expected a start and an end. Received: 4"),
        ("pour", "expected two numbers. Received: 1 to '1_2'"),
        ("", "expected a text as class. Received: ['1']"),
    ]  # fmt: skip
    first, second = read("via.json", {**VIA, "file": {"2": VIA["file"]["2"]}})
    assert first.problem.startswith("video 1: expected a file. Received: a part of another form")
    assert second.file == "kitchen_02.mp4"


def test_via_reads_text_and_checkboxes(read):
    attribute = {**VIA["attribute"]["1"], "type": 1, "options": {}}
    metadata = {"1_a": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"1": "cut, fast"}}}
    content = {**VIA, "attribute": {"1": attribute}, "metadata": metadata}
    assert spans(read("via.json", content)[0]) == [("cut, fast", 1, 2)]
    attribute = {**attribute, "type": 2, "options": {"0": "pour", "1": "stir"}}
    metadata = {"1_a": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"1": "0,1"}}}
    content = {**VIA, "attribute": {"1": attribute}, "metadata": metadata}
    assert spans(read("via.json", content)[0]) == [("pour", 1, 2), ("stir", 1, 2)]


def test_via_with_two_attributes_needs_the_name_of_one(read):
    other = {**VIA["attribute"]["1"], "aname": "who", "type": 1, "options": {}}
    metadata = {
        "1_a": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"1": "1", "3": "ann"}},
        "1_b": {"vid": "1", "flg": 0, "z": [4], "xy": [], "av": {"1": "1", "3": "ann"}},
    }
    content = {**VIA, "attribute": {**VIA["attribute"], "3": other}, "metadata": metadata}
    with pytest.raises(InputError, match="Found: TEMPORAL-SEGMENTS, who; name it .--attribute"):
        read("via.json", content)
    whole, point = read("via.json", content, "who")[0].spans
    assert (whole.label, whole.start, whole.end, whole.problem) == ("ann", 1, 2, "")
    assert (point.label, point.problem) == ("ann", "expected a start and an end. Received: 4")


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


def test_cvat_tracks_are_actions_while_their_shapes_are_visible(read):
    (video,) = read("a.xml", CVAT)
    assert (video.file, video.in_frames, video.own_rate) == ("kitchen_01.mp4", True, True)
    # [10, 12) ends where it is outside; the second part of the track with its last picture.
    assert spans(video) == [("stir", 5, 8), ("pour", 10, 12), ("pour", 40, 45)]


def test_cvat_tags_are_joined_over_labelled_frames(read):
    (video,) = read("hall_03.xml", TAGS)
    assert video.file == "hall_03"  # the export of a job names no source
    assert spans(video) == [("pour", 4, 8), ("stir", 6, 8), ("pour", 10, 12)]


def test_cvat_without_tracks_and_tags_is_not_labelled(read, warnings):
    (video,) = read("hall_03.xml", TAGS.replace("<tag", "<box").replace("</tag>", "</box>"))
    assert (video.spans, video.labelled) == ((), False)
    assert warnings[0].endswith("hall_03.xml: skipped labels that are no tracks or tags: 5 box")


@pytest.mark.parametrize("number", ["", "one", "1_0", f"1{'0' * 400}"])
def test_a_track_that_cannot_be_read_costs_that_track(read, number):
    (video,) = read("a.xml", CVAT.replace('frame="11"', f'frame="{number}"'))
    good, bad = video.spans
    assert (good.label, good.problem) == ("stir", "")
    assert bad.problem.startswith(f"expected a frame number. Received: '{number[:20]}")
    assert len(bad.problem) < 80


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "labels are .csv or .tsv, .json"),
        ("a.csv", "", "lacks the column video, label, start, end"),
        ("a.csv", "video,start,end\n", "lacks the column label"),
        ("a.json", '{"a":\n', "no valid JSON, line 2"),
        ("a.json", "[]", "expected a project of VIA 3"),
        ("a.json", [{"id": 1, "video": "v.mp4", "tl": []}], "not JSON-MIN"),
        ("a.json", {**VIA, "attribute": []}, "a part of another form (AttributeError"),
        ("a.xml", "<annotations>", "no valid XML"),
        ("a.xml", "<x/>", "expected an export of CVAT"),
        ("a.xml", "<annotations><meta><project/></meta></annotations>", "that of a project"),
    ],
)  # fmt: skip
def test_an_invalid_export_is_an_error_that_names_the_file(read, tmp_path, name, content, message):
    with pytest.raises(InputError) as error:
        read(name, content)
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
