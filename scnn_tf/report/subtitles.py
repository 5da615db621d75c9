"""Writes the detections of each video as subtitles, SubRip (SRT) or WebVTT."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path, write_lines
from scnn_tf.localization.tables import Detections

_LAST = 1e12  # seconds; no player counts further, and infinity has no milliseconds


def write_subtitles(
    folder: PathLike,
    detections: Detections,
    *,
    form: str = "srt",
    score_threshold: float = -math.inf,
) -> list[AnyPath]:
    """Writes `<video id>.srt` or `.vtt` for each video that has detections.

    An id with folders, such as `cam1/GH010001`, gives a file in these folders.

    Times are those of the detections, which count from the zero that players show. A WebVTT cue is
    a detection: players of WebVTT stack cues that overlap. Many players of SRT show
    one cue at a time: there, a cue is an interval in which the same detections hold, with a
    line for each detection, the best first.

    Args:
        folder: Folder to write to; made if it does not exist.
        detections: Detections of any number of videos.
        form: `srt` or `vtt`.
        score_threshold: Detections with a lower score are left out, and so are those without a
            length or a score. A video without any other gets a file without cues.

    Returns:
        The files, in the order in which the videos first occur.

    Raises:
        InputError: The form or the threshold is invalid, a video id cannot be a file name, or a
            file cannot be written.
    """
    if form not in FORMS:
        raise InputError(f"expected subtitles as {' or '.join(FORMS)}. Received: {form!r}")
    if math.isnan(score_threshold):
        raise InputError("expected a number as score threshold. Received: NaN")
    kept = detections.usable & (detections.score >= score_threshold)
    paths = []
    for video in dict.fromkeys(detections.video.tolist()):
        if {"", ".", ".."} & set(video.split("/")) or set(video) & set("\\\0"):
            raise InputError(f"expected video ids that can be file names. Received: {video!r}")
        path = as_path(folder) / f"{video}.{form}"
        write_lines(path, FORMS[form](detections.take(kept & (detections.video == video))))
        paths.append(path)
    return paths


def srt_lines(found: Detections) -> Iterator[str]:
    """Yields SubRip text of one video's detections: intervals that do not overlap."""
    found = found.take(np.argsort(-found.score, kind="stable"))
    for number, (start, end, rows) in enumerate(_intervals(_spans(found)), start=1):
        times = f"{_clock(start, ',')} --> {_clock(end, ',')}"
        yield "\n".join([str(number), times, *(_text(found, row) for row in rows), "", ""])


def vtt_lines(found: Detections) -> Iterator[str]:
    """Yields WebVTT of one video's detections: a cue for each, by start."""
    yield "WEBVTT\n\n"
    spans = _spans(found)
    for row in sorted(spans, key=spans.get):
        start, end = spans[row]
        text = _text(found, row).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n\n"


FORMS = {"srt": srt_lines, "vtt": vtt_lines}
"""The forms of subtitles: extension → function that yields the text."""


def _spans(found: Detections) -> dict[int, tuple[int, int]]:
    """Returns row → start and end in whole milliseconds, at least one millisecond long."""
    spans = {}
    for row, span in enumerate(zip(found.start.tolist(), found.end.tolist(), strict=True)):
        start, end = (round(1000 * min(max(0.0, seconds), _LAST)) for seconds in span)
        if end:
            spans[row] = (start, max(end, start + 1))
    return spans


def _intervals(spans: dict[int, tuple[int, int]]) -> Iterator[tuple[int, int, Sequence[int]]]:
    """Yields start and end of each interval in which the same rows hold, and the rows in order."""
    changes = sorted({time for span in spans.values() for time in span})
    waiting = sorted(spans, key=lambda row: spans[row][0], reverse=True)
    holding: list[int] = []
    for start, end in itertools.pairwise(changes):
        holding = [row for row in holding if spans[row][1] > start]
        while waiting and spans[waiting[-1]][0] <= start:
            holding.append(waiting.pop())
        if holding:
            yield start, end, sorted(holding)


def _clock(milliseconds: int, point: str) -> str:
    """Formats hours (two digits or more), minutes, seconds and milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _text(found: Detections, row: int) -> str:
    """Formats class and score on one line, even if the name of the class has several."""
    return f"{' '.join(found.label[row].split())} ({found.score[row]:.3g})"
