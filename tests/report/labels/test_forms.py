"""Each form by hand: what a tool finds in the file."""

import csv
import io
import json
from xml.etree import ElementTree

import pytest

from scnn_tf.errors import InputError
from scnn_tf.localization.tables import Detections
from scnn_tf.report.labels.drafts import Draft, Interval, drafts_of
from scnn_tf.report.labels.write import FILE_A_VIDEO, FORMS, ONE_FILE, write_labels

DRAFT = Draft(
    video_id="v_1",
    file="a b.mp4",
    address="",
    info=None,
    duration=60.0,
    frame_rate=10.0,
    model="m1",
    found=(Interval("run", 1.0, 2.5, 0.75), Interval("run", 2.0, 2.96, 0.25)),
    truth=(Interval("sit <&>", 0.04, 0.06),),
)


def text_of(form: str, draft: Draft = DRAFT) -> str:
    return ONE_FILE[form]([draft]) if form in ONE_FILE else FILE_A_VIDEO[form][1](draft)


def test_label_studio():
    (task,) = json.loads(text_of("label_studio"))
    assert task["data"] == {"video": "a%20b.mp4", "fps": 10.0}
    (prediction,), (annotation,) = task["predictions"], task["annotations"]
    assert prediction["model_version"] == "m1" and prediction["score"] == 0.5
    first, second = prediction["result"]
    # Frames 11 to 25 at 10 Hz are shown from 1 s to 2.5 s.
    assert first == {
        "id": "draft1", "type": "timelinelabels", "from_name": "label", "to_name": "video",
        "value": {"ranges": [{"start": 11, "end": 25}], "timelinelabels": ["run"]}, "score": 0.75,
    }  # fmt: skip
    assert second["value"]["ranges"] == [{"start": 21, "end": 30}]
    (region,) = annotation["result"]
    assert annotation["ground_truth"] and "score" not in region
    assert region["value"]["ranges"] == [{"start": 1, "end": 1}]


def test_label_studio_without_detections_or_ground_truth():
    empty = DRAFT._replace(found=(), truth=None, address="http://host/v.mp4")
    (task,) = json.loads(text_of("label_studio", empty))
    assert task["data"]["video"] == "http://host/v.mp4" and "annotations" not in task
    assert task["predictions"] == [{"model_version": "m1", "result": []}]
    (task,) = json.loads(text_of("label_studio", DRAFT._replace(truth=())))
    assert task["annotations"] == [{"ground_truth": True, "result": []}]


def test_via():
    project = json.loads(text_of("via"))
    assert project["project"]["vid_list"] == ["1"] and project["project"]["pname"] == "m1"
    names = {key: attribute["aname"] for key, attribute in project["attribute"].items()}
    assert names == {"1": "detections", "2": "ground truth"}
    assert project["file"] == {
        "1": {"fid": "1", "fname": "a b.mp4", "type": 4, "loc": 1, "src": ""}
    }
    assert project["view"] == {"1": {"fid_list": ["1"]}}
    assert [(m["z"], m["av"]) for m in project["metadata"].values()] == [
        ([1.0, 2.5], {"1": "run"}), ([2.0, 2.96], {"1": "run"}), ([0.04, 0.06], {"2": "sit <&>"}),
    ]  # fmt: skip
    address = DRAFT._replace(address="http://host/a%20b.mp4", truth=None)
    project = json.loads(text_of("via", address))
    assert project["file"]["1"]["loc"] == 2 and project["file"]["1"]["src"] == address.address
    assert list(project["attribute"]) == ["1"]


def test_elan():
    root = ElementTree.fromstring(text_of("elan"))
    media = root.find("HEADER/MEDIA_DESCRIPTOR").attrib
    assert media == {
        "MEDIA_URL": "a b.mp4", "MIME_TYPE": "video/mp4", "RELATIVE_MEDIA_URL": "./a b.mp4"
    }  # fmt: skip
    assert root.findtext("HEADER/PROPERTY[@NAME='lastUsedAnnotationId']") == "3"
    times = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in root[1]}
    assert list(times.values()) == [40, 60, 1000, 2000, 2500, 2960]
    tiers = {
        tier.get("TIER_ID"): [
            (a.findtext("ANNOTATION_VALUE"), *(times[a.get(f"TIME_SLOT_REF{n}")] for n in (1, 2)))
            for a in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in root.iter("TIER")
    }
    # The two detections overlap, which annotations of one tier cannot.
    assert tiers == {
        "detections 1": [("run", 1000, 2500)], "detections 2": [("run", 2000, 2960)],
        "ground truth 1": [("sit <&>", 40, 60)],
    }  # fmt: skip
    types = [tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")]
    assert types == ["detections", "detections", "ground truth"]
    assert [each.get("LINGUISTIC_TYPE_ID") for each in root.iter("LINGUISTIC_TYPE")] == types[1:]
    root = ElementTree.fromstring(text_of("elan", DRAFT._replace(found=(), truth=None)))
    assert [tier.get("TIER_ID") for tier in root.iter("TIER")] == ["detections 1"]


def test_elan_has_the_place_of_the_file(drafts, video_dir):
    root = ElementTree.fromstring(text_of("elan", drafts[0]))
    media = root.find("HEADER/MEDIA_DESCRIPTOR").attrib
    assert media["MEDIA_URL"] == f"file://{video_dir}/cam1/ann_1.mp4"
    assert media["RELATIVE_MEDIA_URL"] == "./ann_1.mp4"


def test_cvat(drafts):
    root = ElementTree.fromstring(text_of("cvat", drafts[0]))
    assert root.findtext("meta/task/size") == "80" and root.findtext("meta/task/stop_frame") == "79"
    assert root.findtext("meta/source") == "cam1/ann_1.mp4"
    labels = [label.findtext("name") for label in root.iter("label")]
    assert labels == ["ground truth: run", "ground truth: sit", "run", "прыжок 跳"]
    first = root.find("track")
    assert first.attrib == {"id": "0", "label": "run"}
    # The detection is from .32 s to 1.6 s, so the pictures 8 to 39 of 25 a second.
    boxes = [(b.get("frame"), b.get("outside"), b.get("keyframe")) for b in first]
    assert boxes == [("8", "0", "1"), ("40", "1", "1")]
    assert {b.get("xbr") for b in first} == {"64.00"} and {b.get("ybr") for b in first} == {"48.00"}


def test_cvat_at_the_ends_of_a_video(drafts):
    ends = (Interval("run", 0.0, 3.2), Interval("run", 3.19, 3.2), Interval("run", 0.01, 0.011))
    root = ElementTree.fromstring(text_of("cvat", drafts[0]._replace(found=ends, truth=None)))
    tracks = [[(b.get("frame"), b.get("outside")) for b in track] for track in root.iter("track")]
    assert tracks == [[("0", "0"), ("79", "0")], [("0", "0"), ("1", "1")], [("79", "0")]]


def test_boris():
    project = json.loads(text_of("boris"))
    assert project["project_name"] == "m1" and project["project_format_version"] == "7.0"
    behaviors = [(b["type"], b["key"], b["code"]) for b in project["behaviors_conf"].values()]
    assert behaviors == [
        ("State event", "a", "run"), ("State event", "b", "ground truth: sit <&>")
    ]  # fmt: skip
    assert [subject["name"] for subject in project["subjects_conf"].values()] == ["overlap 2"]
    observation = project["observations"]["v_1"]
    assert observation["file"] == {"1": ["a b.mp4"], "2": []}
    assert observation["media_info"]["length"] == {"a b.mp4": 60.0}
    assert observation["events"] == [
        [0.04, "", "ground truth: sit <&>", "", ""],
        [0.06, "", "ground truth: sit <&>", "", ""],
        [1.0, "", "run", "", "score 0.75"],
        [2.0, "overlap 2", "run", "", "score 0.25"],
        [2.5, "", "run", "", ""],
        [2.96, "overlap 2", "run", "", ""],
    ]


def test_activitynet():
    assert json.loads(text_of("activitynet"))["database"] == {
        "v_1": {
            "subset": "draft", "duration": 60.0, "fps": 10.0, "file": "a b.mp4",
            "annotations": [
                {"label": "run", "segment": [1.0, 2.5], "score": 0.75},
                {"label": "run", "segment": [2.0, 2.96], "score": 0.25},
            ],
            "ground_truth": [{"label": "sit <&>", "segment": [0.04, 0.06]}],
        }
    }  # fmt: skip


def test_epic():
    first, second, _ = csv.DictReader(io.StringIO(text_of("epic")))
    assert first == {
        "narration_id": "v_1_0", "participant_id": "v", "video_id": "v_1",
        "narration_timestamp": "00:00:00.040", "start_timestamp": "00:00:00.040",
        "stop_timestamp": "00:00:00.060", "start_frame": "0", "stop_frame": "0",
        "narration": "ground truth: sit <&>", "verb": "ground truth: sit <&>", "verb_class": "0",
        "noun": "", "noun_class": "", "all_nouns": "[]", "all_noun_classes": "[]", "score": "",
    }  # fmt: skip
    assert (second["narration_id"], second["verb"], second["verb_class"]) == ("v_1_1", "run", "1")
    assert (second["start_frame"], second["stop_frame"], second["score"]) == ("10", "25", "0.75")


def test_srt():
    assert text_of("srt") == (
        "1\n00:00:00,040 --> 00:00:00,060\nground truth: sit <&>\n\n"
        "2\n00:00:01,000 --> 00:00:02,500\nrun\n\n"
        "3\n00:00:02,000 --> 00:00:02,960\nrun\n\n"
    )


def test_srt_refuses_markup():
    for label in ("a <b>", "</i>", "{\\an8}"):
        with pytest.raises(InputError, match="SubRip takes for markup.*write vtt"):
            text_of("srt", DRAFT._replace(found=(Interval(label, 0.0, 1.0, 0.5),)))


def test_vtt():
    long = Interval("-->", 3599.9996, 360000.0, 0.5)
    assert text_of("vtt", DRAFT._replace(found=(long,))) == (
        "WEBVTT\n\n"
        "00:00:00.040 --> 00:00:00.060\nground truth: sit &lt;&amp;&gt;\n\n"
        "01:00:00.000 --> 100:00:00.000\n--&gt;\n\n"
    )
    assert text_of("vtt", DRAFT._replace(found=(), truth=None)) == "WEBVTT\n\n"


@pytest.mark.parametrize("form", FORMS)
def test_files_and_their_names(form, drafts, tmp_path):
    files = write_labels(tmp_path / "new" / "labels", form, drafts)
    if form in ONE_FILE:
        assert files == [tmp_path / "new" / "labels"]
    else:
        ending = FILE_A_VIDEO[form][0]
        names = (f"cam1/ann_1{ending}", f"bob{ending}")
        assert files == [tmp_path / "new" / "labels" / name for name in names]
    assert all(file.is_file() for file in files)


def test_mistakes_are_reported(drafts, tmp_path, caplog):
    with pytest.raises(InputError, match="expected detections to write labels of"):
        write_labels(tmp_path / "x", "via", [])
    with pytest.raises(InputError, match="expected a file to write. Found: a folder"):
        write_labels(tmp_path, "via", drafts)
    for name in ("../v", "..", "", "/v", "a//v", "a/./v", "a\\v"):
        rows = Detections([name], [0], [1], ["run"], [1])
        with pytest.raises(InputError, match="expected video ids that can be file names"):
            write_labels(tmp_path, "srt", drafts_of(rows, 0.0))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"\.srt: cannot be written"):
        write_labels(tmp_path / "file", "srt", drafts)
    # A video whose pictures cannot be counted costs its own file.
    unseen = drafts[0]._replace(info=None)
    assert len(write_labels(tmp_path, "cvat", [unseen, drafts[1]])) == 1
    assert "not written: cam1/ann_1.mp4: CVAT counts the pictures of the file" in caplog.text
    with pytest.raises(InputError, match="must be in --video_dir"):
        write_labels(tmp_path, "cvat", [unseen])
