"""Curves over time, of which movements, cameras and lights are made, and sums of poses.

A *pose* has the value of each of an actor's joints, or other properties, by name. A missing value
is 0, which is the actor at rest.
"""

from collections.abc import Sequence

import numpy as np

Pose = dict[str, np.ndarray]  # name → float `[frames]`


def sine(cycles: np.ndarray) -> np.ndarray:
    """Returns a wave between -1 and 1 that rises through 0 at 0 cycles."""
    return np.sin(2 * np.pi * cycles)


def pulse(cycles: np.ndarray) -> np.ndarray:
    """Returns a smooth wave between 0, at 0 cycles, and 1, in the middle of the cycle."""
    return (1 - np.cos(2 * np.pi * cycles)) / 2


def positive(values: np.ndarray) -> np.ndarray:
    """Returns the values, with 0 in place of negative values."""
    return np.maximum(values, 0)


def step(times: np.ndarray, at: float, width: float) -> np.ndarray:
    """Returns a smooth step from 0 to 1, which is 0.5 at the time `at` and lasts for `width`."""
    share = np.clip((times - at) / width + 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def wander(rng: np.random.Generator, times: np.ndarray, period: float) -> np.ndarray:
    """Returns an aimless smooth curve around 0, with a standard deviation of about 1.

    Args:
        rng: Source of random numbers.
        times: `[frames]` seconds.
        period: Seconds of a typical turn forth and back.
    """
    periods = period * rng.uniform(0.6, 1.7, (4, 1))
    return sine(times / periods + rng.random((4, 1))).sum(0) / np.sqrt(2)


def reflected(path: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns a path that turns back at two walls, and its direction: 1, or -1 on the way back."""
    width = high - low
    along = (path - low) % (2 * width)
    back = along >= width
    return low + np.where(back, 2 * width - along, along), np.where(back, -1.0, 1.0)


def blended(poses: Sequence[Pose], weights: Sequence[np.ndarray]) -> Pose:
    """Returns the sum of poses, each multiplied by its weight, `[frames]`."""
    names = dict.fromkeys(name for pose in poses for name in pose)
    return {
        name: sum(w * pose[name] for pose, w in zip(poses, weights, strict=True) if name in pose)
        for name in names
    }
