import dataclasses
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models.checkpoints import (
    StageInfo,
    load_stage,
    read_info,
    save_weights,
    write_info,
)
from scnn_tf.models.recipes import RECIPES, get_recipe


def test_a_stage_and_its_description_are_loaded(tiny_models, tiny_dataset):
    model, info = load_stage(tiny_models / "localization", "localization")
    assert model.output_shape == (None, None, 3)
    assert (info.stage, info.class_names) == ("localization", ("left", "right"))
    assert (info.frame_rate, info.seed) == (25.0, 0)
    recipe = get_recipe(tiny_dataset / "recipe.json")
    assert info.recipe == dataclasses.replace(
        recipe.with_stage("proposal", steps=1).with_stage("localization", steps=1),
        inference=dataclasses.replace(recipe.inference, proposal_threshold=0.5),
    )
    assert info == read_info(tiny_models / "localization")
    again, _ = load_stage(str(tiny_models / "localization"))
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize(
    ("changes", "stddev"),
    [
        ({"backbone": "c3d", "initializer": "caffe"}, 0.01),
        ({"backbone": "c3d", "initializer": "he"}, (2 / (512 + 21)) ** 0.5),
        ({"backbone": "resnet3d18", "initializer": "caffe"}, 0.01),
        ({"backbone": "resnet3d18", "initializer": "he"}, 0.01),  # which is a setting of C3D only
    ],
)
def test_initial_weights_of_fc8_are_those_of_the_recipe(changes, stddev):
    """`he` gives Glorot's √(2 / (inputs + outputs))."""
    keras.utils.set_random_seed(0)
    recipe = dataclasses.replace(
        RECIPES["small_paper"], crop=20, width=1 / 2, hidden=512, **changes
    )
    classes = tuple(f"class {k}" for k in range(20))
    fc8 = StageInfo("localization", classes, 25.0, 0, recipe).build().get_layer("fc8")
    assert fc8.kernel.numpy().std() == pytest.approx(stddev, rel=0.03)


def test_pretrained_weights_have_no_fc8():
    recipe = dataclasses.replace(RECIPES["small"], crop=20, width=1 / 16, hidden=8)
    model = StageInfo("pretrained", (), 0.0, 0, recipe).build()
    assert model.name == "c3d" and model.layers[-1].name == "dropout_fc7"


def test_descriptions_are_read_without_keras(tiny_models):
    program = (
        "import sys; from scnn_tf.models.checkpoints import read_info; "
        f"print(read_info({str(tiny_models / 'proposal')!r}).stage, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["proposal", "False"], done.stderr


def test_damaged_stages_are_refused(tiny_models, tmp_path):
    def fails(message, stage=None):
        with pytest.raises(InputError, match=message) as error:
            load_stage(folder, stage)
        assert "\n" not in str(error.value)

    folder = tmp_path / "none"
    fails("expected a trained network")
    folder = tmp_path / "copy"
    shutil.copytree(tiny_models / "localization", folder)
    fails("holds a localization network where proposal is needed", stage="proposal")
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
    deep = "[" * 300 + "]" * 300
    (folder / "model.json").write_text(f'{{"stage": {deep}}}')
    fails("model.json: not the description of a network .* nested too deeply")
    for bad in (
        {**fields, "recipe": {"name": "x", "zoom": 1}},
        {**fields, "recipe": "small"},
        {**fields, "recipe": {**fields["recipe"], "width": float("inf")}},
        {**fields, "recipe": {**fields["recipe"], "hidden": [8]}},
        {**fields, "recipe": {**fields["recipe"], "name": "x", "inference": {"mirror": 1}}},
        {**fields, "x": 1},
        {**fields, "stage": "detection"},
        {**fields, "stage": ["proposal"]},
        {**fields, "class_names": ["left", ["right"]]},
        {**fields, "class_names": 7},
        {**fields, "frame_rate": float("nan")},
        {**fields, "frame_rate": float("inf")},
        {**fields, "frame_rate": "25"},
        {**fields, "seed": "0"},
        {**fields, "checksums": ["abc"]},
        {},
        [],
    ):
        (folder / "model.json").write_text(json.dumps(bad))
        fails("model.json: not the description of a network")
    (folder / "model.json").write_text(json.dumps(fields))
    weights.unlink()
    fails("the localization network is not trained yet; run train")


def test_weights_have_no_state_of_an_optimizer(tiny_models):
    """Adam's two moments would make three files of one; the rest is HDF5's own."""
    model, _ = load_stage(tiny_models / "localization")
    size = (tiny_models / "localization" / "model.weights.h5").stat().st_size
    assert 0 < size - sum(weight.numpy().nbytes for weight in model.weights) < 100_000


def test_every_flipped_bit_of_the_weights_is_noticed(tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models / "localization", tmp_path / "localization")
    weights = folder / "model.weights.h5"
    good = weights.read_bytes()
    for position in np.random.default_rng(0).integers(0, 8 * len(good), 20):
        byte, bit = divmod(int(position), 8)
        weights.write_bytes(good[:byte] + bytes([good[byte] ^ 1 << bit]) + good[byte + 1 :])
        with pytest.raises(InputError, match="checksum is not that of model.json.*train it again"):
            load_stage(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value, tiny_models, tmp_path):
    """With a checksum that is right, and without one, as earlier versions wrote."""
    model, info = load_stage(tiny_models / "proposal")
    kernel = model.get_layer("conv3b").kernel
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 1, value, kernel.numpy()))
    save_weights(model, tmp_path, info)
    message = r"model.weights.h5: cannot be loaded \(its weights conv3b/kernel are not finite\)"
    with pytest.raises(InputError, match=message):
        load_stage(tmp_path)
    write_info(tmp_path, dataclasses.replace(info, checksums={}))
    with pytest.raises(InputError, match=message):
        load_stage(tmp_path)


def test_a_stage_of_an_earlier_version_is_loaded(tiny_models, tmp_path):
    """Its description has no checksums, and its weights the state of an optimizer."""
    folder = shutil.copytree(tiny_models / "localization", tmp_path / "localization")
    model, info = load_stage(folder)
    model.compile(keras.optimizers.Adam())
    model.optimizer.build(model.trainable_variables)
    model.save_weights(folder / "model.weights.h5")
    fields = json.loads((folder / "model.json").read_text())
    del fields["checksums"]
    (folder / "model.json").write_text(json.dumps(fields))
    again, old = load_stage(folder)
    assert old == dataclasses.replace(info, checksums={})
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.needs("mount", "umount")
def test_weights_on_a_full_disk_are_one_sentence(tiny_models, small_disk):
    model, info = load_stage(tiny_models / "localization")
    folder = small_disk(100_000)
    with pytest.raises(InputError) as error:
        save_weights(model, folder, info)
    assert str(error.value) == (
        f"{folder}/model.weights.h5: cannot be written (No space left on device)"
    )
    assert not list(folder.iterdir())
