"""Drafts as files of ELAN, `.eaf`."""

import itertools
import mimetypes
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from scnn_tf.io.files import absolute, file_name, is_local
from scnn_tf.report.labels.drafts import (
    DETECTIONS,
    GROUND_TRUTH,
    Draft,
    Interval,
    without_overlap,
    xml_text,
)


def document(draft: Draft) -> str:
    """Returns the file of one video: tiers of detections and of ground truth, each of one type.

    The values of annotations are classes. Annotations of one tier cannot overlap in ELAN, so there
    are as many tiers, `detections 1`, `detections 2`, …, as detections overlap.
    """
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": draft.model,
            "DATE": datetime.now().astimezone().isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", _media(draft))
    slots = ElementTree.SubElement(root, "TIME_ORDER")
    layers = {DETECTIONS: draft.found}
    if draft.truth is not None:
        layers[GROUND_TRUTH] = draft.truth
    numbers = itertools.count(1)
    for kind, intervals in layers.items():
        for row, annotations in enumerate(without_overlap(intervals), start=1):
            names = {"TIER_ID": f"{kind} {row}", "LINGUISTIC_TYPE_REF": kind}
            tier = ElementTree.SubElement(root, "TIER", names)
            for interval in annotations:
                _add_annotation(tier, slots, next(numbers), interval)
    slots[:] = sorted(slots, key=lambda slot: int(slot.get("TIME_VALUE")))
    last = ElementTree.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    last.text = str(next(numbers) - 1)
    for kind in layers:
        names = {
            "LINGUISTIC_TYPE_ID": kind,
            "TIME_ALIGNABLE": "true",
            "GRAPHIC_REFERENCES": "false",
        }
        ElementTree.SubElement(root, "LINGUISTIC_TYPE", names)
    return xml_text(root)


def _media(draft: Draft) -> dict[str, str]:
    """Returns where the video is: its place on this machine, and next to the `.eaf`.

    ELAN writes paths in URLs as they are, without escapes, and reads them so.
    """
    path = draft.info.path if draft.info else draft.name
    if draft.info and is_local(path):
        path = f"file:///{Path(absolute(path)).as_posix().lstrip('/')}"
    kind = mimetypes.guess_type(draft.name)[0] or "unknown"
    relative = f"./{file_name(draft.name)}"
    return {"MEDIA_URL": path, "MIME_TYPE": kind, "RELATIVE_MEDIA_URL": relative}


def _add_annotation(
    tier: ElementTree.Element, slots: ElementTree.Element, number: int, interval: Interval
) -> None:
    """Adds an annotation to its tier, with two time slots of its own."""
    names = f"ts{2 * number - 1}", f"ts{2 * number}"
    for name, time in zip(names, interval.milliseconds, strict=True):
        ElementTree.SubElement(slots, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time))
    annotation = ElementTree.SubElement(
        ElementTree.SubElement(tier, "ANNOTATION"),
        "ALIGNABLE_ANNOTATION",
        ANNOTATION_ID=f"a{number}",
        TIME_SLOT_REF1=names[0],
        TIME_SLOT_REF2=names[1],
    )
    ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = interval.label
