"""Readers of the exports of labelling tools: CSV, VIA 3, Label Studio and CVAT.

Each reader returns `LabelledVideo`s as the tool exports them, in seconds or in frames, including
what is invalid, with the reason: `import_labels` turns them into instances and reports all mistakes
at once.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree

from absl import logging

from scnn_tf.datasets.video_files import VIDEO_EXTENSIONS
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path, csv_rows, read_json, read_text

CSV_COLUMNS = {
    "video": ("video", "file", "filename", "video_id"),
    "label": ("label", "class", "action"),
    "start": ("start", "start_s", "start_time", "begin", "from"),
    "end": ("end", "end_s", "end_time", "stop", "to"),
    "subset": ("subset", "split"),
}
"""Column → its possible names, in any case; `subset` may be missing."""
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SECONDS = re.compile(rf"[+-]?{_NUMBER}", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+\.?\d*|\.\d+)", re.ASCII)
_NO_TIME = "is no time (expected seconds or h:m:s, such as 72.5 or 0:01:12.5)"
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')  # A line that tells Excel how columns are separated.
# Label Studio puts eight digits before the name of an uploaded file; a UUID has them too.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?![0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)")
_RATES = ("fps", "framerate")  # Keys of a task's data for <Video frameRate="$fps">, in any case.
_TASK = {"annotations", "predictions", "drafts"}  # Keys of a task, which has at least one.
_STEP = re.compile(r"step\s*=\s*(\d+)")  # CVAT's frame filter


@dataclasses.dataclass(frozen=True)
class Span:
    """A labelled interval of a video.

    Attributes:
        label: Name of the class; "" if the tool has none.
        start: Seconds or frames; NaN if invalid.
        end: Likewise; frames are half-open, `[start, end)`, counted from 0.
        where: Its place in the file, for messages.
        problem: The reason why it is no instance, as the end of a sentence; "" if it may be one.
    """

    label: str
    start: float
    end: float
    where: str
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """A video as a labelling tool exports it; one that is labelled in two ways comes twice.

    Attributes:
        file: Path or URL as the tool knows it, perhaps without extension; "" if it is unknown.
        spans: Labelled intervals, in file order.
        in_frames: Whether the intervals are in frames.
        own_rate: Whether frames are those of the file; if not, the tool has counted at a rate of
            its own.
        rate: The rate of the tool's own, in Hz; None: the export does not say it.
        subset: "" if the tool has none.
        duration: Seconds; None if the tool has none.
        labelled: Whether anybody has labelled it. A labelled video without intervals has no action.
        stored_as: The same path as the tool has renamed the file; "" if it has not.
        problem: The reason why none of it can be used, with its place in the file; or "".
    """

    file: str
    spans: tuple[Span, ...] = ()
    in_frames: bool = False
    own_rate: bool = True
    rate: float | None = None
    subset: str = ""
    duration: float | None = None
    labelled: bool = True
    stored_as: str = ""
    problem: str = ""


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
        return _read_csv(path)
    if kind == ".xml":
        return _read_cvat(path)
    if kind != ".json":
        raise InputError(
            f"{path}: labels are .csv or .tsv, .json (VIA 3, Label Studio) or .xml (CVAT) files"
        )
    content = read_json(path)
    if isinstance(content, dict) and {"file", "metadata", "attribute"} <= set(content):
        try:
            return _read_via(path, content, attribute)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: {_other_form('a project of VIA 3', error)}") from error
    tasks = content if isinstance(content, list) else [content]
    if tasks and all(isinstance(t, dict) and "data" in t and _TASK & set(t) for t in tasks):
        return _read_label_studio(path, tasks)
    raise InputError(
        f'{path}: expected a project of VIA 3 ("file", "metadata", "attribute") or Label Studio\'s '
        'export as JSON (tasks with "data" and "annotations"; not JSON-MIN)'
    )


def seconds(text: str) -> float:
    """Reads `12.5`, `02:03.5` or `1:02:03.5`; NaN for anything else, such as `1_2` or `inf`."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return math.nan
    hours, minutes, rest = clock.groups()
    if float(rest) >= 60 or (hours and int(minutes) >= 60):
        return math.nan
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)


def _read_csv(path: AnyPath) -> list[LabelledVideo]:
    """Reads `CSV_COLUMNS` in any order; a row without label and times names a video only."""
    text = "\n".join(re.split("\r\n?|\n", read_text(path)))
    header, _, rest = text.partition("\n")
    if given := _SEPARATOR.fullmatch(header):
        header, text = rest.partition("\n")[0], f"\n{rest}"  # Lines keep their numbers.
    delimiter = given[1] if given else max(",;\t", key=header.count)
    rows = csv_rows(path, text, delimiter)
    filled = ((number, row) for number, row in rows if any(value.strip() for value in row))
    names = [name.strip().lower() for name in next(filled, (0, []))[1]]
    place = {
        column: next((names.index(name) for name in known if name in names), None)
        for column, known in CSV_COLUMNS.items()
    }
    missing = [column for column in ("video", "label", "start", "end") if place[column] is None]
    if missing:
        raise InputError(
            f"{path}: its first line lacks the column {', '.join(missing)}; expected video, label, "
            "start and end (seconds or HH:MM:SS), and perhaps subset"
        )
    videos: dict[tuple[str, str], list[Span]] = {}
    unusable = []
    for number, row in filled:
        row = [*(value.strip() for value in row), *[""] * (len(names) - len(row))]
        video, label, start, end, subset = (
            "" if place[column] is None else row[place[column]] for column in CSV_COLUMNS
        )
        problem = ""
        if any(row[len(names) :]):
            problem = f"expected {len(names)} values. Received: {len(row)}"
        elif broken := [v for v in (video, label, start, end, subset) if "\n" in v]:
            problem = f"expected values of one line. Received: {broken[0][:20]!r}…; close its quote"
        elif not video:
            problem = "expected the name of a video. Found: none"
        if problem:
            unusable.append(LabelledVideo("", problem=f"line {number}: {problem}"))
            continue
        spans = videos.setdefault((video, subset), [])
        if label or start or end:
            where = f"line {number}, {start or 'nothing'} to {end or 'nothing'}"
            spans.append(_timed(label, start, end, where, decimal_comma=delimiter != ","))
    return unusable + [
        LabelledVideo(video, tuple(spans), subset=subset)
        for (video, subset), spans in videos.items()
    ]


def _timed(label: str, start: str, end: str, where: str, decimal_comma: bool) -> Span:
    """Returns the interval of a row of text."""
    times = []
    for name, text in (("start", start), ("end", end)):
        times.append(seconds(text.replace(",", ".") if decimal_comma else text))
        if math.isnan(times[-1]):
            problem = f"its {name} {_NO_TIME}. Received: {text!r}"
            return Span(label, math.nan, math.nan, where, problem)
    return Span(label, *times, where)


def _read_via(path: AnyPath, content: dict, attribute: str | None) -> list[LabelledVideo]:
    """Reads VIA 3: `metadata` has `z`, times in seconds, and `av`, attribute → value.

    An entry with two times is a segment, with one a picture or a region of it, without one a note
    on the whole file. A file without segments has not been labelled.
    """
    temporal = {
        key: value for key, value in content["attribute"].items()
        if str(value.get("anchor_id", "")).startswith("FILE1_Z2")
    }  # fmt: skip
    entries = content["metadata"]
    if attribute is not None:
        used = {key for key, value in temporal.items() if value["aname"] == attribute}
    else:
        used = {key for entry in entries.values() for key in entry["av"]} & set(temporal)
    if len(used) > 1 or (not used and any(len(e["z"]) > 1 for e in entries.values())):
        names = ", ".join(str(value["aname"]) for value in temporal.values()) or "none"
        raise InputError(
            f"{path}: expected one attribute of its temporal segments that is the class. Found: "
            f"{names}; name it (--attribute)"
        )
    key = next(iter(used), None)
    options = temporal[key].get("options", {}) if key else {}
    spans: dict[str, list[Span]] = {}
    other = Counter()
    for name, entry in entries.items():
        times, value = entry["z"], entry["av"].get(key)
        if len(times) < 2 and (value is None or entry.get("xy")):
            kind = "picture attribute" if times else "file attribute"
            other["region" if entry.get("xy") else kind] += 1
            continue
        # A checkbox has several options, `0,2`; a text may contain a comma itself.
        several = isinstance(value, str) and temporal[key].get("type") == 2
        for option in value.split(",") if several else [value]:
            label = options.get(option, option) if isinstance(option, str) else option
            times = [*times[:1], *times[1:][-1:]]
            where = f"segment {name!r}, {_shown(times)} s"
            spans.setdefault(str(entry["vid"]), []).append(_span(label, times, where))
    _warn_of_others(path, other, "temporal segments")
    views = content.get("view", {})
    videos = []
    for vid in {**dict.fromkeys(views), **dict.fromkeys(spans)}:
        try:
            fid = str(views[vid]["fid_list"][0]) if vid in views else vid
            file = content["file"][fid]
            name = str(file["fname"] or file["src"] or "")
        except (IndexError, KeyError, TypeError) as error:
            videos.append(LabelledVideo("", problem=f"video {vid}: {_other_form('a file', error)}"))
            continue
        problem = "" if name else f"video {vid}: expected the name of a file. Found: none"
        labelled = vid in spans
        videos.append(
            LabelledVideo(name, tuple(spans.get(vid, ())), labelled=labelled, problem=problem)
        )
    return videos


def _read_label_studio(path: AnyPath, tasks: Sequence[dict]) -> list[LabelledVideo]:
    """Reads Label Studio's tasks, each by itself."""
    videos: list[LabelledVideo] = []
    other: Counter[str] = Counter()
    for task in tasks:
        where = f"task {task.get('id', '?')}"
        try:
            videos.extend(_read_task(task, where, other))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            form = _other_form("an export of Label Studio", error)
            videos.append(LabelledVideo("", problem=f"{where}: {form}"))
    _warn_of_others(path, other, "ranges of time")
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
                    frames.append(_frames(label, times, f"{where}, frames {_shown(times)}"))
        elif {"start", "end", "labels"} <= set(value):
            length = float(region.get("original_length") or math.nan)
            duration = length if 0 < length < math.inf else duration
            times = [value["start"], value["end"]]
            for label in value["labels"] or [""]:
                timed.append(_span(label, times, f"{where}, {_shown(times)} s"))
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
    span = _span(label, times, where)
    if span.problem:
        return span
    if span.start < 1:
        problem = f"its frames count from 1. Received: {_shown(times)}"
        return dataclasses.replace(span, problem=problem)
    return dataclasses.replace(span, start=span.start - 1)


def _span(label: object, times: Sequence[object], where: str) -> Span:
    """Returns an interval of which neither the class nor the times need to be valid."""
    start = end = math.nan
    if not isinstance(label, str | None):
        label, problem = "", f"expected a text as class. Received: {label!r}"
    elif len(times) != 2:
        problem = f"expected a start and an end. Received: {_shown(times)}"
    else:
        start, end = map(_number, times)
        invalid = math.isnan(start + end)
        problem = f"expected two numbers. Received: {_shown(times)}" if invalid else ""
    return Span((label or "").strip(), start, end, where, problem)


def _number(value: object) -> float:
    """Returns a number, or the number that a text is; NaN for anything else."""
    if isinstance(value, str):
        return float(value) if _SECONDS.fullmatch(value.strip()) else math.nan
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


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


def _read_cvat(path: AnyPath) -> list[LabelledVideo]:
    """Reads CVAT 1.1: tracks of a video, or tags of its frames, which are joined."""
    try:
        root = ElementTree.fromstring(read_text(path))
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: no valid XML ({error})") from error
    if root.tag != "annotations" or root.find("meta") is None:
        raise InputError(f'{path}: expected an export of CVAT, "annotations" with a "meta"')
    if root.find("meta/project") is not None:
        raise InputError(
            f"{path}: expected the export of a task. Found: that of a project; export each task"
        )
    source = next((e.text for e in root.iter("source") if e.text), None)
    file = (source or path.stem).strip()  # the export of a job has no source
    step = _STEP.search(root.findtext(".//frame_filter") or "")
    step = int(step[1]) if step else 1
    spans = [*_tracks(root, step), *_tags(root, step)]
    others = Counter(shape.tag for image in root.iter("image") for shape in image)
    del others["tag"]
    _warn_of_others(path, others, "tracks or tags")
    spans = sorted(spans, key=lambda s: (s.problem != "", 0 if s.problem else s.start))
    return [LabelledVideo(file, tuple(spans), in_frames=True, labelled=bool(spans))]


def _tracks(root: ElementTree.Element, step: int) -> Iterator[Span]:
    """Yields a span from each first visible shape to the next shape outside, or the last shape."""
    for track in root.iter("track"):
        label, where = track.get("label", ""), f"track {track.get('id', '?')}"
        try:
            shapes = sorted(
                (_frame(shape.attrib["frame"]), shape.get("outside") == "1")
                for shape in track
                if "frame" in shape.attrib
            )
        except ValueError as error:
            yield Span(label, math.nan, math.nan, where, str(error))
            continue
        start = None
        for frame, outside in shapes:
            if outside and start is not None:
                yield Span(label, start, frame, f"{where}, frames {start} to {frame - 1}")
                start = None
            elif not outside and start is None:
                start = frame
        if start is not None:
            end = shapes[-1][0] + step
            yield Span(label, start, end, f"{where}, frames {start} to {end - 1}")


def _tags(root: ElementTree.Element, step: int) -> Iterator[Span]:
    """Yields a span for each run of frames with the same tag."""
    frames: dict[str, list[int]] = {}
    for image in root.iter("image"):
        for tag in image.iter("tag"):
            label = tag.get("label", "")
            try:
                frames.setdefault(label, []).append(_frame(image.get("id", "")))
            except ValueError as error:
                yield Span(label, math.nan, math.nan, f"image {image.get('name')}", str(error))
    for label, numbers in frames.items():
        for start, end in _runs(sorted(set(numbers)), step):
            yield Span(label, start, end, f"tag {label!r}, frames {start} to {end - 1}")


def _frame(text: str) -> int:
    """Returns a frame number.

    Raises:
        ValueError: The text is no number, or the number is beyond all floats.
    """
    if not re.fullmatch(r"-?\d{1,300}", text, re.ASCII):
        shown = text if len(text) < 20 else f"{text[:20]}…"
        raise ValueError(f"expected a frame number. Received: {shown!r}")
    return int(text)


def _runs(numbers: Iterable[int], step: int) -> Iterator[tuple[int, int]]:
    """Yields start and end of each run of ascending numbers at most `step` apart."""
    start = end = None
    for number in numbers:
        if end is not None and number > end:
            yield start, end
            start = None
        start = number if start is None else start
        end = number + step
    if start is not None:
        yield start, end


def _shown(times: Sequence[object]) -> str:
    """Formats the times of an interval, such as "12.4 to 15"."""
    texts = [str(time) if isinstance(time, int | float) else repr(time) for time in times]
    return " to ".join(texts) or "no time"


def _other_form(expected: str, error: Exception) -> str:
    return (
        f"expected {expected}. Received: a part of another form ({type(error).__name__}: {error}); "
        "export it again"
    )


def _warn_of_others(path: AnyPath, others: Mapping[str, int], expected: str) -> None:
    """Logs the labels of an export that are no intervals, such as boxes, by their kind."""
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        logging.warning("%s: skipped labels that are no %s: %s", path, expected, kinds)
