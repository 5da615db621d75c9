"""Untrimmed videos with ground truth, joined out of trimmed clips of known people.

Some classes are targets, the others become background. Each video shows all the clips of one
person in a random order, so that no person is in both the training and the test set.
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

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import VIDEO_EXTENSIONS, write_annotations
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io import video
from scnn_tf.io.files import PathLike

DEFAULT_PERSON_PATTERN = "^([^_]+)_"
"""The text before the first underscore: `daria_walk.avi` shows daria."""


@dataclass(frozen=True)
class Clip:
    """One trimmed clip: its class (the folder's name), who is in it, and the file."""

    label: str
    person: str
    path: Path


@dataclass
class Stitched:
    """What `stitch` made.

    Attributes:
        videos: video id → annotation, as written to `annotations.json`.
        skipped: one sentence for each clip that could not be used.
    """

    videos: dict[str, VideoAnnotation] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def find_clips(clips_dir: PathLike, person_pattern: str = DEFAULT_PERSON_PATTERN) -> list[Clip]:
    """Finds `<clips_dir>/<class>/<clip>`, sorted by class and file name.

    Args:
        clips_dir: a folder of one folder a class.
        person_pattern: regular expression searched in a clip's file name; its first group is
            the person. Clips that it does not match are passed over with a warning.

    Raises:
        InputError: no such folder, no clips in it, or a pattern that is no regular expression,
            has no group or matches no clip.
    """
    clips_dir = Path(clips_dir)
    if not clips_dir.is_dir():
        raise InputError(f"{clips_dir} is not a folder of clips (one folder a class).")
    try:
        pattern = re.compile(person_pattern)
    except re.error as error:
        raise InputError(f"The person pattern {person_pattern!r} is wrong: {error}.") from error
    if not pattern.groups:
        raise InputError(
            f"The person pattern {person_pattern!r} needs a group in parentheses: the person."
        )
    files = sorted(f for f in clips_dir.glob("*/*") if f.suffix.lower() in VIDEO_EXTENSIONS)
    if not files:
        raise InputError(f"{clips_dir} holds no clips: expected <class>/<person>_<text>.avi.")
    matches = [(f, pattern.search(f.name)) for f in files]
    clips = [Clip(f.parent.name, match[1], f) for f, match in matches if match]
    if not clips:
        raise InputError(
            f"The person pattern {person_pattern!r} fits none of the {len(files)} clips in "
            f"{clips_dir}, such as {files[0].name}."
        )
    for file, match in matches:
        if not match:
            logging.warning("%s is left out: the person pattern does not fit its name.", file)
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
) -> Stitched:
    """Builds `annotations.json` and `videos/*.mp4` in `output_dir`.

    Each video joins all clips of one person in full, end to end, each in an order of its own
    that depends only on the seed and the person. An instance's times are frame index / fps. All
    pictures have the first clip's size.

    Args:
        clips_dir: `<class>/<person>_<text>.<extension>`.
        output_dir: made if missing; files of the same name are replaced.
        targets: classes to annotate; the other classes are background.
        test_people: who goes to the subset "test"; everybody else goes to "train".
        sequences_per_person: videos of each person.
        seed: decides the orders.
        fps: frames per second of the videos.
        person_pattern: as for `find_clips`.

    Returns:
        The videos made and the clips that could not be decoded; these are left out.

    Raises:
        InputError: no clips, an unknown target class or test person, or a number out of range.
        VideoError: none of the clips can be decoded.
    """
    if sequences_per_person < 1:
        raise InputError(f"Each person needs a sequence or more. Received: {sequences_per_person}")
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
                frames = itertools.chain.from_iterable(frames for _, frames in sequence)
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
            f"None of the {len(clips)} clips in {clips_dir} can be decoded: {result.skipped[0]}"
        )
    write_annotations(Path(output_dir) / "annotations.json", result.videos)
    return result


def _decode(
    clips: Sequence[Clip], fps: float, size: tuple[int, int] | None, result: Stitched
) -> tuple[list[tuple[str, np.ndarray]], tuple[int, int] | None]:
    """Decodes one person's clips once for all sequences; a broken one is listed and left out.

    Returns:
        (label, uint8 `[frames, height, width, 3]`) of each clip, and (height, width): that of
        the first clip ever decoded.
    """
    pieces = []
    for clip in clips:
        height, width = size or (None, None)
        try:
            frames = np.stack(list(video.read_frames(clip.path, fps, height, width)))
        except VideoError as error:
            result.skipped.append(str(error))
            logging.warning("Left out: %s", error)
            continue
        size = frames.shape[1:3]
        pieces.append((clip.label, frames))
    return pieces, size


def _orders(person: str, length: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Draws `count` orders of `length` clips, all different while there are enough of them."""
    # Of the person's own, so that it does not change with who else is in the folder.
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
    """Where the targets are in a joined sequence, in seconds."""
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
            f"Unknown {what} {', '.join(unknown)}: {clips_dir} has {', '.join(sorted(known))}."
        )
