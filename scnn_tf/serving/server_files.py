"""The files that TensorFlow Serving reads next to a model: configurations and warm-up requests."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, read_text, write_text
from scnn_tf.models.recipes import Recipe
from scnn_tf.segments.windows import SAMPLED_FRAMES
from scnn_tf.serving.graph import ServingGraph
from scnn_tf.serving.segment_graph import BATCH_SIZES
from scnn_tf.shards import records

MODELS_CONFIG = "models.config"
BATCHING_CONFIG = "batching.config"
MONITORING_CONFIG = "monitoring.config"
WARMUP_REQUESTS = "assets.extra/tf_serving_warmup_requests"
MOUNT = "/models"  # the folder of models in TensorFlow Serving's container
_BATCHING = f"""\
# For --enable_batching --batching_parameters_file=…, and only for a server whose clients all send
# segments (serving_default, jpeg, sequence_example): the server would merge videos, too, and
# refuse them. Without this file, the graph merges the segments of simultaneous requests.
max_batch_size {{ value: {BATCH_SIZES[-1]} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 128 }}
num_batch_threads {{ value: 2 }}
{"".join(f"allowed_batch_sizes: {size}{chr(10)}" for size in BATCH_SIZES)}"""
_MONITORING = """\
# For --monitoring_config_file=…: counters and latencies at http://HOST:8501/metrics.
prometheus_config { enable: true, path: "/metrics" }
"""


def read_models_config(folder: AnyPath) -> model_server_config_pb2.ModelServerConfig:
    """Returns the `models.config` of a folder, or an empty configuration if there is no file.

    Raises:
        InputError: The file is not a model server's configuration.
    """
    path = folder / MODELS_CONFIG
    config = model_server_config_pb2.ModelServerConfig()
    if path.exists():
        try:
            text_format.Parse(read_text(path), config)
        except text_format.ParseError as error:
            raise InputError(
                f"{path}: not a model server's configuration ({error}); correct or remove it"
            ) from error
    return config


def write_server_files(model_folder: AnyPath, version: int, label: str) -> None:
    """Writes the server's configurations into the folder above the model's, and sets a label.

    Versions of the model without a label are not served, unless its entry in `models.config` has
    been given another policy. Entries of other models do not change.

    Args:
        model_folder: Folder of the model's versions; its name is the model's.
        version: Version that has the label from now on.
        label: "stable" or "canary".

    Raises:
        InputError: The existing `models.config` is not a model server's configuration.
    """
    folder = model_folder.parent
    config = read_models_config(folder)
    models = config.model_config_list.config
    model = next((m for m in models if m.name == model_folder.name), None)
    if model is None:
        model = models.add(name=model_folder.name, model_platform="tensorflow")
        model.base_path = f"{MOUNT}/{model_folder.name}"
        if not isinstance(model_folder, Path):
            model.base_path = os.fspath(model_folder)  # TensorFlow Serving reads URLs itself
    model.version_labels[label] = version
    policy = model.model_version_policy
    if policy.WhichOneof("policy_choice") in (None, "specific"):
        policy.specific.versions[:] = sorted(set(model.version_labels.values()))
    write_text(folder / MODELS_CONFIG, text_format.MessageToString(config))
    write_text(folder / BATCHING_CONFIG, _BATCHING)
    write_text(folder / MONITORING_CONFIG, _MONITORING)


def write_warmup(version_folder: Path, model: str, graph: ServingGraph) -> None:
    """Writes warm-up requests of black frames, which a server answers before it serves others.

    There is a request for each signature and each of its sizes.

    Args:
        version_folder: Folder of the exported version.
        model: Name of the model.
        graph: The exported graph.
    """
    path = version_folder / WARMUP_REQUESTS
    path.parent.mkdir()
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for name, signature in graph.signatures().items():
            for sizes in signature.warmup:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = model
                request.model_spec.signature_name = name
                for spec in signature.inputs:
                    request.inputs[spec.name].CopyFrom(_filled(spec, sizes, graph.info.recipe))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString())


def _filled(spec: tf.TensorSpec, sizes: tuple[int, ...], recipe: Recipe) -> tensor_pb2.TensorProto:
    """Returns an input of a warm-up request, a tensor of one repeated value.

    Args:
        spec: The input.
        sizes: Sizes of its first dimensions, see `Signature.warmup`.
        recipe: Size of frames.
    """
    picture = np.zeros([recipe.shards.frame_height, recipe.shards.frame_width, 3], np.uint8)
    jpeg = tf.io.encode_jpeg(picture).numpy()
    example = tf.train.SequenceExample()
    example.context.feature[records.WINDOW_FRAMES].int64_list.value.append(SAMPLED_FRAMES)
    for _ in range(sizes[-1]):
        feature = example.feature_lists.feature_list[records.IMAGE_ENCODED].feature.add()
        feature.bytes_list.value.append(jpeg)
    value = {
        "frames": 0,
        "images": jpeg,
        "examples": example.SerializeToString(),
        "window_frames": SAMPLED_FRAMES,
        "scored_frames": 0,
    }[spec.name]
    shape = spec.shape.as_list()
    if spec.name == "frames":
        shape[-3:] = picture.shape
    shape = [size if size is not None else sizes[axis] for axis, size in enumerate(shape)]
    return tf.make_tensor_proto(value, spec.dtype, shape)
