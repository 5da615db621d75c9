"""Exports as the tools write them, shortened by hand."""

import json
import math

import pytest

from scnn_tf.datasets.label_tools import LabelledVideo, Span, read_labels, seconds
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


def spans(video: LabelledVideo):
    return [(s.label, s.start, s.end) for s in video.spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12.5", 12.5), ("02:03.5", 123.5), ("1:02:03", 3723), (" 90 ", 90), ("-1", -1)],
)
def test_times_are_seconds_or_clock_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "one", "1:60", "1:2:3:4", "1.5:20", "1:-2", "-1:30"])
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


def test_invalid_times_of_a_csv_are_kept_with_their_line(read):
    (video,) = read("a.csv", "video,label,start,end\nv,run,1,\nv,run,x,2\n")
    assert [span.where for span in video.spans] == ["line 2, 1 to nothing", "line 3, x to 2"]
    assert math.isnan(video.spans[0].end) and math.isnan(video.spans[1].start)


def test_via_has_seconds_and_options(read):
    first, second = read("via.json", VIA)
    assert first == LabelledVideo(
        "kitchen_01.mp4",
        (
            Span("pour", 12.4, 15, "segment '1_Pf3xUmKo', 12.4 to 15 s"),
            Span("stir, slowly", 21.2, 40.7, "segment '1_q0Yb9aZc', 21.2 to 40.7 s"),
        ),
    )
    assert second == LabelledVideo("kitchen_02.mp4", ())


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
    assert spans(read("via.json", content, "who")[0]) == [("ann", 1, 2), ("ann", 4, 4)]


def test_label_studio_counts_frames_from_1_both_ends_inclusive(read):
    (video,) = read("ls.json", TIMELINE)
    assert (video.file, video.in_frames, video.own_rate) == ("kitchen_01.mp4", True, False)
    assert spans(video) == [("pour", 0, 50)]


def test_label_studio_has_seconds_on_audio(read):
    (video,) = read("ls.json", AUDIO)
    assert (video.file, video.in_frames, video.duration) == ("hall_02.mp4", False, 61.5)
    assert spans(video) == [("clap", 1.25, 3.5)]


def test_label_studio_with_two_annotations_uses_the_ground_truth(read):
    other = {"id": 6, "was_cancelled": False, "result": []}
    task = {**TIMELINE[0], "annotations": [TIMELINE[0]["annotations"][0], other]}
    with pytest.raises(
        InputError, match="task 7: expected one annotation. Found: 2; mark one as ground truth"
    ):
        read("ls.json", [task])
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "labels are .csv or .tsv, .json"),
        ("a.csv", "", "lacks the column video, label, start, end"),
        ("a.csv", "video,start,end\n", "lacks the column label"),
        ("a.csv", "video,label,start,end\nv,run,1\n", "line 2: expected 4 values. Received: 3"),
        ("a.csv", "video,label,start,end\n,run,1,2\n", "line 2: expected the name of a video"),
        ("a.json", '{"a":\n', "no valid JSON, line 2"),
        ("a.json", "[]", "expected a project of VIA 3"),
        ("a.json", [{"id": 1, "video": "v.mp4", "tl": []}], "not JSON-MIN"),
        ("a.json", {**VIA, "file": {}}, "a part of another form (KeyError"),
        ("a.json", [{"id": 1, "data": {}, "annotations": []}], "task 1: expected a video in"),
        ("a.json", [{"id": 1, "data": {}, "annotations": 3}], "a part of another form"),
        ("a.xml", "<annotations>", "no valid XML"),
        ("a.xml", "<x/>", "expected an export of CVAT"),
        ("a.xml", "<annotations><meta><project/></meta></annotations>", "that of a project"),
        ("a.xml", '<annotations><meta/><track id="0"/></annotations>', "each track and image"),
        ("a.xml", CVAT.replace('frame="10"', f'frame="1{"0" * 400}"'), "frame number 1000"),
    ],
)  # fmt: skip
def test_an_invalid_export_is_an_error_that_names_the_file(read, tmp_path, name, content, message):
    with pytest.raises(InputError) as error:
        read(name, content)
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
