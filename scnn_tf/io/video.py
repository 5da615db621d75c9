"""Probes video files, streams their frames at a fixed rate, and writes H.264.

This is the only module that knows a container. Times come from the packets of the file (see
`clock`), never from its header: real files have a variable rate, a start other than zero, lost
packets and headers that lie. `probe`, `frame_times` and `read_frames` look at one clock, so that
their durations and times are the same.
"""

import collections
import contextlib
import functools
import itertools
import math
import os
import stat
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from absl import logging

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.clock import MISSING, Clock, Packets, clock_of
from scnn_tf.io.files import PathLike, as_path, atomic_write, is_local
from scnn_tf.io.pictures import (
    Resizer,
    at_rate,
    quarter_turns,
    rate_of,
    reason,
    video_stream,
    videos,
)

# Pictures decoded to see whether presentation stamps put them in order: enough for packed B-frames
# to show.
_LOOK = 16
# Pictures before and after each that show how many have been lost.
_NEARBY = 4
# A header's rate is taken if it differs by less from the one that the packets have.
_RATE_TOLERANCE = 0.01
# Seconds that FFmpeg waits for more of a file: the playlist of a live broadcast never ends.
_PATIENCE = 60.0


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file, as its packets and its first picture show them.

    Attributes:
        path: The file.
        width: Width in pixels, as displayed (after rotation).
        height: Height in pixels, as displayed.
        duration: Seconds from the container's zero to the end of the last picture, by the packets'
            time stamps (a header's duration may lie).
        num_pictures: Number of pictures that are shown.
        average_rate: Pictures per second, on average.
        codec: FFmpeg's name of the codec, such as `"h264"`.
        container: FFmpeg's name of the container, such as `"matroska,webm"`.
        pixel_format: FFmpeg's name of the pixel format, such as `"yuv420p"`.
    """

    path: str
    width: int
    height: int
    duration: float
    num_pictures: int
    average_rate: float
    codec: str
    container: str
    pixel_format: str


def probe(path: PathLike) -> VideoInfo:
    """Returns the properties of a video file; reads all packets, decodes the first pictures.

    Args:
        path: A video file or its URL.

    Raises:
        VideoError: The file is missing or empty, is no video, has no picture that can be decoded,
            or exceeds the bounds of `read_frames`.
    """
    with _open(path) as (container, stream):
        clock, first = _examined(container, stream, path)
        width, height = first.width, first.height
        if quarter_turns(first) % 2:
            width, height = height, width
        rate = rate_of(stream)
        # The header's rate is exact where it is right: 30000/1001.
        honest = abs(rate / clock.rate - 1) < _RATE_TOLERANCE
        return VideoInfo(
            path=os.fspath(path),
            width=width,
            height=height,
            duration=clock.end,
            num_pictures=len(clock.times),
            average_rate=rate if honest else clock.rate,
            codec=stream.codec_context.codec.canonical_name,
            container=container.format.name,
            pixel_format=first.format.name,
        )


def frame_times(path: PathLike) -> np.ndarray:
    """Returns the time at which each picture of a video appears, for labels that count frames.

    Args:
        path: A video file or its URL.

    Returns:
        float64 `[N]`, seconds after the container's zero, increasing, in display order.

    Raises:
        VideoError: See `probe`.
    """
    with _open(path) as (container, stream):
        clock, _ = _examined(container, stream, path)
        return clock.times


def read_frames(
    path: PathLike,
    fps: float = 25.0,
    height: int | None = 128,
    width: int | None = 171,
    threads: int = 0,
) -> Iterator[np.ndarray]:
    """Streams the frames of a video at a fixed rate, resized while they are decoded.

    Frame i is the picture on display i / fps seconds after the container's zero, which is the start
    of its earliest stream: pictures are repeated or dropped as needed, the first one is shown from
    zero on, the last one to the end that `probe` gives. There are round(duration · fps) frames.
    A file whose own rate is `fps` gives exactly its pictures: if its first picture appears within
    a frame, the frames are sampled later by that much, half a frame at most. Memory does not grow
    with the pictures. Packets that cannot be decoded are skipped and logged; the picture before
    them stays on display.

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
        clock, _ = _examined(container, stream, path)
    with _open(path) as (container, stream):
        stream.codec_context.thread_count = threads
        pictures = _timed(_decode(container, stream, path), clock)
        shown = at_rate(pictures, fps, float(clock.times[0]), lambda: clock.end)
        empty = True
        for frame in map(Resizer(height, width), shown):
            yield frame
            empty = False
        if empty:
            raise VideoError(_undecodable(path))


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
            raise VideoError(f"{path} cannot be written: {reason(error)}.") from error


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
            # With several threads, x264 writes different bytes about once in some hundred runs.
            stream.codec_context.thread_count = 1
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
    if is_local(path) and os.path.exists(path):
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise VideoError(f"{path} is no file, but a pipe, a socket or a device.")
        if status.st_size == 0:
            raise VideoError(f"{path} is empty: it holds 0 bytes.")
    try:
        with _container(path) as container:
            stream = video_stream(container, path)
            stream.thread_type = "AUTO"
            yield container, stream
    except FileNotFoundError as error:
        raise VideoError(f"{path} does not exist.") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be read as a video: {reason(error)}.") from error


@contextlib.contextmanager
def _container(path: str):
    """Opens a file; behind a URL, only the parts that FFmpeg reads are fetched."""
    with contextlib.ExitStack() as stack:
        # FFmpeg's own reader from web servers takes a lost connection for the end of the video.
        # An absolute path: FFmpeg would take a bare 12:30.mp4 for a protocol.
        file = (
            os.path.abspath(path)
            if is_local(path)
            else stack.enter_context(as_path(path).open("rb"))
        )
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
            logging.warning("%s cannot be read to its end: %s.", path, reason(error))
            break
        if packet.size:  # PyAV's own flush is dropped: it comes only where a file ends well.
            if _is_avi(container):
                packet.pts = packet.dts  # AVI stores no other; FFmpeg's guess is a picture late.
            yield packet
    flush = av.Packet()
    flush.time_base = stream.time_base  # Of the pictures that the decoder still holds.
    yield flush


def _examined(container, stream, path) -> tuple[Clock, av.VideoFrame]:
    """Reads all packets of an open file; returns its clock and its first picture."""
    pts, dts, duration = array("q"), array("q"), array("q")
    head, discarded = [], 0
    for packet in _packets(container, stream, path):
        if len(head) < _LOOK:
            with contextlib.suppress(av.error.FFmpegError):
                head += stream.codec_context.decode(packet)
        discarded += packet.is_discard
        # Discarded packets are decoded and not shown; AVI fills pauses with packets of a byte.
        if packet.size > 1 and not packet.is_discard:
            pts.append(MISSING if packet.pts is None else packet.pts)
            dts.append(MISSING if packet.dts is None else packet.dts)
            duration.append(packet.duration or 0)
    if not head:
        raise VideoError(_undecodable(path))
    tick = float(stream.time_base)
    reordered = stream.codec_context.has_b_frames
    start = container.start_time
    pts, dts, duration = (np.array(column, np.int64) for column in (pts, dts, duration))
    shown = [frame.pts for frame in head]
    clock = clock_of(
        Packets(pts, dts, duration),
        os.fspath(path),
        zero=(stream.start_time or 0) * tick if start is None else start / av.time_base,
        tick=tick,
        rate=rate_of(stream),
        presented=_in_order(shown) and not (_is_avi(container) and reordered),
        reordered=reordered,
        delay=np.searchsorted(dts, head[0].dts) if head[0].dts is not None else 0,
        first=[stamp for stamp in shown if stamp is not None],
    )
    for remark in (
        *_choice(container, stream),
        *clock.remarks,
        *_missing(stream, clock, discarded),
    ):
        _warn_once(os.fspath(path), remark)
    return clock, head[0]


@functools.cache
def _warn_once(path: str, remark: str) -> None:
    """Logs a remark on a file, which is examined again for each purpose."""
    logging.warning("%s: %s.", path, remark)


def _in_order(stamps: list[int | None]) -> bool:
    """Returns whether the stamps of the first decoded pictures increase, but for a stray one."""
    strays = sum(None in pair or pair[1] <= pair[0] for pair in itertools.pairwise(stamps))
    return strays <= len(stamps) // 4 and stamps[0] is not None


def _is_avi(container) -> bool:
    return container.format.name == "avi"


def _choice(container, stream) -> Iterator[str]:
    """Yields a remark if a file holds several videos, of which one is read."""
    count = len(videos(container))
    if count > 1:
        yield (
            f"it has {count} video streams; stream {stream.index} is read, "
            f"{stream.width} × {stream.height} pixels"
        )


def _missing(stream, clock: Clock, discarded: int) -> Iterator[str]:
    """Yields a remark if the file ends long before its header says that this stream does."""
    claimed = (stream.frames - discarded) / rate_of(stream)
    if stream.duration is not None:
        claimed = max(claimed, float(stream.duration * stream.time_base))
    # In AVI, the length counts from zero.
    found = clock.end - (0.0 if _is_avi(stream.container) else clock.times[0])
    if claimed - found > max(0.5, 0.05 * claimed):
        yield (
            f"its header gives {claimed:.2f} s of video, its packets hold {found:.2f} s; what is "
            "not in the file is not read"
        )


def _decode(container, stream, path) -> Iterator[tuple[av.VideoFrame, int]]:
    """Yields the pictures that can be decoded, in display order; logs the skipped packets.

    Yields:
        A picture, and the number of pictures before it with those that could not be decoded.
    """
    number = broken = 0
    for packet in _packets(container, stream, path):
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            broken += 1
            continue
        for frame in frames:
            yield frame, number + broken
            number += 1
    if broken:
        logging.warning("%s: skipped %d packets that cannot be decoded.", path, broken)


def _timed(
    frames: Iterator[tuple[av.VideoFrame, int]], clock: Clock
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Yields each picture with the time at which it appears, in seconds, never decreasing.

    Pictures are decoded in the right order even where stamps are not: the k-th one appears at the
    k-th time. Stamps only say how many were lost on the way, as most pictures nearby have it; a
    picture whose own stamp says another thing appears between its neighbours.
    """
    shifts = collections.deque([0] * _NEARBY, maxlen=2 * _NEARBY + 1)
    held, shift, time = collections.deque(), 0, -math.inf
    for frame, number in itertools.chain(frames, itertools.repeat((None, 0), _NEARBY)):
        if frame is None:
            shifts.append(shift)
        else:
            shifts.append(clock.place_of(frame.pts, number + shift) - number)
            held.append((frame, number))
        if len(shifts) == shifts.maxlen and held:
            frame, number = held.popleft()
            shift = sorted(shifts)[_NEARBY]
            place = min(number + shift, len(clock.times) - 1)
            near = clock.times[max(0, place - int(shifts[_NEARBY] != shift)) : place + 1]
            time = max(time, float(near.mean()) if place >= 0 else -math.inf)
            yield frame, time


def _undecodable(path) -> str:
    return f"{os.fspath(path)} holds no picture that can be decoded."
