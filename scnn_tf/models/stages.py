"""Heads: fc8 is the only layer in which the three networks differ (section 3.1)."""

import keras

from scnn_tf.models.c3d import C3D
from scnn_tf.models.recipes import STAGES
from scnn_tf.models.resnet3d import ResNet3D18

BACKBONES = {"c3d": C3D, "resnet3d18": ResNet3D18}
"""By the name that a recipe gives; each class has a `from_recipe`."""


def network(stage: str, num_classes: int, backbone: keras.Model) -> keras.Model:
    """Puts a stage's head on a backbone.

    Args:
        stage: "proposal" (background, action), "classification" or "localization" (background
            and the classes; they differ in what they start from and in their loss).
        num_classes: K, without background.
        backbone: its output is `[N, features]`; C3D or another.

    Returns:
        A model from the backbone's inputs to logits, float32 `[N, 2]` or `[N, K + 1]`; column 0
        is background.

    Raises:
        ValueError: no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"stage must be one of {', '.join(STAGES)}. Received: {stage!r}")
    caffe = getattr(backbone, "initializer", "caffe") == "caffe"
    logits = keras.layers.Dense(
        2 if stage == "proposal" else num_classes + 1,
        kernel_initializer=(
            keras.initializers.RandomNormal(stddev=0.01) if caffe else "glorot_uniform"
        ),
        dtype="float32",  # a loss in log space wants all its digits, under any precision
        name="fc8",
    )(backbone.output)
    return keras.Model(backbone.input, logits, name=stage)
