"""Reader of labels in any form: tables, exports of labelling tools, and files of data sets.

Each form's reader returns `LabelledVideo`s as the tool exports them, in seconds or in frames,
including what is invalid, with the reason: `import_labels` turns them into instances and reports
all mistakes at once.
"""

from xml.etree import ElementTree

from scnn_tf.datasets.activitynet import is_data_set, read_as_labels
from scnn_tf.datasets.labels.boris import is_boris, read_boris
from scnn_tf.datasets.labels.boris_table import is_boris_table, read_boris_table
from scnn_tf.datasets.labels.charades import is_charades, read_charades
from scnn_tf.datasets.labels.createml import is_createml, read_createml
from scnn_tf.datasets.labels.cvat import read_cvat
from scnn_tf.datasets.labels.elan import read_elan
from scnn_tf.datasets.labels.epic import is_epic, is_epic_videos, read_epic, read_epic_videos
from scnn_tf.datasets.labels.label_studio import is_label_studio, read_label_studio
from scnn_tf.datasets.labels.labelled import LabelledVideo, other_form
from scnn_tf.datasets.labels.osl import is_osl, read_osl
from scnn_tf.datasets.labels.soccernet import is_soccernet, read_soccernet
from scnn_tf.datasets.labels.subtitles import is_subtitles, read_subtitles
from scnn_tf.datasets.labels.table import read_table, rows_of
from scnn_tf.datasets.labels.via import is_via, read_via
from scnn_tf.datasets.labels.via_csv import is_via_csv, read_via_csv
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path, parse_json, read_text


def read_labels(path: PathLike, attribute: str | None = None) -> list[LabelledVideo]:
    """Reads labels of any form, recognized by content.

    Args:
        path: A table; an export of VIA 3, Label Studio, CVAT, ELAN, BORIS or Create ML; points of
            SoccerNet or OSL JSON; subtitles; a table of EPIC-Kitchens, Charades or Kinetics; or any
            JSON that `read_annotations` reads, such as MultiTHUMOS'.
        attribute: What has the classes, where a form leaves it open: the attribute of VIA, the tier
            of ELAN or a type of its tiers (or `elan.BY_TIER`), the head of OSL JSON, columns of
            EPIC-Kitchens. None: the only one.

    Raises:
        InputError: The file cannot be read or has none of these forms.
    """
    path = as_path(path)
    text = read_text(path)
    first = text.lstrip()[:1]
    try:
        if first == "<":
            return _read_xml(path, text, attribute)
        if first in ("{", "["):
            return _read_json(path, text, attribute)
        if is_subtitles(text):
            return read_subtitles(path, text)
        return _read_rows(path, text, attribute)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        form = other_form("an export of a labelling tool", error)
        raise InputError(f"{path}: {form}") from error


def _read_xml(path: AnyPath, text: str, attribute: str | None) -> list[LabelledVideo]:
    """Reads CVAT's or ELAN's XML."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: no valid XML ({error})") from error
    if root.tag == "ANNOTATION_DOCUMENT":
        return read_elan(path, root, attribute)
    if root.tag == "annotations" and root.find("meta") is not None:
        return read_cvat(path, root)
    raise InputError(
        f'{path}: expected an export of CVAT ("annotations" with a "meta") or ELAN '
        f'("ANNOTATION_DOCUMENT"). Found: {root.tag!r:.60}'
    )


def _read_json(path: AnyPath, text: str, attribute: str | None) -> list[LabelledVideo]:
    """Reads the JSON of any form."""
    content = parse_json(path, text)
    if is_via(content):
        return read_via(path, content, attribute)
    if is_boris(content):
        return read_boris(path, content)
    if is_soccernet(content):
        return read_soccernet(path, content)
    if is_osl(content):
        return read_osl(path, content, attribute)
    if is_createml(content):
        return read_createml(content)
    if is_data_set(content):
        return read_as_labels(path)
    tasks = content if isinstance(content, list) else [content]
    if is_label_studio(tasks):
        return read_label_studio(path, tasks)
    raise InputError(
        f'{path}: expected a project of VIA 3 ("file", "metadata", "attribute") or BORIS '
        '("observations", "behaviors_conf"), Label Studio\'s export as JSON (tasks with "data" and '
        '"annotations"; not JSON-MIN), SoccerNet\'s "annotations", OSL JSON\'s "data", a list '
        'with "video", "label", "start" and "end", or annotations of a data set ("database")'
    )


def _read_rows(path: AnyPath, text: str, attribute: str | None) -> list[LabelledVideo]:
    """Reads a table of any form."""
    table = rows_of(path, text)
    if is_via_csv(text):
        return read_via_csv(path, text, table, attribute)
    if is_boris_table(table):
        return read_boris_table(path, table)
    if is_epic(table):
        return read_epic(path, table, attribute)
    if is_epic_videos(table):
        return read_epic_videos(table)
    if is_charades(table):
        return read_charades(path, table)
    return read_table(path, table)
