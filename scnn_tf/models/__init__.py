"""The networks: a backbone, and a head for each of the three stages. Any Keras backend."""

from scnn_tf.models.c3d import C3D
from scnn_tf.models.heads import STAGES, network
from scnn_tf.models.resnet3d import ResNet3D18

__all__ = ["BACKBONES", "C3D", "STAGES", "ResNet3D18", "network"]

BACKBONES = {"c3d": C3D, "resnet3d18": ResNet3D18}
"""By the name that a recipe gives; each class has a `from_recipe`."""
