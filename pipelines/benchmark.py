"""Measures what the README claims, on this machine.

    python -m pipelines.benchmark --suite=serving --model_dir=M --output_json=serving.json
    python -m pipelines.benchmark --suite=dirt --videos=DIR,DIR --fuzz=3000

Suites:
    serving   networks of M behind `serve`: thousands of requests from 32 clients, one in ten
              broken, a version swap in the middle; throughput with and without merging requests
    sizes     the paper's three networks on disk, and exported
    dirt      the files of folders through probing, reading, building and localizing (networks of
              M, or untrained ones), each in a process that may crash or hang; their times against
              ffprobe's; then damaged copies of them, which must give frames or one sentence

Reads a folder of trained stages, or folders of videos, where a suite needs them. Prints the
figures, with the machine and the versions they were measured on, and writes them as JSON; of
files, it prints tables for a README.
"""

import json
import os
import platform
from pathlib import Path

from absl import flags, logging

from pipelines import cli
from scnn_tf.errors import InputError
from scnn_tf.files import write_text

_SUITE = flags.DEFINE_enum(
    "suite", None, ["serving", "sizes", "dirt"], "What to measure.", required=True
)
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the networks.")
_REQUESTS = flags.DEFINE_integer("requests", 4000, "serving: how many.", 100)
_CLIENTS = flags.DEFINE_integer("clients", 32, "serving: how many send them.", 1)
_VIDEOS = flags.DEFINE_list("videos", [], "dirt: folders of files of any kind.")
_FUZZ = flags.DEFINE_integer("fuzz", 0, "dirt: how many damaged copies.", 0)
_OUTPUT_JSON = flags.DEFINE_string("output_json", None, "Writes the figures there.")


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    if _SUITE.value == "serving" and not _MODEL_DIR.value:
        raise InputError("this suite needs trained networks; give --model_dir")
    if _SUITE.value == "dirt" and not _VIDEOS.value:
        raise InputError("this suite needs files; give --videos")
    import keras
    import tensorflow as tf

    figures = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}",
    }
    if _SUITE.value == "dirt":
        figures |= _dirt()
    else:
        figures |= _served()
    if _OUTPUT_JSON.value:
        write_text(_OUTPUT_JSON.value, json.dumps(figures, indent=1) + "\n")
    figures.pop("files", None)  # printed as tables
    print(json.dumps(figures, indent=1))


def _served() -> dict:
    from scnn_tf.benchmarks import serving
    from scnn_tf.localization import load_networks

    if _SUITE.value == "sizes":
        return {"sizes_mb": serving.sizes()}
    networks = load_networks(_MODEL_DIR.value)
    return {
        "under_load": serving.under_load(networks, _REQUESTS.value, _CLIENTS.value),
        "batching": serving.batching(networks, _REQUESTS.value, _CLIENTS.value),
    }


def _dirt() -> dict:
    from scnn_tf.benchmarks import dirt, fuzz

    logging.set_verbosity(logging.ERROR)  # each file has something to warn of
    paths = [path for folder in _VIDEOS.value for path in sorted(Path(folder).iterdir())]
    paths = [path for path in paths if path.is_file()]
    rows = dirt.survey(paths, _MODEL_DIR.value)
    print(dirt.summary(rows), "\n", dirt.table(rows), sep="\n")
    if not _FUZZ.value:
        return {"files": rows}
    whole = [path for path, row in zip(paths, rows, strict=True) if row["frames"]]
    return {"files": rows, "fuzz": fuzz.fuzz(whole, _FUZZ.value)}


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
