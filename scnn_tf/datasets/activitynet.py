"""Reader of the JSON of data sets: ActivityNet's form, its relatives, and MultiTHUMOS' form.

ActivityNet, HACS Segments, FineAction, THUMOS'14 as R-C3D and others have it, and the project's own
annotations: `{"database": {id: {"subset", "duration", "annotations": [{"label", "segment"}]}}}`.
Kinetics and MMAction2 leave out "database". MultiTHUMOS and Charades, as their papers' code has
them: `{id: {"subset", "duration", "actions": [[class, start, end]]}}`, with numbers as classes.
"""

import math
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from absl import logging

from scnn_tf.datasets.annotations import (
    Instance,
    VideoAnnotation,
    canonical_subset,
    subset_in_name,
)
from scnn_tf.datasets.faults import Faults, in_subset_of, no_action
from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, shown
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_name, as_number, as_path, read_json


def read_activitynet(
    path: PathLike,
    subset: str | None = None,
    *,
    strict: bool = False,
    labelled_only: bool = True,
) -> dict[str, VideoAnnotation]:
    """Reads the JSON of a data set; ActivityNet's is what the project itself writes.

    `{"database": {id: {"subset", "duration", "fps", "file", "trimmed", "annotations":
    [{"label", "segment": [start, end]}]}}}` in seconds; `duration`, `fps`, `file` and `trimmed`
    may be missing, and further keys, such as `taxonomy`, are ignored. Numbers may be text. An only
    annotation without a list is Kinetics': its times are those of the whole video, the duration is
    that of the clip, and is not taken. In a trimmed video, an `end` of null is the video's end.
    "database" may be left out, `duration_second` stand for `duration`, and `"actions":
    [[class, start, end]]` for `annotations`; a number is a class of that name.

    Where no video has a "subset", it is the one that the file's name states
    (`action_test_anno.json`), or else the one that is asked for.

    A video is unlabelled if it has no `annotations`, or if those of all videos of its subset are
    empty, like in ActivityNet's `testing`. Of other videos, an empty list means that there is no
    action. The log counts the unlabelled videos that are left out. It lists the rows that cannot be
    read; a video without any other row is left out with them.

    Args:
        path: The file.
        subset: See `formats.read_annotations`; of the other videos, not even the form is checked.
        strict: See `formats.read_annotations`.
        labelled_only: Whether to leave out unlabelled videos; else they are without instances.

    Returns:
        video id → annotation, in file order.

    Raises:
        InputError: Another form, a video id that occurs twice, no such subset, a subset without a
            labelled video or a readable one, or, if `strict`, a row that cannot be read, or an
            instance without a length or before the start.
    """
    path = as_path(path)
    faults = Faults(path)
    videos, unlabelled = _read(path, subset, faults)
    faults.report(strict, nothing_else=not videos)
    if unlabelled and labelled_only:
        names = ", ".join(sorted({videos[key].subset for key in unlabelled}))
        what = f"{len(unlabelled)} unlabelled video(s), without annotations ({names})"
        if len(unlabelled) == len(videos):
            raise no_action(path, subset, what)
        logging.warning("%s: left out %s, such as %s", path, what, min(unlabelled))
        videos = {key: video for key, video in videos.items() if key not in unlabelled}
    return videos


def read_as_labels(path: AnyPath) -> list[LabelledVideo]:
    """Reads the JSON of a data set for `import_labels`, with a problem for each unreadable row.

    Raises:
        InputError: See `read_activitynet`.
    """
    faults = Faults(path)
    videos, unlabelled = _read(path, None, faults)
    return [LabelledVideo("", problem=sentence) for sentence in faults.unreadable] + [
        LabelledVideo(
            video.file or key,
            tuple(
                Span(i.label, i.start, i.end, f"{shown((i.start, i.end))} s")
                for i in video.instances
            ),
            subset=video.subset,
            duration=video.duration,
            labelled=key not in unlabelled,
        )
        for key, video in videos.items()
    ]


def is_data_set(content: object) -> bool:
    """Returns whether the content of a JSON file has one of the forms of `read_activitynet`."""
    return bool(_database(content))


class _Form(NamedTuple):
    """A form in which a video has its instances.

    Attributes:
        key: Key of the list of instances.
        parts: Returns class, start and end of an instance; raises a KeyError, TypeError or
            ValueError where it has another form.
        expected: Description of an instance.
    """

    key: str
    parts: Callable[[object], tuple[object, object, object]]
    expected: str


def _of_segment(item: Mapping) -> tuple[object, object, object]:
    if not isinstance(item["segment"], list):
        raise TypeError
    start, end = item["segment"]
    return item["label"], start, end


def _of_triple(item: object) -> tuple[object, object, object]:
    if not isinstance(item, list):
        raise TypeError
    label, start, end = item
    return label, start, end


_FORMS = (
    _Form("annotations", _of_segment, '"label" and "segment": [start, end] in seconds'),
    _Form("actions", _of_triple, "[class, start, end], times in seconds"),
)


class _Duplicate(ValueError):
    """A JSON object has a key twice; Python would silently keep the last value."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Duplicate(f"the id or key {twice!r} occurs twice; remove one")
    return result


def _read(
    path: AnyPath, subset: str | None, faults: Faults
) -> tuple[dict[str, VideoAnnotation], set[str]]:
    """Returns the videos of a subset, and the ids of the unlabelled ones among them."""
    try:
        content = read_json(path, _unique)
    except _Duplicate as error:
        raise InputError(f"{path}: {error}") from error
    database = _database(content)
    if database is None:
        raise InputError(
            f'{path}: expected ActivityNet annotations, an object with "database", or videos with '
            '"annotations" or "actions"; for an export of a labelling tool, run import_annotations '
            "first"
        )
    form = next((f for f in _FORMS if any(f.key in e for e in _objects(database))), _FORMS[0])
    subsets = _subsets(path, database, subset, faults)
    headers = {key: VideoAnnotation(key, s, None, None, ()) for key, s in subsets.items()}
    chosen = in_subset_of(path, headers, subset)
    unlabelled = _unlabelled({key: database[key].get(form.key) for key in subsets}, subsets)
    videos = {}
    for key, header in chosen.items():
        if video := _video(key, header.subset, database[key], form, faults):
            videos[key] = video
    return videos, unlabelled & videos.keys()


def _database(content: object) -> Mapping[str, object] | None:
    """Returns the videos by id of a file's content; None: it has another form."""
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("database"), dict):
        return content["database"]
    keys = {form.key for form in _FORMS}
    return content if any(keys & entry.keys() for entry in _objects(content)) else None


def _objects(database: Mapping[str, object]) -> list[dict]:
    return [entry for entry in database.values() if isinstance(entry, dict)]


def _subsets(
    path: AnyPath, database: Mapping[str, object], asked: str | None, faults: Faults
) -> dict[str, str]:
    """Returns the subset of each video; one without is noted, if others have one."""
    default = None
    if not any("subset" in entry for entry in _objects(database)):
        default = subset_in_name(path.name)
        if default is None and asked is not None:
            logging.warning("%s: names no subset, so all of its videos are in %r", path, asked)
        default = default or asked or ""
    subsets = {}
    for key, entry in database.items():
        subset = entry.get("subset", default) if isinstance(entry, dict) else None
        if isinstance(subset, str):
            subsets[key] = subset
        else:
            faults.unreadable.append(f'video {key!r}: expected a "subset", such as "test"')
    return subsets


def _unlabelled(found: Mapping[str, object], subsets: Mapping[str, str]) -> set[str]:
    """Returns the ids of the unlabelled videos; see `read_activitynet`.

    Args:
        found: Video id → its list of instances, or None.
        subsets: Video id → its subset.
    """
    names = {key: canonical_subset(subset) for key, subset in subsets.items()}
    labelled = {names[key] for key, instances in found.items() if instances not in (None, [])}
    return {key for key in found if found[key] is None or names[key] not in labelled}


def _video(
    key: str, subset: str, entry: Mapping, form: _Form, faults: Faults
) -> VideoAnnotation | None:
    """Returns the annotation of a video; None, with the reason noted, if it cannot be read."""
    where = f"video {key!r}"
    file, trimmed = entry.get("file"), entry.get("trimmed", False)
    items, duration = entry.get(form.key), entry.get("duration", entry.get("duration_second"))
    if isinstance(items, dict):  # Kinetics: the only one, whose duration is the clip's.
        items, duration = [items], None
    if not isinstance(file, str | None) or not isinstance(trimmed, bool):
        faults.unreadable.append(f'{where}: "file" must be a path, "trimmed" true or false')
        return None
    if not isinstance(items, list | None):
        faults.unreadable.append(
            f'{where}: expected "{form.key}", a list. Received: {reprlib.repr(items)}'
        )
        return None
    instances = []
    for number, item in enumerate(items or (), start=1):
        where_item = f"{where}, instance {number}"
        try:
            label, start, end = form.parts(item)
            end = math.inf if trimmed and end is None else as_number(end)
            instance = Instance(as_name(label), as_number(start), end)
        except (KeyError, TypeError, ValueError):
            faults.unreadable.append(
                f"{where_item}: expected {form.expected}. Received: {reprlib.repr(item)}"
            )
            continue
        faults.check(where_item, instance, trimmed)
        instances.append(instance)
    if items and not instances:
        return None
    return VideoAnnotation(
        key,
        subset,
        faults.positive(where, "duration", duration),
        faults.positive(where, "fps", entry.get("fps")),
        tuple(instances),
        trimmed,
        file,
    )
