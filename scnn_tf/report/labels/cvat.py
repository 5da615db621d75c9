"""Drafts as annotations of CVAT, "CVAT for video 1.1": a track over the whole picture each."""

from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np

from scnn_tf.errors import VideoError
from scnn_tf.io.video import VideoInfo, frame_times
from scnn_tf.report.labels.drafts import Draft, xml_text


def annotations(draft: Draft) -> str:
    """Returns the file for the task of one video.

    CVAT counts the pictures of the file: an interval is those whose times are in it. A track has a
    box where it begins, and one that is outside where it has ended; CVAT draws those in between.

    Raises:
        VideoError: The file of the video was not given, or cannot be read.
    """
    if draft.info is None:
        raise VideoError(
            f"{draft.name}: CVAT counts the pictures of the file, which must be in --video_dir"
        )
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    intervals = draft.in_one_layer()
    _add_meta(root, draft, sorted({interval.label for interval in intervals}))
    times = np.append(frame_times(draft.info.path), draft.info.duration)
    for number, interval in enumerate(intervals):
        start, end = np.searchsorted((times[1:] + times[:-1]) / 2, (interval.start, interval.end))
        start = min(start, len(times) - 2)
        track = ElementTree.SubElement(root, "track", id=str(number), label=interval.label)
        for frame, outside in _key_frames(start, max(end, start + 1), len(times) - 1):
            ElementTree.SubElement(track, "box", _box(frame, outside, draft.info))
    return xml_text(root)


def _add_meta(root: ElementTree.Element, draft: Draft, classes: list[str]) -> None:
    """Adds the description of the task."""
    meta = ElementTree.SubElement(root, "meta")
    task = ElementTree.SubElement(meta, "task")
    pictures = draft.info.num_pictures
    fields = {
        "name": draft.video_id, "size": pictures, "mode": "interpolation", "start_frame": 0,
        "stop_frame": pictures - 1, "frame_filter": "",
    }  # fmt: skip
    for name, value in fields.items():
        ElementTree.SubElement(task, name).text = str(value)
    labels = ElementTree.SubElement(task, "labels")
    for name in classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "attributes")
    size = ElementTree.SubElement(task, "original_size")
    ElementTree.SubElement(size, "width").text = str(draft.info.width)
    ElementTree.SubElement(size, "height").text = str(draft.info.height)
    ElementTree.SubElement(meta, "source").text = draft.name


def _key_frames(start: int, end: int, num_pictures: int) -> Iterator[tuple[int, bool]]:
    """Yields the pictures of a track at which a box is given, and whether it is outside."""
    yield start, False
    if end < num_pictures:
        yield end, True
    elif start < end - 1:
        yield end - 1, False


def _box(frame: int, outside: bool, info: VideoInfo) -> dict[str, str]:
    return {
        "frame": str(frame), "keyframe": "1", "outside": str(int(outside)), "occluded": "0",
        "xtl": "0.00", "ytl": "0.00", "xbr": f"{info.width:.2f}", "ybr": f"{info.height:.2f}",
        "z_order": "0",
    }  # fmt: skip
