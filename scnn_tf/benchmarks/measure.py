"""Seconds of a call, told so that two can be compared."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

from tqdm import tqdm


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Median seconds of a call, after one that is not counted."""
    function()
    return statistics.median(_timed(function) for _ in range(repeats))


def in_turn(
    functions: Mapping[str, Callable[[], object]], repeats: int = 3, warm_up: bool = True
) -> dict[str, float]:
    """Median seconds of each call; called in turn, so that what else the machine does hits all."""
    taken = {name: [] for name in functions}
    with tqdm(total=(repeats + warm_up) * len(functions), disable=None) as bar:
        for round_ in range(repeats + warm_up):
            for name, function in functions.items():
                bar.set_description(name)
                taken[name].append(_timed(function))
                bar.update()
            if warm_up and not round_:
                taken = {name: [] for name in functions}
    return {name: statistics.median(times) for name, times in taken.items()}


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    import keras
    import tensorflow as tf

    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()}",
        "versions": f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}",
        "threads": f"{tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()} "
        "within an operation",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            pairs = (line.partition(":") for line in file)
            fields = {key.strip(): value.strip() for key, _, value in pairs}
    except OSError:  # not Linux
        return platform.machine()
    special = {"avx512f", "avx512_bf16", "amx_bf16"} & set(fields.get("flags", "").split())
    return " ".join([fields.get("model name", platform.machine()), *sorted(special)])


def _timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
