"""How fast shards are read and built."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import tensorflow as tf

from benchmarks.measure import in_turn
from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.io.video import probe, read_frames
from scnn_tf.jobs.processes import Processes
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import STAGES, Recipe
from scnn_tf.shards import batches
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.build import BuildRecipe, build
from scnn_tf.shards.files import read_manifest
from scnn_tf.training.train import compiled

_BATCHES = 30  # that are read at a time
_STEP, _LENGTH = 25.0, 4.0  # seconds from an instance to the next, and its own
_RATIO = 1.5  # background segments for each positive one


def reading(data_dir: str, recipe: Recipe) -> dict:
    """Segments per second from shards to batches, and those that a training step takes.

    Args:
        data_dir: of shards.
        recipe: whose batches, and whose network.

    Returns:
        By stage: "training" (segments/s of a step on a batch that is there), "decoded" (of the
        pipeline where decoded segments fit into memory, after the first pass), "encoded" (where
        they don't: 16 JPEGs are decoded for each), and how many times faster than training.
    """
    manifest = read_manifest(data_dir)
    rows = {}
    for stage in STAGES:
        info = StageInfo(
            stage, manifest.class_names, manifest.window_frames, manifest.frame_rate, 0, recipe
        )
        model = compiled(info)
        batch = next(iter(training_batches(data_dir, stage, recipe)))
        cached = iter(training_batches(data_dir, stage, recipe))
        passes = -(-sum(manifest.label_counts) // recipe.batch_size)
        _exhaust(cached, 2 * passes)  # each part's first pass fills its cache
        with mock.patch.object(batches, "_CACHE_BYTES", 0):
            encoded = iter(training_batches(data_dir, stage, recipe))
        _exhaust(encoded, 10)
        taken = in_turn(
            {
                "training": lambda model=model, batch=batch: [
                    model.train_on_batch(*batch) for _ in range(_BATCHES)
                ],
                "decoded": lambda cached=cached: _exhaust(cached, _BATCHES),
                "encoded": lambda encoded=encoded: _exhaust(encoded, _BATCHES),
            }
        )
        count = _BATCHES * recipe.batch_size
        rows[stage] = {
            **{name: round(count / value) for name, value in taken.items()},
            "decoded_times_faster": round(taken["training"] / taken["decoded"], 1),
            "encoded_times_faster": round(taken["training"] / taken["encoded"], 1),
        }
    return rows


def building(path: Path, copies: int = 4) -> dict:
    """Seconds to build shards of a video, against what `ffmpeg` takes to decode and resize it.

    Args:
        path: a video; long enough that a second of start does not count.
        copies: of it, which make the data set; both use all cores.

    Returns:
        "frames" in all, "seconds" and "frames_per_s" of `build`, `read_frames` and `ffmpeg`, and
        times as long as ffmpeg.

    Raises:
        InputError: ffmpeg is not installed.
    """
    if shutil.which("ffmpeg") is None:
        raise InputError("ffmpeg is not installed; it is what building is compared with")
    info = probe(path)
    instances = tuple(
        Instance("action", start, start + _LENGTH)
        for start in itertools.takewhile(
            lambda start: start + _LENGTH < info.duration, itertools.count(1.0, _STEP)
        )
    )
    annotations = {
        f"v{i}": VideoAnnotation(
            f"v{i}", "train", info.duration, 25.0, instances, file=f"v{i}{path.suffix}"
        )
        for i in range(copies)
    }
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        videos.mkdir()
        for video in annotations.values():
            (videos / video.file).symlink_to(path.resolve())
        numbers = itertools.count()

        def built() -> None:
            build(
                annotations, ("action",), videos, Path(folder) / f"shards{next(numbers)}",
                BuildRecipe(background_ratio=_RATIO, num_shards=2),
                runner=Processes(os.cpu_count()),
            )  # fmt: skip

        def ffmpeg() -> None:
            for video in annotations.values():
                subprocess.run(
                    ["ffmpeg", "-v", "error", "-i", videos / video.file]
                    + ["-vf", "scale=171:128", "-f", "null", "-"],
                    check=True,
                )

        def read() -> None:
            for video in annotations.values():
                for _ in read_frames(videos / video.file, 25.0, 128, 171):
                    pass

        taken = in_turn({"build": built, "read_frames": read, "ffmpeg": ffmpeg})
    frames = copies * sum(1 for _ in read_frames(path))
    return {
        "frames": frames,
        "instances": copies * len(instances),
        "seconds": {name: round(value, 2) for name, value in taken.items()},
        "frames_per_s": {name: round(frames / value) for name, value in taken.items()},
        "times_ffmpeg": {name: round(value / taken["ffmpeg"], 2) for name, value in taken.items()},
    }


def _exhaust(batches: Iterator, count: int) -> None:
    for _ in range(count):
        tf.nest.map_structure(lambda tensor: tensor.numpy(), next(batches))
