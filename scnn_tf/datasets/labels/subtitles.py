"""Reader of labels as subtitles, SubRip (SRT) or WebVTT: the text of a cue is its class."""

import dataclasses
import html
import re
from collections.abc import Iterator

from scnn_tf.datasets.labels.labelled import LabelledVideo, shown, span_of, time_of
from scnn_tf.io.files import AnyPath

_VTT = "WEBVTT"
_TIMES = re.compile(r"([\d:.,]+)[ \t]+-->[ \t]+([\d:.,]+)(?:[ \t].*)?")
SRT_MARKUP = re.compile(r"</?(?:[biu]|font)\b[^>]*>|\{\\[^}]*\}")
"""Markup of SRT, which players do not show: <i>, </font>, {\\an8}."""
_VTT_MARKUP = re.compile(r"</?(?:[bciuv]|lang|rt|ruby)\b[^>]*>|<[\d:.]+>")  # <v Ann>, <00:01.5>.


@dataclasses.dataclass
class _Cue:
    """A cue: its line in the file, its times as text, and its lines of text."""

    line: int
    times: tuple[str, str]
    text: list[str] = dataclasses.field(default_factory=list)


def is_subtitles(text: str) -> bool:
    """Returns whether a text begins like subtitles: with `WEBVTT`, or with a cue."""
    first = [line.strip() for line in text[:1000].splitlines() if line.strip()][:2]
    return text.startswith(_VTT) or any(map(_TIMES.fullmatch, first))


def read_subtitles(path: AnyPath, text: str) -> list[LabelledVideo]:
    """Reads the cues of a file, which has the name of its video; each line of a cue is a class."""
    is_vtt = text.startswith(_VTT)
    markup = _VTT_MARKUP if is_vtt else SRT_MARKUP
    spans = []
    for cue in _cues(text):
        times = [time_of(time.replace(",", ".")) for time in cue.times]
        for line in cue.text or [""]:
            label = markup.sub("", line)
            label = html.unescape(label) if is_vtt else label
            spans.append(span_of(label, times, f"line {cue.line}, {shown(times)} s"))
    return [LabelledVideo(path.stem, tuple(spans), labelled=bool(spans)), *_broken(text)]


def _cues(text: str) -> Iterator[_Cue]:
    """Yields the cues; what is not in one, such as notes and the names of cues, is left out."""
    cue = None
    for number, line in enumerate(text.splitlines(), start=1):
        if times := _TIMES.fullmatch(line.strip()):
            if cue is not None:  # no empty line between two cues
                if cue.text and cue.text[-1].strip().isdecimal():
                    del cue.text[-1]
                yield cue
            cue = _Cue(number, times.groups())
        elif cue is not None and line.strip():
            cue.text.append(line)
        elif cue is not None:
            yield cue
            cue = None
    if cue is not None:
        yield cue


def _broken(text: str) -> Iterator[LabelledVideo]:
    """Yields one problem for each line that is meant as the times of a cue and is none."""
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*\d+:\d.*->", line) and not _TIMES.fullmatch(line.strip()):
            problem = f"expected times such as 0:01:02.500 --> 0:01:04.000. Received: {line:.60}"
            yield LabelledVideo("", problem=f"line {number}: {problem}")
