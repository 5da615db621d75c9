"""Frames of live sources: cameras, network streams, pipes, and files that are still being written.

A thread reads and decodes, so that a camera never waits for the networks. Its frames go through a
buffer of bounded length as runs: frames at a fixed rate without a break. A short outage is part of
a run, and the last picture stays on display, as in a file with a gap; a long one ends the run.
"""

import collections
import itertools
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
import tenacity
from absl import logging

from scnn_tf.errors import VideoError
from scnn_tf.io.files import PathLike
from scnn_tf.io.live_clock import LiveClock
from scnn_tf.io.live_sources import Connection, LiveSource
from scnn_tf.io.pictures import Resizer, at_rate

_BUFFER_S = 30.0  # of frames that wait for the networks
_LONGEST_PAUSE_S = 10.0  # between two attempts to open a lost source
_GRACE_S = 1.0  # that a stopped reader may take to end
_END = "end of run"


class Run(NamedTuple):
    """Consecutive frames of a live source.

    Attributes:
        start: Seconds from the start of the source to that of the run.
        utc: Seconds since 1970 at which the run began to be received.
        frames: Its frames, uint8 `[height, width, 3]`, RGB, at the rate that was asked for.
    """

    start: float
    utc: float
    frames: Iterator[np.ndarray]


class _Start(NamedTuple):
    """A mark in the buffer: a run begins."""

    start: float
    utc: float


class LiveVideo:
    """A live source, which is read while this is open as a context.

    Args:
        place: See `live_sources.LiveSource`.
        fps: Frames per second to yield.
        height: Height of each frame in pixels.
        width: Width of each frame in pixels.
        waits: Whether the source has to wait while the buffer is full; else frames are dropped, and
            a new run begins. None: pipes and files wait.
        outage_s: Seconds without a picture after which a run ends, and the end of a file that does
            not grow.
        stopped: Ends the source when it is set; the frames in the buffer remain.

    Attributes:
        waits: See above.
    """

    def __init__(
        self,
        place: PathLike,
        fps: float,
        height: int,
        width: int,
        *,
        waits: bool | None = None,
        outage_s: float = 10.0,
        stopped: threading.Event | None = None,
    ):
        self._stopped = threading.Event() if stopped is None else stopped
        self._source = LiveSource(place, outage_s, self._stopped)
        self._fps, self._outage_s = fps, outage_s
        self.waits = self._source.ends if waits is None else waits
        self._resize = Resizer(height, width)
        self._clock: LiveClock[av.VideoFrame] = LiveClock(self._source.name)
        self._received = time.monotonic()  # the last picture
        self._begun = self._dropping = self._over = False
        self._limit, self._filled = round(_BUFFER_S * fps), 0  # frames
        self._items: collections.deque = collections.deque()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="live video", daemon=True)

    def __enter__(self) -> "LiveVideo":
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._stopped.set()

    @property
    def filled(self) -> float:
        """Share of the buffer that is filled, 0 to 1."""
        return self._filled / self._limit

    def runs(self) -> Iterator[Run]:
        """Yields the runs of the source; the frames of each have to be taken before the next.

        Raises:
            VideoError: The source cannot be opened at the start, or has no video.
        """
        while (item := self._take()) is not None:
            if isinstance(item, _Start):
                yield Run(*item, self._frames_of_run())
        if self._error:
            raise self._error

    def _frames_of_run(self) -> Iterator[np.ndarray]:
        while isinstance(self._next(), np.ndarray):
            yield self._take()

    def _next(self) -> np.ndarray | _Start | str | None:
        """Returns the next item of the buffer, once there is one; None: the source is over."""
        stopping = 0.0
        with self._changed:
            while not self._items and not self._over and stopping < _GRACE_S:
                self._changed.wait(0.1)
                stopping += 0.1 * self._stopped.is_set()
            return self._items[0] if self._items else None

    def _take(self) -> np.ndarray | _Start | str | None:
        """Removes the next item of the buffer; see `_next`."""
        item = self._next()
        if item is not None:
            with self._changed:
                self._items.popleft()
                self._filled -= isinstance(item, np.ndarray)
                self._changed.notify_all()
        return item

    def _put(self, item: np.ndarray | _Start | str) -> None:
        """Adds an item to the buffer."""
        with self._changed:
            self._items.append(item)
            self._filled += isinstance(item, np.ndarray)
            self._changed.notify_all()

    def _read(self) -> None:
        """Puts all runs of the source into the buffer; runs in the thread."""
        try:
            connection = self._source.open()
            while connection is not None:
                self._read_run(connection)
                connection = None if self._source.ends else self._opened_again(patience_s=None)
        except Exception as error:  # noqa: BLE001 - raised again where the frames are taken
            self._error = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read_run(self, connection: Connection) -> None:
        """Puts the run that begins with a connection into the buffer."""
        pictures = self._pictures(connection)
        first = next(pictures, None)
        if first is None:
            return
        start = first[1] if self._begun else 0.0
        self._begun, self._dropping = True, False
        self._put(_Start(start, time.time() - (first[1] - start)))
        shown = ((picture, at - start) for picture, at in itertools.chain([first], pictures))
        end = lambda: self._clock.time + self._clock.step - start  # noqa: E731
        for index, picture in enumerate(at_rate(shown, self._fps, first[1] - start, end)):
            self._keep(picture, start + index / self._fps)
        self._put(_END)

    def _pictures(self, connection: Connection | None) -> Iterator[tuple[av.VideoFrame, float]]:
        """Yields the pictures of a run and their times, over connections with short outages."""
        while connection is not None:
            with connection:
                pictures = self._noted(connection)
                first = next(pictures, None)
                if first is not None:
                    yield from self._clock.timed(
                        itertools.chain([first], pictures), self._began(connection, first[1])
                    )
            if self._source.ends:
                return
            silent = time.monotonic() - self._received
            connection = self._opened_again(self._outage_s - silent)

    def _began(self, connection: Connection, stamp: float | None) -> float:
        """Returns the time of the first picture of a connection."""
        if not self._begun:
            self._clock.step = connection.step
            return max(0.0, (stamp or 0.0) - connection.zero)
        return self._clock.time + max(self._clock.step, self._silent)

    def _noted(self, connection: Connection) -> Iterator[tuple[av.VideoFrame, float | None]]:
        """Yields the pictures of a connection, and notes when each was received."""
        for picture in connection.pictures():
            now = time.monotonic()
            self._silent, self._received = now - self._received, now
            yield picture

    def _opened_again(self, patience_s: float | None) -> Connection | None:
        """Opens a lost source, as often as it takes.

        Args:
            patience_s: Seconds after which to give up; None: never.

        Returns:
            The connection; None: the source is stopped, or the seconds are over.
        """
        stop = tenacity.stop_when_event_set(self._stopped)
        if patience_s is not None:
            stop |= tenacity.stop_after_delay(patience_s)
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(VideoError),
            wait=tenacity.wait_exponential(multiplier=0.25, max=_LONGEST_PAUSE_S),
            stop=stop,
            sleep=tenacity.sleep_using_event(self._stopped),
        )
        try:
            return None if self._stopped.is_set() else attempts(self._source.open)
        except tenacity.RetryError:
            return None

    def _keep(self, picture: av.VideoFrame, seconds: float) -> None:
        """Puts a frame into the buffer, or drops it if the networks are too slow.

        Args:
            picture: The picture.
            seconds: Its time.
        """
        with self._changed:
            while self.waits and self._filled >= self._limit and not self._stopped.is_set():
                self._changed.wait(0.1)
        if self._dropping and self._filled <= self._limit / 2:
            self._dropping = False
            self._put(_Start(seconds, time.time()))
            logging.warning("%s: frames are used again from %.1f s on.", self._source.name, seconds)
        elif not self._dropping and self._filled >= self._limit:
            self._dropping = True
            self._put(_END)
            logging.warning(
                "%s: the machine is too slow; frames are dropped from %.1f s on.",
                self._source.name,
                seconds,
            )
        if not self._dropping:
            self._put(self._resize(picture))
