"""Bootstrap of mAP over test videos and training runs: which differences exceed the noise.

Detections are matched once. The mAP of any multiset of the videos follows from the matches, so
that thousands of resamples take seconds.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import known_detections
from scnn_tf.evaluation.protocols import get_protocol
from scnn_tf.localization.tables import Detections

LEVEL = 0.95  # probability of an interval


@dataclass(frozen=True, eq=False)
class MatchedVideos:
    """Detections of V videos, matched with the instances of K classes at one tIoU threshold.

    Attributes:
        protocol: `thumos14` or `activitynet`.
        instances: int64 [K, V], number of instances of each class in each video.
        video: For each class, int64 [D], the video of each detection that counts, best first.
        hit: For each class, bool [D], whether the detection is true.
    """

    protocol: str
    instances: np.ndarray
    video: tuple[np.ndarray, ...]
    hit: tuple[np.ndarray, ...]

    def mean_ap(self, counts: np.ndarray | None = None) -> float:
        """Returns the mAP of a multiset of the videos, as if its copies were videos of their own.

        Args:
            counts: int64 [V], how often each video occurs; None: each once.

        Returns:
            The mean over the classes that have instances; NaN if no class has.
        """
        rules = get_protocol(self.protocol)
        if counts is None:
            counts = np.ones(self.instances.shape[1], int)
        ap = [
            rules.average_precision(np.repeat(hit, counts[video]), number)
            for video, hit, number in zip(
                self.video, self.hit, self.instances @ counts, strict=True
            )
            if number
        ]
        return float(np.mean(ap)) if ap else float("nan")


def match_videos(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    *,
    tiou_threshold: float,
    protocol: str = "thumos14",
) -> MatchedVideos:
    """Matches detections with the instances of all videos of the ground truth.

    Args:
        ground_truth: Annotations by video id; the V videos are in the order of their ids.
        detections: Detections, see `evaluate.evaluate`.
        tiou_threshold: tIoU threshold in (0, 1].
        protocol: `thumos14` or `activitynet`.

    Raises:
        InputError: See `evaluate.evaluate`.
    """
    rules, ids = get_protocol(protocol), sorted(ground_truth)
    detections = known_detections(detections, ground_truth)
    detections = detections.take(rules.ranks(detections))
    matches = rules.match(ground_truth, detections, np.array([tiou_threshold]))
    video = np.searchsorted(ids, detections.video)
    instances, videos, hits = [], [], []
    for name in class_names(ground_truth.values()):
        rows = (detections.label == name) & matches.counted[:, 0]
        videos.append(video[rows])
        hits.append(matches.instance[rows, 0] >= 0)
        instances.append([sum(i.label == name for i in ground_truth[key].actions) for key in ids])
    return MatchedVideos(protocol, np.array(instances, int), tuple(videos), tuple(hits))


def resampled_maps(
    variants: Mapping[Hashable, Sequence[Sequence[MatchedVideos]]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[Hashable, np.ndarray]:
    """Returns the mAP of each variant in the same resamples of videos and runs.

    A resample draws, with replacement, of each dataset as many videos and as many runs as it has.
    Its mAP is the mean over the drawn runs, each on the drawn videos, and over the datasets, which
    are not drawn.

    Args:
        variants: Name → for each dataset, for each run, the matched test videos. Of all variants,
            the datasets and the number of their runs are the same.
        resamples: Number B of resamples.
        seed: Random seed of the draws.

    Returns:
        Name → float64 [B]; NaN where no drawn video has an instance.
    """
    first = next(iter(variants.values()))
    random = np.random.default_rng(seed)
    draws = []
    for runs in first:
        videos = runs[0].instances.shape[1]
        counts = random.multinomial(videos, np.full(videos, 1 / videos), resamples)
        draws.append((counts, random.integers(len(runs), size=(resamples, len(runs)))))
    return {
        name: np.mean(
            [
                _of_dataset(runs, counts, chosen)
                for runs, (counts, chosen) in zip(datasets, draws, strict=True)
            ],
            axis=0,
        )
        for name, datasets in variants.items()
    }


class Interval(NamedTuple):
    """A confidence interval of probability `LEVEL`.

    Attributes:
        low: Its lower end.
        high: Its upper end.
    """

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference with this interval exceeds the noise."""
        return self.low > 0 or self.high < 0


def interval(values: np.ndarray) -> Interval:
    """Returns the interval between the percentiles of resampled values, float64 [B].

    Raises:
        InputError: All values are NaN.
    """
    if np.isnan(values).all():
        raise InputError("expected test videos with actions. Found: none in any resample")
    outside = 50 * (1 - LEVEL)
    return Interval(*np.nanpercentile(values, [outside, 100 - outside]).tolist())


def _of_dataset(
    runs: Sequence[MatchedVideos], counts: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Returns the mean mAP of the chosen runs, `[B, S]`, on the drawn videos, counts `[B, V]`."""
    maps = np.array([[run.mean_ap(row) for run in runs] for row in counts])
    return np.take_along_axis(maps, chosen, axis=1).mean(axis=1)
