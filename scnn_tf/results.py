"""Tables of scored segments and of detections, and the files that hold them.

A table is a handful of NumPy columns of equal length; row order is kept everywhere, because it
decides between equal scores. Numbers are written with all their digits: whatever is computed
from a file equals what would have been computed without it.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.files import read_text, write_text

BACKGROUND = "Background"
"""Label of a raw segment whose best class is none of the actions."""

CLASS_LIST = "detclasslist.txt"
"""Name that THUMOS gives to its list of classes, lines of `id name`."""


class _Table:
    """Columns of equal length, converted to arrays of the declared kind."""

    def __post_init__(self):
        for f in fields(self):
            column = np.asarray(getattr(self, f.name)).astype(f.metadata["dtype"], copy=False)
            object.__setattr__(self, f.name, column)
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must be of equal length. Received: {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self: "TableT", rows: np.ndarray) -> "TableT":
        """The rows of an index or a mask, as a new table."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


TableT = TypeVar("TableT", bound=_Table)


def _column(dtype: type):
    return field(metadata={"dtype": dtype})


@dataclass(frozen=True, eq=False)
class RawSegments(_Table):
    """What the networks say of every candidate window, before post-processing.

    Attributes:
        video: str [N], video ids.
        window_frames: int [N], length of the window in frames: 16, 32, …, 512.
        start: float64 [N], seconds.
        end: float64 [N], seconds.
        label: str [N], the class of the highest score, or `BACKGROUND`.
        score: float64 [N], that score, without the prior.
    """

    video: np.ndarray = _column(str)
    window_frames: np.ndarray = _column(np.int64)
    start: np.ndarray = _column(np.float64)
    end: np.ndarray = _column(np.float64)
    label: np.ndarray = _column(str)
    score: np.ndarray = _column(np.float64)


@dataclass(frozen=True, eq=False)
class Detections(_Table):
    """Found actions.

    Attributes:
        video: str [N], video ids.
        start: float64 [N], seconds.
        end: float64 [N], seconds.
        label: str [N], classes.
        score: float64 [N], only their order matters.
    """

    video: np.ndarray = _column(str)
    start: np.ndarray = _column(np.float64)
    end: np.ndarray = _column(np.float64)
    label: np.ndarray = _column(str)
    score: np.ndarray = _column(np.float64)


_HEADERS = {
    "video": "video",
    "window_frames": "window_frames",
    "start": "start_s",
    "end": "end_s",
    "label": "class",
    "score": "score",
}


def concatenate(tables: Sequence[TableT]) -> TableT:
    """One table of all rows, in order. `tables` holds at least one, all of the same kind."""
    kind = type(tables[0])
    names = [f.name for f in fields(kind)]
    return kind(**{n: np.concatenate([getattr(t, n) for t in tables]) for n in names})


def read_segments(path: str | Path) -> RawSegments:
    """Reads raw scored segments: CSV (`.gz` too), columns as `write_segments` names them.

    More columns may be there, in any order, as in the file that the paper's authors released.

    Raises:
        InputError: no such file, a column missing, or a value that is none.
    """
    return _read_csv(Path(path), RawSegments)


def write_segments(path: str | Path, segments: RawSegments) -> None:
    """Writes CSV: video, window_frames, start_s, end_s, class, score; compressed for `.gz`."""
    write_text(Path(path), _csv(segments))


def read_detections(
    path: str | Path, class_list: Mapping[int, str] | None = None
) -> Detections:
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
    path = Path(path)
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
    path: str | Path, detections: Detections, class_list: Mapping[int, str] | None = None
) -> None:
    """Writes detections in the form that the extension names, as `read_detections` reads them.

    Args:
        path: ends in `.json`, `.csv` or `.txt` (THUMOS), the last two perhaps with `.gz`.
        detections: row order is kept (JSON: within each video).
        class_list: id → class, needed for THUMOS text only. It is written beside the file as
            `detclasslist.txt`.

    Raises:
        InputError: another extension, or another list of classes beside it.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == ".csv":
        return write_text(path, _csv(detections))
    rows = zip(
        *(getattr(detections, f.name).tolist() for f in fields(detections)), strict=True
    )
    if kind == ".json":
        results: dict[str, list] = {}
        for video, start, end, label, score in rows:
            item = {"label": label, "score": score, "segment": [start, end]}
            results.setdefault(video, []).append(item)
        content = {"version": "1", "results": results, "external_data": {}}
        return write_text(path, json.dumps(content, indent=1) + "\n")
    if class_list is None:
        raise ValueError(f"class_list must be given to write THUMOS text. Received path={path}")
    ids = {label: number for number, label in class_list.items()}
    missing = sorted(set(detections.label.tolist()) - set(ids))
    if missing:
        raise InputError(f"{path}: the list of classes has no id for {', '.join(missing)}")
    beside = path.parent / CLASS_LIST
    if beside.is_file() and read_class_list(beside) != dict(class_list):
        raise InputError(f"{beside}: it lists other classes; write {path.name} elsewhere")
    write_text(beside, "".join(f"{number} {name}\n" for number, name in class_list.items()))
    lines = [f"{video} {s} {e} {ids[label]} {score}\n" for video, s, e, label, score in rows]
    return write_text(path, "".join(lines))


def read_class_list(path: str | Path) -> dict[int, str]:
    """Reads THUMOS' list of classes, lines of `id name`.

    Raises:
        InputError: no such file, another form, or an id twice.
    """
    classes: dict[int, str] = {}
    for number, line in enumerate(read_text(Path(path)).splitlines(), start=1):
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


def _kind(path: Path) -> str:
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind not in {".json", ".csv", ".txt"} or (kind == ".json" and path.suffix == ".gz"):
        raise InputError(
            f"{path}: detections are .json, .csv, .csv.gz, .txt or .txt.gz (THUMOS) files"
        )
    return kind


def _csv(table: _Table) -> str:
    text = io.StringIO()
    names = [f.name for f in fields(table)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_HEADERS[name] for name in names])
    # Python's floats are written with all the digits it takes to read them back.
    writer.writerows(zip(*(getattr(table, name).tolist() for name in names), strict=True))
    return text.getvalue()


def _read_csv(path: Path, kind: type[TableT]) -> TableT:
    reader = csv.reader(io.StringIO(read_text(path)))
    header = next(reader, [])
    missing = [_HEADERS[f.name] for f in fields(kind) if _HEADERS[f.name] not in header]
    if missing:
        raise InputError(f"{path}: its first line names no column {', '.join(missing)}")
    rows = []
    for row in reader:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {reader.line_num}: expected {len(header)} values, "
                f"received {len(row)}"
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
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: no valid JSON, line {error.lineno}: {error.msg}") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise InputError(f'{path}: no ActivityNet results, it has no object "results"')
    rows = []
    for video, items in results.items():
        try:
            for item in items:
                start, end = item["segment"]
                rows.append((video, start, end, str(item["label"]), float(item["score"])))
        except (TypeError, ValueError, KeyError):
            raise InputError(
                f'{path}: video {video!r}: expected a list of {{"label", "score", "segment": '
                "[start, end]}"
            ) from None
    try:
        table = Detections(*(zip(*rows, strict=True) if rows else [()] * 5))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a segment is no pair of seconds ({error})") from error
    return _checked(path, table)


def _checked(path: Path, table: TableT) -> TableT:
    """The table, unless a row is no interval or has no score; a NaN fails the comparison."""
    good = (table.end > table.start) & np.isfinite(table.end - table.start)
    good &= np.isfinite(table.score)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{path}: row {row + 1} of video {table.video[row]!r} must end after its start and "
            f"have a finite score; received {table.start[row]:g} to {table.end[row]:g} s, "
            f"score {table.score[row]:g}"
        )
    return table
