"""The paper's optimiser (sections 3.2 and 4.2). Any Keras backend."""

import keras


@keras.saving.register_keras_serializable("scnn_tf")
class LayerwiseSGD(keras.optimizers.SGD):
    """SGD as Caffe runs it: a learning rate for each layer, and L2 inside the gradient.

    Biases learn at twice the rate and are not decayed; `fast_layer` (fc8, which starts fresh
    where the others are fine-tuned) at `fast_factor` times the rate, its bias at twice that. Scale
    and offset of a batch normalisation learn at the rate, and are not decayed either. The decay is
    added to the gradient, and so goes through the momentum.

    Args:
        learning_rate: of a weight; a float or a schedule.
        momentum: in [0, 1).
        l2: weight decay, added to the gradient as l2 · weight.
        fast_layer: name of the layer that learns faster.
        fast_factor: by how much.
    """

    def __init__(
        self,
        learning_rate=1e-4,
        momentum: float = 0.9,
        l2: float = 5e-4,
        fast_layer: str = "fc8",
        fast_factor: float = 100.0,
        name: str = "layerwise_sgd",
        **kwargs,
    ):
        super().__init__(learning_rate, momentum=momentum, name=name, **kwargs)
        self.l2 = l2
        self.fast_layer = fast_layer
        self.fast_factor = fast_factor

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable; its path, such as "fc8/bias", says at which rate."""
        # On TensorFlow `variable` is the bare tf.Variable, which does not know its path.
        known = self._trainable_variables[self._get_variable_index(variable)]
        parts = known.path.split("/")
        factor = self.fast_factor if self.fast_layer in parts else 1.0
        if parts[-1] == "bias":
            factor *= 2.0
        elif parts[-1] == "kernel":
            gradient = gradient + self.l2 * variable
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "l2": self.l2,
            "fast_layer": self.fast_layer,
            "fast_factor": self.fast_factor,
        }
