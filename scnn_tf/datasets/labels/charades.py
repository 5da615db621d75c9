"""Reader of the table of Charades, in which each row is a video with all of its actions."""

import dataclasses
import math

from scnn_tf.datasets.annotations import subset_in_name
from scnn_tf.datasets.labels.labelled import LabelledVideo, number_of
from scnn_tf.datasets.labels.table import Table, read_table
from scnn_tf.io.files import AnyPath

_COLUMNS = {"id", "actions", "length"}


def is_charades(table: Table) -> bool:
    """Returns whether a table is that of Charades, by the names of its columns."""
    return _COLUMNS <= set(table.names)


def read_charades(path: AnyPath, table: Table) -> list[LabelledVideo]:
    """Reads `actions` such as `c092 11.90 21.20;c147 0.00 12.60`; a video may have none.

    `length` is the duration of the video, and the file's name states the subset.
    """
    places = [table.names.index(name) for name in ("id", "actions", "length")]
    subset = subset_in_name(path.name) or ""
    rows: list[tuple[int, list[str]]] = [(1, ["video", "subset", "label", "start", "end"])]
    durations = {}
    for line, row in table.rows[1:]:
        row = [*row, *[""] * (len(table.names) - len(row))]
        video, actions, length = (row[place].strip() for place in places)
        durations[video] = number_of(length)
        for action in actions.split(";"):
            label, start, end = (*action.split(maxsplit=2), "", "", "")[:3]
            rows.append((line, [video, subset, label, start, end]))
    return [
        dataclasses.replace(video, duration=duration)
        if 0 < (duration := durations.get(video.file, math.nan)) < math.inf
        else video
        for video in read_table(path, Table(rows, table.delimiter))
    ]
