"""The three networks, which differ only in their last layer, fc8 (section 3.1)."""

import keras

from scnn_tf.models.c3d import C3D
from scnn_tf.models.recipes import STAGES
from scnn_tf.models.resnet3d import ResNet3D18

BACKBONES = {"c3d": C3D, "resnet3d18": ResNet3D18}
"""The backbones, by the name that a recipe gives them."""


def network(
    stage: str, num_classes: int, backbone: keras.Model, initializer: str = "caffe"
) -> keras.Model:
    """Returns the network of a stage: a backbone and fc8.

    Args:
        stage: "proposal" (background, action), "classification" or "localization" (background
            and the classes; the two differ in their initial weights and in their loss).
        num_classes: Number of classes K, without background.
        backbone: A model whose output is `[N, features]`, such as C3D.
        initializer: Initial weights of fc8: "caffe" (the authors' Gaussian, standard deviation
            .01) or "he" (Glorot's uniform, for a backbone that starts from He's weights).

    Returns:
        A model from the backbone's inputs to logits, float32 `[N, 2]` or `[N, K + 1]`; column 0
        is background.

    Raises:
        ValueError: There is no such stage or initializer.

    Example:
        >>> backbone = C3D(width=0.125, hidden=512, frame_shape=(56, 56))
        >>> network("localization", 20, backbone).output_shape
        (None, 21)
    """
    if stage not in STAGES:
        raise ValueError(f"stage must be one of {', '.join(STAGES)}. Received: {stage!r}")
    if initializer not in ("caffe", "he"):
        raise ValueError(f'initializer must be "caffe" or "he". Received: {initializer!r}')
    caffe = initializer == "caffe"
    logits = keras.layers.Dense(
        2 if stage == "proposal" else num_classes + 1,
        kernel_initializer=(
            keras.initializers.RandomNormal(stddev=0.01) if caffe else "glorot_uniform"
        ),
        dtype="float32",  # bfloat16 is too coarse for a loss in log space
        name="fc8",
    )(backbone.output)
    return keras.Model(backbone.input, logits, name=stage)
