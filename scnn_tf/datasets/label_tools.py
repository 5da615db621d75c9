"""Readers of the exports of labelling tools: CSV, VIA 3, Label Studio and CVAT.

Each reader returns `LabelledVideo`s as the tool exports them, in seconds or in frames, including
invalid rows: `import_labels` turns them into instances and reports all mistakes at once.
"""

import dataclasses
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree

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
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of a file
_STEP = re.compile(r"step\s*=\s*(\d+)")  # CVAT's frame filter


@dataclasses.dataclass(frozen=True)
class Span:
    """A labelled interval of a video.

    Attributes:
        label: Name of the class; "" if the tool has none.
        start: Seconds or frames; NaN if invalid.
        end: Likewise; frames are half-open, `[start, end)`, counted from 0.
        where: Its place in the file, for messages.
    """

    label: str
    start: float
    end: float
    where: str


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """A video as a labelling tool exports it.

    Attributes:
        file: Name of its file, perhaps without extension, perhaps with a path.
        spans: Labelled intervals, in file order.
        in_frames: Whether the intervals are in frames.
        own_rate: Whether frames are those of the file; if not, the tool has counted at a rate of
            its own, which is not in its export.
        subset: "" if the tool has none.
        duration: Seconds; None if the tool has none.
    """

    file: str
    spans: tuple[Span, ...]
    in_frames: bool = False
    own_rate: bool = True
    subset: str = ""
    duration: float | None = None


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
    try:
        if isinstance(content, dict) and {"file", "metadata", "attribute"} <= set(content):
            return _read_via(path, content, attribute)
        tasks = content if isinstance(content, list) else [content]
        if tasks and all(isinstance(t, dict) and {"data", "annotations"} <= set(t) for t in tasks):
            return _read_label_studio(path, tasks)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: expected an export of VIA or Label Studio. Received: a part of another form "
            f"({type(error).__name__}: {error}); export it again"
        ) from error
    raise InputError(
        f'{path}: expected a project of VIA 3 ("file", "metadata", "attribute") or Label Studio\'s '
        'export as JSON (tasks with "data" and "annotations"; not JSON-MIN)'
    )


def seconds(text: str) -> float:
    """Reads `12.5`, `02:03.5` or `1:02:03.5`; NaN for anything else."""
    parts = text.strip().split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return float("nan")
    clock = len(parts) == 1 or (
        len(parts) <= 3 and all(p.strip().isdecimal() for p in parts[:-1])
        and all(0 <= n < 60 for n in numbers[1:])
    )  # fmt: skip
    return sum(n * 60**i for i, n in enumerate(reversed(numbers))) if clock else float("nan")


def _read_csv(path: AnyPath) -> list[LabelledVideo]:
    """Reads `CSV_COLUMNS` in any order; a row without label and times names a video only."""
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv_rows(path, text, delimiter)
    names = [name.strip().lower() for name in next(rows, (0, []))[1]]
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
    for number, row in rows:
        if not any(value.strip() for value in row):
            continue
        if len(row) != len(names):
            raise InputError(
                f"{path}, line {number}: expected {len(names)} values. Received: {len(row)}"
            )
        video, label, start, end, subset = (
            "" if place[column] is None else row[place[column]].strip() for column in CSV_COLUMNS
        )
        if not video:
            raise InputError(f"{path}, line {number}: expected the name of a video. Found: none")
        if (
            delimiter != ","
        ):  # numbers may have a decimal comma if columns are separated by another sign
            start, end = start.replace(",", "."), end.replace(",", ".")
        spans = videos.setdefault((video, subset), [])
        if label or start or end:
            where = f"line {number}, {start or 'nothing'} to {end or 'nothing'}"
            spans.append(Span(label, seconds(start), seconds(end), where))
    return [
        LabelledVideo(video, tuple(spans), subset=subset)
        for (video, subset), spans in videos.items()
    ]


def _read_via(path: AnyPath, content: dict, attribute: str | None) -> list[LabelledVideo]:
    """Reads VIA 3: `metadata` has `z`, two times in seconds, and `av`, attribute → value."""
    temporal = {
        key: value for key, value in content["attribute"].items()
        if str(value.get("anchor_id", "")).startswith("FILE1_Z2")
    }  # fmt: skip
    used = {m for entry in content["metadata"].values() for m in entry["av"]} & set(temporal)
    if attribute is not None:
        used = {key for key in temporal if temporal[key]["aname"] == attribute}
    if len(used) != 1 and content["metadata"]:
        names = ", ".join(str(value["aname"]) for value in temporal.values()) or "none"
        raise InputError(
            f"{path}: expected one attribute of its temporal segments that is the class. Found: "
            f"{names}; name it (--attribute)"
        )
    key = next(iter(used), None)
    options = temporal[key].get("options", {}) if key else {}
    spans: dict[str, list[Span]] = {}
    for name, entry in content["metadata"].items():
        times = [float(time) for time in entry["z"]]
        if entry.get("xy") and len(times) < 2:
            continue  # a region of one picture
        value = str(entry["av"].get(key, ""))
        # A checkbox has several options, `0,2`; a text may contain a comma itself.
        values = value.split(",") if temporal[key].get("type") == 2 else [value]
        start, end = (times[0], times[-1]) if times else (float("nan"),) * 2
        for option in values:
            label = str(options.get(option, option)).strip()
            where = f"segment {name!r}, {start:g} to {end:g} s"
            spans.setdefault(str(entry["vid"]), []).append(Span(label, start, end, where))
    views = content.get("view", {})
    videos = []
    for vid in {**dict.fromkeys(views), **dict.fromkeys(spans)}:
        fid = str(views[vid]["fid_list"][0]) if vid in views else vid
        file = content["file"][fid]
        videos.append(
            LabelledVideo(str(file["fname"] or file["src"] or ""), tuple(spans.get(vid, ())))
        )
    return videos


def _read_label_studio(path: AnyPath, tasks: Sequence[dict]) -> list[LabelledVideo]:
    """Reads Label Studio: ranges of frames (TimelineLabels, Video) or seconds (Labels, Audio)."""
    videos = []
    for task in tasks:
        where = f"task {task.get('id', '?')}"
        given = [a for a in task["annotations"] if not a.get("was_cancelled")]
        given = [a for a in given if a.get("ground_truth")] or given
        if len(given) > 1:
            raise InputError(
                f"{path}, {where}: expected one annotation. Found: {len(given)}; mark one as "
                "ground truth, or delete the others"
            )
        frames, timed, duration = [], [], None
        for region in given[0]["result"] if given else []:
            value = region.get("value", {})
            if "timelinelabels" in value:
                for label in value["timelinelabels"] or [""]:
                    for span in value["ranges"]:  # both ends inclusive, counted from 1
                        text = f"{where}, frames {span['start']} to {span['end']}"
                        first, last = float(span["start"]) - 1, float(span["end"])
                        frames.append(Span(label, first, last, text))
            elif {"start", "end", "labels"} <= set(value):
                length = float(region.get("original_length") or math.nan)
                duration = length if 0 < length < math.inf else duration
                for label in value["labels"] or [""]:
                    text = f"{where}, {value['start']} to {value['end']} s"
                    timed.append(Span(label, float(value["start"]), float(value["end"]), text))
        if frames and timed:
            raise InputError(
                f"{path}, {where}: contains both ranges of frames and times in seconds; export "
                "them as separate tasks"
            )
        videos.append(
            LabelledVideo(
                _task_video(path, where, task),
                tuple(frames or timed),
                in_frames=bool(frames),
                own_rate=False,
                duration=duration,
            )
        )
    return videos


def _task_video(path: AnyPath, where: str, task: dict) -> str:
    """Returns a file's name: `kitchen.mp4` for `/data/upload/1/1f2e3d4c-kitchen.mp4`."""
    values = [value for value in task["data"].values() if isinstance(value, str)]
    names = [unquote(value).split("?d=")[-1].split("?")[0] for value in values]
    names = [n for n in names if PurePosixPath(n).suffix.lower() in VIDEO_EXTENSIONS] or names[:1]
    if not names:
        raise InputError(f'{path}, {where}: expected a video in "data". Found: none')
    return _UPLOAD.sub("", PurePosixPath(names[0]).name)


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
    try:
        spans = [*_tracks(root, step), *_tags(root, step)]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: expected a frame number and a label for each track and image. Received: "
            f"{error}; export it again as CVAT for video 1.1 or CVAT for images 1.1"
        ) from error
    spans = sorted(spans, key=lambda span: span.start)
    return [LabelledVideo(file, tuple(spans), in_frames=True)]


def _tracks(root: ElementTree.Element, step: int) -> Iterator[Span]:
    """Yields a span from each first visible shape to the next shape outside, or the last shape."""
    for track in root.iter("track"):
        label, where = track.attrib["label"], f"track {track.get('id', '?')}"
        shapes = sorted(
            (_frame(shape.attrib["frame"]), shape.get("outside") == "1")
            for shape in track
            if "frame" in shape.attrib
        )
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
            frames.setdefault(tag.attrib["label"], []).append(_frame(image.attrib["id"]))
    for label, numbers in frames.items():
        for start, end in _runs(sorted(set(numbers)), step):
            yield Span(label, start, end, f"tag {label!r}, frames {start} to {end - 1}")


def _frame(text: str) -> int:
    """Returns a frame number.

    Raises:
        ValueError: The text is no number, or the number is beyond all floats.
    """
    number = int(text)
    if abs(number) > sys.float_info.max:
        raise ValueError(f"frame number {text[:20]}… is too large")
    return number


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
