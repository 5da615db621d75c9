import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models.c3d import C3D
from scnn_tf.models.resnet3d import ResNet3D18
from scnn_tf.models.stages import network
from scnn_tf.models.video_resnet import VideoResNet
from scnn_tf.serving.pictures import as_pictures

SIZE = {"width": 1 / 16, "frame_shape": (20, 20)}
C3D_SIZE = {**SIZE, "hidden": 8, "initializer": "he"}
BACKBONES = {
    "C3D": lambda: C3D(**C3D_SIZE, normalization="local_motion"),
    "C3D of the ports": lambda: C3D(**C3D_SIZE, pool5="both", window_input=True),
    "Res3D": lambda: ResNet3D18(**SIZE),
    "R3D": lambda: VideoResNet("r3d_18", **SIZE),
    "MC3": lambda: VideoResNet("mc3_18", **SIZE),
    "R(2+1)D": lambda: VideoResNet("r2plus1d_18", **SIZE),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_networks_of_pictures_give_the_same_for_stretches_of_any_length(name):
    keras.utils.set_random_seed(0)
    trained = network("localization", 3, BACKBONES[name](), "he")
    pictures = as_pictures(trained)
    random = np.random.default_rng(0)
    for windows in (1, 2, 5):
        frames = random.integers(0, 256, (1, 12 + 4 * windows, 20, 20, 3), np.uint8)
        inputs = {"frames": frames}
        if "window_frames" in trained.input:
            inputs["window_frames"] = np.array([64], np.int32)
        expected = np.array(trained(inputs, training=False))
        assert expected.shape == (1, windows, 4)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(pictures(inputs, training=False), expected, atol=1e-5 * scale)


def test_networks_of_pictures_have_no_3d_operation():
    keras.utils.set_random_seed(0)
    pictures = as_pictures(network("proposal", 1, BACKBONES["C3D"](), "he"))
    frames = tf.TensorSpec([1, None, 20, 20, 3], tf.uint8)
    graph = tf.function(lambda x: pictures({"frames": x}, training=False))
    kinds = {op.type for op in graph.get_concrete_function(frames).graph.get_operations()}
    assert {"Conv2D", "MaxPool"} <= kinds
    assert not {kind for kind in kinds if "3D" in kind}
