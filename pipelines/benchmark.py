"""Measures what the README claims, on this machine.

    python -m pipelines.benchmark --suite=network,evaluation,growth --output_json=figures.json
    python -m pipelines.benchmark --suite=untrimmed --model_dir=M --annotations=A --videos=DIR
    python -m pipelines.benchmark --suite=reading,building --data_dir=SHARDS --video=V
    python -m pipelines.benchmark --suite=serving --model_dir=M
    python -m pipelines.benchmark --suite=dirt --videos=DIR,DIR --fuzz=3000

Suites:
    network     the full C3D, inference and training, float32 and bfloat16, against PyTorch's and
                against the machine's matrix-multiply rate
    gpu         the same in bfloat16 without PyTorch, on the device and the backend of Keras
    untrimmed   the networks of M on annotated videos, from file to mAP, against every window
                decoded, resized and run on its own in float32
    full_width  the same without mAP, the paper's networks on a video of some seconds
    reading     segments/s from shards to batches, against what a training step takes
    building    frames/s of building shards, against ffmpeg on the same file
    evaluation  24,000 detections, against a loop over the rows of a pandas table
    growth      time and memory against length of video, number of classes and of videos
    serving     networks of M behind `serve`: thousands of requests from 32 clients, one in ten
                broken, a version swap in the middle; throughput with and without merging requests
    sizes       the paper's three networks on disk, and exported
    dirt        the files of folders through probing, reading, building and localizing (networks of
                M, or untrained ones), each in a process that may crash or hang; their times
                against ffprobe's; then damaged copies of them, which must give frames or one
                sentence

What is compared runs in turn. Prints the figures, with the machine and the versions they were
measured on, and writes them as JSON; of files, it prints tables for a README.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from absl import flags, logging

from pipelines import _cli
from scnn_tf.errors import InputError
from scnn_tf.io.files import write_text

_OUTPUT_JSON = flags.DEFINE_string("output_json", None, "Writes the figures there.")
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the networks.")
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "untrimmed: of the videos.")
_SUBSET = flags.DEFINE_string("subset", "test", "untrimmed: of the annotations.")
_VIDEOS = flags.DEFINE_list("videos", [], "untrimmed: their folder; dirt: folders of any files.")
_VIDEO = flags.DEFINE_string(
    "video", None, "full_width: a file of some seconds; building: of some minutes."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "reading: folder of shards.")
_RECIPE = flags.DEFINE_string("recipe", "small", "reading: whose batches and network.")
_REQUESTS = flags.DEFINE_integer("requests", 4000, "serving: how many.", 100)
_CLIENTS = flags.DEFINE_integer("clients", 32, "serving: how many send them.", 1)
_FUZZ = flags.DEFINE_integer("fuzz", 0, "dirt: how many damaged copies.", 0)


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    for name in _SUITE.value:
        for flag in (_MODEL_DIR, _ANNOTATIONS, _VIDEOS, _VIDEO, _DATA_DIR):
            if flag.name in _SUITES[name][1] and not flag.value:
                raise InputError(f"--suite={name} needs --{flag.name}; --help says what it is")
        for package in _SUITES[name][2]:
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"--suite={name} compares with {package}; pip install 'scnn_tf[benchmark]'"
                )
    from benchmarks.measure import machine

    figures = machine()
    for name in _SUITE.value:
        figures[name] = _SUITES[name][0]()
        if _OUTPUT_JSON.value:  # what is measured is kept, whatever comes next
            write_text(_OUTPUT_JSON.value, json.dumps(figures, indent=1) + "\n")
    figures.get("dirt", {}).pop("files", None)  # printed as tables
    print(json.dumps(figures, indent=1))


def _network() -> dict:
    from benchmarks import network

    return network.compare()


def _gpu() -> dict:
    from benchmarks import network

    return network.alone()


def _untrimmed() -> dict:
    from benchmarks import untrimmed
    from scnn_tf.datasets.formats import read_annotations
    from scnn_tf.localization.scnn import load_networks

    networks = load_networks(_MODEL_DIR.value)
    return untrimmed.compare(
        {"float32": networks, "bfloat16": networks.in_precision("bfloat16")},
        read_annotations(_ANNOTATIONS.value, _SUBSET.value),
        Path(_VIDEOS.value[0]),
    )


def _full_width() -> dict:
    from benchmarks import untrimmed

    return untrimmed.full_width(Path(_VIDEO.value))


def _reading() -> dict:
    from benchmarks import data
    from scnn_tf.models.recipes import get_recipe

    return data.reading(_DATA_DIR.value, get_recipe(_RECIPE.value))


def _building() -> dict:
    from benchmarks import data

    return data.building(Path(_VIDEO.value))


def _evaluation() -> dict:
    from benchmarks import evaluation

    return evaluation.compare()


def _growth() -> dict:
    from benchmarks import growth

    return growth.measure()


def _serving() -> dict:
    from benchmarks import serving
    from scnn_tf.localization.scnn import load_networks

    networks = load_networks(_MODEL_DIR.value)
    return {
        "under_load": serving.under_load(networks, _REQUESTS.value, _CLIENTS.value),
        "batching": serving.batching(networks, _REQUESTS.value, _CLIENTS.value),
    }


def _sizes() -> dict:
    from benchmarks import serving

    return serving.sizes()


def _dirt() -> dict:
    from benchmarks import dirt, fuzz

    logging.set_verbosity(logging.ERROR)  # each file has something to warn of
    paths = [path for folder in _VIDEOS.value for path in sorted(Path(folder).iterdir())]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise InputError(f"--videos={','.join(_VIDEOS.value)}: there is no file in it")
    rows = dirt.survey(paths, _MODEL_DIR.value)
    print(dirt.summary(rows), "\n", dirt.table(rows), sep="\n")
    if not _FUZZ.value:
        return {"files": rows}
    whole = [path for path, row in zip(paths, rows, strict=True) if row["frames"]]
    return {"files": rows, "fuzz": fuzz.fuzz(whole, _FUZZ.value)}


# What measures, the flags that it needs, and the packages that it compares with.
_SUITES: dict[str, tuple[Callable[[], dict], tuple[str, ...], tuple[str, ...]]] = {
    "network": (_network, (), ("torch",)),
    "gpu": (_gpu, (), ()),
    "untrimmed": (_untrimmed, ("model_dir", "annotations", "videos"), ()),
    "full_width": (_full_width, ("video",), ()),
    "reading": (_reading, ("data_dir",), ()),
    "building": (_building, ("video",), ()),
    "evaluation": (_evaluation, (), ("pandas",)),
    "growth": (_growth, (), ()),
    "serving": (_serving, ("model_dir",), ()),
    "sizes": (_sizes, (), ()),
    "dirt": (_dirt, ("videos",), ()),
}
_SUITE = flags.DEFINE_list("suite", None, "What to measure, one or several.", required=True)


@flags.validator("suite")
def _are_suites(names: list[str]) -> bool:
    unknown = sorted(set(names) - set(_SUITES))
    if unknown or not names:
        raise flags.ValidationError(f"give some of {', '.join(_SUITES)}")
    return True


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
