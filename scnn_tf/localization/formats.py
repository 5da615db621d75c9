"""Files of scored segments and of detections: CSV, ActivityNet JSON and THUMOS text.

Numbers are written with all their digits: a result computed from a file equals the result computed
without it. In CSV, a name that a spreadsheet would compute, such as `=1+1`, is written behind an
apostrophe, which reading removes.
"""

import contextlib
import dataclasses
import json
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TextIO

import numpy as np
from absl import logging

from scnn_tf.datasets.class_lists import class_rows
from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    PathLike,
    as_name,
    as_number,
    as_path,
    csv_rows,
    csv_writer,
    encodable,
    quoted_formula,
    read_json,
    read_text,
    text_writer,
    unquoted_formula,
    write_text,
)
from scnn_tf.localization.tables import Detections, RawSegments, TableT

CLASS_LIST = "detclasslist.txt"
"""Name of THUMOS' list of classes, with lines of `id name`."""
_HEADERS = {
    "video": "video",
    "window_frames": "window_frames",
    "start": "start_s",
    "end": "end_s",
    "label": "class",
    "score": "score",
    "action_start": "action_start_s",
    "action_end": "action_end_s",
}


def read_segments(path: PathLike) -> RawSegments:
    """Reads raw scored segments from CSV (`.gz` too) with the columns of `write_segments`.

    Columns may be in any order, and further columns are ignored, as those of the file that the
    paper's authors released.

    Raises:
        InputError: The file or a column is missing, or a value is invalid.
    """
    path = as_path(path)
    return _checked(path, _read_csv(path, RawSegments))


def write_segments(path: PathLike, segments: RawSegments) -> None:
    """Writes CSV, compressed for `.gz`.

    Columns: video, window_frames, start_s and end_s of the window, class, score, action_start_s and
    action_end_s of the action in it.

    Raises:
        InputError: The file cannot be written.
    """
    with segments_writer(path) as write:
        write(segments)


@contextlib.contextmanager
def segments_writer(path: PathLike) -> Iterator[Callable[[RawSegments], None]]:
    """Opens a file like that of `write_segments`, to be written table by table.

    Yields:
        A function that appends the rows of a table. The file appears when the body has ended
        without an error.

    Raises:
        InputError: The file cannot be written.
    """
    with text_writer(path) as file, _csv_form(file, RawSegments) as append:
        yield lambda table: append(_encodable(table))


def read_detections(
    path: PathLike, class_list: Mapping[int, str] | None = None, *, strict: bool = False
) -> Detections:
    """Reads detections in the format that the file's extension names.

    - `.json`: ActivityNet results, `{"results": {video: [{"label", "score", "segment"}]}}`;
    - `.csv`, `.csv.gz`: columns video, start_s, end_s, class, score, and perhaps more;
    - `.txt`, `.txt.gz`: THUMOS, lines of `video start end class_id score`; like the challenge's
      evaluation, `video.mp4` is read as `video`.

    Rows that end before they start, or whose score is NaN, are kept, because evaluation counts them
    as false; the log reports how many.

    Args:
        path: The file.
        class_list: id → class for THUMOS text; None: `detclasslist.txt` next to the file.
        strict: Whether such a row is an error.

    Raises:
        InputError: The file is missing or of another form, a class id is unknown, or, if `strict`,
            a row is no interval with a finite score.

    Example:
        >>> found = scnn_tf.read_detections("found/detections.json")
        >>> best = found.take(found.score > 0.5)
    """
    path = as_path(path)
    extension = _extension(path)
    if extension == ".csv":
        detections = _read_csv(path, Detections)
    elif extension == ".json":
        detections = _read_json(path)
    else:
        detections = _read_thumos(path, class_list)
    if strict:
        return _checked(path, detections)
    if unusable := len(detections) - np.count_nonzero(detections.usable):
        logging.warning(
            "%s: %d of %d detections have no length or no score, and count as false; the first: %s",
            path,
            unusable,
            len(detections),
            _row(detections, int(np.argmin(detections.usable))),
        )
    return detections


def write_detections(
    path: PathLike, detections: Detections, class_list: Mapping[int, str] | None = None
) -> None:
    """Writes detections in the format that the extension names; see `read_detections`.

    THUMOS text has no quotes: a video whose name has a line break, or begins or ends with a space,
    is left out of it, and the log says so.

    Args:
        path: Ends in `.json`, `.csv` or `.txt` (THUMOS); `.csv.gz` and `.txt.gz` are compressed.
        detections: The rows, whose order is kept (JSON: within each video).
        class_list: id → class, needed for THUMOS text only. It is written next to the file as
            `detclasslist.txt`.

    Raises:
        InputError: Another extension, another list of classes next to the file, a class that
            THUMOS text cannot hold, or the file cannot be written.

    Example:
        >>> found = scnn_tf.Detections(["tour"], [12.4], [15.0], ["walk"], [0.87])
        >>> scnn_tf.write_detections("detections.csv", found)
    """
    with detections_writer(path, class_list) as write:
        write(detections)


@contextlib.contextmanager
def detections_writer(
    path: PathLike, class_list: Mapping[int, str] | None = None
) -> Iterator[Callable[[Detections], None]]:
    """Opens a file like that of `write_detections`, to be written table by table.

    Yields:
        A function that appends the rows of a table. All rows of a video must be in one table. The
        file appears when the body has ended without an error.

    Raises:
        InputError: See `write_detections`.
    """
    path = as_path(path)
    check_detections_file(path, class_list)
    extension = _extension(path)
    if extension == ".txt":
        lines = (f"{number} {name}\n" for number, name in class_list.items())
        write_text(path.parent / CLASS_LIST, "".join(lines))
    with text_writer(path) as file:
        if extension == ".csv":
            form = _csv_form(file, Detections)
        elif extension == ".json":
            form = _json_form(file)
        else:
            form = _thumos_form(file, path, class_list)
        with form as append:
            yield lambda table: append(_encodable(table))


def check_detections_file(path: PathLike, class_list: Mapping[int, str] | None = None) -> None:
    """Raises the errors of `write_detections` about a file's name, before hours of work.

    Raises:
        InputError: Another extension, another list of classes next to the file, or a class that
            THUMOS text cannot hold.
    """
    path = as_path(path)
    if _extension(path) != ".txt":
        return
    if class_list is None:
        raise ValueError(f"class_list must be given to write THUMOS text. Received path={path}")
    for name in class_list.values():
        if not _fits_thumos(name):
            raise InputError(
                f"{path}: expected classes on one line, as THUMOS text requires. "
                f"Received: {name!r}; write .json or .csv"
            )
    present = path.parent / CLASS_LIST
    if present.is_file() and read_class_list(present) != dict(class_list):
        raise InputError(f"{present}: it lists other classes; write {path.name} to another folder")


def read_class_list(path: PathLike) -> dict[int, str]:
    """Reads THUMOS' list of classes, lines of `id name` with numbers as ids.

    Raises:
        InputError: The file is missing or of another form, or an id occurs twice.
    """
    classes: dict[int, str] = {}
    for number, text, name in class_rows(path):
        try:
            class_id = int(text)
        except ValueError:
            raise InputError(
                f"{path}, line {number}: expected `id name`. Received: {f'{text} {name}'!r}"
            ) from None
        if class_id in classes:
            raise InputError(f"{path}, line {number}: id {class_id} occurs twice; remove one line")
        classes[class_id] = name
    return classes


def find_class_list(
    named: PathLike | None, detections: PathLike, ground_truth: PathLike | None
) -> dict[int, str] | None:
    """Reads the list of classes that THUMOS text needs; None for other forms, or without any.

    Args:
        named: File of the list; None: search for a `detclasslist.txt`.
        detections: File of detections; the list may be next to it.
        ground_truth: File or folder; the list may be in it or next to it. None: there is none.

    Raises:
        InputError: The list cannot be read.
    """
    if named:
        return read_class_list(named)
    detections = as_path(detections)
    if _extension(detections) != ".txt":
        return None
    folders = [detections.parent]
    if ground_truth is not None:
        truth = as_path(ground_truth)
        if isinstance(truth, Path):
            truth = truth.absolute()  # a folder may be "."
        folders += [truth, truth.parent]
    for folder in folders:
        if (folder / CLASS_LIST).is_file():
            return read_class_list(folder / CLASS_LIST)
    return None


def _extension(path: AnyPath) -> str:
    """Returns the extension that names the format of a file of detections."""
    extension = Path(path.name.removesuffix(".gz")).suffix.lower()
    if extension not in {".json", ".csv", ".txt"} or (
        extension == ".json" and path.suffix == ".gz"
    ):
        raise InputError(
            f"{path}: detections are .json, .csv, .csv.gz, .txt or .txt.gz (THUMOS) files"
        )
    return extension


@contextlib.contextmanager
def _csv_form(file: TextIO, kind: type[TableT]) -> Iterator[Callable[[TableT], None]]:
    """Writes a header, then rows. Python writes floats with the digits that read back exactly."""
    write_row = csv_writer(file)
    write_row(_HEADERS[f.name] for f in fields(kind))

    def append(table: TableT) -> None:
        for row in table.rows():
            write_row(quoted_formula(v) if isinstance(v, str) else v for v in row)

    yield append


@contextlib.contextmanager
def _json_form(file: TextIO) -> Iterator[Callable[[Detections], None]]:
    """Writes ActivityNet's results, one detection a line."""
    file.write('{"version": "1", "external_data": {}, "results": {')
    comma = ""

    def append(table: Detections) -> None:
        nonlocal comma
        results: dict[str, list[str]] = {}
        for video, label, start, end, score in table:
            item = {"label": label, "score": score, "segment": [start, end]}
            results.setdefault(video, []).append(json.dumps(item))
        for video, items in results.items():
            file.write(f"{comma}\n{json.dumps(video)}: [\n " + ",\n ".join(items) + "\n]")
            comma = ","

    yield append
    file.write("\n}}\n")


@contextlib.contextmanager
def _thumos_form(
    file: TextIO, path: AnyPath, class_list: Mapping[int, str]
) -> Iterator[Callable[[Detections], None]]:
    """Writes lines of `video start end class_id score`."""
    ids = {label: number for number, label in class_list.items()}
    unfit: list[str] = []

    def append(table: Detections) -> None:
        missing = sorted(set(table.label.tolist()) - set(ids))
        if missing:
            raise InputError(f"{path}: the list of classes has no id for {', '.join(missing)}")
        for video, label, start, end, score in table:
            if _fits_thumos(video):
                file.write(f"{video} {start} {end} {ids[label]} {score}\n")
            else:
                unfit.append(video)

    yield append
    if unfit:
        logging.warning(
            "%s: left out %d detections of %d video(s) such as %r, whose names THUMOS text cannot "
            "hold; write .json or .csv",
            path,
            len(unfit),
            len(set(unfit)),
            unfit[0],
        )


def _fits_thumos(name: str) -> bool:
    """Returns whether a name can be read again in a line of THUMOS text."""
    return name.splitlines() == [name.strip()]


def _encodable(table: TableT) -> TableT:
    """Returns the table with bytes of a file's name that are no UTF-8 written as escapes."""
    names = {
        name: [encodable(text) for text in column.tolist()]
        for name, column in vars(table).items()
        if column.dtype.kind == "U"
    }
    return dataclasses.replace(table, **names)


def _read_csv(path: AnyPath, kind: type[TableT]) -> TableT:
    lines = csv_rows(path, read_text(path))
    header = next(lines, (0, []))[1]
    absent = [f for f in fields(kind) if _HEADERS[f.name] not in header]
    missing = [_HEADERS[f.name] for f in absent if f.default is MISSING]
    if missing:
        raise InputError(f"{path}: its first line lacks the column {', '.join(missing)}")
    present = [f for f in fields(kind) if f not in absent]
    columns = {f.name: [] for f in present}
    places = {f.name: header.index(_HEADERS[f.name]) for f in present}
    converters = {str: unquoted_formula, np.float64: as_number, np.int64: int}
    convert = {f.name: converters[f.metadata["dtype"]] for f in present}
    for number, row in lines:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {number}: expected {len(header)} values. Received: {len(row)}"
            )
        for name, place in places.items():
            try:
                columns[name].append(convert[name](row[place]))
            except ValueError:
                raise InputError(
                    f"{path}, line {number}, column {_HEADERS[name]}: expected a number. "
                    f"Received: {row[place]!r}"
                ) from None
    return kind(**columns)


def _read_json(path: AnyPath) -> Detections:
    content = read_json(path)
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise InputError(f'{path}: expected ActivityNet results, an object with "results"')
    rows = []
    for video, items in results.items():
        for number, item in enumerate(items if isinstance(items, list) else [items], start=1):
            try:
                if not isinstance(item["segment"], list):
                    raise TypeError
                start, end = map(as_number, item["segment"])
                rows.append((video, start, end, as_name(item["label"]), as_number(item["score"])))
            except (TypeError, ValueError, KeyError):
                raise InputError(
                    f'{path}: video {video!r}: expected a list of {{"label", "score", "segment": '
                    f"[start, end]}}. Received as number {number}: {reprlib.repr(item)}"
                ) from None
    return _detections(rows)


def _read_thumos(path: AnyPath, class_list: Mapping[int, str] | None) -> Detections:
    if class_list is None:
        if not (path.parent / CLASS_LIST).is_file():
            raise InputError(
                f"{path}: its class ids need a list of classes, lines of `id name`; name one with "
                f"--class_list, or put it next to the file as {CLASS_LIST}"
            )
        class_list = read_class_list(path.parent / CLASS_LIST)
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            video, start, end, class_id, score = line.rsplit(maxsplit=4)
            times = as_number(start), as_number(end)
            row = (video.removesuffix(".mp4"), *times, int(class_id), as_number(score))
        except ValueError:
            raise InputError(
                f"{path}, line {number}: expected `video start end class_id score`. "
                f"Received: {line.strip()!r}"
            ) from None
        if row[3] not in class_list:
            raise InputError(
                f"{path}, line {number}: class id {class_id} is not in the list of classes "
                f"({', '.join(map(str, sorted(class_list)))})"
            )
        rows.append((*row[:3], class_list[row[3]], row[4]))
    return _detections(rows)


def _detections(rows: list[tuple[str, float, float, str, float]]) -> Detections:
    """Returns a table of (video, start, end, label, score)."""
    return Detections(*(zip(*rows, strict=True) if rows else [()] * 5))


def _row(table: TableT, row: int) -> str:
    """Describes a row by its number, video, times and score."""
    return (
        f"row {row + 1} of video {table.video[row].item()!r}, {table.start[row]:g} to "
        f"{table.end[row]:g} s, score {table.score[row]:g}"
    )


def _checked(path: AnyPath, table: TableT) -> TableT:
    """Returns the table if all rows are intervals with a finite score."""
    good = (table.end > table.start) & np.isfinite(table.end - table.start)
    good &= np.isfinite(table.score)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{path}: row {row + 1} of video {table.video[row].item()!r} must end after its start "
            f"and have a finite score. Received: {table.start[row]:g} to {table.end[row]:g} s, "
            f"score {table.score[row]:g}"
        )
    return table
