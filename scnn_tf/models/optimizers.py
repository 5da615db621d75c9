"""Optimizers with a learning rate for each layer (sections 3.2 and 4.2). Any Keras backend."""

from collections.abc import Mapping

import keras


class _LayerRates:
    """Knows the layer of a variable that an optimizer updates; a base class of optimizers.

    Attributes:
        layer_factors: Name of a layer → factor on its learning rate; 1 for all others.
    """

    layer_factors: dict[str, float]

    def path_of(self, variable) -> list[str]:
        """Returns the parts of a variable's path, such as ["net", "fc8", "bias"]."""
        # On TensorFlow, `variable` is the bare tf.Variable, which has no path.
        return self._trainable_variables[self._get_variable_index(variable)].path.split("/")

    def factor_of(self, variable) -> float:
        """Returns the factor on the learning rate of a variable."""
        known = (part for part in self.path_of(variable) if part in self.layer_factors)
        return self.layer_factors.get(next(known, ""), 1.0)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "layer_factors": self.layer_factors}


@keras.saving.register_keras_serializable("scnn_tf")
class LayerwiseSGD(_LayerRates, keras.optimizers.SGD):
    """Caffe's SGD: a learning rate for each layer, and L2 decay as a part of the gradient.

    Kernels learn at `learning_rate` and are decayed. Biases learn at twice that rate and are not
    decayed. Scale and offset of a batch normalization learn at `learning_rate` and are not decayed.
    The rates of a layer are multiplied by its factor: fc8 learns faster, since its weights are
    fresh while the others are fine-tuned. Since the decay is added to the gradient, it goes through
    the momentum.

    Args:
        learning_rate: Learning rate of a kernel; a float or a schedule.
        momentum: Momentum, in [0, 1).
        l2: Weight decay, added to the gradient as l2 · weight.
        layer_factors: Name of a layer → factor on its learning rate.
    """

    def __init__(
        self,
        learning_rate=1e-4,
        momentum: float = 0.9,
        l2: float = 5e-4,
        layer_factors: Mapping[str, float] | None = None,
        name: str = "layerwise_sgd",
        **kwargs,
    ):
        super().__init__(learning_rate, momentum=momentum, name=name, **kwargs)
        self.l2 = l2
        self.layer_factors = dict({"fc8": 100.0} if layer_factors is None else layer_factors)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable at the rate of its layer and kind, such as "fc8/bias"."""
        factor, kind = self.factor_of(variable), self.path_of(variable)[-1]
        if kind == "bias":
            factor *= 2.0
        elif kind == "kernel":
            gradient = gradient + self.l2 * variable
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable("scnn_tf")
class LayerwiseAdam(_LayerRates, keras.optimizers.Adam):
    """Adam with a learning rate for each layer, so that what was learned before changes slowly.

    Args:
        learning_rate: Learning rate of a layer without a factor; a float or a schedule.
        layer_factors: Name of a layer → factor on its learning rate.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        layer_factors: Mapping[str, float] | None = None,
        name: str = "layerwise_adam",
        **kwargs,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        self.layer_factors = dict(layer_factors or {})

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable at the rate of its layer."""
        super().update_step(gradient, variable, learning_rate * self.factor_of(variable))
