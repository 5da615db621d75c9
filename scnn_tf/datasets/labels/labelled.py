"""Labelled intervals of videos as labelling tools export them, valid or not."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from absl import logging

from scnn_tf.io.files import AnyPath

TRUTH_PREFIX = "ground truth: "
"""Stands before classes of ground truth that is in a file of drafts for comparison only."""
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,9}):)?(\d{1,9}):(\d+\.?\d*|\.\d+)", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Span:
    """A labelled interval of a video.

    Attributes:
        label: Name of the class; "" if the tool has none.
        start: Seconds or frames; NaN if invalid.
        end: Likewise; frames are half-open, `[start, end)`, counted from 0.
        where: Its place in the file, for messages.
        problem: The reason why it is no instance, as the end of a sentence; "" if it may be one.
        is_point: Whether it is a point in time: start and end are equal.
    """

    label: str
    start: float
    end: float
    where: str
    problem: str = ""
    is_point: bool = False


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """A video as a labelling tool exports it; one that is labelled in two ways comes twice.

    Attributes:
        file: Path or URL as the tool knows it, perhaps without extension; "" if it is unknown.
        spans: Labelled intervals, in file order.
        in_frames: Whether the intervals are in frames.
        own_rate: Whether frames are those of the file; if not, the tool has counted at a rate of
            its own.
        rate: The rate of the tool's own, in Hz; None: the export does not say it.
        subset: "" if the tool has none.
        duration: Seconds; None if the tool has none.
        labelled: Whether anybody has labelled it. A labelled video without intervals has no action.
        stored_as: The same path as the tool has renamed the file; "" if it has not.
        problem: The reason why none of it can be used, with its place in the file; or "".
    """

    file: str
    spans: tuple[Span, ...] = ()
    in_frames: bool = False
    own_rate: bool = True
    rate: float | None = None
    subset: str = ""
    duration: float | None = None
    labelled: bool = True
    stored_as: str = ""
    problem: str = ""


def span_of(label: object, times: Sequence[object], where: str) -> Span:
    """Returns an interval of which neither the class nor the times need to be valid."""
    start = end = math.nan
    if not isinstance(label, str | None):
        label, problem = "", f"expected a text as class. Received: {label!r}"
    elif len(times) != 2:
        problem = f"expected a start and an end. Received: {shown(times)}"
    else:
        start, end = map(number_of, times)
        invalid = math.isnan(start + end)
        problem = f"expected two numbers. Received: {shown(times)}" if invalid else ""
    return Span((label or "").strip(), start, end, where, problem)


def point_of(label: object, time: float, where: str) -> Span:
    """Returns a point in time, of which neither the class nor the time need to be valid.

    Args:
        label: The class; None if there is none.
        time: Seconds; NaN if invalid.
        where: Its place in the file.
    """
    span = dataclasses.replace(span_of(label, [time, time], where), is_point=True)
    if not math.isnan(time):
        return span
    return dataclasses.replace(span, problem="expected the time of a point. Found: none")


def seconds(text: str) -> float:
    """Reads `12.5`, `02:03.5` or `1:02:03.5`; NaN for anything else, such as `1_2` or `inf`."""
    clock = _CLOCK.fullmatch(text.strip())
    if clock is None:
        return number_of(text)
    hours, minutes, rest = clock.groups()
    if float(rest) >= 60 or (hours and int(minutes) >= 60):
        return math.nan
    # By Decimal: the sum of three floats may be another float than the one nearest to the time.
    return float(3600 * int(hours or 0) + 60 * int(minutes) + Decimal(rest))


def time_of(value: object) -> object:
    """Returns a number, or the seconds that a text is; anything else as it is, for the message."""
    read = seconds(value) if isinstance(value, str) else math.nan
    return value if math.isnan(read) else read


def number_of(value: object) -> float:
    """Returns a number, or the number that a text is; NaN for anything else."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def without_truth(video: LabelledVideo) -> tuple[LabelledVideo, int]:
    """Returns a video without the ground truth that its drafts were written with, and its number.

    A video that has nothing else has not been labelled again.
    """
    kept = tuple(span for span in video.spans if not span.label.startswith(TRUTH_PREFIX))
    if removed := len(video.spans) - len(kept):
        video = dataclasses.replace(video, spans=kept, labelled=bool(kept))
    return video, removed


def shown(times: Sequence[object]) -> str:
    """Formats the times of an interval, such as "12.4 to 15"."""
    texts = [str(time) if isinstance(time, int | float) else repr(time) for time in times]
    return " to ".join(texts) or "no time"


def other_form(expected: str, error: Exception) -> str:
    """Returns the sentence for a part of an export on which its reader has failed."""
    return (
        f"expected {expected}. Received: a part of another form ({type(error).__name__}: {error}); "
        "export it again"
    )


def warn_of_others(path: AnyPath, others: Mapping[str, int], expected: str) -> None:
    """Logs the labels of an export that are no intervals, such as boxes, by their kind."""
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        logging.warning("%s: skipped labels that are no %s: %s", path, expected, kinds)
