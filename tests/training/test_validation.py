"""Validation during training, on a joint network and on one of the paper's."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.models.checkpoints import WEIGHTS, load_stage
from scnn_tf.models.recipes import get_recipe
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import read_manifest
from scnn_tf.training.curves import read_curves
from scnn_tf.training.networks import compiled
from scnn_tf.training.train import train_stage
from scnn_tf.training.validation import Validation, warn


def build(dataset, folder, recipe, subset="test"):
    return build_shards(
        read_annotations(dataset / "annotations.json"), video_dir=dataset / "videos",
        output_dir=folder, recipe=recipe, subset=subset, num_shards=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tiny_stretches):
    return dataclasses.replace(get_recipe(tiny_stretches / "recipe.json"), average=0.75)


@pytest.fixture(scope="module")
def shards(tiny_dataset, recipe, tmp_path_factory):
    """Shards of the video of the subset test."""
    folder = tmp_path_factory.mktemp("validation") / "shards"
    build(tiny_dataset, folder, recipe)
    return folder


@pytest.fixture(scope="module")
def train(tiny_stretches, recipe):
    """`train_stage` of the joint network for six steps."""
    return functools.partial(
        train_stage, "joint", data_dir=tiny_stretches / "shards", recipe=recipe, checkpoint_every=3
    )


class Scripted:
    """A measure that gives these means of the mAPs in turn; the APs of "left" are 0."""

    def __init__(self, *maps):
        self.maps = list(maps)

    def __call__(self, network, info):
        value = self.maps.pop(0)
        return {
            "map": {"0.3": value + 0.25, "0.7": value - 0.25},
            "ap": {"left": {"0.3": 0.0, "0.7": 0.0}, "right": {"0.3": 2 * value, "0.7": 0.0}},
        }


class Watch(keras.callbacks.Callback):
    """Notes the weights after each step; interrupts a training after one of them."""

    def __init__(self, interrupt_after=None):
        super().__init__()
        self.steps, self.weights, self.interrupt_after = [], [], interrupt_after

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(int(self.model.optimizer.iterations.numpy()))
        self.weights.append([weight.numpy() for weight in self.model.weights])
        if self.steps[-1] == self.interrupt_after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def validated(train, shards, tmp_path_factory):
    """The folder, the metrics and the weights of each step of a training with three validations."""
    folder, watch = tmp_path_factory.mktemp("validated") / "joint", Watch()
    validation = Validation(shards, Scripted(0.5, 0.75, 0.5), every=2)
    return folder, train(output_dir=folder, validation=validation, callbacks=[watch]), watch.weights


def test_the_best_running_average_is_kept(validated):
    """After step 4: averages a1 = w1 and a = ¾ a + ¼ w from then on, at the recipe's .75."""
    folder, metrics, weights = validated
    assert (metrics["steps"], metrics["best_step"]) == (6, 4)
    assert [row["step"] for row in metrics["validation"]] == [2, 4, 6]
    average = weights[0]
    for later in weights[1:4]:
        average = [0.75 * a + 0.25 * w for a, w in zip(average, later, strict=True)]
    for kept, expected in zip(load_stage(folder)[0].get_weights(), average, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=0, atol=1e-6)
    assert sorted(path.name for path in folder.iterdir()) == [
        "logs", "metrics.json", "model.json", "model.weights.h5", "window_prior.csv"
    ]  # fmt: skip
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_validation_does_not_change_the_training(validated, train, tmp_path):
    watch = Watch()
    train(output_dir=tmp_path, callbacks=[watch])
    for ours, theirs in zip(watch.weights, validated[2], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_loss_and_accuracy_are_those_of_the_validation_shards(validated, shards, recipe):
    """They are those of the kept network, without augmentation and dropout."""
    folder, metrics, _ = validated
    network, info = load_stage(folder)
    measured = compiled(info)
    measured.set_weights(network.get_weights())
    measured.optimizer.iterations.assign(4)
    plain = dataclasses.replace(recipe, mirror=False, speed=1.0, brightness=0.0, contrast=0.0)
    batches = training_batches(read_manifest(shards), "joint", plain, cache_bytes=0)
    rows, counts = [], []
    for inputs, targets in batches.take(20):
        rows.append(measured.test_on_batch(inputs, targets, return_dict=True))
        counts.append(int((targets["classes"].numpy()[..., 0] >= 0).sum()))
    row = metrics["validation"][1]
    assert row.keys() - {"step", "map", "ap"} == rows[0].keys()
    for name in rows[0]:
        weights = counts if name.endswith("accuracy") else None
        expected = np.average([each[name] for each in rows], weights=weights)
        assert row[name] == pytest.approx(expected, abs=2e-5)


def test_the_log_and_the_curves(validated, train, shards, caplog, tmp_path):
    with caplog.at_level("INFO", logger="absl"):
        train(
            output_dir=tmp_path / "joint",
            validation=Validation(shards, Scripted(0.5, 0.25), every=3),
        )
    lines = [line for line in caplog.messages if "validation:" in line]
    assert lines[0].startswith("joint: step 3 of 6: validation: ")
    assert lines[0].endswith("mAP@0.3 0.7500, mAP@0.7 0.2500, the best so far")
    assert lines[1].endswith("mAP@0.3 0.5000, mAP@0.7 0.0000")
    assert "joint: no instance of left was found in the validation videos (AP 0 at tIoU 0.3)" in (
        caplog.text
    )
    curves, metrics = read_curves(validated[0].parent)["joint"], validated[1]
    assert curves["validation"]["mAP@0.3"] == [(2, 0.75), (4, 1.0), (6, 0.75)]
    for name, key in (("loss", "loss"), ("accuracy", "classes_accuracy")):
        expected = [(row["step"], row[key]) for row in metrics["validation"]]
        assert curves["validation"][name] == expected


@pytest.mark.slow
def test_an_interrupted_training_resumes_to_the_same_network(validated, train, shards, tmp_path):
    """Interrupted after step 5, of which the last checkpoint is of step 3: step 4 is repeated."""
    first, second = Watch(5), Watch()
    for watch, maps in ((first, (0.5, 0.75)), (second, (0.75, 0.5))):
        options = {
            "output_dir": tmp_path, "validation": Validation(shards, Scripted(*maps), every=2)
        }  # fmt: skip
        if watch is first:
            with pytest.raises(KeyboardInterrupt):
                train(**options, callbacks=[watch])
    metrics = train(**options, callbacks=[second])
    assert second.steps == [4, 5, 6]
    folder, whole, _ = validated
    assert {**metrics, "seconds": 0} == {**whole, "seconds": 0}
    assert (tmp_path / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_early_stopping(train, shards, tmp_path, monkeypatch):
    """At patience 2, .5 is not exceeded twice: it ends after step 3 with the weights of step 1."""
    watch, options = Watch(), {"output_dir": tmp_path}
    validation = functools.partial(Validation, shards, every=1, patience=2)
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(
                validation=validation(Scripted(0.5, 0.4, 0.3)), callbacks=[watch], **options
            )  # fmt: skip
    assert watch.steps == [1, 2, 3]
    # Killed before the weights were written, it does not train further.
    again = Watch()
    metrics = train(validation=validation(Scripted()), callbacks=[again], **options)
    assert (again.steps, metrics["steps"], metrics["best_step"]) == ([], 3, 1)
    for kept, expected in zip(load_stage(tmp_path)[0].get_weights(), watch.weights[0], strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_without_a_map_the_lowest_loss_decides(train, shards, tmp_path):
    """By default it is measured after every tenth of the steps: of six steps, after each."""
    metrics = train(output_dir=tmp_path, validation=Validation(shards))
    history = metrics["validation"]
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    losses = [row["loss"] for row in history]
    assert metrics["best_step"] == 1 + losses.index(min(losses))
    assert "map" not in history[0]


def test_between_equal_maps_the_lower_loss_decides(train, shards, tmp_path):
    metrics = train(output_dir=tmp_path, validation=Validation(shards, Scripted(0.5, 0.5), every=3))
    losses = [row["loss"] for row in metrics["validation"]]
    assert losses[0] != losses[1]
    assert metrics["best_step"] == (3 if losses[0] < losses[1] else 6)


def test_the_paper_s_networks_are_validated_too(tiny_dataset, tmp_path):
    recipe = get_recipe(tiny_dataset / "recipe.json")
    build(tiny_dataset, tmp_path / "shards", recipe)
    metrics = train_stage(
        "proposal", data_dir=tiny_dataset / "shards", output_dir=tmp_path / "proposal",
        recipe=recipe, validation=Validation(tmp_path / "shards", every=4),
    )  # fmt: skip
    assert [row["step"] for row in metrics["validation"]] == [4, 6]
    assert all(row.keys() == {"step", "loss", "accuracy"} for row in metrics["validation"])


def test_another_validation_makes_another_run(validated, train, shards):
    folder, metrics, _ = validated
    same = Validation(shards, Scripted(), every=2)
    assert train(output_dir=folder, validation=same) == metrics
    for other in (None, Validation(shards, Scripted(), every=2, patience=3), Validation(shards)):
        with pytest.raises(InputError, match=r"another run \(the validation is another than befor"):
            train(output_dir=folder, validation=other)


def test_validation_data_of_another_recipe_are_refused(train, tiny_dataset, tmp_path):
    with pytest.raises(InputError, match="expected validation data like the training data in .*"):
        train(output_dir=tmp_path, validation=Validation(tiny_dataset / "shards"))


def test_overfitting_is_a_warning(caplog):
    history = [
        {"step": 1, "loss": 0.5, "accuracy": 0.8},
        {"step": 2, "loss": 0.9, "accuracy": 0.7},
    ]
    warn(history, {"loss": 0.1, "accuracy": 0.79}, "proposal")
    assert not caplog.messages
    warn(history, {"loss": 0.1, "accuracy": 0.95}, "proposal")
    (message,) = caplog.messages
    assert message.startswith(
        "proposal: accuracy is 0.95 in training and 0.70 in validation, whose loss was lowest "
        "after step 1: the network overfits its training videos; more videos"
    )
    # While the loss in validation falls, it still learns what others can use.
    warn(history[:1], {"loss": 0.1, "accuracy": 0.95}, "proposal")
    assert len(caplog.messages) == 1
