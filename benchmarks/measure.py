"""Seconds of calls that are compared, and what they were measured on."""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

from tqdm import tqdm


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

    backend = keras.config.backend()
    devices = gpus() or ["no GPU"]
    versions = {name: importlib.metadata.version(name) for name in ("keras", backend)}
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {', '.join(devices)}",
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"Python": platform.python_version(), **versions}.items()
        ),
        "threads": os.environ.get("OMP_NUM_THREADS", "one for each core"),
    }


def gpus() -> list[str]:
    """The GPUs that Keras sees, such as `gpu:0`, on any of its backends."""
    import keras

    return [name for name in keras.distribution.list_devices() if name.startswith("gpu")]


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
