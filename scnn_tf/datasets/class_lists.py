"""Files that name classes: lines of `id name`, or a table of ids and names."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, csv_rows, read_text

_NAMES = ("key", "name", "class")  # Columns that may have the names.
_NUMBER = re.compile(r"[A-Za-z]?0*(\d+)", re.ASCII)


def class_rows(path: PathLike) -> Iterator[tuple[int, str, str]]:
    """Yields the line, the id and the name of each class.

    Args:
        path: Lines of `id name`, such as MultiTHUMOS' and Charades'; or a table with the columns
            `id` and `key`, such as EPIC-Kitchens' (`name` or `class` may stand for `key`).

    Raises:
        InputError: The file is missing or of another form.
    """
    text = read_text(path)
    lines = text.splitlines()
    rows = list(csv_rows(path, text)) if lines and "," in lines[0] else []
    header = [value.strip().lower() for value in rows[0][1]] if rows else []
    column = next((header.index(name) for name in _NAMES if name in header), None)
    if "id" in header and column is not None:
        found = [
            (number, [row[header.index("id")], row[column]] if len(row) == len(header) else row)
            for number, row in rows[1:]
        ]
    else:
        found = [(number, line.split(maxsplit=1)) for number, line in enumerate(lines, start=1)]
    for number, values in found:
        values = [value.strip() for value in values]
        if len(values) == 2 and all(values):
            yield number, *values
        elif any(values):
            raise InputError(
                f"{path}, line {number}: expected `id name`. Received: {' '.join(values)!r:.60}"
            )


def read_class_names(path: PathLike) -> dict[str, str]:
    """Reads the names of classes by their ids, as `with_names` takes them.

    Raises:
        InputError: The file is missing or of another form, or an id occurs twice.
    """
    names: dict[str, str] = {}
    for number, class_id, name in class_rows(path):
        if names.setdefault(_number(class_id), name) is not name:
            raise InputError(f"{path}, line {number}: id {class_id} occurs twice; remove one line")
    return names


def with_names(labelled: LabelledVideo, names: Mapping[str, str]) -> LabelledVideo:
    """Returns a video whose classes are names instead of ids; an id without a name is a problem.

    Args:
        labelled: The video; a class that is one of the names already is kept. `c092`, `092` and
            `92` are the same id.
        names: See `read_class_names`.
    """

    def named(span: Span) -> Span:
        if span.problem or not span.label or span.label in names.values():
            return span
        if name := names.get(_number(span.label)):
            return dataclasses.replace(span, label=name)
        return dataclasses.replace(span, problem="its class is not in the list of classes")

    return dataclasses.replace(labelled, spans=tuple(map(named, labelled.spans)))


def _number(class_id: str) -> str:
    """Returns the number in an id such as `c092`, or another id as it is."""
    found = _NUMBER.fullmatch(class_id)
    return found[1] if found else class_id
