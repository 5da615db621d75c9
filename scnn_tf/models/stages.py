"""The networks: a backbone with the paper's last layer, fc8 (section 3.1), or with three heads."""

import functools

import keras

from scnn_tf.models.boundaries import NEIGHBORS, OFFSETS, SURROUNDINGS, boundaries_among
from scnn_tf.models.c3d import C3D
from scnn_tf.models.feature_network import FeatureNetwork
from scnn_tf.models.layers import LOCAL_MEAN_REACH
from scnn_tf.models.recipes import HEADS, JOINT, STAGES, Recipe
from scnn_tf.models.resnet3d import ResNet3D18
from scnn_tf.models.video_resnet import KINDS, VideoResNet
from scnn_tf.segments.stretches import SAMPLES_PER_STRIDE

BACKBONES = {
    "c3d": C3D,
    "resnet3d18": ResNet3D18,
    "features": FeatureNetwork,
    **{kind: functools.partial(VideoResNet, kind) for kind in KINDS},
}
"""The backbones, by the name that a recipe gives them."""
_BY_CLASS = "by_class"
LAST_LAYERS = ("fc8", SURROUNDINGS, *HEADS, OFFSETS, _BY_CLASS)
"""The layers above a backbone. They are in float32."""


# Number of samples before and after a window that it depends on: for each convolution over three
# steps, as many as its steps are apart. Of r3d_18: 1 for the stem; 4 · 1; 1 + 3 · 2; 2 + 3 · 4;
# 4 + 3 · 8 for layer4, whose first convolution combines neighbors, and the others every other step.
_REACH = {
    "c3d": 30,
    "resnet3d18": 54,
    "features": 0,
    "r3d_18": 54,
    "mc3_18": 5,  # 1 + 4 · 1: later layers do not look at other frames
    "r2plus1d_18": 54,
    "r2plus1d_34": 112,  # 1 + 6 · 1 + (1 + 7 · 2) + (2 + 11 · 4) + (4 + 5 · 8)
}


def context_windows(recipe: Recipe) -> int:
    """Returns how many windows on either side decide on what a network gives for a window."""
    reach = _REACH[recipe.backbone]
    if recipe.normalization == "local_motion":
        reach += LOCAL_MEAN_REACH
    around = NEIGHBORS + recipe.boundary_reach if recipe.boundary_reach else 0
    return -(-reach // SAMPLES_PER_STRIDE) + around


def network(
    stage: str,
    num_classes: int,
    backbone: keras.Model,
    initializer: str = "caffe",
    multi_label: bool = False,
    boundary_reach: int = 0,
) -> keras.Model:
    """Returns the network of a stage: a backbone and its head, or its three heads.

    Args:
        stage: "proposal" (background, action), "classification" or "localization" (background
            and the classes; the two differ in their initial weights and in their loss), or
            "joint" (one network with a head for proposals, one for classes, one for boundaries).
        num_classes: Number of classes K, without background.
        backbone: A model whose output is `[N, n, features]`, such as C3D.
        initializer: Initial weights of the last layers: "caffe" (the authors' Gaussian, standard
            deviation .01) or "he" (Glorot's uniform, for a backbone that starts from He's weights).
        multi_label: Of "joint": whether a window may be of several classes, each of which has a
            logit and boundaries of its own.
        boundary_reach: Of "joint": number of windows on either side among which the boundaries of
            a window are looked for; 0: they are computed from its own features alone.

    Returns:
        A model from the backbone's inputs to logits, float32 `[N, n, 2]` or `[N, n, K + 1]`; column
        0 is background. Of "joint", a dict of "proposal" and "classes", such logits, and
        "boundaries", float32 `[N, n, 2]`, the offsets of start and end in window lengths; with
        `multi_label`, "classes" `[N, n, K]` and "boundaries" `[N, n, K, 2]`.

    Raises:
        ValueError: There is no such stage or initializer.

    Example:
        >>> backbone = C3D(width=0.125, hidden=512, frame_shape=(56, 56))
        >>> network("localization", 20, backbone).output_shape
        (None, None, 21)
    """
    if stage not in (*STAGES, JOINT):
        raise ValueError(f"stage must be one of {', '.join(STAGES)}, {JOINT}. Received: {stage!r}")
    if initializer not in ("caffe", "he"):
        raise ValueError(f'initializer must be "caffe" or "he". Received: {initializer!r}')
    kernel = (
        keras.initializers.RandomNormal(stddev=0.01) if initializer == "caffe" else "glorot_uniform"
    )
    features = backbone.output
    if stage == JOINT:
        classes, actions = (num_classes, num_classes) if multi_label else (num_classes + 1, 1)
        if boundary_reach:
            boundaries = boundaries_among(features, boundary_reach, actions, name="boundaries")
        else:  # From zero, so that an untrained head gives the windows themselves.
            boundaries = _head("boundaries", 2 * actions, "zeros")(features)
        if multi_label:
            boundaries = keras.layers.Reshape(
                (-1, num_classes, 2), dtype="float32", name=_BY_CLASS
            )(boundaries)
        outputs = {
            "proposal": _head("proposal", 2, kernel)(features),
            "classes": _head("classes", classes, kernel)(features),
            "boundaries": boundaries,
        }
    else:
        outputs = _head("fc8", 2 if stage == "proposal" else num_classes + 1, kernel)(features)
    return keras.Model(backbone.input, outputs, name=stage)


def _head(name: str, units: int, kernel) -> keras.layers.Dense:
    """Returns a last layer; in float32, since bfloat16 is too coarse for a loss in log space."""
    return keras.layers.Dense(units, kernel_initializer=kernel, dtype="float32", name=name)
