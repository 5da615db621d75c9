"""Annotations in files: any of the forms that are read, and the form that the project writes.

JSON is read by `activitynet`, text by `thumos_text`, folders of clips by `trimmed_clips`; the forms
that leave a choice, such as which column is the class, by `import_labels`.
"""

import json
import math
from collections.abc import Mapping

from absl import logging

from scnn_tf.datasets.activitynet import read_activitynet
from scnn_tf.datasets.annotations import VideoAnnotation, canonical_subset
from scnn_tf.datasets.faults import in_subset_of, no_action
from scnn_tf.datasets.thumos_text import read_class_files, text_subsets
from scnn_tf.datasets.trimmed_clips import read_trimmed
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path, write_text

_LABELS = (".csv", ".tsv", ".xml", ".eaf", ".boris", ".srt", ".vtt")  # What `import_labels` reads.


def read_annotations(
    path: PathLike, subset: str | None = None, *, strict: bool = False
) -> dict[str, VideoAnnotation]:
    """Reads annotations: a data set's JSON, a folder of text, or a folder of clips.

    Instances are kept as they are, because evaluation counts them all; the log counts those without
    a length or before the start, which `scnn_tf.build_shards` leaves out. Rows that cannot be read
    are left out, and the log lists them.

    Args:
        path: A JSON file of any form that `activitynet.read_activitynet` reads; a folder of
            `<Class>_test.txt`, `<Class>_val.txt` or `<Class>_train.txt` (THUMOS'14, MEXaction2) or
            the folder above it; or a folder with one folder of clips a class.
        subset: Subset of the videos to read; None: all videos. Case is ignored, and `val` equals
            `validation`, `training` equals `train`, `testing` equals `test`.
        strict: Whether a row that cannot be read, and an instance without a length or before the
            start, is an error.

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
    elif present := text_subsets(path):
        if subset is not None and canonical_subset(subset) in present:
            present = [canonical_subset(subset)]
        videos = {}
        for each in present:
            videos |= read_class_files(path, each, strict=strict)
        videos = in_subset_of(path, videos, subset)
    else:
        videos = in_subset_of(path, read_trimmed(path), subset)
    if not any(video.actions for video in videos.values()):
        raise no_action(path, subset, "none")
    _warn_of_late_ends(path, videos)
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
    write_text(path, json.dumps(activitynet_json(videos), indent=1) + "\n")


def activitynet_json(videos: Mapping[str, VideoAnnotation]) -> dict:
    """Returns the content of a file of `write_annotations`; see `read_activitynet`."""
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
    return {"version": "1", "database": database}


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
