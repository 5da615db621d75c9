"""Client of a served model: videos are decoded here, the networks run on a model server (gRPC)."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence

import grpc
import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from scnn_tf.datasets.video_files import without_ending
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, file_name, read_text
from scnn_tf.io.video import read_frames
from scnn_tf.localization.live import LiveSettings, find_live
from scnn_tf.localization.live_nms import LiveDetection, LiveRules
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.run import ScorerInfo
from scnn_tf.localization.sequences import HeadOutputs, Judged, SequenceScorer
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.models.recipes import JOINT
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.serving import chunks

_JPEG = {"quality": 98, "chroma_downsampling": False}  # docs/serving.md compares settings
_ENCODERS = {
    "jpeg": lambda frame: tf.io.encode_jpeg(frame, **_JPEG).numpy(),
    "png": lambda frame: tf.io.encode_png(frame).numpy(),
}
MAX_DEADLINE_S = 3600.0  # a server that hangs must not hold a client for ever
_ATTEMPTS = 3  # at a video, if the server changes to another version meanwhile


class ServingError(InputError):
    """A model server cannot be used; the message names address, model, cause and remedy."""


class ModelNotFound(ServingError):
    """The server has no such model, version or label."""


class InvalidRequest(ServingError):
    """The server refused a request: it serves another kind of model than the client expects."""


class DeadlineExceeded(ServingError):
    """The server did not answer in time."""


class Unavailable(ServingError):
    """The server cannot be reached, or answers every retry that it is not ready."""


class _AnotherVersionError(Exception):
    """An answer came from another version than the description."""


class Client:
    """A model on a server; a `Scorer`, like local networks.

    All rows of a video come from one version of the model: if the server changes to another
    version in the middle of a video, the video is scored again from its start.

    Args:
        address: "host:port" of the server.
        model: Name of the model on the server.
        version: Version of the model; None: the server's choice, the latest version as a rule.
        label: Label of a version, such as "canary", instead of its number.
        credentials: TLS credentials, such as `grpc.ssl_channel_credentials()`; None: no TLS.
        deadline_s: Seconds that a request may take, including its retries, at most
            `MAX_DEADLINE_S`. The full C3D on a few CPU cores needs minutes for one request.
        encoding: How frames travel: "jpeg" (quality 98, colors at full resolution), which changes
            scores a little, or "png", which is lossless and up to three times as large.
        new_frames: Frames that a request to the paper's networks adds to those of the request
            before it, about; a joint network has parts of its own size.
        retry_wait_s: Seconds before the first retry; the wait triples with each of the four.
        max_message_bytes: Largest request and largest response.

    Raises:
        InputError: Unknown encoding, a deadline out of its range, or both a version and a label.

    Example:
        >>> with scnn_tf.Client("localhost:8500") as client:
        ...     for action in client.localize("video.mp4"):
        ...         print(action)
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "scnn",
        version: int | None = None,
        label: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        deadline_s: float = 600.0,
        encoding: str = "jpeg",
        new_frames: int = 1024,
        retry_wait_s: float = 0.2,
        max_message_bytes: int = 512 << 20,
    ):
        if encoding not in _ENCODERS:
            raise InputError(f"encoding must be jpeg or png. Received: {encoding!r}")
        if not 0 < deadline_s <= MAX_DEADLINE_S:
            raise InputError(
                f"deadline_s must be above 0 and at most {MAX_DEADLINE_S:g}. Received: {deadline_s}"
            )
        if version is not None and label is not None:
            raise InputError(
                "expected the model's version or its label, not both. "
                f"Received: version={version}, label={label!r}"
            )
        self.address = address
        self.model = model
        self.version = version
        self.label = label
        self.deadline_s = deadline_s
        self.encoding = encoding
        self.new_frames = new_frames
        self._channel = _channel(address, credentials, retry_wait_s, max_message_bytes)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._description: dict | None = None
        self._described_version = 0  # of `_description`

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; a closed client cannot be used again."""
        self._channel.close()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return tuple(self.describe()["class_names"])

    @property
    def prior(self) -> WindowPrior:
        """The window-length prior; all weights are 1 if the model does not use it."""
        prior = self.describe()["window_prior"]
        return WindowPrior(
            tuple(prior["class_names"]),
            tuple(prior["window_frames"]),
            np.array(prior["counts"], np.int64),
            np.array(prior["weights"], np.float64),
        )

    def describe(self) -> dict:
        """Returns the description that `export` wrote; the server is asked once a version.

        Raises:
            ServingError: No such model, no server, or no answer in time; see its subclasses.
        """
        if self._description is None:
            outputs, version = self._predict("describe", {}, ["description"])
            try:
                self._description = json.loads(outputs["description"].item())
            except (ValueError, RecursionError) as error:
                raise ServingError(
                    f"{self._where()}: expected the description of a model that export wrote, in "
                    f"JSON ({error}); export the model again"
                ) from error
            self._described_version = version
        return self._description

    @property
    def described_version(self) -> int:
        """The version of the model that `describe` returns the description of.

        Raises:
            ServingError: No such model, no server, or no answer in time; see its subclasses.
        """
        self.describe()
        return self._described_version

    def localize(self, path: PathLike, *, nms_threshold: float | None = None) -> Detections:
        """Finds the actions of a video file of any length.

        The window-length prior and non-maximum suppression run here, as for local networks.

        Args:
            path: A video file; its name without extension is the video's id.
            nms_threshold: tIoU; None: the threshold of the exported model.

        Returns:
            Detections by score, descending.

        Raises:
            VideoError: The video cannot be used.
            ServingError: No such model, no server, or no answer in time; see its subclasses.
        """
        segments = self.score_video(path, without_ending(file_name(path)))
        if nms_threshold is None:
            nms_threshold = self.describe()["nms_threshold"]
        return detections_from_segments(segments, self.prior, nms_threshold)

    def score_video(self, path: PathLike, video_id: str) -> RawSegments:
        """Scores the segments of a video file; holds the encoded frames of one request at a time.

        Args:
            path: A video file of any length.
            video_id: The video's id in the rows.

        Returns:
            A row for each segment that passes the proposal threshold: its best class and that
            class's score, ordered by window length, then by start. The best class may be
            background, except where the proposal head of a joint network scores it.

        Raises:
            VideoError: The video cannot be used.
            ServingError: No such model, no server, or no answer in time; see its subclasses.
        """
        for _ in range(_ATTEMPTS):
            description = self.describe()
            joint = description.get("stage") == JOINT  # earlier exports did not say
            score = self._score_sequences if joint else self._score_chunks
            encode = _ENCODERS[self.encoding]
            size = description["frame_height"], description["frame_width"]
            frames = read_frames(path, description["frame_rate"], *size)
            try:
                return score(map(encode, frames), description, video_id)
            except _AnotherVersionError:
                logging.warning(
                    "%s changed to another version during video %s, which is scored again from "
                    "its start",
                    self._where(),
                    video_id,
                )
                self._description = None
        raise ServingError(
            f"{self._where()}: expected one version to answer for a whole video. Received: answers "
            "of several versions in turn; name the version or label to use"
        )

    def stream(
        self,
        source: PathLike | Iterable[np.ndarray],
        *,
        video_id: str | None = None,
        nms_threshold: float | None = None,
        **settings,
    ) -> Iterator[LiveDetection]:
        """Yields the actions of a live source, each as soon as it is final.

        If the server changes to another version of the model meanwhile, that version scores the
        frames that follow.

        Args:
            source: See `scnn.Localizer.stream`.
            video_id: Id of the source in the detections; None: its name.
            nms_threshold: tIoU; None: the threshold of the exported model.
            **settings: Of `live.LiveSettings`, such as `provisional=True`.

        Raises:
            VideoError: The source cannot be opened, or has no video.
            InputError: The model is the paper's networks, or a setting is out of its range.
            ServingError: No such model, no server, or no answer in time; see its subclasses.
        """
        description = self.describe()
        if description.get("stage") != JOINT:
            raise InputError(
                f"{self._where()}: expected a network with three heads, to which a live source "
                "sends stretches. Found: the paper's networks; run them here (load_scnn)"
            )
        if nms_threshold is None:
            nms_threshold = description["nms_threshold"]
        frame_rate, scorer = description["frame_rate"], _scorer(description).prompt
        rules = LiveRules(description["window_frames"], frame_rate, self.prior, nms_threshold)

        def network(samples: list[bytes], length: int) -> HeadOutputs:
            for _ in range(_ATTEMPTS):
                try:
                    return self._outputs(samples, length)
                except _AnotherVersionError:
                    self._description = None
                    if _scorer(self.describe()).prompt != scorer:
                        break
                    logging.warning("%s changed to another version.", self._where())
            raise ServingError(
                f"{self._where()}: expected versions of the model with the same classes and "
                "windows during a stream. Received: answers of another one; start again, and name "
                "the version or label to use"
            )

        def judge(frames: Iterable[np.ndarray], skips) -> Iterator[Judged]:
            return scorer.judged(map(_ENCODERS[self.encoding], frames), network, skips)

        return find_live(
            source,
            judge,
            rules,
            frame_size=(description["frame_height"], description["frame_width"]),
            video_id=video_id,
            settings=LiveSettings(**settings),
        )

    def _score_sequences(
        self, images: Iterable[bytes], description: dict, video_id: str
    ) -> RawSegments:
        """Scores a video with a network of three heads: a request for each part of a sequence."""
        return _scorer(description).score(images, video_id, self._outputs)

    def _outputs(self, samples: list[bytes], length: int) -> HeadOutputs:
        """Sends a stretch of encoded frames to a network of three heads."""
        inputs = {"images": tf.make_tensor_proto([samples], tf.string)}
        if self.describe()["takes_length"]:
            inputs["window_frames"] = tf.make_tensor_proto([length], tf.int32)
        outputs = self._scores("jpeg", inputs, ["proposal_score", "class_scores", "offsets"])
        return HeadOutputs(*(output[0] for output in outputs.values()))

    def _score_chunks(
        self, images: Iterable[bytes], description: dict, video_id: str
    ) -> RawSegments:
        """Scores a video with the paper's networks: a request for some 1,400 frames each."""
        answers = []
        cut = chunks.cut(images, description["window_frames"], self.new_frames)
        for offset, scored, chunk in cut:
            inputs = {
                "images": tf.make_tensor_proto(chunk, tf.string),
                "scored_frames": tf.make_tensor_proto(scored, tf.int32),
            }
            columns = ["start_frame", "window_frames", "class_scores"]
            outputs = self._scores("score_stretch", inputs, columns)
            outputs["start_frame"] += offset
            answers.append(outputs)
        return chunks.join(answers, description["class_names"], description["frame_rate"], video_id)

    def _scores(
        self, signature: str, inputs: dict, outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Sends one request of a video; returns the outputs.

        Raises:
            ServingError: A score is not finite, or there is no answer.
            _AnotherVersionError: The answer came from another version than the description.
        """
        arrays, version = self._predict(signature, inputs, outputs)
        if version != self._described_version:
            raise _AnotherVersionError
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ServingError(
                f"{self._where()}: expected finite scores. Received: NaN or infinity; train "
                "the networks again, and export them"
            )
        return arrays

    def _predict(
        self, signature: str, inputs: dict, outputs: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], int]:
        """Sends one request; returns the outputs and the version of the model that answered."""
        request = predict_pb2.PredictRequest(inputs=inputs, output_filter=outputs)
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        if self.label is not None:
            request.model_spec.version_label = self.label
        try:
            response = self._stub.Predict(request, timeout=self.deadline_s)
        except grpc.RpcError as error:
            raise self._error(error) from error
        arrays = {name: tf.make_ndarray(response.outputs[name]) for name in outputs}
        return arrays, response.model_spec.version.value

    def _error(self, error: grpc.RpcError) -> ServingError:
        """Returns gRPC's error as one sentence, of the class that its status code has."""
        code = error.code()
        # An error of a graph lists the graph's nodes after its first line.
        details = (error.details() or "").strip().partition("\n")[0].rstrip(" .") or code.name
        if "version label" in details:  # TensorFlow Serving: INVALID_ARGUMENT for unknown labels
            code = grpc.StatusCode.NOT_FOUND
        refused = (
            InvalidRequest,
            f"refused a request ({details})",
            "ask for a model that export wrote, from the same version of scnn_tf",
        )
        kind, cause, remedy = {
            grpc.StatusCode.NOT_FOUND: (
                ModelNotFound,
                f"not found ({details})",
                "give a model, version or label that the server's models.config names",
            ),
            grpc.StatusCode.INVALID_ARGUMENT: refused,
            grpc.StatusCode.FAILED_PRECONDITION: refused,
            grpc.StatusCode.DEADLINE_EXCEEDED: (
                DeadlineExceeded,
                f"no answer within {self.deadline_s:g} s",
                "allow more time (deadline_s), or find out why the server is slow",
            ),
            grpc.StatusCode.UNAVAILABLE: (
                Unavailable,
                f"cannot be reached ({details})",
                "check that a server listens at this address, and whether it uses TLS",
            ),
        }.get(code, (ServingError, f"failed ({code.name}: {details})", "read the server's log"))
        return kind(f"{self._where()}: {cause}; {remedy}")

    def _where(self) -> str:
        version = "" if self.version is None else f", version {self.version}"
        label = "" if self.label is None else f", label {self.label!r}"
        return f"{self.address}, model {self.model!r}{version}{label}"


@dataclasses.dataclass(frozen=True)
class ModelServer:
    """A picklable, hashable handle of a served model, from which each process opens a client.

    Attributes:
        address: "host:port" of the server.
        model: Name of the model on the server.
        version: Version of the model; None: the server's choice.
        label: Label of a version, such as "canary", instead of its number.
        tls_ca: PEM file of the certificate authority that signed the server's certificate; None:
            no TLS.
        deadline_s: Seconds that a request may take, including its retries.
        encoding: How frames travel, "jpeg" or "png"; see `Client`.
    """

    address: str
    model: str = "scnn"
    version: int | None = None
    label: str | None = None
    tls_ca: PathLike | None = None
    deadline_s: float = 600.0
    encoding: str = "jpeg"

    def open(self) -> Client:
        """Returns a client of the served model.

        Raises:
            InputError: Unknown encoding, a deadline out of its range, both a version and a label,
                or a certificate file without a certificate.
        """
        credentials = None
        if self.tls_ca is not None:
            certificates = read_text(self.tls_ca)
            if "BEGIN CERTIFICATE" not in certificates:
                raise InputError(
                    f"{self.tls_ca}: expected a certificate in PEM form. Found: none; give the "
                    "file of the authority that signed the server's certificate"
                )
            credentials = grpc.ssl_channel_credentials(certificates.encode())
        return Client(
            self.address,
            model=self.model,
            version=self.version,
            label=self.label,
            credentials=credentials,
            deadline_s=self.deadline_s,
            encoding=self.encoding,
        )

    def pinned(self) -> "ModelServer":
        """Returns a handle of the version that answers now, so that one version scores a run."""
        with self.open() as client:
            return dataclasses.replace(self, version=client.described_version, label=None)

    def describe(self) -> ScorerInfo:
        """Describes the model by its name, version and description and the encoding of frames."""
        with self.open() as client:
            description, prior = client.describe(), client.prior
        identity = {
            "model": self.model,
            "version": client.described_version,
            "encoding": self.encoding,
            "jpeg": _JPEG if self.encoding == "jpeg" else None,
            **description,
        }
        del identity["window_prior"], identity["nms_threshold"]  # they do not change the rows
        return ScorerInfo(identity, prior.class_names, prior, description["nms_threshold"])


def _scorer(description: dict) -> SequenceScorer:
    """Returns how the sequences of a video are scored by a served network of three heads."""
    fields = dataclasses.fields(SequenceScorer)
    return SequenceScorer(**{field.name: description[field.name] for field in fields})


def _channel(
    address: str,
    credentials: grpc.ChannelCredentials | None,
    retry_wait_s: float,
    max_message_bytes: int,
) -> grpc.Channel:
    """Returns a channel that retries while a server is away, and lets whole chunks through."""
    retry = {
        "maxAttempts": 5,
        "initialBackoff": f"{retry_wait_s:.3f}s",
        "backoffMultiplier": 3,
        "maxBackoff": f"{27 * retry_wait_s:.3f}s",
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    method = {"name": [{"service": "tensorflow.serving.PredictionService"}], "retryPolicy": retry}
    options = [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),  # gRPC's own limit is 4 MiB
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps({"methodConfig": [method]})),
        # gRPC keeps no larger request for a retry; its own limit is 256 KiB.
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
    ]
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)
