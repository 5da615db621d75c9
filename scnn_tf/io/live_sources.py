"""How live sources are opened and read: cameras, network streams, pipes and growing files."""

import contextlib
import os
import select
import stat
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator

import av
from absl import logging

from scnn_tf.errors import VideoError
from scnn_tf.io.files import PathLike, is_local
from scnn_tf.io.pictures import rate_of, reason, video_stream

STDIN = "-"
_OPEN_S = 20.0  # that a source may take to answer
_LOOK_S = 0.1  # between two looks at a file that does not grow


class Connection:
    """An open live source, to be closed as a context.

    Args:
        container: The container of PyAV.
        stream: Its video stream.
        name: The source, for the log.
        stopped: Ends the pictures when it is set.
        resources: What to close with it.

    Attributes:
        zero: Stamp of the container's zero, in seconds.
        step: Seconds between two pictures, as the source says.
    """

    def __init__(
        self,
        container,
        stream,
        name: str,
        stopped: threading.Event,
        resources: contextlib.ExitStack,
    ):
        self._container, self._stream, self._name, self._stopped = container, stream, name, stopped
        self._resources = resources
        self._stream.thread_type = "SLICE"  # Threads for whole frames would hold some back.
        self._tick = float(self._stream.time_base)
        self.step = 1 / rate_of(stream)
        start = container.start_time
        first = (self._stream.start_time or 0) * self._tick
        self.zero = first if start is None else start / av.time_base

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exception) -> None:
        self._resources.close()

    def pictures(self) -> Iterator[tuple[av.VideoFrame, float | None]]:
        """Yields the pictures in the order of display, with their stamps, until the source is lost.

        Packets that cannot be decoded are skipped.

        Yields:
            A picture, and its stamp in seconds; None: it has none.
        """
        packets = self._container.demux(self._stream)
        while not self._stopped.is_set():
            try:
                packet = next(packets)
            except (StopIteration, IndexError):
                break
            except (av.error.FFmpegError, OSError) as error:
                logging.warning("%s: cannot be read: %s.", self._name, reason(error))
                break
            if packet.size:
                with contextlib.suppress(av.error.FFmpegError):
                    yield from self._stamped(packet)
        with contextlib.suppress(av.error.FFmpegError):
            yield from self._stamped(None)

    def _stamped(self, packet: av.Packet | None) -> Iterator[tuple[av.VideoFrame, float | None]]:
        for picture in self._stream.codec_context.decode(packet):
            stamp = picture.dts if picture.pts is None else picture.pts
            yield picture, None if stamp is None else stamp * self._tick


class LiveSource:
    """A live source.

    Args:
        place: URL that FFmpeg knows, such as `rtsp://…`; a camera, `/dev/video0`; a named pipe, or
            `-` for the standard input; or a file that may still grow.
        outage_s: Seconds without data after which a connection is lost, or a file has ended.
        stopped: Ends pipes and files when it is set.

    Attributes:
        name: The source, without a password.
        ends: Whether it can end, and can wait: a pipe or a file.
    """

    def __init__(self, place: PathLike, outage_s: float, stopped: threading.Event):
        self._place, self._outage_s, self._stopped = os.fspath(place), outage_s, stopped
        self._is_url = not is_local(self._place)
        self.name = _without_password(self._place) if self._is_url else self._place
        self._mode = 0 if self._is_url else _mode(self._place)
        self.ends = not self._is_url and not stat.S_ISCHR(self._mode)

    def open(self) -> Connection:
        """Opens the source.

        Raises:
            VideoError: It cannot be opened, or has no video.
        """
        with contextlib.ExitStack() as resources:
            try:
                container = resources.enter_context(self._container(resources))
            except av.error.ProtocolNotFoundError as error:
                raise VideoError(
                    f"{self.name}: this build of PyAV does not know its protocol; pipe it: "
                    "ffmpeg -i URL -c copy -f mpegts - | … --live -"
                ) from error
            except (av.error.FFmpegError, OSError) as error:
                raise VideoError(
                    f"{self.name} cannot be read as a live video: {reason(error)}."
                ) from error
            stream = video_stream(container, self.name)
            return Connection(container, stream, self.name, self._stopped, resources.pop_all())

    def _container(self, resources: contextlib.ExitStack):
        """Opens the source with PyAV; a file of this process is added to the resources."""
        if self.ends:
            file = resources.enter_context(contextlib.closing(self._bytes()))
            return av.open(file, metadata_errors="replace")
        if self._is_url:
            is_rtsp = self._place.startswith("rtsp")  # UDP loses packets without a word.
            return av.open(
                self._place,
                options={"rtsp_transport": "tcp"} if is_rtsp else {},
                timeout=(_OPEN_S, self._outage_s),
                metadata_errors="replace",
            )
        return av.open(self._place, format="v4l2", timeout=(_OPEN_S, self._outage_s))

    def _bytes(self) -> "_Pipe":
        """Opens the pipe or file."""
        descriptor = (
            os.dup(sys.stdin.fileno())
            if self._place == STDIN
            else os.open(self._place, os.O_RDONLY)
        )
        if stat.S_ISREG(self._mode):
            return _GrowingFile(descriptor, self._stopped, self._outage_s)
        return _Pipe(descriptor, self._stopped)


class _Pipe:
    """A pipe, as a file that ends with it, or when it is stopped."""

    def __init__(self, descriptor: int, stopped: threading.Event):
        self._descriptor, self._stopped = descriptor, stopped

    def read(self, size: int) -> bytes:
        """Returns the next bytes, at most `size`; none: the pipe has ended."""
        while not self._stopped.is_set():
            if select.select([self._descriptor], [], [], _LOOK_S)[0]:
                return os.read(self._descriptor, size)
        return b""

    def close(self) -> None:
        """Closes the pipe."""
        os.close(self._descriptor)


class _GrowingFile(_Pipe):
    """A file that is still being written; it ends where it does not grow for some seconds."""

    def __init__(self, descriptor: int, stopped: threading.Event, patience_s: float):
        super().__init__(descriptor, stopped)
        self._patience_s = patience_s

    def read(self, size: int) -> bytes:
        """Returns the next bytes, at most `size`; none: the file has ended."""
        latest = time.monotonic() + self._patience_s
        while not (data := os.read(self._descriptor, size)):
            if time.monotonic() > latest or self._stopped.wait(_LOOK_S):
                break
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place in the file and returns it."""
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        """Returns the place in the file."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)


def _mode(place: str) -> int:
    """Returns the kind of a file of this machine, as `os.stat` has it.

    Raises:
        VideoError: There is no such file, or it is a folder.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode if place == STDIN else os.stat(place).st_mode
    except OSError as error:
        raise VideoError(f"{place} cannot be read as a live video: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        raise VideoError(f"{place} is a folder; give one live source.")
    return mode


def _without_password(url: str) -> str:
    """Returns a URL without user, password and query, which may be secrets."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
