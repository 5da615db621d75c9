"""Reader of labels in a table, CSV or TSV, as people write it."""

import math
import re

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, number_of
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, csv_rows, read_text

CSV_COLUMNS = {
    "video": ("video", "file", "filename", "video_id"),
    "label": ("label", "class", "action"),
    "start": ("start", "start_s", "start_time", "begin", "from"),
    "end": ("end", "end_s", "end_time", "stop", "to"),
    "subset": ("subset", "split"),
}
"""Column → its possible names, in any case; `subset` may be missing."""
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+\.?\d*|\.\d+)", re.ASCII)
_NO_TIME = "is no time (expected seconds or h:m:s, such as 72.5 or 0:01:12.5)"
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')  # A line that tells Excel how columns are separated.


def read_csv(path: AnyPath) -> list[LabelledVideo]:
    """Reads `CSV_COLUMNS` in any order; a row without label and times names a video only."""
    text = "\n".join(re.split("\r\n?|\n", read_text(path)))
    header, _, rest = text.partition("\n")
    if given := _SEPARATOR.fullmatch(header):
        header, text = rest.partition("\n")[0], f"\n{rest}"  # Lines keep their numbers.
    delimiter = given[1] if given else max(",;\t", key=header.count)
    rows = csv_rows(path, text, delimiter)
    filled = ((number, row) for number, row in rows if any(value.strip() for value in row))
    names = [name.strip().lower() for name in next(filled, (0, []))[1]]
    place = {
        column: next((names.index(name) for name in known if name in names), None)
        for column, known in CSV_COLUMNS.items()
    }
    missing = [column for column in ("video", "label", "start", "end") if place[column] is None]
    if missing:
        raise InputError(
            f"{path}: its first line lacks the column {', '.join(missing)}; expected video, label, "
            "start and end (seconds or HH:MM:SS), and perhaps subset"
        )
    videos: dict[tuple[str, str], list[Span]] = {}
    unusable = []
    for number, row in filled:
        row = [*(value.strip() for value in row), *[""] * (len(names) - len(row))]
        video, label, start, end, subset = (
            "" if place[column] is None else row[place[column]] for column in CSV_COLUMNS
        )
        problem = ""
        if any(row[len(names) :]):
            problem = f"expected {len(names)} values. Received: {len(row)}"
        elif broken := [v for v in (video, label, start, end, subset) if "\n" in v]:
            problem = f"expected values of one line. Received: {broken[0][:20]!r}…; close its quote"
        elif not video:
            problem = "expected the name of a video. Found: none"
        if problem:
            unusable.append(LabelledVideo("", problem=f"line {number}: {problem}"))
            continue
        spans = videos.setdefault((video, subset), [])
        if label or start or end:
            where = f"line {number}, {start or 'nothing'} to {end or 'nothing'}"
            spans.append(_timed(label, start, end, where, decimal_comma=delimiter != ","))
    return unusable + [
        LabelledVideo(video, tuple(spans), subset=subset)
        for (video, subset), spans in videos.items()
    ]


def seconds(text: str) -> float:
    """Reads `12.5`, `02:03.5` or `1:02:03.5`; NaN for anything else, such as `1_2` or `inf`."""
    clock = _CLOCK.fullmatch(text.strip())
    if clock is None:
        return number_of(text)
    hours, minutes, rest = clock.groups()
    if float(rest) >= 60 or (hours and int(minutes) >= 60):
        return math.nan
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)


def _timed(label: str, start: str, end: str, where: str, decimal_comma: bool) -> Span:
    """Returns the interval of a row of text."""
    times = []
    for name, text in (("start", start), ("end", end)):
        times.append(seconds(text.replace(",", ".") if decimal_comma else text))
        if math.isnan(times[-1]):
            problem = f"its {name} {_NO_TIME}. Received: {text!r}"
            return Span(label, math.nan, math.nan, where, problem)
    return Span(label, *times, where)
