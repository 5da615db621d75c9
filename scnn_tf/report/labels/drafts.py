"""Drafts of labels: the detections of each video that people correct, and its ground truth."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.labels.labelled import TRUTH_PREFIX
from scnn_tf.datasets.video_files import VideoFolder
from scnn_tf.errors import InputError, VideoError
from scnn_tf.evaluation.error_types import best_threshold, classify
from scnn_tf.io.files import PathLike
from scnn_tf.io.video import VideoInfo, probe
from scnn_tf.localization.tables import Detections

DETECTIONS = "detections"
"""Name of the tiers or of the attribute of detections, where a form has such names."""
GROUND_TRUTH = "ground truth"
"""Name of the tiers or of the attribute of ground truth; elsewhere `TRUTH_PREFIX` marks it."""
_TIOU, _BETA = 0.5, 0.5  # Of the F measure that decides on the threshold.
_FRAME_RATE = 25.0  # Hz, where neither the file nor its annotation says it.
_LAST = 1e9  # seconds; no tool counts further
# Line breaks, control characters, and what neither UTF-8 nor XML can hold.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


class Interval(NamedTuple):
    """A detection or an instance of the ground truth.

    Attributes:
        label: Class.
        start: Seconds.
        end: Seconds.
        score: Score of a detection; None: an instance.
    """

    label: str
    start: float
    end: float
    score: float | None = None

    @property
    def milliseconds(self) -> tuple[int, int]:
        """Start and end in whole milliseconds, at least one millisecond apart."""
        start = round(1000 * self.start)
        return start, max(round(1000 * self.end), start + 1)


class Draft(NamedTuple):
    """A first draft of the labels of one video.

    Attributes:
        video_id: Id of the video.
        file: Path of its file in the folder of videos; None: unknown.
        address: Address by which a tool finds the file; "" if none was given.
        info: Properties of the file; None: it was not given, or cannot be read.
        duration: Seconds; None: unknown.
        frame_rate: Frames per second.
        model: Name of the model.
        found: Detections, by start.
        truth: Ground truth, by start; None: the video is not annotated.
    """

    video_id: str
    file: str | None
    address: str
    info: VideoInfo | None
    duration: float | None
    frame_rate: float
    model: str
    found: tuple[Interval, ...]
    truth: tuple[Interval, ...] | None

    @property
    def name(self) -> str:
        """Path of the file in the folder of videos, or else the video's id."""
        return self.file or self.video_id

    def in_one_layer(self) -> list[Interval]:
        """Returns all intervals by start; classes of ground truth are behind `TRUTH_PREFIX`.

        For forms that have one kind of label only.
        """
        truth = (i._replace(label=f"{TRUTH_PREFIX}{i.label}") for i in self.truth or ())
        return sorted([*self.found, *truth], key=_by_start)


def draft_threshold(
    detections: Detections, ground_truth: Mapping[str, VideoAnnotation] | None
) -> float:
    """Returns the score from which detections are worth correcting: that of the highest F.5.

    In F.5, at tIoU .5, precision counts twice as much as recall, because people who have to reject
    most drafts stop looking at them. It is measured on the videos that have both detections and
    ground truth. Scores of different models are not comparable, so there is no default without
    ground truth.

    Args:
        detections: All detections.
        ground_truth: Annotations by video id; None: there are none.

    Raises:
        InputError: No video has both.
    """
    annotated = ground_truth or {}
    found = detections.take(np.isin(detections.video, list(annotated)))
    known = {key: annotated[key] for key in dict.fromkeys(found.video.tolist())}
    if not known:
        raise InputError(
            "labels need the lowest score of a detection, or annotated videos with detections "
            "to choose it by. Received: neither; give --score_threshold, or --annotations of some "
            "of the videos"
        )
    types = classify(known, found, tiou_thresholds=[_TIOU])[:, 0]
    instances = sum(len(video.actions) for video in known.values())
    return best_threshold(types, found.score, instances, _BETA)


def drafts_of(
    detections: Detections,
    score_threshold: float,
    *,
    ground_truth: Mapping[str, VideoAnnotation] | None = None,
    video_dir: PathLike | None = None,
    video_url: str = "",
    model: str = "scnn_tf",
) -> list[Draft]:
    """Returns a draft of each video that has detections, in the order in which videos occur.

    Args:
        detections: Detections of any number of videos.
        score_threshold: Detections with a lower score are left out, and so are those without a
            length or a score. A video without any other has an empty draft.
        ground_truth: Annotations by video id. Videos without detections have no draft.
        video_dir: Folder of the videos, for their names, durations and frames.
        video_url: Address under which a tool finds the files of the folder, such as
            `/data/local-files/?d=videos/`; the path of a file follows.
        model: Name of the model.

    Raises:
        InputError: The threshold is no number, a class or an id cannot be written, or none of the
            videos is in the folder.
    """
    if math.isnan(score_threshold):
        raise InputError("expected a number as score threshold. Received: NaN")
    found: dict[str, list[Interval]] = {key: [] for key in detections.video.tolist()}
    kept = detections.usable & (detections.score >= score_threshold)
    for video, label, start, end, score in detections.take(kept):
        found[video].append(Interval(label, start, end, score))
    known = {
        key: (ground_truth or {}).get(key) or VideoAnnotation(key, "", None, None, ())
        for key in found
    }
    files = {} if video_dir is None else _files(video_dir, known.values())
    drafts = []
    for key, video in known.items():
        file, info = files.get(key, (video.file, None))
        duration = info.duration if info else video.duration
        rate = (info and info.average_rate) or video.fps or _FRAME_RATE
        truth = (Interval(i.label, i.start, i.end) for i in video.instances)
        draft = Draft(
            key,
            file,
            address=video_url and video_url + quote(file or key),
            info=info,
            duration=duration,
            frame_rate=rate,
            model=model,
            found=_inside(found[key], duration),
            truth=_inside(truth, duration) if key in (ground_truth or {}) else None,
        )
        _check_names(draft)
        drafts.append(draft)
    return drafts


def without_overlap(intervals: Iterable[Interval]) -> list[list[Interval]]:
    """Distributes intervals over rows in which none overlap: as few as possible, at least one.

    For forms in which a tier or a subject does one thing at a time.

    Args:
        intervals: The intervals, by start.
    """
    rows: list[list[Interval]] = [[]]
    for interval in intervals:
        start = interval.milliseconds[0]
        free = (row for row in rows if not row or row[-1].milliseconds[1] <= start)
        row = next(free, None)
        if row is None:
            rows.append(row := [])
        row.append(interval)
    return rows


def clock(milliseconds: int, point: str = ".") -> str:
    """Formats hours (two digits or more), minutes, seconds and milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def xml_text(root: ElementTree.Element) -> str:
    """Returns a document of XML, indented."""
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def _files(
    folder: PathLike, videos: Iterable[VideoAnnotation]
) -> dict[str, tuple[str, VideoInfo | None]]:
    """Returns id → path in the folder and properties, of the videos that are found.

    Raises:
        InputError: None is found.
    """
    places, files, problems = VideoFolder(folder), {}, []
    for video in videos:
        try:
            path = places.find(video)
        except VideoError as error:
            problems.append(str(error))
            continue
        files[video.video_id] = (places.relative(path), None)
        try:
            files[video.video_id] = (places.relative(path), probe(path))
        except VideoError as error:
            problems.append(str(error))
    if problems and not files:
        raise InputError(f"{folder}: none of the {len(problems)} videos with detections was found")
    for problem in problems:
        logging.warning("%s", problem)
    return files


def _inside(intervals: Iterable[Interval], duration: float | None) -> tuple[Interval, ...]:
    """Returns what of the intervals is inside their video, by start."""
    last = _LAST if duration is None else duration
    cut = (i._replace(start=max(i.start, 0.0), end=min(i.end, last)) for i in intervals)
    return tuple(sorted((i for i in cut if i.start < i.end), key=_by_start))


def _by_start(interval: Interval) -> tuple[float, float]:
    return interval.start, interval.end


def _check_names(draft: Draft) -> None:
    """Raises an error for names that a file of labels cannot hold, or that reading would change.

    Raises:
        InputError: There is one.
    """
    if _UNWRITABLE.search(draft.video_id):
        raise InputError(
            f"expected ids of videos without control characters. Received: {draft.video_id!r}; "
            "rename the file"
        )
    for label in {interval.label for interval in (*draft.found, *(draft.truth or ()))}:
        if _UNWRITABLE.search(label) or label.strip() != label or not label:
            raise InputError(
                "expected classes of one line, without control characters or spaces at their ends. "
                f"Received: {label!r} in {draft.video_id}; rename the class"
            )
