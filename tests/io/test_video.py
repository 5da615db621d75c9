"""Probing, reading and writing videos whose frames show their number as black and white columns."""

import csv
import itertools
import logging as std_logging
import os
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io import pictures, video

HEIGHT, WIDTH = 32, 64
BITS = 2 ** np.arange(8)


def numbered(count: int, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Returns frames of eight columns, white for the bits of the frame's number that are set."""
    column = np.arange(width) * 8 // width
    return [
        np.tile(np.uint8(200 * (i // BITS[column] % 2))[None, :, None], (height, 1, 3))
        for i in range(count)
    ]


def numbers(frames) -> list[int]:
    """Returns the numbers that frames show."""
    columns = (frame.mean((0, 2)).reshape(8, -1).mean(1) > 100 for frame in frames)
    return [int(BITS @ column) for column in columns]


def read(path, fps=25.0) -> list[int]:
    return numbers(video.read_frames(path, fps, height=HEIGHT, width=WIDTH))


def write_at(path, milliseconds: list[int]) -> Path:
    """Writes numbered frames that are shown at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(milliseconds, numbered(len(milliseconds)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_motion_jpeg(path, count: int, title: str = "") -> Path:
    """Writes numbered frames at 25 a second, each of which can be decoded by itself."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for image in numbered(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def warnings(caplog, monkeypatch):
    """The logged lines; absl's logger does not pass them to pytest by itself."""
    monkeypatch.setattr(std_logging.getLogger("absl"), "propagate", True)
    return caplog


# --- the frame on display ---------------------------------------------------------------------


def test_a_file_of_the_same_rate_gives_exactly_its_frames(tmp_path):
    video.write_video(tmp_path / "a.mp4", numbered(40), 25)
    assert read(tmp_path / "a.mp4") == list(range(40))


@pytest.mark.parametrize(
    ("rate", "count", "expected"),
    [
        # Every other frame.
        (50, 10, [0, 2, 4, 6, 8]),
        # Frames begin at 0, 33, 67, 100, 133, 167 ms; on display at 0, 40, 80, 120, 160 ms are:
        (30, 6, [0, 1, 2, 3, 4]),
        # Frame 11 (at 367 ms) is on display at no multiple of 40 ms up to 360: 12 · 25/30 = 10.
        (30, 12, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
        # Every frame twice.
        (12.5, 4, [0, 0, 1, 1, 2, 2, 3, 3]),
        # Frames begin at 0, 41.7, 83.3, 125 ms; 40, 80 and 120 ms come just before the next.
        (24, 4, [0, 0, 1, 2]),
    ],
)
def test_frames_are_dropped_or_repeated_for_another_rate(tmp_path, rate, count, expected):
    video.write_video(tmp_path / "a.mp4", numbered(count), rate)
    assert read(tmp_path / "a.mp4") == expected


@settings(max_examples=30, deadline=None)
@example(count=8, rate=50, fps=8)  # .16 s: the second frame begins within them, but not half of it
@given(
    count=st.integers(1, 30),
    rate=st.sampled_from([10, 12.5, 24, 25, 30, 50, 60]),
    fps=st.sampled_from([8, 12.5, 24, 25, 30, 50]),
)
def test_the_number_of_frames_between_any_two_rates(tmp_path_factory, count, rate, fps):
    path = tmp_path_factory.mktemp("rates") / "a.mp4"
    video.write_video(path, numbered(count), rate)
    ratio = Fraction(rate) / Fraction(fps)
    got = read(path, fps)
    exact = count / ratio
    assert abs(len(got) - exact) <= Fraction(1, 2) or got == [0]
    assert got == [min(int(i * ratio), count - 1) for i in range(len(got))]


def test_a_variable_rate_is_read_by_timestamps_not_by_counting(tmp_path):
    path = write_at(tmp_path / "a.mkv", [0, 40, 200, 240, 280])
    # At 80, 120 and 160 ms frame 1 is still on display.
    assert read(path) == [0, 1, 1, 1, 1, 2, 3, 4]


def test_time_begins_with_the_first_frame(tmp_path):
    path = write_at(tmp_path / "a.mkv", [2000, 2040, 2080, 2120])
    assert read(path) == [0, 1, 2, 3]
    assert video.probe(path).duration == pytest.approx(0.16, abs=0.002)


def test_times_rounded_to_milliseconds_neither_repeat_nor_drop(tmp_path):
    # What Matroska makes of 30 frames a second: every third is a little late.
    path = write_at(tmp_path / "a.mkv", [round(1000 * i / 30 + 0.3) for i in range(30)])
    assert read(path, fps=30) == list(range(30))


def test_one_frame_gives_one_frame(tmp_path):
    video.write_video(tmp_path / "a.mp4", numbered(1), 50)
    # Half a frame at 25 a second, but never none.
    assert read(tmp_path / "a.mp4") == [0]


def test_reading_is_lazy(tmp_path):
    video.write_video(tmp_path / "a.mp4", numbered(40), 25)
    frames = video.read_frames(tmp_path / "a.mp4", width=WIDTH)
    assert numbers(itertools.islice(frames, 3)) == [0, 1, 2]
    frames.close()


def test_frames_have_the_size_that_is_asked_for_and_are_uint8(tmp_path):
    video.write_video(tmp_path / "a.mp4", numbered(2), 25)
    (frame, _) = video.read_frames(tmp_path / "a.mp4")
    assert frame.shape == (128, 171, 3) and frame.dtype == np.uint8
    (frame, _) = video.read_frames(tmp_path / "a.mp4", height=None, width=None)
    assert frame.shape == (HEIGHT, WIDTH, 3)


def test_colours_are_rgb(tmp_path):
    red = np.zeros((32, 48, 3), np.uint8)
    red[..., 0] = 200
    video.write_video(tmp_path / "a.mp4", [red], 25)
    (frame,) = video.read_frames(tmp_path / "a.mp4")
    np.testing.assert_allclose(frame.mean((0, 1)), [200, 0, 0], atol=6)


def test_probe_returns_the_properties_of_a_file(tmp_path):
    video.write_video(tmp_path / "a.mp4", numbered(30), 12.5)
    info = video.probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.codec) == (WIDTH, HEIGHT, "h264")
    assert info.average_rate == 12.5
    assert info.duration == pytest.approx(30 / 12.5)
    assert info.path == str(tmp_path / "a.mp4")


# --- one clock, one length ---------------------------------------------------------------------


def copied(source: Path, target: Path, offset: dict[int, int] | None = None, sound=None) -> Path:
    """Copies the packets of a video, some with stamps moved by ticks, next to a second's sound."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        if sound is not None:
            audio = new.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, 0
            new.mux(audio.encode(frame))
            new.mux(audio.encode())
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            packet.stream = copy
            packet.pts += (offset or {}).get(number, 0)
            if sound is not None:
                packet.pts, packet.dts = (
                    t + int(sound / packet.time_base) for t in (packet.pts, packet.dts)
                )
            new.mux(packet)
    return target


def agreed(path) -> list[int]:
    """Returns the numbers of a file's pictures at 25 a second, if all lengths and times agree."""
    info, got = video.probe(path), read(path)
    assert len(got) == max(1, round(round(info.duration * 25, 6)))
    times = video.frame_times(path)
    assert len(times) == info.num_pictures and (np.diff(times) > 0).all()
    return got


@pytest.fixture
def base(tmp_path):
    """A video of 60 pictures at 25 a second, of which some refer to later ones."""
    video.write_video(tmp_path / "base.mp4", numbered(60), 25)
    return tmp_path / "base.mp4"


def test_zero_is_the_start_of_the_sound_if_that_is_earlier(base, tmp_path, warnings):
    path = copied(base, tmp_path / "late.mp4", sound=3)
    assert agreed(path) == [0] * 75 + list(range(60))
    assert video.probe(path).duration == pytest.approx(3 + 60 / 25)
    np.testing.assert_allclose(video.frame_times(path)[:2], [3.0, 3.04])
    assert warnings.text.count("its first picture is shown after 3.00 s") == 1


def test_a_start_within_a_frame_does_not_repeat_or_drop_a_picture(base, tmp_path):
    # At .013 s begins the picture that a frame of .04 s would show from .04 s on only.
    path = copied(base, tmp_path / "late.mkv", sound=0.013)
    assert agreed(path) == list(range(60))


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize("seconds", [0.3, 26, 37_600])
def test_one_stamp_that_is_ahead_costs_no_other_picture(base, tmp_path, ending, seconds):
    source = copied(base, tmp_path / f"good.{ending}")
    with av.open(str(source)) as container:
        ticks = int(seconds / container.streams.video[0].time_base)
    path = copied(source, tmp_path / f"bad.{ending}", {20: ticks})
    assert agreed(path) == list(range(60))


@pytest.mark.parametrize(
    "moved",
    [
        {0: 26},
        {59: 26},
        {58: 26},
        {7: 0.04},  # like the picture after it
        dict.fromkeys(range(20, 24), 1),  # four pictures with the stamps of four others
        {5: 26, 20: 26, 21: 26, 40: 3},
    ],
)
def test_wrong_stamps_cost_no_other_picture(base, tmp_path, moved):
    with av.open(str(base)) as container:
        rate = 1 / container.streams.video[0].time_base
    path = copied(base, tmp_path / "bad.mkv", {k: int(s * rate) for k, s in moved.items()})
    assert agreed(path) == list(range(60))


def avi_of(source: Path) -> Path:
    """Copies H.264 into AVI, which has no presentation stamps."""
    path = source.with_suffix(".avi")
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c", "copy", path], check=True)
    return path


@pytest.mark.needs("ffmpeg")
def test_h264_copied_into_avi_keeps_its_times(base):
    # FFmpeg writes 50 chunks a second, every other one of them empty.
    path = avi_of(base)
    assert agreed(path) == list(range(60))
    assert video.probe(path).duration == pytest.approx(60 / 25)


@pytest.mark.needs("ffmpeg")
def test_a_variable_rate_survives_the_copy_into_avi(tmp_path):
    # Ten pictures at 10 a second, then forty at 50 a second.
    times = [*range(0, 1000, 100), *range(1000, 1800, 20)]
    path = avi_of(write_at(tmp_path / "a.mp4", times))
    np.testing.assert_allclose(video.frame_times(path), np.array(times) / 1000, atol=0.011)
    assert agreed(path)[25:40] == list(range(10, 40, 2))


def test_transport_streams_one_after_the_other_in_one_file(base, tmp_path, warnings):
    part = copied(base, tmp_path / "part.ts").read_bytes()
    (tmp_path / "both.ts").write_bytes(part + part)
    assert agreed(tmp_path / "both.ts") == 2 * list(range(60))
    assert "its clock runs back (1 ×)" in warnings.text


def test_a_transport_stream_from_the_middle(tmp_path):
    # Its first pictures are before the first key frame, as of a recording of a broadcast.
    options = {"g": "20", "bf": "0", "sc_threshold": "0"}
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        images = [av.VideoFrame.from_ndarray(image, format="rgb24") for image in numbered(60)]
        packets = [p for image in [*images, None] for p in stream.encode(image)]
        container.mux(packets[7:])
    assert video.probe(tmp_path / "a.ts").num_pictures == 40
    times = video.frame_times(tmp_path / "a.ts")
    np.testing.assert_allclose(times, np.arange(13, 53) * 0.04, atol=1e-6)
    assert read(tmp_path / "a.ts") == [20] * 13 + list(range(20, 60))


@pytest.mark.needs("ffmpeg")
def test_a_copied_cut_lasts_as_long_as_it_is_shown(base, tmp_path, warnings):
    # The cut begins at picture 23, but the file with the key frame before it.
    command = ["ffmpeg", "-v", "error", "-ss", "0.92", "-i", base, "-c", "copy"]
    subprocess.run([*command, tmp_path / "cut.mp4"], check=True)
    assert agreed(tmp_path / "cut.mp4") == list(range(23, 60))
    assert video.probe(tmp_path / "cut.mp4").duration == pytest.approx(37 / 25)
    assert not warnings.text  # Its header counts all 60 pictures, and 23 of them are hidden.


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "cover.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(numbered(1)[0], format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="has no video in it, only a picture"):
        video.probe(path)


@pytest.mark.parametrize(
    ("ending", "default", "width", "read_one"),
    [
        ("mkv", 1, WIDTH, 1),
        ("mkv", 0, 2 * WIDTH, 0),
        ("ts", None, WIDTH, 0),  # without a default the first of equals, else the largest
        ("ts", None, 2 * WIDTH, 1),
    ],
)
def test_of_two_videos_in_a_file_one_is_read_and_that_is_said(
    tmp_path, warnings, ending, default, width, read_one
):
    video.write_video(tmp_path / "0.mp4", numbered(60), 25)
    video.write_video(tmp_path / "1.mp4", numbered(100, width=width), 25)
    path = tmp_path / f"two.{ending}"
    with (
        av.open(str(tmp_path / "0.mp4")) as first,
        av.open(str(tmp_path / "1.mp4")) as second,
        av.open(str(path), "w") as new,
    ):
        copies = [new.add_stream_from_template(file.streams.video[0]) for file in (first, second)]
        for number, copy in enumerate(copies):
            copy.disposition = av.stream.Disposition(int(number == default))
        for file, copy in zip((first, second), copies, strict=True):
            for packet in file.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    new.mux(packet)
    assert read(path) == list(range((60, 100)[read_one]))
    assert f"it has 2 video streams; stream {read_one}" in warnings.text


def test_a_name_like_a_protocol_is_a_file(tmp_path, monkeypatch):
    video.write_video(tmp_path / "12:30:00.mp4", numbered(3), 25)
    monkeypatch.chdir(tmp_path)
    assert read("12:30:00.mp4") == [0, 1, 2]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(VideoError, match="is no file, but a pipe, a socket or a device"):
        video.probe(tmp_path / "x.mp4")


@pytest.mark.data
def test_length_and_times_of_real_files_agree(data_dir):
    cases = data_dir.parent / "cases"
    paths = [p for p in data_dir.glob("videos/**/*.*") if p.stat().st_size < 300_000]
    paths += [p for p in cases.glob("**/*.*") if p.suffix in (".avi", ".mkv", ".mp4")]
    readable = 0
    for path in paths:
        try:
            info = video.probe(path)
        except VideoError as error:
            with pytest.raises(VideoError, match=re.escape(str(error))):
                next(video.read_frames(path))
            continue
        readable += 1
        got = sum(1 for _ in video.read_frames(path, 25, 16, 16))
        assert got == max(1, round(round(info.duration * 25, 6))), path
        assert len(video.frame_times(path)) == info.num_pictures, path
    assert readable > 100


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "duration", "num_pictures"),
    [
        ("h264_in_avi/numbered.avi", 20.0, 500),
        ("h264_in_avi/copied.avi", 22.04, 551),
        ("one_stamp_ahead/videos/bad.mkv", 20.0, 500),
        ("one_stamp_ahead/videos/ahead_200s.mp4", 20.0, 500),
        ("delayed_video/videos/delayed.mp4", 23.0, 500),
        ("edit_list/videos/trimmed.mp4", 12.68, 317),
    ],
)
def test_the_length_of_files_from_reports(data_dir, name, duration, num_pictures):
    info = video.probe(data_dir.parent / "cases" / name)
    assert (round(info.duration, 3), info.num_pictures) == (duration, num_pictures)


@pytest.mark.data
def test_pictures_of_a_file_of_two_rates_are_where_they_are_shown(data_dir):
    # Five seconds at 10 a second, then at 50: picture 60 is at 5 + 10 / 50.
    times = video.frame_times(data_dir.parent / "cases" / "cvat_vfr" / "videos" / "vfr.mp4")
    np.testing.assert_allclose(times[[0, 50, 60, 110]], [0.0, 5.0, 5.2, 6.2], atol=0.01)


@pytest.mark.parametrize(
    ("rate", "used"),
    [(24, 24), (Fraction(1, 300), 1 / 300), (Fraction(1, 1071), 25), (90_000, 25), (0, 25)],
)
def test_an_absurd_rate_in_the_header_is_not_used(rate, used):
    assert pictures.rate_of(SimpleNamespace(average_rate=rate, guessed_rate=None)) == used


# --- bad files --------------------------------------------------------------------------------


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("missing.mp4", lambda path: None, "does not exist"),
        ("empty.mp4", lambda path: path.write_bytes(b""), "is empty"),
        ("text.mp4", lambda path: path.write_text("no video\n" * 99), "cannot be read"),
        ("text.txt", lambda path: path.write_text("no video\n" * 99), "has no video in it"),
        ("folder.mp4", lambda path: path.mkdir(), "cannot be read as a video"),
        ("audio.mp4", audio_only, "has no video in it"),
    ],
)
def test_the_error_of_a_bad_file_is_one_sentence(tmp_path, name, make, sentence):
    path = tmp_path / name
    make(path)
    for use in (video.probe, lambda path: next(video.read_frames(path))):
        with pytest.raises(VideoError, match=sentence) as caught:
            use(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_is_not_utf_8_is_an_error(tmp_path):
    path = tmp_path / "a\udcff.mp4"  # how Python has a byte that is not UTF-8
    with pytest.raises(VideoError, match="a.udcff.mp4': its name is not UTF-8") as caught:
        video.probe(path)
    str(caught.value).encode("utf-8")


def test_a_truncated_file_gives_what_it_holds(tmp_path, warnings):
    path = write_motion_jpeg(tmp_path / "a.avi", 50)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    got = read(path)
    # All pictures are about equally large; the last one is cut, so the one before it stays.
    assert got == [*range(len(got) - 1), len(got) - 2] and 20 <= len(got) <= 30
    assert "its header gives 2.00 s of video, its packets hold" in warnings.text


def test_damage_in_the_middle_is_skipped(tmp_path, warnings):
    path = write_motion_jpeg(tmp_path / "a.avi", 50)
    content = bytearray(path.read_bytes())
    # Each JPEG begins with this marker, after 8 bytes of the container.
    begins = [match.start() for match in re.finditer(b"\xff\xd8\xff", content)]
    damaged = slice(begins[10], begins[11] - 8)
    content[damaged] = bytes(damaged.stop - damaged.start)
    path.write_bytes(content)
    # The picture before it stays on display.
    assert read(path) == [*range(10), 9, *range(11, 50)]
    assert "skipped 1 packets" in warnings.text


# PyAV ends with the latter where FFmpeg has found another stream in the middle of a file.
@pytest.mark.parametrize("error", [av.error.InvalidDataError(1, "damaged"), IndexError()])
def test_the_last_pictures_of_an_unreadable_file_are_flushed_from_the_decoder(tmp_path, error):
    video.write_video(tmp_path / "a.mp4", numbered(40), 25)

    def demux(stream):
        yield from itertools.islice(container.demux(stream), 30)
        raise error

    with video._open(tmp_path / "a.mp4") as (container, stream):
        broken = SimpleNamespace(demux=demux, format=container.format)
        frames = [frame for frame, _ in video._decode(broken, stream, "a.mp4")]
    # Pictures refer to later ones: 30 packets need not be the first 30 pictures.
    assert len(frames) == 30


def test_a_video_with_a_title_in_another_encoding_is_read(tmp_path):
    path = write_motion_jpeg(tmp_path / "a.mkv", 5, title="cafés")
    path.write_bytes(path.read_bytes().replace("cafés".encode(), b"caf\xe9\xe8s"))
    assert read(path) == [0, 1, 2, 3, 4]
    assert video.probe(path).codec == "mjpeg"


def test_of_a_broadcast_without_end_the_available_part_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_PATIENCE", 2.0)
    write_at(tmp_path / "first.ts", [40 * i for i in range(10)])
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:0.4,\nfirst.ts\n"  # and no #EXT-X-ENDLIST
    (tmp_path / "live.m3u8").write_text(playlist)
    assert read(tmp_path / "live.m3u8") == list(range(10))


def test_pictures_too_large_for_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_PIXELS", WIDTH * HEIGHT - 1)
    path = write_motion_jpeg(tmp_path / "a.avi", 5)
    for use in (video.probe, lambda path: next(video.read_frames(path))):
        with pytest.raises(VideoError, match=f"its pictures are {WIDTH} × {HEIGHT} pixels, too"):
            use(path)


@pytest.mark.parametrize("fps", [0, -25, float("nan")])
def test_a_rate_must_be_positive(tmp_path, fps):
    with pytest.raises(InputError, match="expected a positive frame rate"):
        next(video.read_frames(tmp_path / "a.mp4", fps=fps))


# --- writing ----------------------------------------------------------------------------------


def test_written_frames_are_read_back(tmp_path):
    image = np.tile(np.linspace(0, 255, 48, dtype=np.uint8)[None, :, None], (32, 1, 3))
    assert video.write_video(tmp_path / "a.mp4", [image, image[:, ::-1]], 25) == 2
    first, second = video.read_frames(tmp_path / "a.mp4", height=None, width=None)
    np.testing.assert_allclose(first, image, atol=12)
    np.testing.assert_allclose(second, image[:, ::-1], atol=12)


def test_an_odd_height_or_width_is_made_even(tmp_path):
    video.write_video(tmp_path / "a.mp4", numbered(3, HEIGHT - 1, WIDTH - 1), 25)
    info = video.probe(tmp_path / "a.mp4")
    assert (info.height, info.width) == (HEIGHT, WIDTH)
    assert read(tmp_path / "a.mp4") == [0, 1, 2]


def breaks_off():
    yield from numbered(3)
    raise KeyError("the source of frames failed")


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([], InputError),
        ([np.zeros((32, 48), np.uint8)], InputError),
        ([np.zeros((32, 48, 3), np.float32)], InputError),
        (numbered(1) + numbered(1, 64, 64), InputError),
        (breaks_off(), KeyError),
    ],
)
def test_a_failed_write_leaves_the_old_file(tmp_path, frames, error):
    (tmp_path / "a.mp4").write_text("before")
    with pytest.raises(error):
        video.write_video(tmp_path / "a.mp4", frames, 25)
    assert [f.name for f in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "before"


def test_a_video_is_not_written_to_a_missing_folder(tmp_path):
    with pytest.raises(VideoError, match=r"nowhere/a\.mp4 cannot be written"):
        video.write_video(tmp_path / "nowhere" / "a.mp4", numbered(1), 25)


# --- real files -------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("folder", ["codec", "kth", "ps7", "ucf101", "ut_interaction", "weizmann"])
def test_frame_counts_of_real_files(folder, data_dir):
    videos = data_dir / "videos"
    with open(videos / "inventory.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith(folder + "/")]
    # Big ones take long, and a quarter of the small clips shows as much as all of them.
    rows = [row for row in rows if int(row["bytes"]) < 300_000 or folder == "kth"]
    for row in rows if folder == "codec" else rows[::4]:
        # Listed is its first stream; it has a larger one, which is what players show.
        if row["path"] == "codec/torchcodec_nasa_13013.mp4":
            continue
        decoded = int(row["n_decoded"] or 0)
        if not decoded:
            with pytest.raises(VideoError):
                next(video.read_frames(videos / row["path"]))
            continue
        # The pictures of mp4ff_prog_8s.mp4 begin two frames after the file's zero.
        start = video.frame_times(videos / row["path"])[0]
        expected = max(1, round(25 * (start + decoded / Fraction(row["avg_rate"]))))
        got = sum(1 for _ in video.read_frames(videos / row["path"], height=16, width=16))
        assert got == expected, row["path"]


@pytest.mark.data
def test_a_rotated_video_is_read_upright(data_dir):
    path = data_dir / "videos" / "codec" / "decord_video_90.mov"
    info = video.probe(path)
    assert (info.width, info.height) == (320, 568)
    upright = next(video.read_frames(path, height=None, width=None))
    assert upright.shape == (568, 320, 3)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    # The header asks for a quarter turn clockwise.
    np.testing.assert_allclose(upright.astype(int), np.rot90(stored, -1).astype(int), atol=4)


@pytest.mark.data
def test_packed_b_frames_are_read_at_the_rate_of_their_packets(data_dir):
    path = data_dir / "videos" / "ut_interaction" / "0_1_4.avi"
    # 108 pictures at 30 a second; its header counts 110.
    assert sum(1 for _ in video.read_frames(path)) == 90
    assert video.probe(path).duration == pytest.approx(3.6)
