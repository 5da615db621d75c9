import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models import checkpoints
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.models.recipes import get_recipe
from scnn_tf.segments.prior import WINDOW_PRIOR, read_prior
from scnn_tf.shards.files import MANIFEST, read_manifest
from scnn_tf.training import train
from scnn_tf.training.train import train_stage


@pytest.fixture(scope="module")
def recipe(tiny_dataset):
    return get_recipe(str(tiny_dataset / "recipe.json"))


@pytest.fixture(scope="module")
def shards(tiny_dataset):
    return str(tiny_dataset / "shards")


@pytest.fixture(scope="module")
def classification(tiny_dataset, recipe, shards, tmp_path_factory):
    """A finished stage, and the metrics of its training."""
    folder = tmp_path_factory.mktemp("models") / "classification"
    return folder, train_stage("classification", shards, str(folder), recipe)


def copy(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "shards")


def same_weights(a, b, tolerance=0.0):
    assert len(a.weights) == len(b.weights)
    for one, other in zip(a.weights, b.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=tolerance)


def test_a_finished_stage(classification, shards):
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


def test_loading_a_stage(classification, recipe):
    model, info = load_stage(classification[0], "classification")
    assert model.output_shape == (None, 3)
    assert (info.stage, info.class_names) == ("classification", ("left", "right"))
    assert (info.recipe, info.frame_rate, info.seed) == (recipe, 25.0, 0)
    same_weights(model, load_stage(str(classification[0]))[0])


def test_a_finished_stage_is_not_trained_again(classification, recipe, shards, monkeypatch):
    folder, metrics = classification
    monkeypatch.setattr(train, "training_batches", None)
    assert train_stage("classification", shards, str(folder), recipe) == metrics


def test_figures_that_were_damaged_later(classification, recipe, shards, tmp_path):
    folder = shutil.copytree(classification[0], tmp_path / "classification")
    (folder / "metrics.json").write_text('{"steps": 6,')
    with pytest.raises(
        InputError, match=r"metrics\.json: no valid JSON.*; remove .* to train again"
    ):
        train_stage("classification", shards, str(folder), recipe)


def test_killed_and_resumed(recipe, shards, tmp_path, monkeypatch):
    steps = []
    report = train.Report.on_train_batch_end

    def dying_after_five(self, batch, logs=None):
        report(self, batch, logs)
        steps.append(int(self.model.optimizer.iterations.numpy()))
        if len(steps) == 5:
            raise KeyboardInterrupt

    def run():
        return train_stage("proposal", shards, str(tmp_path), recipe, checkpoint_every=2)

    monkeypatch.setattr(train.Report, "on_train_batch_end", dying_after_five)
    with pytest.raises(KeyboardInterrupt):
        run()
    with pytest.raises(InputError, match="proposal network is not trained yet"):
        load_stage(tmp_path)
    metrics = run()
    # The fifth step came after the checkpoint of the fourth, and is taken again.
    assert steps == [1, 2, 3, 4, 5, 5, 6]
    assert metrics["steps"] == 6
    assert load_stage(tmp_path)[0].output_shape == (None, 2)
    assert not (tmp_path / "checkpoints").exists()


def test_what_stands_in_a_checkpoint_is_what_goes_on(recipe, shards, tmp_path, monkeypatch):
    """Killed after its last step, before the weights were written: nothing is left to train."""
    recipe = dataclasses.replace(recipe.with_stage("proposal", steps=2), average=0.9)
    kept = []

    def dying(model, path):
        raise KeyboardInterrupt

    def watching(self, *arguments, **options):
        kept.append([w.numpy() for w in self.model.weights])
        return save(self, *arguments, **options)

    save = train.Report.on_train_batch_end
    monkeypatch.setattr(train.Report, "on_train_batch_end", watching)
    with monkeypatch.context() as dead:
        dead.setattr(keras.Model, "save_weights", dying)
        with pytest.raises(KeyboardInterrupt):
            train_stage("proposal", shards, str(tmp_path), recipe)
    monkeypatch.setattr(train, "training_batches", None)
    assert train_stage("proposal", shards, str(tmp_path), recipe)["steps"] == 2
    model, _ = load_stage(tmp_path)
    # The running average after one step at .9 is not the last weights, nor far from them.
    fc8 = model.get_layer("fc8").kernel.numpy()
    last = kept[-1][-2]
    assert 0 < np.abs(fc8 - last).max() < 0.1


def test_localization_starts_from_classification(classification, recipe, shards, tmp_path):
    """At a learning rate of next to nothing it ends where it started: at those weights."""
    recipe = recipe.with_stage("localization", steps=1, learning_rate=1e-12)
    folder = tmp_path / "localization"
    train_stage(
        "localization", shards, str(folder), recipe, start_from=str(classification[0]), seed=5
    )
    trained, info = load_stage(folder)
    assert (info.stage, info.seed) == ("localization", 5)
    source, _ = load_stage(classification[0])
    assert trained.get_layer("fc8").kernel.shape == (8, 3)
    same_weights(trained, source, 1e-9)
    # Fresh weights would be elsewhere.
    fresh = info.build().get_layer("fc8").kernel.numpy()
    assert np.abs(fresh - source.get_layer("fc8").kernel.numpy()).max() > 1e-3


def test_a_start_that_does_not_fit(classification, recipe, shards, tmp_path):
    source = classification[0]
    other = tmp_path / "other"
    shutil.copytree(source, other)
    fields = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**fields, "class_names": ["up", "down"]}))
    wide = dataclasses.replace(recipe, hidden=16)
    for message, changed, start in (
        (r"trained on other classes \(up, down\) than this data set has \(left, right\)",
         recipe, other),
        (r"its network is not this recipe's: fc6/kernel \(22, 8\) there, fc6/kernel \(22, 16\) "
         "here; train it with the same recipe", wide, source),
        (r"its network is not this recipe's: conv1a/kernel \(3, 3, 3, 3, 2\) there, "
         r"normalization/mean \(16, 16, 16, 3\) here",
         dataclasses.replace(recipe, normalization="mean"), source),
        ("expected a trained network.*run train first", recipe, tmp_path / "none"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            train_stage("localization", shards, str(tmp_path / "l"), changed, start_from=str(start))


def test_other_classes_get_a_fresh_fc8(classification, recipe, shards, caplog, tmp_path):
    """Another data set's network gives all but its last layer, though that would fit by size."""
    other = shutil.copytree(classification[0], tmp_path / "other")
    fields = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**fields, "class_names": ["up", "down"]}))
    recipe = recipe.with_stage("classification", steps=1, learning_rate=1e-12)
    with caplog.at_level("INFO", logger="absl"):
        train_stage(
            "classification", shards, str(tmp_path / "c"), recipe, start_from=str(other), seed=5
        )
    assert f"{other}: fc8 is not taken over" in caplog.text
    (trained, _), (source, _) = load_stage(tmp_path / "c"), load_stage(other)
    for new, old in zip(trained.weights[:-2], source.weights[:-2], strict=True):
        np.testing.assert_allclose(new.numpy(), old.numpy(), rtol=0, atol=1e-9)
    new, old = (model.get_layer("fc8").kernel.numpy() for model in (trained, source))
    assert new.shape == old.shape and np.abs(new - old).max() > 1e-3


@pytest.mark.parametrize("stage", ["proposal", "localization"])
def test_pretrained_weights_start_any_stage(stage, recipe, shards, caplog, tmp_path):
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
        train_stage(stage, shards, str(tmp_path / stage), recipe, start_from=str(folder))
    assert f"{folder}: fc8 is not taken over" in caplog.text
    trained, _ = load_stage(tmp_path / stage)
    # The mean of the frames is the first of them.
    assert trained.weights[0].shape == (16, 16, 16, 3)
    for new, old in zip(trained.weights[:-2], source.weights, strict=True):
        np.testing.assert_allclose(new.numpy(), old.numpy(), rtol=0, atol=1e-6)
    assert trained.get_layer("fc8").kernel.numpy().std() > 0.01


def test_a_folder_with_another_run(classification, recipe, shards):
    folder = str(classification[0])
    changed = recipe.with_stage("classification", learning_rate=1.0)
    with pytest.raises(
        InputError,
        match=r"holds another run \(seed was 0, is 3; classification.learning_rate was 0.001, is "
        r"1.0\); choose another --model_dir",
    ):
        train_stage("classification", shards, folder, changed, seed=3)
    with pytest.raises(InputError, match="stage was classification, is proposal"):
        train_stage("proposal", shards, folder, recipe)


def test_other_settings_of_inference_do_not_make_another_run(
    classification, recipe, shards, tmp_path
):
    folder = shutil.copytree(classification[0], tmp_path / "classification")
    inference = dataclasses.replace(recipe.inference, proposal_threshold=0.25)
    changed = dataclasses.replace(recipe, inference=inference)
    metrics = train_stage("classification", shards, str(folder), changed)
    assert metrics == classification[1]  # nothing was trained
    assert load_stage(folder)[1].recipe.inference.proposal_threshold == 0.25


def test_the_other_stages_do_not_matter_to_a_run(classification, recipe, shards):
    folder, metrics = classification
    changed = recipe.with_stage("localization", steps=1000)
    assert train_stage("classification", shards, str(folder), changed) == metrics


def test_shards_of_another_recipe_are_refused(recipe, shards, tmp_path):
    other = dataclasses.replace(
        recipe, shards=dataclasses.replace(recipe.shards, positive_tiou=0.5, frame_height=48)
    )
    with pytest.raises(
        InputError,
        match=r"built by another recipe than 'recipe' \(frame_height was 32, is 48; positive_tiou "
        r"was 0.7, is 0.5\); build them with this --recipe",
    ):
        train_stage("proposal", shards, str(tmp_path), other)
    assert not list(tmp_path.iterdir())


def test_a_run_that_trained_nothing_leaves_its_folder_free(recipe, shards, tmp_path):
    folder = str(tmp_path / "l")
    with pytest.raises(InputError, match="expected a trained network"):
        train_stage("localization", shards, folder, recipe, start_from=str(tmp_path / "none"))
    with pytest.raises(
        InputError, match="expected a trained network"
    ):  # and not "holds another run"
        train_stage(
            "localization", shards, folder, recipe, start_from=str(tmp_path / "none"), seed=1
        )


def test_a_loss_that_is_lost(recipe, shards, tmp_path):
    recipe = recipe.with_stage("proposal", learning_rate=1e30)
    with pytest.raises(
        InputError, match="proposal network's loss is (nan|inf) after 6 steps; .* learning_rate"
    ):
        train_stage("proposal", shards, str(tmp_path / "m"), recipe)
    # Nothing of it is kept: with another rate the same folder starts anew.
    assert not (tmp_path / "m" / "checkpoints").exists()


def test_the_optimizer_that_a_recipe_asks_for():
    paper, res3d = (
        train.make_optimizer(get_recipe(name), "localization")
        for name in ("thumos14", "thumos14_res3d")
    )
    assert (paper.l2, paper.fast_factor) == (5e-4, 100)
    assert (res3d.l2, res3d.fast_factor) == (5e-5, 10)
    # Halved once after 3,676 steps.
    rates = [float(res3d._learning_rate(step)) for step in (0, 3_675, 3_676)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4])


@pytest.fixture(scope="module")
def residual(recipe):
    """A recipe that teaches a small ResNet3D18 the tiny data set."""
    return dataclasses.replace(
        recipe.with_stage("classification", steps=60, learning_rate=0.01),
        name="residual", backbone="resnet3d18", normalization="mean128", width=1 / 16,
        batch_size=8, brightness=0.0, contrast=0.0,
    )  # fmt: skip


def test_res3d_trains_from_scratch(residual, shards, tmp_path):
    metrics = train_stage("classification", shards, str(tmp_path), residual, checkpoint_every=10)
    # Who knows nothing of three classes has ln 3 = 1.1, as it had after ten steps. Of the last ten:
    assert metrics["loss"] < 0.95
    model, info = load_stage(tmp_path)
    assert type(model.get_layer("bn_conv1")) is keras.layers.BatchNormalization
    assert info.recipe == residual
    # What prediction needs is in the file too: means that moved.
    assert np.abs(model.get_layer("bn_conv1").moving_mean.numpy()).max() > 1


@pytest.mark.slow
def test_batch_normalisation_over_two_devices(residual, shards, tmp_path):
    """`MirroredStrategy` on two halves of the CPU: the weights and statistics of one device."""
    changes = {"optimizer": "sgd", "proposal": {"learning_rate": 1e-3, "steps": 3}}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**dataclasses.asdict(residual), **changes}))
    train_stage("proposal", shards, str(tmp_path / "one"), get_recipe(str(recipe)))
    # Devices are divided before TensorFlow is used, so in a process of its own.
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
    # They began with zeros: there was something to agree on.
    assert np.abs(one.get_layer("bn_conv1").moving_mean.numpy()).max() > 0.1


class TwoReplicas:
    num_replicas_in_sync = 2


def test_what_cannot_be_trained(recipe, shards, tmp_path):
    def fails(message, stage="proposal", data=shards, output=tmp_path / "m", **options):
        changed = dataclasses.replace(recipe, **options.pop("changed", {}))
        with pytest.raises(InputError, match=message) as error:
            train_stage(stage, str(data), str(output), changed, **options)
        assert "\n" not in str(error.value)

    fails("stage must be one of proposal, .*Received: 'detection'", stage="detection")
    fails("expected a finished data set", data=tmp_path)
    fails(
        "recipe 'recipe': a batch of 3 cannot be split evenly over 2 devices",
        strategy=TwoReplicas(),
        changed={"batch_size": 3},
    )
    fails("recipe 'recipe' makes no network: .*fast", changed={"normalization": "fast"})
    fails("recipe 'recipe' makes no network: ", changed={"hidden": 0})
    fails("no network: backbone must be one of c3d, .*'vgg'", changed={"backbone": "vgg"})
    (tmp_path / "file").touch()
    fails("file.*cannot be written", output=tmp_path / "file")
    (tmp_path / "m" / "model.json").write_text("{}")
    (tmp_path / "m" / "checkpoints").mkdir()
    fails("model.json: not the description of a network")


def test_a_damaged_checkpoint(recipe, shards, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "checkpoint").write_text('model_checkpoint_path: "ckpt-4"\n')
    (checkpoints / "ckpt-4.index").write_bytes(b"cut")
    with pytest.raises(InputError, match=f"{checkpoints}: the checkpoint cannot be read: .*remove"):
        train_stage("proposal", shards, str(tmp_path), recipe)


def test_data_sets_that_are_damaged(recipe, shards, tmp_path):
    def fails(message):
        with pytest.raises(InputError, match=message) as error:
            train_stage("proposal", str(data), str(tmp_path / "m"), recipe)
        assert "\n" not in str(error.value)

    data = copy(shards, tmp_path)
    shard = data / read_manifest(data).shards[1]["file"]
    good = shard.read_bytes()

    middle = len(good) // 2
    shard.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    fails(f"{shard}: the shard was changed or damaged after it had been built")
    shard.write_bytes(good[:middle])
    fails(f"{shard}: the shard has {middle} bytes where its manifest says {len(good)}")
    shard.unlink()
    fails(f"{shard}: the shard is missing")
    shard.write_bytes(good)
    (data / WINDOW_PRIOR).unlink()
    fails("window_prior.csv: cannot be read")
    (data / MANIFEST).write_text("{")
    fails("manifest.json: no valid JSON.*build the data set again")


def test_stages_that_cannot_be_loaded(classification, tmp_path):
    def fails(message, stage=None):
        with pytest.raises(InputError, match=message) as error:
            load_stage(folder, stage)
        assert "\n" not in str(error.value)

    folder = tmp_path / "none"
    fails("expected a trained network")
    folder = tmp_path / "copy"
    shutil.copytree(classification[0], folder)
    fails("holds a classification network where proposal is needed", stage="proposal")
    weights = folder / "model.weights.h5"
    good = weights.read_bytes()
    holed = good[:5000] + bytes(3000) + good[8000:]
    for bad in (good[: len(good) // 2], b"", b"no weights", good[:-100], holed):
        weights.write_bytes(bad)
        fails("model.weights.h5: cannot be loaded .*; train it again")
    weights.write_bytes(good)
    fields = json.loads((folder / "model.json").read_text())
    more_classes = {**fields, "class_names": ["left", "right", "up"]}
    (folder / "model.json").write_text(json.dumps(more_classes))
    fails("model.weights.h5: cannot be loaded")
    for bad in ({**fields, "recipe": {"name": "x", "speed": 1}}, {}, [], {**fields, "x": 1}):
        (folder / "model.json").write_text(json.dumps(bad))
        fails("model.json: not the description of a network")
    (folder / "model.json").write_text(json.dumps(fields))
    weights.unlink()
    fails("the classification network is not trained yet; run train")
