"""The loop that trains: the same for one device, for several, and for several hosts."""

import math
import sys
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError


def train_steps(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    batches: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Does what `model.fit` does in one epoch, also where `fit` cannot: on several hosts.

    Args:
        model: compiled, made in the strategy's scope, with all variables of its optimiser.
        strategy: what to train on.
        batches: gives a replica's batches of (inputs, targets), without an end.
        steps: how many.
        callbacks: get loss and metrics, means over all replicas, after each step. With a progress
            bar after them where somebody watches.
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
    """Every so many steps: a log line, a checkpoint, and the means of loss and metrics anew.

    Args:
        manager: of the checkpoints; None where another host writes them.
        steps: of the whole training; the last one is reported too.
        every: steps.

    Attributes:
        latest: the last means that were told.
    """

    def __init__(self, manager: tf.train.CheckpointManager | None, steps: int, every: int):
        super().__init__()
        self.manager, self.steps, self.every = manager, steps, every
        self.latest: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Reports, where it is time to.

        Raises:
            InputError: the loss is not finite.
        """
        step = int(self.model.optimizer.iterations.numpy())
        if step % self.every and step < self.steps:
            return
        self.latest = {name: round(float(value), 5) for name, value in logs.items()}
        told = ", ".join(f"{name} {value:.4f}" for name, value in self.latest.items())
        logging.info("%s: step %d of %d: %s", self.model.name, step, self.steps, told)
        if not math.isfinite(self.latest["loss"]):
            raise InputError(
                f"the {self.model.name} network's loss is {self.latest['loss']} after {step} "
                "steps; give its recipe a lower learning_rate"
            )
        if self.manager is not None:
            self.manager.save(step)
        self.model.reset_metrics()


class Logs(keras.callbacks.TensorBoard):
    """TensorBoard's log, in which a training that goes on goes on counting its steps."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Begins after the steps that are done."""
        super().on_train_begin(logs)
        self._global_train_batch = int(self.model.optimizer.iterations.numpy())
