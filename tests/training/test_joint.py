"""Training of one network with three heads."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.localization.scnn import load_scnn
from scnn_tf.models.checkpoints import StageInfo, load_stage
from scnn_tf.models.losses import BoundaryLoss, ClassLoss, ProposalLoss
from scnn_tf.models.recipes import get_recipe
from scnn_tf.segments.prior import WINDOW_PRIOR, read_prior
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import problems, read_manifest
from scnn_tf.training.curves import read_curves
from scnn_tf.training.networks import compiled
from scnn_tf.training.train import train_stage


@pytest.fixture(scope="module")
def recipe(tiny_stretches):
    return get_recipe(tiny_stretches / "recipe.json")


@pytest.fixture(scope="module")
def train(tiny_stretches, recipe):
    """`train_stage` of the joint network; keyword arguments replace the dataset and the recipe."""
    return functools.partial(
        train_stage, "joint", data_dir=tiny_stretches / "shards", recipe=recipe
    )


@pytest.fixture(scope="module")
def batch(tiny_stretches, recipe):
    return next(iter(training_batches(read_manifest(tiny_stretches / "shards"), "joint", recipe)))


class Interrupt(keras.callbacks.Callback):
    """Notes the steps that are taken; interrupts the training after one of them."""

    def __init__(self, after=None):
        super().__init__()
        self.steps, self.after = [], after

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(int(self.model.optimizer.iterations.numpy()))
        if self.steps[-1] == self.after:
            raise KeyboardInterrupt


def test_the_files_and_metrics_of_a_joint_network(tiny_joint, tiny_stretches):
    folder = tiny_joint / "joint"
    assert sorted(path.name for path in folder.iterdir()) == [
        "logs", "metrics.json", "model.json", "model.weights.h5", "window_prior.csv"
    ]  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["stage"], metrics["steps"], metrics["replicas"]) == ("joint", 6, 1)
    manifest = read_manifest(tiny_stretches / "shards")
    assert metrics["segments"] == sum(manifest.label_counts)
    assert np.isfinite(metrics["loss"]) and 0 <= metrics["classes_accuracy"] <= 1
    # The loss is the sum of its terms, of which the boundaries count twice.
    terms = [metrics[f"{head}_loss"] for head in ("proposal", "classes", "boundaries")]
    assert metrics["loss"] == pytest.approx(terms[0] + terms[1] + 2 * terms[2], abs=1e-4)
    model, info = load_stage(folder, "joint")
    assert (info.stage, info.class_names) == ("joint", ("left", "right"))
    assert {head: output.shape for head, output in model.output.items()} == {
        "proposal": (None, None, 2), "classes": (None, None, 3), "boundaries": (None, None, 2)
    }  # fmt: skip
    # Which began at zero: something was learned.
    assert model.get_layer("boundaries").kernel.numpy().any()
    assert read_prior(folder / WINDOW_PRIOR).class_names == ("left", "right")
    curves = read_curves(tiny_joint)
    assert curves["joint"]["metrics"] == metrics


def test_windows_of_several_classes(tiny_dataset, recipe, tmp_path):
    """Each action is of both classes, in one window."""
    annotations = {
        video_id: dataclasses.replace(
            video,
            instances=[
                dataclasses.replace(instance, label=label)
                for instance in video.instances
                for label in ("left", "right")
            ],
        )
        for video_id, video in read_annotations(tiny_dataset / "annotations.json").items()
    }
    recipe = dataclasses.replace(
        recipe,
        shards=dataclasses.replace(recipe.shards, multi_label=True, margin=0.0),
        train_windows=5,
    )
    shards = tmp_path / "shards"
    build_shards(annotations, video_dir=tiny_dataset / "videos", output_dir=shards, recipe=recipe)
    assert not list(problems(shards))
    _, targets = next(iter(training_batches(read_manifest(shards), "joint", recipe)))
    shapes = {head: tuple(target.shape) for head, target in targets.items()}
    assert shapes == {
        "proposal": (4, 5, 6), "classes": (4, 5, 2, 6), "boundaries": (4, 5, 2, 6)
    }  # fmt: skip
    labels = targets["classes"][..., 0].numpy()
    assert set(labels[..., 0].ravel()) == {-1, 0, 1}
    # A window that is left is right too, with the same place; and it is one action.
    np.testing.assert_array_equal(np.where(labels[..., 0] == 1, 2, labels[..., 0]), labels[..., 1])
    offsets = targets["boundaries"][..., 1:4]
    np.testing.assert_array_equal(offsets[..., 0, :], offsets[..., 1, :])
    np.testing.assert_array_equal(targets["proposal"][..., 0], labels[..., 1])

    metrics = train_stage("joint", data_dir=shards, output_dir=tmp_path / "joint", recipe=recipe)
    assert np.isfinite(metrics["loss"]) and 0 <= metrics["classes_accuracy"] <= 1
    # Without thresholds, a window is of all classes.
    model = load_scnn(tmp_path, proposal_threshold=0.0)
    found = model.score_video(tiny_dataset / "videos" / "cat.mp4", "cat")
    assert len(found) and found.label.tolist() == ["left", "right"] * (len(found) // 2)


@pytest.mark.slow
def test_an_interrupted_training_resumes_to_the_same_weights(train, tmp_path):
    weights = []
    for name in ("one", "two"):
        first, second = Interrupt(after=5), Interrupt()
        options = {"output_dir": tmp_path / name, "checkpoint_every": 2}
        with pytest.raises(KeyboardInterrupt):
            train(**options, callbacks=[first])
        metrics = train(**options, callbacks=[second])
        # The last checkpoint is of step 4, so that step 5 is repeated.
        assert (first.steps, second.steps, metrics["steps"]) == ([1, 2, 3, 4, 5], [5, 6], 6)
        assert not (tmp_path / name / "checkpoints").exists()
        weights.append([weight.numpy() for weight in load_stage(tmp_path / name)[0].weights])
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)


def test_the_overlap_loss_is_added_after_a_share_of_the_steps(recipe, batch):
    """Of ten steps, from the seventh on: .6 of them are without it."""
    recipe = dataclasses.replace(
        recipe.with_stage("joint", steps=10), overlap_from=0.6, overlap_weight=3.0, alpha=0.5
    )
    model = compiled(StageInfo("joint", ("left", "right"), 25.0, 0, recipe))
    inputs, targets = batch
    outputs = model(inputs, training=False)
    expected = {
        weight: float(ClassLoss(weight, 0.5)(targets["classes"], outputs["classes"]))
        for weight in (0.0, 3.0)
    }
    assert abs(expected[3.0] - expected[0.0]) > 0.1
    proposal = float(ProposalLoss()(targets["proposal"], outputs["proposal"]))
    boundaries = float(BoundaryLoss()(targets["boundaries"], outputs["boundaries"]))
    for done, weight in ((0, 0.0), (5, 0.0), (6, 3.0), (9, 3.0), (0, 0.0)):
        model.optimizer.iterations.assign(done)
        model.reset_metrics()
        losses = model.test_on_batch(inputs, targets, return_dict=True)
        assert losses["classes_loss"] == pytest.approx(expected[weight], rel=1e-4)
        assert losses["loss"] == pytest.approx(
            proposal + expected[weight] + 2 * boundaries, rel=1e-4
        )


@pytest.mark.parametrize(("share", "first"), [(0.0, 0), (1.0, 10)])
def test_the_overlap_loss_from_the_start_or_never(recipe, batch, share, first):
    recipe = dataclasses.replace(
        recipe.with_stage("joint", steps=10), overlap_from=share, overlap_weight=1.0
    )
    model = compiled(StageInfo("joint", ("left", "right"), 25.0, 0, recipe))
    inputs, targets = batch
    outputs = model(inputs, training=False)["classes"]
    for done in (0, 9):
        model.optimizer.iterations.assign(done)
        model.reset_metrics()
        losses = model.test_on_batch(inputs, targets, return_dict=True)
        expected = ClassLoss(float(done >= first), recipe.alpha)(targets["classes"], outputs)
        assert losses["classes_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_windows_that_are_neither_do_not_count_in_the_accuracy(recipe, batch):
    model = compiled(StageInfo("joint", ("left", "right"), 25.0, 0, recipe))
    inputs, targets = batch
    classes = targets["classes"].numpy()
    classes[::2, 1:, 0] = -1
    targets, labels = {**targets, "classes": classes}, classes[..., 0]
    assert (labels < 0).any() and (labels >= 0).any()
    best = model(inputs, training=False)["classes"].numpy().argmax(axis=-1)
    metrics = model.test_on_batch(inputs, targets, return_dict=True)
    expected = (best == labels)[labels >= 0].mean()
    assert metrics["classes_accuracy"] == pytest.approx(expected)


def test_the_network_learns_a_batch_by_heart(recipe, batch):
    keras.utils.set_random_seed(0)
    recipe = dataclasses.replace(recipe, width=1 / 8, hidden=64, warmup_steps=5)
    recipe = recipe.with_stage("joint", steps=100, learning_rate=3e-3)
    model = compiled(StageInfo("joint", ("left", "right"), 25.0, 0, recipe))
    first = model.test_on_batch(*batch, return_dict=True)
    for _ in range(60):
        model.train_on_batch(*batch)
    model.reset_metrics()
    last = model.test_on_batch(*batch, return_dict=True)
    for head in ("proposal", "boundaries"):
        assert last[f"{head}_loss"] < 0.3 * first[f"{head}_loss"]
    assert last["classes_accuracy"] > 0.9


def test_shards_of_segments_are_refused(train, tiny_dataset, tmp_path):
    with pytest.raises(InputError, match="built by another recipe .*stretch_windows was 1, is 7"):
        train(data_dir=tiny_dataset / "shards", output_dir=tmp_path)


def test_window_lengths_of_the_shards_are_taken_where_the_recipe_leaves_them(
    train, recipe, tmp_path
):
    """The description of the network has them, so that localization and export find them."""
    shards = dataclasses.replace(recipe.shards, window_frames=())
    left = dataclasses.replace(recipe.with_stage("joint", steps=1), shards=shards)
    train(output_dir=tmp_path, recipe=left)
    assert load_stage(tmp_path)[1].recipe.shards.window_frames == (16, 32, 64)


def test_a_stage_that_its_recipe_does_not_train_is_refused(
    train, tiny_stretches, tiny_dataset, tmp_path
):
    with pytest.raises(InputError, match="trains: joint. Received: 'proposal'; choose"):
        train_stage(
            "proposal", data_dir=tiny_stretches / "shards", output_dir=tmp_path / "proposal",
            recipe=tiny_stretches / "recipe.json",
        )  # fmt: skip
    with pytest.raises(
        InputError, match="trains: proposal, classification, localization. Received"
    ):
        train_stage(
            "joint", data_dir=tiny_dataset / "shards", output_dir=tmp_path / "joint",
            recipe=tiny_dataset / "recipe.json",
        )  # fmt: skip


def test_a_joint_network_starts_from_another_one(train, recipe, tiny_joint, tmp_path):
    """With a learning rate of almost zero, the weights at the end are the initial ones."""
    recipe = recipe.with_stage("joint", steps=1, learning_rate=1e-12)
    train(output_dir=tmp_path, recipe=recipe, start_from=tiny_joint / "joint", seed=5)
    trained, source = (load_stage(folder)[0] for folder in (tmp_path, tiny_joint / "joint"))
    for one, other in zip(trained.weights, source.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scnn/windows/label", 3, "labels .* are not all classes of the manifest"),
        ("scnn/windows/label", -2, "labels .* are not all classes of the manifest"),
        ("scnn/windows/overlap", 0.0, r"expected an overlap in \(0, 1\]. Found: 0"),
        ("scnn/windows/overlap", float("nan"), r"expected an overlap in \(0, 1\]. Found: nan"),
        ("scnn/windows/offset", float("inf"), "expected finite offsets of its windows"),
    ],
)
def test_a_target_of_a_window_out_of_range_is_named(
    key, value, message, train, tiny_stretches, rewrite_records, tmp_path
):
    def damage(example):
        feature = example.context.feature[key]
        (feature.int64_list if isinstance(value, int) else feature.float_list).value[-1] = value

    data = rewrite_records(damage, tiny_stretches)
    with pytest.raises(InputError, match=rf"tfrecord, record 0: {message}.*; remove the"):
        train(data_dir=data, output_dir=tmp_path / "m")
