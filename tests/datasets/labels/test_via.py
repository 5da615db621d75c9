"""Projects of VIA 3 as it saves them, shortened by hand."""

import pytest

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span
from scnn_tf.errors import InputError
from tests.datasets.labels.spans import spans

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


def test_segments_of_another_attribute_are_of_another_timeline(read, warnings):
    other = {**VIA["attribute"]["1"], "aname": "who", "type": 1, "options": {}}
    metadata = {
        "1_a": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"3": "ann"}},
        "1_b": {"vid": "1", "flg": 0, "z": [4, 5], "xy": [], "av": {"1": "1"}},
    }
    content = {**VIA, "attribute": {**VIA["attribute"], "3": other}, "metadata": metadata}
    assert spans(read("via.json", content, "who")[0]) == [("ann", 1, 2)]
    assert len(warnings) == 1 and "1 segment of another attribute" in warnings[0]


def test_a_project_of_another_form_is_an_error(read):
    with pytest.raises(InputError, match="a part of another form .AttributeError"):
        read("a.json", {**VIA, "attribute": []})
