"""Annotated videos: instances of actions, with their times in seconds."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
from absl import logging

from scnn_tf.errors import InputError

AMBIGUOUS = "Ambiguous"
"""Label of an ambiguous interval: evaluation ignores detections in it, training avoids it."""
_SUBSET_SYNONYMS = {
    "val": "validation",
    "validate": "validation",
    "training": "train",
    "testing": "test",
}
_SUBSET_IN_NAME = re.compile(
    r"(?:^|[_.\W])(train(?:ing)?|val(?:idat(?:e|ion))?|test(?:ing)?)(?=[_.\W]|$)", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Instance:
    """One action in a video.

    Attributes:
        label: Name of the class, or `AMBIGUOUS`.
        start: Start of the action, in seconds.
        end: End of the action, in seconds; infinite for a trimmed video of unknown duration.

    Example:
        >>> scnn_tf.Instance("walk", 12.4, 15.0).label
        'walk'
    """

    label: str
    start: float
    end: float

    def is_usable(self, trimmed: bool = False) -> bool:
        """Returns whether training can use the instance: it has a length and starts at 0 or later.

        Evaluation counts the others like the challenges do: nothing finds an instance without a
        length.

        Args:
            trimmed: Whether its video is trimmed, so that the end may be unknown.
        """
        return 0 <= self.start < self.end and (trimmed or self.end < math.inf)


@dataclasses.dataclass(frozen=True)
class VideoAnnotation:
    """The annotation of one video, known without opening the video.

    Attributes:
        video_id: Id that is unique within the dataset.
        subset: Subset as the file spells it, such as `Test` or `train`.
        duration: Duration in seconds; None: not given.
        fps: Frame rate in frames per second; None: not given.
        instances: Actions and ambiguous intervals in file order, as they are in the file: they may
            end after the video, or have no length (see `Instance.is_usable`).
        trimmed: Whether the whole video is one instance.
        file: Path relative to the folder of videos; None: the file is named after `video_id`.

    Example:
        >>> walk = scnn_tf.Instance("walk", 12.4, 15.0)
        >>> tour = scnn_tf.VideoAnnotation("tour", "train", 60.0, None, (walk,), file="tour.mp4")
        >>> len(tour.actions)
        1
    """

    video_id: str
    subset: str
    duration: float | None
    fps: float | None
    instances: tuple[Instance, ...]
    trimmed: bool = False
    file: str | None = None

    @property
    def actions(self) -> tuple[Instance, ...]:
        """The instances of a class, in file order."""
        return tuple(i for i in self.instances if i.label != AMBIGUOUS)

    @property
    def ambiguous(self) -> tuple[Instance, ...]:
        """The ambiguous intervals, in file order."""
        return tuple(i for i in self.instances if i.label == AMBIGUOUS)

    def clipped(self, duration: float) -> "VideoAnnotation":
        """Returns the annotation with its real duration and instances cut off at it.

        Training needs this. Evaluation must not use it: 26 test intervals of THUMOS'14 end after
        their video, and the challenge scores them as they are.

        Args:
            duration: Seconds, as measured on the video file.
        """
        clipped = tuple(
            dataclasses.replace(i, end=min(i.end, duration))
            for i in self.instances
            if i.start < duration
        )
        return dataclasses.replace(self, duration=duration, instances=clipped)


def class_names(videos: Iterable[VideoAnnotation]) -> tuple[str, ...]:
    """Returns the classes that occur, in alphabetical order, without `AMBIGUOUS`."""
    return tuple(sorted({i.label for video in videos for i in video.actions}))


def in_subset(
    videos: Mapping[str, VideoAnnotation], subset: str | None
) -> dict[str, VideoAnnotation]:
    """Returns the videos of a subset, in their order.

    Args:
        videos: Annotated videos by id.
        subset: Name of the subset. Case does not matter, and neither does `val` or `validation`,
            `train` or `training`, `test` or `testing`. None: all videos.

    Raises:
        InputError: No video is in the subset.
    """
    if subset is None:
        return dict(videos)
    wanted = canonical_subset(subset)
    found = {k: v for k, v in videos.items() if canonical_subset(v.subset) == wanted}
    if not found:
        present = sorted({video.subset for video in videos.values()})
        raise InputError(
            f"expected videos of the subset {subset!r}. Found: {', '.join(present) or 'no video'}"
        )
    return found


def trainable(videos: Mapping[str, VideoAnnotation]) -> dict[str, VideoAnnotation]:
    """Returns the videos with the instances that training can use; the log counts the others.

    A video that has instances, but no usable one, is left out: it is not without actions, so it is
    no background.

    Args:
        videos: Annotated videos by id.
    """
    usable = {
        key: dataclasses.replace(
            v, instances=tuple(i for i in v.instances if i.is_usable(v.trimmed))
        )
        for key, v in videos.items()
    }
    kept = {key: v for key, v in usable.items() if v.instances or not videos[key].instances}
    changed = {k: v for k, v in usable.items() if len(v.instances) < len(videos[k].instances)}
    if changed:
        logging.warning(
            "left out %d instance(s) without a length, or before the start, of %d video(s) such as "
            "%s, and with them %d video(s) that have no other instance",
            sum(len(videos[k].instances) - len(v.instances) for k, v in changed.items()),
            len(changed),
            next(iter(changed)),
            len(videos) - len(kept),
        )
    return kept


def instance_spans(instances: Iterable[Instance]) -> np.ndarray:
    """Returns start and end of each instance, float64 `[N, 2]`, in seconds."""
    return np.array([(i.start, i.end) for i in instances], np.float64).reshape(-1, 2)


def canonical_subset(subset: str) -> str:
    """Returns one name for `Val`, `val` and `validation`, and likewise for the other subsets."""
    subset = subset.strip().lower()
    return _SUBSET_SYNONYMS.get(subset, subset)


def subset_in_name(name: str) -> str | None:
    """Returns the subset that a file's name states, such as `EPIC_100_train.csv`; None: no subset.

    Example:
        >>> subset_in_name("Charades_v1_test.csv"), subset_in_name("latest.csv")
        ('test', None)
    """
    found = _SUBSET_IN_NAME.search(name)
    return canonical_subset(found[1]) if found else None
