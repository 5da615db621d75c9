"""The actions of the rich synthetic videos, and how fast and how long each is performed.

A jointed figure performs `FIGURE_ACTIONS`; `gaits` has their movements. A blob performs
`BLOB_ACTIONS`; `blobs` has their movements.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets.synthetic import blobs, gaits
from scnn_tf.datasets.synthetic.curves import Pose

# Directions in which a figure faces, in degrees: mean and largest deviation.
_SIDE, _FRONT, _ANY = (90, 25), (0, 35), (45, 45)
_SECONDS = (0.48, 10.0)  # shortest and longest instance: 12 to 250 frames


@dataclass(frozen=True)
class Action:
    """A repeated movement of a figure or a blob, with its speed and its duration.

    Attributes:
        movement: Function of the time in cycles, `[frames]`, that returns the pose.
        rate: Smallest and largest number of cycles per second.
        view: Mean direction in which a figure faces and largest deviation, in degrees: 0 is toward
            the camera, 90 to the right. None: the actor is a blob, which faces in no direction.
        cycles: Smallest and largest number of cycles in an instance.
        whole: Whether an instance starts and ends at rest, after a whole number of cycles; else it
            starts anywhere in the cycle.
    """

    movement: Callable[[np.ndarray], Pose]
    rate: tuple[float, float]
    view: tuple[float, float] | None = None
    cycles: tuple[float, float] = (1, math.inf)
    whole: bool = False

    def seconds(self, rng: np.random.Generator) -> float:
        """Draws the duration of an instance, in seconds."""
        rate = np.exp(rng.uniform(*np.log(self.rate)))
        shortest = max(_SECONDS[0], self.cycles[0] / rate)
        longest = max(shortest, min(_SECONDS[1], self.cycles[1] / rate))
        seconds = np.exp(rng.uniform(np.log(shortest), np.log(longest)))
        return float(math.floor(seconds * rate + 1e-6) / rate if self.whole else seconds)

    def perform(self, rng: np.random.Generator, seconds: float, times: np.ndarray) -> Pose:
        """Returns the poses in an instance, with `travel` and `strafe` in heights per second.

        Args:
            rng: Source of the speed, and of the place in the cycle where an instance starts.
            seconds: Duration of the instance.
            times: `[frames]` seconds since the start; they may be negative or exceed `seconds`.
        """
        if self.whole:
            fewest, most = (seconds * rate for rate in self.rate)
            fewest = max(1, math.ceil(fewest - 0.01))
            count = rng.integers(fewest, max(fewest, math.floor(most + 0.01)), endpoint=True)
            rate = count / seconds
            pose = self.movement(np.clip(times, 0, seconds) * rate)
        else:
            rate = np.exp(rng.uniform(*np.log(self.rate)))
            pose = self.movement(times * rate + rng.random())
        speeds = {name: pose[name] * rate for name in ("travel", "strafe") if name in pose}
        pose = {**pose, **speeds}
        if self.view is not None:
            mean, spread = np.radians(self.view)
            pose["yaw"] = rng.uniform(mean - spread, mean + spread) + pose.get("yaw", 0 * times)
        return pose


FIGURE_ACTIONS = {
    "walk": Action(gaits.walk, rate=(0.65, 1.3), view=_SIDE),
    "run": Action(gaits.run, rate=(1.0, 2.0), view=_SIDE),
    "skip": Action(gaits.skip, rate=(1.0, 2.0), view=_SIDE),  # hops forward on one leg
    "jump": Action(gaits.jump, rate=(0.9, 1.8), view=_SIDE),  # hops forward on both
    "side": Action(gaits.side, rate=(0.9, 1.8), view=_FRONT),  # gallops sideways
    "pjump": Action(gaits.pjump, rate=(1.0, 2.0), view=_ANY),  # jumps in place
    "jack": Action(gaits.jack, rate=(0.6, 1.2), view=_FRONT),  # jumping jack
    "wave1": Action(gaits.wave1, rate=(0.6, 1.5), view=_FRONT),
    "wave2": Action(gaits.wave2, rate=(0.5, 1.2), view=_FRONT),
    "bend": Action(gaits.bend, rate=(0.3, 0.7), view=_SIDE, cycles=(1, 3), whole=True),
    "turn": Action(gaits.turn, rate=(0.35, 0.8), view=_ANY, cycles=(1, 4), whole=True),
    "kick": Action(gaits.kick, rate=(0.6, 1.2), view=_SIDE, cycles=(1, 6), whole=True),
    "squat": Action(gaits.squat, rate=(0.4, 0.9), view=_ANY, cycles=(1, 6), whole=True),
    "box": Action(gaits.box, rate=(0.8, 1.6), view=_SIDE),
}
BLOB_ACTIONS = {
    "expand": Action(blobs.expand, rate=(0.4, 0.9), cycles=(1, 4), whole=True),
    "shrink": Action(blobs.shrink, rate=(0.4, 0.9), cycles=(1, 4), whole=True),
    "rotate": Action(blobs.rotate, rate=(0.3, 0.8), whole=True),
    "sway": Action(blobs.sway, rate=(0.6, 1.4)),  # from side to side
    "bob": Action(blobs.bob, rate=(0.6, 1.4)),  # up and down
    "deform": Action(blobs.deform, rate=(0.6, 1.4)),  # wide and tall in turn
}
ACTIONS = FIGURE_ACTIONS | BLOB_ACTIONS


def deck(rng: np.random.Generator, names: list[str]) -> Iterator[str]:
    """Yields shuffled names without end, all equally often: a small dataset has no rare class."""
    while True:
        yield from map(str, rng.permutation(names))
