"""Files of annotations: ActivityNet JSON, THUMOS'14 and MEXaction2 text, folders of clips.

The project itself writes ActivityNet's JSON (`read_activitynet`, `write_annotations`).
"""

import contextlib
import json
import math
import reprlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from absl import logging

from scnn_tf.datasets.annotations import (
    Instance,
    VideoAnnotation,
    canonical_subset,
    in_subset,
)
from scnn_tf.datasets.video_files import is_video_name
from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    PathLike,
    as_name,
    as_number,
    as_path,
    read_json,
    read_text,
    write_text,
)

_LABELS = (".csv", ".tsv", ".xml")  # What `import_labels` reads.
_THUMOS_SUFFIX = {"test": "test", "validation": "val", "train": "train"}


def read_annotations(
    path: PathLike, subset: str | None = None, *, strict: bool = False
) -> dict[str, VideoAnnotation]:
    """Reads annotations: ActivityNet JSON, a folder of text, or a folder of clips.

    Instances are kept as they are, because evaluation counts them all; the log counts those without
    a length or before the start, which `scnn_tf.build_shards` leaves out.

    Args:
        path: A JSON file; a folder of `<Class>_test.txt`, `<Class>_val.txt` or
            `<Class>_train.txt` (THUMOS'14, MEXaction2) or the folder above it; or a folder with
            one folder of clips a class.
        subset: Subset of the videos to read; None: all videos. Case is ignored, and `val` equals
            `validation`, `training` equals `train`, `testing` equals `test`.
        strict: Whether an instance without a length or before the start is an error.

    Returns:
        video id → annotation; at least one video has an action.

    Raises:
        InputError: No such file or folder, invalid content, no such subset, or a subset without an
            action.

    Example:
        >>> videos = scnn_tf.read_annotations("annotations.json", subset="train")
        >>> [instance.label for instance in videos["ann"].instances]
        ['left', 'right']
    """
    path = as_path(path)
    if path.suffix.lower() in _LABELS:
        raise InputError(
            f"{path}: expected annotations (.json, or a folder). Received: labels of a spreadsheet "
            "or a labelling tool; run import_annotations first"
        )
    if path.is_file():
        videos = read_activitynet(path, subset, strict=strict)
    elif not path.is_dir():
        raise InputError(f"{path}: no such file or folder of annotations")
    elif present := [s for s in _THUMOS_SUFFIX if _text_folder(path, s)]:
        if subset is not None and canonical_subset(subset) in present:
            present = [canonical_subset(subset)]
        videos = {}
        for each in present:
            mexaction2 = any(_text_folder(path, each).glob("BullChargeCape_*.txt"))
            read = read_mexaction2 if mexaction2 else read_thumos14
            videos |= read(path, each, strict=strict)
        videos = _in_subset(path, videos, subset)
    else:
        videos = _in_subset(path, read_trimmed(path), subset)
    if not any(video.actions for video in videos.values()):
        raise _no_action(path, subset, "none")
    _warn_of_late_ends(path, videos)
    return videos


def read_activitynet(
    path: PathLike,
    subset: str | None = None,
    *,
    strict: bool = False,
    labelled_only: bool = True,
) -> dict[str, VideoAnnotation]:
    """Reads ActivityNet's JSON, which the project itself writes.

    `{"database": {id: {"subset", "duration", "fps", "file", "trimmed", "annotations":
    [{"label", "segment": [start, end]}]}}}` in seconds; `duration`, `fps`, `file` and `trimmed`
    may be missing, and further keys are ignored. Numbers may be text, and an only annotation need
    not be in a list. In a trimmed video, an `end` of null is the video's end.

    A video is unlabelled if it has no `annotations`, or if those of all videos of its subset are
    empty, like in ActivityNet's `testing`. Of other videos, an empty list means that there is no
    action. The log counts the unlabelled videos that are left out.

    Args:
        path: The file.
        subset: See `read_annotations`; of the other videos, not even the form is checked.
        strict: See `read_annotations`.
        labelled_only: Whether to leave out unlabelled videos; else they are without instances.

    Returns:
        video id → annotation, in file order.

    Raises:
        InputError: Another form, a video id that occurs twice, no such subset, a subset without a
            labelled video, or, if `strict`, an instance without a length or before the start.
    """
    path = as_path(path)
    try:
        content = read_json(path, _unique)
    except _Duplicate as error:
        raise InputError(f"{path}: {error}") from error
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        raise InputError(
            f'{path}: expected ActivityNet annotations, an object with "database"; for an export '
            "of a labelling tool, run import_annotations first"
        )
    for key, entry in database.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("subset"), str):
            raise InputError(f'{path}: video {key!r}: expected a "subset", such as "test"')
    headers = {k: VideoAnnotation(k, e["subset"], None, None, ()) for k, e in database.items()}
    chosen = _in_subset(path, headers, subset)
    unlabelled = _unlabelled(database) & chosen.keys() if labelled_only else set()
    faults = _Faults(path)
    videos = {k: _video(path, k, database[k], faults) for k in chosen if k not in unlabelled}
    faults.report(strict)
    if unlabelled:
        names = ", ".join(sorted({headers[key].subset for key in unlabelled}))
        what = f"{len(unlabelled)} unlabelled video(s), without annotations ({names})"
        if not videos:
            raise _no_action(path, subset, what)
        logging.warning("%s: left out %s, such as %s", path, what, min(unlabelled))
    return videos


def write_annotations(path: PathLike, videos: Mapping[str, VideoAnnotation]) -> None:
    """Writes annotations as ActivityNet JSON; the file is replaced as a whole.

    Args:
        path: File or URL to write.
        videos: Annotated videos by id.

    Raises:
        InputError: The file cannot be written.

    Example:
        >>> videos = scnn_tf.read_annotations("annotations.json")
        >>> scnn_tf.write_annotations("copy.json", videos)
    """
    database = {}
    for key, video in videos.items():
        entry = {"subset": video.subset, "duration": video.duration, "fps": video.fps}
        if video.file is not None:
            entry["file"] = video.file
        if video.trimmed:
            entry["trimmed"] = True
        entry["annotations"] = [
            {
                "label": i.label,
                "segment": [i.start, None if video.trimmed and i.end == math.inf else i.end],
            }
            for i in video.instances
        ]
        database[key] = {k: value for k, value in entry.items() if value is not None}
    content = {"version": "1", "database": database}
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_thumos14(
    folder: PathLike, subset: str, *, strict: bool = False
) -> dict[str, VideoAnnotation]:
    """Reads the challenge's text: `<Class>_{test,val}.txt` with lines `video start end`.

    THUMOS'14 has no `<Class>_train.txt`; it is read for datasets that have the same form.

    Args:
        folder: Folder of these files, or its parent with
            `temporal_annotations_{test,validation}`. Durations come from
            `<subset>_durations.txt` next to or above the files, if it exists.
        subset: `test`, `validation` or `train`.
        strict: See `read_annotations`.

    Returns:
        video id → annotation, by id. A class's instances keep the order of its file.

    Raises:
        InputError: No such folder or subset, an invalid line, or, if `strict`, an instance without
            a length or before the start.
    """
    folder, subset = as_path(folder), canonical_subset(subset)
    found = _text_folder(folder, subset)
    if found is None:
        present = [s for s in _THUMOS_SUFFIX if _text_folder(folder, s)]
        raise InputError(
            f"{folder}: expected THUMOS'14 text of the subset {subset!r}. "
            f"Found: {' and '.join(present) or 'no <Class>_test.txt or <Class>_val.txt'}"
        )
    instances: dict[str, list[Instance]] = {}
    faults = _Faults(found)
    suffix = f"_{_THUMOS_SUFFIX[subset]}"
    for file in sorted(found.glob(f"*{suffix}.txt")):
        label = file.stem.removesuffix(suffix)
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                video, start, end = line.rsplit(maxsplit=2)
                instance = Instance(label, as_number(start), as_number(end))
            except ValueError:
                raise InputError(
                    f"{file}, line {number}: expected `video start end` (seconds). "
                    f"Received: {line.strip()!r}"
                ) from None
            instances.setdefault(video, []).append(instance)
            faults.check(f"{file.name}, line {number}, video {video}", instance)
    faults.report(strict)
    durations = _durations(found, subset)
    return {
        video: VideoAnnotation(video, subset, durations.get(video), None, tuple(instances[video]))
        for video in sorted(instances)
    }


def read_mexaction2(
    folder: PathLike, subset: str = "test", *, strict: bool = False
) -> dict[str, VideoAnnotation]:
    """Reads MEXaction2 in THUMOS' text form; otherwise the same as `read_thumos14`.

    The set's Ambiguous file is a left-over of THUMOS'14, whose videos are not in MEXaction2, so
    videos without any action are left out.
    """
    videos = read_thumos14(folder, subset, strict=strict)
    return {key: video for key, video in videos.items() if video.actions}


def read_trimmed(folder: PathLike, subset: str = "train") -> dict[str, VideoAnnotation]:
    """Reads a folder with a folder of trimmed clips for each class.

    Nothing is decoded: durations are None and every instance ends at infinity, until `clipped`
    sets the duration.

    Args:
        folder: Holds `<Class>/<clip>.<extension>`.
        subset: Name of the subset.

    Returns:
        video id → annotation, by class and name. The id is the file's name without extension, or
        `<Class>_<file name>` if two files would have the same id; `file` is relative to `folder`.

    Raises:
        InputError: The folder has no clips.
    """
    classes = [path for path in sorted(as_path(folder).iterdir()) if path.is_dir()]
    files = [file for path in classes for file in sorted(path.iterdir())]
    files = [file for file in files if is_video_name(file.name)]
    if not files:
        raise InputError(
            f"{folder}: expected text (<Class>_test.txt, <Class>_val.txt) or a folder of clips "
            "for each class (.mp4, .avi, .mkv, …). Found: neither"
        )
    stems = Counter(f.stem for f in files)
    videos = {}
    for file in files:
        label = file.parent.name
        key = file.stem if stems[file.stem] == 1 else f"{label}_{file.name}"
        instances = (Instance(label, 0.0, math.inf),)
        relative = f"{label}/{file.name}"
        videos[key] = VideoAnnotation(key, subset, None, None, instances, True, relative)
    return videos


class _Duplicate(ValueError):
    """A JSON object has a key twice; Python would silently keep the last value."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Duplicate(f"the id or key {twice!r} occurs twice; remove one")
    return result


class _Faults:
    """Sentences about the rows of a file that evaluation can use, and training cannot."""

    def __init__(self, path: AnyPath):
        self._path = path
        self._instances: list[str] = []
        self._numbers: list[str] = []

    def check(self, where: str, instance: Instance, trimmed: bool = False) -> None:
        """Notes an instance without a length, or before the start."""
        if not instance.is_usable(trimmed):
            self._instances.append(
                f"{where} ({instance.label}): must start at 0 or later and end after its start. "
                f"Received: {instance.start:g} to {instance.end:g} s"
            )

    def positive(self, where: str, name: str, value: object) -> float | None:
        """Returns a positive number, or None, noted unless the file has none."""
        if value is None:
            return None
        with contextlib.suppress(ValueError):
            if 0 < (number := as_number(value)) < math.inf:
                return number if isinstance(value, str) else value
        self._numbers.append(f"{where}: {name} must be above 0. Received: {reprlib.repr(value)}")
        return None

    def report(self, strict: bool) -> None:
        """Logs how many rows were noted, with the first of a kind.

        Raises:
            InputError: `strict`, and there is one.
        """
        if strict and (self._instances or self._numbers):
            first = (self._instances + self._numbers)[0]
            raise InputError(f"{self._path}: {first}; correct or remove it")
        if self._instances:
            logging.warning(
                "%s: %d instance(s) have no length or start before 0; evaluation counts them, and "
                "finds none without a length, training leaves them out; the first: %s",
                self._path,
                len(self._instances),
                self._instances[0],
            )
        if self._numbers:
            logging.warning(
                "%s: %d duration(s) or frame rate(s) count as unknown; the first: %s",
                self._path,
                len(self._numbers),
                self._numbers[0],
            )


def _unlabelled(database: Mapping[str, Mapping]) -> set[str]:
    """Returns the ids of the unlabelled videos; see `read_activitynet`."""
    subsets = {key: canonical_subset(entry["subset"]) for key, entry in database.items()}
    found = {key: entry.get("annotations") for key, entry in database.items()}
    labelled = {subsets[key] for key, annotations in found.items() if annotations not in (None, [])}
    return {key for key in database if found[key] is None or subsets[key] not in labelled}


def _video(path: AnyPath, key: str, entry: Mapping, faults: _Faults) -> VideoAnnotation:
    where = f"video {key!r}"
    file, trimmed = entry.get("file"), entry.get("trimmed", False)
    if not isinstance(file, str | None) or not isinstance(trimmed, bool):
        raise InputError(f'{path}: {where}: "file" must be a path, "trimmed" true or false')
    annotations = entry.get("annotations")
    if annotations is None:
        annotations = []
    if isinstance(annotations, dict):  # Kinetics gives the only one without a list.
        annotations = [annotations]
    if not isinstance(annotations, list):
        raise InputError(
            f'{path}: {where}: expected "annotations", a list. '
            f"Received: {reprlib.repr(annotations)}"
        )
    instances = []
    for number, item in enumerate(annotations, start=1):
        where_item = f"{where}, instance {number}"
        try:
            if not isinstance(item["segment"], list):
                raise TypeError
            start, end = item["segment"]
            if trimmed and end is None:
                end = math.inf
            instance = Instance(as_name(item["label"]), as_number(start), as_number(end))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f'{path}: {where_item}: expected "label" and "segment": [start, end] in seconds. '
                f"Received: {reprlib.repr(item)}"
            ) from None
        faults.check(where_item, instance, trimmed)
        instances.append(instance)
    return VideoAnnotation(
        key,
        entry["subset"],
        faults.positive(where, "duration", entry.get("duration")),
        faults.positive(where, "fps", entry.get("fps")),
        tuple(instances),
        trimmed,
        file,
    )


def _in_subset(
    path: AnyPath, videos: Mapping[str, VideoAnnotation], subset: str | None
) -> dict[str, VideoAnnotation]:
    try:
        return in_subset(videos, subset)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _no_action(path: AnyPath, subset: str | None, found: str) -> InputError:
    where = "" if subset is None else f" in its subset {subset!r}"
    return InputError(f"{path}: expected at least one action{where}. Found: {found}")


def _warn_of_late_ends(path: AnyPath, videos: Mapping[str, VideoAnnotation]) -> None:
    late = [
        key
        for key, video in videos.items()
        for i in video.instances
        if video.duration is not None and video.duration < i.end < math.inf
    ]
    if late:
        logging.warning(
            "%s: %d instance(s) end after their video (the first in %s); evaluation uses them as "
            "they are, training cuts them off",
            path,
            len(late),
            late[0],
        )


def _text_folder(folder: AnyPath, subset: str) -> AnyPath | None:
    """Returns the folder, this one or one inside, that has `<Class>_*.txt` of the subset."""
    suffix = _THUMOS_SUFFIX.get(subset)
    for candidate in (folder, folder / f"temporal_annotations_{subset}"):
        if suffix and any(candidate.glob(f"*_{suffix}.txt")):
            return candidate
    return None


def _durations(folder: AnyPath, subset: str) -> dict[str, float]:
    """Reads the challenge's list of durations: a line with a file name, one with seconds."""
    for candidate in (folder, folder.parent):
        path = candidate / f"{subset}_durations.txt"
        if path.is_file():
            lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
            try:
                return {
                    Path(n).stem: as_number(s) for n, s in zip(lines[::2], lines[1::2], strict=True)
                }
            except ValueError:
                raise InputError(
                    f"{path}: expected a line with a video's name, then a line with its seconds"
                ) from None
    return {}
