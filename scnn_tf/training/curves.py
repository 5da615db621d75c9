"""Loss and accuracy of trained networks, step by step, out of the logs that training leaves."""

import os

from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path
from scnn_tf.models.checkpoints import METRICS, MODEL_JSON

_FIRST = ("proposal", "classification", "localization")
_TAGS = {"batch_loss": "loss", "batch_accuracy": "accuracy"}


def read_curves(model_dir: PathLike) -> dict[str, dict]:
    """Reads how the networks of a folder were trained.

    Args:
        model_dir: folder or URL of the stages, as `train` writes it.

    Returns:
        Stage → "metrics", the final ones (empty while it trains), and "loss" and "accuracy": (step,
        value) each, the mean over the last steps; empty without logs.

    Raises:
        InputError: no stage there, or what training wrote is damaged.
    """
    from scnn_tf.models.checkpoints import read_metrics  # which needs TensorFlow

    folder = as_path(model_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of trained networks")
    names = {path.name for path in folder.iterdir() if (path / MODEL_JSON).is_file()}
    if not names:
        raise InputError(f"{folder}: no trained network in it (a folder with {MODEL_JSON})")
    curves = {}
    for name in [n for n in _FIRST if n in names] + sorted(names - set(_FIRST)):
        metrics = read_metrics(folder / name) if (folder / name / METRICS).is_file() else {}
        curves[name] = {"metrics": metrics, **_logged(folder / name / "logs" / "train")}
    return curves


def _logged(logs: AnyPath) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's callback wrote: a file for each time that the training was begun."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    values: dict[str, dict[int, float]] = {name: {} for name in _TAGS.values()}
    files = [path for path in logs.iterdir() if "tfevents" in path.name] if logs.is_dir() else []
    for path in sorted(files, key=lambda path: path.name):  # named by when they were begun
        try:
            for event in EventFileLoader(os.fspath(path)).Load():
                for value in event.summary.value:
                    if value.tag in _TAGS:
                        number = float(make_ndarray(value.tensor))
                        values[_TAGS[value.tag]][event.step] = round(number, 5)
        except (OSError, ValueError, DecodeError, tf.errors.OpError) as error:
            logging.warning("%s: the rest of this log cannot be read (%s)", path, error)
    return {name: sorted(by_step.items()) for name, by_step in values.items()}
