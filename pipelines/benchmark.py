"""Measures what the README claims, on this machine.

    python -m pipelines.benchmark --suite=serving --model_dir=M --output_json=serving.json

Suites:
    serving   networks of M behind `serve`: thousands of requests from 32 clients, one in ten
              broken, a version swap in the middle; throughput with and without merging requests
    sizes     the paper's three networks on disk, and exported

Reads a folder of trained stages where a suite needs one. Prints the figures, with the machine and
the versions they were measured on, and writes them as JSON.
"""

import json
import os
import platform

from absl import flags

from pipelines import cli
from scnn_tf.errors import InputError
from scnn_tf.files import write_text

_SUITE = flags.DEFINE_enum("suite", None, ["serving", "sizes"], "What to measure.", required=True)
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the networks.")
_REQUESTS = flags.DEFINE_integer("requests", 4000, "serving: how many.", 100)
_CLIENTS = flags.DEFINE_integer("clients", 32, "serving: how many send them.", 1)
_OUTPUT_JSON = flags.DEFINE_string("output_json", None, "Writes the figures there.")


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    if _SUITE.value == "serving" and not _MODEL_DIR.value:
        raise InputError("this suite needs trained networks; give --model_dir")
    import keras
    import tensorflow as tf

    from scnn_tf.benchmarks import serving
    from scnn_tf.localization import load_networks

    figures = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}",
    }
    if _SUITE.value == "sizes":
        figures["sizes_mb"] = serving.sizes()
    else:
        networks = load_networks(_MODEL_DIR.value)
        figures["under_load"] = serving.under_load(networks, _REQUESTS.value, _CLIENTS.value)
        figures["batching"] = serving.batching(networks, _REQUESTS.value, _CLIENTS.value)
    text = json.dumps(figures, indent=1)
    print(text)
    if _OUTPUT_JSON.value:
        write_text(_OUTPUT_JSON.value, text + "\n")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
