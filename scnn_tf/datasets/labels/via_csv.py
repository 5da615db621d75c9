"""Reader of the two tables that VIA 3 exports, as `via.read_via` reads its projects."""

import re
from collections.abc import Iterable, Mapping, Sequence

from absl import logging

from scnn_tf.datasets.labels.labelled import LabelledVideo, other_form, time_of
from scnn_tf.datasets.labels.table import Table
from scnn_tf.datasets.labels.via import SEGMENT, read_via
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, parse_json

_HEADER = re.compile(r"^# *CSV_HEADER *= *(.*?)\s*$", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^# *ATTRIBUTE *= *(.*)$", re.MULTILINE)
_ALL = "metadata_id file_list flags temporal_coordinates spatial_coordinates metadata".split()
_SEGMENTS = "metadata_id file_list temporal_segment_start temporal_segment_end metadata".split()
_WRAPPED = re.compile(r"\{([\[{].*[\]}])\}")  # The first versions put braces around each value.


def is_via_csv(text: str) -> bool:
    """Returns whether a text is one of VIA's tables, by a comment with the names of its columns."""
    return text.startswith("#") and _HEADER.search(text) is not None


def read_via_csv(
    path: AnyPath, text: str, table: Table, attribute: str | None
) -> list[LabelledVideo]:
    """Reads the table of all metadata, or that of temporal segments.

    The second one has the names of attributes instead of their definitions, and the numbers of
    options instead of the options.

    Args:
        path: The file.
        text: Its text; the comments above the rows say how to read them.
        table: Its rows.
        attribute: See `via.read_via`.

    Raises:
        InputError: Other columns than VIA writes, or the attribute is ambiguous.
    """
    names = [name.strip() for name in _HEADER.search(text)[1].split(",")]
    if names not in (_ALL, _SEGMENTS):
        raise InputError(
            f"{path}: expected the columns {','.join(_ALL)} or {','.join(_SEGMENTS)}. Found: "
            f"{','.join(names)}; export it again with VIA 3"
        )
    files: dict[str, dict] = {}
    metadata, unusable = {}, []
    for line, row in table.rows:
        if row[0].startswith("#"):
            continue
        try:
            file, entry = _entry(path, names, row)
            metadata[f"{row[0]} in line {line}"] = entry
        except (AttributeError, IndexError, InputError, KeyError, TypeError, ValueError) as error:
            problem = f"line {line}: {other_form('a row of VIA 3', error)}"
            unusable.append(LabelledVideo("", problem=problem))
            continue
        files[file] = {"fname": file, "src": ""}
    if names == _ALL:
        found = _ATTRIBUTE.search(text)
        attributes = parse_json(path, found[1]) if found else {}
    else:
        attributes = _named_attributes(path, metadata.values())
    project = {
        "attribute": attributes,
        "file": files,
        "view": {file: {"fid_list": [file]} for file in files},
        "metadata": metadata,
    }
    return [*unusable, *read_via(path, project, attribute)]


def _entry(path: AnyPath, names: Sequence[str], row: Sequence[str]) -> tuple[str, dict]:
    """Returns the file of a row, and its entry in the form of a project's `metadata`.

    Raises:
        InputError, IndexError, KeyError, TypeError or ValueError: The row has another form.
    """
    values = dict(zip(names, row, strict=True))
    file = _value(path, values["file_list"])[0]
    attributes = _value(path, values["metadata"])
    if names == _ALL:
        times = _value(path, values["temporal_coordinates"])
        region = _value(path, values["spatial_coordinates"])
    else:
        given = values["temporal_segment_start"], values["temporal_segment_end"]
        times = [time_of(text) for text in given if text]
        # A picture, or a region of one, has no end; nor does this table say which it is.
        attributes, region = (attributes if len(times) == 2 else {}), []
    return str(file), {"vid": str(file), "z": list(times), "xy": region, "av": dict(attributes)}


def _value(path: AnyPath, text: str) -> object:
    """Returns the value of a field, which is JSON."""
    wrapped = _WRAPPED.fullmatch(text)
    return parse_json(path, wrapped[1] if wrapped else text)


def _named_attributes(path: AnyPath, entries: Iterable[Mapping]) -> dict[str, dict]:
    """Returns the attributes of temporal segments, of which only names are known.

    A warning says so if classes are mere numbers of options.
    """
    values = [item for entry in entries for item in entry["av"].items()]
    if values and all(isinstance(value, str) and value.isdecimal() for _, value in values):
        logging.warning(
            "%s: the classes are the numbers of options, such as %s, because this table does not "
            "name them; save the project (JSON) for their names",
            path,
            values[0][1],
        )
    return {name: {"aname": name, "anchor_id": SEGMENT} for name, _ in values}
