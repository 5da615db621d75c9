"""A dataset of synthetic videos on disk: video files and their annotations."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import write_annotations
from scnn_tf.datasets.synthetic import actions, films, shapes
from scnn_tf.errors import InputError
from scnn_tf.io import video
from scnn_tf.io.files import PathLike


@dataclass(frozen=True)
class Motions:
    """The functions that make one kind of synthetic video.

    Attributes:
        actions: Names of the classes.
        frame_rates: Frame rates, which the videos have in turn.
        seconds: Draws the duration, in seconds, of an instance of an action, or of an untrimmed
            video (None).
        plan: Draws the instances of an untrimmed video of a duration in seconds.
        film: Yields the frames of a video, uint8 RGB `[height, width, 3]`, given its instances, the
            number of frames and the frame rate.
    """

    actions: tuple[str, ...]
    frame_rates: tuple[float, ...]
    seconds: Callable[[np.random.Generator, str | None], float]
    plan: Callable[[np.random.Generator, float], tuple[Instance, ...]]
    film: Callable[[np.random.Generator, tuple[Instance, ...], int, float], Iterator[np.ndarray]]


MOTIONS = {
    # Bright shapes that move in six directions.
    "shapes": Motions(
        actions=tuple(shapes.ACTIONS),
        frame_rates=shapes.FRAME_RATES,
        seconds=shapes.seconds,
        plan=shapes.plan,
        film=shapes.film,
    ),
    # Jointed figures that walk, jump or wave, and blobs that grow, turn or swing.
    "rich": Motions(
        actions=tuple(actions.ACTIONS),
        frame_rates=(25.0,),
        seconds=films.seconds,
        plan=films.plan,
        film=films.film,
    ),
}


def make_dataset(
    output_dir: PathLike,
    num_train: int,
    num_test: int,
    num_trimmed_per_class: int,
    seed: int = 0,
    motions: str = "shapes",
) -> dict[str, VideoAnnotation]:
    """Writes `videos/*.mp4` and `annotations.json` (ActivityNet style) into `output_dir`.

    Each core makes videos of its own. A video depends only on the seed, its class or subset, and
    its own number; not on the number of videos.

    Args:
        output_dir: Folder to write to, made if missing; files of the same name are replaced.
        num_train: Number of untrimmed videos of the subset "train".
        num_test: Number of untrimmed videos of the subset "test".
        num_trimmed_per_class: Number of clips of each class, in the subset "train".
        seed: Seed of all random numbers.
        motions: Key of `MOTIONS`.

    Returns:
        video id → annotation.

    Raises:
        InputError: A number is negative, or all are 0, or `motions` is no key of `MOTIONS`.
        VideoError: A video cannot be written.
    """
    counts = (num_train, num_test, num_trimmed_per_class)
    if min(counts) < 0 or not any(counts):
        raise InputError(f"numbers of videos must be 0 or more, and not all 0. Received: {counts}")
    if motions not in MOTIONS:
        raise InputError(f"motions must be one of {', '.join(MOTIONS)}. Received: {motions}")
    kind = MOTIONS[motions]
    videos_dir = Path(output_dir) / "videos"
    videos_dir.mkdir(parents=True, exist_ok=True)
    wanted = [("train", None, i) for i in range(num_train)]
    wanted += [("test", None, i) for i in range(num_test)]
    wanted += [("train", a, i) for a in kind.actions for i in range(num_trimmed_per_class)]

    def make(subset: str, action: str | None, number: int) -> VideoAnnotation:
        key = f"{action or subset}_{number:03d}"
        rng = np.random.default_rng([seed, *key.encode()])
        fps = kind.frame_rates[number % len(kind.frame_rates)]
        frames = round(kind.seconds(rng, action) * fps)
        duration = frames / fps
        instances = (Instance(action, 0.0, duration),) if action else kind.plan(rng, duration)
        video.write_video(videos_dir / f"{key}.mp4", kind.film(rng, instances, frames, fps), fps)
        return VideoAnnotation(
            video_id=key,
            subset=subset,
            duration=duration,
            fps=fps,
            instances=instances,
            trimmed=action is not None,
            file=f"{key}.mp4",
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(make, *zip(*wanted, strict=True))
        videos = {each.video_id: each for each in tqdm(made, total=len(wanted), unit="video")}
    write_annotations(Path(output_dir) / "annotations.json", videos)
    return videos
