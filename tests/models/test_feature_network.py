import numpy as np

from scnn_tf.models.feature_network import FeatureNetwork
from scnn_tf.models.stages import network


def features(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_feature_vector_of_each_window():
    backbone = FeatureNetwork(size=12, hidden=8)
    assert backbone({"features": features(2, 5, 12)}).shape == (2, 5, 8)
    model = network("joint", 3, backbone)
    assert model.output["classes"].shape == (None, None, 4)


def test_windows_are_independent_of_each_other():
    backbone, stretch = FeatureNetwork(size=12, hidden=8), features(1, 5, 12)
    alone = backbone({"features": stretch[:, 2:3]})
    np.testing.assert_allclose(backbone({"features": stretch})[:, 2:3], alone, rtol=1e-5, atol=1e-6)


def test_neither_scale_nor_offset_of_the_features_matter():
    backbone, stretch = FeatureNetwork(size=12, hidden=8), features(1, 5, 12)
    expected = backbone({"features": stretch})
    np.testing.assert_allclose(
        backbone({"features": 100 * stretch + 7}), expected, rtol=1e-2, atol=1e-2
    )
    assert np.abs(expected).max() > 0.5


def test_the_length_of_the_windows_is_an_input():
    backbone = FeatureNetwork(size=12, hidden=8, window_input=True)
    inputs = {"features": np.repeat(features(1, 5, 12), 2, axis=0)}
    outputs = backbone({**inputs, "window_frames": np.array([16, 256])}).numpy()
    assert outputs.shape == (2, 5, 8) and np.abs(outputs[0] - outputs[1]).max() > 0.1


def test_from_config_rebuilds_the_network():
    backbone = FeatureNetwork(12, 8, 0.25, window_input=True, precision="mixed_bfloat16")
    copy = FeatureNetwork.from_config(backbone.get_config())
    assert copy.get_config() == backbone.get_config()
    assert [w.shape for w in copy.weights] == [w.shape for w in backbone.weights]
