"""The networks: a backbone, and a head for each of the three stages. Any Keras backend."""

from scnn_tf.models.c3d import C3D
from scnn_tf.models.heads import STAGES, network

__all__ = ["C3D", "STAGES", "network"]
