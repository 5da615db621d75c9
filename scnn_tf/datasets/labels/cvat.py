"""Reader of CVAT's exports, "CVAT for video 1.1" and "CVAT for images 1.1"."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, warn_of_others
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath

_STEP = re.compile(r"step\s*=\s*(\d+)")  # CVAT's frame filter


def read_cvat(path: AnyPath, root: Element) -> list[LabelledVideo]:
    """Reads CVAT 1.1: tracks of a video, or tags of its frames, which are joined.

    Args:
        path: The file.
        root: Its XML, `annotations` with a `meta`.

    Raises:
        InputError: The file has the tasks of a project.
    """
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
    warn_of_others(path, others, "tracks or tags")
    spans = sorted(spans, key=lambda s: (s.problem != "", 0 if s.problem else s.start))
    return [LabelledVideo(file, tuple(spans), in_frames=True, labelled=bool(spans))]


def _tracks(root: Element, step: int) -> Iterator[Span]:
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


def _tags(root: Element, step: int) -> Iterator[Span]:
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
