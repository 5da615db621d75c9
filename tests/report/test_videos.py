import base64
import io
import shutil

import av
import matplotlib.image
import numpy as np
import pytest

from scnn_tf.io.video import probe, write_video
from scnn_tf.report.videos import key_frames, plays_in_browsers, shown_video


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    """Three seconds at 10 Hz, as wide as two heights: black, grey, white."""
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    write_video(path, (np.full((32, 64, 3), 127 * (n // 10), np.uint8) for n in range(30)), 10)
    return path


@pytest.fixture(scope="module")
def avi(mp4):
    """The same video in MPEG-4's older codec and AVI, which no browser plays."""
    path = mp4.with_suffix(".avi")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        for n in range(30):
            picture = np.full((32, 64, 3), 127 * (n // 10), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_playable_video_has_an_address_relative_to_the_page(mp4, tmp_path):
    shown = shown_video(mp4, mp4.parent / "r.html")
    assert shown == {"duration": pytest.approx(3.0), "src": "./v.mp4"}
    name = tmp_path / "javascript:alert(1)?.mp4"
    shutil.copy(mp4, name)
    assert shown_video(name, tmp_path / "r.html")["src"] == "./javascript%3Aalert%281%29%3F.mp4"


def test_key_frames_at_given_times(mp4):
    pictures = key_frames(mp4, [0.0, 0.5, 0.9, 1.1, 2.5, 9.0])
    assert {p.shape for p in pictures} == {(90, 180, 3)}
    levels = [int(p.mean().round()) for p in pictures]
    np.testing.assert_allclose(levels, [0, 0, 0, 127, 254, 254], atol=3)


def test_other_videos_become_a_strip_of_key_frames(avi):
    shown = shown_video(avi, avi.parent / "r.html", embed=True)
    assert shown["duration"] == pytest.approx(3.0)
    times = [time for time, _ in shown["frames"]]
    assert times == pytest.approx([0.125 + 0.25 * n for n in range(12)])
    levels = []
    for _, address in shown["frames"]:
        kind, content = address.split(",")
        assert kind == "data:image/jpeg;base64"
        picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(content)), format="jpeg")
        assert picture.shape == (90, 180, 3)
        levels.append(picture.mean())
    np.testing.assert_allclose(levels, [0] * 4 + [127] * 4 + [254] * 4, atol=3)


def test_an_embedded_video_is_the_file(mp4):
    kind, content = shown_video(mp4, "r.html", embed=True)["src"].split(",")
    assert kind == "data:video/mp4;base64"
    assert base64.b64decode(content) == mp4.read_bytes()


def test_a_file_without_video_gets_a_note(tmp_path, caplog):
    (tmp_path / "v.mp4").write_text("no video" * 99)
    note = shown_video(tmp_path / "v.mp4", tmp_path / "r.html")["note"]
    assert note.startswith(f"{tmp_path / 'v.mp4'} cannot be read as a video")
    assert note in caplog.text


@pytest.mark.data
def test_which_odd_files_play_in_browsers(data_dir):
    folder = data_dir / "videos" / "codec"
    plays = {
        "moviepy_example.mp4": True,  # h264
        "torchcodec_testsrc2_vp8.webm": True,
        "ffmpegwasm_Big_Buck_Bunny_180_10s.webm": True,  # vp9
        "torchcodec_testsrc2_odd_width_vp9.mp4": True,
        "moviepy_bitmap.mp4": False,  # h264, 4:4:4
        "openshot_test.mp4": False,  # mpeg4
        "torchcodec_testsrc2_h265.mp4": False,
        "decord_video_0.mov": False,
        "decord_flipping_a_pancake.mkv": False,  # h264, but Matroska
    }
    assert {name: plays_in_browsers(probe(folder / name)) for name in plays} == plays
