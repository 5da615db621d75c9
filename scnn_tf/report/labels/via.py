"""Drafts as a project of the VGG Image Annotator, VIA 3."""

import json
from collections.abc import Iterator, Sequence

from scnn_tf.report.labels.drafts import DETECTIONS, GROUND_TRUTH, Draft

_FOUND, _TRUTH = "1", "2"  # Ids of the attributes.
_SEGMENT = "FILE1_Z2_XY0"  # Of one file, with two times and no place in the picture.
_TEXT, _VIDEO = 1, 4
_LOCAL, _REMOTE = 1, 2  # The user chooses a local file when the project is opened.


def project(drafts: Sequence[Draft]) -> str:
    """Returns a project: detections and ground truth are segments, each with its own attribute."""
    numbers = [str(number) for number in range(1, len(drafts) + 1)]
    videos = dict(zip(numbers, drafts, strict=True))
    attributes = {_FOUND: _attribute(DETECTIONS)}
    if any(draft.truth is not None for draft in drafts):
        attributes[_TRUTH] = _attribute(GROUND_TRUTH)
    content = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": drafts[0].model,
            "data_format_version": "3.1.1",
            "creator": "scnn_tf",
            "vid_list": numbers,
        },
        "config": {
            "file": {"loc_prefix": dict.fromkeys("1234", "")},
            "ui": {
                "file_content_align": "center",
                "file_metadata_editor_visible": True,
                "spatial_metadata_editor_visible": True,
                "temporal_segment_metadata_editor_visible": True,
                "spatial_region_label_attribute_id": "",
                "gtimeline_visible_row_count": "4",
            },
        },
        "attribute": attributes,
        "file": {number: _file(number, draft) for number, draft in videos.items()},
        "metadata": {
            f"{number}_{row}": segment
            for number, draft in videos.items()
            for row, segment in enumerate(_segments(number, draft), start=1)
        },
        "view": {number: {"fid_list": [number]} for number in numbers},
    }
    return json.dumps(content, indent=1) + "\n"


def _attribute(name: str) -> dict:
    return {
        "aname": name,
        "anchor_id": _SEGMENT,
        "type": _TEXT,
        "desc": "Class of the action",
        "options": {},
        "default_option_id": "",
    }


def _file(number: str, draft: Draft) -> dict:
    return {
        "fid": number,
        "fname": draft.name,
        "type": _VIDEO,
        "loc": _REMOTE if draft.address else _LOCAL,
        "src": draft.address,
    }


def _segments(number: str, draft: Draft) -> Iterator[dict]:
    for attribute, intervals in ((_FOUND, draft.found), (_TRUTH, draft.truth or ())):
        for interval in intervals:
            times = [time / 1000 for time in interval.milliseconds]
            av = {attribute: interval.label}
            yield {"vid": number, "flg": 0, "z": times, "xy": [], "av": av}
