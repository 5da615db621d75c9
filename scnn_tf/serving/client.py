"""The client of a served model: video files here, the networks on a model server (gRPC)."""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from scnn_tf.errors import (
    DeadlineExceeded,
    InputError,
    InvalidRequest,
    ModelNotFound,
    ServingError,
    Unavailable,
)
from scnn_tf.io.files import read_text
from scnn_tf.io.video import read_frames
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.segments.windows import STRIDES_PER_WINDOW
from scnn_tf.shards.records import encode_jpeg

_NEW_FRAMES = 1024  # of a stretch, about; the rest of it was in the stretch before
_MAX_MESSAGE = 512 << 20  # bytes, both ways; gRPC's own limit for answers is 4 MiB
_ENCODERS = {
    "jpeg": encode_jpeg,
    "png": lambda frame: tf.io.encode_png(frame).numpy(),
}
_RETRY = {  # waits of about .2, .6, 1.8 and 5 s
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "backoffMultiplier": 3,
    "maxBackoff": "5s",
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_ATTEMPTS = 3  # at a video, should the server change to another version meanwhile
_T = TypeVar("_T")


class Client:
    """A model on a server; an `archive.Scorer`, as `localization.Networks` is.

    A video's rows all come from one version of the model: where the server changes to another
    version in the middle of a video, that video is begun again.

    Args:
        address: of the server, "host:port".
        model: its name there.
        version: of the model; None: the server's choice, the latest one as a rule.
        label: of a version, such as "canary", instead of its number.
        credentials: of the channel, such as `grpc.ssl_channel_credentials()`; None: no TLS.
        deadline_s: seconds that a request may take, with all its retries. The full C3D on a few
            CPU cores needs minutes for a stretch of video.
        encoding: of the frames on their way: "jpeg" (quality 95), or "png", a few times as large
            and without loss: the results are those of the networks run here on the same frames.

    Raises:
        InputError: another encoding, or both a version and a label.

    Example:
        with Client("host:8500") as client:
            detections = client.localize("video.mp4")
    """

    def __init__(
        self,
        address: str,
        model: str = "scnn",
        version: int | None = None,
        label: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        deadline_s: float = 600.0,
        encoding: str = "jpeg",
    ):
        if encoding not in _ENCODERS:
            raise InputError(f"frames are sent as jpeg or png. Received: encoding={encoding!r}")
        if version is not None and label is not None:
            raise InputError(
                f"give the model's version or its label, not both. Received: {version}, {label!r}"
            )
        self.address = address
        self.model = model
        self.version = version
        self.label = label
        self.deadline_s = deadline_s
        self.encoding = encoding
        self._channel = _channel(address, credentials)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._description: dict | None = None
        self._described_version = 0  # the one that `_description` is of

    def __enter__(self) -> "Client":
        """The client itself."""
        return self

    def __exit__(self, *exception) -> None:
        """Ends the connection."""
        self.close()

    def close(self) -> None:
        """Ends the connection; a closed client is of no more use."""
        self._channel.close()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes."""
        return tuple(self.describe()["class_names"])

    @property
    def prior(self) -> WindowPrior:
        """Over classes and window lengths."""
        prior = self.describe()["window_prior"]
        return WindowPrior(
            tuple(prior["class_names"]),
            tuple(prior["window_frames"]),
            np.array(prior["counts"], np.int64),
            np.array(prior["weights"], np.float64),
        )

    def describe(self) -> dict:
        """What `export` wrote of the model: class names, window lengths, prior, thresholds.

        Asked once; again only where the server has changed to another version.

        Raises:
            ServingError: or one of its kinds: no such model, no server, no answer in time.
        """
        if self._description is None:
            outputs, version = self._predict("describe", {}, ["description"])
            self._description = json.loads(outputs["description"].item())
            self._described_version = version
        return self._description

    @property
    def described_version(self) -> int:
        """The version that `describe` is of.

        Raises:
            ServingError: or one of its kinds: no such model, no server, no answer in time.
        """
        self.describe()
        return self._described_version

    def localize(self, path: str | os.PathLike, nms_threshold: float | None = None) -> Detections:
        """Finds the actions of a video file of any length.

        Prior and non-maximum suppression run here, as for networks run here.

        Args:
            path: a video file; its name without extension is the video's id.
            nms_threshold: tIoU; None: the exported model's.

        Returns:
            Detections by score, descending.

        Raises:
            VideoError: the video cannot be used.
            ServingError: or one of its kinds: no such model, no server, no answer in time.
        """
        segments = self.score_video(path, Path(path).stem)
        if nms_threshold is None:
            nms_threshold = self.describe()["nms_threshold"]
        return detections_from_segments(segments, self.prior, nms_threshold)

    def score_video(self, path: str | os.PathLike, video_id: str) -> RawSegments:
        """Has a video file of any length scored; holds one stretch of it at a time, encoded.

        Args:
            path: a video file.
            video_id: for the rows.

        Returns:
            A row for each segment that the proposal network kept: its best class (which may be
            background) and that class's score, ordered by window length, then by start.

        Raises:
            VideoError: the video cannot be used.
            ServingError: or one of its kinds: no such model, no server, no answer in time.
        """
        for _ in range(_ATTEMPTS):
            description = self.describe()
            answers = self._score_stretches(path, description)
            if answers is not None:
                return _segments(answers, description, video_id)
            logging.warning(
                "%s changed to another version during video %s, which is begun again",
                self._where(),
                video_id,
            )
            self._description = None
        raise ServingError(
            f"{self._where()}: two versions of it answer in turn, and a video must be scored by "
            "one; name the version or label to use"
        )

    def _score_stretches(
        self, path: str | os.PathLike, description: dict
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]] | None:
        """Start frames, window lengths and class scores, stretch by stretch.

        None if an answer came from another version than the description did.
        """
        encode = _ENCODERS[self.encoding]
        size = description["frame_height"], description["frame_width"]
        frames = read_frames(path, description["frame_rate"], *size)
        encoded = (encode(frame) for frame in frames)
        answers = []
        for offset, scored, images in stretches(encoded, description["window_frames"], _NEW_FRAMES):
            outputs, version = self._predict(
                "score_stretch",
                {
                    "images": tf.make_tensor_proto(images, tf.string),
                    "scored_frames": tf.make_tensor_proto(scored, tf.int32),
                },
                ["start_frame", "window_frames", "class_scores"],
            )
            if version != self._described_version:
                return None
            start = outputs["start_frame"] + offset
            answers.append((start, outputs["window_frames"], outputs["class_scores"]))
        return answers

    def _predict(
        self, signature: str, inputs: dict, outputs: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], int]:
        """One request: the outputs, and the version of the model that gave them."""
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
        """The same in one sentence."""
        code = error.code()
        # Errors from within a graph go on with its nodes, line after line.
        said = (error.details() or "").strip().partition("\n")[0].rstrip(" .") or code.name
        if "version label" in said:  # TensorFlow Serving has another code for an unknown label
            code = grpc.StatusCode.NOT_FOUND
        refused = (
            InvalidRequest,
            f"refused a request ({said})",
            "ask for a model that export wrote, from the same version of scnn_tf",
        )
        kind, cause, remedy = {
            grpc.StatusCode.NOT_FOUND: (
                ModelNotFound,
                f"not found ({said})",
                "give a model, version or label that the server's models.config names",
            ),
            grpc.StatusCode.INVALID_ARGUMENT: refused,
            grpc.StatusCode.FAILED_PRECONDITION: refused,
            grpc.StatusCode.DEADLINE_EXCEEDED: (
                DeadlineExceeded,
                f"no answer within {self.deadline_s:g} s",
                "allow more time (deadline_s), or see why the server is slow",
            ),
            grpc.StatusCode.UNAVAILABLE: (
                Unavailable,
                f"cannot be reached ({said})",
                "see that a server listens there, with TLS or without as asked for",
            ),
        }.get(code, (ServingError, f"failed ({code.name}: {said})", "look into the server's log"))
        return kind(f"{self._where()}: {cause}; {remedy}")

    def _where(self) -> str:
        version = "" if self.version is None else f", version {self.version}"
        label = "" if self.label is None else f", label {self.label!r}"
        return f"{self.address}, model {self.model!r}{version}{label}"


@dataclasses.dataclass(frozen=True)
class ServerAt:
    """Where a served model is; an `archive.ScorerAt`.

    Attributes:
        address: as of `Client`, and so are `model`, `version`, `label`, `deadline_s`, `encoding`.
        model: its name there.
        version: of the model.
        label: of a version.
        tls_ca: PEM file of the authority that vouches for the server; None: no TLS.
        deadline_s: seconds that a request may take.
        encoding: of the frames on their way.
    """

    address: str
    model: str = "scnn"
    version: int | None = None
    label: str | None = None
    tls_ca: str | os.PathLike | None = None
    deadline_s: float = 600.0
    encoding: str = "jpeg"

    def open(self) -> Client:
        """A client of it.

        Raises:
            InputError: another encoding, both a version and a label, or no certificate.
        """
        credentials = None
        if self.tls_ca is not None:
            certificates = read_text(self.tls_ca)
            if "BEGIN CERTIFICATE" not in certificates:
                raise InputError(f"{self.tls_ca}: there is no certificate in it (PEM)")
            credentials = grpc.ssl_channel_credentials(certificates.encode())
        return Client(
            self.address,
            self.model,
            self.version,
            self.label,
            credentials,
            self.deadline_s,
            self.encoding,
        )

    def pinned(self) -> "ServerAt":
        """With the version that it has now, so that the videos of a run are scored by one."""
        with self.open() as client:
            return dataclasses.replace(self, version=client.described_version, label=None)

    def fingerprint(self) -> dict:
        """The model's name, its version and what it says of itself; and how frames travel."""
        with self.open() as client:
            described = dict(client.describe())
            for later in ("window_prior", "nms_threshold"):  # what comes after the rows
                described.pop(later)
            return {
                "model": self.model,
                "version": client.described_version,
                "encoding": self.encoding,
                **described,
            }

    def prior(self) -> WindowPrior:
        """Over classes and window lengths."""
        with self.open() as client:
            return client.prior


def stretches(
    frames: Iterable[_T], window_frames: Sequence[int], new_frames: int
) -> Iterator[tuple[int, int, list[_T]]]:
    """Cuts a video into stretches such that every window lies in one of them as a whole.

    Stretches begin on the grid of every window length, so that the windows of a stretch are
    windows of the video. Each repeats the last frames of the one before: what a window needs that
    ends in the first frame after that one. Windows that end within these are known already.

    Args:
        frames: the frames of one video, in order, of any type.
        window_frames: lengths of the windows, in frames.
        new_frames: how far apart the stretches begin, rounded down to the grid.

    Yields:
        (offset, scored, stretch): the index of its first frame in the video, how many of its
        frames the one before it had, and the frames.
    """
    # A window of length L starts at a multiple of its stride s = L // 4.
    grid = math.lcm(*(length // STRIDES_PER_WINDOW for length in window_frames))
    step = max(new_frames // grid, 1) * grid
    # One that ends after `scored` starts after scored − L, thus at scored − L + 1 or later; being
    # a multiple of s, it is not before the stretch (≥ 0) if scored − L + 1 > −s. And no stretch
    # may be shorter than all windows, or it would be taken for a short video.
    longest = max(window_frames)
    overlap = max(longest - longest // STRIDES_PER_WINDOW, min(window_frames) - 1)
    stretch: list[_T] = []
    offset = scored = 0
    for frame in frames:
        stretch.append(frame)
        if len(stretch) == step + overlap:
            yield offset, scored, stretch
            stretch = stretch[step:]
            offset, scored = offset + step, overlap
    if len(stretch) > scored:
        yield offset, scored, stretch


def _segments(
    answers: list[tuple[np.ndarray, np.ndarray, np.ndarray]], description: dict, video_id: str
) -> RawSegments:
    """The rows of a whole video, as `localization.score_frames` has them."""
    start, length, scores = map(np.concatenate, zip(*answers, strict=True))
    order = np.lexsort((start, length))
    start, length, scores = start[order], length[order], scores[order]
    names = np.array([BACKGROUND, *description["class_names"]])
    return RawSegments(
        video=[video_id] * len(start),
        window_frames=length,
        start=start / description["frame_rate"],
        end=(start + length) / description["frame_rate"],
        label=names[scores.argmax(axis=1)],
        score=scores.max(axis=1),
    )


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel that retries, and lets whole stretches through."""
    method = {"name": [{"service": "tensorflow.serving.PredictionService"}], "retryPolicy": _RETRY}
    options = [
        ("grpc.max_send_message_length", _MAX_MESSAGE),
        ("grpc.max_receive_message_length", _MAX_MESSAGE),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps({"methodConfig": [method]})),
        # What is larger is not kept for a second attempt; gRPC's own limit is 256 KiB.
        ("grpc.per_rpc_retry_buffer_size", _MAX_MESSAGE),
    ]
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)
