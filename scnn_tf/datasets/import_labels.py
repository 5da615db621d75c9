"""Conversion of labels of any form into the project's annotations."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from absl import logging

from scnn_tf.datasets.annotations import Instance, VideoAnnotation, canonical_subset
from scnn_tf.datasets.class_lists import read_class_names, with_names
from scnn_tf.datasets.label_tools import read_labels
from scnn_tf.datasets.labels.labelled import TRUTH_PREFIX, LabelledVideo, Span, without_truth
from scnn_tf.datasets.video_files import VideoFolder, by_id, video_ending, without_ending
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import (
    CONTROL_ESCAPES,
    AnyPath,
    PathLike,
    as_path,
    is_local,
    path_parts,
)
from scnn_tf.io.video import VideoInfo, frame_times, probe

_ESCAPES = CONTROL_ESCAPES | {0x2028: "\\u2028", 0x2029: "\\u2029"}


@dataclass(frozen=True)
class Imported:
    """The result of `import_labels`.

    Attributes:
        videos: Video id → annotation, in the order of the files.
        unusable: One sentence for each labelled interval that is no valid instance, and each part
            of an export that cannot be read.
        left_out: Names of the videos of which no interval is valid; they are not among `videos`,
            where they would be videos without an action.
        not_found: One sentence for each video whose file is missing or unreadable. The video is
            among `videos`, without a duration.
        not_labelled: Names of the videos that nobody has labelled; they are not among `videos`.
    """

    videos: Mapping[str, VideoAnnotation]
    unusable: Sequence[str]
    left_out: Sequence[str]
    not_found: Sequence[str]
    not_labelled: Sequence[str]


def import_labels(
    paths: Iterable[PathLike],
    video_dir: PathLike | None = None,
    frame_rate: float | None = None,
    attribute: str | None = None,
    point_width: float | None = None,
    class_list: PathLike | None = None,
) -> Imported:
    """Reads labels of any form, such as exports of labelling tools; a video may be in several.

    Labels in seconds are kept: they are on the file's own clock, as players show it. Labels that
    count the file's own pictures (CVAT) get the times at which the file shows these pictures.
    Ground truth that drafts were written with (`TRUTH_PREFIX`) is skipped.

    Args:
        paths: The exports; see `read_labels`.
        video_dir: Folder of the videos, for their durations and times. A video that is missing in
            it keeps its name and has no duration.
        frame_rate: Rate at which a tool has counted frames, in Hz, where neither its export nor the
            file says it.
        attribute: See `read_labels`.
        point_width: Seconds of the instance that is made of a point, half of them before it and
            half after it, from 0 on; None: points are no instances, and each video has one
            sentence on its own.
        class_list: File of the names of classes that labels give as ids (see
            `class_lists.class_rows`); None: ids are names.

    Returns:
        Videos whose subset is that of the export, in lower case, or ""; ids as in `by_id`.

    Raises:
        InputError: A file is unreadable, the folder does not exist, two videos cannot be told
            apart, a video is in two subsets, frames have no rate, or there is no valid instance.
    """
    folder = None if video_dir is None else as_path(video_dir)
    if isinstance(folder, Path) and not folder.is_dir():
        raise InputError(f"{folder}: no such folder of videos")
    names = None if class_list is None else read_class_names(class_list)
    unusable: list[str] = []
    labels = []
    for path in paths:
        known = 0
        for each in read_labels(path, attribute):
            labelled, removed = without_truth(each)
            known += removed
            problem = (
                labelled.problem
                or _unprintable("name of a video", labelled.file)
                or _unprintable("subset", labelled.subset)
            )
            if not (problem or _path_of(labelled.file)):
                problem = f"expected the name of a video. Received: {labelled.file!r}"
            if problem:
                unusable.append(f"{path}: {problem}")
            else:
                labels.append((path, labelled if names is None else with_names(labelled, names)))
        if known:
            logging.info(
                "%s: skipped %d label(s) whose class begins with %r", path, known, TRUTH_PREFIX
            )
    found = _distinct(labels)
    videos = [video for video in found if video.labelled]
    places = None if folder is None else VideoFolder(folder)
    not_found = [] if places is None else _find_files(videos, places)
    annotated, left_out = {}, []
    for key, video in _by_id(videos, places).items():
        annotated[key], problems = _annotation(key, video, places, frame_rate, point_width)
        if problems and not annotated[key].instances:
            del annotated[key]
            left_out.append(video.name)
        unusable.extend(problems)
    if not any(video.instances for video in annotated.values()):
        raise InputError(
            "expected at least one valid instance in these files. Found: none"
            + (f"; the first of {len(unusable)} invalid ones: " if unusable else "")
            + "".join(map(_escaped, unusable[:1]))
        )
    not_labelled = [video.name for video in found if not video.labelled]
    unusable = [_escaped(sentence) for sentence in unusable]
    return Imported(annotated, unusable, left_out, not_found, not_labelled)


@dataclass
class _Video:
    """A video of the exports.

    Attributes:
        name: Path or URL by which a tool knows it; the longest, if they know several.
        labels: What exports say of it, each with its file.
        path: Its file; None if it is missing.
        info: Its properties; None if they cannot be read.
    """

    name: str
    labels: list[tuple[PathLike, LabelledVideo]] = field(default_factory=list)
    path: AnyPath | None = None
    info: VideoInfo | None = None

    @property
    def labelled(self) -> bool:
        """Whether somebody has labelled it."""
        return any(labelled.labelled for _, labelled in self.labels)


def _distinct(labels: Sequence[tuple[PathLike, LabelledVideo]]) -> list[_Video]:
    """Groups labels by video: one export may know it by its name, another by a longer path.

    Raises:
        InputError: A name may be that of two videos, or two videos differ only in their ending.
    """
    names: dict[tuple[str, ...], str] = {}
    exports = {}
    for path, labelled in labels:
        names.setdefault(_parts(labelled.file), labelled.file)
        exports.setdefault(_parts(labelled.file), path)
    same_name: dict[str, list[tuple[str, ...]]] = {}
    for parts in names:
        same_name.setdefault(parts[-1], []).append(parts)
    whole = {}  # parts → parts of the longest path that ends in them
    for parts in names:
        size = len(parts)
        longer = [p for p in same_name[parts[-1]] if len(p) >= size and p[-size:] == parts]
        ends = [p for p in longer if not any(q[-len(p) :] == p for q in longer if q != p)]
        if len(ends) > 1:
            raise InputError(
                f"{exports[parts]}: expected a name of one video. Received: {names[parts]}, which "
                f"may be {names[ends[0]]} or {names[ends[1]]}; name its folder"
            )
        (whole[parts],) = ends
    videos: dict[tuple[str, ...], _Video] = {}
    for path, labelled in labels:
        parts = whole[_parts(labelled.file)]
        video = videos.setdefault(parts, _Video(names[parts]))
        video.labels.append((path, labelled))
    for video in videos.values():
        files = [labelled.file for _, labelled in video.labels]
        endings = {video_ending(file): file for file in files if video_ending(file)}
        stored = {labelled.stored_as for _, labelled in video.labels} - {""}
        for twins in (list(endings.values()), sorted(stored)):
            if len(twins) > 1:
                raise InputError(
                    f"{video.labels[-1][0]}: {twins[0]} and {twins[1]} have the same id "
                    f"{_parts(video.name)[-1]!r}; rename one"
                )
        if endings and not video_ending(video.name):
            video.name += next(iter(endings))
    return list(videos.values())


def _path_of(file: str) -> tuple[str, ...]:
    """Returns the parts of a tool's path, whatever its system, or of a URL, its server first."""
    if not is_local(file):
        return path_parts(file)
    return tuple(part for part in PurePosixPath(file.replace("\\", "/")).parts if part.strip("/"))


def _parts(file: str) -> tuple[str, ...]:
    """Returns a path as `_path_of` does, the last part without the ending of a video."""
    *folders, name = _path_of(file)
    return (*(unicodedata.normalize("NFC", folder) for folder in folders), without_ending(name))


def _find_files(videos: Iterable[_Video], places: VideoFolder) -> list[str]:
    """Finds the files of videos and reads their properties.

    Returns:
        One sentence for each video whose file is missing or unreadable.

    Raises:
        InputError: Two videos would have one file.
    """
    not_found = []
    owners: dict[AnyPath, _Video] = {}
    for video in videos:
        stored = {labelled.stored_as for _, labelled in video.labels} - {""}
        problems = []
        for name in (video.name, *stored):
            try:
                video.path = places.find_elsewhere_named("/".join(_path_of(name)))
                video.info = probe(video.path)
                break
            except VideoError as error:
                problems.append(str(error))
        if video.info is None:
            not_found.append(problems[0])
        if video.path is None:
            continue
        known = owners.setdefault(video.path, video)
        if known is not video:
            raise InputError(
                f"expected different files of {known.name} and {video.name}. Found for both: "
                f"{video.path}; keep the folders of their names, or import their exports one by one"
            )
        ending = video_ending(video.name)
        if ending and video_ending(video.path.name) != ending:
            logging.warning("%s is missing, %s is used instead", video.name, video.path.name)
    return not_found


def _by_id(videos: Sequence[_Video], places: VideoFolder | None) -> dict[str, _Video]:
    """Returns videos by the ids that their files have in their folder; see `by_id`."""
    above = () if places is None else path_parts(places.folder)
    paths = [
        places.relative(video.path).split("/") if video.path else _path_of(video.name)
        for video in videos
    ]
    return dict(zip(by_id("/".join(("", *above, *p)) for p in paths), videos, strict=True))


def _annotation(
    key: str,
    video: _Video,
    places: VideoFolder | None,
    frame_rate: float | None,
    point_width: float | None,
) -> tuple[VideoAnnotation, list[str]]:
    """Returns the annotation of a video, and one sentence for each interval that it lacks.

    Raises:
        InputError: The video is in two subsets, or frames have no rate.
    """
    subset, duration, instances, problems = "", None, [], []
    for path, labelled in video.labels:
        given = canonical_subset(labelled.subset)
        if given and subset not in ("", given):
            raise InputError(
                f"{path}: {key} is in two subsets, {subset!r} and {given!r}; choose one"
            )
        subset, duration = subset or given, duration or labelled.duration
        try:
            seconds = _clock(path, labelled, video, frame_rate)
        except VideoError as error:
            problems.append(str(error))
            continue
        points = 0
        for span in labelled.spans:
            start, end = seconds(span.start), seconds(span.end)
            problem = _problem(span, start, end)
            if problem:
                label = f" ({span.label})" if span.label else ""
                problems.append(f"{path}: {key}, {span.where}{label}: {problem}")
            elif not span.is_point:
                instances.append(Instance(span.label, start, end))
            elif point_width is not None:
                instances.append(_around(span.label, start, point_width))
            else:
                points += 1
        if points:
            problems.append(
                f"{path}: {key}: {points} label(s) are points, without a length; give the length "
                "that their instances get (--point_width)"
            )
    ending = video_ending(video.name)
    if video.path:
        file = places.relative(video.path)
    elif not ending:
        file = None
    elif is_local(video.name) and not PureWindowsPath(video.name).anchor:
        file = "/".join(_path_of(video.name))
    else:  # A path of the labelling tool's machine.
        file = f"{key}{ending}"
    info = video.info
    annotation = VideoAnnotation(
        key,
        subset,
        duration=info.duration if info else duration,
        fps=info.average_rate if info else None,
        instances=tuple(instances),
        file=file,
    )
    return annotation, problems


def _problem(span: Span, start: float, end: float) -> str:
    """Returns the reason why a span is no instance, and "" if it is one, or a point.

    Args:
        span: The span.
        start: Its start, in seconds.
        end: Its end, in seconds.
    """
    if problem := span.problem or _unprintable("class", span.label):
        return problem
    if not span.label:
        return "has no class"
    if span.is_point:
        return "" if 0 <= start < math.inf else "must be at 0 or later"
    return "" if 0 <= start < end < math.inf else "must start at 0 or later and end after its start"


def _around(label: str, time: float, width: float) -> Instance:
    """Returns the instance that is made of a point, in whole microseconds."""
    return Instance(label, round(max(0.0, time - width / 2), 6), round(time + width / 2, 6))


def _clock(
    path: PathLike, labelled: LabelledVideo, video: _Video, frame_rate: float | None
) -> Callable[[float], float]:
    """Returns the function from a tool's times to seconds.

    Raises:
        InputError: The rate at which a tool has counted frames is unknown.
        VideoError: The pictures that a tool has counted are not at hand, nor their rate.
    """
    if not labelled.in_frames:
        return lambda time: time
    if labelled.own_rate and video.info:
        times, info = frame_times(video.path), video.info

        def shown_at(frame: float) -> float:
            """Returns when a picture appears; those after the last one follow at the mean rate."""
            if 0 <= frame < len(times):
                return round(float(times[int(frame)]), 6)
            after = info.duration + (frame - len(times)) / info.average_rate
            return round(after, 6) if frame > 0 else frame

        return shown_at
    rate = frame_rate if labelled.own_rate else labelled.rate or frame_rate
    if rate is not None:
        return lambda frame: frame / rate
    if labelled.own_rate:
        raise VideoError(
            f"{path}: {labelled.file} is labelled in frames; give the folder of the videos "
            "(--video_dir) or their frame rate (--frame_rate)"
        )
    raise InputError(
        f"{path}: {labelled.file} is labelled in frames at the frameRate of its <Video> tag in "
        "Label Studio, 24 unless set; give that rate (--frame_rate)"
    )


def _unprintable(what: str, text: str) -> str:
    """Returns the reason why a text is no name: line breaks and escapes would break tables."""
    if _escaped(text) == text:
        return ""
    return f"expected a {what} without control characters. Received: {text!r}"


def _escaped(text: str) -> str:
    """Returns a text with its control characters and separators of lines escaped."""
    return text.translate(_ESCAPES)
