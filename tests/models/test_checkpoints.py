import dataclasses
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models.checkpoints import StageInfo, load_stage, read_info
from scnn_tf.models.recipes import RECIPES, get_recipe


def test_a_stage_and_its_description_are_loaded(tiny_models, tiny_dataset):
    model, info = load_stage(tiny_models / "localization", "localization")
    assert model.output_shape == (None, 3)
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
    recipe = dataclasses.replace(RECIPES["small"], crop=20, width=1 / 2, hidden=512, **changes)
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
    for bad in (
        {**fields, "recipe": {"name": "x", "speed": 1}},
        {**fields, "recipe": "small"},
        {**fields, "x": 1},
        {},
        [],
    ):
        (folder / "model.json").write_text(json.dumps(bad))
        fails("model.json: not the description of a network")
    (folder / "model.json").write_text(json.dumps(fields))
    weights.unlink()
    fails("the localization network is not trained yet; run train")
