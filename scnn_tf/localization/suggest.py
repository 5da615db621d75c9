"""Which videos to label next: those on which trained networks are least sure of themselves.

A detection is worth a look if its score is neither high nor low, or if a detection of another class
says the same time; and more if its class has few instances so far. A video is worth what its
detections are, for each second that must be watched.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.localization.tables import Detections
from scnn_tf.segments.labels import tiou

_SAME_TIME = 0.5  # tIoU from which on two detections are about the same time
_WORTHLESS = 0.05  # below which a detection is no reason


class Stretch(NamedTuple):
    """A detection that is worth a look.

    Attributes:
        start: Seconds.
        end: Seconds.
        worth: At most 1, but for the weight of its class.
        reason: For example "run, or walk? scores 0.61 and 0.48".
    """

    start: float
    end: float
    worth: float
    reason: str


class Suggestion(NamedTuple):
    """A video that is worth labelling.

    Attributes:
        video_id: Its id.
        worth: Sum over its stretches, for each minute of video.
        stretches: Best first.
    """

    video_id: str
    worth: float
    stretches: tuple[Stretch, ...]


def suggest(
    detections: Detections,
    durations: Mapping[str, float],
    instances: Sequence[str] = (),
) -> list[Suggestion]:
    """Returns the videos without labels, the most useful ones first.

    A stretch is worth w · max(1 - |2 s - 1|, min(s, t) / max(s, t)): s is its score, t that of the
    best detection of another class with a tIoU of .5 or more, 0 without one; w = √(2 m / (m + c)),
    c being the number of instances of its class and m their mean over the classes, so that a class
    without any counts 1.4 times as much as one with as many as others.

    Args:
        detections: Detections in videos without labels.
        durations: Their durations, in seconds, by video id: the videos to choose from.
        instances: Classes of the labelled instances so far, one for each instance.
    """
    counts = Counter(instances)
    classes = {*counts, *detections.label.tolist()}
    mean = len(instances) / max(1, len(classes))
    weights = {name: np.sqrt(2 * mean / (mean + counts[name])) if mean else 1.0 for name in classes}
    found = []
    for video_id, duration in durations.items():
        stretches = _stretches(detections.take(detections.video == video_id), weights)
        worth = sum(each.worth for each in stretches) / max(duration, 1e-9) * 60
        found.append(Suggestion(video_id, worth, tuple(stretches)))
    return sorted(found, key=lambda each: (-each.worth, each.video_id))


def _stretches(detections: Detections, weights: Mapping[str, float]) -> list[Stretch]:
    """Returns the detections of a video that are worth a look, best first."""
    spans = np.stack([detections.start, detections.end], axis=1)
    close = tiou(spans, spans) >= _SAME_TIME
    rivals = close & (detections.label[:, None] != detections.label)
    found = []
    for row, (label, start, end, score) in enumerate(
        zip(detections.label, detections.start, detections.end, detections.score, strict=True)
    ):
        unsure, contested, reason = 1 - abs(2 * score - 1), 0.0, f"{label}? score {score:.2f}"
        if rivals[row].any():
            other = max(np.flatnonzero(rivals[row]), key=lambda k: detections.score[k])
            rival = detections.score[other]
            if rival > score:
                continue  # It is a reason of the better one.
            contested = rival / score if score > 0 else 0.0
            if contested > unsure:
                reason = (
                    f"{label}, or {detections.label[other]}? scores {score:.2f} and {rival:.2f}"
                )
        worth = float(weights[label] * max(unsure, contested))
        if worth > _WORTHLESS:
            found.append(Stretch(float(start), float(end), worth, reason))
    return sorted(found, key=lambda each: (-each.worth, each.start))
