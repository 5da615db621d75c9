"""Files of scored segments and of detections: CSV, ActivityNet JSON and THUMOS text.

Numbers are written with all their digits: whatever is computed from a file equals what would have
been computed without it.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, csv_rows, read_json, read_text, write_lines, write_text
from scnn_tf.localization.tables import Detections, RawSegments, TableT

CLASS_LIST = "detclasslist.txt"
"""Name that THUMOS gives to its list of classes, lines of `id name`."""
_HEADERS = {
    "video": "video",
    "window_frames": "window_frames",
    "start": "start_s",
    "end": "end_s",
    "label": "class",
    "score": "score",
}


def read_segments(path: str | Path) -> RawSegments:
    """Reads raw scored segments: CSV (`.gz` too), columns as `write_segments` names them.

    More columns may be there, in any order, as in the file that the paper's authors released.

    Raises:
        InputError: no such file, a column missing, or a value that is none.
    """
    return _read_csv(as_path(path), RawSegments)


def write_segments(path: str | Path, tables: Iterable[RawSegments]) -> None:
    """Writes CSV: video, window_frames, start_s, end_s, class, score; compressed for `.gz`.

    Args:
        path: the file.
        tables: whose rows follow each other; taken one after another, so that there may be more
            of them than memory holds.
    """
    write_lines(path, _csv_lines(RawSegments, tables))


def read_detections(path: str | Path, class_list: Mapping[int, str] | None = None) -> Detections:
    """Reads detections; the extension says how.

    - `.json`: ActivityNet results, `{"results": {video: [{"label", "score", "segment"}]}}`;
    - `.csv`, `.csv.gz`: columns video, start_s, end_s, class, score, perhaps more;
    - `.txt`, `.txt.gz`: THUMOS, lines of `video start end class_id score`.

    Args:
        path: the file.
        class_list: id → class for THUMOS text. None takes `detclasslist.txt` beside the file.

    Raises:
        InputError: no such file, not of that form, or an id without a class.
    """
    path = as_path(path)
    kind = _kind(path)
    if kind == ".csv":
        return _read_csv(path, Detections)
    if kind == ".json":
        return _read_json(path)
    if class_list is None:
        if not (path.parent / CLASS_LIST).is_file():
            raise InputError(
                f"{path}: its class ids need a list of classes, lines of `id name`: give one "
                f"(--class_list), or put it beside the file as {CLASS_LIST}"
            )
        class_list = read_class_list(path.parent / CLASS_LIST)
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            video, start, end, class_id, score = line.rsplit(maxsplit=4)
            row = (video, float(start), float(end), int(class_id), float(score))
        except ValueError:
            raise InputError(
                f"{path}, line {number}: expected `video start end class_id score`; "
                f"received {line.strip()!r}"
            ) from None
        if row[3] not in class_list:
            raise InputError(
                f"{path}, line {number}: class id {class_id} is not in the list of classes "
                f"({', '.join(map(str, sorted(class_list)))})"
            )
        rows.append((*row[:3], class_list[row[3]], row[4]))
    return _checked(path, Detections(*(zip(*rows, strict=True) if rows else [()] * 5)))


def write_detections(
    path: str | Path,
    tables: Iterable[Detections],
    class_list: Mapping[int, str] | None = None,
) -> None:
    """Writes detections in the form that the extension names, as `read_detections` reads them.

    Args:
        path: ends in `.json`, `.csv` or `.txt` (THUMOS), the last two perhaps with `.gz`.
        tables: whose rows follow each other (JSON: within each video, and a video must be in one
            table only); taken one after another, as in `write_segments`.
        class_list: id → class, needed for THUMOS text only. It is written beside the file as
            `detclasslist.txt`.

    Raises:
        InputError: another extension, or another list of classes beside it.
    """
    path = as_path(path)
    check_detections_file(path, class_list)
    kind = _kind(path)
    if kind == ".csv":
        return write_lines(path, _csv_lines(Detections, tables))
    if kind == ".json":
        return write_lines(path, _json_lines(tables))
    write_text(
        path.parent / CLASS_LIST,
        "".join(f"{number} {name}\n" for number, name in class_list.items()),
    )
    return write_lines(path, _thumos_lines(path, tables, class_list))


def check_detections_file(path: str | Path, class_list: Mapping[int, str] | None = None) -> None:
    """Raises what `write_detections` would raise of a file's name, before hours of work.

    Raises:
        InputError: another extension, or another list of classes beside it.
    """
    path = as_path(path)
    if _kind(path) != ".txt":
        return
    if class_list is None:
        raise ValueError(f"class_list must be given to write THUMOS text. Received path={path}")
    beside = path.parent / CLASS_LIST
    if beside.is_file() and read_class_list(beside) != dict(class_list):
        raise InputError(f"{beside}: it lists other classes; write {path.name} elsewhere")


def read_class_list(path: str | Path) -> dict[int, str]:
    """Reads THUMOS' list of classes, lines of `id name`.

    Raises:
        InputError: no such file, another form, or an id twice.
    """
    classes: dict[int, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            class_id, name = line.split(maxsplit=1)
            class_id = int(class_id)
        except ValueError:
            raise InputError(
                f"{path}, line {number}: expected `id name`; received {line.strip()!r}"
            ) from None
        if class_id in classes:
            raise InputError(f"{path}, line {number}: id {class_id} stands twice; keep one")
        classes[class_id] = name.strip()
    return classes


def find_class_list(
    named: str | Path | None, detections: str | Path, ground_truth: str | Path
) -> dict[int, str] | None:
    """Reads the list of classes that is named, or the `detclasslist.txt` that is found, if any.

    Args:
        named: its file; None: look for one.
        detections: their file; it may stand beside it.
        ground_truth: a file or folder; it may stand in or above it.

    Raises:
        InputError: it cannot be read.
    """
    if named:
        return read_class_list(named)
    truth = as_path(ground_truth)
    if isinstance(truth, Path):
        truth = truth.absolute()  # a folder may be "."
    for folder in (as_path(detections).parent, truth, truth.parent):
        if (folder / CLASS_LIST).is_file():
            return read_class_list(folder / CLASS_LIST)
    return None


def _kind(path: Path) -> str:
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind not in {".json", ".csv", ".txt"} or (kind == ".json" and path.suffix == ".gz"):
        raise InputError(
            f"{path}: detections are .json, .csv, .csv.gz, .txt or .txt.gz (THUMOS) files"
        )
    return kind


def _csv_lines(kind: type[TableT], tables: Iterable[TableT]) -> Iterator[str]:
    """The header, then all rows of a table at a time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_HEADERS[f.name] for f in fields(kind)])
    yield text.getvalue()
    for table in tables:
        text.seek(0)
        text.truncate()
        # Python's floats are written with all the digits it takes to read them back.
        writer.writerows(table.rows())
        yield text.getvalue()


def _json_lines(tables: Iterable[Detections]) -> Iterator[str]:
    """ActivityNet's results, a detection a line."""
    yield '{"version": "1", "external_data": {}, "results": {'
    comma = ""
    for table in tables:
        results: dict[str, list[str]] = {}
        for video, start, end, label, score in table.rows():
            item = {"label": label, "score": score, "segment": [start, end]}
            results.setdefault(video, []).append(json.dumps(item))
        for video, items in results.items():
            yield f"{comma}\n{json.dumps(video)}: [\n " + ",\n ".join(items) + "\n]"
            comma = ","
    yield "\n}}\n"


def _thumos_lines(
    path: Path, tables: Iterable[Detections], class_list: Mapping[int, str]
) -> Iterator[str]:
    ids = {label: number for number, label in class_list.items()}
    for table in tables:
        missing = sorted(set(table.label.tolist()) - set(ids))
        if missing:
            raise InputError(f"{path}: the list of classes has no id for {', '.join(missing)}")
        for video, start, end, label, score in table.rows():
            yield f"{video} {start} {end} {ids[label]} {score}\n"


def _read_csv(path: Path, kind: type[TableT]) -> TableT:
    lines = csv_rows(path, read_text(path))
    header = next(lines, (0, []))[1]
    missing = [_HEADERS[f.name] for f in fields(kind) if _HEADERS[f.name] not in header]
    if missing:
        raise InputError(f"{path}: its first line names no column {', '.join(missing)}")
    rows = []
    for number, row in lines:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {number}: expected {len(header)} values, received {len(row)}"
            )
        rows.append(row)
    columns = {}
    for f in fields(kind):
        position = header.index(_HEADERS[f.name])
        values = [row[position] for row in rows]
        try:
            columns[f.name] = np.array(values, dtype=str).astype(f.metadata["dtype"])
        except ValueError as error:
            raise InputError(f"{path}, column {_HEADERS[f.name]}: {error}") from None
    return _checked(path, kind(**columns))


def _read_json(path: Path) -> Detections:
    content = read_json(path)
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise InputError(f'{path}: no ActivityNet results, it has no object "results"')
    rows = []
    for video, items in results.items():
        try:
            for item in items:
                start, end = item["segment"]
                label, score = str(item["label"]), float(item["score"])
                rows.append((video, float(start), float(end), label, score))
        except (TypeError, ValueError, KeyError):
            raise InputError(
                f'{path}: video {video!r}: expected a list of {{"label", "score", "segment": '
                "[start, end]}"
            ) from None
    return _checked(path, Detections(*(zip(*rows, strict=True) if rows else [()] * 5)))


def _checked(path: Path, table: TableT) -> TableT:
    """The table, unless a row is no interval or has no score; a NaN fails the comparison."""
    good = (table.end > table.start) & np.isfinite(table.end - table.start)
    good &= np.isfinite(table.score)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{path}: row {row + 1} of video '{table.video[row]}' must end after its start and "
            f"have a finite score; received {table.start[row]:g} to {table.end[row]:g} s, "
            f"score {table.score[row]:g}"
        )
    return table
