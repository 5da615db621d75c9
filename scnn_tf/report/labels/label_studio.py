"""Drafts as tasks of Label Studio: detections as `predictions`, ground truth as `annotations`."""

import json
from collections.abc import Iterator, Sequence
from statistics import fmean
from urllib.parse import quote

from scnn_tf.report.labels.drafts import Draft, Interval

_CONTROL, _OBJECT = "label", "video"  # Names in the labelling configuration.


def tasks(drafts: Sequence[Draft]) -> str:
    """Returns JSON of a task for each video, for an interface of TimelineLabels on Video.

    Frames count from 1, with both ends in a range, at the rate `fps` of the task's data, which
    `<Video frameRate="$fps">` takes. The score of a prediction is the mean of its regions'.
    """
    return json.dumps([_task(draft) for draft in drafts], indent=1) + "\n"


def _task(draft: Draft) -> dict:
    prediction = {"model_version": draft.model, "result": [*_regions(draft, draft.found)]}
    if draft.found:
        prediction["score"] = fmean(interval.score for interval in draft.found)
    task = {
        "data": {_OBJECT: draft.address or quote(draft.name), "fps": draft.frame_rate},
        "predictions": [prediction],
    }
    if draft.truth is not None:
        result = [*_regions(draft, draft.truth)]
        task["annotations"] = [{"ground_truth": True, "result": result}]
    return task


def _regions(draft: Draft, intervals: Sequence[Interval]) -> Iterator[dict]:
    """Yields a region for each interval."""
    for number, interval in enumerate(intervals, start=1):
        start = round(interval.start * draft.frame_rate) + 1
        end = max(start, round(interval.end * draft.frame_rate))
        region = {
            "id": f"{'truth' if interval.score is None else 'draft'}{number}",
            "type": "timelinelabels",
            "from_name": _CONTROL,
            "to_name": _OBJECT,
            "value": {
                "ranges": [{"start": start, "end": end}],
                "timelinelabels": [interval.label],
            },
        }
        if interval.score is not None:
            region["score"] = interval.score
        yield region
