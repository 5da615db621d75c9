"""Networks as ONNX files (`.onnx`), in float32."""

from scnn_tf.serving.edge_graph import EdgeNetwork

_OPSET = 17  # which onnxruntime reads from version 1.12 on


def to_onnx(network: EdgeNetwork) -> bytes:
    """Returns a network as the content of an ONNX file.

    Args:
        network: The network.
    """
    import tf2onnx  # an optional package, checked by `edge.export_edge`

    model, _ = tf2onnx.convert.from_function(
        network.score, input_signature=network.score.input_signature, opset=_OPSET
    )
    return model.SerializeToString()
