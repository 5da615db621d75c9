"""Training with frozen layers, from cached features, and from files of features."""

import dataclasses
import functools

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.localization.scnn import load_scnn
from scnn_tf.localization.tables import concatenate
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.models.recipes import get_recipe
from scnn_tf.models.starts import start_folder
from scnn_tf.serving.export import export_scnn
from scnn_tf.shards.build import build_shards
from scnn_tf.training.train import train_stage


@pytest.fixture(scope="module")
def recipe(tiny_stretches):
    return get_recipe(tiny_stretches / "recipe.json")


@pytest.fixture(scope="module")
def train(tiny_stretches, tiny_joint):
    """`train_stage` of the joint network from another one; it needs an output folder and recipe."""
    return functools.partial(
        train_stage, "joint", data_dir=tiny_stretches / "shards", start_from=tiny_joint / "joint"
    )


def weights(folder) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in load_stage(folder)[0].weights}


def changed(before, after) -> set[str]:
    """Returns the names of the layers with other weights."""
    return {p.split("/")[0] for p, value in before.items() if not np.array_equal(value, after[p])}


LAYERS = [
    "conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7",
    "proposal", "classes", "surroundings", "boundaries",
]  # fmt: skip


@pytest.mark.parametrize("cached", [False, True])
def test_frozen_layers_keep_their_weights(train, recipe, tiny_joint, tmp_path, cached):
    recipe = dataclasses.replace(recipe, freeze="flatten", cache_features=cached)
    metrics = train(output_dir=tmp_path, recipe=recipe)
    assert metrics["steps"] == 6 and np.isfinite(metrics["loss"])
    found = changed(weights(tiny_joint / "joint"), weights(tmp_path))
    assert found == set(LAYERS[8:])


def test_a_recipe_names_the_weights_that_it_starts_from(tiny_stretches, recipe, tmp_path):
    """The weights of "motion" are for larger frames, so that only its convolutions fit."""
    recipe = dataclasses.replace(
        recipe.with_stage("joint", steps=1),
        width=0.125, hidden=512, start="motion", freeze="flatten", cache_features=True,
    )  # fmt: skip
    train_stage("joint", data_dir=tiny_stretches / "shards", output_dir=tmp_path, recipe=recipe)
    start, found = weights(start_folder("motion")), weights(tmp_path)
    for path in start:
        assert np.array_equal(start[path], found[path]) == path.startswith("conv"), path
    # The start is a part of the run: another one is another run.
    fresh = dataclasses.replace(recipe, start="", freeze="", cache_features=False)
    with pytest.raises(InputError, match=r"holds another run \(start was motion, is ;"):
        train_stage("joint", data_dir=tiny_stretches / "shards", output_dir=tmp_path, recipe=fresh)


def test_layers_learn_less_the_deeper_they_are(train, recipe, tiny_joint, tmp_path):
    """The first step of Adam is the rate: half of it one layer down, a quarter two layers down."""
    recipe = dataclasses.replace(
        recipe.with_stage("joint", steps=1), depth_decay=0.5, warmup_steps=0
    )
    train(output_dir=tmp_path, recipe=recipe)
    before, after = weights(tiny_joint / "joint"), weights(tmp_path)
    steps = {
        layer: max(np.abs(after[p] - before[p]).max() for p in before if p.startswith(f"{layer}/"))
        for layer in LAYERS
    }
    assert steps["classes"] == pytest.approx(steps["proposal"], rel=1e-2)
    for above, below in zip(LAYERS[9:0:-1], LAYERS[8::-1], strict=True):
        assert steps[below] == pytest.approx(steps[above] / 2, rel=5e-2), below


def test_a_start_whose_fc6_has_other_inputs_gives_its_convolutions(
    train, recipe, tiny_joint, tmp_path, caplog
):
    recipe = dataclasses.replace(
        recipe.with_stage("joint", steps=1, learning_rate=1e-12), window_input=False
    )
    with caplog.at_level("INFO", logger="absl"):
        train(output_dir=tmp_path, recipe=recipe)
    assert "fc6, fc7 start from fresh weights, since fc6 has other inputs" in caplog.text
    before, after = weights(tiny_joint / "joint"), weights(tmp_path)
    for path in before:
        if path.startswith("conv"):
            np.testing.assert_allclose(after[path], before[path], atol=1e-6, err_msg=path)


def test_an_unknown_layer_is_named(train, recipe, tmp_path):
    recipe = dataclasses.replace(recipe, freeze="conv6")
    with pytest.raises(InputError, match="one of normalization, conv1a, .*Received: 'conv6'"):
        train(output_dir=tmp_path, recipe=recipe)


def test_features_are_cached_of_frozen_layers_only(recipe):
    with pytest.raises(InputError, match="cache_features cannot be True"):
        dataclasses.replace(recipe, cache_features=True)


# Files of features.


def test_shards_of_frames_and_of_features_are_not_confused(train, tiny_stretches, tmp_path):
    with pytest.raises(InputError, match="expects shards of features. Found: shards of frames"):
        train(output_dir=tmp_path, recipe="features")


STEP = 0.16  # seconds, 4 frames


def sequence(random, name: str, subset: str) -> tuple[np.ndarray, VideoAnnotation]:
    """Features in which one of two numbers is larger during an action, and the actions."""
    vectors = random.normal(0, 0.3, (120, 4)).astype(np.float32)
    instances = []
    for start in (10, 45, 80):
        end, kind = start + int(random.integers(6, 20)), int(random.integers(2))
        vectors[start:end, kind] += 2
        instances.append(Instance(("jump", "run")[kind], start * STEP, end * STEP))
    return vectors, VideoAnnotation(name, subset, None, None, tuple(instances))


@pytest.fixture(scope="module")
def from_files(tmp_path_factory):
    """A folder with features of twelve videos, and a network `joint` that learned from ten."""
    folder, random = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    annotations = {}
    for number in range(12):
        name = f"v{number}"
        vectors, annotations[name] = sequence(random, name, "train" if number < 10 else "test")
        np.save(folder / f"{name}.npy", vectors)
    build_shards(
        annotations, video_dir=folder, output_dir=folder / "shards", recipe="features",
        feature_seconds=STEP,
    )  # fmt: skip
    recipe = dataclasses.replace(get_recipe("features"), hidden=64, dropout=0.0)
    train_stage(
        "joint", data_dir=folder / "shards", output_dir=folder / "joint",
        recipe=recipe.with_stage("joint", steps=200),
    )  # fmt: skip
    return folder, annotations


def test_actions_are_found_in_files_of_features(from_files):
    folder, annotations = from_files
    model = load_scnn(folder)
    test = {name: annotations[name] for name in ("v10", "v11")}
    found = concatenate([model.localize(folder / f"{name}.npy") for name in test])
    assert evaluate(test, found, tiou_thresholds=[0.5]).to_json()["map"]["0.5"] > 0.8


def test_a_network_of_features_says_what_it_needs(from_files, tmp_path):
    folder, _ = from_files
    model = load_scnn(folder)
    with pytest.raises(InputError, match="expected the features of a video.*Received: frames"):
        model.score_frames(np.zeros([80, 48, 48, 3], np.uint8), "v")
    with pytest.raises(InputError, match="Received: a network of features"):
        export_scnn(model, tmp_path / "exported")
