import pytest

from benchmarks import edge
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.localization.scnn import load_scnn


@pytest.mark.slow
def test_every_export_is_next_to_tensorflow(tiny_joint, tiny_stretches, tiny_dataset):
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package)
    figures = edge.compare(
        load_scnn(tiny_joint),
        weights=tiny_joint / "joint" / "model.weights.h5",
        data_dir=tiny_stretches / "shards",
        videos=read_annotations(tiny_dataset / "annotations.json", "test"),
        video_dir=tiny_dataset / "videos",
        repeats=1,
    )
    ways = {name: row for name, row in figures.items() if isinstance(row, dict)}
    assert list(ways) == [
        "TensorFlow", "tflite, float32", "tflite, float16", "tflite, int8", "onnx, float32",
    ]  # fmt: skip
    # The video has 80 frames: 17 windows of 16 frames, one every 4.
    assert figures["windows"] == 17 and figures["videos"] == 1
    assert ways["TensorFlow"]["largest_difference"] == 0
    assert ways["onnx, float32"]["largest_difference"] < 1e-4
    assert ways["onnx, float32"]["map"] == ways["TensorFlow"]["map"]
