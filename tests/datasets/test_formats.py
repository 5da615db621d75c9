import json
import math

import pytest

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation, class_names
from scnn_tf.datasets.formats import (
    read_activitynet,
    read_annotations,
    read_mexaction2,
    read_thumos14,
    read_trimmed,
    write_annotations,
)
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


@pytest.mark.parametrize("subset", ["Validation", "val", "VAL", "validation"])
def test_a_subset_is_found_by_any_of_its_names(tmp_path, subset):
    path = tmp_path / "a.json"
    path.write_text(database(subset="validation", **instance(1, 2)))
    assert list(read_annotations(path, subset)) == ["v1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1"),
        ('{"database": {\n"v1": }', "line 2"),
        ("[]", "database"),
        ('{"database": {"v1": {"subset": "a"}, "v1": {"subset": "b"}}}', "'v1' occurs twice"),
        ('{"database": {"v1": {}}}', "'v1': expected a \"subset\""),
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
        read_annotations(path, "train")


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


def test_an_only_annotation_need_not_be_in_a_list(tmp_path):
    path = tmp_path / "kinetics.json"
    path.write_text(database(annotations=instance(1, 2)["annotations"][0]))
    assert read_annotations(path)["v1"].instances == (Instance("jump", 1.0, 2.0),)


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


def test_the_error_about_an_unknown_subset_lists_the_known_ones(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(database(**instance(1, 2)))
    with pytest.raises(InputError, match="the subset 'train'. Found: test"):
        read_annotations(path, "train")


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match="nowhere.json: no such file or folder"):
        read_annotations(tmp_path / "nowhere.json")


def test_an_instance_that_ends_after_its_video_is_kept(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(database(duration=1.5, **instance(1, 2)))
    assert read_annotations(path)["v1"].instances == (Instance("jump", 1.0, 2.0),)


@pytest.fixture
def thumos(tmp_path):
    folder = tmp_path / "temporal_annotations_test"
    folder.mkdir()
    (folder / "Run_test.txt").write_text("v2 5.0 6.0\nv1  1.0 2.5\nv2 0.5 3.0\n\n")
    (folder / "Ambiguous_test.txt").write_text("v2 7.0 8.0\nv3 1.0 2.0\n")
    (tmp_path / "test_durations.txt").write_text("v1.mp4\n12.5\n")
    return tmp_path


def test_thumos_text_keeps_file_order_within_a_class(thumos):
    videos = read_thumos14(thumos, "test")
    assert list(videos) == ["v1", "v2", "v3"]
    assert videos["v2"].actions == (Instance("Run", 5.0, 6.0), Instance("Run", 0.5, 3.0))
    assert videos["v2"].ambiguous == (Instance(AMBIGUOUS, 7.0, 8.0),)
    assert (videos["v1"].duration, videos["v2"].duration) == (12.5, None)
    assert read_thumos14(thumos / "temporal_annotations_test", "Test") == videos
    assert read_annotations(thumos) == videos


def test_thumos_text_of_a_training_set_is_read_as_subset_train(thumos):
    (thumos / "temporal_annotations_test" / "Run_train.txt").write_text("v4 1.0 2.0\n")
    assert list(read_thumos14(thumos / "temporal_annotations_test", "training")) == ["v4"]
    videos = read_annotations(thumos / "temporal_annotations_test")
    assert {key: video.subset for key, video in videos.items()} == {
        "v1": "test", "v2": "test", "v3": "test", "v4": "train",
    }  # fmt: skip


def test_mexaction2_leaves_out_videos_with_ambiguous_intervals_only(thumos):
    assert list(read_mexaction2(thumos, "test")) == ["v1", "v2"]
    folder = thumos / "temporal_annotations_test"
    (folder / "Run_test.txt").rename(folder / "BullChargeCape_test.txt")
    assert list(read_annotations(thumos, "test")) == ["v1", "v2"]


@pytest.mark.parametrize("line", ["v1 2.0 1.0", "v1 nan 2.0", "v1 2.0 2.0"])
def test_an_instance_without_a_length_in_thumos_text_is_kept_or_refused(thumos, line, caplog):
    path = thumos / "temporal_annotations_test" / "Run_test.txt"
    path.write_text(f"v1 1.0 2.0\n{line}\n")
    assert len(read_annotations(thumos)["v1"].instances) == 2
    assert "1 instance(s) have no length" in caplog.text and "Run_test.txt, line 2" in caplog.text
    with pytest.raises(InputError, match=r"Run_test\.txt, line 2, video v1 \(Run\): must start"):
        read_annotations(thumos, strict=True)
    # Of another subset, nothing is read.
    (path.parent / "Run_val.txt").write_text("v9 1.0 2.0\n")
    assert list(read_annotations(path.parent, "val", strict=True)) == ["v9"]


@pytest.mark.parametrize("line", ["v1 1.0", "v1 one 2.0", "v1 1_0 2.0"])
def test_an_invalid_thumos_line_is_an_error_that_names_it(thumos, line):
    path = thumos / "temporal_annotations_test" / "Run_test.txt"
    path.write_text(f"v1 1.0 2.0\n{line}\n")
    with pytest.raises(InputError, match=r"Run_test\.txt, line 2"):
        read_annotations(thumos)


def test_the_error_about_a_missing_thumos_subset_lists_the_present_ones(thumos):
    with pytest.raises(InputError, match="'validation'. Found: test"):
        read_thumos14(thumos, "val")


def test_an_invalid_list_of_durations_is_an_error_that_names_it(thumos):
    (thumos / "test_durations.txt").write_text("v1.mp4\n")
    with pytest.raises(InputError, match=r"test_durations\.txt"):
        read_thumos14(thumos, "test")


def test_trimmed_clips_are_one_instance_each(tmp_path):
    for name in ("run/a.avi", "run/b.MP4", "walk/a.avi", "walk/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    videos = read_trimmed(tmp_path)
    assert {key: video.file for key, video in videos.items()} == {
        "run_a.avi": "run/a.avi",
        "b": "run/b.MP4",
        "walk_a.avi": "walk/a.avi",
    }
    assert all(video.trimmed for video in videos.values())
    assert videos["b"].clipped(2.0).instances == (Instance("run", 0.0, 2.0),)
    assert read_annotations(tmp_path, "train") == videos


def test_the_error_about_an_empty_folder_says_what_is_expected(tmp_path):
    with pytest.raises(InputError, match="<Class>_test.txt"):
        read_annotations(tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "subset", "videos", "actions", "ambiguous", "classes"),
    [
        ("thumos14/official_txt", "test", 213, 3358, 99, 20),
        ("thumos14/official_txt/temporal_annotations_validation", "val", 200, 3007, 89, 20),
        # The JSON has no ambiguous intervals, so it lacks the video that has nothing else.
        ("thumos14/thumos14.json", "test", 212, 3358, 0, 20),
        ("thumos14/thumos14.json", "validation", 200, 3007, 0, 20),
        ("mexaction2/test_txt", "test", 26, 325, 0, 2),
        ("videos/weizmann", None, 60, 60, 0, 10),
    ],
)
def test_real_annotations_have_their_known_counts(
    data_dir, path, subset, videos, actions, ambiguous, classes
):
    read = read_annotations(data_dir / path, subset)
    assert len(read) == videos
    assert sum(len(video.actions) for video in read.values()) == actions
    assert sum(len(video.ambiguous) for video in read.values()) == ambiguous
    assert len(class_names(read.values())) == classes


@pytest.mark.data
def test_26_test_intervals_of_thumos14_end_after_their_video(data_dir):
    read = read_annotations(data_dir / "thumos14/thumos14.json", "test").values()
    assert sum(i.end > video.duration for video in read for i in video.instances) == 26
