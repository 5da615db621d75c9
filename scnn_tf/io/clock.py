"""Finds out when each picture of a video is shown, from the time stamps of its packets.

Zero is the container's zero, the start of its earliest stream, as players, FFmpeg and labelling
tools show it: a picture that follows three seconds of sound alone is shown at three seconds.

No single stamp of a real file is trusted. Presentation stamps are used where they put the decoded
pictures in order; else the k-th picture shown has the k-th decoding stamp, as in AVI, which stores
no others; only a file without either is counted at its average rate. A stamp that is missing,
repeated, or contradicted by the stamps around it costs its own picture and no other.
"""

import bisect
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.errors import VideoError

MISSING = np.iinfo(np.int64).min  # The stamp of a packet that has none.
# A picture held longer than this (seconds) is a broken stamp, not a slow video.
LONGEST_HOLD = 300.0
# Longest video of one file, in seconds: damaged stamps can add up to years.
LONGEST_VIDEO = 86_400.0
# Packets by which decoding order may differ from display order: the buffer of H.264 and HEVC.
_REORDERING = 16
# Stamps on each side that decide whether a clock has restarted or one stamp is wrong.
_WITNESSES = 2 * _REORDERING + 1
# Where more than this share of the stamps is missing, but never two in a row, packets without a
# stamp are taken for parts of pictures, such as the second field of an interlaced picture.
_FEW = 0.1
# Share of the stamps that must be usable; with fewer of them, pictures are counted.
_SOME = 0.3
# A pause is reported if it is so long, in seconds and in usual intervals.
_PAUSE, _PAUSE_INTERVALS = 1.0, 10


class Packets(NamedTuple):
    """The packets of a video stream that hold a picture, in decoding order.

    Attributes:
        pts: int64 `[N]`, presentation stamps in ticks; `MISSING` where there is none.
        dts: int64 `[N]`, decoding stamps in ticks; `MISSING` where there is none.
        duration: int64 `[N]`, in ticks; 0 where unknown.
    """

    pts: np.ndarray
    dts: np.ndarray
    duration: np.ndarray


@dataclasses.dataclass(frozen=True)
class Clock:
    """The times at which the pictures of a video are shown.

    Attributes:
        times: float64 `[N]`, seconds after the container's zero at which each picture appears;
            increasing.
        end: Seconds after the container's zero at which the last picture disappears.
        remarks: What is unusual about the stamps, a phrase each.
        stamps: int64 `[M]`, the presentation stamps, ascending, by which decoded pictures are
            recognized; None where the stamps are useless.
        places: int64 `[M]`, the index in `times` of the picture with each of `stamps`; negative if
            the picture is not shown.
    """

    times: np.ndarray
    end: float
    remarks: tuple[str, ...]
    stamps: np.ndarray | None = None
    places: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """Average number of pictures a second."""
        return len(self.times) / (self.end - self.times[0])

    def place_of(self, stamp: int | None, expected: int) -> int:
        """Returns the index in `times` of a decoded picture.

        Args:
            stamp: The picture's presentation stamp; None if it has none.
            expected: The index that it should have by the pictures before it, which is returned if
                the stamp is not known. A stamp may occur twice, such as after a restart.
        """
        if self.stamps is None or stamp is None:
            return expected
        same = self.places[slice(*np.searchsorted(self.stamps, [stamp, stamp + 1]))]
        return int(min(same, key=lambda place: abs(place - expected), default=expected))


def clock_of(
    packets: Packets,
    path: str,
    *,
    zero: float,
    tick: float,
    rate: float,
    presented: bool,
    reordered: bool,
    delay: int = 0,
    first: Sequence[int] = (),
) -> Clock:
    """Returns the clock of a video.

    Args:
        packets: The video's packets, at least one.
        path: The file, for the error.
        zero: The container's zero, in seconds on the clock of the stamps.
        tick: Seconds of one tick of the stamps.
        rate: Pictures a second, for a file without usable stamps.
        presented: Whether the presentation stamps put the decoded pictures in order.
        reordered: Whether pictures may be shown in another order than they are decoded in.
        delay: Number of packets that the decoder takes before the one with which it gives the first
            picture. Decoding stamps run ahead by so many pictures.
        first: The presentation stamps of the first decoded pictures. A file that begins in the
            middle of a stream begins with pictures that cannot be decoded.

    Raises:
        VideoError: The stamps leap over 5 minutes, or the video lasts more than 24 hours.
    """
    stamps, duration = packets.pts if presented else packets.dts, packets.duration
    known = stamps != MISSING
    if _SOME < known.mean() < 1 - _FEW and (known[:-1] | known[1:]).all():
        stamps, duration = stamps[known], duration[known]
    reordered = reordered and presented  # Decoding stamps are in decoding order.
    shown, doubted, remarks = _continuous(stamps, reordered, LONGEST_HOLD / tick, _PAUSE / tick)
    if (~doubted).mean() < _SOME:
        remark = f"it has no usable time stamps; pictures are counted, at {rate:.6g} a second"
        return _checked(Clock(np.arange(len(stamps)) / rate, len(stamps) / rate, (remark,)), path)
    ordered = np.sort(shown[~doubted])
    step = _usual_step(ordered) or 1 / rate / tick
    shown = _filled(shown, doubted, ordered, step, reordered)
    misled = ordered[0] * tick < zero - (_REORDERING + 1) * step * tick
    if misled or ordered[0] * tick >= zero:
        # The first stamps of the file were wrong, and FFmpeg believed them, or missing.
        zero = min(zero, shown.min() * tick)
    seconds = shown * tick - zero
    times, known_by = np.sort(seconds), {}
    if presented:
        # What is over before the container's zero, or cannot be decoded, is never shown.
        begin = min(seconds[np.isin(stamps, first)], default=0.0)
        hidden = max(0, int(np.searchsorted(times, max(0.0, begin), "right")) - 1)
        order = np.argsort(stamps, kind="stable")
        places = np.searchsorted(times, seconds[order]) - hidden
        known_by = {"stamps": stamps[order], "places": places}
        times = np.maximum(0.0, times[hidden:])
    elif delay < len(times):
        usual = step * tick
        lead = times[delay] - times[0]
        if lead > max(_PAUSE, _PAUSE_INTERVALS * usual):
            lead = delay * usual  # AVI stores the first picture of a late video at zero.
        later = times[-1] + usual * np.arange(1, delay + 1)
        times = np.concatenate([times[delay:], later]) - lead
        times -= min(0.0, times[0])
    # In AVI, the durations of packets are not the steps between them, so the last is not known.
    length, span = duration[np.argmax(shown)], ordered[-1] - ordered[0]
    known_length = presented and abs(duration.sum() - length - span) <= 0.1 * span
    length = length * tick if known_length else 0.0
    if not 0 < length <= LONGEST_HOLD:
        length = step * tick
    return _checked(Clock(times, float(times[-1] + length), remarks, **known_by), path)


def _continuous(
    stamps: np.ndarray, reordered: bool, longest_hold: float, pause: float
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Joins the parts of a clock that restarts, and finds the stamps that cannot be believed.

    Args:
        stamps: int64 `[N]`, in decoding order.
        reordered: Whether this may differ from display order.
        longest_hold: Ticks between two pictures above which the last stamp is not believed.
        pause: Ticks above which it is not believed if no other picture is held nearly as long.

    Returns:
        float64 `[N]`, the stamps on one clock; bool `[N]`, whether each is doubted; remarks.
    """
    doubted = stamps == MISSING
    shown = stamps.astype(np.float64)
    shown[~doubted], restarts = _joined(shown[~doubted], reordered)
    doubted[~doubted] = _repeated(shown[~doubted], reordered)
    contradicted = _contradicted_if_reordered if reordered else _contradicted
    doubted[~doubted] = contradicted(shown[~doubted])
    ordered = np.sort(shown[~doubted])
    steps = np.diff(ordered)
    # Nothing follows the last stamp that would bear it out.
    usual = max(pause, _PAUSE_INTERVALS * steps[:-1].max()) if len(steps) > _WITNESSES else np.inf
    if len(steps) and steps[-1] > min(usual, longest_hold):
        doubted |= shown == ordered[-1]
    remarks = []
    if restarts:
        remarks.append(f"its clock runs back ({restarts} ×); each part follows the part before it")
    if doubted.any():
        remarks.append(
            f"{doubted.sum()} of {len(stamps)} time stamps are missing, repeated or contradicted "
            "by the stamps around them; these pictures are shown between their neighbours"
        )
    return shown, doubted, tuple(remarks)


def _joined(stamps: np.ndarray, reordered: bool) -> tuple[np.ndarray, int]:
    """Moves each part of a restarting clock behind the part before it; returns the restarts too.

    A single wrong stamp is no restart: most stamps after a restart lie before most ones before it.
    """
    step = _usual_step(np.sort(stamps))
    least = (_REORDERING + 1) * step if reordered else 0.0
    stamps, restarts = stamps.copy(), 0
    for begin in np.flatnonzero(np.diff(stamps) < -least) + 1:
        before = stamps[max(0, begin - _WITNESSES) : begin]
        after = stamps[begin : begin + _WITNESSES]
        if min(len(before), len(after)) > 2 and np.median(after) < np.median(before):
            stamps[begin:] += before.max() + step - after.min()
            restarts += 1
    return stamps, restarts


def _repeated(stamps: np.ndarray, reordered: bool) -> np.ndarray:
    """Returns bool `[N]`, the stamps that occur more than once and cannot be told apart.

    In the order of display, the place of each of them is known without its stamp. Of stamps in
    another order, and where most are repeated, the one that is nearest to its place is kept.
    """
    order = np.argsort(stamps, kind="stable")
    place = np.searchsorted(stamps[order], stamps)
    nearest = np.lexsort([np.abs(place - np.arange(len(stamps))), stamps])
    same = np.diff(stamps[nearest]) == 0
    repeated = np.zeros(len(stamps), bool)
    repeated[nearest[1:]] = same
    if not reordered and repeated.sum() < len(stamps) / 4:
        repeated[nearest[:-1]] |= same
    return repeated


def _contradicted(stamps: np.ndarray) -> np.ndarray:
    """Returns bool `[N]`, the stamps outside the longest series of them that increases."""
    if (np.diff(stamps) > 0).all():
        return np.zeros(len(stamps), bool)
    ends, last, previous = [], [], []  # Smallest end of a series of each length, and its stamp.
    for number, stamp in enumerate(stamps.tolist()):
        length = bisect.bisect_left(ends, stamp)
        previous.append(last[length - 1] if length else -1)
        ends[length : length + 1], last[length : length + 1] = [stamp], [number]
    contradicted, number = np.ones(len(stamps), bool), last[-1] if last else -1
    while number >= 0:
        contradicted[number], number = False, previous[number]
    return contradicted


def _contradicted_if_reordered(stamps: np.ndarray) -> np.ndarray:
    """Returns bool `[N]`, the stamps that lie after or before too many others.

    A picture is decoded before at most 16 pictures that are shown earlier. At the end of a video,
    where so few follow, a stamp is contradicted if it lies that far above all of them.
    """
    order = np.argsort(stamps, kind="stable")
    if (np.abs(order - np.arange(len(stamps))) <= _REORDERING).all():
        return np.zeros(len(stamps), bool)
    ahead = _outnumbered(stamps)
    far = (_REORDERING + 1) * _usual_step(stamps[order])
    for number in range(max(0, len(stamps) - _WITNESSES), len(stamps) - 1):
        ahead[number] |= stamps[number] > stamps[number + 1 :].max() + far
    behind = np.zeros(len(stamps), bool)
    behind[~ahead] = _outnumbered(-stamps[~ahead][::-1])[::-1]
    return ahead | behind


def _outnumbered(stamps: np.ndarray) -> np.ndarray:
    """Returns bool `[N]`, whether more than 16 of the next 33 stamps are smaller than each."""
    smaller = np.zeros(len(stamps), np.int8)
    for distance in range(1, min(_WITNESSES, len(stamps) - 1) + 1):
        smaller[:-distance] += stamps[distance:] < stamps[:-distance]
    return smaller > _REORDERING


def _usual_step(ordered: np.ndarray) -> float:
    """Returns the median step between stamps in ascending order; 0 if there are no steps."""
    steps = np.diff(ordered)
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 0.0


def _filled(
    shown: np.ndarray, doubted: np.ndarray, ordered: np.ndarray, step: float, reordered: bool
) -> np.ndarray:
    """Spreads the pictures of doubted stamps over the widest gaps near them.

    Args:
        shown: float64 `[N]`, in decoding order.
        doubted: bool `[N]`.
        ordered: float64 `[M]`, the stamps that are not doubted, ascending.
        step: Usual step between two of them.
        reordered: Whether decoding order may differ from display order.

    Returns:
        float64 `[N]`.
    """
    edges = np.concatenate([[ordered[0] - 2 * step], ordered, [ordered[-1] + 2 * step]])
    gaps, inside = np.diff(edges), {}
    weights = gaps.copy()
    weights[[0, -1]] /= 2  # Before the first and after the last picture there is no hole to fill.
    rank = np.cumsum(~doubted)  # Believed stamps up to here: the gap that follows so many.
    for number in np.flatnonzero(doubted):
        reach = _REORDERING if reordered else 0
        first = max(0, rank[number] - reach)
        near = np.arange(first, min(len(gaps), rank[number] + reach + 1))
        width = [weights[gap] / (len(inside.get(gap, ())) + 1) for gap in near]
        widest = near[np.isclose(width, max(width))]
        gap = int(widest[np.argmin(np.abs(widest - rank[number]))])
        inside.setdefault(gap, []).append(number)
    filled = shown.copy()
    for gap, numbers in inside.items():
        places = np.arange(1, len(numbers) + 1)
        if gap == 0:
            filled[numbers] = ordered[0] - step * places[::-1]
        elif gap == len(ordered):
            filled[numbers] = ordered[-1] + step * places
        else:
            filled[numbers] = edges[gap] + places / (len(numbers) + 1) * gaps[gap]
    return filled


def _checked(clock: Clock, path: str) -> Clock:
    """Returns a clock that neither leaps nor lasts too long, with a remark about its pauses."""
    times, remarks = clock.times, list(clock.remarks)
    steps = np.diff(times)
    if len(steps) and steps.max() > LONGEST_HOLD:
        leap = np.argmax(steps > LONGEST_HOLD)
        raise VideoError(
            f"{path}: its time stamps leap from {times[leap]:.1f} s to {times[leap + 1]:.1f} s; "
            "re-encode the video at a constant frame rate, or cut it there."
        )
    if clock.end > LONGEST_VIDEO:
        raise VideoError(f"{path} lasts more than 24 hours; cut it into shorter files.")
    if times[0] >= _PAUSE:
        remarks.append(f"its first picture is shown after {times[0]:.2f} s, and stands until then")
    pauses = np.flatnonzero(steps > max(_PAUSE, _PAUSE_INTERVALS * _usual_step(times)))
    if len(pauses):
        longest = pauses[np.argmax(steps[pauses])]
        remarks.append(
            f"its pictures pause ({len(pauses)} ×), longest from {times[longest]:.2f} s to "
            f"{times[longest + 1]:.2f} s; the picture before stays on display"
        )
    return dataclasses.replace(clock, remarks=tuple(remarks))
