"""Checkpoints of a training: two are kept, so that one is whole whatever happens to the other."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import keras
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    PathLike,
    flush_tree,
    read_json,
    remove_tree,
    signed,
    unsigned,
    write_text,
)
from scnn_tf.training.strategies import detect_lost_host

if TYPE_CHECKING:
    from scnn_tf.training.validation import Validator

_KEPT = 2  # checkpoints
# What TensorFlow and the JSON of the means raise.
_DAMAGES = (OSError, LookupError, TypeError, ValueError, AssertionError, tf.errors.OpError)
_NAME = re.compile(r"ckpt-(\d+)([._].*)")  # file or folder of a checkpoint: step, and the rest


@contextlib.contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Turns TensorFlow's error about a file that cannot be written into one sentence.

    Raises:
        InputError: The body could not write, since the disk is full, for example.
        HostLostError: Another host is lost.
    """
    try:
        with detect_lost_host():
            yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        reason = reason.split("}} ")[-1].split("; ")[-1].split(" [Op:")[0]
        raise InputError(
            f"{path}: cannot be written ({reason}); what was saved before is kept: fix the cause "
            "and run the same command again"
        ) from error


class Checkpoints:
    """The last two checkpoints of a training, `ckpt-<step>`, each with its means in a JSON file.

    A checkpoint is on the disk before an older one is removed. The file `checkpoint` is for other
    tools of TensorFlow: which checkpoints there are follows from their own files.

    Args:
        model: Compiled, with all variables of its optimizer.
        folder: Folder or URL of the checkpoints.
        validator: Validator of the training, whose history and best weights are saved, too; None:
            the training has none.
    """

    def __init__(self, model: keras.Model, folder: AnyPath, validator: "Validator | None" = None):
        # The states of the generators of dropout are no weights: `model` does not track them.
        random = [v.value for v in model.variables if v.name == "seed_generator_state"]
        self._parts = {"model": model, "optimizer": model.optimizer, "random": random}
        if validator is not None:
            self._parts["best"] = [weight.value for weight in validator.network.weights]
        self._folder, self._validator = folder, validator
        self._whole: list[int] = []  # steps of the checkpoints that were restored or saved

    def restore(self) -> dict[str, float]:
        """Loads the latest checkpoint that is whole into the model, if there is any checkpoint.

        Returns:
            The means of loss and metrics that were saved with it; empty without a checkpoint.

        Raises:
            InputError: No checkpoint can be read.
            HostLostError: Another host is lost.
        """
        names = (_NAME.fullmatch(path.name) for path in self._folder.glob("ckpt-*.index"))
        steps = sorted((int(name[1]) for name in names if name), reverse=True)
        for step in steps:
            try:
                means = self._read(step)
            except _DAMAGES as error:
                reason = str(error).strip().partition("\n")[0]
                logging.warning("%s: damaged (%s); it is not used", self._prefix(step), reason)
                continue
            self._whole = [step]
            if self._validator is not None:
                self._validator.history = means.pop("validation", [])
            return means
        if steps:
            raise InputError(
                f"{self._folder}: the checkpoint cannot be read, nor one before it, since they are "
                "damaged or their storage is out of reach; if they are damaged, remove the folder "
                "to train from the start"
            )
        return {}

    def save(self, step: int, means: dict[str, float]) -> None:
        """Saves the model, and removes all checkpoints but this and the one before it.

        Raises:
            InputError: The checkpoint cannot be written; those before it are kept.
        """
        prefix, figures = self._prefix(step), dict(means)
        if self._validator is not None:
            figures["validation"] = self._validator.history
        try:
            with writing(self._folder):
                write_text(f"{prefix}.json", json.dumps(signed(figures)))
                tf.train.Checkpoint(**self._parts).write(prefix)
                flush_tree(self._folder)
                write_text(self._folder / "checkpoint", f'model_checkpoint_path: "ckpt-{step}"\n')
            self._whole = [*self._whole, step][-_KEPT:]
        finally:
            self._sweep()

    def _prefix(self, step: int) -> str:
        return str(self._folder / f"ckpt-{step}")

    def _read(self, step: int) -> dict[str, float]:
        prefix = self._prefix(step)
        with detect_lost_host():
            parts = dict(self._parts)
            random = tf.train.Checkpoint(random=parts.pop("random"))
            read = tf.train.Checkpoint(**parts).read(prefix)
            read.assert_existing_objects_matched().expect_partial()
            random.read(prefix).expect_partial()  # earlier versions did not save them
        path = self._folder / f"ckpt-{step}.json"
        # Earlier versions wrote none.
        return unsigned(dict(read_json(path))) if path.is_file() else {}

    def _sweep(self) -> None:
        """Removes the files of all checkpoints that are not kept, also of half-written ones."""
        for path in list(self._folder.glob("ckpt-*")):
            name = _NAME.fullmatch(path.name)
            if name is None or int(name[1]) in self._whole:
                continue
            if path.is_dir():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)
