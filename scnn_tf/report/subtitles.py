"""Detections of each video as subtitles: SRT, WebVTT, or a CSV of its own."""

import itertools
import math
import os
from collections.abc import Iterator, Sequence

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_path, write_lines
from scnn_tf.localization.formats import write_detections
from scnn_tf.localization.tables import Detections

FORMS = ("srt", "vtt", "csv")
_LAST = 1e12  # seconds; no player counts further, and beyond all floats there is no millisecond


def write_subtitles(
    folder: str | os.PathLike,
    detections: Detections,
    form: str = "srt",
    score_threshold: float = -math.inf,
) -> list[AnyPath]:
    """Writes `<video id>.srt`, `.vtt` or `.csv` for each video that has detections.

    A WebVTT cue is a detection: its players stack those that overlap. Many players of SRT show
    one cue at a time: there, a cue is a stretch in which the same detections hold, with a line for
    each, the best first. CSV has the columns of `results.write_detections`.

    Args:
        folder: to write to; made if it is not there.
        detections: of any number of videos.
        form: `srt`, `vtt` or `csv`.
        score_threshold: detections with less are left out. A video all of which are left out
            gets a file without any.

    Returns:
        The files, in the order in which the videos first occur.

    Raises:
        InputError: another form, a threshold that is no number, a video id that cannot be the name
            of a file, or a file that cannot be written.
    """
    if form not in FORMS:
        raise InputError(f"subtitles are {', '.join(FORMS)}. Received: {form!r}")
    if math.isnan(score_threshold):
        raise InputError("the score threshold is not a number")
    kept = detections.score >= score_threshold
    paths = []
    for video in dict.fromkeys(detections.video.tolist()):
        if video in ("", ".", "..") or set(video) & set("/\\\0"):
            raise InputError(f"the video id {video!r} cannot be the name of a file")
        found = detections.take(kept & (detections.video == video))
        path = as_path(folder) / f"{video}.{form}"
        if form == "csv":
            write_detections(path, [found])
        else:
            write_lines(path, (srt_lines if form == "srt" else vtt_lines)(found))
        paths.append(path)
    return paths


def srt_lines(found: Detections) -> Iterator[str]:
    """SubRip text of one video's detections: stretches that do not overlap."""
    found = found.take(np.argsort(-found.score, kind="stable"))
    for number, (start, end, rows) in enumerate(_stretches(_spans(found)), start=1):
        times = f"{_clock(start, ',')} --> {_clock(end, ',')}"
        yield "\n".join([str(number), times, *(_text(found, row) for row in rows), "", ""])


def vtt_lines(found: Detections) -> Iterator[str]:
    """WebVTT of one video's detections: a cue each, by their beginning."""
    yield "WEBVTT\n\n"
    spans = _spans(found)
    for row in sorted(spans, key=spans.get):
        start, end = spans[row]
        text = _text(found, row).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n\n"


def _spans(found: Detections) -> dict[int, tuple[int, int]]:
    """Row → from when to when, in whole milliseconds from the video's beginning, one at least."""
    spans = {}
    for row, span in enumerate(zip(found.start.tolist(), found.end.tolist(), strict=True)):
        start, end = (round(1000 * min(max(0.0, seconds), _LAST)) for seconds in span)
        if end:
            spans[row] = (start, max(end, start + 1))
    return spans


def _stretches(spans: dict[int, tuple[int, int]]) -> Iterator[tuple[int, int, Sequence[int]]]:
    """From when to when the same rows hold, and which, in their order."""
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
    """Hours (two digits or more), minutes, seconds, milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _text(found: Detections, row: int) -> str:
    """Class and score on one line, whatever the class is called."""
    return f"{' '.join(found.label[row].split())} ({found.score[row]:.3g})"
