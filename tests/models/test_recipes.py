import dataclasses
import json

import pytest

from scnn_tf.errors import InputError
from scnn_tf.models import recipes
from scnn_tf.models.recipes import (
    RECIPES,
    STAGES,
    InferenceRecipe,
    Recipe,
    ShardRecipe,
    from_dict,
    get_recipe,
)
from scnn_tf.models.settings import differences


def test_the_papers_settings():
    """Section 4.2 and the facts of the authors' files."""
    paper = get_recipe("thumos14")
    assert (paper.shards.frame_height, paper.shards.frame_width, paper.crop) == (128, 171, 112)
    assert (paper.width, paper.hidden, paper.dropout) == (1.0, 4096, 0.5)
    assert (paper.normalization, paper.initializer) == ("mean", "caffe")
    assert (paper.optimizer, paper.batch_size) == ("sgd", 3)
    for name, decay_factor in zip(STAGES, (0.1, 0.5, 0.5), strict=True):
        stage = paper.stage(name)
        assert (stage.steps, stage.learning_rate) == (30_000, 1e-4)
        assert (stage.decay_factor, stage.decay_steps) == (decay_factor, 10_000)
    assert [paper.stage(name).background for name in STAGES] == [1.0, 0.0, 0.0]
    assert (paper.overlap_weight, paper.alpha) == (1.0, 0.25)
    assert (paper.shards.positive_tiou, paper.shards.background_tiou) == (0.7, 0.3)
    assert paper.inference == InferenceRecipe(proposal_threshold=0.7, mirror=False)
    assert not paper.redraw_background and not paper.window_input and paper.average == 0
    mexaction2 = get_recipe("mexaction2")
    assert [mexaction2.stage(name).steps for name in STAGES] == [30_000, 20_000, 20_000]
    same = mexaction2.with_stage("classification", steps=30_000)
    same = same.with_stage("localization", steps=30_000)
    assert dataclasses.replace(same, name="thumos14") == paper


def test_the_settings_of_the_authors_residual_network():
    res3d, paper = get_recipe("thumos14_res3d"), get_recipe("thumos14")
    assert (paper.backbone, res3d.backbone) == ("c3d", "resnet3d18")
    assert (res3d.shards.frame_height, res3d.shards.frame_width, res3d.crop) == (128, 171, 112)
    assert (res3d.normalization, res3d.batch_size, res3d.width) == ("mean128", 8, 1.0)
    assert (res3d.weight_decay, paper.weight_decay) == (5e-5, 5e-4)
    assert (res3d.fc8_factor, paper.fc8_factor) == (10, 100)
    # Four times through S_pro and S_loc, the rate halved after each.
    for stage in map(res3d.stage, STAGES):
        assert (stage.learning_rate, stage.decay_factor) == (1e-3, 0.5)
        assert stage.steps == 4 * stage.decay_steps


def test_recipes_of_segments_train_three_networks_and_those_of_stretches_one():
    for recipe in RECIPES.values():
        expected = STAGES if recipe.shards.stretch_windows == 1 else ("joint",)
        assert recipe.stages == expected
    for name in ("thumos14", "mexaction2", "small_paper"):
        assert get_recipe(name).stages == STAGES
    small = get_recipe("small")
    assert small.stages == ("joint",) and small.stage("joint") == small.joint
    assert small.with_stage("joint", steps=7).joint.steps == 7
    # A training step takes a part of a record.
    assert small.shards.stretch_windows > small.train_windows > 1
    assert small.normalization == "local_motion"


def test_window_lengths_may_be_left_to_the_build(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"shards": {"window_frames": []}}')
    mine = get_recipe(path)
    assert mine.shards.window_frames == ()
    built = ShardRecipe(window_frames=(32, 64), feature_seconds=0.5, feature_size=8)
    assert mine.as_built(built).shards.window_frames == (32, 64)
    # A recipe that gives its lengths keeps them.
    small = get_recipe("small")
    assert small.as_built(built) == small
    # A recipe for features takes their size and rate.
    features = get_recipe("features").as_built(built).shards
    assert (features.feature_seconds, features.feature_size) == (0.5, 8)


def test_an_unknown_stage_is_refused():
    with pytest.raises(InputError, match="stage must be one of proposal, .*Received: 'detection'"):
        get_recipe("small").stage("detection")


def test_differences_name_the_fields():
    old, new = {"crop": 1, "proposal": {"steps": 2}}, {"crop": 1, "proposal": {"steps": 3}, "x": 4}
    assert differences(old, new) == ["proposal.steps was 2, is 3", "x was None, is 4"]


@pytest.mark.parametrize("name", ["small", "small_paper"])
def test_small_recipes_can_train_from_scratch(name):
    small = get_recipe(name)
    assert (small.optimizer, small.initializer, small.width) == ("adam", "he", 0.125)


def test_small_starts_from_synthetic_motion_and_the_papers_networks_do_not():
    starts = {name: recipe.start for name, recipe in RECIPES.items() if recipe.start}
    assert starts == {"small": "motion", "few_shot": "motion"}


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"joint": {"steps": 7}, "crop": 32, "dropout": 0.5}, "motion"),  # the same network
        ({"width": 0.25}, ""),
        ({"backbone": "r3d_18", "normalization": "kinetics"}, ""),
        ({"window_input": False}, ""),
        ({"shards": {"stretch_windows": 1}}, ""),  # the paper's three networks
        ({"width": 0.25, "start": "motion"}, "motion"),  # training says what does not fit
        ({"start": ""}, ""),
    ],
)
def test_another_network_does_not_inherit_the_start_of_its_base(tmp_path, changes, start):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": "small", **changes}))
    assert get_recipe(path).start == start


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_survives_json(recipe):
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_a_file_changes_its_base(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"base": "thumos14", "mirror": false, "proposal": {"steps": 7}}')
    expected = dataclasses.replace(RECIPES["thumos14"], name="mine", mirror=False)
    expected = expected.with_stage("proposal", steps=7)
    assert get_recipe(str(path)) == expected
    further = tmp_path / "further.json"
    further.write_text(json.dumps({"base": "mine.json", "crop": 100}))
    assert get_recipe(str(further)) == dataclasses.replace(expected, name="further", crop=100)
    path.write_text("{}")
    assert get_recipe(str(path)) == dataclasses.replace(RECIPES["small"], name="mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"mirror": tru}', "no valid JSON, line 1"),
        (b"", "no valid JSON, line 1"),
        (b"[1, 2]", "expected an object"),
        (b"\xff\xfe", "cannot be read as text"),
        (b'{"momentum": 0.9}', "momentum is not a field of a recipe"),
        (b'{"base": "large"}', "expected a recipe: .*large'"),
        (b'{"base": 7}', "not a recipe"),
        (b'{"name": 5}', "name cannot be 5"),
        (b'{"crop": "big"}', "crop cannot be 'big'"),
        (b'{"crop": 0}', "crop cannot be 0"),
        (b'{"shards": {"frame_width": 64.5}}', "shards.frame_width cannot be 64.5"),
        (b'{"mirror": "no"}', "mirror cannot be 'no'"),
        (b'{"dropout": 1}', "dropout cannot be 1"),
        (b'{"width": true}', "width cannot be True"),
        (b'{"frame_height": 40}', "frame_height is not a field of a recipe; it belongs to shards"),
        (b'{"proposal": {"crop": 1}}', "proposal.crop is not a field of a recipe"),
        (b'{"proposal": 100}', "proposal cannot be 100"),
        (b'{"proposal": {"steps": 2.5}}', "proposal.steps cannot be 2.5"),
        (b'{"proposal": {"steps": 0}}', "proposal.steps cannot be 0"),
        (b'{"proposal": {"step": 1}}', "proposal.step is not a field of a recipe"),
        (b'{"shards": {"window_frames": [3, 16]}}', r"shards.window_frames cannot be \(3, 16\)"),
        (b'{"shards": {"background_tiou": 0.8}}', "shards.background_tiou cannot be 0.8"),
        (b'{"inference": {"proposal_threshold": 2}}', "inference.proposal_threshold cannot be 2"),
        (b'{"width": 1e999}', "width cannot be inf"),
        (b'{"width": -Infinity}', "width cannot be -inf"),
        (b'{"width": NaN}', "width cannot be nan"),
        (b'{"width": 1000}', "width cannot be 1000"),
        (b'{"hidden": 1000000000}', "hidden cannot be 1000000000"),
        (b'{"hidden": 1' + b"0" * 5000 + b"}", "hidden cannot be inf"),
        (b'{"hidden": 1' + b"0" * 250 + b"}", "hidden cannot be 10{99}…"),
        (b'{"overlap_weight": NaN}', "overlap_weight cannot be nan"),
        (b'{"warmup_steps": -1}', "warmup_steps cannot be -1"),
        (b'{"batch_size": 1000000}', "batch_size cannot be 1000000"),
        (b'{"proposal": {"learning_rate": 1e999}}', "proposal.learning_rate cannot be inf"),
        (b'{"proposal": {"background": 1e300}}', "proposal.background cannot be 1e[+]300"),
        (b'{"shards": {"frame_width": 1000000}}', "shards.frame_width cannot be 1000000"),
        (b'{"shards": {"window_frames": [16, 1e999]}}', "shards.window_frames cannot be"),
        (b'{"shards": {"background_ratio": 1e999}}', "shards.background_ratio cannot be inf"),
        (b'{"inference": {"proposal_threshold": NaN}}', "proposal_threshold cannot be nan"),
        (b'{"name": ["small"]}', "name cannot be"),
        (b'{"base": ' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply"),
        (b'{"crop": 10, "min_scale": 0.05}', "min_scale cannot be 0.05"),  # half a pixel
        (b'{"localization": {"learning_rate": -1}}', "localization.learning_rate cannot be -1"),
        (b'{"crop": 65, "shards": {"frame_width": 64}}', "crop cannot be 65"),
        (b'{"batch_size": 0}', "batch_size cannot be 0"),
        (b'{"shards": {"stretch_windows": 0}}', "shards.stretch_windows cannot be 0"),
        # The windows of a stretch share samples: every second frame, not every 1.5th.
        (b'{"base": "small", "shards": {"window_frames": [16, 24]}}',
         r"shards.window_frames cannot be \(16, 24\)"),
        # Both depend on where a stretch begins.
        (b'{"base": "small", "normalization": "motion"}', "normalization cannot be 'motion'"),
        (b'{"base": "small", "normalization": "still"}', "normalization cannot be 'still'"),
        (b'{"train_windows": 0}', "train_windows cannot be 0"),
        (b'{"overlap_from": 1.5}', "overlap_from cannot be 1.5"),
        (b'{"boundary_weight": -1}', "boundary_weight cannot be -1"),
        (b'{"joint": {"steps": 0}}', "joint.steps cannot be 0"),
        (b'{"weight_decay": -1}', "weight_decay cannot be -1"),
        (b'{"fc8_factor": 0}', "fc8_factor cannot be 0"),
        (b'{"backbone": 18}', "backbone cannot be 18"),
        (b'{"optimizer": "rmsprop"}', "optimizer cannot be 'rmsprop'"),
        (b'{"min_scale": 0}', "min_scale cannot be 0"),
        (b'{"alpha": 2}', "alpha cannot be 2"),
        (b'{"average": 1}', "average cannot be 1"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_are_named_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        get_recipe(str(path))
    assert "\n" not in str(error.value)


def test_the_base_may_be_behind_a_url(tmp_path, monkeypatch):
    (tmp_path / "base.json").write_text('{"base": "thumos14", "crop": 100}')
    urls = {"s3://bucket/base.json": tmp_path / "base.json"}
    as_path = recipes.as_path
    monkeypatch.setattr(recipes, "as_path", lambda path: as_path(urls.get(str(path), path)))
    (tmp_path / "mine.json").write_text('{"base": "s3://bucket/base.json"}')
    assert get_recipe(tmp_path / "mine.json").crop == 100


def test_an_unknown_recipe_is_refused(tmp_path):
    for name in ("large", str(tmp_path / "none.json"), str(tmp_path)):
        with pytest.raises(
            InputError,
            match="expected a recipe: one of thumos14, .*, small_paper, few_shot, features, or a",
        ):
            get_recipe(name)


def test_a_recipe_that_is_its_own_base_is_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": str(path)}))
    with pytest.raises(InputError, match="not a recipe .*recursion"):
        get_recipe(str(path))


def test_the_constructor_checks_the_fields():
    with pytest.raises(InputError, match="recipe 'x': crop cannot be 0"):
        Recipe(name="x", crop=0)


@pytest.mark.parametrize(
    "value", [10**5000, -(10**5000), (16, 10**5000)], ids=["large", "negative", "in a tuple"]
)
def test_an_integer_that_python_does_not_format_is_refused_in_one_sentence(value):
    with pytest.raises(InputError, match="hidden cannot be"):
        dataclasses.replace(RECIPES["small"], hidden=value)
    with pytest.raises(InputError, match="width cannot be"):
        dataclasses.replace(RECIPES["small"], width=value)
