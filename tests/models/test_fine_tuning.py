import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models.c3d import C3D
from scnn_tf.models.fine_tuning import freeze, rates_by_depth, split
from scnn_tf.models.resnet3d import ResNet3D18
from scnn_tf.models.stages import network
from tests.models.small import SMALL, frames


def inputs(windows: int) -> dict:
    """Two stretches of frames, and the lengths of their windows."""
    lengths = np.array([16, 64], np.int32)
    arrays = {"frames": frames(windows=windows), "window_frames": lengths}
    return {name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def small():
    model = network("joint", 3, C3D(**SMALL, window_input=True), initializer="he")
    model.get_layer("boundaries").kernel.assign(np.random.default_rng(0).normal(size=(24, 2)))
    return model


@pytest.mark.parametrize("layer", ["pool5", "flatten", "with_length", "fc6", "fc7"])
def test_the_two_parts_of_a_network_compute_what_it_does(small, layer):
    trunk, head = split(small, layer)
    given = inputs(windows=3)
    expected = small(given, training=False)
    features = trunk(given, training=False)
    assert features.shape[:2] == (2, 3)
    seen = {"features": features, "window_frames": given["window_frames"]}
    found = head(seen, training=False)
    for name, output in expected.items():
        np.testing.assert_allclose(found[name], output, rtol=1e-6, err_msg=name)
    assert len(trunk.weights) + len(head.weights) == len(small.weights)
    assert not {w.path for w in trunk.weights} & {w.path for w in head.weights}


def test_a_residual_network_is_split_after_its_last_layer():
    model = network("joint", 3, ResNet3D18(width=1 / 16, frame_shape=(20, 28)))
    trunk, head = split(model, "ends")
    assert trunk.output_shape == (None, None, 64)
    assert sorted({weight.path.split("/")[0] for weight in head.weights}) == [
        "boundaries", "classes", "proposal"
    ]  # fmt: skip


def test_a_layer_that_another_path_leads_around_is_refused(small):
    with pytest.raises(InputError, match="all other layers are before or after.*'window_length'"):
        split(small, "window_length")
    with pytest.raises(InputError, match="one of normalization, conv1a, .*Received: 'fc9'"):
        split(small, "fc9")


def test_frozen_layers_do_not_learn():
    model = network("joint", 3, C3D(**SMALL))
    freeze(model, "conv3b")
    assert [w.path for w in model.trainable_weights][:2] == ["conv4a/kernel", "conv4a/bias"]
    with pytest.raises(InputError, match="Received: 'conv9'"):
        freeze(model, "conv9")


def test_a_frozen_batch_normalization_keeps_its_means():
    model = network("joint", 3, ResNet3D18(width=1 / 16, frame_shape=(20, 28)))
    freeze(model, "res3b_relu")
    first, last = model.get_layer("bn_conv1"), model.get_layer("bn5b_branch2b")
    model({"frames": frames()}, training=True)
    assert not first.moving_mean.numpy().any()
    assert last.moving_mean.numpy().any()


def test_rates_fall_with_the_distance_from_the_heads(small):
    rates = rates_by_depth(small, 0.5)
    heads = dict.fromkeys(("proposal", "classes", "boundaries"), 1.0)
    assert rates.items() >= heads.items()
    assert [rates[name] for name in ("fc7", "fc6", "conv5b", "conv1a")] == [
        0.5, 0.25, 0.125, 2.0**-10
    ]  # fmt: skip
    model = network("joint", 3, ResNet3D18(width=1 / 16, frame_shape=(20, 28)))
    rates = rates_by_depth(model, 0.5)
    # A batch normalization learns like the convolution before it.
    assert rates["res5b_branch2b"] == rates["bn5b_branch2b"] == 0.5
