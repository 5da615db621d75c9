"""Probes video files, streams their frames at a fixed rate, and writes H.264.

This is the only module that knows a container. Frames are found by presentation timestamps, never
by counting: real files have a variable rate, a start other than zero, lost packets and headers
that lie. Only where the timestamps themselves are unusable are frames counted (frame index /
average rate), and the log says so.
"""

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from absl import logging

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import PathLike, as_path, atomic_write, is_local

# Frames looked at before deciding whether a file's timestamps can be used: enough for packed
# B-frames to show, few enough to hold in memory.
_LOOK = 16
# Matroska, WebM and FLV round timestamps to milliseconds, so that a frame may seem to begin up
# to a millisecond after the instant at which it is sampled.
_ROUNDING = 0.0015
# A picture held longer than this (seconds) is a broken timestamp, not a slow video.
_LONGEST_HOLD = 300.0
# Longest video of one file, in seconds: damaged timestamps can add up to years.
_LONGEST_VIDEO = 86_400.0
# 8K (the largest picture of level 6 of H.264 and HEVC): a decoder holds some twenty of them.
_MOST_PIXELS = 8192 * 4352
# Seconds that FFmpeg waits for more of a file: the playlist of a live broadcast never ends.
_PATIENCE = 60.0


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file, as its packets and its first picture show them.

    Attributes:
        path: The file.
        width: Width in pixels, as displayed (after rotation).
        height: Height in pixels, as displayed.
        duration: Seconds from the start of the first picture to the end of the last one, by the
            packets' timestamps (a header's duration may lie). Packets without a picture count too.
        average_rate: Frames per second.
        codec: FFmpeg's name of the codec, such as `"h264"`.
        container: FFmpeg's name of the container, such as `"matroska,webm"`.
        pixel_format: FFmpeg's name of the pixel format, such as `"yuv420p"`.
    """

    path: str
    width: int
    height: int
    duration: float
    average_rate: float
    codec: str
    container: str
    pixel_format: str


def probe(path: PathLike) -> VideoInfo:
    """Returns the properties of a video file; decodes the first picture and reads all packets.

    Args:
        path: A video file or its URL.

    Raises:
        VideoError: The file is missing or empty, is no video, has no picture that can be decoded,
            or exceeds the bounds of `read_frames`.
    """
    first = None
    count, begin, end = 0, None, 0
    with _open(path) as (container, stream):
        for packet in _packets(container, stream, path):
            if first is None:
                with contextlib.suppress(av.error.FFmpegError):
                    first = next(iter(stream.codec_context.decode(packet)), None)
            if not packet.size:
                continue
            count += 1
            if packet.pts is not None:
                begin = packet.pts if begin is None else min(begin, packet.pts)
                end = max(end, packet.pts + (packet.duration or 0))
        if first is None:
            raise VideoError(_undecodable(path))
        rate = _rate(stream)
        duration = count / rate if begin is None else float((end - begin) * stream.time_base)
        if duration > _LONGEST_VIDEO:
            raise VideoError(_too_long(path))
        width, height = first.width, first.height
        if _quarter_turns(first) % 2:
            width, height = height, width
        return VideoInfo(
            path=os.fspath(path),
            width=width,
            height=height,
            duration=duration or 1 / rate,
            average_rate=rate,
            codec=stream.codec_context.codec.canonical_name,
            container=container.format.name,
            pixel_format=first.format.name,
        )


def read_frames(
    path: PathLike,
    fps: float = 25.0,
    height: int | None = 128,
    width: int | None = 171,
    threads: int = 0,
) -> Iterator[np.ndarray]:
    """Streams the frames of a video at a fixed rate, resized while they are decoded.

    Frame i is the picture on display i / fps seconds after the first picture, so that pictures are
    repeated or dropped as needed; the last picture is held for its own duration. N pictures at
    a constant rate r thus give round(N · fps / r) frames, and at r = fps exactly the file's
    own. Memory does not grow with the video. Packets that cannot be decoded are skipped and logged.

    The number of frames is bounded, whatever the file claims: a picture that is held for more than
    5 minutes, a video of more than 24 hours and pictures larger than 8K (8192 × 4352) are errors.

    Args:
        path: A video file or its URL.
        fps: Frames per second to yield.
        height: Height of each frame in pixels; None keeps the displayed height of the first
            picture.
        width: Width of each frame in pixels; None keeps the displayed width of the first picture.
        threads: Number of threads that decode; 0 is one for each core.

    Yields:
        uint8 `[height, width, 3]`, RGB. A repeated picture is the same array: do not write to it.

    Raises:
        InputError: `fps` is not positive.
        VideoError: The file is missing or empty, is no video, has no picture that can be decoded,
            or exceeds these bounds.
    """
    if not fps > 0:
        raise InputError(f"expected a positive frame rate. Received: fps={fps}")
    with _open(path) as (container, stream):
        stream.codec_context.thread_count = threads
        resize = _Resizer(height, width)
        shown = picture = None
        index = 0  # The next output frame; `picture`, still held back, is frame index - 1.
        time = length = 0.0
        for frame, time in _timed(_decode(container, stream, path), path, _rate(stream)):
            while shown is not None and index / fps + _ROUNDING < time:
                if picture is not None:
                    yield picture
                picture = resize(shown)
                index += 1
            shown = frame
            length = _last_duration(frame, 1 / _rate(stream))
        if shown is None:
            raise VideoError(_undecodable(path))
        end = time + length
        total = max(1, round(round(end * fps, 6)))
        while index < total:
            if picture is not None:
                yield picture
            picture = resize(shown)
            index += 1
        # A picture was held back because the video may end before the middle of its frame.
        if index == total:
            yield picture
        _warn_if_short(container, stream, path, end)


def write_video(path: PathLike, frames: Iterable[np.ndarray], fps: float) -> int:
    """Writes frames as H.264 in MP4; the file appears only when it is complete.

    H.264 stores chroma at half the size, so an odd height or width is made even by repeating the
    last row or column.

    Args:
        path: The file to write in an existing folder; an existing file is replaced.
        frames: uint8 `[height, width, 3]` each, RGB, all of one size.
        fps: Frames per second.

    Returns:
        The number of frames written.

    Raises:
        InputError: There are no frames, or a frame has another size or type than the first.
        VideoError: The frames cannot be encoded or written.
    """
    path = os.fspath(path)
    if not os.path.isdir(folder := os.path.dirname(path) or "."):
        raise VideoError(f"{path} cannot be written: there is no folder {folder}.")
    with atomic_write(path) as aside:
        try:
            with av.open(os.fspath(aside), "w", format="mp4") as container:
                return _encode(container, frames, fps, path)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{path} cannot be written: {_reason(error)}.") from error


def _encode(container, frames: Iterable[np.ndarray], fps: float, path: str) -> int:
    """Encodes frames into an open container and returns their number."""
    stream, shape, count = None, None, 0
    for image in frames:
        shape = shape or image.shape
        if image.shape != shape or image.shape[2:] != (3,) or image.dtype != np.uint8:
            raise InputError(
                f"{path}: expected frame {count} to be uint8 RGB, [height, width, 3], of the size "
                f"of the first. Received: {image.dtype}, shape={image.shape}"
            )
        if stream is None:
            height, width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
            rate = Fraction(fps).limit_denominator(100_000)
            stream = container.add_stream("libx264", rate=rate)
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "18", "preset": "veryfast"}
        if shape[:2] != (height, width):
            missing = [(0, height - shape[0]), (0, width - shape[1]), (0, 0)]
            image = np.pad(image, missing, mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        container.mux(stream.encode(frame))
        count += 1
    if stream is None:
        raise InputError(
            f"{path}: expected at least one frame. Received: none; no file was written"
        )
    container.mux(stream.encode())
    return count


@contextlib.contextmanager
def _open(path: PathLike):
    """Opens a file's best video stream; errors of FFmpeg in the body become a `VideoError`."""
    path = os.fspath(path)
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:  # no table, page or message could name it
        raise VideoError(f"{path!r}: its name is not UTF-8; rename it.") from error
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        raise VideoError(f"{path} is empty: it holds 0 bytes.")
    try:
        with _container(path) as container:
            stream = container.streams.best("video")
            # FFmpeg "plays" text files too, as scrolling pictures of their letters.
            if stream is None or container.format.name == "tty":
                raise VideoError(f"{path} has no video in it.")
            if stream.codec_context is None:
                raise VideoError(f"{path} is in a codec for which there is no decoder.")
            if stream.width * stream.height > _MOST_PIXELS:
                raise VideoError(
                    f"{path}: its pictures are {stream.width} × {stream.height} pixels, too large "
                    "to be decoded here (8192 × 4352 at most); scale it down."
                )
            # Sizes may change in the middle; FFmpeg skips what is larger then.
            stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            stream.thread_type = "AUTO"
            yield container, stream
    except FileNotFoundError as error:
        raise VideoError(f"{path} does not exist.") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be read as a video: {_reason(error)}.") from error


@contextlib.contextmanager
def _container(path: str):
    """Opens a file; behind a URL, only the parts that FFmpeg reads are fetched."""
    with contextlib.ExitStack() as stack:
        # FFmpeg's own reader from web servers takes a lost connection for the end of the video.
        file = path if is_local(path) else stack.enter_context(as_path(path).open("rb"))
        # A title in another encoding than UTF-8 is no reason to refuse the pictures.
        yield stack.enter_context(av.open(file, timeout=_PATIENCE, metadata_errors="replace"))


def _packets(container, stream, path) -> Iterator[av.Packet]:
    """Yields packets up to the first that cannot be read, then an empty one, which flushes."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):
            # IndexError: how PyAV ends where a stream has begun in the middle of a file.
            break
        except av.error.FFmpegError as error:
            logging.warning("%s cannot be read to its end: %s.", path, _reason(error))
            break
        if packet.size:  # PyAV's own flush is dropped: it comes only where a file ends well.
            yield packet
    flush = av.Packet()
    flush.time_base = stream.time_base  # Of the pictures that the decoder still holds.
    yield flush


def _decode(container, stream, path) -> Iterator[av.VideoFrame]:
    """Yields the pictures that can be decoded, in display order; logs the skipped packets."""
    broken = 0
    for packet in _packets(container, stream, path):
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            broken += 1
            continue
        yield from frames
    if broken:
        logging.warning("%s: skipped %d packets that cannot be decoded.", path, broken)


def _timed(
    frames: Iterator[av.VideoFrame], path: PathLike, rate: float
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Yields each frame with its time in seconds after the first frame, strictly increasing.

    The first frames decide once whether the times are timestamps or frame number / rate. A later
    frame with a bad timestamp is placed one average frame after its predecessor.
    """
    head = deque(itertools.islice(frames, _LOOK))
    stamps = [frame.pts for frame in head]
    counted = None in stamps or any(b <= a for a, b in itertools.pairwise(stamps))
    if counted:
        logging.warning(
            "%s: its timestamps are unusable (missing or not increasing); frames are counted "
            "instead, at %.6g a second.",
            path,
            rate,
        )
    time, late = -1 / rate, 0
    for index in itertools.count():
        frame = head.popleft() if head else next(frames, None)
        if frame is None:
            break
        if counted:
            time = index / rate
        elif frame.pts is None or (now := _seconds(frame, frame.pts - stamps[0])) <= time:
            time, late = time + 1 / rate, late + 1
        elif now - time > _LONGEST_HOLD:
            raise VideoError(
                f"{path}: its timestamps leap from {time:.1f} s to {now:.1f} s; re-encode the "
                "video at a constant frame rate, or cut it there."
            )
        else:
            time = now
        if time > _LONGEST_VIDEO:
            raise VideoError(_too_long(path))
        yield frame, time
    if late:
        logging.warning("%s: %d timestamps ran backwards and were replaced.", path, late)


class _Resizer:
    """Turns decoded frames into RGB arrays of one size, upright.

    libswscale resizes in the same step as it converts from YUV. Successive calls with the same
    frame do the work once.

    Args:
        height: Height in pixels; None takes that of the first frame.
        width: Width in pixels; None takes that of the first frame.
    """

    def __init__(self, height: int | None, width: int | None):
        self.height = height
        self.width = width
        self._scaler = av.video.reformatter.VideoReformatter()
        self._frame = None
        self._image = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Converts a frame to `[height, width, 3]` uint8."""
        if frame is self._frame:
            return self._image
        turns = _quarter_turns(frame)
        size = (frame.height, frame.width)[:: -1 if turns % 2 else 1]
        self.height = self.height or size[0]
        self.width = self.width or size[1]
        height, width = (self.height, self.width)[:: -1 if turns % 2 else 1]
        rgb = self._scaler.reformat(frame, width=width, height=height, format="rgb24")
        self._frame = frame
        self._image = np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))
        return self._image


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Returns how many quarter turns counter-clockwise bring a decoded frame upright, 0–3."""
    return round(frame.rotation / 90) % 4


def _seconds(frame: av.VideoFrame, ticks: int) -> float:
    return float(ticks * frame.time_base)


def _last_duration(frame: av.VideoFrame, interval: float) -> float:
    """Returns how long a frame is shown, in seconds; `interval` where the frame does not say it."""
    duration = _seconds(frame, frame.duration) if frame.duration else interval
    return duration if duration <= _LONGEST_HOLD else interval


def _rate(stream) -> float:
    """Returns the average frame rate; 25 where the header's rate is missing or absurd."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 1 / _LONGEST_HOLD <= rate <= 1000 else 25.0


def _warn_if_short(container, stream, path, end: float) -> None:
    """Logs a warning where much less could be decoded than the header claims."""
    claimed = stream.frames / _rate(stream)
    if stream.duration is not None:
        claimed = max(claimed, float(stream.duration * stream.time_base))
    elif not stream.frames:
        claimed = (container.duration or 0) / av.time_base
    if claimed - end > max(0.5, 0.05 * claimed):
        logging.warning(
            "%s holds %.2f s of video, its header claims %.2f s; the file may be cut off.",
            path,
            end,
            claimed,
        )


def _undecodable(path) -> str:
    return f"{os.fspath(path)} holds no picture that can be decoded."


def _too_long(path) -> str:
    return f"{os.fspath(path)} lasts more than 24 hours; cut it into shorter files."


def _reason(error: Exception) -> str:
    """Returns the words of the system or of FFmpeg for an error, without number and path."""
    return getattr(error, "strerror", None) or str(error)
