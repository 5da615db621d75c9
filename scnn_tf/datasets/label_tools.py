"""Reader of the exports of labelling tools: CSV, VIA 3, Label Studio and CVAT.

Each tool's reader returns `LabelledVideo`s as the tool exports them, in seconds or in frames,
including what is invalid, with the reason: `import_labels` turns them into instances and reports
all mistakes at once.
"""

from scnn_tf.datasets.labels.cvat import read_cvat
from scnn_tf.datasets.labels.label_studio import read_label_studio
from scnn_tf.datasets.labels.labelled import LabelledVideo, other_form
from scnn_tf.datasets.labels.table import read_csv
from scnn_tf.datasets.labels.via import read_via
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, as_path, read_json

_TASK = {"annotations", "predictions", "drafts"}  # Keys of a task, which has at least one.


def read_labels(path: PathLike, attribute: str | None = None) -> list[LabelledVideo]:
    """Reads an export of any of the tools, recognized by extension and content.

    Args:
        path: `.csv` or `.tsv`; `.json` of VIA 3 or Label Studio; `.xml` of CVAT.
        attribute: VIA only: the attribute whose values are the classes, if it has several.

    Raises:
        InputError: The file cannot be read or has none of these forms.
    """
    path = as_path(path)
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        return read_csv(path)
    if kind == ".xml":
        return read_cvat(path)
    if kind != ".json":
        raise InputError(
            f"{path}: labels are .csv or .tsv, .json (VIA 3, Label Studio) or .xml (CVAT) files"
        )
    content = read_json(path)
    if isinstance(content, dict) and {"file", "metadata", "attribute"} <= set(content):
        try:
            return read_via(path, content, attribute)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: {other_form('a project of VIA 3', error)}") from error
    tasks = content if isinstance(content, list) else [content]
    if tasks and all(isinstance(t, dict) and "data" in t and _TASK & set(t) for t in tasks):
        return read_label_studio(path, tasks)
    raise InputError(
        f'{path}: expected a project of VIA 3 ("file", "metadata", "attribute") or Label Studio\'s '
        'export as JSON (tasks with "data" and "annotations"; not JSON-MIN)'
    )
