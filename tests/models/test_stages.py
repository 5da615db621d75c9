import dataclasses

import keras
import numpy as np
import pytest

from scnn_tf.models import BACKBONES, C3D, network
from scnn_tf.models.recipes import RECIPES
from tests.models.small import SMALL, frames, predict


@pytest.mark.parametrize(
    ("stage", "columns"), [("proposal", 2), ("classification", 6), ("localization", 6)]
)
def test_outputs_are_one_logit_a_class(stage, columns):
    model = network(stage, 5, C3D(**SMALL))
    assert model.name == stage
    logits = predict(model, {"frames": frames()})
    assert logits.shape == (2, 1, columns)
    # Logits, not scores.
    assert not np.allclose(logits.sum(axis=-1), 1)


def test_the_joint_network_has_three_heads_a_window():
    model = network("joint", 5, C3D(**SMALL))
    assert model.name == "joint"
    outputs = model({"frames": frames(windows=3)}, training=False)
    shapes = {head: tuple(output.shape) for head, output in outputs.items()}
    assert shapes == {"proposal": (2, 3, 2), "classes": (2, 3, 6), "boundaries": (2, 3, 2)}
    assert not np.allclose(outputs["classes"].numpy().sum(axis=-1), 1)  # logits
    # An untrained head leaves every window as it is.
    assert not outputs["boundaries"].numpy().any()
    assert model.get_layer("proposal").kernel.numpy().any()


def test_boundaries_are_computed_from_windows_within_reach():
    """A backbone that passes features on shows which windows each head depends on."""
    features = keras.Input([None, 4], name="features")
    model = network("joint", 5, keras.Model({"features": features}, features), boundary_reach=3)
    random = np.random.default_rng(0)
    kernel = model.get_layer("boundaries").kernel
    kernel.assign(random.normal(size=kernel.shape))
    plain = random.normal(size=[1, 15, 4]).astype(np.float32)
    changed = plain.copy()
    changed[0, 7] += 1
    before, after = (model({"features": x}, training=False) for x in (plain, changed))
    moved = {head: (after[head] != before[head]).numpy().any(axis=2)[0] for head in before}
    # Three windows away, and two more, whose features say whether something begins or ends there.
    assert np.flatnonzero(moved["boundaries"]).tolist() == list(range(2, 13))
    assert np.flatnonzero(moved["classes"]).tolist() == [7]
    assert np.flatnonzero(moved["proposal"]).tolist() == [7]


def test_a_window_of_several_classes_has_boundaries_of_each():
    model = network("joint", 5, C3D(**SMALL), multi_label=True)
    outputs = model({"frames": frames(windows=3)}, training=False)
    shapes = {head: tuple(output.shape) for head, output in outputs.items()}
    assert shapes == {"proposal": (2, 3, 2), "classes": (2, 3, 5), "boundaries": (2, 3, 5, 2)}


def test_outputs_of_the_joint_network_are_float32_in_any_precision():
    model = network("joint", 3, C3D(**SMALL, precision="mixed_bfloat16"))
    assert {output.dtype for output in model.output.values()} == {"float32"}
    outputs = model({"frames": frames()})
    assert {output.dtype.name for output in outputs.values()} == {"float32"}


def test_logits_are_float32_in_any_precision():
    backbone = C3D(**SMALL, precision="mixed_bfloat16")
    assert backbone.output.dtype == "bfloat16"
    assert {w.dtype for w in backbone.weights} == {"float32"}
    model = network("proposal", 3, backbone)
    assert model.output.dtype == "float32"
    assert model({"frames": frames()}).dtype == "float32"


def test_localization_takes_the_weights_of_classification():
    source = network("classification", 5, C3D(**SMALL))
    target = network("localization", 5, C3D(**SMALL))
    assert [w.path.split("/")[-2:] for w in source.weights] == [
        w.path.split("/")[-2:] for w in target.weights
    ]
    target.set_weights(source.get_weights())
    inputs = {"frames": frames()}
    np.testing.assert_array_equal(predict(target, inputs), predict(source, inputs))


@pytest.mark.parametrize("name", sorted(BACKBONES.keys() - {"features"}))
def test_backbones_take_the_settings_of_a_recipe(name):
    recipe = dataclasses.replace(
        RECIPES["small"], backbone=name, crop=20, width=1 / 16, precision="mixed_bfloat16"
    )
    backbone = BACKBONES[name](**recipe.backbone_arguments())
    config = backbone.get_config()
    assert config.pop("frame_shape") == (20, 20)
    assert config.pop("name") == name
    assert config.pop("kind", name) == name
    assert config.items() <= dataclasses.asdict(recipe).items()
    assert network("proposal", 5, backbone).output_shape == (None, None, 2)


@pytest.mark.parametrize(
    ("initializer", "stddev"),
    [("caffe", 0.01), ("he", (2 / (512 + 21)) ** 0.5)],  # he: Glorot's √(2 / (inputs + outputs))
)
def test_initial_weights_of_fc8(initializer, stddev):
    backbone = C3D(**SMALL | {"hidden": 512})
    fc8 = network("localization", 20, backbone, initializer=initializer).get_layer("fc8")
    # The standard deviation of 512 · 21 values is known to 1/√(2 · 10,752) = 0.7 %.
    assert fc8.kernel.numpy().std() == pytest.approx(stddev, rel=0.03)
    assert not fc8.bias.numpy().any()


def test_unknown_stages_and_initializers_are_refused():
    backbone = keras.Sequential([keras.Input([4])])
    with pytest.raises(ValueError, match="stage must be .*proposal.*joint. Received: 'detection'"):
        network("detection", 5, backbone)
    with pytest.raises(ValueError, match="""initializer must be .*"caffe".* 'lecun'"""):
        network("proposal", 5, backbone, initializer="lecun")
