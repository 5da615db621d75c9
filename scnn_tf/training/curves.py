"""Loss, accuracy and mAP of trained networks, step by step, from the logs of their training."""

import os
from collections import defaultdict
from collections.abc import Callable

from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path
from scnn_tf.models.checkpoints import METRICS, MODEL_JSON, read_metrics
from scnn_tf.models.recipes import STAGES

_TRAINING = {
    "batch_loss": "loss", "batch_accuracy": "accuracy", "batch_classes_accuracy": "accuracy"
}  # fmt: skip
_VALIDATION = {"loss": "loss", "accuracy": "accuracy", "classes_accuracy": "accuracy"}


def read_curves(model_dir: PathLike) -> dict[str, dict]:
    """Reads the metrics and learning curves of the networks in a folder.

    Args:
        model_dir: Folder or URL of the stages, as `train` writes it.

    Returns:
        Stage → "metrics": the final metrics, empty before the training has ended; "loss" and
        "accuracy": lists of (step, mean over the last steps), empty without logs; "validation": of
        a training with validation, "loss", "accuracy" and "mAP@0.5", for example → lists of (step,
        value).

    Raises:
        InputError: The folder holds no stage, or its metrics are damaged.
    """
    folder = as_path(model_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of trained networks")
    names = {path.name for path in folder.iterdir() if (path / MODEL_JSON).is_file()}
    if not names:
        raise InputError(f"{folder}: no trained network in it (a folder with {MODEL_JSON})")
    curves = {}
    for name in [n for n in STAGES if n in names] + sorted(names - set(STAGES)):
        metrics = read_metrics(folder / name) if (folder / name / METRICS).is_file() else {}
        logs = folder / name / "logs"
        training = _logged(logs / "train", _TRAINING.get)
        curves[name] = {
            "metrics": metrics,
            "loss": training.get("loss", []),
            "accuracy": training.get("accuracy", []),
            "validation": _logged(
                logs / "validation",
                lambda tag: tag if tag.startswith("mAP@") else _VALIDATION.get(tag),
            ),
        }
    return curves


def _logged(
    logs: AnyPath, name_of: Callable[[str], str | None]
) -> dict[str, list[tuple[int, float]]]:
    """Reads the logs of TensorBoard, of which there is a file for each start.

    Args:
        logs: Folder of the logs.
        name_of: Returns the name of the curve of a tag; None: the tag is skipped.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    values: dict[str, dict[int, float]] = defaultdict(dict)
    files = [path for path in logs.iterdir() if "tfevents" in path.name] if logs.is_dir() else []
    for path in sorted(files, key=lambda path: path.name):  # a name holds the time of the start
        try:
            for event in EventFileLoader(os.fspath(path)).Load():
                for value in event.summary.value:
                    if (name := name_of(value.tag)) is not None:
                        values[name][event.step] = round(float(make_ndarray(value.tensor)), 5)
        except (OSError, ValueError, DecodeError, tf.errors.OpError) as error:
            logging.warning("%s: the rest of this log cannot be read (%s)", path, error)
    return {name: sorted(by_step.items()) for name, by_step in values.items()}
