"""The training loop: the same for one device, for several, and for several hosts."""

import math
import sys
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.models.checkpoints import not_finite
from scnn_tf.training.saving import Checkpoints, writing
from scnn_tf.training.strategies import detect_lost_host


@detect_lost_host()  # a callback that reads a mirrored metric runs a collective operation too
def train_steps(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    batches: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains like one epoch of `model.fit`, also where `fit` fails: on several hosts.

    Args:
        model: Compiled, made in the strategy's scope, with all variables of its optimizer.
        strategy: Strategy to train with.
        batches: Returns a replica's endless batches of (inputs, targets).
        steps: Number of steps.
        callbacks: Receive loss and metrics, means over all replicas, after each step. On a
            terminal, a progress bar follows them.

    Raises:
        HostLostError: Another host is lost.
    """

    @tf.function(autograph=False)
    def step(iterator):
        logs = strategy.run(model.train_step, args=(next(iterator),))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

    watched = sys.stderr.isatty()
    every = keras.callbacks.CallbackList(
        list(callbacks), add_progbar=watched, model=model, verbose=1, epochs=1, steps=steps
    )
    iterator = iter(strategy.distribute_datasets_from_function(batches))
    model.stop_training = False
    model.reset_metrics()
    every.on_train_begin()
    every.on_epoch_begin(0)
    logs = {}
    for number in range(steps):
        every.on_train_batch_begin(number)
        logs = step(iterator)
        every.on_train_batch_end(number, logs)
        if model.stop_training:
            break
    every.on_epoch_end(0, logs)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    every.on_train_end(logs)


class Report(keras.callbacks.Callback):
    """Every few steps: logs the means of loss and metrics, saves a checkpoint, resets the means.

    Args:
        checkpoints: Checkpoints of the training; None where another host writes them.
        steps: Number of steps of the whole training; the last one is reported too.
        every: Number of steps between two reports.
        latest: The means of the last report, of a training that is resumed.

    Attributes:
        latest: The means of the last report.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        steps: int,
        every: int,
        latest: dict[str, float] | None = None,
    ):
        super().__init__()
        self.checkpoints, self.steps, self.every = checkpoints, steps, every
        self.latest = latest or {}

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Reports, if `every` steps have passed, or the training ends early.

        Raises:
            InputError: The loss or a weight is not finite, or the checkpoint cannot be written.
        """
        step = int(self.model.optimizer.iterations.numpy())
        if step % self.every and step < self.steps and not self.model.stop_training:
            return
        self.latest = {name: round(float(value), 5) for name, value in logs.items()}
        means = ", ".join(f"{name} {value:.4f}" for name, value in self.latest.items())
        logging.info("%s: step %d of %d: %s", self.model.name, step, self.steps, means)
        wrong = ""
        if not math.isfinite(self.latest["loss"]):
            wrong = f"loss is {self.latest['loss']}"
        elif weight := not_finite(self.model):
            wrong = f"weights {weight} are not finite"
        if wrong:
            raise InputError(
                f"the {self.model.name} network's {wrong} after {step} steps; give its recipe a "
                "lower learning_rate"
            )
        if self.checkpoints is not None:
            self.checkpoints.save(step, self.latest)
        self.model.reset_metrics()


class Logs(keras.callbacks.TensorBoard):
    """TensorBoard's log, whose count of steps continues where a resumed training does.

    Its methods raise an `InputError` where the log cannot be written.
    """

    def set_model(self, model: keras.Model) -> None:  # noqa: D102
        with writing(self.log_dir):
            super().set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts to count after the steps that are done."""
        with writing(self.log_dir):
            super().on_train_begin(logs)
        self._global_train_batch = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:  # noqa: D102
        with writing(self.log_dir):
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:  # noqa: D102
        with writing(self.log_dir):
            super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict | None = None) -> None:  # noqa: D102
        with writing(self.log_dir):
            super().on_train_end(logs)
