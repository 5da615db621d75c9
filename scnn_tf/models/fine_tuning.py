"""Fine-tuning: which layers of a network learn, and at which rate.

A network that starts from learned weights is frozen up to a layer, or its lower layers learn more
slowly. What is frozen gives the same features for the same frames in every step, so that a network
can be split there: its trunk computes the features once, and its head learns from them.
"""

from typing import NamedTuple

import keras

from scnn_tf.errors import InputError
from scnn_tf.models.stages import LAST_LAYERS

_WITHOUT_DEPTH = (keras.layers.BatchNormalization,)  # belongs to the convolution before it


class Split(NamedTuple):
    """A network in two parts, which share their weights with it.

    Attributes:
        trunk: From the network's inputs to the features of each window, float `[N, n, …]`.
        head: From `features`, and the network's inputs but `frames`, to its outputs.
    """

    trunk: keras.Model
    head: keras.Model


def split(network: keras.Model, layer: str) -> Split:
    """Splits a network after a layer whose outputs are those of windows.

    Args:
        network: A network of `stages.network`.
        layer: Name of the last layer of the trunk.

    Raises:
        InputError: There is no such layer, another path leads around it, or its outputs are not
            those of windows.
    """
    features = _layer(network, layer).output
    rest = {name: tensor for name, tensor in network.input.items() if name != "frames"}
    inputs = {"features": keras.Input(features.shape[1:], name="features"), **rest}
    try:
        above = keras.Model([features, *rest.values()], network.output)
        head = keras.Model(inputs, above([*inputs.values()]), name=network.name)
    except ValueError as error:
        raise InputError(
            f"{network.name}: expected a layer that all other layers are before or after. "
            f"Received: {layer!r}"
        ) from error
    return Split(keras.Model(network.input, features, name="trunk"), head)


def freeze(network: keras.Model, layer: str) -> None:
    """Keeps the weights of a layer, and of all layers before it, as they are.

    Batch normalization in them uses its moving mean and variance, in training too.

    Raises:
        InputError: There is no such layer.
    """
    below = keras.Model(network.input, _layer(network, layer).output)
    for each in below.layers:
        each.trainable = False


def rates_by_depth(network: keras.Model, decay: float) -> dict[str, float]:
    """Returns a factor on the learning rate of each layer, which falls toward the frames.

    Args:
        network: A network of `stages.network`.
        decay: Factor from a layer with weights to the one before it. The last layers have 1.

    Returns:
        Name of a layer → factor.
    """
    last = [layer.name for layer in network.layers if layer.name in LAST_LAYERS]
    factors, factor = dict.fromkeys(last, 1.0), 1.0
    for layer in reversed(network.layers):
        if layer.name in last or not layer.weights:
            continue
        if isinstance(layer, _WITHOUT_DEPTH):
            factors[layer.name] = factor * decay
        else:
            factor *= decay
            factors[layer.name] = factor
    return factors


def _layer(network: keras.Model, name: str) -> keras.Layer:
    """Returns a layer by its name.

    Raises:
        InputError: There is none of this name.
    """
    names = [
        layer.name for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)
    ]
    if name not in names:
        raise InputError(
            f"{network.name}: expected the name of a layer: one of {', '.join(names)}. "
            f"Received: {name!r}"
        )
    return network.get_layer(name)
