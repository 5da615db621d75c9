"""Measures how fast shards are built, against `ffmpeg` on the same video.

    python -m benchmarks.building --video=VIDEO --output_json=building.json

Reads a video of some minutes, so that a second of start-up does not count, and builds shards of
several copies of it in a temporary folder. Figures: frames in all copies, seconds and frames/s of
`build`, of `read_frames` alone, and of `ffmpeg`, which only decodes and resizes, and how many
times as long as ffmpeg each takes.
"""

import itertools
import os
import subprocess
import tempfile
from pathlib import Path

from absl import flags

from benchmarks import measure
from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.io.video import probe, read_frames
from scnn_tf.jobs.processes import Processes
from scnn_tf.models.recipes import Recipe, ShardRecipe
from scnn_tf.shards.build import build_shards

_PERIOD = 25.0  # seconds from the start of an instance to the start of the next
_BACKGROUND_RATIO = 1.5  # background segments for each positive one


def building(path: Path, copies: int = 4, instance_seconds: float = 4.0) -> dict:
    """Returns the time to build shards of a video, against `ffmpeg`'s to decode and resize it.

    Args:
        path: A video.
        copies: Number of copies of the video that make the dataset; build and ffmpeg both use
            all cores.
        instance_seconds: Duration of each annotated instance.

    Returns:
        The figures of the module's docstring.

    Raises:
        InputError: ffmpeg is not installed.
    """
    measure.require(programs=["ffmpeg"])
    info = probe(path)
    instances = tuple(
        Instance("action", start, start + instance_seconds)
        for start in itertools.takewhile(
            lambda start: start + instance_seconds < info.duration, itertools.count(1.0, _PERIOD)
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
            build_shards(
                annotations,
                video_dir=videos,
                output_dir=Path(folder) / f"shards{next(numbers)}",
                recipe=Recipe("benchmark", shards=ShardRecipe(background_ratio=_BACKGROUND_RATIO)),
                num_shards=2,
                runner=Processes(os.cpu_count()),
            )

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

        taken = measure.in_turn({"build": built, "read_frames": read, "ffmpeg": ffmpeg})
    frames = copies * sum(1 for _ in read_frames(path))
    return {
        "frames": frames,
        "instances": copies * len(instances),
        "seconds": {name: round(value, 2) for name, value in taken.items()},
        "frames_per_s": {name: round(frames / value) for name, value in taken.items()},
        "times_ffmpeg": {name: round(value / taken["ffmpeg"], 2) for name, value in taken.items()},
    }


def run() -> None:
    """Runs this benchmark as a program."""
    video = flags.DEFINE_string(
        "video", None, "Video file of some minutes to build shards of.", required=True
    )

    def suite() -> dict:
        return building(path=Path(video.value))

    measure.run(suite)


if __name__ == "__main__":
    run()
