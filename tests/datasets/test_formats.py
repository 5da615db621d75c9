import json

import pytest

from scnn_tf.datasets.annotations import Instance, class_names
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError


def database(**entry):
    entry = {"subset": "test", "duration": 9, "annotations": []} | entry
    return json.dumps({"database": {"v1": entry}})


def instance(start, end, label="jump"):
    return {"annotations": [{"label": label, "segment": [start, end]}]}


@pytest.mark.parametrize("subset", ["Validation", "val", "VAL", "validation"])
def test_a_subset_is_found_by_any_of_its_names(tmp_path, subset):
    path = tmp_path / "a.json"
    path.write_text(database(subset="validation", **instance(1, 2)))
    assert list(read_annotations(path, subset)) == ["v1"]


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
