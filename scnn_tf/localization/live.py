"""Localization of a live source: from its frames to detections, each as soon as it is final.

A source comes in runs without a break; each run is localized like a file (`live_nms` says when a
detection is final). If the machine is too slow, short windows are left out, so that it catches up.
"""

import dataclasses
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from absl import logging

from scnn_tf.datasets.video_files import without_ending
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, file_name
from scnn_tf.io.live import LiveVideo, Run
from scnn_tf.localization.live_nms import LiveDetection, LiveRules, LiveSuppression
from scnn_tf.localization.sequences import Counted, Judged

WHEN_SLOW = ("scales", "frames", "wait")
"""The values of `LiveSettings.when_slow`."""
_NAMELESS = "live"  # the id of frames and of the standard input
_SLOW, _SLOWEST, _FAST = 0.4, 0.8, 0.1  # shares of the buffer


@dataclasses.dataclass(frozen=True)
class LiveSettings:
    """How a source is read live.

    Attributes:
        provisional: Whether to yield detections that are not final yet, too.
        when_slow: What happens if the machine is too slow: "scales", the shortest window lengths
            are left out, and frames if only the longest one is left; "frames", frames are dropped;
            "wait", the source waits. None: pipes and files wait, of others scales are left out.
        outage_s: Seconds without a picture after which the stream is interrupted: what is open is
            decided. A file that does not grow for so long has ended.
        stopped: Ends the stream when it is set; None: only the source does.

    Raises:
        InputError: A value is out of its range.
    """

    provisional: bool = False
    when_slow: str | None = None
    outage_s: float = 10.0
    stopped: threading.Event | None = None

    def __post_init__(self):
        if self.when_slow not in (None, *WHEN_SLOW):
            raise InputError(
                f"expected when_slow to be one of {', '.join(WHEN_SLOW)}. "
                f"Received: {self.when_slow!r}"
            )
        if not 0 < self.outage_s < math.inf:
            raise InputError(f"expected a positive outage_s. Received: {self.outage_s}")


class Judge(Protocol):
    """A function that scores the frames of a stream, like `scnn.Localizer.judged` live."""

    def __call__(
        self, frames: Iterable[np.ndarray], skips: Callable[[int], bool] | None
    ) -> Iterator[Judged]:
        """Yields the parts of a stream, each as soon as its frames are there and it is scored."""


def find_live(
    source: PathLike | Iterable[np.ndarray],
    judge: Judge,
    rules: LiveRules,
    *,
    frame_size: tuple[int, int],
    video_id: str | None,
    settings: LiveSettings,
) -> Iterator[LiveDetection]:
    """Yields the actions of a live source, each as soon as it is final.

    Args:
        source: A live source, see `io.live_sources.LiveSource`; or frames, uint8 `[height, width,
            3]`, at the rate of the rules.
        judge: Scores the frames.
        rules: The settings of post-processing.
        frame_size: Height and width of a frame.
        video_id: Id of the stream in the detections; None: the name of the source.
        settings: How the source is read.

    Raises:
        VideoError: The source cannot be opened, or has no video.
        InputError: The networks give scores that are not finite, or the server does not answer.
    """
    if not isinstance(source, (str, os.PathLike)):
        run, video = Run(0.0, math.nan, iter(source)), video_id or _NAMELESS
        yield from _find_in_run(run, judge, rules, video, settings)
        return
    video = video_id or without_ending(file_name(source)).strip("-") or _NAMELESS
    slow = settings.when_slow
    waits = None if slow is None else slow == "wait"
    opened = LiveVideo(
        source,
        rules.frame_rate,
        *frame_size,
        waits=waits,
        outage_s=settings.outage_s,
        stopped=settings.stopped,
    )
    with opened as live:
        pace = _Pace(rules.window_frames, live) if slow != "frames" and not live.waits else None
        for run in live.runs():
            yield from _find_in_run(run, judge, rules, video, settings, pace)


def _find_in_run(
    run: Run,
    judge: Judge,
    rules: LiveRules,
    video: str,
    settings: LiveSettings,
    pace: "_Pace | None" = None,
) -> Iterator[LiveDetection]:
    """Yields the actions of a run, on the clock of its source."""
    suppression = LiveSuppression(video, rules, provisional=settings.provisional)
    counted = Counted(run.frames)

    def lines(found: list[LiveDetection]) -> Iterator[LiveDetection]:
        for line in found:
            utc = None if math.isnan(run.utc) else run.utc + line.start
            yield line._replace(start=run.start + line.start, end=run.start + line.end, utc=utc)

    for judged in judge(counted, pace and pace.skips):
        yield from lines(suppression.add(judged, counted.count))
    yield from lines(suppression.finish(counted.count))


class _Pace:
    """Decides which window lengths are left out, by how far the buffer of a source is filled.

    The fuller it is, the more lengths are left out, shortest first, all but the longest at most.
    When it is nearly empty, all are used again.

    Args:
        window_frames: Lengths of the windows, in frames.
        live: The source.
    """

    def __init__(self, window_frames: Sequence[int], live: LiveVideo):
        self._lengths, self._live, self._skipped = sorted(window_frames), live, 0

    def skips(self, length: int) -> bool:
        """Returns whether the next part of a window length is left out."""
        most, filled = len(self._lengths) - 1, self._live.filled
        too_full = (filled - _SLOW) / (_SLOWEST - _SLOW)
        skipped = 0 if filled < _FAST else max(self._skipped, math.ceil(most * too_full))
        skipped = min(skipped, most)
        if skipped != self._skipped:
            lengths = ", ".join(map(str, self._lengths[:skipped]))
            if skipped > self._skipped:
                logging.warning("the machine is too slow; window lengths left out: %s.", lengths)
            else:
                logging.warning("the machine is fast enough; all window lengths are used again.")
            self._skipped = skipped
        return length in self._lengths[:skipped]
