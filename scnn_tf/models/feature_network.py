"""A backbone of dense layers, for windows whose features another network computed before."""

import keras

from scnn_tf.models.layers import hidden_layers, with_window_length


@keras.saving.register_keras_serializable("scnn_tf")
class FeatureNetwork(keras.Model):
    """Two dense layers, from the given features of each window to those that the heads take.

    They are C3D's fc6 and fc7. The features of a window are normalized to mean 0 and variance 1, so
    that features of any network and any scale can be learned from at one rate.

    Args:
        size: Number of features of a window.
        hidden: Number of units of fc6 and of fc7.
        dropout: Dropout rate after fc6 and fc7, in [0, 1).
        window_input: Whether the network is also given the length of the window.
        precision: "float32", or "mixed_bfloat16" to compute in bfloat16 with float32 weights.

    Call arguments: a dict of
        features: float `[N, n, size]`.
        window_frames: int `[N]`, length of each window in frames, at the dataset's frame rate;
            only with `window_input`.

    Returns:
        `[N, n, hidden]`, float.

    Example:
        >>> backbone = FeatureNetwork(size=6 * 400, hidden=512)
        >>> backbone({"features": np.zeros([1, 3, 2400], "float32")}).shape
        (1, 3, 512)
    """

    def __init__(
        self,
        size: int,
        hidden: int = 512,
        dropout: float = 0.5,
        window_input: bool = False,
        precision: str = "float32",
        name: str = "feature_network",
        **kwargs,
    ):
        features = keras.Input([None, size], name="features")
        inputs = {"features": features}
        x = keras.layers.LayerNormalization(
            center=False, scale=False, dtype=precision, name="normalization"
        )(features)
        if window_input:
            inputs["window_frames"] = keras.Input([], dtype="int32", name="window_frames")
            x = with_window_length(x, inputs["window_frames"], precision)
        he = {"kernel_initializer": "he_normal"}
        x = hidden_layers(x, hidden, dropout, precision, lambda: he)
        super().__init__(inputs=inputs, outputs=x, name=name, **kwargs)

        self.size = size
        self.hidden = hidden
        self.dropout = dropout
        self.window_input = window_input
        self.precision = precision

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            "size": self.size,
            "hidden": self.hidden,
            "dropout": self.dropout,
            "window_input": self.window_input,
            "precision": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict) -> "FeatureNetwork":
        """Returns the network that `get_config` describes."""
        return cls(**config)
