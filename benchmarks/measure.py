"""Timing, a description of the machine, and the command line of all benchmarks.

A benchmark defines its flags inside its `run()`, not at import, so that benchmarks and tests can
import each other's functions.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from absl import flags
from tqdm import tqdm

from pipelines import _cli
from scnn_tf.errors import InputError
from scnn_tf.io.files import write_text

flags.disclaim_key_flags()  # --output_json belongs to the benchmark that calls `run`


def run(suite: Callable[[], dict]) -> None:
    """Runs a benchmark as a program and prints machine, versions and figures as JSON.

    Defines --output_json, parses all flags, and exits. A wrong flag or a missing file is reported
    in one sentence, like in the binaries of `pipelines`.

    Args:
        suite: Measures and returns the figures. The docstring of its module is what --help prints.
    """
    output_json = flags.DEFINE_string(
        "output_json", None, "File to write the printed JSON to. Default: it is only printed."
    )

    @functools.wraps(suite)  # `_cli.run` finds the module's docstring and flags by its name
    def main(argv: list[str]) -> None:
        del argv
        figures = suite()
        text = json.dumps({**machine(), "figures": figures}, indent=1)
        if output_json.value:
            write_text(output_json.value, text + "\n")
        print(text)

    _cli.run(main)


def require(packages: Sequence[str] = (), programs: Sequence[str] = ()) -> None:
    """Checks that everything a benchmark compares with is installed.

    Raises:
        InputError: A package or a program is missing.
    """
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"{name} is not installed, and this benchmark compares with it; run pip install "
                "'scnn_tf[benchmark]'"
            )
    for name in programs:
        if shutil.which(name) is None:
            raise InputError(f"{name} is not installed, and this benchmark compares with it")


def in_turn(
    functions: Mapping[str, Callable[[], object]], repeats: int = 3, warm_up: bool = True
) -> dict[str, float]:
    """Returns the median duration of each call, in seconds.

    The calls are made in turn, so that other load of the machine affects all of them alike.

    Args:
        functions: Name → call.
        repeats: Number of timed rounds.
        warm_up: Whether a round that is not timed comes first.
    """
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
    """Returns the machine, the versions and the number of threads, as text."""
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
    """Returns the GPUs that Keras sees on its backend, such as `gpu:0`."""
    import keras

    return [name for name in keras.distribution.list_devices() if name.startswith("gpu")]


def _processor() -> str:
    """Returns the processor's name and the instruction sets that matter to the networks."""
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
