"""The benchmark must see what is wrong: a reader whose times are off, a file that is lost."""

import json
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest

from benchmarks import dirt, fuzz
from scnn_tf.errors import InputError
from scnn_tf.io import video
from scnn_tf.jobs.jobs import Outcome, write_outcome

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffprobe") and shutil.which("ffmpeg")),
    reason="ffprobe and ffmpeg are not installed",
)


def pictures(count: int, size: int = 32) -> np.ndarray:
    """Grey pictures, each 5 brighter than the one before."""
    grey = 40 + 5 * np.arange(count, dtype=np.uint8)
    return np.tile(grey[:, None, None, None], (1, size, size, 3))


def write_at(path, milliseconds: list[int]):
    """Writes `pictures` that are shown at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(milliseconds, pictures(len(milliseconds)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "seconds"),
    [
        # On display at 0, .1, .2, .3 and .4 s:
        ([0, 1, 1, 2, 2], 0.0),
        # Picture 1 goes at .3 s, so that it may not be seen at .3 (0 s late) and .4 (.1 s late).
        ([0, 1, 1, 1, 1], 0.1),
        # Picture 2 comes at .3 s, and is seen at .1 s already.
        ([0, 2, 2, 2, 2], 0.2),
        # Backwards: picture 2 at 0 s is .3 early, picture 0, gone at .1, is .3 late at .4.
        ([2, 2, 1, 1, 0], 0.3),
    ],
)
def test_how_far_frames_are_off_their_times(shown, seconds):
    expected = dirt.Reference(np.array([0.0, 0.1, 0.3]), 0.5, False, pictures(3))
    worst, told_apart = dirt.deviation(pictures(3)[shown], 10.0, expected)
    assert worst == pytest.approx(seconds)
    assert told_apart == 1.0


def test_pictures_that_are_alike_cannot_be_off():
    # The first and the last picture are the same, so that frame 2 may be either.
    same = pictures(3)[[0, 1, 0]]
    expected = dirt.Reference(np.array([0.0, 0.1, 0.2]), 0.3, False, same)
    assert dirt.deviation(same, 10.0, expected) == (0.0, pytest.approx(1 / 3))


@needs_ffmpeg
def test_the_reference_has_what_was_written(tmp_path):
    expected = dirt.reference(write_at(tmp_path / "a.mkv", [500, 540, 700, 740]))
    np.testing.assert_allclose(expected.times, [0, 0.04, 0.2, 0.24], atol=1e-6)
    assert not expected.counted
    np.testing.assert_allclose(expected.pictures, pictures(4), atol=3)
    (tmp_path / "text.mp4").write_text("no video")
    assert dirt.reference(tmp_path / "text.mp4") is None


@needs_ffmpeg
def test_files_are_judged(tmp_path, monkeypatch):
    path = write_at(tmp_path / "a.mkv", [0, 40, 200, 240])
    found = dirt.examine(path)
    assert (found["verdict"], found["frames"], found["codec"]) == ("right", 7, "h264")
    (tmp_path / "text.mp4").write_text("no video")
    refused = dirt.examine(tmp_path / "text.mp4")
    assert refused["verdict"].startswith("cannot be read as a video")

    # A reader that counts instead: the last two pictures come .12 s early.
    counting = lambda *_: list(pictures(4)[[0, 1, 2, 3, 3, 3, 3]])  # noqa: E731
    monkeypatch.setattr(dirt, "read_frames", counting)
    assert dirt.examine(path)["verdict"].startswith("WRONG: 0.120 s off, and 0.000 s at the end")
    monkeypatch.setattr(dirt, "read_frames", lambda *_: list(pictures(4)[[0, 1, 1, 1, 1]]))
    assert dirt.examine(path)["verdict"].startswith("WRONG: 0.000 s off, and 0.080 s at the end")

    def refuse(*_):
        raise video.VideoError(f"{path} holds no picture.")

    monkeypatch.setattr(dirt, "read_frames", refuse)
    assert dirt.examine(path)["verdict"] == "holds no picture; WRONG: ffprobe gives 4 pictures"


@needs_ffmpeg
def test_a_file_that_is_lost_on_the_way_is_seen(tmp_path, monkeypatch):
    # 20 frames: windows of 16 frames at 0 and 4.
    for name in "abc":
        write_at(tmp_path / f"{name}.mkv", list(range(0, 800, 40)))
    (tmp_path / "text.mp4").write_text("no video")
    monkeypatch.setattr(dirt, "_build_and_localize", lambda *_: ({0: 1, 1: 2}, {0: 2, 1: 1, 2: 2}))
    rows = dirt.survey(sorted(tmp_path.iterdir()))
    verdicts = [row["verdict"].partition("; ") for row in rows]
    assert verdicts[:3] == [
        ("right", "", ""),
        ("right", "; ", "WRONG: of 2 windows 2 built, 1 localized"),
        ("right", "; ", "WRONG: of 2 windows None built, 2 localized"),
    ]
    assert rows[3]["frames"] == 0 and "WRONG" not in rows[3]["verdict"]
    folder = tmp_path.name
    assert f"| {folder} | 1 | right | 1 h264 | 20 | 1 | 2 |" in dirt.summary(rows)
    assert f"| {folder}/a.mkv | h264 | 32×32 | 25.0 | 0.8 | 20 | right | 0.0 | 1.0 | 1 | 2 |" in (
        dirt.table(rows)
    )


def test_what_the_benchmark_needs_is_said(run_binary, monkeypatch, tmp_path):
    code, _, err = run_binary("benchmark", "--suite=dirt")
    assert code == 1 and "--suite=dirt needs --videos" in err
    monkeypatch.setattr(dirt.shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="ffprobe is not installed"):
        dirt.survey([])


@needs_ffmpeg
def test_nothing_but_files_that_are_no_videos_is_a_survey_too(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (row,) = dirt.survey([tmp_path / "text.mp4"])
    assert row["built"] is row["localized"] is None and "WRONG" not in row["verdict"]
    with pytest.raises(InputError, match="no network here"):
        dirt.survey([tmp_path / "text.mp4"], tmp_path)


@needs_ffmpeg
@pytest.mark.data
@pytest.mark.slow
def test_times_of_real_files_are_those_of_ffprobe(data_dir):
    videos = data_dir / "videos"
    # Larger ones take long; the largest number of oddities is in the small ones.
    odd = [path for path in sorted((videos / "codec").iterdir()) if path.stat().st_size < 200_000]
    odd += sorted((videos / "ut_interaction").glob("*_3.avi")) + [
        videos / "codec" / "torchcodec_nasa_13013.mp4",  # two streams of pictures
        videos / "codec" / "moviepy_fire2.mp4",  # a variable rate
    ]
    verdicts = {path.name: dirt.examine(path)["verdict"] for path in odd}
    assert not {name: verdict for name, verdict in verdicts.items() if "WRONG" in verdict}
    assert sum(verdict == "right" for verdict in verdicts.values()) > 35
    assert sum(verdict == "counted" for verdict in verdicts.values()) == 10


# --- damaged copies ---------------------------------------------------------------------------


def test_damage_is_the_same_each_time_and_of_every_kind():
    content = bytes(range(256)) * 40
    copies = [fuzz.damaged(content, np.random.default_rng([1, i])) for i in range(60)]
    assert copies == [fuzz.damaged(content, np.random.default_rng([1, i])) for i in range(60)]
    flipped = [copy for copy in copies if len(copy) == len(content)]
    assert any(copy[4000:6000] == content[4000:6000] for copy in flipped)  # only its headers
    assert any(copy[4000:6000] != content[4000:6000] for copy in flipped)
    short = [copy for copy in copies if len(copy) < len(content)]
    assert any(copy == content[: len(copy)] for copy in short)
    assert any(copy != content[: len(copy)] for copy in short)


def test_damaged_copies_are_read_in_other_processes(tmp_path):
    path = write_at(tmp_path / "a.mkv", list(range(0, 800, 40)))
    figures = fuzz.fuzz([path], copies=12)
    assert figures["read"] + figures["refused"] == 12 and figures["findings"] == []
    assert figures["read"] and figures["refused"]
    assert 0 < figures["worst"]["megabytes"] < fuzz.MEMORY_LIMIT
    with pytest.raises(InputError, match="no video to damage"):
        fuzz.fuzz([], copies=1)


def test_whatever_else_becomes_of_a_copy_is_a_finding(tmp_path, monkeypatch):
    read = {"frames": 3, "seconds": 0.1, "megabytes": 50.0, "refused": ""}
    ends = [
        Outcome(read),
        Outcome(read | {"refused": "has no video in it."}),
        Outcome(read | {"megabytes": 1600.0}),
        Outcome(None, "b.mkv: the process that worked on it crashed (SIGSEGV)"),
    ]

    class Ended:
        def __init__(self, timeout_s):
            pass

        def run(self, jobs, title):
            for job, outcome in zip(jobs, ends, strict=True):
                write_outcome(job, outcome)

    monkeypatch.setattr(fuzz, "Processes", Ended)
    figures = fuzz.fuzz([tmp_path / "a.mkv", tmp_path / "b.mkv"], copies=4)
    assert (figures["read"], figures["refused"]) == (1, 1)
    assert figures["causes"] == {"has no video in it.": 1}
    assert figures["worst"] == {"seconds": 0.1, "megabytes": 50.0, "frames": 3}
    assert figures["findings"] == [
        {"copy": 2, "fault": "a.mkv: takes 1600 MB"},
        {"copy": 3, "fault": "b.mkv: the process that worked on it crashed (SIGSEGV)"},
    ]
    assert json.dumps(figures)
