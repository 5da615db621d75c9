"""The check of frame times must notice a reader whose times are wrong."""

import numpy as np
import pytest

from benchmarks import times
from scnn_tf.io import video


@pytest.mark.parametrize(
    ("shown", "seconds"),
    [
        # On display at 0, .1, .2, .3 and .4 s:
        ([0, 1, 1, 2, 2], 0.0),
        # Picture 1 ends at .3 s, so it is wrong at .3 (0 s late) and at .4 (.1 s late).
        ([0, 1, 1, 1, 1], 0.1),
        # Picture 2 begins at .3 s, but frame 1 shows it at .1 s.
        ([0, 2, 2, 2, 2], 0.2),
        # Backwards: picture 2 at 0 s is .3 early, picture 0, which ends at .1, is .3 late at .4.
        ([2, 2, 1, 1, 0], 0.3),
    ],
)
def test_deviation_of_frames_from_their_times(shown, seconds, pictures):
    expected = times.Reference(np.array([0.0, 0.1, 0.3]), 0.5, False, pictures(3))
    worst, distinct = times.deviation(pictures(3)[shown], 10.0, expected)
    assert worst == pytest.approx(seconds)
    assert distinct == 1.0


def test_a_picture_shown_twice_may_be_either_of_both(pictures):
    # The first and the last picture are the same, so that frame 2 may be either.
    same = pictures(3)[[0, 1, 0]]
    expected = times.Reference(np.array([0.0, 0.1, 0.2]), 0.3, False, same)
    assert times.deviation(same, 10.0, expected) == (0.0, pytest.approx(1 / 3))


@pytest.mark.needs("ffmpeg", "ffprobe")
def test_the_reference_has_the_written_times_and_pictures(tmp_path, pictures, write_at):
    expected = times.reference(write_at(tmp_path / "a.mkv", [500, 540, 700, 740]))
    np.testing.assert_allclose(expected.times, [0, 0.04, 0.2, 0.24], atol=1e-6)
    assert not expected.counted
    np.testing.assert_allclose(expected.pictures, pictures(4), atol=3)
    (tmp_path / "text.mp4").write_text("no video")
    assert times.reference(tmp_path / "text.mp4") is None


@pytest.mark.needs("ffmpeg", "ffprobe")
def test_a_reader_with_wrong_times_gets_a_wrong_verdict(tmp_path, monkeypatch, pictures, write_at):
    path = write_at(tmp_path / "a.mkv", [0, 40, 200, 240])
    found = times.examine(path)
    assert (found["verdict"], found["frames"], found["codec"]) == ("right", 7, "h264")
    (tmp_path / "text.mp4").write_text("no video")
    refused = times.examine(tmp_path / "text.mp4")
    assert refused["verdict"].startswith("cannot be read as a video")

    # A reader that counts instead: the last two pictures come .12 s early.
    counting = lambda *_: list(pictures(4)[[0, 1, 2, 3, 3, 3, 3]])  # noqa: E731
    monkeypatch.setattr(times, "read_frames", counting)
    assert times.examine(path)["verdict"].startswith("WRONG: 0.120 s off, and 0.000 s at the end")
    monkeypatch.setattr(times, "read_frames", lambda *_: list(pictures(4)[[0, 1, 1, 1, 1]]))
    assert times.examine(path)["verdict"].startswith("WRONG: 0.000 s off, and 0.080 s at the end")

    def refuse(*_):
        raise video.VideoError(f"{path} holds no picture.")

    monkeypatch.setattr(times, "read_frames", refuse)
    assert times.examine(path)["verdict"] == "holds no picture; WRONG: ffprobe gives 4 pictures"


@pytest.mark.needs("ffmpeg", "ffprobe")
@pytest.mark.data
@pytest.mark.slow
def test_times_of_real_files_are_those_of_ffprobe(data_dir):
    videos = data_dir / "videos"
    # Large files take long, and most oddities are in small ones.
    odd = [path for path in sorted((videos / "codec").iterdir()) if path.stat().st_size < 200_000]
    odd += sorted((videos / "ut_interaction").glob("*_3.avi")) + [
        videos / "codec" / "torchcodec_nasa_13013.mp4",  # two streams of pictures
        videos / "codec" / "moviepy_fire2.mp4",  # a variable rate
    ]
    verdicts = {path.name: times.examine(path)["verdict"] for path in odd}
    assert not {name: verdict for name, verdict in verdicts.items() if "WRONG" in verdict}
    assert sum(verdict == "right" for verdict in verdicts.values()) > 35
    assert sum(verdict == "counted" for verdict in verdicts.values()) == 10
