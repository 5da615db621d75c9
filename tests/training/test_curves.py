import json

import keras
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models.recipes import get_recipe
from scnn_tf.training.curves import read_curves
from scnn_tf.training.train import train_stage


class Interrupt(keras.callbacks.Callback):
    """Interrupts a training after step 25."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == 25:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def model_dir(tiny_dataset, tmp_path_factory):
    """The proposal network, interrupted after step 25 of 30 and resumed after step 20."""
    folder = tmp_path_factory.mktemp("models")
    recipe = get_recipe(tiny_dataset / "recipe.json").with_stage("proposal", steps=30)
    options = {"data_dir": tiny_dataset / "shards", "output_dir": folder / "proposal"}
    options |= {"recipe": recipe, "checkpoint_every": 10}
    with pytest.raises(KeyboardInterrupt):
        train_stage("proposal", **options, callbacks=[Interrupt()])
    train_stage("proposal", **options)
    return folder


@pytest.mark.slow
def test_an_interrupted_training_is_one_curve(model_dir):
    curves = read_curves(model_dir)
    assert list(curves) == ["proposal"]
    for name in ("loss", "accuracy"):
        assert [step for step, _ in curves["proposal"][name]] == [10, 20, 30]
        assert curves["proposal"][name][-1][1] == curves["proposal"]["metrics"][name]


@pytest.mark.slow
def test_stages_come_in_their_order_with_or_without_logs(model_dir, tmp_path):
    for name in ("localization_fresh", "classification", "proposal", "shards"):
        (tmp_path / name).mkdir()
        if name != "shards":
            (tmp_path / name / "model.json").write_text("{}")
    (tmp_path / "classification" / "metrics.json").write_text('{"loss": 0.5}')
    logs = tmp_path / "proposal" / "logs" / "train"
    logs.mkdir(parents=True)
    (source,) = sorted((model_dir / "proposal" / "logs" / "train").glob("*tfevents*"))[:1]
    (logs / source.name).write_bytes(source.read_bytes()[:-9])  # cut off while it was written
    (logs / "events.out.tfevents.9").write_bytes(b"no log" * 99)
    curves = read_curves(tmp_path)
    assert list(curves) == ["proposal", "classification", "localization_fresh"]
    assert curves["classification"] == {
        "metrics": {"loss": 0.5}, "loss": [], "accuracy": [], "validation": {}
    }  # fmt: skip
    # The last record was the loss of step 20.
    assert [step for step, _ in curves["proposal"]["loss"]] == [10]
    assert [step for step, _ in curves["proposal"]["accuracy"]] == [10, 20]


def test_folders_without_a_trained_network_are_refused(tmp_path):
    with pytest.raises(InputError, match="none: no such folder of trained networks"):
        read_curves(tmp_path / "none")
    with pytest.raises(InputError, match="no trained network in it"):
        read_curves(tmp_path)
    (tmp_path / "proposal").mkdir()
    (tmp_path / "proposal" / "model.json").write_text("{}")
    (tmp_path / "proposal" / "metrics.json").write_text(json.dumps([]))
    with pytest.raises(InputError, match=r"metrics\.json: expected an object of metrics"):
        read_curves(tmp_path)
