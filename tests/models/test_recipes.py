import dataclasses
import json

import pytest

from scnn_tf.errors import InputError
from scnn_tf.models.recipes import RECIPES, Recipe, from_dict, get_recipe


def test_the_papers_settings():
    """Section 4.2 and the facts of the authors' files."""
    paper = get_recipe("thumos14")
    assert (paper.frame_height, paper.frame_width, paper.crop) == (128, 171, 112)
    assert (paper.width, paper.hidden, paper.dropout) == (1.0, 4096, 0.5)
    assert (paper.normalization, paper.initializer) == ("mean", "caffe")
    assert (paper.optimizer, paper.batch_size) == ("sgd", 3)
    assert paper.learning_rate == (1e-4,) * 3
    assert paper.steps == (30_000,) * 3
    assert (paper.decay_factor, paper.decay_steps) == ((0.1, 0.5, 0.5), (10_000,) * 3)
    assert (paper.overlap_weight, paper.alpha, paper.proposal_threshold) == (1.0, 0.25, 0.7)
    assert not paper.redraw_background and not paper.window_input and paper.average == 0
    assert get_recipe("mexaction2") == dataclasses.replace(
        paper, name="mexaction2", steps=(30_000, 20_000, 20_000)
    )


def test_the_settings_of_the_authors_residual_network():
    res3d, paper = get_recipe("thumos14_res3d"), get_recipe("thumos14")
    assert (paper.backbone, res3d.backbone) == ("c3d", "resnet3d18")
    assert (res3d.frame_height, res3d.frame_width, res3d.crop) == (128, 171, 112)
    assert (res3d.normalization, res3d.batch_size, res3d.width) == ("mean128", 8, 1.0)
    assert (res3d.learning_rate, res3d.decay_factor) == ((1e-3,) * 3, (0.5,) * 3)
    assert (res3d.weight_decay, paper.weight_decay) == (5e-5, 5e-4)
    assert (res3d.fc8_factor, paper.fc8_factor) == (10, 100)
    # Four times through S_pro and S_loc, the rate halved after each.
    assert res3d.steps == tuple(4 * steps for steps in res3d.decay_steps)


def test_a_recipe_from_before_there_were_backbones():
    fields = dataclasses.asdict(RECIPES["thumos14"])
    for later in ("backbone", "weight_decay", "fc8_factor"):
        del fields[later]
    assert from_dict(fields) == RECIPES["thumos14"]


def test_small_can_train_from_scratch():
    small = get_recipe("small")
    assert (small.optimizer, small.initializer, small.width) == ("adam", "he", 0.125)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_survives_json(recipe):
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_a_file_changes_its_base(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"base": "thumos14", "mirror": false, "steps": [1, 2, 3]}')
    expected = dataclasses.replace(RECIPES["thumos14"], name="mine", mirror=False, steps=(1, 2, 3))
    assert get_recipe(str(path)) == expected
    further = tmp_path / "further.json"
    further.write_text(json.dumps({"base": str(path), "crop": 100}))
    assert get_recipe(str(further)) == dataclasses.replace(expected, name="further", crop=100)
    path.write_text("{}")
    assert get_recipe(str(path)) == dataclasses.replace(RECIPES["small"], name="mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"mirror": tru}', "not a recipe"),
        (b"", "not a recipe"),
        (b"[1, 2]", "not a recipe"),
        (b"\xff\xfe", "cannot be read as text"),
        (b'{"momentum": 0.9}', "not a recipe .*momentum"),
        (b'{"base": "large"}', "no recipe 'large'"),
        (b'{"base": 7}', "not a recipe"),
        (b'{"name": 5}', "its name cannot be 5"),
        (b'{"crop": "big"}', "its crop cannot be 'big'"),
        (b'{"crop": 0}', "its crop cannot be 0"),
        (b'{"frame_width": 64.5}', "its frame_width cannot be 64.5"),
        (b'{"mirror": "no"}', "its mirror cannot be 'no'"),
        (b'{"dropout": 1}', "its dropout cannot be 1"),
        (b'{"width": true}', "its width cannot be True"),
        (b'{"steps": 100}', "its steps cannot be 100"),
        (b'{"steps": [1, 2, 2.5]}', "its steps cannot be "),
        (b'{"steps": [1, 2, 0]}', "its steps cannot be "),
        (b'{"crop": 10, "min_scale": 0.05}', "its min_scale cannot be 0.05"),  # half a pixel
        (b'{"steps": [100, 100]}', r"its steps cannot be \(100, 100\)"),
        (b'{"learning_rate": [1, 1, -1]}', "its learning_rate cannot be"),
        (b'{"crop": 65, "frame_width": 64}', "its crop cannot be 65"),
        (b'{"batch_size": 0}', "its batch_size cannot be 0"),
        (b'{"weight_decay": -1}', "its weight_decay cannot be -1"),
        (b'{"fc8_factor": 0}', "its fc8_factor cannot be 0"),
        (b'{"backbone": 18}', "its backbone cannot be 18"),
        (b'{"optimizer": "rmsprop"}', "its optimizer cannot be 'rmsprop'"),
        (b'{"min_scale": 0}', "its min_scale cannot be 0"),
        (b'{"alpha": 2}', "its alpha cannot be 2"),
        (b'{"average": 1}', "its average cannot be 1"),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        get_recipe(str(path))
    assert "\n" not in str(error.value)


def test_no_such_recipe(tmp_path):
    for name in ("large", str(tmp_path / "none.json"), str(tmp_path)):
        with pytest.raises(InputError, match="give one of thumos14, .*, small, or a"):
            get_recipe(name)


def test_a_recipe_that_is_its_own_base(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": str(path)}))
    with pytest.raises(InputError, match="not a recipe .*recursion"):
        get_recipe(str(path))


def test_recipes_are_checked_wherever_they_are_made():
    with pytest.raises(InputError, match="recipe 'x': its crop cannot be 0"):
        Recipe(name="x", crop=0)
