"""The full C3D against PyTorch's, and against the rate at which the machine multiplies matrices."""

import contextlib
import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from scnn_tf.benchmarks.measure import in_turn
from scnn_tf.models import C3D, network

NUM_CLASSES = 20
PRECISIONS = ("float32", "bfloat16")
BATCHES = (1, 2, 4, 8, 16)
TRAINING_BATCHES = (1, 4, 8)


def compare(repeats: int = 3) -> dict:
    """Clips per second of the paper's network, 16 × 112 × 112.

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

        def pair(which: str, *args) -> dict[str, float]:
            calls = {
                "scnn_tf": lambda: ours.submit(globals()[f"_tf_{which}"], *args).result(),
                "PyTorch": lambda: theirs.submit(globals()[f"_torch_{which}"], *args).result(),
            }
            return in_turn(calls, repeats)

        rates = {
            precision: round(
                max(2 * _SIZE**3 / s for s in pair("matmul", precision).values()) / 1e9
            )
            for precision in PRECISIONS
        }
        rows = {"inference": [], "training": []}
        for precision in PRECISIONS:
            for kind, batches in (("inference", BATCHES), ("training", TRAINING_BATCHES)):
                for batch in batches:
                    taken = pair("clips", precision, kind == "training", batch)
                    # A step multiplies three times: outputs, and gradients of both factors.
                    flops = 2 * multiply_adds(_model()) * (3 if kind == "training" else 1)
                    rate = flops * batch / taken["scnn_tf"] / 1e9
                    rows[kind].append(
                        {
                            "precision": precision,
                            "batch": batch,
                            "clips_per_s": round(batch / taken["scnn_tf"], 2),
                            "pytorch_clips_per_s": round(batch / taken["PyTorch"], 2),
                            "ratio": round(taken["PyTorch"] / taken["scnn_tf"], 2),
                            "gflops": round(rate),
                            "of_matmul_rate": round(rate / rates[precision], 2),
                        }
                    )
    return {"matmul_gflops": rates, **rows}


def multiply_adds(model: keras.Model) -> int:
    """Of one segment through the convolutions and dense layers of a network."""
    total = 0
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv3D | keras.layers.Dense):
            positions = layer.output.shape[1:-1]  # each is a product of patch and kernel
            total += int(np.prod(positions, dtype=np.int64)) * int(np.prod(layer.kernel.shape))
    return total


_SIZE = 4096


@functools.cache
def _model(precision: str = "float32") -> keras.Model:
    precision = "mixed_bfloat16" if precision == "bfloat16" else precision
    model = network("localization", NUM_CLASSES, C3D(initializer="he", precision=precision))
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


@functools.cache
def _frames(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, 16, 112, 112, 3), np.uint8)


@functools.cache
def _tf_factors(precision: str) -> list[tf.Tensor]:
    return [tf.cast(tf.random.normal([_SIZE, _SIZE]), precision) for _ in range(2)]


def _tf_matmul(precision: str) -> None:
    a, b = _tf_factors(precision)
    tf.matmul(a, b)[0, 0].numpy()


def _tf_clips(precision: str, training: bool, batch: int) -> None:
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
    return frames.to(getattr(torch, precision)).contiguous(
        memory_format=torch.channels_last_3d
    )


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
