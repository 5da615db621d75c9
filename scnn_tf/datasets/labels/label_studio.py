"""Reader of Label Studio's exports as JSON."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from urllib.parse import unquote

from scnn_tf.datasets.labels.labelled import (
    LabelledVideo,
    Span,
    other_form,
    shown,
    span_of,
    warn_of_others,
)
from scnn_tf.datasets.video_files import VIDEO_EXTENSIONS
from scnn_tf.io.files import AnyPath

# Label Studio puts eight digits before the name of an uploaded file; a UUID has them too.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?![0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)")
_TASK = {"annotations", "predictions", "drafts"}  # Keys of a task, which has at least one.
_RATES = ("fps", "framerate")  # Keys of a task's data for <Video frameRate="$fps">, in any case.


def is_label_studio(tasks: Sequence[object]) -> bool:
    """Returns whether the content of a JSON file are tasks of Label Studio."""
    return bool(tasks) and all(
        isinstance(task, dict) and "data" in task and _TASK & set(task) for task in tasks
    )


def read_label_studio(path: AnyPath, tasks: Sequence[dict]) -> list[LabelledVideo]:
    """Reads Label Studio's tasks, each by itself."""
    videos: list[LabelledVideo] = []
    other: Counter[str] = Counter()
    for task in tasks:
        where = f"task {task.get('id', '?')}"
        try:
            videos.extend(_read_task(task, where, other))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            form = other_form("an export of Label Studio", error)
            videos.append(LabelledVideo("", problem=f"{where}: {form}"))
    warn_of_others(path, other, "ranges of time")
    return videos


def _read_task(task: dict, where: str, other: Counter[str]) -> Iterator[LabelledVideo]:
    """Yields a task's ranges of frames (TimelineLabels, Video) and seconds (Labels, Audio).

    A task without an annotation, or with skipped ones only, was not labelled; predictions and
    drafts are no annotations. One whose annotation is empty was looked at and has no action.

    Args:
        task: The task.
        where: Its place in the file.
        other: Counts the labels that are no ranges of time, such as boxes, by their kind.
    """
    given = [a for a in task.get("annotations") or [] if not a.get("was_cancelled")]
    given = [a for a in given if a.get("ground_truth")] or given
    if len(given) > 1:
        yield LabelledVideo(
            "",
            problem=f"{where}: expected one annotation. Found: {len(given)}; mark one as ground "
            "truth, or delete the others",
        )
        return
    frames, timed, boxes, duration = [], [], 0, None
    for region in given[0]["result"] if given else []:
        value = region.get("value", {})
        if "timelinelabels" in value:
            for label in value["timelinelabels"] or [""]:
                for span in value["ranges"]:
                    times = [span.get("start"), span.get("end")]
                    frames.append(_frames(label, times, f"{where}, frames {shown(times)}"))
        elif {"start", "end", "labels"} <= set(value):
            length = float(region.get("original_length") or math.nan)
            duration = length if 0 < length < math.inf else duration
            times = [value["start"], value["end"]]
            for label in value["labels"] or [""]:
                timed.append(span_of(label, times, f"{where}, {shown(times)} s"))
        elif "sequence" in value or any(key.endswith("labels") for key in value):
            other[str(region.get("type"))] += 1
            boxes += 1
    file, stored_as = _task_video(task)
    problem = "" if file else f'{where}: expected a video in "data". Found: none'
    labelled = bool(given) and bool(frames or timed or not boxes)
    video = LabelledVideo(
        file, duration=duration, labelled=labelled, stored_as=stored_as, problem=problem
    )
    if frames:
        rate = _task_rate(task)
        yield dataclasses.replace(
            video, spans=tuple(frames), in_frames=True, own_rate=False, rate=rate
        )
    if timed or not frames:
        yield dataclasses.replace(video, spans=tuple(timed))


def _frames(label: object, times: Sequence[object], where: str) -> Span:
    """Returns the interval of a range of frames, counted from 1, with both ends in it."""
    span = span_of(label, times, where)
    if span.problem:
        return span
    if span.start < 1:
        problem = f"its frames count from 1. Received: {shown(times)}"
        return dataclasses.replace(span, problem=problem)
    return dataclasses.replace(span, start=span.start - 1)


def _task_video(task: dict) -> tuple[str, str]:
    """Returns a file's path, and the path that Label Studio has given it on uploading.

    `/data/upload/1/1f2e3d4c-kitchen.mp4` was uploaded as `kitchen.mp4`.
    """
    values = [value for value in task["data"].values() if isinstance(value, str)]
    paths = [unquote(value.split("?d=")[-1].split("?")[0]) for value in values]
    paths = [p for p in paths if PurePosixPath(p).suffix.lower() in VIDEO_EXTENSIONS] or paths[:1]
    if not paths:
        return "", ""
    path = PurePosixPath(paths[0])
    uploaded = "upload" in path.parts or task.get("file_upload") == path.name
    if not (uploaded and (prefix := _UPLOAD.match(path.name))):
        return paths[0], ""
    return str(path.with_name(path.name.removeprefix(prefix[0]))), paths[0]


def _task_rate(task: dict) -> float | None:
    """Returns the frame rate in a task's data, of `<Video frameRate="$fps">`, if there is one."""
    for key, value in task["data"].items():
        if key.lower().replace("_", "") in _RATES and isinstance(value, int | float | str):
            try:
                rate = float(Fraction(value))  # Such as 30000/1001.
            except (OverflowError, ValueError, ZeroDivisionError):
                continue
            if 0 < rate < math.inf:
                return rate
    return None
