"""Measures what waits for what with full-width C3D: decoding, copying or computing.

    python -m benchmarks.waits --video=VIDEO --batch_size=2 --output_json=waits.json

Reads one video of half a minute. The network is untrained: one network with three heads, in
bfloat16, on the GPUs that TensorFlow sees, or else the CPU.

Figures of "localization", in seconds: "decode", the frames of the video; "copy", its stretches at
all window lengths from main memory to the device; "compute", the network on stretches that are on
the device; "all", from the file to scored windows; and "realtime", seconds of video in a second of
"all". Figures of "training", under the strategy of `train`, from shards of the video, in windows a
second: "read", from shards to batches; "copy", of batches to the device; "step", training steps on
a batch that is on the device; "all", the training loop. "of_matmul_rate" is the share that
"compute" and "step" reach of "matmul_gflops", the rate at which the device multiplies large
matrices in bfloat16, by the operations of a convolution's definition.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import measure
from benchmarks.full_width import one_network
from benchmarks.network import full_width, matmul_gflops, multiply_adds
from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.io.video import probe, read_frames
from scnn_tf.localization.scnn import JointSCNN
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import JOINT, Recipe
from scnn_tf.segments.stretches import num_samples, stream_parts
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import Manifest
from scnn_tf.shards.frames import centre_crop
from scnn_tf.training.loop import train_steps
from scnn_tf.training.networks import compiled, make_variables
from scnn_tf.training.strategies import make_strategy


def waits(
    path: Path,
    recipe: Recipe,
    networks: Callable[[], JointSCNN],
    repeats: int = 3,
    num_batches: int = 10,
) -> dict:
    """Returns the time of each part of localization and of training.

    Args:
        path: A video.
        recipe: Recipe of the training.
        networks: Makes the network that localizes.
        repeats: Number of timed runs of each part.
        num_batches: Number of batches of a run of training.

    Returns:
        The figures of the module's docstring.
    """
    strategy = make_strategy()  # before TensorFlow is used
    gflops = matmul_gflops("bfloat16")
    localized = localization(path, networks(), repeats)
    with tempfile.TemporaryDirectory() as folder:
        trained = training(_shards(path, recipe, folder), recipe, strategy, repeats, num_batches)
    for row in (localized, trained):
        row["of_matmul_rate"] = round(row.pop("gflops") / gflops, 2)
    return {"matmul_gflops": gflops, "localization": localized, "training": trained}


def localization(path: Path, networks: JointSCNN, repeats: int = 3) -> dict:
    """Returns the seconds of each part of localization, and the rate of the network."""
    shards, rate = networks.info.recipe.shards, networks.info.frame_rate

    def decoded() -> list[np.ndarray]:
        return list(read_frames(path, rate, shards.frame_height, shards.frame_width))

    scorer = networks.sequences
    cropped = [centre_crop(frame, networks.info.recipe.crop) for frame in decoded()]
    parts = stream_parts(cropped, shards.window_frames, scorer.part_windows, scorer.context_windows)
    stretches = [
        {
            "frames": np.stack(samples)[None],
            "window_frames": np.full(1, part.stretch.window_frames, np.int32),
        }
        for part, samples in parts
    ]
    stretches = [{name: each[name] for name in networks.network.input} for each in stretches]

    def copied() -> list[dict]:
        return [_on_device(stretch) for stretch in stretches]

    on_device = copied()
    taken = measure.in_turn(
        {
            "decode": decoded,
            "copy": copied,
            "compute": lambda: [networks.network.predict_on_batch(each) for each in on_device],
            "all": lambda: networks.score_video(path, "video"),
        },
        repeats,
    )
    products = sum(multiply_adds(networks.network, each["frames"].shape[1]) for each in stretches)
    return {
        **{name: round(seconds, 3) for name, seconds in taken.items()},
        "realtime": round(probe(path).duration / taken["all"], 1),
        "gflops": 2e-9 * products / taken["compute"],
    }


def training(
    manifest: Manifest,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
    repeats: int = 3,
    num_batches: int = 10,
) -> dict:
    """Returns the windows a second of each part of training, and the rate of the network."""
    with strategy.scope():
        model = compiled(StageInfo(JOINT, manifest.class_names, manifest.frame_rate, 0, recipe))
        make_variables(model, JOINT)

    def batches(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        return training_batches(manifest, JOINT, recipe, context=context)

    stream = iter(batches())
    batch = next(stream)
    on_device = next(iter(strategy.distribute_datasets_from_function(batches)))

    @tf.function(autograph=False)
    def step(replicas):
        return strategy.run(model.train_step, args=(replicas,))["loss"]

    def stepped() -> None:
        for _ in range(num_batches):
            losses = step(on_device)
        _wait(strategy.experimental_local_results(losses)[0])

    taken = measure.in_turn(
        {
            "read": lambda: [next(stream) for _ in range(num_batches)],
            "copy": lambda: [_on_device(batch[0]) for _ in range(num_batches)],
            "step": stepped,
        },
        repeats,
    )
    loop = _Loop(num_batches)
    train_steps(model, strategy, batches, 2 * num_batches, [loop])
    taken["all"] = loop.seconds
    windows = num_batches * recipe.batch_size * recipe.train_windows
    # A step multiplies three times: outputs, and gradients of both factors.
    products = 3 * multiply_adds(model, num_samples(recipe.train_windows))
    return {
        "replicas": strategy.num_replicas_in_sync,
        **{name: round(windows / seconds, 1) for name, seconds in taken.items()},
        "gflops": 2e-9 * num_batches * recipe.batch_size * products / taken["step"],
    }


class _Loop(keras.callbacks.Callback):
    """Times a training loop after its first steps, in which it traces its graph.

    Args:
        first: Number of steps that are not timed.

    Attributes:
        seconds: Duration of all others.
    """

    def __init__(self, first: int):
        super().__init__()
        self.first, self.seconds = first, 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Begins to count."""
        if batch == self.first - 1:
            _wait(logs["loss"])
            self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Ends to count."""
        _wait(logs["loss"])
        self.seconds = time.perf_counter() - self._began


def _shards(path: Path, recipe: Recipe, folder: str) -> Manifest:
    """Builds shards of a video: its second and its fourth fifth are actions, of two classes."""
    duration = probe(path).duration
    actions = tuple(
        Instance(f"class{fifth}", fifth * duration / 5, (fifth + 1) * duration / 5)
        for fifth in (1, 3)
    )
    video = VideoAnnotation("video", "train", duration, None, actions, file=path.name)
    return build_shards({"video": video}, video_dir=path.parent, output_dir=folder, recipe=recipe)


def _on_device(inputs: dict) -> dict:
    """Copies inputs to the first GPU, if there is one, and waits until they are there."""
    copies = {name: tf.identity(value) for name, value in inputs.items()}
    for copy in copies.values():
        _wait(copy)
    return copies


def _wait(value: object) -> None:
    """Waits for a result of the device, by copying a small part of it back."""
    tf.reshape(value, [-1])[:1].numpy()


def run() -> None:
    """Runs this benchmark as a program."""
    video = flags.DEFINE_string("video", None, "Video file of half a minute.", required=True)
    batch_size = flags.DEFINE_integer("batch_size", 2, "Stretches in a training step.")

    def suite() -> dict:
        recipe = full_width(stretch_windows=13, batch_size=batch_size.value)
        return waits(path=Path(video.value), recipe=recipe, networks=one_network)

    measure.run(suite)


if __name__ == "__main__":
    run()
