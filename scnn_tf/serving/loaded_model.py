"""One SavedModel in memory, and its answers: what TensorFlow Serving answers, and refuses.

A request runs in a session, as there: it computes only the outputs that were asked for, and ends
at its deadline.
"""

import math
import time
from collections.abc import Iterable

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath

DEFAULT_SIGNATURE = "serving_default"
WARMUP_REQUESTS = "assets.extra/tf_serving_warmup_requests"
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MAX_MESSAGE = 1024  # characters; a status travels in a header of limited size
_MAX_REPEATED = 2**26  # bytes of a tensor that a client's message does not give itself
_STRING_BYTES = 32  # that a string in memory takes beside its characters
_MAX_TIMEOUT_MS = 2**31 - 1


class Refusal(InputError):
    """A request, version or configuration that is refused, with the status code that says so."""

    def __init__(self, code: grpc.StatusCode, message: str):
        if len(message) > _MAX_MESSAGE:
            message = message[:_MAX_MESSAGE] + "...TRUNCATED"
        super().__init__(message)
        self.code = code

    @classmethod
    def invalid(cls, message: str) -> "Refusal":
        """One of what was asked for: INVALID_ARGUMENT."""
        return cls(grpc.StatusCode.INVALID_ARGUMENT, message)

    @classmethod
    def not_found(cls, message: str) -> "Refusal":
        """One of what is not there: NOT_FOUND."""
        return cls(grpc.StatusCode.NOT_FOUND, message)


class LoadedModel:
    """One version of a model in memory, warmed up.

    Args:
        folder: of the SavedModel. If it has `assets.extra/tf_serving_warmup_requests`, these
            requests are answered before anybody else's.

    Attributes:
        signatures: a SignatureDefMap, as the SavedModel has it.

    Raises:
        Refusal: a warm-up request cannot be answered.
        Exception: whatever TensorFlow raises on files that are no SavedModel.
    """

    def __init__(self, folder: AnyPath):
        self._closed = False
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        self.signatures = SignatureDefMap(signature_def=graph.signature_def)
        if (folder / WARMUP_REQUESTS).exists():
            for record in tf.data.TFRecordDataset(str(folder / WARMUP_REQUESTS)):
                log = PredictionLog.FromString(record.numpy())
                if log.WhichOneof("log_type") != "predict_log":
                    raise Refusal.invalid(
                        f"{WARMUP_REQUESTS}: only requests to predict can be replayed"
                    )
                # The model's own, which may be as large as its pictures are.
                self.predict(log.predict_log.request, max_repeated=math.inf)

    def predict(
        self,
        request: PredictRequest,
        timeout_s: float | None = None,
        max_repeated: float = _MAX_REPEATED,
    ) -> PredictResponse:
        """Answers a request; who asks fills in the name and version of the model.

        Args:
            request: its `inputs` must be those of the signature, in names, dtypes, ranks and
                fixed dimensions.
            timeout_s: seconds after which the computation is given up.
            max_repeated: bytes that an input may take in memory where its last value stands for
                many: a small message must not fill the memory.

        Raises:
            Refusal: the request does not fit the signature, or the graph refused it.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = self.signatures.signature_def.get(name)
        # The initializer is listed like a signature, but has no method to call.
        if signature is None or not signature.method_name:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        feeds = _feeds(signature, request, max_repeated)
        aliases = _output_aliases(signature, request)
        try:
            values = self._run(
                [signature.outputs[alias].name for alias in aliases], feeds, timeout_s
            )
        except tf.errors.OpError as error:
            raise Refusal(_STATUS_CODES[error.error_code], cause(error)) from error
        response = PredictResponse(model_spec=ModelSpec(signature_name=name))
        for alias, value in zip(aliases, values, strict=True):
            dtype = tf.dtypes.as_dtype(signature.outputs[alias].dtype)
            response.outputs[alias].CopyFrom(tf.make_tensor_proto(value, dtype))
        return response

    def close(self) -> None:
        """Ends what is being computed (CANCELLED) and gives the memory back."""
        self._closed = True
        self._session.close()

    def _run(
        self, fetches: list[str], feeds: dict[str, np.ndarray], timeout_s: float | None
    ) -> list[np.ndarray]:
        """The values of tensors, within `timeout_s`.

        A graph that computes several requests together gives them all up when one of them comes to
        its deadline. The others, told CANCELLED, ask again.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            options = tf.compat.v1.RunOptions()
            if timeout_s is not None:
                left_ms = (deadline - time.monotonic()) * 1e3
                options.timeout_in_ms = int(min(max(left_ms, 1), _MAX_TIMEOUT_MS))
            try:
                return self._session.run(fetches, feeds, options)
            except tf.errors.CancelledError as error:
                if self._closed:
                    raise
                if time.monotonic() >= deadline:
                    late = "Given up again and again, until the deadline"
                    raise tf.errors.DeadlineExceededError(None, None, late) from error


def cause(error: Exception) -> str:
    """What an error says, without the heading that Python puts above what a graph says."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return message.removeprefix("Graph execution error:").strip() or type(error).__name__


def _feeds(signature, request: PredictRequest, max_repeated: float) -> dict[str, np.ndarray]:
    """The request's inputs by the name of their tensor in the graph."""
    sent, wanted = set(request.inputs), set(signature.inputs)
    if len(sent) != len(wanted):
        raise Refusal.invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_listed(sent)}) != len({_listed(wanted)}). "
            f"Sent extra: {_listed(sent - wanted)}. "
            f"Missing but required: {_listed(wanted - sent)}."
        )
    for alias in sorted(sent - wanted):
        raise Refusal.invalid(
            f"input tensor alias not found in signature: {alias}. "
            f"Inputs expected to be in the set {_listed(wanted)}."
        )
    return {
        signature.inputs[alias].name: _array(alias, signature.inputs[alias], proto, max_repeated)
        for alias, proto in request.inputs.items()
    }


def _array(alias: str, info, proto, max_repeated: float) -> np.ndarray:
    """The array in a TensorProto, if it is what the signature's TensorInfo says."""
    if proto.dtype != info.dtype:
        expected, sent = (_dtype_name(number) for number in (info.dtype, proto.dtype))
        raise Refusal.invalid(f"input {alias}: expects {expected} but {sent} is provided")
    shape = tf.TensorShape(info.tensor_shape)
    sizes = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
        raise Refusal.invalid(f"tensor parsing error: {alias} (its shape is not known)")
    if not shape.is_compatible_with(sizes):
        raise Refusal.invalid(f"input {alias}: expects shape {shape} but {sizes} is provided")
    dtype = tf.dtypes.as_dtype(proto.dtype)
    # The last value may stand for many. A number takes a byte of its message at least.
    if dtype == tf.string:
        last = proto.string_val[-1] if proto.string_val else b""
        repeated, each = math.prod(sizes) - len(proto.string_val), len(last) + _STRING_BYTES
    else:
        repeated = math.prod(sizes) - proto.ByteSize()
        each = np.dtype(dtype.as_numpy_dtype).itemsize
    if repeated * each > max_repeated:
        raise Refusal.invalid(f"tensor parsing error: {alias} (too large for its few values)")
    # NumPy would take the 256 of a uint8 for 0.
    if dtype.is_integer and proto.int_val:
        if min(proto.int_val) < dtype.min or max(proto.int_val) > dtype.max:
            raise Refusal.invalid(
                f"tensor parsing error: {alias} (a value is out of range for {dtype.name})"
            )
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise Refusal.invalid(f"tensor parsing error: {alias} ({error})") from error


def _dtype_name(number: int) -> str:
    names = {value: name.removeprefix("DT_").lower() for name, value in DataType.items()}
    return names.get(number, f"dtype {number}")


def _output_aliases(signature, request: PredictRequest) -> list[str]:
    """The outputs that the request asks for; all of them if it names none."""
    aliases = list(request.output_filter)
    for position, alias in enumerate(aliases):
        if alias not in signature.outputs:
            raise Refusal.invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_listed(signature.outputs)}."
            )
        if alias in aliases[:position]:
            raise Refusal.invalid(f"duplicate output tensor alias: {alias}")
    return aliases or list(signature.outputs)


def _listed(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
