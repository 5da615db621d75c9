"""Jointed figures, the human actors: their proportions, clothes, joints and painting.

`gaits` describes the values of a pose. Lengths are in heights of the figure.
"""

from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets.synthetic.actions import FIGURE_ACTIONS
from scnn_tf.datasets.synthetic.curves import Pose, positive, wander
from scnn_tf.datasets.synthetic.gaits import mirrored
from scnn_tf.datasets.synthetic.paint import Capsules, contrasting_color, paint_capsules

_HEIGHT = (0.25, 0.8)  # heights of the picture
_LENGTHS = {
    "trunk": 0.29,  # from the hips to the neck
    "neck": 0.09,  # from there to the middle of the head
    "shoulder": 0.1,  # from the middle to the side
    "hip": 0.05,
    "upper_arm": 0.165,
    "forearm": 0.16,
    "thigh": 0.24,
    "shin": 0.24,
    "foot": 0.08,
}
_LENGTH_SPREAD = 0.12  # of each length, as a fraction
# Joints at both ends, radius at each of them, and the covering. All parts but the head have a left
# and a right side.
_PARTS = (
    ("head", "head", 0.06, 0.06, "skin"),
    *(
        (f"{start}_{side}", f"{end}_{side}", first, last, cover)
        for side in "lr"
        for start, end, first, last, cover in (
            ("chest", "hip", 0.06, 0.055, "shirt"),
            ("shoulder", "elbow", 0.034, 0.028, "sleeve"),
            ("elbow", "wrist", 0.027, 0.022, "cuff"),
            ("hip", "knee", 0.052, 0.037, "trousers"),
            ("knee", "ankle", 0.037, 0.025, "leg"),
            ("ankle", "toe", 0.024, 0.018, "shoe"),
        )
    ),
)
_THICKNESS = (0.85, 1.35)
_STRENGTH = (0.85, 1.15)  # of a movement
_IDLE = ("stand", "fidget", "gesture", "look around", "freeze")


@dataclass(frozen=True)
class Figure:
    """The appearance of a figure.

    Attributes:
        height: Height in pixels.
        lengths: Name → length, see `_LENGTHS`.
        thickness: Factor of all radii.
        color: `[parts, 3]` RGB.
        stripes: `[parts, 2]` contrast in grey levels, and number, of the stripes along a part.
    """

    height: float
    lengths: dict[str, float]
    thickness: float
    color: np.ndarray
    stripes: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, picture: float, background: np.ndarray) -> "Figure":
        """Draws the appearance, given the picture's height in pixels and mean color `[3]`."""
        covers = {
            name: (contrasting_color(rng, background), (rng.uniform(0, 40), rng.uniform(0.5, 3)))
            for name in ("skin", "shirt", "trousers", "shoe")
        }
        # Sleeves and trousers may be long or short.
        covers["sleeve"] = covers["shirt"]
        covers["cuff"] = covers[rng.choice(["shirt", "skin"])]
        covers["leg"] = covers[rng.choice(["trousers", "skin"], p=[0.7, 0.3])]
        return cls(
            height=picture * rng.uniform(*_HEIGHT),
            lengths={
                name: length * rng.uniform(1 - _LENGTH_SPREAD, 1 + _LENGTH_SPREAD)
                for name, length in _LENGTHS.items()
            },
            thickness=rng.uniform(*_THICKNESS),
            color=np.array([covers[part[-1]][0] for part in _PARTS]),
            stripes=np.array([covers[part[-1]][1] for part in _PARTS]),
        )

    def place(self, rng: np.random.Generator, picture: float) -> float:
        """Draws the row of the ground under the figure, given the picture's height, in pixels."""
        lowest = 0.97 * picture
        return rng.uniform(min(1.2 * self.height, lowest), lowest)

    def styled(self, rng: np.random.Generator, pose: Pose) -> Pose:
        """Returns a random variant of a movement: mirrored or not, stronger or weaker."""
        strength = rng.uniform(*_STRENGTH)
        pose = {name: v if name == "yaw" else strength * v for name, v in pose.items()}
        return mirrored(pose) if rng.random() < 0.5 else pose

    def idle(self, rng: np.random.Generator, times: np.ndarray) -> Pose:
        """Returns the poses of a figure that performs no action.

        The figure stands, moves its limbs a little, gestures with an arm, looks around, or is
        frozen in the middle of an action.
        """
        yaw = np.full(len(times), rng.uniform(-np.pi / 2, np.pi / 2))
        mode = rng.choice(_IDLE)
        if mode == "freeze":
            action = FIGURE_ACTIONS[str(rng.choice(list(FIGURE_ACTIONS)))]
            pose = action.movement(np.full(len(times), rng.random()))
            pose = {n: v for n, v in pose.items() if n not in ("travel", "strafe", "lift")}
            return {**pose, "yaw": yaw}

        def about(mean):
            """Returns an angle of `[frames]` that varies around its mean and is not negative."""
            return mean * positive(1 + 0.6 * wander(rng, times, 2.0))

        moved = 0.25 if mode == "fidget" else 0.05
        limbs = {f"{n}_{s}": about(moved) for n in ("arm", "elbow", "arm_out") for s in "lr"}
        if mode == "gesture":
            limbs |= {"arm_l": about(0.5), "elbow_l": about(1.2)}
        if mode == "look around":
            yaw = yaw + 0.5 * wander(rng, times, 4.0)
        return {**limbs, "lean": about(moved / 3), "leg_out_l": about(moved / 3), "yaw": yaw}

    def joints(self, pose: Pose) -> dict[str, np.ndarray]:
        """Returns the places of the joints in a pose, before the figure is turned by `yaw`.

        Returns:
            Name → `[frames, 3]` in heights: to the figure's left, up from the ground, forward.
        """
        frames = len(next(iter(pose.values())))
        at_rest = np.zeros(frames)

        def value(name):
            return pose.get(name, at_rest)

        def trunk(vector):
            """Turns vectors `[…, 3]` like the trunk: leans forward, and rolls to the left."""
            return _rolled(_leaned(vector, value("lean")), value("roll"))

        length = self.lengths
        neck = length["trunk"] * trunk(np.array([0.0, 1, 0]))
        found = {"head": neck + length["neck"] * trunk(np.array([0.0, 1, 0]))}
        for side, sign in (("l", 1), ("r", -1)):
            left = np.array([float(sign), 0, 0])
            shoulder = 0.95 * neck + length["shoulder"] * trunk(left)
            arm, out = value(f"arm_{side}"), value(f"arm_out_{side}")
            forearm = arm + value(f"elbow_{side}"), out + value(f"elbow_out_{side}")
            elbow = shoulder + length["upper_arm"] * trunk(_limb(arm, out, sign))
            wrist = elbow + length["forearm"] * trunk(_limb(*forearm, sign))
            hip = np.tile(length["hip"] * left, (frames, 1))
            leg, out = value(f"leg_{side}"), value(f"leg_out_{side}")
            shin = leg - value(f"knee_{side}")
            knee = hip + length["thigh"] * _limb(leg, out, sign)
            ankle = knee + length["shin"] * _limb(shin, out, sign)
            toe = ankle + length["foot"] * _limb(shin + np.pi / 2, at_rest, sign)
            chest = 0.9 * neck + 0.5 * length["shoulder"] * trunk(left)
            names = ("chest", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toe")
            places = (chest, shoulder, elbow, wrist, hip, knee, ankle, toe)
            found |= {f"{n}_{side}": place for n, place in zip(names, places, strict=True)}
        feet = [found[f"{n}_{side}"][:, 1] for n in ("ankle", "toe") for side in "lr"]
        hips = np.stack([at_rest, value("lift") - np.min(feet, axis=0), value("push")], axis=1)
        return {name: place + hips for name, place in found.items()}

    def paint(
        self, canvas: np.ndarray, pose: Pose, x: np.ndarray, y: np.ndarray, zoom: np.ndarray
    ) -> None:
        """Paints the figure.

        Args:
            canvas: See the module `paint`; changed in place.
            pose: Values for each frame of the canvas; `facing` of -1 mirrors the figure.
            x: `[frames]` column of the figure's middle, in pixels.
            y: `[frames]` row of the ground.
            zoom: `[frames]` factor of all sizes.
        """
        joints = self.joints(pose)
        places = np.stack([[joints[start], joints[end]] for start, end, *_ in _PARTS])
        left, up, forward = np.moveaxis(places, -1, 0)  # [parts, 2, frames] each
        cos, sin = np.cos(pose["yaw"]), np.sin(pose["yaw"])
        across = pose.get("facing", 1.0) * (left * cos + forward * sin)
        scale = self.height * zoom
        ends = np.stack([x + scale * across, y - scale * up], axis=-1)
        radius = self.thickness * np.array([part[2:4] for part in _PARTS])
        paint_capsules(
            canvas,
            Capsules(
                ends=np.moveaxis(ends, 2, 0),
                radius=scale[:, None, None] * radius,
                depth=(forward * cos - left * sin).mean(1).T,
                color=self.color,
                stripes=self.stripes,
            ),
        )


def _limb(forward: np.ndarray, out: np.ndarray, sign: int) -> np.ndarray:
    """Returns directions `[frames, 3]` of a hanging limb that was moved by angles `[frames]`.

    Args:
        forward: Angle by which it is swung forward, after it was moved to the side.
        out: Angle by which it is moved to its side.
        sign: 1 on the left, -1 on the right.
    """
    down = -np.cos(out)
    return np.stack([sign * np.sin(out), down * np.cos(forward), -down * np.sin(forward)], axis=1)


def _leaned(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Returns vectors `[…, 3]`, turned forward by angles `[frames]`, as `[frames, 3]`."""
    x, y, z = np.moveaxis(vector, -1, 0)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + 0 * angle, y * cos - z * sin, y * sin + z * cos], axis=1)


def _rolled(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Returns vectors `[frames, 3]`, turned to the left by angles `[frames]`."""
    x, y, z = vector.T
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x * cos + y * sin, y * cos - x * sin, z], axis=1)
