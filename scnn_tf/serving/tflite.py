"""Networks as LiteRT files (`.tflite`), in float32, float16 or int8."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from scnn_tf.models.stages import LAST_LAYERS
from scnn_tf.serving.edge_graph import EdgeNetwork

TFLITE_PRECISIONS = ("float32", "float16", "int8")
# With eight bits, the mean of frames, the logarithm of a length and a score have too few values:
# normalization, the encoding of the length, softmax and sigmoid compute in float32.
_IN_FLOAT = (
    "AVERAGE_POOL_2D",
    "SUB",
    "LOG",
    "MINIMUM",
    "ABS",
    "SOFTMAX",
    "LOG_SOFTMAX",
    "EXP",
    "LOGISTIC",
)


def to_tflite(
    network: EdgeNetwork, precision: str, stretches: Sequence[dict[str, np.ndarray]] = ()
) -> bytes:
    """Returns a network as the content of a LiteRT file.

    Args:
        network: The network.
        precision: "float32"; "float16", of which the weights are, and which is computed in float32
            or in float16, as the device can; "int8", of which weights and feature maps are.
        stretches: Inputs of the network on real video, from which the ranges of the feature maps
            are taken; of "int8" only.
    """
    converter = _converter(network)
    if precision == "float32":
        return converter.convert()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
        return converter.convert()

    def samples() -> Iterable[dict[str, np.ndarray]]:
        yield from stretches

    converter.representative_dataset = samples
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=list(_IN_FLOAT),
        denylisted_nodes=_of_last_layers(_converter(network).convert()),
    )
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=samples, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


def _converter(network: EdgeNetwork) -> tf.lite.TFLiteConverter:
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [network.score.get_concrete_function()], network
    )


def _of_last_layers(content: bytes) -> list[str]:
    """Returns the names of what the last layers compute, which are in float32 in any precision."""
    tensors = tf.lite.Interpreter(model_content=content).get_tensor_details()
    return [t["name"] for t in tensors if any(f"/{layer}" in t["name"] for layer in LAST_LAYERS)]
