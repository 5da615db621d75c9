"""The stand-in does what the client's tests and the load benchmark rely on."""

import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tests.serving_stand_in.server import WARMUP_REQUESTS, StandIn, read_config

ROOT = Path(__file__).parents[2]
CODE = grpc.StatusCode


class Toy(tf.Module):
    """y = x + version, for x that is not empty; `calls` counts the requests."""

    def __init__(self, version):
        super().__init__()
        self.version = tf.Variable(float(version))
        self.calls = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def add(self, x):
        not_empty = tf.debugging.Assert(tf.size(x) > 0, ["the batch is empty"])
        with tf.control_dependencies([not_empty]):
            return {"y": x + self.version, "calls": self.calls.assign_add(1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`toy/1` and `toy/2`, of which the second has a request to warm up with."""
    folder = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        toy = Toy(version)
        tf.saved_model.save(toy, folder / "toy" / str(version), toy.add)
    log = PredictionLog()
    log.predict_log.request.CopyFrom(request())
    (folder / "toy" / "2" / WARMUP_REQUESTS).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / "toy" / "2" / WARMUP_REQUESTS)) as writer:
        writer.write(log.SerializeToString())
    return folder


def config(folder, versions=(), **labels):
    result = ModelServerConfig()
    model = result.model_config_list.config.add(
        name="toy", model_platform="tensorflow", base_path=str(folder / "toy")
    )
    model.model_version_policy.specific.versions[:] = versions
    model.version_labels.update(labels)
    return result


def request(inputs=None, outputs=(), **spec):
    query = PredictRequest(model_spec={"name": "toy", **spec}, output_filter=outputs)
    for alias, value in ({"x": np.float32([[3, 4]])} if inputs is None else inputs).items():
        query.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return query


@pytest.fixture(scope="module")
def channel(folder):
    """A channel to a server of versions 1, which is "stable", and 2."""
    with StandIn(config(folder, [1, 2], stable=1)) as server:
        with grpc.insecure_channel(server.address) as channel:
            yield channel


def predict(channel, *arguments, **options):
    """(version, y) of the answer."""
    response = PredictionServiceStub(channel).Predict(request(*arguments, **options), 30)
    return response.model_spec.version.value, tf.make_ndarray(response.outputs["y"]).tolist()


def test_a_version_answers_by_number_by_label_or_as_the_latest(channel):
    assert predict(channel) == (2, [[5.0, 6.0]])
    assert predict(channel, version={"value": 1}) == (1, [[4.0, 5.0]])
    assert predict(channel, version_label="stable") == (1, [[4.0, 5.0]])


def test_only_the_outputs_that_a_request_names_are_in_the_answer(channel):
    response = PredictionServiceStub(channel).Predict(request(outputs=["y"]), 30)
    assert list(response.outputs) == ["y"]


def test_warm_up_requests_are_answered_before_all_others(folder):
    with StandIn(config(folder)) as server, grpc.insecure_channel(server.address) as channel:
        response = PredictionServiceStub(channel).Predict(request(), 30)
    assert response.model_spec.version.value == 2
    assert tf.make_ndarray(response.outputs["calls"]) == 2


@pytest.mark.parametrize(
    ("options", "code", "details"),
    [
        ({"name": "no"}, CODE.NOT_FOUND, "Latest of 'no'"),
        ({"version": {"value": 9}}, CODE.NOT_FOUND, "version 9 of 'toy'"),
        ({"version_label": "l"}, CODE.INVALID_ARGUMENT, "Unrecognized servable version label: l"),
        ({"signature_name": "s"}, CODE.FAILED_PRECONDITION, 'signature key "s" not found'),
        ({"signature_name": "__saved_model_init_op"}, CODE.FAILED_PRECONDITION, "not found"),
        ({"inputs": {}}, CODE.INVALID_ARGUMENT, "Missing: ['x']"),
        ({"inputs": {"z": 1.0}}, CODE.INVALID_ARGUMENT, "Sent extra: ['z']"),
        ({"inputs": {"x": np.zeros((1, 2), np.int32)}}, CODE.INVALID_ARGUMENT, "tf.int32"),
        ({"inputs": {"x": np.zeros(2, np.float32)}}, CODE.INVALID_ARGUMENT, "shape=(2,)"),
        ({"inputs": {"x": np.zeros((1, 3), np.float32)}}, CODE.INVALID_ARGUMENT, "shape=(1, 3)"),
        ({"outputs": ["z"]}, CODE.INVALID_ARGUMENT, "Sent extra: ['z']"),
        # What the graph itself refuses.
        ({"inputs": {"x": np.zeros((0, 2), np.float32)}}, CODE.INVALID_ARGUMENT, "batch is empty"),
    ],
)
def test_a_bad_request_is_refused_with_tensorflow_serving_s_code(channel, options, code, details):
    with pytest.raises(grpc.RpcError) as error:
        predict(channel, **options)
    assert error.value.code() == code
    assert details in error.value.details()


def test_status_and_metadata_of_a_model(channel):
    status = ModelServiceStub(channel).GetModelStatus(
        GetModelStatusRequest(model_spec={"name": "toy"}), 30
    )
    states = {s.version: s.state for s in status.model_version_status}
    assert states == dict.fromkeys((1, 2), ModelVersionStatus.AVAILABLE)
    metadata = PredictionServiceStub(channel).GetModelMetadata(
        GetModelMetadataRequest(model_spec={"name": "toy"}, metadata_field=["signature_def"]), 30
    )
    signatures = SignatureDefMap()
    metadata.metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["serving_default"].inputs) == ["x"]
    for call, message in (
        (ModelServiceStub(channel).GetModelStatus, GetModelStatusRequest),
        (PredictionServiceStub(channel).GetModelMetadata, GetModelMetadataRequest),
    ):
        with pytest.raises(grpc.RpcError) as error:
            call(message(model_spec={"name": "no"}), 30)
        assert error.value.code() == CODE.NOT_FOUND


def test_a_new_configuration_swaps_versions_and_moves_labels(folder):
    with StandIn(config(folder, [1], stable=1)) as server:
        with grpc.insecure_channel(server.address) as channel:
            assert predict(channel, version_label="stable")[0] == 1
            reload = ReloadConfigRequest(config=config(folder, [2], stable=2))
            answer = ModelServiceStub(channel).HandleReloadConfigRequest(reload, 30)
            assert answer.status.error_code == 0
            assert predict(channel, version_label="stable")[0] == 2
            with pytest.raises(grpc.RpcError, match="version 1 of 'toy'"):
                predict(channel, version={"value": 1})


def test_the_program_prints_the_address_of_what_a_models_config_names(folder):
    path = folder / "models.config"
    in_container = config(Path("/models"), [1])
    path.write_text(text_format.MessageToString(in_container))
    assert read_config(path) == config(folder, [1])
    command = [sys.executable, "-m", "tests.serving_stand_in.server", path]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        try:
            with grpc.insecure_channel(process.stdout.readline().strip()) as channel:
                assert predict(channel) == (1, [[4.0, 5.0]])
        finally:
            process.kill()
