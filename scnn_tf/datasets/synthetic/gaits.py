"""Movements of a jointed figure.

A movement is a function of the time in cycles and returns a pose. A pose of a figure has these
values; angles are in radians, lengths in heights of the figure:

| `lean`, `roll`, `yaw` | trunk: forward, to its left, direction of the whole figure
| `leg_l`, `knee_l`, `leg_out_l` | left leg: thigh forward, knee bent, leg to the side
| `arm_l`, `elbow_l`, `arm_out_l`, `elbow_out_l` | left arm: upper arm forward, elbow bent forward,
  arm to the side, elbow bent to the side (up)
| `lift`, `push` | feet above the ground; hips before the place where the figure is
| `travel`, `strafe` | way forward and to the left, per cycle

The values of the right side end in `_r`. The figure's lowest foot is on the ground without `lift`.
"""

from collections.abc import Callable

import numpy as np

from scnn_tf.datasets.synthetic.curves import Pose, positive, pulse, sine


def walk(cycles: np.ndarray) -> Pose:
    """The figure steps left and right, and each arm swings against its leg."""

    def swing(c):
        knee = 0.1 + 0.9 * positive(sine(c + 0.3))
        return {
            "leg": 0.08 + 0.42 * sine(c),
            "knee": knee,
            "arm": -0.4 * sine(c),
            "elbow": 0.25 - 0.15 * sine(c),
        }

    return {**_in_turn(swing, cycles), "lean": _still(cycles, 0.05), "travel": _still(cycles, 0.8)}


def run(cycles: np.ndarray) -> Pose:
    """The figure leaps from leg to leg, with bent arms."""

    def swing(c):
        return {
            "leg": 0.3 + 0.75 * sine(c),
            "knee": 0.3 + 1.5 * positive(sine(c + 0.28)),
            "arm": -0.1 - 0.7 * sine(c),
            "elbow": 1.5 + 0.2 * sine(c),
        }

    return {
        **_in_turn(swing, cycles),
        "lean": _still(cycles, 0.22),
        "lift": 0.07 * positive(sine(2 * cycles + 0.25)),
        "travel": _still(cycles, 1.5),
    }


def skip(cycles: np.ndarray) -> Pose:
    """The figure hops forward on the left leg, and holds up the right leg."""
    flight, crouch = positive(sine(cycles)), positive(-sine(cycles))
    return {
        "leg_l": 0.2 + 0.35 * np.cos(2 * np.pi * cycles) + 0.2 * crouch,
        "knee_l": 0.15 + 0.5 * crouch,
        "leg_r": 0.7 + 0.25 * sine(cycles),
        "knee_r": 1.5 + 0.2 * sine(cycles),
        **_both({"arm": 0.3 * sine(cycles), "elbow": 0.6 + 0.3 * flight}),
        "lean": _still(cycles, 0.1),
        "lift": 0.13 * flight,
        "travel": _still(cycles, 0.75),
    }


def jump(cycles: np.ndarray) -> Pose:
    """The figure hops forward on both legs, with swinging arms."""
    flight, crouch = positive(sine(cycles)), positive(-sine(cycles))
    return {
        **_both(
            {
                "leg": 0.75 * crouch + 0.4 * flight * sine(cycles + 0.1),
                "knee": 1.4 * crouch + 0.3 * flight,
                "arm": 0.9 * sine(cycles + 0.05),
                "elbow": _still(cycles, 0.5),
            }
        ),
        "lean": 0.1 + 0.4 * crouch,
        "lift": 0.17 * flight,
        "travel": _still(cycles, 0.8),
    }


def side(cycles: np.ndarray) -> Pose:
    """The figure gallops to its left: it opens and closes the legs."""
    opened = pulse(cycles)
    return {
        **_both({"leg_out": 0.45 * opened, "arm_out": 0.2 + 0.15 * opened}),
        **_both({"knee": 0.2 * (1 - opened), "leg": 0.1 * (1 - opened)}),
        "roll": 0.06 * sine(cycles),
        "lift": 0.06 * positive(-sine(cycles)),
        "strafe": _still(cycles, 0.6),
    }


def pjump(cycles: np.ndarray) -> Pose:
    """The figure jumps in place on both legs."""
    flight, crouch = positive(sine(cycles)), positive(-sine(cycles))
    return {
        **_both({"leg": 0.45 * crouch, "knee": 0.9 * crouch, "elbow": 0.3 + 0.2 * flight}),
        **_both({"arm": 0.2 * sine(cycles), "arm_out": 0.15 + 0.1 * flight}),
        "lean": 0.2 * crouch,
        "lift": 0.2 * flight,
    }


def jack(cycles: np.ndarray) -> Pose:
    """The figure does jumping jacks: legs apart and arms up, then legs together and arms down."""
    opened = pulse(cycles)
    return {
        **_both({"arm_out": 0.15 + 2.6 * opened, "elbow_out": 0.25 * opened}),
        **_both({"leg_out": 0.05 + 0.45 * opened}),
        "lift": 0.07 * np.abs(sine(cycles)),
    }


def wave1(cycles: np.ndarray) -> Pose:
    """The figure waves the raised left arm; the right arm hangs."""
    return {
        "arm_out_l": 2.1 + 0.6 * sine(cycles),
        "elbow_out_l": 0.3 + 0.5 * sine(cycles - 0.1),
        "arm_out_r": _still(cycles, 0.12),
        "roll": 0.03 * sine(cycles),
    }


def wave2(cycles: np.ndarray) -> Pose:
    """The figure waves both arms, from the shoulders' height to above the head."""
    return _both(
        {
            "arm_out": 2.1 + 0.75 * sine(cycles),
            "elbow_out": 0.15 + 0.3 * sine(cycles - 0.08),
        }
    )


def bend(cycles: np.ndarray) -> Pose:
    """The figure bends down to the feet with hanging arms, and rises."""
    down = np.clip(1.25 * pulse(cycles), 0, 1)
    down = down * down * (3 - 2 * down)
    return {
        **_both({"arm": 1.7 * down, "knee": 0.25 * down, "leg": 0.1 * down}),
        "lean": 1.75 * down,
        "push": -0.1 * down,
    }


def turn(cycles: np.ndarray) -> Pose:
    """The figure turns round on the spot with small steps."""

    def treads(c):
        return {"leg": 0.25 * positive(sine(3 * c)), "knee": 0.5 * positive(sine(3 * c))}

    return {
        **_in_turn(treads, cycles),
        **_both({"arm_out": _still(cycles, 0.2)}),
        # Full turns count as none, so that the figure need not unwind when it stops.
        "yaw": (2 * np.pi * cycles + np.pi) % (2 * np.pi) - np.pi,
    }


def kick(cycles: np.ndarray) -> Pose:
    """The figure swings the left leg back, kicks forward, and puts the leg down."""
    forth = pulse(cycles) ** 2
    back = positive(sine(cycles)) * (1 - forth)
    return {
        "leg_l": 1.4 * forth - 0.6 * back,
        "knee_l": 0.1 + 1.1 * back,
        "knee_r": 0.1 + 0.1 * forth,
        "arm_l": -0.5 * forth,
        "arm_r": 0.7 * forth,
        **_both({"arm_out": 0.1 + 0.25 * forth, "elbow": 0.3 + 0.2 * forth}),
        "lean": -0.25 * forth + 0.15 * back,
    }


def squat(cycles: np.ndarray) -> Pose:
    """The figure bends the knees with the arms forward, and rises."""
    down = pulse(cycles)
    return {
        **_both({"leg": 1.6 * down, "knee": 2.3 * down, "leg_out": 0.15 * down}),
        **_both({"arm": 1.9 * down, "elbow": 0.1 * down}),
        "lean": 0.6 * down,
        "push": -0.09 * down,
    }


def box(cycles: np.ndarray) -> Pose:
    """The figure punches with both fists in turn, and holds the other fist before the chin."""

    def punches(c):
        out = positive(sine(c))
        return {
            "arm": 1.5 * out,
            "elbow": 2.3 - 2.2 * out,
            "leg": 0.15 * sine(c) ** 2,
            "knee": _still(c, 0.2),
        }

    return {**_in_turn(punches, cycles), "lean": 0.1 + 0.08 * np.abs(sine(cycles))}


def mirrored(pose: Pose) -> Pose:
    """Returns the mirror image of a pose: left and right exchanged."""
    other = {"l": "r", "r": "l"}
    swapped = {
        name[:-1] + other[name[-1]] if name[-2:] in ("_l", "_r") else name: value
        for name, value in pose.items()
    }
    opposite = {name: -pose[name] for name in ("roll", "yaw", "strafe") if name in pose}
    return {**swapped, **opposite}


def _both(limbs: Pose) -> Pose:
    """Returns the same values for the left and the right side."""
    return {f"{name}_{side}": value for name, value in limbs.items() for side in "lr"}


def _in_turn(limbs: Callable[[np.ndarray], Pose], cycles: np.ndarray) -> Pose:
    """Returns the values of both sides, the right side half a cycle after the left one."""
    left, right = limbs(cycles), limbs(cycles + 0.5)
    return {f"{n}_l": v for n, v in left.items()} | {f"{n}_r": v for n, v in right.items()}


def _still(cycles: np.ndarray, value: float) -> np.ndarray:
    return np.full_like(cycles, value)
