"""Reader of BORIS' projects, `.boris`, and what its tables have in common with them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from absl import logging

from scnn_tf.datasets.labels.labelled import (
    LabelledVideo,
    Span,
    number_of,
    other_form,
    point_of,
    span_of,
)
from scnn_tf.io.files import AnyPath, as_name

POINT, START, STOP = "POINT", "START", "STOP"


@dataclass(frozen=True)
class Event:
    """An event of an observation.

    Attributes:
        time: Seconds since the first media file began; NaN if invalid.
        subject: The person or animal; "" if there is none.
        code: The behaviour.
        modifiers: What the observer has added to it.
        status: POINT, START or STOP; "": the first of a subject's events with one code and
            modifiers is a START, the next one a STOP, and so on.
        where: Its place in the file.
    """

    time: float
    subject: str
    code: str
    modifiers: str
    status: str
    where: str


def is_boris(content: object) -> bool:
    """Returns whether the content of a JSON file is a project of BORIS."""
    return isinstance(content, dict) and {"observations", "behaviors_conf"} <= set(content)


def read_boris(path: AnyPath, content: Mapping) -> list[LabelledVideo]:
    """Reads the observations of a project; their behaviours are the classes.

    Times count from the start of the first of the media files that one player shows one after
    another. Other players show the same from elsewhere; their media files are not labelled.
    """
    kinds = {each["code"]: str(each["type"]) for each in content["behaviors_conf"].values()}
    videos = []
    views = 0
    for name, observation in content["observations"].items():
        where = f"observation {name!r}"
        try:
            videos.extend(_observed(observation, kinds, where))
            players = observation["file"] or {}
            views += sum(len(files) for player, files in dict(players).items() if player != "1")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            problem = f"{where}: {other_form('an observation of BORIS', error)}"
            videos.append(LabelledVideo("", problem=problem))
    if views:
        logging.warning(
            "%s: times are those of the first player; not labelled: %d media file(s) of others",
            path,
            views,
        )
    return videos


def _observed(observation: Mapping, kinds: Mapping[str, str], where: str) -> list[LabelledVideo]:
    """Returns the media files of an observation with their events."""
    events = observation["events"]
    if observation["type"] != "MEDIA":
        return [not_of_media(where)] if events else []
    if observation.get("media_creation_date_as_offset"):
        problem = "expected times since the start of the media. Found: times since their creation"
        return [LabelledVideo("", problem=f"{where}: {problem}")]
    lengths = observation.get("media_info", {}).get("length", {})
    files = [as_name(file) for file in observation["file"]["1"]]
    media = [(file, number_of(lengths.get(file))) for file in files]
    offset = number_of(observation.get("time offset", 0))
    listed = [_event(number, each, kinds, offset) for number, each in enumerate(events, start=1)]
    listed.sort(key=lambda event: (math.isnan(event.time), event.time))
    return divided(paired(listed, where), media, where)


def _event(number: int, given: object, kinds: Mapping[str, str], offset: float) -> Event:
    """Returns an event: time, subject, code and modifiers; a comment and a frame may follow.

    Like BORIS, it takes a code that is not among the behaviours for that of a point event.
    """
    given = given if isinstance(given, list) else []
    time, subject, code, modifiers, *_ = [*given, *[""] * 4]
    code = code if isinstance(code, str) else ""
    status = "" if kinds.get(code, "").startswith("State") else POINT
    where = f"event {number} at {time} s"
    return Event(number_of(time) - offset, str(subject), code, str(modifiers), status, where)


def not_of_media(where: str) -> LabelledVideo:
    """Returns what is listed of an observation that was made without a video."""
    return LabelledVideo(
        "", problem=f"{where}: expected events of media files. Found: no media file"
    )


def paired(events: Iterable[Event], observation: str) -> Iterator[Span]:
    """Yields a span from each start to its stop, of the same subject, code and modifiers.

    Args:
        events: The events of an observation, in the order of their times.
        observation: Its place in the file.
    """
    started: dict[tuple[str, str, str], Event] = {}

    def alone(event: Event, problem: str) -> Span:
        return Span(event.code, math.nan, math.nan, f"{observation}, {event.where}", problem)

    for event in events:
        key = (event.subject, event.code, event.modifiers)
        if math.isnan(event.time):
            yield alone(event, "expected a time in seconds. Found: none")
        elif event.status == POINT:
            yield point_of(event.code, event.time, f"{observation}, {event.where}")
        elif key in started and event.status != START:
            start = started.pop(key)
            where = f"{observation}, {start.where} to {event.where}"
            yield span_of(event.code, [start.time, event.time], where)
        elif event.status == STOP:
            yield alone(event, "it stops what no event before it starts")
        else:
            if key in started:
                yield alone(started[key], "it starts what no event after it stops")
            started[key] = event
    for event in started.values():
        yield alone(event, "it starts what no event after it stops")


def divided(
    spans: Iterable[Span], media: Sequence[tuple[str, float]], where: str
) -> list[LabelledVideo]:
    """Divides times that run on over several media files among the files.

    An instance that begins in one file and ends in the next has a part in each. A file without an
    instance has not been labelled.

    Args:
        spans: What happens, in seconds since the first file began.
        media: Each file with its length in seconds, NaN if unknown, in their order.
        where: The observation's place in the file.
    """
    spans = list(spans)
    if not media:
        return [not_of_media(where)] if spans else []
    lengths = [length if 0 < length < math.inf else math.nan for _, length in media]
    begins = [-math.inf, *accumulate(lengths[:-1])]
    if spans and any(map(math.isnan, begins)):
        problem = (
            f"{where}: times run on over {len(media)} media files, whose lengths this export does "
            "not say; give the project (.boris) instead, of which BORIS knows them"
        )
        return [LabelledVideo("", problem=problem)]
    parts: list[list[Span]] = [[] for _ in media]
    for span in spans:
        if span.problem:
            parts[0].append(span)
            continue
        for own, begin, end in zip(parts, begins, [*begins[1:], math.inf], strict=True):
            own.extend(_part(span, begin, end))
    return [
        LabelledVideo(
            file,
            tuple(own),
            duration=None if math.isnan(length) else length,
            labelled=bool(own),
        )
        for (file, _), length, own in zip(media, lengths, parts, strict=True)
    ]


def _part(span: Span, begin: float, end: float) -> Iterator[Span]:
    """Yields the part of a span, if any, that is in a file, in seconds of the file.

    Args:
        span: A valid span.
        begin: When the file begins, in seconds; of the first file, -infinity.
        end: When the next file begins.
    """
    if span.start < end and (begin <= span.start or begin < span.end):
        zero = max(begin, 0.0)
        first, last = max(span.start, begin) - zero, min(span.end, end) - zero
        yield replace(span, start=round(first, 6), end=round(last, 6))
