import json
import math

import pytest

from scnn_tf.datasets.activitynet import read_activitynet
from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations, write_annotations
from scnn_tf.errors import InputError

JUMP = Instance("jump", 1.0, 2.5)
DOUBT = Instance(AMBIGUOUS, 3.0, 4.0)


def database(**entry):
    entry = {"subset": "test", "duration": 9, "annotations": []} | entry
    return json.dumps({"database": {"v1": entry}})


def instance(start, end, label="jump"):
    return {"annotations": [{"label": label, "segment": [start, end]}]}


def test_written_annotations_read_back(tmp_path):
    videos = {
        "b": VideoAnnotation("b", "test", 9.0, 29.97, (JUMP, DOUBT), file="b.mp4"),
        "a": VideoAnnotation("a", "train", None, None, (Instance("run", 0, math.inf),), True),
        "c": VideoAnnotation("c", "train", 1.5, None, ()),
    }
    path = tmp_path / "annotations.json"
    write_annotations(path, videos)
    assert read_activitynet(path) == videos
    assert list(read_activitynet(path)) == ["b", "a", "c"]
    assert [p.name for p in tmp_path.iterdir()] == ["annotations.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1"),
        ('{"database": {\n"v1": }', "line 2"),
        ("[]", "database"),
        ('{"database": {"v1": {"subset": "a"}, "v1": {"subset": "b"}}}', "'v1' occurs twice"),
        (
            '{"database": {"v1": {"annotations": 3, "subset": "a"}}}',
            'expected "annotations", a list',
        ),
        ('{"v1": {"actions": [[1, 2]]}}', "instance 1: expected [class, start, end], times in"),
        ('{"v1": {"actions": {"1": [1, 2]}}}', "instance 1: expected [class, start, end]"),
        (database(**instance(1, None)), "instance 1: expected"),
        (database(**instance(1, "two")), "instance 1: expected"),
        (database(**instance(1, "1_2")), "instance 1: expected"),
        (database(**instance(1, True)), "instance 1: expected"),
        (database(**instance(1, 2, ["jump"])), "instance 1: expected"),
        (database(**instance(1, 2, {"name": "jump"})), "instance 1: expected"),
        (database(**instance(1, 2, None)), "instance 1: expected"),
        (database(annotations=[{"label": "jump", "segment": "12"}]), "instance 1: expected"),
        (database(annotations=[{"label": "jump", "segment": [1, 2, 3]}]), "instance 1: expected"),
        (database(annotations=["jump"]), "instance 1: expected"),
        (database(annotations="jump"), "expected \"annotations\", a list. Received: 'jump'"),
        ('{"database": ' + "[" * 9999 + "]" * 9999 + "}", "nested too deeply"),
        (database(**instance(1, 2, json.loads("[" * 50 + "]" * 50))), "instance 1: expected"),
        (database(annotations=[{"segment": [1, 2]}]), "instance 1: expected"),
        (database(annotations={}), "instance 1: expected"),
        (database(file=3, **instance(1, 2)), '"file" must be a path'),
        (
            database(),
            "at least one action. Found: 1 unlabelled video(s), without annotations (test)",
        ),
        (database(annotations=None), "Found: 1 unlabelled video(s), without annotations (test)"),
        (database(**instance(1, 2, AMBIGUOUS)), "expected at least one action"),
    ],
)
def test_invalid_json_is_an_error_that_names_the_file(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_annotations(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 0), (3, 2), (-1, 2), (1, math.nan), (1, math.inf)],
)
def test_an_instance_without_a_length_is_kept_and_counted_or_refused(tmp_path, start, end, caplog):
    path = tmp_path / "a.json"
    path.write_text(
        database(annotations=instance(1, 2)["annotations"] + instance(start, end)["annotations"])
    )
    read = read_annotations(path)["v1"].instances
    assert str(read) == str(
        (Instance("jump", 1.0, 2.0), Instance("jump", float(start), float(end)))
    )
    (warning,) = caplog.messages
    assert warning.startswith(f"{path}: 1 instance(s) have no length or start before 0; evaluation")
    assert "'v1', instance 2 (jump): must start at 0 or later and end after its start" in warning
    with pytest.raises(InputError) as error:
        read_annotations(path, strict=True)
    assert str(error.value) == (
        f"{path}: video 'v1', instance 2 (jump): must start at 0 or later and end after its start. "
        f"Received: {start:g} to {end:g} s; correct or remove it"
    )
    write_annotations(tmp_path / "b.json", read_annotations(path))
    assert str(read_annotations(tmp_path / "b.json")["v1"].instances) == str(read)


def test_what_is_wrong_with_another_subset_does_not_matter(tmp_path, caplog):
    path = tmp_path / "a.json"
    good = {"subset": "validation", **instance(1, 2)}
    bad = [
        {"subset": "training", "duration": -1, **instance(0, 0)},
        {"subset": "training", "annotations": [{"label": ["run"]}]},
        {"subset": "testing"},
    ]
    path.write_text(json.dumps({"database": dict(enumerate([good, *bad]))}))
    assert list(read_annotations(path, "val", strict=True)) == ["0"]
    assert caplog.messages == []
    with pytest.raises(InputError, match="video '2', instance 1: expected"):
        read_annotations(path, "train", strict=True)


def test_a_row_that_cannot_be_read_costs_that_row(tmp_path, caplog):
    path = tmp_path / "a.json"
    good, bad = instance(1, 2)["annotations"][0], {"label": "jump", "segment": [1]}
    entries = {
        "some": {"subset": "train", "annotations": [good, bad, good]},
        "none": {"subset": "train", "annotations": [bad, "jump"]},
        "list": {"subset": "train", "annotations": "jump"},
        "file": {"subset": "train", "annotations": [good], "file": 3},
        "where": {"annotations": [good]},
        "what": [good],
    }
    path.write_text(json.dumps({"database": entries}))
    # A video of which no row can be read is not one without actions.
    assert read_annotations(path) == {
        "some": VideoAnnotation("some", "train", None, None, 2 * (Instance("jump", 1, 2),))
    }
    (warning,) = caplog.messages
    expected = 'expected "label" and "segment": [start, end] in seconds. Received: '
    assert warning.startswith(
        f"{path}: left out 7 row(s) that cannot be read: "
        'video \'where\': expected a "subset", such as "test"; '
        'video \'what\': expected a "subset", such as "test"; '
        f"video 'some', instance 2: {expected}"
    )
    assert warning.endswith(f"video 'none', instance 2: {expected}'jump'; and 2 more")
    with pytest.raises(InputError, match="video 'where': expected a \"subset\""):
        read_annotations(path, strict=True)


# The forms below are those of the published files, shortened.

HACS = {
    "database": {
        "--0edUL8zmA": {
            "annotations": [
                {"label": "Dodgeball", "segment": [5.4, 11.6]},
                {"label": "Dodgeball", "segment": [12.6, 88.16]},
            ],
            "subset": "training",
            "duration": "92.166667",
            "url": "https://www.youtube.com/watch?v=--0edUL8zmA",
        },
        "a2X2hz1G6i8": {
            "annotations": [], "subset": "testing", "duration": "31.2",
            "url": "https://www.youtube.com/watch?v=a2X2hz1G6i8",
        },
    }
}  # fmt: skip


def written(folder, content, name="a.json"):
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def test_hacs_has_durations_as_text(tmp_path):
    (video,) = read_annotations(written(tmp_path, HACS)).values()
    assert (video.video_id, video.subset, video.duration) == ("--0edUL8zmA", "training", 92.166667)
    assert video.instances == (Instance("Dodgeball", 5.4, 11.6), Instance("Dodgeball", 12.6, 88.16))


@pytest.mark.parametrize("version", ["VERSION 1.1", "VERSION 1.2", "VERSION 1.3"])
def test_activitynet_has_a_taxonomy(tmp_path, version):
    entry = {
        "duration": 82.75, "subset": "validation", "resolution": "320x240",
        "url": "https://www.youtube.com/watch?v=sJn7uLMvtq0",
        "annotations": [{"segment": [6.19, 19.3], "label": "Drinking coffee"}],
    }  # fmt: skip
    node = {"parentName": "Root", "nodeName": "Eating", "nodeId": 269, "parentId": 1}
    content = {"taxonomy": [node], "version": version, "database": {"sJn7uLMvtq0": entry}}
    (video,) = read_annotations(written(tmp_path, content), "val").values()
    assert (video.duration, video.instances) == (82.75, (Instance("Drinking coffee", 6.19, 19.3),))


def test_thumos14_of_r_c3d_has_times_as_text(tmp_path):
    item = {"segment": ["65.9", "67.4"], "label": "Billiards"}
    entry = {"annotations": [item], "subset": "Test", "duration": "120.5", "resolution": "320x180"}
    path = written(tmp_path, {"version": "Thumos14", "database": {"video_test_0000028": entry}})
    assert read_annotations(path, "test")["video_test_0000028"].instances == (
        Instance("Billiards", 65.9, 67.4),
    )


KINETICS = {
    "---QUuC4vJs": {
        "annotations": {"label": "testifying", "segment": [84.0, 94.0]},
        "duration": 10.0, "subset": "validate",
        "url": "https://www.youtube.com/watch?v=---QUuC4vJs",
    },
    "--3ouPhoy2A": {
        "annotations": {"label": "eating spaghetti", "segment": [20.0, 30.0]},
        "duration": 10.0, "subset": "validate",
        "url": "https://www.youtube.com/watch?v=--3ouPhoy2A",
    },
}  # fmt: skip


def test_kinetics_has_no_database_and_one_annotation_a_video(tmp_path):
    videos = read_annotations(written(tmp_path, KINETICS), "val")
    assert [video.instances for video in videos.values()] == [
        (Instance("testifying", 84.0, 94.0),), (Instance("eating spaghetti", 20.0, 30.0),),
    ]  # fmt: skip
    assert [video.duration for video in videos.values()] == [None, None]  # 10 s: of the clip


MMACTION2 = {
    "v_test1": {
        "duration_second": 1, "duration_frame": 30,
        "annotations": [{"segment": [0.3, 0.6], "label": "Rock climbing"}],
        "feature_frame": 30, "fps": 30.0, "rfps": 30,
    }
}  # fmt: skip


def test_mmaction2_has_the_subset_in_the_name_of_the_file(tmp_path, caplog):
    path = written(tmp_path, MMACTION2, "action_test_anno.json")
    video = VideoAnnotation("v_test1", "test", 1, 30.0, (Instance("Rock climbing", 0.3, 0.6),))
    assert read_annotations(path) == read_annotations(path, "test") == {"v_test1": video}
    with pytest.raises(InputError, match="the subset 'train'. Found: test"):
        read_annotations(path, "train")
    assert caplog.messages == []
    path = written(tmp_path, MMACTION2, "gt.json")
    assert read_annotations(path, "val")["v_test1"].subset == "val"
    assert caplog.messages == [f"{path}: names no subset, so all of its videos are in 'val'"]
    assert read_annotations(path)["v_test1"].subset == ""


MULTITHUMOS = {
    "video_test_0000950": {
        "subset": "testing", "duration": 1315.39,
        "actions": [[24, 0.04, 11.96], [25, 398.44, 4000.36], [25, 1032.96, 1036.48]],
    },
    "video_validation_0000051": {
        "subset": "training", "duration": 169.79, "actions": [[9, 67.5, 75.9]],
    },
    "82990": {"subset": "training", "duration": 16.5, "actions": []},
}  # fmt: skip


def test_multithumos_and_charades_have_triples_with_numbers_as_classes(tmp_path, caplog):
    path = written(tmp_path, MULTITHUMOS)
    videos = read_annotations(path)
    assert [len(video.instances) for video in videos.values()] == [3, 1, 0]
    assert videos["video_test_0000950"].duration == 1315.39
    assert videos["video_test_0000950"].instances[1] == Instance("25", 398.44, 4000.36)
    assert "1 instance(s) end after their video (the first in video_test_0000950)" in caplog.text
    assert list(read_annotations(path, "test")) == ["video_test_0000950"]


def test_numbers_may_be_text(tmp_path, caplog):
    path = tmp_path / "a.json"
    path.write_text(database(duration="30.00", fps="25", **instance("1.5", " 2e0 ", 7)))
    (video,) = read_annotations(path).values()
    assert (video.duration, video.fps) == (30.0, 25.0)
    assert video.instances == (Instance("7", 1.5, 2.0),)
    assert caplog.messages == []


@pytest.mark.parametrize("duration", [-1, 0, "N/A", math.nan, math.inf, [30], True])
def test_an_impossible_duration_is_unknown(tmp_path, duration, caplog):
    path = tmp_path / "a.json"
    path.write_text(database(duration=duration, **instance(1, 2)))
    assert read_annotations(path)["v1"].duration is None
    (warning,) = caplog.messages
    assert "1 duration(s) or frame rate(s) count as unknown; the first" in warning
    with pytest.raises(InputError, match="video 'v1': duration must be above 0. Received: "):
        read_annotations(path, strict=True)


def test_unlabelled_videos_are_left_out_and_videos_without_actions_are_kept(tmp_path, caplog):
    path = tmp_path / "a.json"
    entries = {
        "jumps": {"subset": "training", **instance(1, 2)},
        "nothing": {"subset": "Train", "annotations": []},
        "absent": {"subset": "training"},
        "null": {"subset": "training", "annotations": None},
        "t1": {"subset": "testing", "annotations": []},
        "t2": {"subset": "test"},
    }
    path.write_text(json.dumps({"database": entries}))
    assert list(read_annotations(path)) == ["jumps", "nothing"]
    assert caplog.messages == [
        f"{path}: left out 4 unlabelled video(s), without annotations (test, testing, training), "
        "such as absent"
    ]
    assert list(read_annotations(path, "train")) == ["jumps", "nothing"]
    with pytest.raises(InputError) as error:
        read_annotations(path, "testing")
    assert str(error.value) == (
        f"{path}: expected at least one action in its subset 'testing'. Found: 2 unlabelled "
        "video(s), without annotations (test, testing)"
    )
    everything = read_activitynet(path, labelled_only=False)
    assert [len(video.instances) for video in everything.values()] == [1, 0, 0, 0, 0, 0]
