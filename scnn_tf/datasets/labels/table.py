"""Reader of labels in a table, CSV or TSV, as people write it."""

import dataclasses
import math
import re
from collections.abc import Sequence

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, seconds
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, csv_rows

COLUMNS = {
    "video": ("video", "file", "filename", "video_id", "youtube_id"),
    "label": ("label", "class", "action"),
    "start": ("start", "start_s", "start_time", "time_start", "begin", "from"),
    "end": ("end", "end_s", "end_time", "time_end", "stop", "to"),
    "subset": ("subset", "split"),
}
"""Column → its possible names, in any case; `subset` may be missing."""
_NO_TIME = "is no time (expected seconds or h:m:s, such as 72.5 or 0:01:12.5)"
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')  # A line that tells Excel how columns are separated.


@dataclasses.dataclass(frozen=True)
class Table:
    """The text of a table, divided into rows.

    Attributes:
        rows: Each row that is not blank, with the number of its last line.
        delimiter: The character between two values.
    """

    rows: Sequence[tuple[int, list[str]]]
    delimiter: str

    @property
    def names(self) -> list[str]:
        """The values of the first row, in lower case: the names of the columns, if it has them."""
        return [name.strip().lower() for name in self.rows[0][1]] if self.rows else []


def rows_of(path: AnyPath, text: str) -> Table:
    """Divides a text into rows, by the delimiter that its first line has most, or names.

    Raises:
        InputError: The text is no CSV.
    """
    text = "\n".join(re.split("\r\n?|\n", text))
    header, _, rest = text.partition("\n")
    if given := _SEPARATOR.fullmatch(header):
        header, text = rest.partition("\n")[0], f"\n{rest}"  # Lines keep their numbers.
    delimiter = given[1] if given else max(",;\t", key=header.count)
    rows = csv_rows(path, text, delimiter)
    return Table([(line, row) for line, row in rows if any(map(str.strip, row))], delimiter)


def read_table(path: AnyPath, table: Table) -> list[LabelledVideo]:
    """Reads `COLUMNS` in any order; a row without label and times names a video only."""
    names = table.names
    if {"classname", "label"} <= set(names):
        raise InputError(
            f"{path}: expected whole actions. Found: clips of 2 s, as of HACS Clips, which do not "
            "say where an action begins and ends; take HACS Segments (.json)"
        )
    place = {
        column: next((names.index(name) for name in known if name in names), None)
        for column, known in COLUMNS.items()
    }
    missing = [column for column in ("video", "label", "start", "end") if place[column] is None]
    if missing:
        raise InputError(
            f"{path}: its first line lacks the column {', '.join(missing)}; expected a table with "
            "video, label, start and end (seconds or HH:MM:SS), and perhaps subset, or an export "
            "of a labelling tool as docs/your_own_data.md lists them"
        )
    videos: dict[tuple[str, str], list[Span]] = {}
    unusable = []
    for number, row in table.rows[1:]:
        row = [*(value.strip() for value in row), *[""] * (len(names) - len(row))]
        video, label, start, end, subset = (
            "" if place[column] is None else row[place[column]] for column in COLUMNS
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
            spans.append(_timed(label, start, end, where, decimal_comma=table.delimiter != ","))
    return unusable + [
        LabelledVideo(video, tuple(spans), subset=subset)
        for (video, subset), spans in videos.items()
    ]


def _timed(label: str, start: str, end: str, where: str, decimal_comma: bool) -> Span:
    """Returns the interval of a row of text."""
    times = []
    for name, text in (("start", start), ("end", end)):
        times.append(seconds(text.replace(",", ".") if decimal_comma else text))
        if math.isnan(times[-1]):
            problem = f"its {name} {_NO_TIME}. Received: {text!r}"
            return Span(label, math.nan, math.nan, where, problem)
    return Span(label, *times, where)
