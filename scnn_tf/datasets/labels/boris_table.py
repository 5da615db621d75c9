"""Reader of BORIS' tables: exported events and aggregated events, CSV or TSV."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from scnn_tf.datasets.labels.boris import POINT, Event, divided, paired
from scnn_tf.datasets.labels.labelled import (
    LabelledVideo,
    Span,
    number_of,
    point_of,
    seconds,
    span_of,
    time_of,
)
from scnn_tf.datasets.labels.table import Table
from scnn_tf.io.files import AnyPath

# Columns by their names in any version, in lower case; the first one that a table has is taken.
_STATUS = ("status", "behavior type")
_FILE = ("media file name", "media file path", "media file")
_NO_FILE = ("", "na", "live", "not found")  # in the place of a media file
_FIRST_PLAYER = re.compile(r"(?:player #1: *)?(.*?)(?: player #\d+:.*)?")

Row = Mapping[str, str]
"""Column's name, in lower case → value."""


def is_boris_table(table: Table) -> bool:
    """Returns whether a table is one of BORIS', by the names of its columns."""
    return _header(table) is not None


def read_boris_table(path: AnyPath, table: Table) -> list[LabelledVideo]:
    """Reads a table in which each row is an event, or an aggregated table of intervals.

    Older versions write observation, media files and time offset above the names of the columns,
    newer ones into each row.

    Args:
        path: The file, which the observation is named after if the table does not name it.
        table: A table for which `is_boris_table` holds.
    """
    header = _header(table)
    names = [name.strip().lower() for name in table.rows[header][1]]
    preamble = [[value.strip() for value in row] for _, row in table.rows[:header]]
    above = {row[0].lower(): row[1] for row in preamble if len(row) > 1}
    players = [row[1] for row in preamble if row[0] == "Player #1" and len(row) > 1]
    observations: dict[str, list[tuple[int, Row]]] = {}
    for line, values in table.rows[header + 1 :]:
        values = [value.strip() for value in values]
        row = above | dict(zip(names, values, strict=False))
        observations.setdefault(row.get("observation id") or path.stem, []).append((line, row))
    return [
        video
        for name, rows in observations.items()
        for video in _observed(rows, players, f"observation {name!r}")
    ]


def _header(table: Table) -> int | None:
    """Returns the place, among the rows, of the names of the columns; None if there are none."""
    for number, (_, row) in enumerate(table.rows):
        names = {name.strip().lower() for name in row}
        is_events = "time" in names and not names.isdisjoint(_STATUS)
        if "behavior" in names and (is_events or {"start (s)", "stop (s)"} <= names):
            return number
    return None


def _observed(
    rows: Sequence[tuple[int, Row]], players: Sequence[str], where: str
) -> list[LabelledVideo]:
    """Returns the media files of an observation with their events.

    Args:
        rows: The rows of the observation, with their lines.
        players: The media files that the table names above its columns.
        where: The observation's place in the file.
    """
    _, first = rows[0]
    files = [_first(row, _FILE) for _, row in rows]
    source = _first_player(first.get("source", "")) or players or dict.fromkeys(files)
    media = [file for file in source if file.lower() not in _NO_FILE]
    lengths = [seconds(length) for length in _first_player(first.get("media duration (s)", ""))]
    lengths = lengths if len(lengths) == len(media) else [math.nan] * len(media)
    if "start (s)" in first:
        spans = _intervals(rows, where)
    else:
        spans = paired(_events(rows), where)
    return divided(spans, list(zip(media, lengths, strict=True)), where)


def _events(rows: Sequence[tuple[int, Row]]) -> Iterator[Event]:
    """Yields the event of each row."""
    for line, row in rows:
        modifiers = "|".join(row[name] for name in row if name.startswith("modif"))
        yield Event(
            seconds(row.get("time", "")) - _offset(row),
            row.get("subject", ""),
            row.get("behavior", ""),
            modifiers,
            _first(row, _STATUS).upper(),
            f"line {line}",
        )


def _intervals(rows: Sequence[tuple[int, Row]], where: str) -> Iterator[Span]:
    """Yields the interval, or the point, of each row of an aggregated table."""
    for line, row in rows:
        given = [time_of(row.get(column, "")) for column in ("start (s)", "stop (s)")]
        times = [time - _offset(row) if isinstance(time, float) else time for time in given]
        label, place = row.get("behavior", ""), f"{where}, line {line}"
        if row.get("behavior type", "").upper() == POINT:
            yield point_of(label, number_of(times[0]), place)
        else:
            yield span_of(label, times, place)


def _offset(row: Row) -> float:
    """Returns what BORIS has added to the times of an observation, in seconds."""
    return seconds(row.get("time offset (s)") or "0")


def _first_player(text: str) -> list[str]:
    """Returns the values of the first player, of `player #1:a.mp4;b.mp4|player #2:c.mp4`.

    Lengths have no names of players: `179.960;359.960|60.000`.
    """
    own = _FIRST_PLAYER.fullmatch(text.partition("|")[0])[1]
    return [value.strip() for value in own.split(";") if value.strip()]


def _first(row: Row, columns: Sequence[str]) -> str:
    """Returns the value of the first of some columns that a row has; "" if it has none."""
    return next((row[column] for column in columns if column in row), "")
