import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.models import checkpoints
from scnn_tf.models.checkpoints import WEIGHTS, load_stage
from scnn_tf.models.recipes import get_recipe
from scnn_tf.segments.prior import WINDOW_PRIOR, read_prior
from scnn_tf.shards.files import MANIFEST, read_manifest
from scnn_tf.training.networks import make_optimizer
from scnn_tf.training.train import train_stage


@pytest.fixture(scope="module")
def recipe(tiny_dataset):
    return get_recipe(tiny_dataset / "recipe.json")


@pytest.fixture(scope="module")
def shards(tiny_dataset):
    return tiny_dataset / "shards"


@pytest.fixture(scope="module")
def train(shards, recipe):
    """`train_stage` on the tiny dataset by its recipe; keyword arguments replace both."""
    return functools.partial(train_stage, data_dir=shards, recipe=recipe)


@pytest.fixture(scope="module")
def classification(train, tmp_path_factory):
    """The folder of a finished stage, and the metrics of its training."""
    folder = tmp_path_factory.mktemp("models") / "classification"
    return folder, train("classification", output_dir=folder)


class Watch(keras.callbacks.Callback):
    """Notes the steps that are taken and the latest weights; interrupts after a step."""

    def __init__(self, interrupt_after=None):
        super().__init__()
        self.steps, self.weights, self.interrupt_after = [], [], interrupt_after
        self.means = None

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(int(self.model.optimizer.iterations.numpy()))
        self.weights = [weight.numpy() for weight in self.model.weights]
        self.means = (round(float(logs["loss"]), 5), round(float(logs["accuracy"]), 5))
        if self.steps[-1] == self.interrupt_after:
            raise KeyboardInterrupt


def assert_same_weights(a, b, tolerance=0.0):
    assert len(a.weights) == len(b.weights)
    for one, other in zip(a.weights, b.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=tolerance)


def test_the_files_and_metrics_of_a_finished_stage(classification, shards):
    folder, metrics = classification
    assert metrics.keys() == {
        "stage", "steps", "seconds", "segments", "replicas", "loss", "accuracy"
    }  # fmt: skip
    assert (metrics["stage"], metrics["steps"], metrics["replicas"]) == ("classification", 6, 1)
    assert metrics["segments"] == sum(read_manifest(shards).label_counts)
    assert np.isfinite(metrics["loss"]) and 0 <= metrics["accuracy"] <= 1
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert sorted(path.name for path in folder.iterdir()) == [
        "logs", "metrics.json", "model.json", "model.weights.h5", "window_prior.csv"
    ]  # fmt: skip
    assert list((folder / "logs").rglob("events.out.tfevents.*"))
    assert read_prior(folder / WINDOW_PRIOR).class_names == ("left", "right")


def test_a_finished_stage_is_not_trained_again(classification, train):
    folder, metrics = classification
    watch = Watch()
    assert train("classification", output_dir=folder, callbacks=[watch]) == metrics
    assert not watch.steps


def test_damaged_metrics_of_a_finished_stage(classification, train, tmp_path):
    folder = shutil.copytree(classification[0], tmp_path / "classification")
    (folder / "metrics.json").write_text('{"steps": 6,')
    with pytest.raises(
        InputError, match=r"metrics\.json: no valid JSON.*; remove .* to train again"
    ):
        train("classification", output_dir=folder)


@pytest.mark.slow
def test_an_interrupted_training_resumes_from_its_last_checkpoint(train, tmp_path):
    first, second = Watch(interrupt_after=5), Watch()
    options = {"output_dir": tmp_path, "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        train("proposal", **options, callbacks=[first])
    with pytest.raises(InputError, match="proposal network is not trained yet"):
        load_stage(tmp_path)
    metrics = train("proposal", **options, callbacks=[second])
    # The last checkpoint is of step 4, so that step 5 is repeated.
    assert (first.steps, second.steps) == ([1, 2, 3, 4, 5], [5, 6])
    assert metrics["steps"] == 6
    assert load_stage(tmp_path)[0].output_shape == (None, None, 2)
    assert not (tmp_path / "checkpoints").exists()


def test_weights_are_written_from_the_last_checkpoint(train, recipe, tmp_path, monkeypatch):
    """An interruption after the last step, before the weights are written, leaves no steps."""
    recipe = dataclasses.replace(recipe.with_stage("proposal", steps=2), average=0.9)
    first, second = Watch(), Watch()

    def interrupt(model, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train("proposal", output_dir=tmp_path, recipe=recipe, callbacks=[first])
    metrics = train("proposal", output_dir=tmp_path, recipe=recipe, callbacks=[second])
    assert (metrics["steps"], first.steps, second.steps) == (2, [1, 2], [])
    # Loss and accuracy are those of the checkpoint.
    assert (metrics["loss"], metrics["accuracy"]) == first.means
    # With one step at momentum .9, the running average is close to the last weights.
    fc8 = load_stage(tmp_path)[0].get_layer("fc8").kernel.numpy()
    assert 0 < np.abs(fc8 - first.weights[-2]).max() < 0.1


def test_localization_starts_from_the_weights_of_classification(
    classification, train, recipe, tmp_path
):
    """With a learning rate of almost zero, the weights at the end are the initial ones."""
    recipe = recipe.with_stage("localization", steps=1, learning_rate=1e-12)
    train(
        "localization", output_dir=tmp_path, recipe=recipe, start_from=classification[0], seed=5
    )  # fmt: skip
    trained, info = load_stage(tmp_path)
    assert (info.stage, info.seed) == ("localization", 5)
    source, _ = load_stage(classification[0])
    assert trained.get_layer("fc8").kernel.shape == (8, 3)
    assert_same_weights(trained, source, 1e-9)
    # Fresh weights are different.
    fresh = info.build().get_layer("fc8").kernel.numpy()
    assert np.abs(fresh - source.get_layer("fc8").kernel.numpy()).max() > 1e-3


@pytest.fixture
def other_classes(classification, tmp_path):
    """The folder of a network with the shapes of `classification`, but of other classes."""
    folder = shutil.copytree(classification[0], tmp_path / "other_classes")
    fields = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**fields, "class_names": ["up", "down"]}))
    return folder


def test_initial_weights_that_do_not_fit_are_refused(
    classification, other_classes, train, recipe, tmp_path
):
    source = classification[0]
    for message, changed, start in (
        (r"trained on other classes \(up, down\) than this dataset has \(left, right\)",
         {}, other_classes),
        (r"expected the network of this recipe, with fc6/bias \(16,\)\. Found: fc6/bias "
         r"\(8,\); train it with this recipe", {"hidden": 16}, source),
        (r"with normalization/mean \(16, 16, 16, 3\)\. Found: conv1a/kernel \(3, 3, 3, 3, 2\)",
         {"normalization": "mean"}, source),
        ("expected a trained network.*run train first", {}, tmp_path / "none"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            train(
                "localization",
                output_dir=tmp_path / "l",
                recipe=dataclasses.replace(recipe, **changed),
                start_from=start,
            )


def test_other_classes_get_a_fresh_fc8(other_classes, train, recipe, caplog, tmp_path):
    """The last layer of another dataset's network is not used, although its shape fits."""
    recipe = recipe.with_stage("classification", steps=1, learning_rate=1e-12)
    folder = tmp_path / "c"
    with caplog.at_level("INFO", logger="absl"):
        train("classification", output_dir=folder, recipe=recipe, start_from=other_classes, seed=5)
    assert f"{other_classes}: fc8 start from fresh weights" in caplog.text
    (trained, _), (source, _) = load_stage(folder), load_stage(other_classes)
    for new, old in zip(trained.weights[:-2], source.weights[:-2], strict=True):
        np.testing.assert_allclose(new.numpy(), old.numpy(), rtol=0, atol=1e-9)
    new, old = (model.get_layer("fc8").kernel.numpy() for model in (trained, source))
    assert new.shape == old.shape and np.abs(new - old).max() > 1e-3


@pytest.mark.parametrize("stage", ["proposal", "localization"])
def test_pretrained_weights_start_any_stage(stage, train, recipe, caplog, tmp_path):
    recipe = dataclasses.replace(
        recipe.with_stage(stage, steps=1, learning_rate=1e-12), normalization="mean"
    )
    info = checkpoints.StageInfo("pretrained", (), 0.0, 0, recipe)
    source = info.build()
    source.set_weights([np.full(w.shape, 0.01 * i) for i, w in enumerate(source.weights)])
    folder = tmp_path / "pretrained"
    folder.mkdir()
    source.save_weights(folder / "model.weights.h5")
    (folder / "model.json").write_text(json.dumps(dataclasses.asdict(info)))
    with caplog.at_level("INFO", logger="absl"):
        train(stage, output_dir=tmp_path / stage, recipe=recipe, start_from=folder)
    assert f"{folder}: fc8 start from fresh weights" in caplog.text
    trained, _ = load_stage(tmp_path / stage)
    # The first weight is the mean of the frames.
    assert trained.weights[0].shape == (16, 16, 16, 3)
    for new, old in zip(trained.weights[:-2], source.weights, strict=True):
        np.testing.assert_allclose(new.numpy(), old.numpy(), rtol=0, atol=1e-6)
    assert trained.get_layer("fc8").kernel.numpy().std() > 0.01


def test_a_folder_of_another_run_is_refused(classification, train, recipe):
    folder = classification[0]
    changed = recipe.with_stage("classification", learning_rate=1.0)
    with pytest.raises(
        InputError,
        match=r"holds another run \(seed was 0, is 3; classification.learning_rate was 0.001, is "
        r"1.0\); choose another --model_dir",
    ):
        train("classification", output_dir=folder, recipe=changed, seed=3)
    with pytest.raises(InputError, match="stage was classification, is proposal"):
        train("proposal", output_dir=folder)


@pytest.fixture
def interrupted(train, tmp_path):
    """The folder of a training of the proposal network that was interrupted after step 3."""
    folder = tmp_path / "proposal"
    with pytest.raises(KeyboardInterrupt):
        train("proposal", output_dir=folder, checkpoint_every=2, callbacks=[Watch(3)])
    return folder


@pytest.mark.parametrize("redraw, optimizer", [(True, "adam"), (False, "sgd")])
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(
    redraw, optimizer, train, recipe, tmp_path
):
    """Order, augmentation, dropout, running average and means go on where they were."""
    recipe = dataclasses.replace(
        recipe, redraw_background=redraw, optimizer=optimizer, dropout=0.5, average=0.9,
        min_scale=0.8, brightness=0.1,
    )  # fmt: skip
    options = {"recipe": recipe, "checkpoint_every": 2}
    whole = train("classification", output_dir=tmp_path / "whole", **options)
    for step in (1, 5):
        folder = tmp_path / str(step)
        with pytest.raises(KeyboardInterrupt):
            train("classification", output_dir=folder, **options, callbacks=[Watch(step)])
        metrics = train("classification", output_dir=folder, **options)
        assert {**metrics, "seconds": 0} == {**whole, "seconds": 0}
        weights = (folder / WEIGHTS).read_bytes()
        assert weights == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_damaged_files_of_a_finished_stage_are_made_again(classification, train, tmp_path, caplog):
    folder = shutil.copytree(classification[0], tmp_path / "classification")
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(bytes(len(weights)))
    (folder / WINDOW_PRIOR).write_bytes(b"")
    train("classification", output_dir=folder)
    assert f"{folder / WEIGHTS} was damaged; the network is trained again" in caplog.text
    for name in (WEIGHTS, WINDOW_PRIOR):
        assert (folder / name).read_bytes() == (classification[0] / name).read_bytes()


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_weights_and_checkpoints_of_an_unknown_run_are_refused(
    content, classification, interrupted, train, tmp_path
):
    finished = shutil.copytree(classification[0], tmp_path / "classification")
    for stage, folder in (("classification", finished), ("proposal", interrupted)):
        (folder / "model.json").unlink()
        if content is not None:
            (folder / "model.json").write_text(content)
        with pytest.raises(InputError, match="holds another run, or this one with a damaged model"):
            train(stage, output_dir=folder)


def test_other_shards_or_initial_weights_make_another_run(
    classification, interrupted, train, rewrite_records, tmp_path
):
    """Also where all settings are equal, and whether the run is finished or not."""

    def darken(example):
        context = example.context.feature
        context["scnn/background_draw"].float_list.value[0] /= 2

    for stage, folder in (("classification", classification[0]), ("proposal", interrupted)):
        with pytest.raises(
            InputError,
            match=rf"{folder}: holds another run \(--start_from gives other initial weights than "
            r"before\); choose another --model_dir, or remove the folder",
        ):
            train(stage, output_dir=folder, start_from=classification[0])
    other = rewrite_records(darken)
    for stage, folder in (("classification", classification[0]), ("proposal", interrupted)):
        with pytest.raises(InputError, match=r"run \(--data_dir holds other shards than before\)"):
            train(stage, output_dir=folder, data_dir=other)
    # Another path of the same shards does not matter.
    assert train("proposal", output_dir=interrupted, checkpoint_every=2)["steps"] == 6


def test_a_run_of_an_earlier_version_is_resumed(interrupted, train, rewrite_records):
    """Its shards and initial weights are not known."""
    fields = json.loads((interrupted / "model.json").read_text())
    del fields["checksums"]
    (interrupted / "model.json").write_text(json.dumps(fields))
    for checkpoint_file in interrupted.glob("checkpoints/*.json"):
        checkpoint_file.unlink()
    assert train("proposal", output_dir=interrupted)["steps"] == 6
    assert load_stage(interrupted)[1].checksums.keys() == {"weights"}


def test_a_folder_belongs_to_one_training(train, recipe, tmp_path):
    """A second one, whatever its recipe, is refused while the first one trains."""
    errors = []

    class Second(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            with pytest.raises(InputError) as error:
                train("proposal", output_dir=tmp_path, seed=1)
            errors.append(str(error.value))

    recipe = recipe.with_stage("proposal", steps=1)
    train("proposal", output_dir=tmp_path, recipe=recipe, callbacks=[Second()])
    (error,) = errors
    assert error.startswith(f"{tmp_path}: expected a folder that no other process works in. Found:")
    assert f"training of proposal by process {os.getpid()}" in error
    assert load_stage(tmp_path)[1].seed == 0
    assert not (tmp_path / ".lock").exists()


def test_checkpoints_left_by_a_killed_training_are_removed(classification, train, tmp_path):
    """It was killed after its weights were written, before the checkpoints were removed."""
    folder = shutil.copytree(classification[0], tmp_path / "classification")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "ckpt-6.index").touch()
    assert train("classification", output_dir=folder) == classification[1]
    assert not (folder / "checkpoints").exists()


def test_initial_weights_that_are_not_finite_are_refused(classification, train, tmp_path):
    source, info = load_stage(classification[0])
    source.get_layer("fc6").bias.assign(np.full(8, np.nan))
    checkpoints.save_weights(source, tmp_path / "nan", info)
    with pytest.raises(InputError, match="nan/model.weights.h5: .*fc6/bias are not finite"):
        train("localization", output_dir=tmp_path / "l", start_from=tmp_path / "nan")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0.5", "nan", 1),
        lambda text: text.replace("0.5", "0.7", 1),  # noticed by its checksum
    ],
    ids=["empty", "cut", "not a number", "another number"],
)
def test_a_damaged_prior_is_refused_at_the_start(damage, train, shards, tmp_path):
    data = shutil.copytree(shards, tmp_path / "shards")
    good = (data / WINDOW_PRIOR).read_text()
    (data / WINDOW_PRIOR).write_text(damage(good))
    with pytest.raises(InputError, match=f"{data / WINDOW_PRIOR}: .*; remove the folder and build"):
        train("proposal", data_dir=data, output_dir=tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.needs("mount", "umount")
def test_a_full_disk_ends_a_training_in_one_sentence(train, recipe, small_disk):
    """There is no room for the log, for checkpoints, or for weights next to two checkpoints."""
    recipe = recipe.with_stage("proposal", steps=4)
    for size, name in ((12_288, "logs"), (300_000, "checkpoints"), (780_000, "model.weights.h5")):
        folder = small_disk(size) / "proposal"
        with pytest.raises(InputError) as error:
            train("proposal", output_dir=folder, recipe=recipe, checkpoint_every=2)
        assert str(error.value).startswith(
            f"{folder / name}: cannot be written (No space left on device)"
        )
        assert "\n" not in str(error.value)
    # What was saved is kept: with more room, the same call resumes.
    subprocess.run(["mount", "-o", "remount,size=2m", folder.parent], check=True)
    watch = Watch()
    metrics = train("proposal", output_dir=folder, recipe=recipe, callbacks=[watch])
    assert not watch.steps and metrics["steps"] == 4 and np.isfinite(metrics["loss"])


@pytest.mark.needs("mount", "umount")
def test_a_full_folder_of_temporary_files_is_one_sentence(train, small_disk, tmp_path, monkeypatch):
    full = small_disk(65_536)
    monkeypatch.setattr(tempfile, "tempdir", str(full))
    with pytest.raises(InputError, match=f"{full}: the folder of temporary files cannot be writt"):
        train("proposal", output_dir=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_step_that_does_not_fit_into_memory_is_one_sentence(train, tmp_path):
    class Full(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(InputError, match="a step of 4 segments does not fit into memory"):
        train("proposal", output_dir=tmp_path, callbacks=[Full()])


def test_other_settings_of_inference_do_not_make_another_run(
    classification, train, recipe, tmp_path
):
    folder = shutil.copytree(classification[0], tmp_path / "classification")
    inference = dataclasses.replace(recipe.inference, proposal_threshold=0.25)
    changed = dataclasses.replace(recipe, inference=inference)
    metrics = train("classification", output_dir=folder, recipe=changed)
    assert metrics == classification[1]  # nothing was trained
    assert load_stage(folder)[1].recipe.inference.proposal_threshold == 0.25


def test_settings_of_other_stages_do_not_make_another_run(classification, train, recipe):
    folder, metrics = classification
    changed = recipe.with_stage("localization", steps=1000)
    assert train("classification", output_dir=folder, recipe=changed) == metrics


def test_shards_of_another_recipe_are_refused(train, recipe, tmp_path):
    other = dataclasses.replace(
        recipe, shards=dataclasses.replace(recipe.shards, positive_tiou=0.5, frame_height=48)
    )
    with pytest.raises(
        InputError,
        match=r"built by another recipe than 'recipe' \(frame_height was 32, is 48; positive_tiou "
        r"was 0.7, is 0.5\); build them with this --recipe",
    ):
        train("proposal", output_dir=tmp_path, recipe=other)
    assert not list(tmp_path.iterdir())


def test_a_run_that_trained_nothing_does_not_occupy_its_folder(train, tmp_path):
    for seed in (0, 1):  # the second error is not "holds another run"
        with pytest.raises(InputError, match="expected a trained network"):
            train(
                "localization", output_dir=tmp_path / "l", start_from=tmp_path / "none", seed=seed
            )


def test_an_infinite_loss_ends_the_training_without_a_checkpoint(train, recipe, tmp_path):
    recipe = recipe.with_stage("proposal", learning_rate=1e30)
    with pytest.raises(
        InputError, match="proposal network's loss is (nan|inf) after 6 steps; .* learning_rate"
    ):
        train("proposal", output_dir=tmp_path, recipe=recipe)
    # With another learning rate, the same folder can be used.
    assert not (tmp_path / "checkpoints").exists()


def test_the_optimizer_of_a_recipe():
    paper, res3d = (
        make_optimizer(get_recipe(name), "localization") for name in ("thumos14", "thumos14_res3d")
    )
    assert (paper.l2, paper.layer_factors["fc8"]) == (5e-4, 100)
    assert (res3d.l2, res3d.layer_factors["fc8"]) == (5e-5, 10)
    rates = []
    for step in (0, 3_675, 3_676):  # halved after 3,676 steps
        res3d.iterations.assign(step)
        rates.append(float(res3d.learning_rate))
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4])


@pytest.fixture(scope="module")
def residual(recipe):
    """A recipe by which a small ResNet3D18 learns the tiny dataset."""
    return dataclasses.replace(
        recipe.with_stage("classification", steps=60, learning_rate=0.01),
        name="residual", backbone="resnet3d18", normalization="mean128", width=1 / 16,
        batch_size=8, brightness=0.0, contrast=0.0,
    )  # fmt: skip


@pytest.mark.slow
def test_res3d_learns_from_fresh_weights(train, residual, tmp_path):
    metrics = train("classification", output_dir=tmp_path, recipe=residual, checkpoint_every=10)
    # Chance among three classes is ln 3 = 1.1, where the loss is after ten steps.
    assert metrics["loss"] < 0.95
    model, info = load_stage(tmp_path)
    assert type(model.get_layer("bn_conv1")) is keras.layers.BatchNormalization
    assert info.recipe == residual
    # The moving means, which inference needs, were updated and saved.
    assert np.abs(model.get_layer("bn_conv1").moving_mean.numpy()).max() > 1


@pytest.mark.slow
def test_batch_normalization_over_two_devices(train, shards, residual, tmp_path):
    """`MirroredStrategy` on two halves of the CPU learns weights and statistics like one device."""
    changes = {"optimizer": "sgd", "proposal": {"learning_rate": 1e-3, "steps": 3}}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**dataclasses.asdict(residual), **changes}))
    train("proposal", output_dir=tmp_path / "one", recipe=recipe)
    # The CPU must be divided before TensorFlow is used: hence a process of its own.
    done = subprocess.run(
        [
            sys.executable, "-m", "pipelines.train", "--stage=proposal", f"--recipe={recipe}",
            f"--data_dir={shards}", f"--model_dir={tmp_path}", "--logical_cpus=2",
        ],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["replicas"] == 2
    one, two = (load_stage(tmp_path / name)[0] for name in ("one", "proposal"))
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    # The moving means started at zero, so that equal values were learned.
    assert np.abs(one.get_layer("bn_conv1").moving_mean.numpy()).max() > 0.1


class TwoReplicas:
    num_replicas_in_sync = 2


def test_arguments_that_cannot_be_trained_with(train, recipe, tmp_path):
    def fails(message, stage="proposal", changed=(), **options):
        options = {"output_dir": tmp_path / "m", **options}
        with pytest.raises(InputError, match=message) as error:
            train(stage, recipe=dataclasses.replace(recipe, **dict(changed)), **options)
        assert "\n" not in str(error.value)

    fails("stage must be one of proposal, .*Received: 'detection'", stage="detection")
    fails("expected a finished dataset", data_dir=tmp_path)
    fails(
        "recipe 'recipe': a batch of 3 cannot be split evenly over 2 devices",
        strategy=TwoReplicas(),
        changed={"batch_size": 3},
    )
    fails("recipe 'recipe' makes no network: .*fast", changed={"normalization": "fast"})
    fails("recipe 'recipe' makes no network: ", changed={"hidden": 0})
    fails("no network: backbone must be one of c3d, .*'vgg'", changed={"backbone": "vgg"})
    (tmp_path / "file").touch()
    fails("file.*cannot be written", output_dir=tmp_path / "file")
    (tmp_path / "m" / "model.json").write_text("{}")
    (tmp_path / "m" / "checkpoints").mkdir()
    fails("model.json: not the description of a network")


def test_a_damaged_checkpoint(interrupted, train):
    checkpoints = interrupted / "checkpoints"
    (checkpoints / "ckpt-2.index").write_bytes(b"cut")
    with pytest.raises(InputError, match=f"{checkpoints}: the checkpoint cannot be read.*remove"):
        train("proposal", output_dir=interrupted)


def test_damaged_shards(train, shards, tmp_path):
    def fails(message):
        with pytest.raises(InputError, match=message) as error:
            train("proposal", data_dir=data, output_dir=tmp_path / "m")
        assert "\n" not in str(error.value)

    data = shutil.copytree(shards, tmp_path / "shards")
    shard = data / read_manifest(data).shards[1]["file"]
    good = shard.read_bytes()

    middle = len(good) // 2
    shard.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    fails(f"{shard}: the shard was changed or damaged after it had been built.*; remove the folder")
    shard.write_bytes(good[:middle])
    fails(f"{shard}: expected a shard of {len(good)} bytes. Found: {middle} bytes")
    shard.unlink()
    fails(f"{shard}: the shard is missing")
    shard.write_bytes(good)
    (data / WINDOW_PRIOR).unlink()
    fails("window_prior.csv: cannot be read")
    (data / MANIFEST).write_text("{")
    fails("manifest.json: no valid JSON.*build the dataset again")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("clip/label/index", 7, "label 7, '.*', is not a class of the manifest"),
        ("clip/label/index", -1, "label -1, '.*', is not a class of the manifest"),
        ("scnn/overlap", 0.0, r"expected an overlap in \(0, 1\]. Found: 0"),
        ("scnn/overlap", float("nan"), r"expected an overlap in \(0, 1\]. Found: nan"),
    ],
)
def test_a_label_or_overlap_out_of_range_is_named(
    key, value, message, train, rewrite_records, tmp_path
):
    """It would change the loss, or end the training, without a word of the record."""

    def damage(example):
        feature = example.context.feature[key]
        (feature.int64_list if isinstance(value, int) else feature.float_list).value[0] = value

    with pytest.raises(InputError, match=rf"of-00002\.tfrecord, record 0: {message}.*; remove the"):
        train("proposal", data_dir=rewrite_records(damage), output_dir=tmp_path / "m")


def test_a_damaged_picture_is_named(train, rewrite_records, tmp_path):
    """The record's checksum is right, so that only decoding fails."""

    def damage(example):
        pictures = example.feature_lists.feature_list["image/encoded"].feature
        pictures[3].bytes_list.value[0] = b"no picture"

    with pytest.raises(
        InputError, match=r"of-00002\.tfrecord, record 0: image 3 is not a JPEG .*; remove the"
    ):
        train("proposal", data_dir=rewrite_records(damage), output_dir=tmp_path / "m")
