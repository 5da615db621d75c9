"""Mean average precision of frames, for labels that overlap: which classes are on at each time.

At evenly spaced times of each video, a class is on or not, and its score is the highest one of its
detections at that time. AP of a class is the mean, over the times at which it is on, of the
precision among all times of all videos with this score or a higher one; times of equal score count
together, and where the class is on without a detection, precision is 0. It is how MultiTHUMOS
(Yeung et al., "Every Moment Counts", IJCV 2018) and Charades are evaluated.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import ap_rows, instances_by_class, known_detections
from scnn_tf.localization.tables import Detections

_MOST = 10**8  # times of all videos


@dataclass(frozen=True, eq=False)
class FrameEvaluation:
    """Average precision of frames.

    Attributes:
        rate: Times a second.
        class_names: K classes that have instances in the ground truth, alphabetical.
        ap: float64 [K].
        class_instances: int64 [K], number of instances of each class.
        times: Number of times, of all videos.
        videos: Number of videos in the ground truth.
        detections: Number of detections that were scored.
    """

    rate: float
    class_names: tuple[str, ...]
    ap: np.ndarray
    class_instances: np.ndarray
    times: int
    videos: int
    detections: int

    @property
    def map(self) -> float:
        """Mean of `ap` over classes."""
        return float(self.ap.mean())

    def to_json(self) -> dict:
        """Returns the evaluation in plain Python types."""
        return {
            "protocol": "per frame",
            "rate": self.rate,
            "videos": self.videos,
            "times": self.times,
            "instances": int(self.class_instances.sum()),
            "classes": len(self.class_names),
            "detections": self.detections,
            "map": self.map,
            "ap": dict(zip(self.class_names, self.ap.tolist(), strict=True)),
        }

    def table(self) -> str:
        """Returns a text table: what was measured on, AP of each class, and mAP."""
        title = (
            f"per frame: {self.times} times of {self.videos} videos, {self.rate:g} a second, "
            f"{self.class_instances.sum()} instances, {len(self.class_names)} classes"
        )
        rows = ap_rows(
            "class", ["AP"], self.class_names, self.class_instances, self.ap[:, None],
            [self.detections],
        )  # fmt: skip
        return "\n".join([title, *rows])


def evaluate_frames(
    ground_truth: Mapping[str, VideoAnnotation], detections: Detections, *, rate: float
) -> FrameEvaluation:
    """Evaluates detections at evenly spaced times of each video.

    Args:
        ground_truth: Annotations by video id, with durations.
        detections: Detections; those of videos or classes that the ground truth lacks are skipped,
            and the log reports how many. A detection without a score finds nothing.
        rate: Times a second, the first half a step after the start of a video. MultiTHUMOS has 10.

    Raises:
        InputError: The rate is not above 0 or gives no time or too many of them, a video has no
            duration, the ground truth has no instance, or none of the detections is of one of its
            videos.
    """
    if not 0 < rate < np.inf:
        raise InputError(f"expected a rate above 0, in times a second. Received: {rate}")
    if missing := [key for key, video in ground_truth.items() if not video.duration]:
        raise InputError(
            f"expected the duration of each video, to know its times. Found: none of {missing[0]}; "
            "add it to the annotations, or import them with --video_dir"
        )
    classes, class_instances = instances_by_class(ground_truth)
    detections = known_detections(detections, ground_truth)
    numbers = [round(video.duration * rate) for video in ground_truth.values()]
    if not 0 < sum(numbers) <= _MOST:
        raise InputError(
            f"expected a rate that gives from 1 to {_MOST} times. Received: {rate:g} a second, "
            f"which gives {sum(numbers)}"
        )
    bounds = np.cumsum([0, *numbers])
    # Of the times of all videos in a row, those of each video.
    slices = {key: slice(*bounds[k : k + 2]) for k, key in enumerate(ground_truth)}
    ap = np.zeros(len(classes))
    for number, name in enumerate(classes):
        is_on, score = np.zeros(bounds[-1], bool), np.full(bounds[-1], -np.inf)
        for key, video in ground_truth.items():
            for action in video.actions:
                if action.label == name:
                    is_on[slices[key]][_within(action.start, action.end, rate)] = True
        found = detections.take((detections.label == name) & ~np.isnan(detections.score))
        for row in np.argsort(found.score, kind="stable"):  # the highest score is written last
            within = _within(found.start[row], found.end[row], rate)
            score[slices[found.video[row]]][within] = found.score[row]
        ap[number] = _average_precision(is_on, score)
    return FrameEvaluation(
        rate, classes, ap, class_instances, int(bounds[-1]), len(ground_truth), len(detections)
    )


def _within(start: float, end: float, rate: float) -> slice:
    """Returns the numbers of the times within an interval, [start, end) in seconds."""
    # Time k is at (k + ½) / rate.
    first, last = (max(0, int(np.ceil(min(time, 1e9) * rate - 0.5))) for time in (start, end))
    return slice(first, last)


def _average_precision(is_on: np.ndarray, score: np.ndarray) -> float:
    """Returns the AP of a class.

    Args:
        is_on: bool `[M]`, whether it is on at each time.
        score: float `[M]`; -inf without a detection.
    """
    if not is_on.any():
        return 0.0  # its instances lie between two times
    order = np.argsort(-score, kind="stable")
    order = order[score[order] > -np.inf]
    right = np.cumsum(is_on[order])
    # Equal scores count together, as at the last one of them.
    last = np.searchsorted(-score[order], -score[order], side="right") - 1
    precision = (right / np.arange(1, len(order) + 1))[last]
    return float(precision[is_on[order]].sum() / is_on.sum())
