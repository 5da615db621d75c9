"""Synthetic videos of bright shapes, whose actions differ only in their motion.

An actor, a bright shape, has a place and a size. An action moves the actor at a steady speed about
once around the picture: `left`, `right`, `up`, `down`, or diagonally, `rise` and `fall`. Between
actions the actor rests, shakes, throbs or wanders. Place and size are cyclic (an actor that leaves
the picture at one side enters at the other; the largest becomes the smallest) and start at random,
so that both are uniformly distributed in every single frame: one frame holds no information about
the action, nor whether there is one. Smaller and dimmer distractors always move over a textured
background.

Mirroring a video turns `left` into `right`: do not augment this dataset by mirroring.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from scnn_tf.datasets.annotations import Instance

# Drift of each action along the axes x, y (downwards) and size.
ACTIONS = {
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "up": (0, -1, 0),
    "down": (0, 1, 0),
    "rise": (1, -1, 0),
    "fall": (-1, 1, 0),
}
FRAME_RATES = (25.0, 30.0, 24.0, 50.0, 12.5)
HEIGHT, WIDTH = 96, 128
# Seconds. Instances spread log-uniformly over windows of 16, 32, 64 and 128 frames at 25 fps.
_INSTANCE_SECONDS = (0.64, 5.12)
_GAP_SECONDS = (0.5, 3.0)
_VIDEO_SECONDS = (20.0, 30.0)
# Rounds in one instance, short or long: a part of an action is not the action.
_TURNS = (0.9, 1.2)
_EMPTY_SHARE = 0.05  # fraction of the untrimmed videos without an instance
_RADIUS = (10.0, 28.0)  # pixels, smallest and largest actor
_DISTRACTORS = 2
_STEPS = 200  # steps of simulated motion per second
_CHUNK = 32  # frames rendered at once


def seconds(rng: np.random.Generator, action: str | None) -> float:
    """Draws the seconds that an instance lasts, or an untrimmed video if `action` is None."""
    low, high = np.log(_INSTANCE_SECONDS) if action else np.log(_VIDEO_SECONDS)
    return np.exp(rng.uniform(low, high))


def plan(rng: np.random.Generator, duration: float) -> tuple[Instance, ...]:
    """Draws the instances of an untrimmed video, with background around each.

    Args:
        rng: Source of random numbers.
        duration: Seconds.
    """
    if rng.random() < _EMPTY_SHARE:
        return ()
    instances = []
    # Shuffled decks rather than independent draws, so that a small dataset has no rare class.
    decks = (action for _ in itertools.count() for action in rng.permutation(list(ACTIONS)))
    end = 0.0
    for action in decks:
        start = end + rng.uniform(*_GAP_SECONDS)
        end = start + np.exp(rng.uniform(*np.log(_INSTANCE_SECONDS)))
        if end + _GAP_SECONDS[0] > duration:
            return tuple(instances)
        instances.append(Instance(str(action), round(start, 3), round(end, 3)))


def film(
    rng: np.random.Generator, instances: tuple[Instance, ...], frames: int, fps: float
) -> Iterator[np.ndarray]:
    """Yields the frames of a video of the instances; see `motion` and `render`."""
    return render(rng, motion(rng, instances, np.arange(frames) / fps), fps)


def motion(
    rng: np.random.Generator, instances: tuple[Instance, ...], times: np.ndarray
) -> np.ndarray:
    """Returns the place and size of the actor, which performs the instances, in each frame.

    Args:
        rng: Source of random numbers.
        instances: The actions, in order of time, without overlap.
        times: `[frames]` float, seconds, from 0.

    Returns:
        `[frames, 3]` float in [0, 1): x, y and size, each uniformly distributed at any time.
    """
    steps = int(times[-1] * _STEPS) + 2
    velocity = np.zeros((steps, 3))
    begin = 0
    for instance in instances:
        start, end = round(instance.start * _STEPS), round(instance.end * _STEPS)
        velocity[begin:start] = _idle(rng, max(0, start - begin))
        speed = rng.uniform(*_TURNS) / (instance.end - instance.start)
        velocity[start:end] = speed * np.array(ACTIONS[instance.label])
        begin = end
    velocity[begin:] = _idle(rng, max(0, steps - begin))
    return _along(velocity, times, rng.random(3))


def render(rng: np.random.Generator, states: np.ndarray, fps: float) -> Iterator[np.ndarray]:
    """Yields the frames of a video: the actor, distractors, background and noise.

    Args:
        rng: Source of random numbers for all but the actor's motion.
        states: `[frames, 3]` float in [0, 1): x, y and size of the actor.
        fps: Frames per second.

    Yields:
        `[HEIGHT, WIDTH, 3]` uint8 RGB.
    """
    background = _texture(rng)
    times = np.arange(len(states)) / fps
    objects = []
    for _ in range(_DISTRACTORS):
        place = _along(_stray(rng, times), times, rng.random(2))
        radius = np.full(len(times), rng.uniform(3, 6))
        # Halfway to the background's grey: dimmer than the actor, whatever the colour.
        objects.append((_shape(rng), place, radius, _colour(rng) / 2 + 40))
    radius = _RADIUS[0] * (_RADIUS[1] / _RADIUS[0]) ** states[:, 2]
    objects.append((_shape(rng), states[:, :2], radius, _colour(rng)))
    noise = rng.normal(0, 2, (8, HEIGHT, WIDTH, 3)).astype(np.float32)
    for start in range(0, len(states), _CHUNK):
        chunk = slice(start, min(start + _CHUNK, len(states)))
        images = noise[rng.integers(len(noise), size=chunk.stop - chunk.start)]
        images += background
        for shape, place, radius, colour in objects:
            _draw(images, shape, place[chunk], radius[chunk], colour)
        yield from np.clip(images, 0, 255, out=images).astype(np.uint8)


def _idle(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Returns `[steps, 3]` velocities between actions: as fast as in an action, but aimless."""
    velocity = np.zeros((steps, 3))
    mode = rng.choice(["still", "shake", "throb", "wander"])
    if mode == "wander" and steps:
        # Each push fades within 0.12 s.
        fade = np.exp(-np.arange(_STEPS) / (0.12 * _STEPS))
        for axis in (0, 1):
            pushes = np.convolve(rng.normal(size=steps), fade)[:steps]
            velocity[:, axis] = 0.2 * pushes / np.sqrt(np.sum(fade**2))
    elif mode != "still":
        period = rng.uniform(0.35, 0.7)
        angle = 2 * np.pi * (np.arange(steps) / _STEPS / period + rng.random())
        swing = rng.uniform(0.04, 0.08) * 2 * np.pi / period * np.cos(angle)
        heading = rng.uniform(0, 2 * np.pi)
        axes = (np.cos(heading), np.sin(heading), 0) if mode == "shake" else (0, 0, 1)
        velocity = swing[:, None] * np.array(axes)
    return velocity


def _stray(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Returns `[steps, 2]` velocities of a distractor, which changes its direction at times."""
    steps = int(times[-1] * _STEPS) + 2
    legs = []
    while sum(map(len, legs)) < steps:
        heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.2)
        leg = speed * np.array([np.cos(heading), np.sin(heading)])
        legs.append(np.tile(leg, (int(rng.uniform(0.8, 2.5) * _STEPS), 1)))
    return np.concatenate(legs)[:steps]


def _along(velocity: np.ndarray, times: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Integrates `[steps, axes]` velocities from `start` to `[frames]` times, modulo 1."""
    path = np.concatenate([np.zeros((1, velocity.shape[1])), np.cumsum(velocity, 0) / _STEPS])
    grid = np.arange(len(path)) / _STEPS
    moved = [np.interp(times, grid, axis) for axis in path.T]
    return (start + np.stack(moved, axis=1)) % 1


def _draw(
    images: np.ndarray, shape: str, place: np.ndarray, radius: np.ndarray, colour: np.ndarray
) -> None:
    """Paints a shape with a soft edge of one pixel into pictures whose opposite sides touch.

    Args:
        images: `[frames, HEIGHT, WIDTH, 3]` float32, changed in place.
        shape: One of `_SHAPES`.
        place: `[frames, 2]` centres x, y in [0, 1).
        radius: `[frames]` pixels.
        colour: `[3]`.
    """
    # Only the square around the shape is computed, a small part of the picture.
    reach = int(radius.max() * _REACH) + 2
    x, y = (place * (WIDTH, HEIGHT)).T[:, :, None]
    columns, rows = (np.floor(centre) + np.arange(-reach, reach + 1) for centre in (x, y))
    distance = _SHAPES[shape](np.abs(columns - x)[:, None, :], np.abs(rows - y)[:, :, None])
    cover = np.clip(radius[:, None, None] + 0.5 - distance, 0, 1).astype(np.float32)
    rows, columns = rows.astype(int) % HEIGHT, columns.astype(int) % WIDTH
    frames = np.arange(len(images))[:, None, None]
    where = (frames * HEIGHT + rows[:, :, None]) * WIDTH + columns[:, None, :]
    pixels = images.reshape(-1, 3)
    pixels[where] += cover[..., None] * (colour - pixels[where])


# Distances from a shape's centre, as functions of the distances along x and y; a shape's edge is at
# its radius. The areas of the shapes differ little compared with the range of sizes.
_SHAPES = {
    "disc": np.hypot,
    "square": lambda dx, dy: np.maximum(dx, dy) * 1.15,
    "diamond": lambda dx, dy: (dx + dy) * 0.8,
    "cross": lambda dx, dy: np.minimum(np.maximum(dx, dy * 2.5), np.maximum(dx * 2.5, dy)),
}
_REACH = 1.25  # largest extent of a shape along x or y, in radii: the tips of the diamond


def _shape(rng: np.random.Generator) -> str:
    return str(rng.choice(list(_SHAPES)))


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Returns a colour, `[3]` float32, that is bright and never grey."""
    return rng.permutation([255, rng.uniform(0, 60), rng.uniform(0, 255)]).astype(np.float32)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Returns dark, smooth noise of random colours at two scales, `[HEIGHT, WIDTH, 3]` float32."""
    image = np.tile(rng.uniform(40, 90, (3, 1, 1)), (HEIGHT, WIDTH))
    for cells, strength in ((5, 40), (14, 20)):
        grid = rng.uniform(-1, 1, (3, cells, cells))
        image += strength * (_blend(HEIGHT, cells) @ grid @ _blend(WIDTH, cells).T)
    return np.moveaxis(np.clip(image, 0, 255), 0, -1).astype(np.float32)


def _blend(size: int, cells: int) -> np.ndarray:
    """Returns `[size, cells]` weights that interpolate linearly between `cells` values."""
    position = np.linspace(0, cells - 1, size)[:, None]
    return np.maximum(0, 1 - np.abs(position - np.arange(cells)))
