"""A stand-in for TensorFlow Serving, for the tests of the client and for the load benchmark.

    python -m tests.serving_stand_in.server saved_models/models.config    # prints its address

It reads the `models.config` and the SavedModels that TensorFlow Serving reads, and answers over
gRPC in TensorFlow Serving's protos and status codes: Predict, GetModelMetadata, GetModelStatus, and
HandleReloadConfigRequest, which swaps versions while requests are answered. It has no REST, no
metrics, no batching of its own, no TLS, and does not look for new versions by itself.
"""

import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import grpc
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

CODE = grpc.StatusCode
WARMUP_REQUESTS = "assets.extra/tf_serving_warmup_requests"
_CODES = {code.value[0]: code for code in CODE}
_MAX_MESSAGE = 512 << 20  # bytes of a request and of a response
_MAX_DETAILS = 1024  # characters; a status travels in a header of limited size


class Refusal(Exception):
    """A request that is refused, with its status code."""

    def __init__(self, code: grpc.StatusCode, details: str):
        super().__init__(details)
        self.code = code


class Version:
    """One version of a model in memory, warmed up.

    A session runs it, as in TensorFlow Serving: only the outputs that a request names are computed,
    and an error's text is the one of the graph.
    """

    def __init__(self, folder: Path):
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        # The initializer is listed with the signatures, but has no method to call.
        self.signatures: dict[str, SignatureDef] = {
            name: signature
            for name, signature in meta_graph.signature_def.items()
            if signature.method_name
        }
        if (folder / WARMUP_REQUESTS).exists():
            for record in tf.data.TFRecordDataset(str(folder / WARMUP_REQUESTS)):
                self.predict(PredictionLog.FromString(record.numpy()).predict_log.request)

    def predict(self, request: PredictRequest) -> PredictResponse:
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.signatures:
            raise Refusal(CODE.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        signature = self.signatures[name]
        outputs = list(request.output_filter or signature.outputs)
        _check_names("input", request.inputs, signature.inputs, complete=True)
        _check_names("output", outputs, signature.outputs)
        feeds = {}
        for alias, info in signature.inputs.items():
            expected, received = _spec(info), _spec(request.inputs[alias])
            if not expected.is_compatible_with(received):
                raise Refusal(
                    CODE.INVALID_ARGUMENT,
                    f"input {alias}: expected {expected}, received {received}",
                )
            feeds[info.name] = tf.make_ndarray(request.inputs[alias])
        try:
            values = self._session.run([signature.outputs[alias].name for alias in outputs], feeds)
        except tf.errors.OpError as error:
            raise Refusal(_CODES[error.error_code], error.message) from error
        response = PredictResponse()
        for alias, value in zip(outputs, values, strict=True):
            dtype = tf.dtypes.as_dtype(signature.outputs[alias].dtype)
            response.outputs[alias].CopyFrom(tf.make_tensor_proto(value, dtype))
        return response


class Model(NamedTuple):
    """The versions of a model by number, and the numbers by label."""

    base_path: str
    versions: dict[int, Version]
    labels: dict[str, int]


class StandIn(PredictionServiceServicer, ModelServiceServicer):
    """A server of SavedModels at a free port of this machine, inside a `with` block.

        with StandIn(read_config("saved_models/models.config")) as server:
            channel = grpc.insecure_channel(server.address)

    Args:
        config: the models; of each, the versions that its policy names, or the latest.
    """

    def __init__(self, config: ModelServerConfig):
        self._models: dict[str, Model] = {}
        self._loading = threading.Lock()
        self._configure(config)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(32),
            options=[
                ("grpc.max_send_message_length", _MAX_MESSAGE),
                ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ],
        )
        add_PredictionServiceServicer_to_server(self, self._server)
        add_ModelServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> "StandIn":
        self._server.start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.stop(None).wait()

    def wait(self) -> None:
        """Waits until the process ends."""
        self._server.wait_for_termination()

    def Predict(self, request, context) -> PredictResponse:
        try:
            number, version = self._find(request.model_spec)
            response = version.predict(request)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal)[:_MAX_DETAILS])
        response.model_spec.CopyFrom(request.model_spec)
        response.model_spec.version.value = number
        return response

    def GetModelMetadata(self, request, context) -> GetModelMetadataResponse:
        try:
            _, version = self._find(request.model_spec)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))
        response = GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=version.signatures))
        return response

    def GetModelStatus(self, request, context) -> GetModelStatusResponse:
        model = self._models.get(request.model_spec.name)
        if model is None:
            context.abort(CODE.NOT_FOUND, f"Could not find any versions of {request.model_spec}")
        states = [
            ModelVersionStatus(version=number, state=ModelVersionStatus.AVAILABLE)
            for number in model.versions
        ]
        return GetModelStatusResponse(model_version_status=states)

    def HandleReloadConfigRequest(self, request, context) -> ReloadConfigResponse:
        self._configure(request.config)
        return ReloadConfigResponse(status={})

    def _configure(self, config: ModelServerConfig) -> None:
        """Loads new versions, then swaps; an old version ends with its last request."""
        with self._loading:
            self._models = {
                model.name: self._loaded(model) for model in config.model_config_list.config
            }

    def _loaded(self, config: ModelConfig) -> Model:
        base = Path(config.base_path)
        numbers = config.model_version_policy.specific.versions
        if not numbers:
            numbers = [max(int(path.name) for path in base.iterdir() if path.name.isdecimal())]
        old = self._models.get(config.name)
        kept = old.versions if old and old.base_path == config.base_path else {}
        versions = {n: kept.get(n) or Version(base / str(n)) for n in numbers}
        return Model(config.base_path, versions, dict(config.version_labels))

    def _find(self, spec: ModelSpec) -> tuple[int, Version]:
        _, versions, labels = self._models.get(spec.name, Model("", {}, {}))
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label" and spec.version_label not in labels:
            raise Refusal(
                CODE.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {spec.version_label}",
            )
        number = {
            "version": spec.version.value,
            "version_label": labels.get(spec.version_label),
            None: max(versions, default=None),
        }[choice]
        if number not in versions:
            asked = "Latest" if choice is None else f"Specific, version {number}"
            raise Refusal(
                CODE.NOT_FOUND, f"Servable not found for request: {asked} of {spec.name!r}"
            )
        return number, versions[number]


def read_config(path: str | Path) -> ModelServerConfig:
    """Reads a `models.config`; the folders of its models are next to the file."""
    config = text_format.Parse(Path(path).read_text(), ModelServerConfig())
    for model in config.model_config_list.config:
        model.base_path = str(Path(path).parent / Path(model.base_path).name)
    return config


def _check_names(kind: str, sent, known, complete: bool = False) -> None:
    extra, missing = sorted(set(sent) - set(known)), sorted(set(known) - set(sent))
    if extra or complete and missing:
        raise Refusal(
            CODE.INVALID_ARGUMENT,
            f"{kind}s do not match the signature. Sent extra: {extra}. Missing: {missing}.",
        )


def _spec(tensor) -> tf.TensorSpec:
    """Returns shape and dtype of a TensorInfo or a TensorProto."""
    return tf.TensorSpec(tf.TensorShape(tensor.tensor_shape), tf.dtypes.as_dtype(tensor.dtype))


if __name__ == "__main__":
    with StandIn(read_config(sys.argv[1])) as server:
        print(server.address, flush=True)
        server.wait()
