"""Untrimmed videos with ground truth, joined from trimmed clips of known people.

Some classes are targets, the others become background. Each video shows all clips of one person
in a random order, so that no person is in both the training and the test set. Cuts at other places,
decoys, hide the joints of the clips (see `editing`).
"""

import itertools
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

from scnn_tf.datasets import editing
from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import write_annotations
from scnn_tf.datasets.video_files import is_video_name
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io import video
from scnn_tf.io.files import PathLike

DEFAULT_PERSON_PATTERN = "(?:^|/)([^/_]+)_[^/]*$"
"""Matches the text before a name's first underscore: `daria_walk.avi` shows daria."""


@dataclass(frozen=True)
class Clip:
    """A trimmed clip: its class (the folder's name), its person, and its file."""

    label: str
    person: str
    path: Path


@dataclass
class Stitched:
    """The result of `stitch`.

    Attributes:
        videos: Video id → annotation, as written to `annotations.json`.
        skipped: One sentence for each clip that could not be used.
    """

    videos: dict[str, VideoAnnotation] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def find_clips(clips_dir: PathLike, person_pattern: str = DEFAULT_PERSON_PATTERN) -> list[Clip]:
    """Finds `<clips_dir>/<class>/<clip>`, sorted by class and file name.

    Args:
        clips_dir: Folder with a folder of clips for each class.
        person_pattern: Regular expression searched in a clip's file name; its first group is
            the person. Clips without a match are left out with a warning.

    Raises:
        InputError: The folder does not exist or has no clips, or the pattern is no regular
            expression, has no group or matches no clip.
    """
    clips_dir = Path(clips_dir)
    if not clips_dir.is_dir():
        raise InputError(f"{clips_dir}: expected a folder with a folder of clips for each class")
    try:
        pattern = re.compile(person_pattern)
    except re.error as error:
        raise InputError(
            f"person pattern {person_pattern!r}: expected a regular expression ({error})"
        ) from error
    if not pattern.groups:
        raise InputError(
            f"person pattern {person_pattern!r}: expected a group in parentheses, the person"
        )
    files = sorted(f for f in clips_dir.glob("*/*") if is_video_name(f.name))
    if not files:
        raise InputError(
            f"{clips_dir}: expected clips named <class>/<person>_<text>.avi. Found: none"
        )
    matches = [(f, pattern.search(f.name)) for f in files]
    clips = [Clip(f.parent.name, match[1], f) for f, match in matches if match]
    if not clips:
        raise InputError(
            f"person pattern {person_pattern!r}: matches none of the {len(files)} clips in "
            f"{clips_dir}, such as {files[0].name}"
        )
    for file, match in matches:
        if not match:
            logging.warning("%s is left out: the person pattern does not match its name", file)
    return clips


def stitch(
    clips_dir: PathLike,
    output_dir: PathLike,
    targets: Sequence[str],
    test_people: Sequence[str] = (),
    sequences_per_person: int = 1,
    seed: int = 0,
    fps: float = 25.0,
    person_pattern: str = DEFAULT_PERSON_PATTERN,
    decoys: float = 0.5,
    fades: bool = True,
) -> Stitched:
    """Builds `annotations.json` and `videos/*.mp4` in `output_dir`.

    Each video joins all clips of one person, whole and end to end. Their order, the decoys and the
    cross-fades depend only on the seed, the person and the number of the video. An instance's times
    are frame index / fps, with and without decoys and cross-fades. All pictures have the size of
    the first clip.

    Args:
        clips_dir: `<class>/<person>_<text>.<extension>`.
        output_dir: Folder to write to, made if missing; files of the same name are replaced.
        targets: Classes to annotate; the other classes are background.
        test_people: People whose videos are in the subset "test"; all others are in "train".
        sequences_per_person: Number of videos of each person.
        seed: Seed of the orders, decoys and cross-fades.
        fps: Frames per second of the videos.
        person_pattern: See `find_clips`.
        decoys: Mean number of decoys per second: cuts within a clip, at which light, crop and
            mirror image change while the action continues. If there are any, each clip begins with
            such a change too. 0 shows the clips as they are.
        fades: Whether half of all cuts, joints and decoys alike, are cross-fades of 2 to 12 frames,
            with their middle exactly at the cut.

    Returns:
        The videos, and the clips that were left out because they cannot be decoded.

    Raises:
        InputError: No clips, an unknown target class or test person, or a number out of range.
        VideoError: None of the clips can be decoded.
    """
    if sequences_per_person < 1:
        raise InputError(
            f"sequences_per_person must be 1 or more. Received: {sequences_per_person}"
        )
    if not 0 <= decoys <= fps:
        raise InputError(
            f"decoys must be between 0 and the {fps:g} frames per second. Received: {decoys:g}"
        )
    clips = find_clips(clips_dir, person_pattern)
    _check_known("target class", targets, {clip.label for clip in clips}, clips_dir)
    _check_known("test person", test_people, {clip.person for clip in clips}, clips_dir)
    if not targets:
        raise InputError("Name at least one target class.")

    videos_dir = Path(output_dir) / "videos"
    videos_dir.mkdir(parents=True, exist_ok=True)
    result = Stitched()
    size = None
    people = sorted({clip.person for clip in clips})
    with tqdm(total=len(people) * sequences_per_person, unit="video") as progress:
        for person in people:
            pieces, size = _decode([c for c in clips if c.person == person], fps, size, result)
            orders = _orders(person, len(pieces), sequences_per_person, seed) if pieces else []
            for number, order in enumerate(orders):
                key = f"{person}_{number:02d}"
                sequence = [pieces[i] for i in order]
                rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
                frames = editing.join([f for _, f in sequence], decoys / fps, fades, rng)
                count = video.write_video(videos_dir / f"{key}.mp4", frames, fps)
                result.videos[key] = VideoAnnotation(
                    video_id=key,
                    subset="test" if person in test_people else "train",
                    duration=count / fps,
                    fps=fps,
                    instances=_instances(sequence, targets, fps),
                    file=f"{key}.mp4",
                )
                progress.update()
    if not result.videos:
        raise VideoError(
            f"{clips_dir}: none of the {len(clips)} clips can be decoded ({result.skipped[0]})"
        )
    write_annotations(Path(output_dir) / "annotations.json", result.videos)
    return result


def _decode(
    clips: Sequence[Clip], fps: float, size: tuple[int, int] | None, result: Stitched
) -> tuple[list[tuple[str, np.ndarray]], tuple[int, int] | None]:
    """Decodes the clips of a person, once for all videos; broken clips are listed and left out.

    Returns:
        (label, uint8 `[frames, height, width, 3]`) of each clip, and (height, width) of the first
        clip that was decoded in this run.
    """
    pieces = []
    for clip in clips:
        height, width = size or (None, None)
        try:
            frames = np.stack(list(video.read_frames(clip.path, fps, height, width)))
        except VideoError as error:
            result.skipped.append(str(error))
            logging.warning("left out: %s", error)
            continue
        size = frames.shape[1:3]
        pieces.append((clip.label, frames))
    return pieces, size


def _orders(person: str, length: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Draws `count` orders of `length` clips, all different if there are that many orders."""
    # A generator for each person: the orders do not depend on the other people in the folder.
    rng = np.random.default_rng([seed, zlib.crc32(person.encode())])
    orders: list[tuple[int, ...]] = []
    while len(orders) < count:
        order = tuple(int(i) for i in rng.permutation(length))
        if order not in orders or len(orders) >= math.factorial(length):
            orders.append(order)
    return orders


def _instances(
    sequence: Sequence[tuple[str, np.ndarray]], targets: Sequence[str], fps: float
) -> tuple[Instance, ...]:
    """Returns the instances of the targets in a joined sequence, in seconds."""
    ends = itertools.accumulate(len(frames) for _, frames in sequence)
    return tuple(
        Instance(label, (end - len(frames)) / fps, end / fps)
        for (label, frames), end in zip(sequence, ends, strict=True)
        if label in targets
    )


def _check_known(what: str, names: Sequence[str], known: set[str], clips_dir) -> None:
    unknown = sorted(set(names) - known)
    if unknown:
        raise InputError(
            f"{clips_dir}: no {what} is named {', '.join(unknown)}. "
            f"Found: {', '.join(sorted(known))}"
        )
