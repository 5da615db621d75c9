"""Measures how time and memory grow with the length of a video, with classes and with videos.

    python -m benchmarks.growth --output_json=growth.json

Reads nothing. Figures: "minutes", a video of that length through the (untrained) network of
`small`, which keeps every window; "classes", a video of one minute through a network of that many
classes, and 24,000 segments of 213 videos post-processed and evaluated; "videos", 113 detections
of each of that many videos evaluated. Each has "rows" of (size, seconds, MB at the peak of the
process) and "line", the least-squares line through them with its R².
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from absl import logging
from tqdm import tqdm

from benchmarks import measure
from benchmarks.evaluation import TIOU, random_case
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.scnn import JointSCNN
from scnn_tf.localization.tables import RawSegments
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import JOINT, InferenceRecipe, Recipe, get_recipe
from scnn_tf.segments.prior import window_prior
from scnn_tf.segments.windows import WINDOW_FRAMES


def grow(
    minutes: Sequence[int] = (1, 2, 5, 10, 20, 40, 80, 120),
    classes: Sequence[int] = (2, 5, 10, 50, 100, 200, 500, 1000),
    videos: Sequence[int] = (30, 100, 300, 1000, 3000),
) -> dict:
    """Returns time and memory by size, the figures of the module's docstring.

    Args:
        minutes: Lengths of one video.
        classes: Numbers of classes.
        videos: Numbers of evaluated videos.
    """
    cases: dict[str, tuple[Sequence[int], Callable]] = {
        "minutes": (minutes, _video_of_minutes),
        "classes": (classes, _of_classes),
        "videos": (videos, _of_videos),
    }
    context = multiprocessing.get_context("spawn")
    found = {}
    for name, (sizes, function) in cases.items():
        rows = []
        for size in tqdm(sizes, name, disable=None):
            # A process of its own, so that its memory peak is this size's.
            with ProcessPoolExecutor(1, mp_context=context) as process:
                seconds, megabytes = process.submit(_measured, function, size).result()
            rows.append({name: size, "seconds": round(seconds, 2), "mb": round(megabytes)})
        found[name] = {"rows": rows, "line": _line(rows, name)}
    return found


def _line(rows: list[dict], name: str) -> dict:
    """Returns the least-squares line through the seconds by size."""
    sizes, seconds = (np.array([row[key] for row in rows]) for key in (name, "seconds"))
    slope, offset = np.polyfit(sizes, seconds, 1)
    rest = seconds - (slope * sizes + offset)
    return {
        "seconds_each": float(f"{slope:.3g}"),
        "seconds_at_0": float(f"{offset:.3g}"),
        "r2": round(1 - float((rest**2).sum() / ((seconds - seconds.mean()) ** 2).sum()), 4),
    }


def _measured(function: Callable[[int], Callable[[], object]], size: int) -> tuple[float, float]:
    """Returns the seconds of a case at one size, and the memory peak of this process in MB."""
    logging.set_verbosity(logging.ERROR)  # some of a thousand classes have no instance
    run = function(size)
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _video_of_minutes(minutes: int) -> Callable[[], object]:
    network = _network(20)
    network.score_frames(_frames(network.info.recipe, 64), "warm up")
    return lambda: network.score_frames(_frames(network.info.recipe, minutes * 60 * 25), "video")


def _of_classes(classes: int) -> Callable[[], object]:
    network = _network(classes)
    network.score_frames(_frames(network.info.recipe, 64), "warm up")
    videos, found = random_case(213, classes, 24_000)
    segments = RawSegments(
        found.video, [WINDOW_FRAMES[0]] * len(found), found.start, found.end, found.label,
        found.score,
    )  # fmt: skip

    def run() -> None:
        network.score_frames(_frames(network.info.recipe, 60 * 25), "video")
        detections = detections_from_segments(segments, None, 0.4)
        evaluate(videos, detections, tiou_thresholds=TIOU)

    return run


def _of_videos(count: int) -> Callable[[], object]:
    videos, found = random_case(count, 20, count * 113)
    return lambda: evaluate(videos, found, tiou_thresholds=TIOU)


def _network(num_classes: int) -> JointSCNN:
    """Returns an untrained network, which keeps every window."""
    names = tuple(f"class{i:04d}" for i in range(num_classes))
    info = StageInfo(JOINT, names, 25.0, 0, get_recipe("small"))
    prior = window_prior([], [], names, WINDOW_FRAMES, info.frame_rate)
    return JointSCNN(info.build(), info, prior, InferenceRecipe(proposal_threshold=0.0))


def _frames(recipe: Recipe, count: int) -> Iterator[np.ndarray]:
    """Yields frames of a drifting noise picture."""
    shape = (recipe.shards.frame_height, recipe.shards.frame_width, 3)
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for number in range(count):
        yield np.roll(picture, number, axis=1)


def run() -> None:
    """Runs this benchmark as a program."""
    measure.run(grow)


if __name__ == "__main__":
    run()
