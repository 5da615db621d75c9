"""Patterned blobs, the abstract actors: their movements, appearance and painting.

A movement is a function of the time in cycles and returns a pose. The pose of a blob has these
values: `right` and `down`, its place, in radii; `size`, the natural logarithm of its size; `angle`,
in radians; `stretch`, the logarithm of width by height; `dimmed`, from 0 (opaque) to 1.
"""

from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets.synthetic import paint
from scnn_tf.datasets.synthetic.curves import Pose, sine, step, wander
from scnn_tf.datasets.synthetic.paint import contrasting_color

_HEIGHT = (0.2, 0.45)  # heights of the picture
_IDLE = ("still", "drift", "tremble", "flicker")


def expand(cycles: np.ndarray) -> Pose:
    """The blob grows slowly and shrinks fast."""
    return {"size": 0.9 * _ramp(cycles) - 0.25}


def shrink(cycles: np.ndarray) -> Pose:
    """The blob shrinks slowly and grows fast: `expand` backward."""
    return {"size": 0.9 * _ramp(-cycles) - 0.25}


def rotate(cycles: np.ndarray) -> Pose:
    """The blob turns on the spot."""
    # Full turns count as none, so that the blob need not unwind when it stops.
    return {"angle": (2 * np.pi * cycles + np.pi) % (2 * np.pi) - np.pi}


def sway(cycles: np.ndarray) -> Pose:
    """The blob swings from side to side."""
    return {"right": sine(cycles)}


def bob(cycles: np.ndarray) -> Pose:
    """The blob swings up and down."""
    return {"down": sine(cycles)}


def deform(cycles: np.ndarray) -> Pose:
    """The blob becomes wide and tall in turn."""
    return {"stretch": 0.8 * sine(cycles)}


def _ramp(cycles: np.ndarray) -> np.ndarray:
    """Returns a wave that rises from 0 to 1 in four fifths of the cycle, and then falls."""
    cycles = cycles % 1
    return np.minimum(cycles / 0.8, (1 - cycles) / 0.2)


@dataclass(frozen=True)
class Blob:
    """The appearance of a blob.

    Attributes:
        height: Diameter in pixels.
        waves: `[waves, 2]` depth in radii and phase of 2, 3, … waves around the outline.
        color: `[3]` RGB.
        stripes: Contrast in grey levels, and number in a radius, of the stripes across the blob.
        angle: Direction at rest, in radians.
    """

    height: float
    waves: np.ndarray
    color: np.ndarray
    stripes: tuple[float, float]
    angle: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, picture: float, background: np.ndarray) -> "Blob":
        """Draws the appearance, given the picture's height in pixels and mean color `[3]`."""
        depth = rng.uniform(0.03, [0.3, 0.2, 0.12])
        return cls(
            height=picture * rng.uniform(*_HEIGHT),
            waves=np.stack([depth, rng.uniform(0, 2 * np.pi, 3)], axis=1),
            color=contrasting_color(rng, background),
            stripes=(rng.uniform(10, 50), rng.uniform(0.3, 1.2)),
            angle=rng.uniform(0, 2 * np.pi),
        )

    def place(self, rng: np.random.Generator, picture: float) -> float:
        """Draws the row of the blob's middle, given the picture's height, both in pixels."""
        margin = min(self.height * 0.8, picture / 2)
        return rng.uniform(margin, picture - margin)

    def styled(self, rng: np.random.Generator, pose: Pose) -> Pose:
        """Returns a random variant of a movement: mirrored or not, stronger or weaker."""
        sign, strength = rng.choice([-1, 1]), rng.uniform(0.75, 1.25)
        factor = {"angle": sign, "size": strength, "stretch": strength}
        return {name: factor.get(name, sign * strength) * v for name, v in pose.items()}

    def idle(self, rng: np.random.Generator, times: np.ndarray) -> Pose:
        """Returns the poses of a blob that performs no action: it stays near the pose at rest."""
        mode = rng.choice(_IDLE)
        if mode == "drift":
            axes = ("right", "down", "size", "angle", "stretch")
            return {name: 0.2 * wander(rng, times, 5.0) for name in axes}
        if mode == "tremble":
            return {name: 0.06 * wander(rng, times, 0.4) for name in ("right", "down")}
        if mode == "flicker":
            return {"dimmed": 0.7 * step(wander(rng, times, 1.0), 0.5, 0.5)}
        return {}

    def paint(
        self, canvas: np.ndarray, pose: Pose, x: np.ndarray, y: np.ndarray, zoom: np.ndarray
    ) -> None:
        """Paints the blob.

        Args:
            canvas: See the module `paint`; changed in place.
            pose: Values for each frame of the canvas.
            x: `[frames]` column of the blob's middle at rest, in pixels.
            y: `[frames]` row of the blob's middle at rest, in pixels.
            zoom: `[frames]` factor of all sizes.
        """
        at_rest = np.zeros(len(x))
        right, down, size, angle, stretch, dimmed = (
            pose.get(name, at_rest)
            for name in ("right", "down", "size", "angle", "stretch", "dimmed")
        )
        radius = self.height / 2 * zoom
        paint.paint_blob(
            canvas,
            paint.Blob(
                center=np.stack([x + radius * right, y + radius * down], axis=1),
                radius=radius * np.exp(size),
                angle=self.angle + angle,
                stretch=np.exp(stretch / 2),
                opacity=1 - dimmed,
                waves=self.waves,
                color=self.color,
                stripes=self.stripes,
            ),
        )
