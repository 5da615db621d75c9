import pytest

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.video_files import by_id, find_video, find_videos, videos_in
from scnn_tf.errors import InputError, VideoError


def annotation(video_id, file=None):
    return VideoAnnotation(video_id, "test", None, None, (), file=file)


@pytest.fixture
def folder(tmp_path):
    for name in ("v.mp4", "w.AVI", "sub/x.webm", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_find_video(folder):
    assert find_video(annotation("v"), folder) == folder / "v.mp4"
    assert find_video(annotation("y", file="sub/x.webm"), folder) == folder / "sub" / "x.webm"
    with pytest.raises(VideoError, match="no video file named x.mp4"):
        find_video(annotation("x"), folder)
    with pytest.raises(VideoError, match="none.mp4: the video is missing"):
        find_video(annotation("v", file="none.mp4"), folder)


def test_by_id(folder):
    url = "http://host/y.mp4?key=1"
    assert by_id([*find_videos([folder]), url]) == {
        "v": str(folder / "v.mp4"), "w": str(folder / "w.AVI"), "x": str(folder / "sub/x.webm"),
        "y": url,
    }  # fmt: skip
    with pytest.raises(InputError, match="two videos are named 'v'; rename one"):
        by_id(["a/v.mp4", "b/v.avi"])


def test_videos_in(folder):
    assert list(videos_in(folder)) == ["x", "v", "w"]
    annotated = {key: annotation(key) for key in ("v", "gone")}
    assert videos_in(folder, annotated) == {"v": folder / "v.mp4", "gone": folder / "gone.mp4"}
    with pytest.raises(InputError, match="none of the 1 annotated videos was found"):
        videos_in(folder, {"gone": annotation("gone", file="elsewhere/gone.avi")})
    for empty in (folder / "none", folder / "notes.txt"):
        with pytest.raises(InputError, match="no video was found"):
            videos_in(empty)
