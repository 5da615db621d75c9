"""Serves SavedModels over gRPC, for machines that do not have TensorFlow Serving.

The services, the configuration file and the error codes are TensorFlow Serving's, so that a
client cannot tell them apart; batching, REST and metrics are not here.
"""

import functools
import os
import threading
from collections.abc import Callable
from concurrent import futures

import grpc
from absl import logging
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigResponse
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from scnn_tf.errors import InputError
from scnn_tf.io.files import read_text
from scnn_tf.serving.loaded_model import Refusal
from scnn_tf.serving.model_store import ModelStore, read_config

SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
RPC_THREADS = "rpc"  # what the names of the threads that answer requests begin with
SIGNATURE_DEF = "signature_def"  # the one metadata field that there is


class ModelServer:
    """Serves the models of a configuration until it is stopped.

        with ModelServer("saved_models/models.config") as server:
            channel = grpc.insecure_channel(server.address)

    The models are loaded when it is made, requests are answered from `start` (or `with`) on.

    Args:
        config: a `models.config`, or what is in one. The file may be rewritten meanwhile: it is
            applied again, unless it is refused, which is logged and changes nothing.
        host: name or address to listen at; by default only this machine can reach it.
        port: 0 for any that is free.
        credentials: for TLS; None: no encryption.
        threads: requests that compute at the same time. More than processors, so that a model
            can merge them; each holds its frames in memory.
        poll_seconds: how often new versions, and changes of the file, are looked for.
        max_message_mb: largest request and response; in units of 2**20 bytes.
        max_rpcs: requests that may be under way; one more is RESOURCE_EXHAUSTED.

    Attributes:
        address: "host:port", or "[host]:port" for IPv6, for clients.
        port: what it listens at.
        models: a `ModelStore`.

    Raises:
        InputError: a model cannot be served, or the address is in use.
    """

    def __init__(
        self,
        config: str | os.PathLike | ModelServerConfig,
        host: str = "127.0.0.1",
        port: int = 0,
        credentials: grpc.ServerCredentials | None = None,
        threads: int = 32,
        poll_seconds: float = 1.0,
        max_message_mb: int = 512,
        max_rpcs: int = 256,
    ):
        self._config_file = None
        if not isinstance(config, ModelServerConfig):
            self._config_file = config
            self._config_text = _text(config)  # before it is parsed: no change goes unnoticed
            config = read_config(config)
        if config.HasField("model_config_list") and not config.model_config_list.config:
            raise InputError(f"{self._config_file or 'the configuration'}: names no model to serve")
        if host.count(":") > 1:  # IPv6
            host = f"[{host}]"
        limit = max_message_mb * 2**20
        self._threads = futures.ThreadPoolExecutor(max_rpcs, RPC_THREADS)
        self._server = grpc.server(
            # Threads wait for their turn to compute; that way health and status need not.
            self._threads,
            options=[
                ("grpc.max_send_message_length", limit),
                ("grpc.max_receive_message_length", limit),
                ("grpc.so_reuseport", 0),  # or two servers could share a port
            ],
            maximum_concurrent_rpcs=max_rpcs,
        )
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(f"{host}:{port}")
            else:
                self.port = self._server.add_secure_port(f"{host}:{port}", credentials)
        except RuntimeError as error:
            raise InputError(
                f"cannot listen at {host}:{port}: the port is in use, or the address or the TLS "
                "key is not valid"
            ) from error
        self.address = f"{host}:{self.port}"
        self.models = ModelStore()
        self.models.configure(config)
        turns = threading.BoundedSemaphore(threads)
        self._health = _Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_PredictionServiceServicer_to_server(
            _PredictionService(self.models, turns), self._server
        )
        add_ModelServiceServicer_to_server(_ModelService(self.models), self._server)
        for service in SERVICES:
            self._health.set(service, HealthCheckResponse.SERVING)
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="poller", daemon=True)

    def start(self) -> None:
        """Answers requests and looks for new versions from now on."""
        self._server.start()
        self._poller.start()

    def stop(self, grace_s: float = 30.0) -> None:
        """Takes no new requests, answers those under way, and unloads everything.

        Args:
            grace_s: seconds that these may take; what takes longer is cancelled.
        """
        self._health.drain()
        self._stopping.set()
        self._server.stop(grace_s).wait()
        self._poller.join()
        self.models.close()
        self._threads.shutdown(wait=False)

    def __enter__(self):
        """Starts."""
        self.start()
        return self

    def __exit__(self, *exception):
        """Stops."""
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                if self._config_file is not None:
                    self._follow_config_file()
                self.models.poll()
            except OSError as error:  # a disk that is away for a while; the next look may succeed
                logging.warning("looking for new versions: %s", error)

    def _follow_config_file(self) -> None:
        """Applies the configuration file, if it is another than at the last look."""
        text = _text(self._config_file)
        if text == self._config_text:
            return
        try:
            self.models.configure(read_config(self._config_file))
        except InputError as error:
            logging.error("the new configuration is not used, the old one stays: %s", error)
        else:
            logging.info("the new configuration is used: %s", ", ".join(self.models.names()))
        self._config_text = text


def _text(path: str | os.PathLike) -> str:
    """What is in a file, or why it cannot be read."""
    try:
        return read_text(path)
    except InputError as error:
        return str(error)


def _refusing(answer: Callable) -> Callable:
    """Turns a `Refusal` into the status of the call."""

    @functools.wraps(answer)
    def answer_or_refuse(self, request, context):
        try:
            return answer(self, request, context)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))

    return answer_or_refuse


class _PredictionService(PredictionServiceServicer):
    def __init__(self, models: ModelStore, turns: threading.BoundedSemaphore):
        self._models = models
        self._turns = turns

    @_refusing
    def Predict(self, request, context) -> PredictResponse:
        with self._turns:
            if not context.is_active():  # the client gave up while it waited
                return PredictResponse()
            with self._models.lease(request.model_spec) as (version, model):
                response = model.predict(request, context.time_remaining())
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        return response

    @_refusing
    def GetModelMetadata(self, request, context) -> GetModelMetadataResponse:
        del context
        if not request.metadata_field:
            raise Refusal.invalid(
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise Refusal.invalid(f"Metadata field {field} is not supported")
        response = GetModelMetadataResponse()
        with self._models.lease(request.model_spec) as (version, model):
            response.metadata[SIGNATURE_DEF].Pack(model.signatures)
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        return response


class _ModelService(ModelServiceServicer):
    def __init__(self, models: ModelStore):
        self._models = models

    @_refusing
    def GetModelStatus(self, request, context) -> GetModelStatusResponse:
        del context
        return GetModelStatusResponse(model_version_status=self._models.status(request.model_spec))

    @_refusing
    def HandleReloadConfigRequest(self, request, context) -> ReloadConfigResponse:
        del context
        self._models.configure(request.config)
        return ReloadConfigResponse(status={})


class _Health(health.HealthServicer):
    """Lets its watchers go when the server drains; they would hold it up until the end."""

    def __init__(self):
        super().__init__()
        self._watchers = []

    def Watch(self, request, context, send_response_callback=None):
        self._watchers.append(send_response_callback)
        context.add_callback(lambda: self._watchers.remove(send_response_callback))
        return super().Watch(request, context, send_response_callback)

    def drain(self) -> None:
        """Says NOT_SERVING to everybody, for good."""
        self.enter_graceful_shutdown()
        for end in list(self._watchers):
            end(None)
