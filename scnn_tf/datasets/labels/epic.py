"""Readers of EPIC-Kitchens-100: its table of actions, and its table of videos."""

import ast
import itertools
import math
from collections.abc import Iterator

from scnn_tf.datasets.annotations import subset_in_name
from scnn_tf.datasets.labels.labelled import LabelledVideo, number_of
from scnn_tf.datasets.labels.table import Table, read_table
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath

CLASSES = ("verb", "noun", "all_nouns", "verb_class", "noun_class", "all_noun_classes")
"""Columns that may be the class; the last three have numbers."""
_ACTIONS = {"video_id", "narration_id", "start_timestamp", "stop_timestamp"}
_VIDEOS = {"video_id", "duration", "fps", "resolution"}


def is_epic(table: Table) -> bool:
    """Returns whether a table is that of the actions."""
    return _ACTIONS <= set(table.names)


def is_epic_videos(table: Table) -> bool:
    """Returns whether a table is that of the videos."""
    return _VIDEOS <= set(table.names)


def read_epic(path: AnyPath, table: Table, attribute: str | None) -> list[LabelledVideo]:
    """Reads the actions: a row each, times `HH:MM:SS.ff`; the file's name states the subset.

    Args:
        path: The file.
        table: A table for which `is_epic` holds.
        attribute: Columns in `CLASSES`, separated by commas, whose values together are the class;
            of a list of values, such as `['rubbish', 'bin']`, each is a class.

    Raises:
        InputError: A column is missing or unknown.
    """
    columns = [name.strip() for name in (attribute or "").split(",")]
    known = [name for name in CLASSES if name in table.names]
    if not set(columns) <= set(known):
        raise InputError(
            f"{path}: expected the column that is the class, or two, such as --attribute=verb,noun;"
            f" {', '.join(known) or 'none'} may be. Received: {attribute or 'none'}"
        )
    given = ["video_id", "start_timestamp", "stop_timestamp"]
    places = [table.names.index(name) for name in (*given, *columns)]
    subset = subset_in_name(path.name) or ""
    rows: list[tuple[int, list[str]]] = [(1, ["video", "start", "end", "subset", "label"])]
    unusable = []
    for line, row in table.rows[1:]:
        if len(row) != len(table.names):
            problem = f"line {line}: expected {len(table.names)} values. Received: {len(row)}"
            unusable.append(LabelledVideo("", problem=problem))
            continue
        video, start, end, *values = (row[place] for place in places)
        try:
            labels = list(_classes(values))
        except ValueError as error:
            unusable.append(LabelledVideo("", problem=f"line {line}: {error}"))
            continue
        rows += [(line, [video, start, end, subset, label]) for label in labels]
    return unusable + read_table(path, Table(rows, table.delimiter))


def read_epic_videos(table: Table) -> list[LabelledVideo]:
    """Reads the durations of the videos, which say nothing of their labels."""
    video, duration = (table.names.index(name) for name in ("video_id", "duration"))
    read = []
    for line, row in table.rows[1:]:
        values = [*row, *[""] * (len(table.names) - len(row))]
        seconds = number_of(values[duration])
        problem = ""
        if not 0 < seconds < math.inf:
            problem = f"line {line}: duration must be above 0. Received: {values[duration]!r:.60}"
        read.append(
            LabelledVideo(values[video].strip(), duration=seconds, labelled=False, problem=problem)
        )
    return read


def _classes(values: list[str]) -> Iterator[str]:
    """Yields the classes of a row, each of one value of every column.

    Raises:
        ValueError: A list cannot be read.
    """
    for parts in itertools.product(*map(_listed, values)):
        yield " ".join(parts)


def _listed(text: str) -> list[str]:
    """Returns the values of a list that is written as Python text, or the only value.

    Raises:
        ValueError: The list cannot be read.
    """
    text = text.strip()
    if not text.startswith("["):
        return [text]
    try:
        values = ast.literal_eval(text)
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        values = []
    if not values or not all(isinstance(value, str | int) for value in values):
        raise ValueError(f"expected a list such as ['tap', 'pan']. Received: {text!r:.60}")
    return list(dict.fromkeys(map(str, values)))
