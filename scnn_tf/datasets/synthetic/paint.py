"""Painting of capsules and blobs, with soft edges of one pixel, in many frames at once.

A canvas is float32 `[3, frames, height, width]`: red, green and blue, in grey levels 0–255.
"""

from dataclasses import dataclass

import numpy as np

_TURN = np.float32(2 * np.pi)


@dataclass(frozen=True)
class Capsules:
    """Lines with round ends, which may have different radii.

    Attributes:
        ends: `[frames, capsules, 2, 2]` start and end, each x and y, in pixels.
        radius: `[frames, capsules, 2]` pixels, at the start and at the end.
        depth: `[frames, capsules]`; a capsule hides capsules of smaller depth.
        color: `[capsules, 3]` RGB.
        stripes: `[capsules, 2]` contrast in grey levels, and number, of the stripes along the line.
    """

    ends: np.ndarray
    radius: np.ndarray
    depth: np.ndarray
    color: np.ndarray
    stripes: np.ndarray


@dataclass(frozen=True)
class Blob:
    """A star-shaped area, which is a disc without waves in its outline.

    Attributes:
        center: `[frames, 2]` x and y, in pixels.
        radius: `[frames]` pixels, without the waves.
        angle: `[frames]` radians.
        stretch: `[frames]` factor of the width, and divisor of the height, before it is turned.
        opacity: `[frames]` from 0 to 1.
        waves: `[waves, 2]` depth in radii and phase of 2, 3, … waves around the outline.
        color: `[3]` RGB.
        stripes: Contrast in grey levels, and number in a radius, of the stripes across the blob.
    """

    center: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    stretch: np.ndarray
    opacity: np.ndarray
    waves: np.ndarray
    color: np.ndarray
    stripes: tuple[float, float]


def paint_capsules(canvas: np.ndarray, capsules: Capsules) -> None:
    """Paints capsules, the farthest of each frame first.

    Args:
        canvas: As many frames as the capsules have, changed in place.
        capsules: Capsules in each frame.
    """
    frames = np.arange(len(capsules.depth))
    for index in np.argsort(capsules.depth, axis=1, kind="stable").T:
        _paint_capsule(
            canvas,
            capsules.ends[frames, index],
            capsules.radius[frames, index],
            capsules.color[index],
            capsules.stripes[index],
        )


def _paint_capsule(
    canvas: np.ndarray,
    ends: np.ndarray,
    radius: np.ndarray,
    color: np.ndarray,
    stripes: np.ndarray,
) -> None:
    """Paints one capsule in each frame, given its `[frames, …]` of the arrays in `Capsules`."""
    reach = radius.max(1, keepdims=True)
    view, columns, rows = _box(canvas, ends.min(1) - reach, ends.max(1) + reach)
    if not view.size:
        return
    (x0, y0), (dx, dy) = map(_planes, (ends[:, 0], ends[:, 1] - ends[:, 0]))
    first, last = _planes(radius)
    contrast, number = _planes(stripes)
    x, y = columns - x0, rows - y0
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy + np.float32(1e-6)), 0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    cover = np.clip(first + np.float32(0.5) + along * (last - first) - distance, 0, 1)
    _mix(view, cover, contrast * np.sin(along * (number * _TURN)), color)


def paint_blob(canvas: np.ndarray, blob: Blob) -> None:
    """Paints a blob.

    Args:
        canvas: As many frames as the blob has, changed in place.
        blob: Blob in each frame.
    """
    longest = np.maximum(blob.stretch, 1 / blob.stretch) * (1 + blob.waves[:, 0].sum())
    reach = (blob.radius * longest)[:, None]
    view, columns, rows = _box(canvas, blob.center - reach, blob.center + reach)
    if not view.size:
        return
    x0, y0 = _planes(blob.center)
    cos, sin = _planes(np.stack([np.cos(blob.angle), np.sin(blob.angle)], axis=1))
    radius, stretch, opacity = _planes(np.stack([blob.radius, blob.stretch, blob.opacity], axis=1))
    x, y = (columns - x0) / radius, (rows - y0) / radius
    x, y = (x * cos + y * sin) / stretch, (y * cos - x * sin) * stretch
    angle, edge = np.arctan2(y, x), np.float32(1)
    for number, (depth, phase) in enumerate(blob.waves.astype(np.float32), start=2):
        edge = edge + depth * np.cos(number * angle + phase)
    cover = np.clip((edge - np.hypot(x, y)) * radius + np.float32(0.5), 0, 1) * opacity
    contrast, number = np.float32(blob.stripes)
    _mix(view, cover, contrast * np.sin(x * (number * _TURN)), blob.color[None])


def contrasting_color(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """Draws a color `[3]` that differs from the background by about 40 grey levels or more."""
    while True:
        color = rng.uniform(5, 250) + rng.uniform(-50, 50, 3)
        if abs(color.mean() - background.mean()) > 40:
            return color.clip(0, 255)


def _box(
    canvas: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the part of the canvas between corners `[frames, 2]`, and its pixels' x and y."""
    left, top = np.maximum(np.floor(low.min(0)).astype(int) - 1, 0)
    right, bottom = np.maximum(np.ceil(high.max(0)).astype(int) + 1, 0)
    view = canvas[:, :, top:bottom, left:right]
    height, width = view.shape[2:]
    columns = np.arange(left, left + width, dtype=np.float32) + np.float32(0.5)
    rows = np.arange(top, top + height, dtype=np.float32) + np.float32(0.5)
    return view, columns, rows[:, None]


def _planes(values: np.ndarray) -> np.ndarray:
    """Returns `[frames, n]` as float32 `[n, frames, 1, 1]`, to compute with pixels."""
    return values.T.astype(np.float32)[:, :, None, None]


def _mix(view: np.ndarray, cover: np.ndarray, tone: np.ndarray, color: np.ndarray) -> None:
    """Mixes a color `[frames or 1, 3]`, plus a tone for each pixel, into the covered pixels."""
    for plane, value in zip(view, _planes(color), strict=True):
        plane += cover * (value + tone - plane)
