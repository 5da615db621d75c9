"""Exports trained networks for TensorFlow Serving, or for devices that have no TensorFlow.

    python -m pipelines.export --model_dir=M --output_dir=saved_models/scnn
    python -m pipelines.export --model_dir=M --output_dir=edge/scnn --format=tflite \
        --precision=int8 --data_dir=S

Reads a folder of trained stages. As a SavedModel, writes the next version, such as
`saved_models/scnn/1/`, whole or not at all: a graph with preprocessing, windows, the networks, the
window-length prior if the recipe uses it, and non-maximum suppression; the model's description in
`assets/scnn.json`; warm-up requests in `assets.extra/`. Writes or updates `models.config`,
`batching.config` and `monitoring.config` of the server in the folder above the model's.
docs/serving.md has the server's commands.

For devices, writes a new folder, whole or not at all: the networks as LiteRT or ONNX files;
`card.json`, which describes them; and `scnn_edge.py`, which runs them with NumPy and an interpreter
alone. docs/edge.md has examples.
"""

from typing import TYPE_CHECKING

from absl import flags

from pipelines import _cli
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, size_of

if TYPE_CHECKING:
    from scnn_tf.localization.scnn import Localizer

_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder or URL of the trained stages.", required=True
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "saved_model",
    ["saved_model", "tflite", "onnx"],
    "Format of the networks: saved_model, for TensorFlow Serving; tflite, for LiteRT; or onnx.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder or URL of the model's versions; its name is the model's. For devices, a new folder. "
    "Default: saved_models/scnn, or edge/FORMAT.",
)
_VERSION = flags.DEFINE_integer(
    "version", None, "Number of the version. Default: one more than the highest in the folder."
)
_LABEL = flags.DEFINE_enum(
    "label",
    "stable",
    ["stable", "canary"],
    "Label by which requests find this version from now on.",
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16", "float16", "int8"],
    "Precision of weights and computation: float32; bfloat16, of a SavedModel, which halves its "
    "size; float16 or int8, of tflite, for a half or a quarter of the size.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder or URL of shards: int8 takes the ranges of its feature maps from them, and exports for "
    "devices are compared with the trained networks on them. Default: they are compared on noise.",
)
_STRETCH_WINDOWS = flags.DEFINE_integer(
    "stretch_windows",
    96,
    "Largest number of windows that a network with three heads is given at a time on a device.",
    1,
)
_PROPOSAL_THRESHOLD = flags.DEFINE_float(
    "proposal_threshold",
    None,
    "Segments whose proposal score is lower are discarded. Default: the recipe's threshold.",
    0,
    1,
)
_NMS_THRESHOLD = flags.DEFINE_float(
    "nms_threshold",
    None,
    "tIoU above which the lower-scored of two detections is suppressed; the paper's is the tIoU of "
    "the evaluation less .1. Default: the recipe's threshold.",
    0,
    1,
)
_MAX_BATCH_SIZE = flags.DEFINE_integer(
    "max_batch_size",
    32,
    "Number of segments scored at a time: 1, 2, 4, 8, 16 or 32; 1: requests are never merged. A "
    "network with three heads scores one stretch at a time, whatever this is.",
)


def main(argv: list[str]) -> None:
    """Exports the networks, and prints the folder and its size."""
    del argv
    from scnn_tf.localization.scnn import load_scnn
    from scnn_tf.serving.export import read_provenance

    _check_flags()
    model = load_scnn(
        _MODEL_DIR.value,
        proposal_threshold=_PROPOSAL_THRESHOLD.value,
        nms_threshold=_NMS_THRESHOLD.value,
    )
    export = _export if _FORMAT.value == "saved_model" else _export_edge
    folder = export(model, read_provenance(_MODEL_DIR.value))
    print(f"{_size(folder) / 1e6:.1f} MB → {folder}")


def _check_flags() -> None:
    """Checks that the given flags belong to the format.

    Raises:
        InputError: A flag belongs to another format.
    """
    served, edge = [_VERSION, _LABEL, _MAX_BATCH_SIZE], [_DATA_DIR, _STRETCH_WINDOWS]
    for flag in edge if _FORMAT.value == "saved_model" else served:
        if flag.present:
            raise InputError(f"--{flag.name} is no flag of --format={_FORMAT.value}; leave it out")


def _export(model: "Localizer", provenance: dict) -> AnyPath:
    from scnn_tf.serving.export import export_scnn

    return export_scnn(
        model,
        "saved_models/scnn" if _OUTPUT_DIR.value is None else _OUTPUT_DIR.value,
        version=_VERSION.value,
        label=_LABEL.value,
        precision=_PRECISION.value,
        max_batch_size=_MAX_BATCH_SIZE.value,
        provenance=provenance,
    )


def _export_edge(model: "Localizer", provenance: dict) -> AnyPath:
    from scnn_tf.serving.edge import export_edge

    return export_edge(
        model,
        f"edge/{_FORMAT.value}" if _OUTPUT_DIR.value is None else _OUTPUT_DIR.value,
        format=_FORMAT.value,
        precision=_PRECISION.value,
        data_dir=_DATA_DIR.value,
        stretch_windows=_STRETCH_WINDOWS.value,
        provenance=provenance,
    )


def _size(folder: AnyPath) -> int:
    return sum(_size(path) if path.is_dir() else size_of(path) for path in folder.iterdir())


def run() -> None:
    """Runs the binary."""
    _cli.run(main)


if __name__ == "__main__":
    run()
