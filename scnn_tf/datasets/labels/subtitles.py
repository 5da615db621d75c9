"""Reader of labels as subtitles, SubRip (SRT) or WebVTT: the text of a cue is its class."""

import dataclasses
import html
import re
from collections.abc import Iterator

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, shown, span_of, time_of
from scnn_tf.io.files import AnyPath

_VTT = "WEBVTT"
_TIMES = re.compile(r"([\d:.,]+)[ \t]+-->[ \t]+([\d:.,]+)(?:[ \t].*)?")
# Markup for players: <i>, <v Ann>, <c.loud>, </c>, <00:01.5>, {\an8}.
_MARKUP = re.compile(r"</?(?:[bciuv]|font|lang|rt|ruby)\b[^>]*>|<[\d:.]+>|\{\\[^}]*\}")
# The score behind a class, as `visualize --subtitles` writes it.
_FRACTION = re.compile(r"\((?:0\.\d+|\d(?:\.\d+)?e-\d+)\)[ \t]*$", re.MULTILINE)
_SCORE = re.compile(r" +\((?:0\.\d+|\d(?:\.\d+)?e-\d+|[01])\)$")


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
    """Reads the cues of a file, which has the name of its video; each line of a cue is a class.

    Files of SRT show one cue at a time: where several classes hold at once, the same line in two
    cues, the second of which begins when the first ends, is one instance.
    """
    is_vtt = text.startswith(_VTT)
    scored = _FRACTION.search(text) is not None
    spans: list[Span] = []
    before: dict[str, int] = {}  # line of text in the cue before → place of its span
    for cue in _cues(text):
        lines = [_MARKUP.sub("", line).strip() for line in cue.text] or [""]
        times = [time_of(time.replace(",", ".")) for time in cue.times]
        several = not is_vtt and (len(lines) > 1 or len(before) > 1)
        valid = all(isinstance(time, float) for time in times)
        now = {}
        for line in lines:
            place = before.get(line)
            if several and valid and place is not None and spans[place].end == times[0]:
                spans[place] = dataclasses.replace(spans[place], end=times[1])
            else:
                place = len(spans)
                label = html.unescape(line) if is_vtt else line
                label = _SCORE.sub("", label) if scored else label
                spans.append(span_of(label, times, f"line {cue.line}, {shown(times)} s"))
            now[line] = place
        before = now
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
