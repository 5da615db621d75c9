"""Drafts as annotations in ActivityNet's form, which this project reads."""

import json
from collections.abc import Sequence

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import activitynet_json
from scnn_tf.report.labels.drafts import Draft

_SUBSET = "draft"


def annotations(drafts: Sequence[Draft]) -> str:
    """Returns annotations of the subset `draft`, with the scores of detections.

    Videos with ground truth have it under `ground_truth`, which readers of the form skip.
    """
    content = activitynet_json({draft.video_id: _annotation(draft) for draft in drafts})
    for draft in drafts:
        entry = content["database"][draft.video_id]
        for item, interval in zip(entry["annotations"], draft.found, strict=True):
            item["score"] = interval.score
        if draft.truth is not None:
            entry["ground_truth"] = [
                {"label": i.label, "segment": [i.start, i.end]} for i in draft.truth
            ]
    return json.dumps(content, indent=1) + "\n"


def _annotation(draft: Draft) -> VideoAnnotation:
    """Returns the detections of a video as if they were its instances."""
    instances = tuple(Instance(i.label, i.start, i.end) for i in draft.found)
    return VideoAnnotation(
        draft.video_id, _SUBSET, draft.duration, draft.frame_rate, instances, file=draft.file
    )
