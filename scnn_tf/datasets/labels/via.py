"""Reader of the projects of the VGG Image Annotator, VIA 3."""

from collections import Counter

from scnn_tf.datasets.labels.labelled import (
    LabelledVideo,
    Span,
    other_form,
    shown,
    span_of,
    warn_of_others,
)
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath

SEGMENT = "FILE1_Z2_XY0"
"""The `anchor_id` of the attributes of temporal segments: one file, two times, no region."""


def is_via(content: object) -> bool:
    """Returns whether the content of a JSON file is a project of VIA 3."""
    return isinstance(content, dict) and {"file", "metadata", "attribute"} <= set(content)


def read_via(path: AnyPath, content: dict, attribute: str | None) -> list[LabelledVideo]:
    """Reads VIA 3: `metadata` has `z`, times in seconds, and `av`, attribute → value.

    An entry with two times is a segment, with one a picture or a region of it, without one a note
    on the whole file. Segments that have another attribute only are on another timeline of VIA. A
    file without segments has not been labelled.
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
        if key not in entry["av"] and temporal.keys() & entry["av"].keys():
            other["segment of another attribute"] += 1  # VIA has a timeline an attribute.
            continue
        # A checkbox has several options, `0,2`; a text may contain a comma itself.
        several = isinstance(value, str) and temporal[key].get("type") == 2
        for option in value.split(",") if several else [value]:
            label = options.get(option, option) if isinstance(option, str) else option
            times = [*times[:1], *times[1:][-1:]]
            where = f"segment {name!r}, {shown(times)} s"
            spans.setdefault(str(entry["vid"]), []).append(span_of(label, times, where))
    warn_of_others(path, other, "temporal segments")
    views = content.get("view", {})
    videos = []
    for vid in {**dict.fromkeys(views), **dict.fromkeys(spans)}:
        try:
            fid = str(views[vid]["fid_list"][0]) if vid in views else vid
            file = content["file"][fid]
            name = str(file["fname"] or file["src"] or "")
        except (IndexError, KeyError, TypeError) as error:
            videos.append(LabelledVideo("", problem=f"video {vid}: {other_form('a file', error)}"))
            continue
        problem = "" if name else f"video {vid}: expected the name of a file. Found: none"
        labelled = vid in spans
        videos.append(
            LabelledVideo(name, tuple(spans.get(vid, ())), labelled=labelled, problem=problem)
        )
    return videos
