import dataclasses
import json

import numpy as np
import pytest

from scnn_tf.models.checkpoints import load_stage
from scnn_tf.models.recipes import get_recipe
from scnn_tf.models.starts import start_folder, start_names


@pytest.mark.parametrize("name", start_names())
def test_the_weights_that_come_with_the_library(name):
    """They are whole, small, and say where they come from."""
    folder = start_folder(name)
    model, info = load_stage(folder)
    assert info.stage == "pretrained"
    assert all(np.abs(weight.numpy()).max() > 0 for weight in model.weights)
    assert (folder / "model.weights.h5").stat().st_size < 3e6
    card = json.loads((folder / "provenance.json").read_text())
    assert "unknown" not in (card["trained_on"], card["licence"]) and card["command"]


@pytest.mark.parametrize("name", ["small", "few_shot"])
def test_recipes_that_can_start_from_motion(name):
    _, info = load_stage(start_folder("motion"))
    recipe = get_recipe(name)
    precise = dataclasses.replace(info.recipe, precision=recipe.precision)
    assert precise.backbone_arguments() == recipe.backbone_arguments()
    assert precise.network == recipe.network


def test_a_folder_of_the_same_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start_folder("motion").is_dir()
    (tmp_path / "motion").mkdir()
    assert start_folder("motion").absolute() == tmp_path / "motion"
    assert start_folder("other").name == "other"
