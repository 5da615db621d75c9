"""Rich synthetic videos: figures and blobs act on many backgrounds, before many cameras.

An actor performs the instances of a video and idles between them: it stands, fidgets, or freezes
in the middle of a movement. Other actors, around it, perform no action. Some videos are *edited*: a
cut shows another take of the same scene, and within a take the look changes at times (see
`editing`).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scnn_tf.datasets import editing
from scnn_tf.datasets.annotations import Instance
from scnn_tf.datasets.synthetic.actions import ACTIONS, BLOB_ACTIONS, FIGURE_ACTIONS, deck
from scnn_tf.datasets.synthetic.blobs import Blob
from scnn_tf.datasets.synthetic.curves import Pose, blended, reflected, step, wander
from scnn_tf.datasets.synthetic.figures import Figure
from scnn_tf.datasets.synthetic.sets import CAMERAS, View, draw_background

HEIGHT, WIDTH = 64, 80
_VIDEO_SECONDS = (20.0, 30.0)
_GAP_SECONDS = (0.4, 4.0)
_CHANGE_SECONDS = (0.15, 0.4)  # from idling to an action, and back
_EMPTY = 0.05  # share of the untrimmed videos without an instance
_EDITED = 0.3  # share of the videos with cuts
_CUT = 0.5  # share of the ends of actions, in such a video, that are cuts
_DECOYS = 0.01  # cuts per frame that show the same take in another look
_GREY = 0.3  # share of the videos without colors
_EXTRAS = (0.4, 0.35, 0.25)  # shares of the videos with 0, 1 and 2 other actors
_NOISE = (1.0, 6.0)  # standard deviation in grey levels
_CHUNK = 16  # frames rendered at once


@dataclass(frozen=True)
class _Piece:
    """A part of a video, in which the actor performs one action, or idles if `label` is None."""

    label: str | None
    start: float
    end: float


@dataclass(frozen=True)
class _Role:
    """An actor and its movement in a take.

    Attributes:
        actor: Its appearance.
        pose: Its movement.
        x: `[frames]` column in pixels.
        y: Row in pixels.
    """

    actor: Figure | Blob
    pose: Pose
    x: np.ndarray
    y: float


def seconds(rng: np.random.Generator, action: str | None) -> float:
    """Draws the seconds that an instance lasts, or an untrimmed video if `action` is None."""
    return ACTIONS[action].seconds(rng) if action else rng.uniform(*_VIDEO_SECONDS)


def plan(rng: np.random.Generator, duration: float) -> tuple[Instance, ...]:
    """Draws the instances of an untrimmed video, with background around each.

    Args:
        rng: Source of random numbers.
        duration: Seconds.
    """
    if rng.random() < _EMPTY:
        return ()
    figure = rng.random() < len(FIGURE_ACTIONS) / len(ACTIONS)
    instances, end = [], 0.0
    for label in deck(rng, list(FIGURE_ACTIONS if figure else BLOB_ACTIONS)):
        start = end + np.exp(rng.uniform(*np.log(_GAP_SECONDS)))
        end = start + ACTIONS[label].seconds(rng)
        if end + _GAP_SECONDS[0] > duration:
            return tuple(instances)
        instances.append(Instance(label, round(start, 3), round(end, 3)))


def film(
    rng: np.random.Generator, instances: tuple[Instance, ...], frames: int, fps: float
) -> Iterator[np.ndarray]:
    """Yields the frames of a video: the actor, extras, background and noise.

    Args:
        rng: Source of random numbers.
        instances: The actions, in order of time, without overlap.
        frames: Number of frames.
        fps: Frames per second.

    Yields:
        uint8 RGB `[HEIGHT, WIDTH, 3]`.
    """
    pieces = _pieces(instances, frames, fps)
    scene = _Scene.drawn(rng, fps, blob=any(i.label in BLOB_ACTIONS for i in instances))
    if rng.random() >= _EDITED:
        yield from scene.take(rng, pieces)
        return
    first = [0, *(n for n in range(1, len(pieces)) if rng.random() < _CUT), len(pieces)]
    takes = [
        np.stack(list(scene.take(rng, pieces[begin:end])))
        for begin, end in itertools.pairwise(first)
    ]
    yield from editing.join(takes, _DECOYS, fades=True, rng=rng)


def _pieces(instances: tuple[Instance, ...], frames: int, fps: float) -> list[_Piece]:
    """Returns the actions and the background between them, each at least one frame long."""
    edges = [0.0, *(t for i in instances for t in (i.start, i.end)), frames / fps]
    labels = [None, *(label for i in instances for label in (i.label, None))]
    pieces = map(_Piece, labels, edges, edges[1:])
    return [p for p in pieces if round(p.start * fps) < round(p.end * fps)]


@dataclass(frozen=True)
class _Scene:
    """The surroundings and the actors that all takes of a video share.

    Attributes:
        fps: Frames per second.
        background: uint8 `[rows, columns, 3]`, larger than the picture.
        actor: Performs the actions.
        extras: The other actors.
        noise: float32 `[3, frames, HEIGHT, WIDTH]`, a few frames to choose from.
        grey: Whether the video has no colors.
    """

    fps: float
    background: np.ndarray
    actor: Figure | Blob
    extras: list[Figure | Blob]
    noise: np.ndarray
    grey: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator, fps: float, blob: bool) -> "_Scene":
        """Draws a scene, whose actor is a blob or a figure."""
        background = draw_background(rng, HEIGHT, WIDTH)
        color = background.mean((0, 1))
        kinds = rng.choice([Figure, Blob], rng.choice(len(_EXTRAS), p=_EXTRAS))
        actor = (Blob if blob else Figure).drawn(rng, HEIGHT, color)
        noise = rng.normal(0, rng.uniform(*_NOISE), (3, 8, HEIGHT, WIDTH))
        return cls(
            fps=fps,
            background=background,
            actor=actor,
            # Smaller than the actor, so that it is clear who acts.
            extras=[kind.drawn(rng, actor.height, color) for kind in kinds],
            noise=noise.astype(np.float32),
            grey=rng.random() < _GREY,
        )

    def take(self, rng: np.random.Generator, pieces: list[_Piece]) -> Iterator[np.ndarray]:
        """Yields uint8 frames `[HEIGHT, WIDTH, 3]` of consecutive pieces, without a cut."""
        begin, end = (round(t * self.fps) for t in (pieces[0].start, pieces[-1].end))
        times = np.arange(begin, end) / self.fps
        camera = str(rng.choice(list(CAMERAS), p=[share for share, _ in CAMERAS.values()]))
        margin = -0.35 * WIDTH if camera == "following" else 0.12 * WIDTH
        actor = self._acting(rng, pieces, times, (margin, WIDTH - margin))
        roles = [_extra(rng, extra, times) for extra in self.extras] + [actor]
        view = View.drawn(rng, camera, times, actor.x - WIDTH / 2, (HEIGHT, WIDTH))
        for first in range(0, len(times), _CHUNK):
            yield from self._rendered(rng, roles, view, slice(first, first + _CHUNK))

    def _acting(
        self,
        rng: np.random.Generator,
        pieces: list[_Piece],
        times: np.ndarray,
        walls: tuple[float, float],
    ) -> _Role:
        """Returns the role of the actor, who performs the pieces; `walls` are in pixels."""
        pose = _choreography(rng, self.actor, pieces, times)
        still = np.zeros(len(times))
        yaw, travel, strafe = (pose.get(name, still) for name in ("yaw", "travel", "strafe"))
        way = self.actor.height * (travel * np.sin(yaw) + strafe * np.cos(yaw)) / self.fps
        x, facing = reflected(rng.uniform(*walls) + np.cumsum(way), *walls)
        pose = {**pose, "facing": _smooth(facing)}
        return _Role(self.actor, pose, x, self.actor.place(rng, HEIGHT))

    def _rendered(
        self, rng: np.random.Generator, roles: list[_Role], view: View, frames: slice
    ) -> np.ndarray:
        """Returns some frames, uint8 `[frames, HEIGHT, WIDTH, 3]`."""
        canvas = view.canvas(self.background, frames)
        for role in roles:
            x, y = (place[frames] for place in view.seen(role.x, role.y))
            pose = {name: value[frames] for name, value in role.pose.items()}
            role.actor.paint(canvas, pose, x, y, view.zoom[frames])
        canvas *= view.light[frames, None, None].astype(np.float32)
        if self.grey:
            canvas[:] = canvas.mean(0)
        canvas += self.noise[:, rng.integers(self.noise.shape[1], size=canvas.shape[1])]
        return np.moveaxis(canvas.clip(0, 255).astype(np.uint8), 0, -1)


def _choreography(
    rng: np.random.Generator, actor: Figure | Blob, pieces: list[_Piece], times: np.ndarray
) -> Pose:
    """Returns the actor's poses, which change smoothly from piece to piece."""
    poses = []
    for piece in pieces:
        since = times - piece.start
        if piece.label is None:
            poses.append(actor.idle(rng, since))
        else:
            length = piece.end - piece.start
            poses.append(actor.styled(rng, ACTIONS[piece.label].perform(rng, length, since)))
    later = [step(times, p.start, rng.uniform(*_CHANGE_SECONDS)) for p in pieces[1:]]
    begun = [np.ones(len(times)), *later, np.zeros(len(times))]
    return blended(poses, [before - after for before, after in itertools.pairwise(begun)])


def _extra(rng: np.random.Generator, actor: Figure | Blob, times: np.ndarray) -> _Role:
    """Returns the role of an extra, who idles; a blob also moves aimlessly across the picture."""
    x = np.full(len(times), rng.uniform(0, WIDTH))
    if isinstance(actor, Blob):
        x = x + WIDTH / 3 * wander(rng, times, 12.0)
    return _Role(actor, actor.idle(rng, times), x, actor.place(rng, HEIGHT))


def _smooth(facing: np.ndarray) -> np.ndarray:
    """Returns the mean over 9 frames around each frame: a figure takes 9 frames to turn back."""
    width = 9
    return np.convolve(np.pad(facing, width // 2, mode="edge"), np.ones(width) / width, "valid")
