"""Drafts as a project of BORIS: an observation for each video, a state event for each action."""

import json
import string
from collections.abc import Iterator, Sequence
from datetime import datetime

from scnn_tf.datasets.labels.labelled import TRUTH_PREFIX
from scnn_tf.report.labels.drafts import Draft, Interval, without_overlap

_KEYS = string.ascii_lowercase + string.digits  # Of the keyboard, for the first classes.


def project(drafts: Sequence[Draft]) -> str:
    """Returns a project whose behaviors are the classes; the comments of events have scores.

    Events have no subject, except where intervals of one class overlap, which one subject cannot
    do: further ones are of the subjects `overlap 2`, ….
    """
    now = datetime.now().isoformat(timespec="seconds")
    events = {draft.video_id: _events(draft) for draft in drafts}
    rows = [event for each in events.values() for event in each]
    subjects = sorted({subject for _, subject, *_ in rows} - {""})
    # Classes of the ground truth come last: the keys are for the others.
    codes = {code for _, _, code, *_ in rows}
    codes = sorted(codes, key=lambda code: (code.startswith(TRUTH_PREFIX), code))
    content = {
        "time_format": "hh:mm:ss",
        "project_name": drafts[0].model,
        "project_date": now,
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(number): {"key": "", "name": name, "description": ""}
            for number, name in enumerate(subjects)
        },
        "behaviors_conf": {
            str(number): _behavior(label, _KEYS[number : number + 1])
            for number, label in enumerate(codes)
        },
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "converters": {},
        "observations": {
            draft.video_id: _observation(draft, events[draft.video_id], now) for draft in drafts
        },
    }
    return json.dumps(content, indent=1) + "\n"


def _behavior(label: str, key: str) -> dict:
    return {
        "type": "State event", "key": key, "code": label, "description": "", "category": "",
        "modifiers": {}, "excluded": "", "coding map": "",
    }  # fmt: skip


def _observation(draft: Draft, events: list[list], date: str) -> dict:
    path = draft.info.path if draft.info else draft.name
    length = draft.duration or max((event[0] for event in events), default=0.0)
    return {
        "type": "MEDIA", "date": date, "description": "", "time offset": 0.0,
        "file": {"1": [path], "2": []},
        "media_info": {
            "length": {path: length}, "fps": {path: draft.frame_rate},
            "hasVideo": {path: True}, "hasAudio": {path: False}, "offset": {"1": 0.0},
        },
        "events": events, "independent_variables": {}, "visualize_spectrogram": False,
        "visualize_waveform": False, "close_behaviors_between_videos": False,
        "observation time interval": [0, 0],
    }  # fmt: skip


def _events(draft: Draft) -> list[list]:
    """Returns [time, subject, code, modifiers, comment] of each start and end, by time."""
    intervals = draft.in_one_layer()
    events = [
        event
        for label in {interval.label for interval in intervals}
        for number, row in enumerate(without_overlap(i for i in intervals if i.label == label))
        for interval in row
        for event in _start_and_end(f"overlap {number + 1}" if number else "", interval)
    ]
    return sorted(events)


def _start_and_end(subject: str, interval: Interval) -> Iterator[list]:
    start, end = interval.milliseconds
    comment = "" if interval.score is None else f"score {interval.score:.3g}"
    yield [start / 1000, subject, interval.label, "", comment]
    yield [end / 1000, subject, interval.label, "", ""]
