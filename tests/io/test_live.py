"""Frames of live sources, which are those of the file that they send."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.errors import VideoError
from scnn_tf.io import live
from scnn_tf.io.live import LiveVideo
from scnn_tf.io.video import read_frames, write_video

SIZE = (32, 48)
FPS = 25.0


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 4 s, 25 frames a second, whose stripes are the number of the frame in binary."""
    path = tmp_path_factory.mktemp("live") / "video.mp4"
    bits = ((np.arange(100)[:, None] >> np.arange(8)) & 1).astype(np.uint8)
    rows = np.repeat(bits * 255, SIZE[1] // 8, axis=1)
    write_video(path, np.broadcast_to(rows[:, None, :, None], (100, *SIZE, 3)), FPS)
    return path


def runs_of(source, **settings):
    """(start, frames) of each run of a source."""
    settings = {"outage_s": 0.3, **settings}
    with LiveVideo(source, FPS, *SIZE, **settings) as opened:
        return [(run.start, list(run.frames)) for run in opened.runs()]


def numbers(frames) -> list[int]:
    """Which frames of `video` are shown."""
    stripes = [frame.reshape(SIZE[0], 8, -1).mean(axis=(0, 2)) > 127 for frame in frames]
    return [int(stripe @ (1 << np.arange(8))) for stripe in stripes]


def assert_is_file(runs, path):
    ((start, frames),) = runs
    assert start == 0
    np.testing.assert_array_equal(frames, list(read_frames(path, FPS, *SIZE)))


def ffmpeg(*arguments, **options):
    return subprocess.Popen(
        ["ffmpeg", "-hide_banner", "-loglevel", "error", *map(str, arguments)], **options
    )


def test_a_file_gives_its_frames(video):
    assert_is_file(runs_of(video), video)


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("form", ["mpegts", "matroska", "flv"])
def test_a_pipe_gives_the_frames_of_the_file(form, video, tmp_path):
    path, pipe = tmp_path / f"video.{form}", tmp_path / "pipe"
    os.mkfifo(pipe)
    ffmpeg("-i", video, "-c", "copy", "-f", form, path).wait()
    with ffmpeg("-y", "-i", path, "-c", "copy", "-copyts", "-f", form, pipe):
        assert_is_file(runs_of(pipe), path)


@pytest.mark.needs("ffmpeg")
def test_a_stream_of_a_web_server_gives_the_frames_of_the_file(video, tmp_path):
    path, url = tmp_path / "video.ts", f"http://127.0.0.1:{free_port()}/live.ts"
    ffmpeg("-i", video, "-c", "copy", path).wait()
    arguments = ["-i", path, "-c", "copy", "-copyts", "-f", "mpegts", "-listen", "1", url]
    with ffmpeg(*arguments) as server:
        time.sleep(2)
        with LiveVideo(url, FPS, *SIZE, outage_s=0.5) as opened:
            (run,) = itertools.islice(opened.runs(), 1)
            assert_is_file([(run.start, list(run.frames))], path)
        server.kill()


def test_a_file_is_read_while_it_is_written(video, tmp_path):
    whole, path = tmp_path / "whole.ts", tmp_path / "growing.ts"
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    ffmpeg("-i", video, "-c", "copy", whole).wait()
    data, half = whole.read_bytes(), threading.Event()

    def write():
        with path.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            half.set()
            time.sleep(0.5)
            file.write(data[len(data) // 2 :])

    threading.Thread(target=write).start()
    half.wait()
    assert_is_file(runs_of(path, outage_s=1.5), whole)


def test_a_full_buffer_makes_a_file_wait(video, monkeypatch):
    monkeypatch.setattr(live, "_BUFFER_S", 0.4)
    with LiveVideo(video, FPS, *SIZE, outage_s=0.3) as opened:
        (run,) = itertools.islice(opened.runs(), 1)
        frames = []
        for frame in run.frames:
            frames.append(frame)
            assert opened.filled <= 1
            time.sleep(0.005)
    assert numbers(frames) == list(range(100))


def test_a_full_buffer_of_a_source_that_cannot_wait_begins_a_new_run(video, monkeypatch, caplog):
    monkeypatch.setattr(live, "_BUFFER_S", 0.4)
    with LiveVideo(video, FPS, *SIZE, outage_s=0.3, waits=False) as opened:
        seen = []
        for run in opened.runs():
            first = run.start
            for index, frame in enumerate(run.frames):
                seen.append((round(first * FPS) + index, numbers([frame])[0]))
                time.sleep(0.01)
    # Each frame is shown at its time, and the first ones are there.
    assert all(shown == number for number, shown in seen)
    assert [number for number, _ in seen[:10]] == list(range(10))
    assert len(seen) < 100
    assert "the machine is too slow; frames are dropped from" in caplog.text


def test_a_source_is_stopped(video):
    stopped = threading.Event()
    with LiveVideo(video, FPS, *SIZE, outage_s=60, stopped=stopped) as opened:
        (run,) = itertools.islice(opened.runs(), 1)
        next(run.frames)
        stopped.set()
        assert len(list(run.frames)) < 100


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing.ts", "missing.ts cannot be read as a live video: No such file or directory"),
        (".", "is a folder; give one live source"),
        ("rtsp://127.0.0.1:1/camera", "Connection refused"),
        ("nosuch://user:secret@127.0.0.1:1/camera", "nosuch://127.0.0.1:1/camera: this build"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(place, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError, match=message):
        runs_of(place)


def test_no_video_is_one_sentence(tmp_path):
    path = tmp_path / "a.ts"
    path.write_bytes(b"no video" * 100)
    with pytest.raises(VideoError, match="cannot be read as a live video"):
        runs_of(path)


# --- RTSP -------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RtspServer:
    """GStreamer's RTSP server in a process, which can be cut off and started again."""

    def __init__(self, video: Path):
        self.video, self.port, self.process = video, free_port(), None
        self.url = f"rtsp://127.0.0.1:{self.port}/camera"

    def start(self) -> None:
        if not Path("/usr/bin/python3").exists():
            pytest.skip("/usr/bin/python3, for GStreamer's RTSP server, is not installed")
        script = Path(__file__).with_name("rtsp_server.py")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.process = subprocess.Popen(
            ["/usr/bin/python3", script, str(self.port), self.video],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if self.process.stdout.readline() != "ready\n":
            pytest.skip(f"GStreamer's RTSP server is not installed: {self.process.stderr.read()}")

    def cut(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def rtsp(video):
    server = RtspServer(video)
    server.start()
    yield server
    server.cut()


def test_rtsp_that_is_cut_and_comes_back_continues_by_the_clock_of_the_wall(rtsp):
    received, ends = [], []
    with LiveVideo(rtsp.url, FPS, *SIZE, outage_s=1.0) as opened:
        for run in opened.runs():
            for index, frame in enumerate(run.frames):
                received.append((run.start + index / FPS, numbers([frame])[0]))
                if len(received) == 30:
                    rtsp.cut()
                    cut = time.monotonic()
                if ends and len(received) == ends[0] + 20:
                    break
            if ends:
                break
            ends.append(len(received))
            time.sleep(0.5)
            rtsp.start()
            outage = time.monotonic() - cut
    times, shown = zip(*received, strict=True)
    assert list(times) == sorted(times)
    assert list(shown[:30]) == list(range(30))
    # The second run begins after the outage, with the first picture again.
    last, first = ends[0] - 1, ends[0]
    assert outage - 0.5 < times[first] - times[last] < outage + 5
    assert list(shown[first:]) == list(range(shown[first], shown[first] + 20))


def test_a_short_outage_of_rtsp_is_part_of_the_run(rtsp):
    with LiveVideo(rtsp.url, FPS, *SIZE, outage_s=20.0) as opened:
        (run,) = itertools.islice(opened.runs(), 1)
        shown = []
        for frame in run.frames:
            shown.append(numbers([frame])[0])
            if len(shown) == 30:
                rtsp.cut()
                rtsp.start()
            if len(shown) > 30 and shown[-1] < shown[-2]:
                break
    # The last picture was on display until the first one came again.
    held = shown.count(shown[-2])
    assert held > 3 and shown[-1] <= 1
