"""Film sets: the backgrounds, cameras and lights of the rich synthetic videos."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from scnn_tf.datasets.synthetic.curves import step, wander

# A background is larger than the picture: a moving camera sees another part of it.
_ROWS, _COLUMNS = 1.5, 2.0  # heights and widths of the picture
_GROUND = 0.5  # share of the backgrounds whose lower part differs


def _plain(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return 0 * (rows + columns)


def _gradient(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.sin(angle) * (rows - 0.5) + np.cos(angle) * (columns - 0.5)


def _noise(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    cells = int(np.exp(rng.uniform(np.log(4), np.log(60))))
    grid = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((columns.size, rows.size), Image.Resampling.BILINEAR))


def _checker(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    size = rng.uniform(0.03, 0.15)
    return np.sign(np.sin(np.pi * rows / size) * np.sin(np.pi * columns / size))


def _stripes(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    angle, size = rng.uniform(0, np.pi), rng.uniform(0.02, 0.15)
    return np.sin(np.pi * (np.sin(angle) * rows + np.cos(angle) * columns) / size)


def _spots(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    image = np.zeros((rows.size, columns.size))
    for row, column, size in rng.uniform((0, 0, 0.02), (1, 1, 0.2), (12, 3)):
        near = ((rows - row) / size) ** 2 + ((columns - column) / size) ** 2 < 1
        image[near] = rng.uniform(-1, 1)
    return image


# Functions of rows `[height, 1]` and columns `[1, width]`, both from 0 to 1, that return values
# between about -1 and 1, `[height, width]`.
TEXTURES = {
    "plain": _plain,
    "gradient": _gradient,
    "noise": _noise,
    "checker": _checker,
    "stripes": _stripes,
    "spots": _spots,
}


def draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a background: a wall, often above a ground that looks different.

    Args:
        rng: Source of random numbers.
        height: Height of the picture, in pixels.
        width: Width of the picture, in pixels.

    Returns:
        uint8 `[rows, columns, 3]`, larger than the picture.
    """
    rows = np.linspace(0, 1, round(height * _ROWS))[:, None]
    columns = np.linspace(0, 1, round(width * _COLUMNS))[None]
    image = _surface(rng, rows, columns)
    if rng.random() < _GROUND:
        horizon = int(len(rows) * rng.uniform(0.45, 0.8))
        image[horizon:] = _surface(rng, rows, columns)[horizon:]
    return image.clip(0, 255).astype(np.uint8)


def _surface(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns two textures of random contrast on a color, `[height, width, 3]`."""
    image = np.full((rows.size, columns.size, 3), rng.uniform(30, 220) + rng.uniform(-25, 25, 3))
    for strongest in (50, 20):
        texture = TEXTURES[str(rng.choice(list(TEXTURES)))](rng, rows, columns)
        image += texture[..., None] * (rng.uniform(3, strongest) * rng.uniform(0.6, 1.2, 3))
    return image


def _static(rng: np.random.Generator, times: np.ndarray, way: np.ndarray) -> np.ndarray:
    return np.zeros((len(times), 3))


def _shaking(rng: np.random.Generator, times: np.ndarray, way: np.ndarray) -> np.ndarray:
    strength = rng.uniform(0.003, 0.02)
    return strength * np.stack([wander(rng, times, 0.7) for _ in range(3)], axis=1)


def _panning(rng: np.random.Generator, times: np.ndarray, way: np.ndarray) -> np.ndarray:
    right, down = 0.08 * wander(rng, times, 9.0), 0.03 * wander(rng, times, 9.0)
    return np.stack([right, down, 0 * times], axis=1)


def _zooming(rng: np.random.Generator, times: np.ndarray, way: np.ndarray) -> np.ndarray:
    return np.stack([0 * times, 0 * times, 0.07 * wander(rng, times, 9.0)], axis=1)


def _following(rng: np.random.Generator, times: np.ndarray, way: np.ndarray) -> np.ndarray:
    right = rng.uniform(0.6, 0.9) * way + 0.01 * wander(rng, times, 1.0)
    return np.stack([right, 0 * times, 0 * times], axis=1)


# Share of the takes, and function of the times and of the actor's way from the picture's middle,
# in heights of the picture. It returns `[frames, 3]`: the way of the camera to the right and down,
# in heights, and the logarithm of its zoom.
CAMERAS = {
    "static": (0.5, _static),
    "shaking": (0.15, _shaking),
    "panning": (0.1, _panning),
    "zooming": (0.1, _zooming),
    "following": (0.15, _following),
}


def _steady(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    return 0 * times


def _drifting(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    return 0.1 * wander(rng, times, 6.0)


def _switched(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    at = rng.uniform(times[0], times[-1])
    return rng.uniform(-0.25, 0.25) * step(times, at, rng.uniform(0.05, 0.5))


# Functions of the times that return the logarithm of the brightness, `[frames]`.
LIGHTS = {"steady": _steady, "drifting": _drifting, "switched": _switched}


@dataclass(frozen=True)
class View:
    """The part of the background that a camera sees in each frame, and the brightness.

    Attributes:
        size: Height and width of the picture, in pixels.
        corner: `[frames, 2]` left and top of the picture, in pixels from those of the neutral view.
        zoom: `[frames]` factor of all sizes.
        light: `[frames]` factor of the grey levels.
    """

    size: tuple[int, int]
    corner: np.ndarray
    zoom: np.ndarray
    light: np.ndarray

    @classmethod
    def drawn(
        cls,
        rng: np.random.Generator,
        camera: str,
        times: np.ndarray,
        way: np.ndarray,
        size: tuple[int, int],
    ) -> "View":
        """Draws the motion of a camera, and the light.

        Args:
            rng: Source of random numbers.
            camera: Key of `CAMERAS`.
            times: `[frames]` seconds.
            way: `[frames]` way of the actor from the picture's middle, in pixels.
            size: Height and width of the picture, in pixels.
        """
        extent = np.array(size[::-1], float)  # x, y
        _, function = CAMERAS[camera]
        motion = function(rng, times, way / size[0])
        zoom = np.exp(motion[:, 2])
        margin = extent * (_COLUMNS - 1, _ROWS - 1) / 2
        corner = motion[:, :2] * size[0] + extent / 2 * (1 - 1 / zoom[:, None])
        corner = np.clip(corner, -margin, margin + extent * (1 - 1 / zoom[:, None]))
        light = np.exp(LIGHTS[str(rng.choice(list(LIGHTS)))](rng, times))
        return cls(size, corner, zoom, light)

    def seen(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the places in the picture of places in the neutral view, all in pixels."""
        left, top = self.corner.T
        return (x - left) * self.zoom, (y - top) * self.zoom

    def canvas(self, background: np.ndarray, frames: slice) -> np.ndarray:
        """Returns the background as seen in some frames, float32 `[3, frames, height, width]`."""
        height, width = self.size
        rows, columns = background.shape[:2]
        left, top = (self.corner[frames] + ((columns - width) / 2, (rows - height) / 2)).T
        zoom = self.zoom[frames]
        boxes = np.stack([left, top, left + width / zoom, top + height / zoom], axis=1)
        boxes = np.clip(boxes, 0, (columns, rows) * 2)
        whole = Image.fromarray(background)
        still = (boxes == boxes[0]).all()
        images = [
            np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR, tuple(box)))
            for box in (boxes[:1] if still else boxes)
        ]
        canvas = np.empty((3, len(boxes), height, width), np.float32)
        canvas[:] = np.moveaxis(images, -1, 0)
        return canvas
