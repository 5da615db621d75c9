"""Conversion of labelling tools' exports into the project's annotations."""

import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from absl import logging

from scnn_tf.datasets.annotations import Instance, VideoAnnotation, canonical_subset
from scnn_tf.datasets.label_tools import LabelledVideo, read_labels
from scnn_tf.datasets.stitching import DEFAULT_PERSON_PATTERN
from scnn_tf.datasets.video_files import VIDEO_EXTENSIONS, find_video
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import PathLike, as_path, is_local
from scnn_tf.io.video import probe

DEFAULT_SOURCE_PATTERN = DEFAULT_PERSON_PATTERN
"""Matches the text before the first underscore: `ira_02` is of ira."""


@dataclass(frozen=True)
class Imported:
    """The result of `import_labels`.

    Attributes:
        videos: Video id → annotation, in the order of the files.
        unusable: One sentence for each labelled interval that is no valid instance.
        not_found: One sentence for each video whose file is missing or unreadable.
    """

    videos: Mapping[str, VideoAnnotation]
    unusable: Sequence[str]
    not_found: Sequence[str]


def import_labels(
    paths: Iterable[PathLike],
    video_dir: PathLike | None = None,
    frame_rate: float | None = None,
    attribute: str | None = None,
) -> Imported:
    """Reads exports of labelling tools; a video may be in several of them.

    Args:
        paths: The exports; see `read_labels`.
        video_dir: Folder of the videos, for their durations and frame rates. A video that is
            missing in it keeps its name and has no duration.
        frame_rate: Rate at which the tool counted frames, in Hz; None: the file's own rate if the
            tool counts the file's frames (CVAT).
        attribute: See `read_labels`.

    Returns:
        Videos whose subset is that of the export, in lower case, or "".

    Raises:
        InputError: A file is unreadable, the folder does not exist, frames have no rate, a video
            has no name, or two videos have the same id.
    """
    folder = None if video_dir is None else as_path(video_dir)
    if isinstance(folder, Path) and not folder.is_dir():
        raise InputError(f"{folder}: no such folder of videos")
    merged: dict[str, VideoAnnotation] = {}
    unusable, not_found = [], []
    for path in paths:
        for labelled in read_labels(path, attribute):
            name = PurePath(labelled.file.replace("\\", "/"))
            is_file = name.suffix.lower() in VIDEO_EXTENSIONS
            key = name.stem if is_file else name.name
            if not key:
                raise InputError(
                    f"{path}: expected a name for each video. Found: a video without a name"
                )
            subset = canonical_subset(labelled.subset)
            known = merged.get(key)
            if known is None:
                # An absolute path belongs to the machine of the labelling tool.
                file = name.name if name.is_absolute() or not is_local(labelled.file) else str(name)
                known = VideoAnnotation(
                    key, "", labelled.duration, None, (), file=file if is_file else None
                )
                if video_dir is not None:
                    try:
                        known = _with_file(known, video_dir)
                    except VideoError as error:
                        not_found.append(str(error))
            elif is_file and known.file and PurePath(known.file).name != name.name:
                raise InputError(
                    f"{path}: {known.file} and {name.name} have the same id {key!r}; rename one"
                )
            if subset and known.subset not in ("", subset):
                raise InputError(
                    f"{path}: {key} is in two subsets, {known.subset!r} and {subset!r}; choose one"
                )
            rate = _rate(path, labelled, known, frame_rate) if labelled.in_frames else 1.0
            instances = list(known.instances)
            for span in labelled.spans:
                start, end = span.start / rate, span.end / rate
                # A NaN fails these comparisons.
                if not span.label:
                    unusable.append(f"{path}: {key}, {span.where}: has no class")
                elif not 0 <= start < end < math.inf:
                    unusable.append(
                        f"{path}: {key}, {span.where} ({span.label}): must start at 0 or later "
                        "and end after its start"
                    )
                else:
                    instances.append(Instance(span.label, start, end))
            merged[key] = replace(known, subset=subset or known.subset, instances=tuple(instances))
    if not any(video.instances for video in merged.values()):
        raise InputError(
            "expected at least one valid instance in these files. Found: none" + _first(unusable)
        )
    return Imported(merged, unusable, not_found)


def assign_subsets(
    videos: Mapping[str, VideoAnnotation],
    test: Sequence[str] = (),
    test_share: float = 0.0,
    source_pattern: str = DEFAULT_SOURCE_PATTERN,
    seed: int = 0,
) -> dict[str, VideoAnnotation]:
    """Assigns the subset "test" to some videos and "train" to the others.

    Args:
        videos: Videos by id; a video that has a subset keeps it.
        test: Ids of videos, or sources, for testing.
        test_share: Fraction of the videos for testing, in [0, 1). Whole sources are drawn, by a
            hash of their names and the seed, until the fraction is as close as possible. The draw
            does not depend on the order of the videos.
        source_pattern: See `sources`.
        seed: Seed of the draw.

    Raises:
        InputError: No video has one of the ids or sources, or a subset would have no video.
    """
    source = sources(videos, source_pattern)
    unknown = set(test) - set(source) - set(source.values())
    if unknown:
        raise InputError(
            f"no video or source is named {', '.join(sorted(unknown))}; sources are "
            f"{', '.join(sorted(set(source.values())))}"
        )
    chosen = {key for key in videos if {key, source[key]} & set(test)}
    if test_share:
        names = sorted(set(source.values()), key=lambda n: (zlib.crc32(f"{seed}:{n}".encode()), n))
        wanted = test_share * len(videos)
        for name in names[:-1]:  # one source stays for training
            more = chosen | {key for key in videos if source[key] == name}
            if chosen and abs(len(more) - wanted) >= abs(len(chosen) - wanted):
                break
            chosen = more
    assigned = {
        key: replace(video, subset=video.subset or ("test" if key in chosen else "train"))
        for key, video in videos.items()
    }
    if (test or test_share) and len({video.subset for video in assigned.values()}) < 2:
        raise InputError(
            f"all {len(videos)} videos would be in the subset "
            f"{next(iter(assigned.values())).subset!r}; sources are "
            f"{', '.join(sorted(set(source.values())))} (--source_pattern)"
        )
    return assigned


def sources(video_ids: Iterable[str], pattern: str = DEFAULT_SOURCE_PATTERN) -> dict[str, str]:
    """Returns the source of each video (a person, a place), which must be in one subset only.

    Args:
        video_ids: Ids of all videos.
        pattern: Regular expression searched in an id; its first group is the source. A video
            that does not match is a source of its own, and so is each video if all have the same
            source, as in `video_01`, `video_02`, ….

    Returns:
        video id → source.

    Raises:
        InputError: The pattern is no regular expression or has no group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--source_pattern={pattern}: expected a regular expression ({error})"
        ) from error
    if not compiled.groups:
        raise InputError(f"--source_pattern={pattern}: expected a group in parentheses, the source")
    found = {key: compiled.search(key) for key in video_ids}
    names = {key: match[1] or key if match else key for key, match in found.items()}
    return names if len(set(names.values())) > 1 else {key: key for key in names}


def _with_file(video: VideoAnnotation, video_dir: PathLike) -> VideoAnnotation:
    """Returns the video with its file (of the same path, or name, or id), duration and rate.

    Raises:
        VideoError: The file is missing or cannot be used.
    """
    for file in (video.file, PurePath(video.file or "").name or None, None):
        try:
            path = find_video(replace(video, file=file), video_dir)
            break
        except VideoError as error:
            missing = error
    else:
        raise missing
    if video.file and file is None:
        logging.warning("%s is missing, %s is used instead", video.file, path.name)
    info = probe(path)
    return replace(video, file=file or path.name, duration=info.duration, fps=info.average_rate)


def _rate(
    path: PathLike,
    labelled: LabelledVideo,
    video: VideoAnnotation,
    frame_rate: float | None,
) -> float:
    """Returns the rate at which the labels count frames, in Hz."""
    rate = frame_rate or (video.fps if labelled.own_rate else None)
    if rate is None and labelled.own_rate:
        raise InputError(
            f"{path}: {labelled.file} is labelled in frames; give the folder of the videos "
            "(--video_dir) or their frame rate (--frame_rate)"
        )
    if rate is None:
        raise InputError(
            f"{path}: {labelled.file} is labelled in frames at the frameRate of its <Video> tag in "
            "Label Studio, 24 unless set; give that rate (--frame_rate)"
        )
    return rate


def _first(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return f"; the first of {len(sentences)} invalid ones: {sentences[0]}"
