"""The clock of a live source: seconds that never run back, from stamps that may do anything.

A file's clock (`clock`) looks at all stamps before it believes one. A live source has only those so
far: a stamp that leaps is believed once the next picture's stamp continues from it.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from absl import logging

from scnn_tf.io.clock import LONGEST_HOLD

# Steps between pictures longer than this, in seconds and in usual steps, need a second picture.
_LEAP, _LEAP_STEPS = 1.0, 10
_T = TypeVar("_T")


class LiveClock(Generic[_T]):
    """Gives pictures their times, over any number of connections.

    A step forward of up to five minutes between two stamps is a gap, in which the picture before it
    stays on display. After a longer step, a step back or a wrap, time continues with the usual
    step. A single stamp that its successor contradicts costs its own picture only.

    Args:
        name: The source, for the log.

    Attributes:
        time: Seconds at which the last picture appears.
        step: Usual seconds between two pictures.
    """

    def __init__(self, name: str):
        self.name = name
        self.time = 0.0
        self.step = 0.04

    def timed(
        self, pictures: Iterable[tuple[_T, float | None]], began: float
    ) -> Iterator[tuple[_T, float]]:
        """Yields the pictures of a connection and their times, increasing.

        Args:
            pictures: Pictures in the order of display, and their stamps in seconds; None: a
                picture without a stamp.
            began: Time of the first picture.
        """
        last = None  # The last stamp that was believed.
        leaping: tuple[_T, float] | None = None
        for picture, stamp in pictures:
            if last is None:
                last, self.time = stamp or 0.0, began
                yield picture, began
                continue
            if stamp is None:
                stamp = (leaping[1] if leaping else last) + self.step
            if leaping and self._continues(stamp - last):
                between = (stamp - last) / 2
                self.time += between
                yield leaping[0], self.time
                last, leaping = last + between, None
            elif leaping:
                self._leap(leaping[1] - last, self._continues(stamp - leaping[1]))
                yield leaping[0], self.time
                last, leaping = leaping[1], None
            if self._continues(stamp - last):
                self.step += (min(stamp - last, 2 * self.step) - self.step) / 16
                self.time += stamp - last
                last = stamp
                yield picture, self.time
            else:
                leaping = picture, stamp
        if leaping:
            self.time += self.step
            yield leaping[0], self.time

    def _continues(self, step: float) -> bool:
        return 0 < step <= max(_LEAP, _LEAP_STEPS * self.step)

    def _leap(self, step: float, confirmed: bool) -> None:
        """Sets the time of a picture whose stamp leaps, as its successor perhaps confirms."""
        if confirmed and 0 < step <= LONGEST_HOLD:
            logging.warning("%s: its pictures pause for %.1f s.", self.name, step)
            self.time += step
        else:
            logging.warning("%s: its clock leaps by %.1f s; time continues.", self.name, step)
            self.time += self.step
