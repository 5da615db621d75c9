import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.training.loop import Report, train_steps


def model_of_one_weight(**options):
    """y = w · x with w = 0, trained at the rate .1 on the squared error."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input([1]), layer])
    model.compile(keras.optimizers.SGD(0.1, **options), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def ones(context):
    """Batches of two examples, y = x = 1."""
    return tf.data.Dataset.from_tensors((tf.ones([2, 1]), tf.ones([2, 1]))).repeat()


class Seen(keras.callbacks.Callback):
    """Notes the calls of a callback; stops the training after a step."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.stop_after = [], stop_after

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((batch, round(logs["loss"], 6)))
        self.model.stop_training = batch + 1 == self.stop_after

    def on_train_end(self, logs=None):
        self.calls.append("end")


def train(model, steps, *callbacks):
    train_steps(model, tf.distribute.get_strategy(), ones, steps, callbacks)
    return float(model.weights[0].numpy().item())


def test_the_weight_and_the_loss_after_each_step():
    """Δw = .1 · 2 (1 − w): .2, then .36. Errors 1 and .64, of which the loss is the mean."""
    seen = Seen()
    assert train(model_of_one_weight(), 2, seen) == pytest.approx(0.36)
    assert seen.calls == ["begin", (0, 1.0), (1, 0.82), "end"]


def test_weights_equal_those_of_fit():
    ours, theirs = model_of_one_weight(momentum=0.9), model_of_one_weight(momentum=0.9)
    train(ours, 5)
    theirs.fit(ones(None), steps_per_epoch=5, verbose=0)
    np.testing.assert_array_equal(ours.weights[0].numpy(), theirs.weights[0].numpy())


def test_a_callback_stops_the_training():
    seen = Seen(stop_after=1)
    assert train(model_of_one_weight(), 3, seen) == pytest.approx(0.2)
    assert seen.calls == ["begin", (0, 1.0), "end"]


def test_the_running_average_of_the_weights_remains():
    """It starts with the first step's .2; then .5 · .2 + .5 · .36."""
    model = model_of_one_weight(use_ema=True, ema_momentum=0.5)
    assert train(model, 2) == pytest.approx(0.28)


class Saved:
    def __init__(self):
        self.steps, self.means = [], []

    def save(self, step, means):
        self.steps.append(step)
        self.means.append(means)


def test_reports_come_every_two_steps_and_after_the_last(caplog):
    """Errors 1, .64, .4096 with means of two steps: .82, then .4096 alone."""
    manager = Saved()
    report = Report(manager, 3, 2)
    model = model_of_one_weight()
    model.name = "proposal"
    with caplog.at_level("INFO", logger="absl"):
        train(model, 3, report)
    assert manager.steps == [2, 3]
    assert manager.means == [{"loss": 0.82}, {"loss": 0.4096}]
    assert report.latest == {"loss": 0.4096}
    messages = [record.message for record in caplog.records if record.name == "absl"]
    assert messages == [
        "proposal: step 2 of 3: loss 0.8200",
        "proposal: step 3 of 3: loss 0.4096",
    ]


def test_a_model_whose_loss_is_nan_is_not_saved():
    manager = Saved()
    model = model_of_one_weight()
    model.weights[0].assign([[np.nan]])
    with pytest.raises(InputError, match="network's loss is nan after 1 steps; .*learning_rate"):
        train(model, 1, Report(manager, 1, 1))
    assert not manager.steps


def test_a_progress_bar_appears_on_a_terminal(monkeypatch, capsys):
    train(model_of_one_weight(), 1)
    assert "1/1" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    train(model_of_one_weight(), 1)
    assert "1/1" in capsys.readouterr().out
