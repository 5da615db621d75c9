"""Reader of ELAN's annotation files, `.eaf`."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, number_of
from scnn_tf.datasets.video_files import video_ending
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath

BY_TIER = "TIER_ID"
"""The `attribute` by which classes are the names of the tiers, which ELAN stores as `TIER_ID`."""
_ALIGNED = "ALIGNABLE_ANNOTATION"
_REFERENCE = "REF_ANNOTATION"
_SLOTS = ("TIME_SLOT_REF1", "TIME_SLOT_REF2")
# What precedes a path: file:///C:/a.mp4, file:///home/a.mp4, ../../a.mp4.
_LOCAL_URL = re.compile(r"file:/*(?=[A-Za-z]:/)|file:/*(?=/)|(?:\.{1,2}/)+")

Times = dict[str, tuple[float, float]]
"""Annotation's id → start and end in milliseconds; NaN where it has none."""


def read_elan(path: AnyPath, root: Element, attribute: str | None) -> list[LabelledVideo]:
    """Reads the annotations of one, several or all tiers for each video of the file.

    All media of a file are played together: the annotations hold for each video, at the times of
    its own file. These are later than ELAN's by the video's `TIME_ORIGIN`.

    Args:
        path: The file.
        root: Its XML.
        attribute: Name of the tier, or of the type of the tiers, whose values are the classes;
            `BY_TIER`: the name of its tier is the class of an annotation; None: the tier is the
            only one with annotations. If no annotation has a value, None is `BY_TIER`.

    Raises:
        InputError: The tier is missing or ambiguous, or times are no milliseconds.
    """
    units = root.find("HEADER[@TIME_UNITS]")
    if units is not None and units.get("TIME_UNITS") != "milliseconds":
        raise InputError(
            f"{path}: expected times in milliseconds. Found: {units.get('TIME_UNITS')}; save the "
            "file again with a newer ELAN"
        )
    tiers = {tier.get("TIER_ID", ""): tier for tier in root.iter("TIER")}
    names, by_tier = _chosen(path, tiers, attribute)
    times = _times(root, tiers)
    annotations = [(name, each) for name in names for each in _annotations(tiers[name])]
    videos = []
    for file, origin in _media(path, root):
        if math.isnan(origin):
            problem = f"video {file}: expected a whole number of milliseconds as TIME_ORIGIN"
            videos.append(LabelledVideo("", problem=problem))
            continue
        spans = tuple(
            _span(name, by_tier, annotation, times, origin) for name, annotation in annotations
        )
        videos.append(LabelledVideo(file, spans, labelled=bool(spans)))
    return videos


def _chosen(
    path: AnyPath, tiers: Mapping[str, Element], attribute: str | None
) -> tuple[Sequence[str], bool]:
    """Returns the names of the tiers to read, and whether these are the classes.

    Raises:
        InputError: The tier is missing or ambiguous.
    """
    filled = [name for name, tier in tiers.items() if any(True for _ in _annotations(tier))]
    if attribute == BY_TIER:
        return filled, True
    if attribute is None:
        if not any(_value(each) for name in filled for each in _annotations(tiers[name])):
            return filled, True
        if len(filled) == 1:
            return filled, False
    elif attribute in tiers:
        return [attribute], False
    elif typed := [n for n, tier in tiers.items() if tier.get("LINGUISTIC_TYPE_REF") == attribute]:
        return typed, False
    raise InputError(
        f"{path}: expected one tier whose values are the classes. Found: "
        f"{', '.join(filled) or 'none'}; name it (--attribute), or give --attribute={BY_TIER} if "
        "the names of the tiers are the classes"
    )


def _times(root: Element, tiers: Mapping[str, Element]) -> Times:
    """Returns the times of all annotations, those of a tier before those of its child tiers.

    Reference annotations have no times: those of one parent divide its time into equal parts, as
    ELAN shows them.
    """
    slots = {
        slot.get("TIME_SLOT_ID", ""): number_of(slot.get("TIME_VALUE"))
        for slot in root.iter("TIME_SLOT")
    }
    times: Times = {}
    for tier in sorted(tiers.values(), key=lambda tier: _depth(tier, tiers)):
        _divide_slots(tier, slots)
        parts: dict[str, list[str]] = {}
        for annotation in _annotations(tier):
            key = annotation.get("ANNOTATION_ID", "")
            if annotation.tag == _ALIGNED:
                start, end = (slots.get(slot, math.nan) for slot in _slots(annotation))
                times[key] = start, end
            else:
                parts.setdefault(annotation.get("ANNOTATION_REF", ""), []).append(key)
        for parent, keys in parts.items():
            start, end = times.get(parent, (math.nan, math.nan))
            step = (end - start) / len(keys)
            for number, key in enumerate(keys):
                times[key] = start + number * step, start + (number + 1) * step
    return times


def _depth(tier: Element, tiers: Mapping[str, Element]) -> int:
    """Returns the number of tiers above a tier; a circle of parents ends where it began."""
    above: set[str] = set()
    while (parent := tier.get("PARENT_REF", "")) in tiers.keys() - above:
        above.add(parent)
        tier = tiers[parent]
    return len(above)


def _divide_slots(tier: Element, slots: dict[str, float]) -> None:
    """Sets the slots without a time between two with one, at which they divide it equally.

    ELAN gives no time to the inner ends of annotations that divide another one, until somebody
    aligns them, and shows them in equal parts.
    """
    chain: list[str] = []  # a slot with a time, and those without one that follow it
    for annotation in tier.iter(_ALIGNED):
        first, last = _slots(annotation)
        if not chain or chain[-1] != first:
            chain = [first]
        chain.append(last)
        if not math.isnan(end := slots.get(last, math.nan)):
            start = slots.get(chain[0], math.nan)
            for number, slot in enumerate(chain[1:-1], start=1):
                slots[slot] = start + (end - start) * number / (len(chain) - 1)
            chain = [last]


def _span(name: str, by_tier: bool, annotation: Element, times: Times, origin: float) -> Span:
    """Returns the interval of an annotation, in seconds of a video that starts at an origin."""
    key = annotation.get("ANNOTATION_ID", "")
    start, end = (round((time + origin) / 1000, 6) for time in times[key])
    invalid = math.isnan(start + end)
    where = f"tier {name!r}, annotation {key}" + ("" if invalid else f", {start} to {end} s")
    problem = "its start or its end has no time" if invalid else ""
    return Span(name if by_tier else _value(annotation), start, end, where, problem)


def _media(path: AnyPath, root: Element) -> Iterator[tuple[str, float]]:
    """Yields the videos of a file, each with the time of its file at ELAN's zero, in milliseconds.

    Without a video, the name of the sound is taken for that of the video that it comes from, and
    without any medium the name of the file.
    """
    media = root.findall("HEADER/MEDIA_DESCRIPTOR")
    videos = [each for each in media if _is_video(each)]
    for each in videos or media[:1]:
        file = _file(each) if videos else os.path.splitext(_file(each))[0]
        yield file or path.stem, number_of(each.get("TIME_ORIGIN", "0"))
    if not media:
        yield path.stem, 0.0


def _is_video(medium: Element) -> bool:
    """Returns whether a medium is a video, by its type or by its ending."""
    return medium.get("MIME_TYPE", "").startswith("video/") or video_ending(_file(medium)) != ""


def _file(medium: Element) -> str:
    """Returns the path of a medium, without the way to it from the file; a remote URL stays one."""
    url = medium.get("MEDIA_URL") or medium.get("RELATIVE_MEDIA_URL") or ""
    local = _LOCAL_URL.match(url)
    return unquote(url[local.end() :]) if local else url


def _annotations(tier: Element) -> Iterator[Element]:
    return (each for each in tier.iter() if each.tag in (_ALIGNED, _REFERENCE))


def _value(annotation: Element) -> str:
    return (annotation.findtext("ANNOTATION_VALUE") or "").strip()


def _slots(annotation: Element) -> tuple[str, str]:
    return tuple(annotation.get(key, "") for key in _SLOTS)
