"""Files of annotations: ActivityNet JSON, THUMOS'14 and MEXaction2 text, folders of clips.

The project itself writes ActivityNet's JSON (`read_activitynet`, `write_annotations`).
"""

import json
import math
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
from scnn_tf.io.files import AnyPath, PathLike, as_path, read_json, read_text, write_text

_LABELS = (".csv", ".tsv", ".xml")  # What `import_labels` reads.
_THUMOS_SUFFIX = {"test": "test", "validation": "val", "train": "train"}


def read_annotations(
    path: PathLike, subset: str | None = None, unusable: list[str] | None = None
) -> dict[str, VideoAnnotation]:
    """Reads annotations: ActivityNet JSON, a folder of text, or a folder of clips.

    Args:
        path: A JSON file; a folder of `<Class>_test.txt`, `<Class>_val.txt` or
            `<Class>_train.txt` (THUMOS'14, MEXaction2) or the folder above it; or a folder with
            one folder of clips a class.
        subset: Subset of the videos to keep; None: all videos. Case is ignored, and `val` equals
            `validation`, `training` equals `train`, `testing` equals `test`.
        unusable: List to which a sentence is appended for each invalid instance, which is left
            out. None: an invalid instance is an error.

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
        videos = read_activitynet(path, unusable)
    elif not path.is_dir():
        raise InputError(f"{path}: no such file or folder of annotations")
    elif any(_text_folder(path, s) for s in _THUMOS_SUFFIX):
        videos = {}
        for present in (s for s in _THUMOS_SUFFIX if _text_folder(path, s)):
            mexaction2 = any(_text_folder(path, present).glob("BullChargeCape_*.txt"))
            read = read_mexaction2 if mexaction2 else read_thumos14
            videos |= read(path, present, unusable)
    else:
        videos = read_trimmed(path)
    try:
        videos = in_subset(videos, subset)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not any(video.actions for video in videos.values()):
        where = f" in its subset {subset!r}" if subset is not None else ""
        raise InputError(f"{path}: expected at least one action{where}. Found: none")
    _warn_of_late_ends(path, videos)
    return videos


def read_activitynet(
    path: PathLike, unusable: list[str] | None = None
) -> dict[str, VideoAnnotation]:
    """Reads ActivityNet's JSON, which the project itself writes.

    `{"database": {id: {"subset", "duration", "fps", "file", "trimmed", "annotations":
    [{"label", "segment": [start, end]}]}}}` in seconds; `duration`, `fps`, `file` and `trimmed`
    may be missing, and further keys are ignored. In a trimmed video, an `end` of null is the
    video's end. `unusable` is the same as in `read_annotations`.

    Returns:
        video id → annotation, in file order.

    Raises:
        InputError: Another form, a video id that occurs twice, or an invalid instance.
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
    return {key: _video(path, key, entry, unusable) for key, entry in database.items()}


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
            {"label": i.label, "segment": [i.start, i.end if math.isfinite(i.end) else None]}
            for i in video.instances
        ]
        database[key] = {k: value for k, value in entry.items() if value is not None}
    content = {"version": "1", "database": database}
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_thumos14(
    folder: PathLike, subset: str, unusable: list[str] | None = None
) -> dict[str, VideoAnnotation]:
    """Reads the challenge's text: `<Class>_{test,val}.txt` with lines `video start end`.

    THUMOS'14 has no `<Class>_train.txt`; it is read for datasets that have the same form.

    Args:
        folder: Folder of these files, or its parent with
            `temporal_annotations_{test,validation}`. Durations come from
            `<subset>_durations.txt` next to or above the files, if it exists.
        subset: `test`, `validation` or `train`.
        unusable: See `read_annotations`.

    Returns:
        video id → annotation, by id. A class's instances keep the order of its file.

    Raises:
        InputError: No such folder or subset, or an invalid line.
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
    suffix = f"_{_THUMOS_SUFFIX[subset]}"
    for file in sorted(found.glob(f"*{suffix}.txt")):
        label = file.stem.removesuffix(suffix)
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                video, start, end = line.rsplit(maxsplit=2)
                start, end = float(start), float(end)
            except ValueError:
                raise InputError(
                    f"{file}, line {number}: expected `video start end` (seconds). "
                    f"Received: {line.strip()!r}"
                ) from None
            instance = Instance(label, start, end)
            of_video = instances.setdefault(video, [])
            if _usable(f"{file}, line {number}, video {video}", instance, unusable):
                of_video.append(instance)
    durations = _durations(found, subset)
    return {
        video: VideoAnnotation(video, subset, durations.get(video), None, tuple(instances[video]))
        for video in sorted(instances)
    }


def read_mexaction2(
    folder: PathLike, subset: str = "test", unusable: list[str] | None = None
) -> dict[str, VideoAnnotation]:
    """Reads MEXaction2 in THUMOS' text form; otherwise the same as `read_thumos14`.

    The set's Ambiguous file is a left-over of THUMOS'14, whose videos are not in MEXaction2, so
    videos without any action are left out.
    """
    videos = read_thumos14(folder, subset, unusable)
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _video(path: AnyPath, key: str, entry: object, unusable: list[str] | None) -> VideoAnnotation:
    if not isinstance(entry, dict) or not isinstance(entry.get("subset"), str):
        raise InputError(f'{path}: video {key!r}: expected a "subset", such as "test"')
    for name in ("duration", "fps"):
        value = entry.get(name)
        if value is not None and not (_is_number(value) and 0 < value < math.inf):
            raise InputError(f"{path}: video {key!r}: {name} must be above 0. Received: {value!r}")
    file, trimmed = entry.get("file"), entry.get("trimmed", False)
    if not isinstance(file, str | None) or not isinstance(trimmed, bool):
        raise InputError(f'{path}: video {key!r}: "file" must be a path, "trimmed" true or false')
    annotations = entry.get("annotations", [])
    instances = []
    for number, item in enumerate(annotations if isinstance(annotations, list) else [None]):
        where = f"{path}: video {key!r}, instance {number + 1}"
        label = item.get("label") if isinstance(item, dict) else None
        segment = item.get("segment") if isinstance(item, dict) else None
        if trimmed and isinstance(segment, list) and segment[1:] == [None]:
            segment = [segment[0], math.inf]
        if (
            not isinstance(label, str)
            or not isinstance(segment, list)
            or len(segment) != 2
            or not all(map(_is_number, segment))
        ):
            raise InputError(
                f'{where}: expected "label" and "segment": [start, end] in seconds. '
                f"Received: {item!r}"
            )
        instance = Instance(label, *map(float, segment))
        if _usable(where, instance, unusable, endless=trimmed):
            instances.append(instance)
    return VideoAnnotation(
        key,
        entry["subset"],
        entry.get("duration"),
        entry.get("fps"),
        tuple(instances),
        trimmed,
        file,
    )


def _usable(
    where: str, instance: Instance, unusable: list[str] | None, endless: bool = False
) -> bool:
    """Checks that the interval is valid; otherwise appends to `unusable` or raises."""
    start, end = instance.start, instance.end
    # A NaN fails these comparisons.
    if 0 <= start < end and (end < math.inf or endless):
        return True
    sentence = (
        f"{where} ({instance.label}): must start at 0 or later and end after its start. "
        f"Received: {start:g} to {end:g} s; correct or remove it"
    )
    if unusable is None:
        raise InputError(sentence)
    unusable.append(sentence)
    return False


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
                    Path(n).stem: float(s) for n, s in zip(lines[::2], lines[1::2], strict=True)
                }
            except ValueError:
                raise InputError(
                    f"{path}: expected a line with a video's name, then a line with its seconds"
                ) from None
    return {}
