"""Validation: how good a network in training is on videos that it does not learn from.

Every few steps, the running average of the weights, which is what the training would end with, is
measured: loss and accuracy on the shards of the validation videos, and the mAP of its detections in
the videos. The weights of the best validation are those that the training ends with.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, json_checksum
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.settings import differences
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.files import Manifest, read_manifest
from scnn_tf.training.saving import writing
from scnn_tf.training.strategies import any_host, is_chief

_VALIDATIONS = 10  # in a training, unless it is said otherwise
_BATCHES = 20  # on which loss and accuracy are measured
_OVERFITTING = 0.1  # training accuracy less validation accuracy

Measure = Callable[[keras.Model, StageInfo], dict]


@dataclasses.dataclass(frozen=True)
class Validation:
    """The videos on which a training validates its network, and what follows from it.

    Attributes:
        data_dir: Shards of the validation videos, built by the recipe of the training.
        measure: Returns the evaluation of a network's detections in the validation videos, as
            `Evaluation.to_json`: "map", tIoU → mAP; and "ap", class → tIoU → AP. The best network
            is that of the largest mean of the mAPs; of two equal ones, that of the lower loss.
            None: the best network is that of the lowest loss.
        every: Number of steps between two validations, the last one being after the last step;
            None: a tenth of the steps.
        patience: Number of validations in a row without a better network, after which the training
            ends; None: it never ends early.
    """

    data_dir: PathLike
    measure: Measure | None = None
    every: int | None = None
    patience: int | None = None

    def checksum(self) -> str:
        """Returns a checksum of all that decides on the best network."""
        shards = [shard["sha256"] for shard in read_manifest(self.data_dir).shards]
        return json_checksum([shards, self.measure is None, self.every, self.patience])

    def check(self, manifest: Manifest) -> None:
        """Checks that the validation videos have the classes and the recipe of the training.

        Raises:
            InputError: Something is different, or there is no action or no background in them.
        """
        own = read_manifest(self.data_dir)
        if not own.is_trainable:
            raise InputError(
                f"{self.data_dir}: validation needs segments of actions and of background. Found: "
                f"{own.num_positives} and {own.num_backgrounds}; choose other videos to validate on"
            )
        pair = [
            {"classes": each.class_names, "frame_rate": each.frame_rate}
            | dataclasses.asdict(each.recipe)
            for each in (own, manifest)
        ]
        if changed := differences(*pair):
            raise InputError(
                f"{self.data_dir}: expected validation data like the training data in "
                f"{manifest.folder} ({'; '.join(changed)}); build both from the same annotations"
            )


class Validator(keras.callbacks.Callback):
    """Validates the network of a training, and keeps the best weights.

    Args:
        validation: What to validate on.
        info: Description of the stage.
        network: A second, compiled network of the stage, outside any strategy.
        whole: The network that detects, whose weights `network` shares; they differ where the
            training is of a part that learns from features.
        strategy: Strategy of the training. One of several hosts validates, the others wait.
        logs: Folder of TensorBoard's log.

    Attributes:
        network: Network with the best weights so far, and so is `whole`.
        history: A row for each validation: "step"; the loss, its terms and the accuracy, by the
            names that training gives them; and "map" and "ap" of `Validation.measure`.
    """

    def __init__(
        self,
        validation: Validation,
        info: StageInfo,
        network: keras.Model,
        whole: keras.Model,
        strategy: tf.distribute.Strategy,
        logs: AnyPath,
    ):
        super().__init__()
        self.network, self.whole, self.history = network, whole, []
        self._validation, self._info, self._strategy, self._logs = validation, info, strategy, logs
        self._steps = info.recipe.stage(info.stage).steps
        self._every = validation.every or math.ceil(self._steps / _VALIDATIONS)

    @property
    def best(self) -> dict:
        """The row of the best validation."""
        return max(self.history, key=_quality)

    @property
    def is_over(self) -> bool:
        """Whether the training ends early: the patience is used up."""
        patience = self._validation.patience
        if patience is None or not self.history:
            return False
        return self.best not in self.history[-patience:]

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Validates, if `every` steps have passed.

        Raises:
            InputError: A validation video or shard cannot be read, or the log not be written.
        """
        step = int(self.model.optimizer.iterations.numpy())
        if step % self._every and step < self._steps:
            return
        weights = averaged_weights(self.model)  # on each host, since reading them may synchronize
        if is_chief(self._strategy):
            self._validate(step, weights)
        if any_host(self._strategy, self.is_over):
            self.model.stop_training = True

    def _validate(self, step: int, weights: Sequence[np.ndarray]) -> None:
        """Adds a row to the history; keeps the weights if they are the best."""
        before = self.network.get_weights()
        self.network.set_weights(weights)
        self.network.optimizer.iterations.assign(step)  # which may decide on terms of the loss
        self.network.reset_metrics()
        for each in self._batches:
            means = self._test_step(each)
        row = {"step": step, **{name: round(float(value), 5) for name, value in means.items()}}
        if self._validation.measure is not None:
            evaluation = self._validation.measure(self.whole, self._info)
            row |= {"map": evaluation["map"], "ap": evaluation["ap"]}
        self.history.append(row)
        is_best = self.best is row
        if not is_best:
            self.network.set_weights(before)
        shown = figures(row)
        text = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        logging.info(
            "%s: step %d of %d: validation: %s%s", self._info.stage, step, self._steps, text,
            ", the best so far" if is_best else "",
        )  # fmt: skip
        # Keras' callback records at every tenth step only, whoever writes.
        with writing(self._logs), self._writer.as_default(step), tf.summary.record_if(True):
            for name, value in shown.items():
                tf.summary.scalar(name, value)
            self._writer.flush()

    @functools.cached_property
    def _test_step(self) -> Callable[[tuple], dict]:
        return tf.function(self.network.test_step, autograph=False)

    @functools.cached_property
    def _batches(self) -> list:
        """Batches of the validation videos: drawn as in training, but not augmented."""
        manifest = read_manifest(self._validation.data_dir)
        recipe = dataclasses.replace(
            self._info.recipe, mirror=False, speed=1.0, min_scale=1.0, brightness=0.0, contrast=0.0
        )
        batches = training_batches(manifest, self._info.stage, recipe, cache_bytes=0)
        return list(batches.take(_BATCHES))

    @functools.cached_property
    def _writer(self) -> tf.summary.SummaryWriter:
        with writing(self._logs):
            return tf.summary.create_file_writer(str(self._logs / "validation"))


def figures(row: Mapping) -> dict[str, float]:
    """Returns the numbers of a row of a history, by the tags that TensorBoard shows."""
    numbers = {name: row[name] for name in row if name not in ("step", "map", "ap")}
    return numbers | {f"mAP@{tiou}": value for tiou, value in row.get("map", {}).items()}


def averaged_weights(model: keras.Model) -> list[np.ndarray]:
    """Returns the weights with which a training would end now: running averages, if it has them."""
    trained = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    weights = [variable.numpy() for variable in model.weights]
    for variable, value in zip(model.trainable_variables, trained, strict=True):
        variable.assign(value)
    return weights


def warn(history: Sequence[Mapping], training: Mapping[str, float], stage: str) -> None:
    """Warns of classes that are never found, and of overfitting.

    Args:
        history: Of a `Validator`, complete.
        training: The last means of the training.
        stage: Name of the stage.
    """
    best = max(history, key=_quality)
    if "ap" in best:
        lowest = min(best["map"], key=float)
        if lacking := [name for name, ap in best["ap"].items() if not ap[lowest]]:
            logging.warning(
                "%s: no instance of %s was found in the validation videos (AP 0 at tIoU %s); check "
                "its annotations, and whether training has enough instances of it",
                stage, ", ".join(lacking), lowest,
            )  # fmt: skip
    (name,) = [name for name in training if name.endswith("accuracy")]
    ours, theirs = training[name], history[-1][name]
    lowest = min(history, key=lambda row: row["loss"])
    if ours - theirs > _OVERFITTING and lowest is not history[-1]:
        logging.warning(
            "%s: accuracy is %.2f in training and %.2f in validation, whose loss was lowest after "
            "step %d: the network overfits its training videos; more videos, of more people and "
            "places, help most",
            stage, ours, theirs, lowest["step"],
        )  # fmt: skip


def _quality(row: Mapping) -> tuple[float, float]:
    """Returns what is larger for a better row."""
    maps = list(row.get("map", {}).values())
    return (sum(maps) / len(maps) if maps else 0.0), -row["loss"]
