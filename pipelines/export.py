"""Exports trained networks as a SavedModel that TensorFlow Serving mounts.

    python -m pipelines.export --model_dir=M --output_dir=saved_models/scnn

Reads a folder of trained stages. Writes the next version, such as `saved_models/scnn/1/`, whole or
not at all: a graph with preprocessing, windows, the networks, the window-length prior if the recipe
uses it, and non-maximum suppression; the model's description in `assets/scnn.json`; warm-up
requests in `assets.extra/`. Writes or updates `models.config`, `batching.config` and
`monitoring.config` of the server in the folder above the model's. docs/serving.md has the server's
commands.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.io.files import AnyPath, size_of

_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder or URL of the trained stages.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    "saved_models/scnn",
    "Folder or URL of the model's versions; its name is the model's.",
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
    ["float32", "bfloat16"],
    "Precision of weights and computation; bfloat16 halves the size of the model.",
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
    """Exports the networks, and prints the folder of the version and its size."""
    del argv
    from scnn_tf.localization.scnn import load_scnn
    from scnn_tf.serving.export import export_scnn, read_provenance

    model = load_scnn(
        _MODEL_DIR.value,
        proposal_threshold=_PROPOSAL_THRESHOLD.value,
        nms_threshold=_NMS_THRESHOLD.value,
    )
    version = export_scnn(
        model,
        _OUTPUT_DIR.value,
        version=_VERSION.value,
        label=_LABEL.value,
        precision=_PRECISION.value,
        max_batch_size=_MAX_BATCH_SIZE.value,
        provenance=read_provenance(_MODEL_DIR.value),
    )
    print(f"{_size(version) / 1e6:.1f} MB → {version}")


def _size(folder: AnyPath) -> int:
    return sum(_size(path) if path.is_dir() else size_of(path) for path in folder.iterdir())


def run() -> None:
    """Runs the binary."""
    _cli.run(main)


if __name__ == "__main__":
    run()
