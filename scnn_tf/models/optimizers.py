"""The paper's optimizer (sections 3.2 and 4.2). Any Keras backend."""

import keras


@keras.saving.register_keras_serializable("scnn_tf")
class LayerwiseSGD(keras.optimizers.SGD):
    """Caffe's SGD: a learning rate for each layer, and L2 decay as a part of the gradient.

    Kernels learn at `learning_rate` and are decayed. Biases learn at twice that rate and are not
    decayed. In `fast_layer` (fc8, whose weights are fresh while the others are fine-tuned), both
    rates are multiplied by `fast_factor`. Scale and offset of a batch normalization learn at
    `learning_rate` and are not decayed. Since the decay is added to the gradient, it goes through
    the momentum.

    Args:
        learning_rate: Learning rate of a kernel; a float or a schedule.
        momentum: Momentum, in [0, 1).
        l2: Weight decay, added to the gradient as l2 · weight.
        fast_layer: Name of the layer that learns faster.
        fast_factor: Factor on the learning rate of `fast_layer`.
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
        """Updates one variable at the rate of its path, such as "fc8/bias"."""
        # On TensorFlow, `variable` is the bare tf.Variable, which has no path.
        known = self._trainable_variables[self._get_variable_index(variable)]
        parts = known.path.split("/")
        factor = self.fast_factor if self.fast_layer in parts else 1.0
        if parts[-1] == "bias":
            factor *= 2.0
        elif parts[-1] == "kernel":
            gradient = gradient + self.l2 * variable
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "l2": self.l2,
            "fast_layer": self.fast_layer,
            "fast_factor": self.fast_factor,
        }
