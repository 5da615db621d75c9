import pytest

from scnn_tf.datasets.annotations import Instance
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.trimmed_clips import read_trimmed
from scnn_tf.errors import InputError


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
