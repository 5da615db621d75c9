"""Measures the full C3D against PyTorch's, and against the machine's matrix-multiply rate.

    python -m benchmarks.network --output_json=network.json
    python -m benchmarks.network --stretches --output_json=stretches.json
    KERAS_BACKEND=jax python -m benchmarks.network --gpu --output_json=gpu.json

Reads nothing: the paper's network, 16 × 112 × 112, runs on random frames, through Keras on any of
its backends. Without --gpu: float32 and bfloat16 on the CPU, this network and PyTorch's in turn.
With --gpu: this network alone, in bfloat16 and in larger batches, on the device of Keras. With
--stretches: training steps of one network on stretches and of the paper's on segments, in turn, of
the small recipes in float32 and at full width in bfloat16; figures are windows/s, and their ratio.

Other figures: "matmul_gflops", by precision, the higher rate of the two frameworks; "inference"
and "training", for each precision and batch, clips/s of both frameworks, their ratio, and the share
of the matrix-multiply rate that this network reaches.
"""

import contextlib
import dataclasses
import functools
import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
from absl import flags
from keras import ops

from benchmarks import measure
from scnn_tf.models import C3D, network
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.losses import pack_targets
from scnn_tf.models.recipes import HEADS, JOINT, Recipe, get_recipe
from scnn_tf.segments.stretches import num_samples
from scnn_tf.segments.windows import SAMPLED_FRAMES

NUM_CLASSES = 20
PRECISIONS = ("float32", "bfloat16")
BATCHES = (1, 2, 4, 8, 16)
TRAINING_BATCHES = (1, 4, 8)
GPU_BATCHES = (1, 4, 16, 32, 64, 128)
_SIZE = 4096  # rows and columns of the multiplied matrices


def compare(repeats: int = 3) -> dict:
    """Returns the figures of this network and PyTorch's on a CPU.

    Each framework runs in a process of its own; they are called in turn.

    Raises:
        InputError: PyTorch is not installed.
    """
    measure.require(packages=["torch"])
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        ours, theirs = (
            stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in range(2)
        )

        def taken(which: str, *args) -> dict[str, float]:
            calls = {
                "scnn_tf": lambda: ours.submit(_OURS[which], *args).result(),
                "pytorch": lambda: theirs.submit(_THEIRS[which], *args).result(),
            }
            return measure.in_turn(calls, repeats)

        return _figures(taken, BATCHES, TRAINING_BATCHES, PRECISIONS)


def alone(repeats: int = 5) -> dict:
    """Returns the figures of this network alone, in bfloat16, on the device of Keras."""

    def taken(which: str, *args) -> dict[str, float]:
        return measure.in_turn({"scnn_tf": lambda: _OURS[which](*args)}, repeats)

    return _figures(taken, GPU_BATCHES, GPU_BATCHES, ("bfloat16",))


def stretches(repeats: int = 3) -> dict:
    """Returns the windows a second that training takes, by segments and by stretches."""
    recipes = {
        "small": {"segments": get_recipe("small_paper"), "stretches": get_recipe("small")},
        "full": {
            "segments": full_width(stretch_windows=1, batch_size=8),
            "stretches": full_width(stretch_windows=13, batch_size=2),
        },
    }
    rows = {}
    for size, pair in recipes.items():
        steps = {way: _training_step(recipe) for way, recipe in pair.items()}
        seconds = measure.in_turn({way: step for way, (step, _) in steps.items()}, repeats)
        rates = {way: windows / seconds[way] for way, (_, windows) in steps.items()}
        rows[size] = {way: round(rate, 1) for way, rate in rates.items()}
        rows[size]["times_faster"] = round(rates["stretches"] / rates["segments"], 2)
    return rows


def full_width(stretch_windows: int, batch_size: int) -> Recipe:
    """Returns the recipe of the paper's C3D on stretches, from random weights, in bfloat16."""
    paper = get_recipe("thumos14")
    shards = dataclasses.replace(paper.shards, stretch_windows=stretch_windows)
    return dataclasses.replace(
        paper, shards=shards, precision="mixed_bfloat16", initializer="he", batch_size=batch_size
    )


def _training_step(recipe: Recipe) -> tuple[Callable[[], object], int]:
    """Returns a step on random frames of the recipe's last network, and its number of windows."""
    from scnn_tf.training.train import compiled  # TensorFlow, which other backends lack

    stage = recipe.stages[-1]
    names = tuple(f"class{number}" for number in range(NUM_CLASSES))
    windows = recipe.train_windows if stage == JOINT else 1
    shape = (recipe.batch_size, num_samples(windows), recipe.crop, recipe.crop, 3)
    inputs = {"frames": np.random.default_rng(0).integers(0, 256, shape, np.uint8)}
    if recipe.window_input:
        inputs["window_frames"] = np.full(recipe.batch_size, SAMPLED_FRAMES, np.int32)
    # Half of the windows are of the first class.
    label = np.arange(recipe.batch_size * windows).reshape(-1, windows) % 2
    targets = pack_targets(label, label, np.zeros((*label.shape, 2)))
    targets = dict.fromkeys(HEADS, targets) if stage == JOINT else targets[..., :2]
    model = compiled(StageInfo(stage, names, 25.0, 0, recipe))
    return lambda: model.train_on_batch(inputs, targets), label.size


def _figures(
    taken: Callable[..., dict[str, float]],
    batches: Sequence[int],
    training_batches: Sequence[int],
    precisions: Sequence[str],
) -> dict:
    """Returns the figures of the module's docstring.

    Args:
        taken: Returns the seconds of each framework for "matmul" or "clips" and its arguments.
        batches: Batch sizes at inference.
        training_batches: Batch sizes at training.
        precisions: "float32", "bfloat16".
    """
    rates = {precision: _rate(taken("matmul", precision)) for precision in precisions}
    flops = 2 * multiply_adds(_model())
    rows: dict[str, list] = {"inference": [], "training": []}
    for precision in precisions:
        for kind, sizes in (("inference", batches), ("training", training_batches)):
            for batch in sizes:
                seconds = taken("clips", precision, kind == "training", batch)
                # A step multiplies three times: outputs, and gradients of both factors.
                work = batch * flops * (3 if kind == "training" else 1)
                row = {"precision": precision, "batch": batch}
                for name, value in seconds.items():
                    row[f"{name}_clips_per_s"] = round(batch / value, 2)
                if "pytorch" in seconds:
                    row["ratio"] = round(seconds["pytorch"] / seconds["scnn_tf"], 2)
                rate = work / seconds["scnn_tf"] / 1e9
                row |= {
                    "gflops": round(rate), "of_matmul_rate": round(rate / rates[precision], 2)
                }  # fmt: skip
                rows[kind].append(row)
    return {"matmul_gflops": rates, **rows}


def matmul_gflops(precision: str, repeats: int = 5) -> int:
    """Returns the rate at which large matrices are multiplied, in 10⁹ operations a second."""
    return _rate(measure.in_turn({"matmul": lambda: _matmul(precision)}, repeats))


def _rate(seconds: dict[str, float]) -> int:
    """Returns the rate of the fastest of some multiplications."""
    return round(2 * _SIZE**3 / min(seconds.values()) / 1e9)


def multiply_adds(model: keras.Model, samples: int = SAMPLED_FRAMES) -> int:
    """Returns the multiply-adds of a stretch in a network's convolutions and dense layers.

    They are those of the definition: to form pairs of frames (`layers.Convolution`) takes fewer.

    Args:
        model: A network.
        samples: Number of frames of the stretch.
    """
    kinds = keras.layers.Conv3D | keras.layers.Dense
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    outputs = keras.Model(model.input, [layer.output for layer in layers])
    inputs = {name: (1, *each.shape[1:]) for name, each in model.input.items()}
    inputs["frames"] = (1, samples, *inputs["frames"][2:])
    shapes = outputs.compute_output_shape(inputs)
    # At each position, patch times kernel.
    return sum(
        math.prod(shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer, shape in zip(layers, shapes, strict=True)
    )


@functools.cache
def _model(precision: str = "float32") -> keras.Model:
    precision = "mixed_bfloat16" if precision == "bfloat16" else precision
    model = network(
        "localization",
        NUM_CLASSES,
        C3D(initializer="he", precision=precision),
        initializer="he",
    )
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # XLA makes 3D convolutions many times slower on a CPU.
        jit_compile=bool(measure.gpus()),
    )
    return model


@functools.cache
def _frames(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, 16, 112, 112, 3), np.uint8)


@functools.cache
def _factors(precision: str) -> list:
    return [ops.cast(keras.random.normal([_SIZE, _SIZE]), precision) for _ in range(2)]


def _matmul(precision: str) -> None:
    a, b = _factors(precision)
    ops.convert_to_numpy(ops.cast(ops.matmul(a, b)[0, 0], "float32"))


def _clips(precision: str, training: bool, batch: int) -> None:
    model, inputs = _model(precision), {"frames": _frames(batch)}
    if training:
        model.train_on_batch(inputs, np.zeros((batch, 1), np.int32))
    else:
        model.predict_on_batch(inputs)


@functools.cache
def _torch_factors(precision: str):
    import torch

    return [torch.randn(_SIZE, _SIZE).to(getattr(torch, precision)) for _ in range(2)]


def _torch_matmul(precision: str) -> None:
    a, b = _torch_factors(precision)
    (a @ b)[0, 0].item()


@functools.cache
def _torch_model(precision: str, training: bool):
    """Returns C3D as in its PyTorch ports, in the memory format that is fastest there."""
    import torch
    from torch import nn

    layers = []
    channels = 3
    for filters, time in _LAYERS:
        layers += [nn.Conv3d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
        channels = filters
        if time:
            pool = (time, 2, 2)
            layers.append(nn.MaxPool3d(pool, pool, ceil_mode=True))
    for units_in, units in ((8192, 4096), (4096, 4096)):
        layers += [nn.Flatten(), nn.Linear(units_in, units), nn.ReLU(inplace=True), nn.Dropout()]
    model = nn.Sequential(*layers, nn.Linear(4096, NUM_CLASSES + 1))
    model = model.to(memory_format=torch.channels_last_3d)
    if not training:
        return model.to(getattr(torch, precision)).eval(), None
    return model.train(), torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)


# Filters of each convolution, and the time stride of the pool after it; 0: no pool.
_LAYERS = (
    (64, 1), (128, 2), (256, 0), (256, 2), (512, 0), (512, 2), (512, 0), (512, 2)
)  # fmt: skip


@functools.cache
def _torch_frames(precision: str, batch: int):
    import torch

    frames = torch.from_numpy(_frames(batch)).permute(0, 4, 1, 2, 3).float() - 128
    return frames.to(getattr(torch, precision)).contiguous(memory_format=torch.channels_last_3d)


def _torch_clips(precision: str, training: bool, batch: int) -> None:
    import torch

    model, optimizer = _torch_model(precision, training)
    if not training:
        frames = _torch_frames(precision, batch)
        with torch.inference_mode():
            model(frames)
        return
    optimizer.zero_grad(set_to_none=True)
    # Like its users train: weights in float32, computation in bfloat16.
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        scores = model(_torch_frames("float32", batch))
        loss = torch.nn.functional.cross_entropy(scores.float(), torch.zeros(batch).long())
    loss.backward()
    optimizer.step()


_OURS = {"matmul": _matmul, "clips": _clips}
_THEIRS = {"matmul": _torch_matmul, "clips": _torch_clips}


def run() -> None:
    """Runs this benchmark as a program."""
    gpu = flags.DEFINE_bool(
        "gpu", False, "Measures the network alone on the device of Keras, without PyTorch."
    )

    share = flags.DEFINE_bool(
        "stretches", False, "Measures training on stretches and on segments, without PyTorch."
    )

    def suite() -> dict:
        if share.value:
            return stretches()
        return alone() if gpu.value else compare()

    measure.run(suite)


if __name__ == "__main__":
    run()
