"""What an import costs, and who may import whom."""

import subprocess
import sys
from pathlib import Path

import scnn_tf

# Reading, labelling, post-processing and evaluating must never wait for a network's library.
NUMPY_ONLY = (
    "scnn_tf.datasets.formats",
    "scnn_tf.datasets.challenges",
    "scnn_tf.datasets.check",
    "scnn_tf.evaluation.diagnosis",
    "scnn_tf.evaluation.error_types",
    "scnn_tf.evaluation.evaluate",
    "scnn_tf.io.files",
    "scnn_tf.label_import",
    "scnn_tf.datasets.label_tools",
    "scnn_tf.datasets.mexaction2",
    "scnn_tf.localization.postprocess",
    "scnn_tf.localization.postprocess",
    "scnn_tf.segments.prior",
    "scnn_tf.models.recipes",
    "scnn_tf.localization.formats",
    "scnn_tf.segments.windows",
    "scnn_tf.datasets.stitching",
    "scnn_tf.datasets.synthetic",
    "scnn_tf.datasets.thumos14",
    "scnn_tf.io.video",
    "scnn_tf.datasets.video_files",
)

# One network for any Keras backend.
PACKAGE = Path(scnn_tf.__file__).parent
KERAS_ONLY = (
    *(PACKAGE / name for name in ("losses.py", "metrics.py", "optimizers.py")),
    *sorted(PACKAGE.glob("models/*.py")),
)


def loaded_after(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after one statement."""
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"av", "absl", "keras", "matplotlib", "numpy", "tensorflow", "tensorflow_io"}
    assert not heavy & loaded_after("import scnn_tf")
