"""Exports trained networks as a SavedModel that TensorFlow Serving mounts.

    python -m pipelines.export --model_dir=M --output_dir=saved_models/scnn

Reads a folder of trained stages. Writes the next version, `saved_models/scnn/1/`, whole or not at
all: preprocessing, windows, both networks, prior and non-maximum suppression in one graph; what
the model is in `assets/scnn.json`; warm-up requests in `assets.extra/`. Writes or updates, beside
the model, `models.config`, `batching.config` and `monitoring.config` for the server.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.io.files import AnyPath, size_of

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the networks.", required=True)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "saved_models/scnn", "Folder of the versions; its name is the model's."
)
_VERSION = flags.DEFINE_integer("version", None, "Default: the highest there is, and one.")
_LABEL = flags.DEFINE_enum(
    "label", "stable", ["stable", "canary"], "What requests call this version from now on."
)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16"], "bfloat16 is half the size."
)
_PROPOSAL_THRESHOLD = flags.DEFINE_float(
    "proposal_threshold",
    None,
    "Segments with less go no further (default: the recipe's).",
    0,
    1,
)
_NMS_THRESHOLD = flags.DEFINE_float(
    "nms_threshold", 0.4, "tIoU; take .1 less than the overlap that matters to you.", 0, 1
)
_MAX_BATCH_SIZE = flags.DEFINE_integer(
    "max_batch_size", 32, "Segments scored at a time; 1: requests are never merged."
)


def main(argv: list[str]) -> None:
    """Exports, and says what was written and how large it is."""
    from scnn_tf.localization.scnn import load_scnn
    from scnn_tf.serving.export import export, read_provenance

    version = export(
        load_scnn(_MODEL_DIR.value, proposal_threshold=_PROPOSAL_THRESHOLD.value),
        _OUTPUT_DIR.value,
        _VERSION.value,
        _LABEL.value,
        _PRECISION.value,
        _NMS_THRESHOLD.value,
        _MAX_BATCH_SIZE.value,
        read_provenance(_MODEL_DIR.value),
    )
    print(f"{_size(version) / 1e6:.1f} MB → {version}")


def _size(folder: AnyPath) -> int:
    return sum(_size(path) if path.is_dir() else size_of(path) for path in folder.iterdir())


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
