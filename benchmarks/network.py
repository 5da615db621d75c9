"""The full C3D against PyTorch's, and against the rate at which the machine multiplies matrices.

Ours is measured through Keras, on whichever backend it has.
"""

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
from keras import ops

from benchmarks.measure import gpus, in_turn
from scnn_tf.models import C3D, network

NUM_CLASSES = 20
PRECISIONS = ("float32", "bfloat16")
BATCHES = (1, 2, 4, 8, 16)
TRAINING_BATCHES = (1, 4, 8)
GPU_BATCHES = (1, 4, 16, 32, 64, 128)
_SIZE = 4096  # of the matrices


def compare(repeats: int = 3) -> dict:
    """Clips per second of the paper's network, 16 × 112 × 112, ours and PyTorch's on a CPU.

    Each framework is in a process of its own; they are called in turn.

    Returns:
        "matmul_gflops": by precision, the higher of the two frameworks' rates; "inference" and
        "training": a row for each precision and batch, with clips/s of both, their ratio, and the
        share of the matrix-multiply rate that ours reaches.
    """
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
            return in_turn(calls, repeats)

        return _figures(taken, BATCHES, TRAINING_BATCHES, PRECISIONS)


def alone(repeats: int = 5) -> dict:
    """The same figures of ours only, in bfloat16 and larger batches, on the device of Keras."""

    def taken(which: str, *args) -> dict[str, float]:
        return in_turn({"scnn_tf": lambda: _OURS[which](*args)}, repeats)

    return _figures(taken, GPU_BATCHES, GPU_BATCHES, ("bfloat16",))


def _figures(
    taken: Callable[..., dict[str, float]],
    batches: Sequence[int],
    training_batches: Sequence[int],
    precisions: Sequence[str],
) -> dict:
    """`taken` gives the seconds of each framework for "matmul" or "clips" and its arguments."""
    rates = {
        precision: round(2 * _SIZE**3 / min(taken("matmul", precision).values()) / 1e9)
        for precision in precisions
    }
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


def multiply_adds(model: keras.Model) -> int:
    """Of one segment through the convolutions and dense layers of a network."""
    total = 0
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv3D | keras.layers.Dense):
            positions = layer.output.shape[1:-1]  # each is a product of patch and kernel
            total += int(np.prod(positions, dtype=np.int64)) * int(np.prod(layer.kernel.shape))
    return total


@functools.cache
def _model(precision: str = "float32") -> keras.Model:
    precision = "mixed_bfloat16" if precision == "bfloat16" else precision
    model = network("localization", NUM_CLASSES, C3D(initializer="he", precision=precision))
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # XLA makes 3D convolutions many times slower on a CPU.
        jit_compile=bool(gpus()),
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
        model.train_on_batch(inputs, np.zeros(batch, np.int32))
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
    """C3D as its ports to PyTorch have it, in the memory format that is fastest there."""
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


# Filters, and by how much the pool after it shortens time.
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
    # As its users train: weights in float32, computed in bfloat16.
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        scores = model(_torch_frames("float32", batch))
        loss = torch.nn.functional.cross_entropy(scores.float(), torch.zeros(batch).long())
    loss.backward()
    optimizer.step()


_OURS = {"matmul": _matmul, "clips": _clips}
_THEIRS = {"matmul": _torch_matmul, "clips": _torch_clips}
