"""Joins clips to one video in which a cut does not show where an action begins or ends.

Clips put end to end have a visible cut at each end of an action, and nowhere else: a network can
learn the cuts instead of the actions. So each clip is shown in *shots* of random length, and each
shot has a *look* of its own: light, contrast, crop and mirror image. At a joint of two clips the
look changes as it does at the cuts within a clip, which are decoys: they have the same distribution
of looks, and as many of them are cross-fades.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Uniformly drawn for each shot. Grey levels are 0–255.
_CONTRAST = (0.75, 1.25)  # factor, around grey level 128
_LIGHT = (-25.0, 25.0)  # added to each color by itself: clips differ in the color of the light too
_CROP = (0.8, 1.0)  # height and width of the crop, as a fraction of the picture's
_MIRRORED = 0.5  # share of the shots that are mirrored
_FADED = 0.5  # share of the cuts that are cross-fades
_HALF_FADE = (1, 6)  # frames of a cross-fade on either side of the cut


@dataclass(frozen=True)
class _Look:
    """An edit of a picture, the same for all frames of a shot.

    Attributes:
        box: Left, top, right and bottom of the crop, as fractions of the picture.
        mirrored: Whether left and right are exchanged.
        contrast: Factor of the grey levels' distance from 128.
        light: float32 `[3]`, added to red, green and blue.
    """

    box: tuple[float, float, float, float]
    mirrored: bool
    contrast: float
    light: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "_Look":
        size = rng.uniform(*_CROP)
        left, top = rng.uniform(0, 1 - size, 2)
        return cls(
            box=(left, top, left + size, top + size),
            mirrored=rng.random() < _MIRRORED,
            contrast=rng.uniform(*_CONTRAST),
            light=rng.uniform(*_LIGHT, 3).astype(np.float32),
        )

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        box = tuple(np.multiply(self.box, (width, height, width, height)))
        image = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR, box)
        pixels = np.asarray(image, np.float32)[:, :: -1 if self.mirrored else 1]
        pixels = (pixels - 128) * self.contrast + 128 + self.light
        return pixels.round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Shot:
    """Consecutive frames of a clip that have one look.

    Attributes:
        clip: uint8 `[frames, height, width, 3]`, the whole clip.
        start: Index of the shot's first frame in the clip.
        length: Number of frames.
        look: Edit of each frame; None shows the clip as it is.
    """

    clip: np.ndarray
    start: int
    length: int
    look: _Look | None

    def frame(self, index: int) -> np.ndarray:
        """Returns frame `index` of the shot, uint8 `[height, width, 3]`.

        A cross-fade needs frames before 0 and from `length` on. They are the clip's, which runs
        backward beyond its own ends.
        """
        index += self.start
        count = len(self.clip)
        if index < 0:
            index = -1 - index
        elif index >= count:
            index = 2 * count - 1 - index
        frame = self.clip[index]
        return self.look(frame) if self.look else frame


def join(
    clips: Sequence[np.ndarray],
    decoys: float,
    fades: bool,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yields the frames of all clips, one clip after the other, each frame once.

    Frame i of the result shows frame i of the clips put end to end, whatever the decoys and fades.
    A cross-fade has its middle exactly at the cut: the last frame before the cut shows more of the
    old shot, the first frame after it more of the new shot.

    Args:
        clips: uint8 `[frames, height, width, 3]` each, all of one size.
        decoys: Probability that a frame within a clip begins a new shot; 0 shows the clips as they
            are.
        fades: Whether half of all cuts are cross-fades of 2 to 12 frames (fewer if a shot is
            shorter).
        rng: Decides on the decoys, the looks and the cross-fades.

    Yields:
        uint8 `[height, width, 3]`.
    """
    shots = [shot for clip in clips for shot in _shots(clip, decoys, rng)]
    cuts = list(itertools.pairwise(shots))
    halves = [0, *(_half_fade(*cut, rng) if fades else 0 for cut in cuts), 0]
    for number, shot in enumerate(shots):
        for index in range(shot.length):
            after = index + 0.5  # frames since the cut before the shot, to the frame's middle
            until = shot.length - after
            frame = shot.frame(index)
            if after < halves[number]:
                before = shots[number - 1]
                other = before.frame(before.length + index)
                frame = _blend(frame, other, 0.5 - after / halves[number] / 2)
            elif until < halves[number + 1]:
                other = shots[number + 1].frame(index - shot.length)
                frame = _blend(frame, other, 0.5 - until / halves[number + 1] / 2)
            yield frame


def _shots(clip: np.ndarray, decoys: float, rng: np.random.Generator) -> list[_Shot]:
    """Cuts a clip into shots at random places, which are uniformly distributed."""
    starts = [0, *(1 + np.flatnonzero(rng.random(len(clip) - 1) < decoys))]
    return [
        _Shot(clip, int(start), int(end - start), _Look.drawn(rng) if decoys else None)
        for start, end in itertools.pairwise([*starts, len(clip)])
    ]


def _half_fade(before: _Shot, after: _Shot, rng: np.random.Generator) -> int:
    """Draws how many frames of either shot a cross-fade takes; 0 is a hard cut."""
    if rng.random() >= _FADED:
        return 0
    half = int(rng.integers(*_HALF_FADE, endpoint=True))
    # Each half of a shot at most, so that no frame shows three shots.
    return min(half, before.length // 2, after.length // 2)


def _blend(frame: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Returns a frame with another one shining through, by a share of 0 to 1."""
    mixed = frame * np.float32(1 - share) + other * np.float32(share)
    return mixed.round().astype(np.uint8)
