import dataclasses
import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.video import read_frames, write_video
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.run import SEGMENTS_CSV, ScorerInfo, localize_videos
from scnn_tf.localization.sequences import HeadOutputs, SequenceScorer
from scnn_tf.localization.tables import RawSegments
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.segments.windows import sampled_indices, sliding_windows, stream_segments
from scnn_tf.serving.client import (
    Client,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ModelServer,
    ServingError,
    Unavailable,
)

WINDOWS = (16, 32, 64)
NAMES = ("dim", "bright")
PRIOR = WindowPrior(
    NAMES, WINDOWS, np.ones((2, 3), int), np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
)
DESCRIPTION = {
    "class_names": NAMES,
    "window_frames": WINDOWS,
    "frame_rate": 25.0,
    "frame_height": 24,
    "frame_width": 32,
    "nms_threshold": 0.3,
    "window_prior": {
        "class_names": NAMES,
        "window_frames": WINDOWS,
        "counts": PRIOR.counts.tolist(),
        "weights": PRIOR.weights.tolist(),
    },
}
JOINT_DESCRIPTION = {
    **DESCRIPTION,
    "stage": "joint",
    "takes_length": True,
    "proposal_threshold": 0.36,
    "part_windows": 9,
    "context_windows": 2,
}


def class_scores(images) -> np.ndarray:
    """A segment's scores, float32 [3], from its brightness b in [0, 1]."""
    b = np.mean(images) / 255
    return np.array([(1 - b) ** 2, 2 * b * (1 - b), b**2], np.float32)


def is_kept(scores) -> bool:
    """Stands in for the proposal network: segments with b ≥ .2 are kept."""
    return scores[0] <= 0.64


def head_outputs(frames, window_frames: int) -> HeadOutputs:
    """Stands in for a network with three heads; b of each window decides."""
    starts = range(0, len(frames) - 15, 4)
    scores = np.stack([class_scores(frames[start : start + 16]) for start in starts])
    offsets = scores[:, 1:] * np.float32(window_frames / 64)
    action, scores[:, 0] = 1 - scores[:, 0], 0  # background has no score
    return HeadOutputs(action, scores, offsets)


def score_locally(path, video_id):
    """The same network without a server."""
    fields = [field.name for field in dataclasses.fields(SequenceScorer)]
    scorer = SequenceScorer(**{name: JOINT_DESCRIPTION[name] for name in fields})
    return scorer.score(read_frames(path, 25.0, 24, 32), video_id, head_outputs)


class Local:
    """The same model without a server, and its own handle."""

    def open(self):
        return self

    def pinned(self):
        return self

    def describe(self):
        return ScorerInfo(fingerprint={}, class_names=NAMES, prior=PRIOR, nms_threshold=0.3)

    def score_video(self, path, video_id):
        cut = stream_segments(read_frames(path, 25.0, 24, 32), WINDOWS)
        rows = [(segment, class_scores(images)) for segment, images in cut]
        rows = [row for row in rows if is_kept(row[1])]
        rows.sort(key=lambda row: (row[0].length, row[0].start))
        segments = [segment for segment, _ in rows]
        return RawSegments(
            video=[video_id] * len(rows),
            window_frames=[segment.length for segment in segments],
            start=[segment.start / 25 for segment in segments],
            end=[segment.end / 25 for segment in segments],
            label=[(BACKGROUND, *NAMES)[scores.argmax()] for _, scores in rows],
            score=[scores.max() for _, scores in rows],
        )


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Scores by brightness. Tests change its description, versions and errors."""

    def __init__(self):
        self.description = dict(DESCRIPTION)
        self.requests = []
        self.errors = []  # (code, details) of the next answers
        self.versions = []  # of the next answers; then always 1
        self.answers = threading.Event()  # cleared: requests wait
        self.answers.set()
        self.address = None

    def Predict(self, request, context):
        self.requests.append(request)
        self.answers.wait(30)
        if self.errors:
            context.abort(*self.errors.pop(0))
        if request.model_spec.name != "scnn":
            name = request.model_spec.name
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})"
            )
        outputs = {
            "describe": lambda: {"description": np.array(json.dumps(self.description))},
            "score_stretch": lambda: self.score_stretch(request),
            "jpeg": lambda: self.jpeg(request),
        }[request.model_spec.signature_name]()
        response = predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(outputs[name]) for name in request.output_filter}
        )
        response.model_spec.version.value = self.versions.pop(0) if self.versions else 1
        return response

    def score_stretch(self, request):
        images = tf.make_ndarray(request.inputs["images"])
        frames = [tf.io.decode_image(image).numpy() for image in images]
        scored_frames = tf.make_ndarray(request.inputs["scored_frames"])
        windows = sliding_windows(len(frames), WINDOWS)
        rows = [
            (*window, scores)
            for window in windows
            if window.end > scored_frames
            and is_kept(scores := class_scores([frames[i] for i in sampled_indices(window)]))
        ]
        start, length, scores = zip(*rows, strict=True) if rows else ((), (), np.zeros((0, 3)))
        return {
            "start_frame": np.array(start, np.int64),
            "window_frames": np.array(length, np.int32),
            "class_scores": np.array(scores, np.float32),
        }

    def jpeg(self, request):
        (images,) = tf.make_ndarray(request.inputs["images"])
        frames = [tf.io.decode_image(image).numpy() for image in images]
        outputs = head_outputs(frames, *tf.make_ndarray(request.inputs["window_frames"]))
        names = ("proposal_score", "class_scores", "offsets")
        return {name: output[None] for name, output in zip(names, outputs, strict=True)}

    def chunks(self):
        """(frames, frames that the request before had) of each request with frames."""
        inputs = [request.inputs for request in self.requests if "images" in request.inputs]
        return [
            (len(i["images"].string_val), tf.make_ndarray(i["scored_frames"]).item())
            for i in inputs
        ]


@pytest.fixture
def start_server():
    """`start_server(credentials=None)` returns a `Servicer` that listens."""
    running = []

    def start(credentials=None):
        servicer = Servicer()
        server = grpc.server(
            ThreadPoolExecutor(2),
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        servicer.address = f"127.0.0.1:{port}"
        server.start()
        running.append((servicer, server))
        return servicer

    yield start
    for servicer, server in running:
        servicer.answers.set()
        server.stop(None).wait()


@pytest.fixture
def server(start_server):
    return start_server()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """`long.mp4`, 300 frames of noise that grows brighter; `short.mp4`, 10; `empty.mp4`, none."""
    folder = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(1).integers(0, 256, (24, 32, 3))
    frames = [((np.roll(noise, 3 * i, 1) + 255) * i // 600).astype(np.uint8) for i in range(300)]
    write_video(folder / "long.mp4", frames, 25)
    write_video(folder / "short.mp4", frames[200:210], 25)
    (folder / "empty.mp4").touch()
    return folder


def same(a: RawSegments, b: RawSegments) -> bool:
    return all((vars(a)[column] == vars(b)[column]).all() for column in vars(a))


def test_rows_are_those_of_local_networks_however_long_the_chunks_are(server, videos):
    expected = Local().score_video(videos / "long.mp4", "v")
    # Of 69 + 34 + 15 windows, the proposal network drops some; and all labels occur.
    assert 50 < len(expected) < 118 and set(expected.label) == {BACKGROUND, *NAMES}
    with Client(server.address, encoding="png") as client:
        assert same(client.score_video(videos / "long.mp4", "v"), expected)
        assert server.chunks() == [(300, 0)]
        short = client.score_video(videos / "short.mp4", "s")
        assert same(short, Local().score_video(videos / "short.mp4", "s"))
        assert short.window_frames.tolist() == [10]
    server.requests.clear()
    with Client(server.address, encoding="png", new_frames=32) as client:
        assert same(client.score_video(videos / "long.mp4", "v"), expected)
        # 300 = 80 + 6 · 32 + 28: the last one brings 28 new frames and 48 old ones.
        assert server.chunks() == [(80, 0), *[(80, 48)] * 6, (76, 48)]


def test_a_network_with_three_heads_is_asked_for_parts_of_sequences(server, videos):
    server.description = JOINT_DESCRIPTION
    expected = score_locally(videos / "long.mp4", "v")
    # Of 72 + 34 + 15 windows, some are discarded; both classes occur, and actions are not windows.
    assert 50 < len(expected) < 118 and set(expected.label) == set(NAMES)
    assert (expected.action_start > expected.start).all()
    with Client(server.address, encoding="png") as client:
        assert same(client.score_video(videos / "long.mp4", "v"), expected)
        sent = [tf.make_ndarray(r.inputs["images"]).shape for r in server.requests[1:]]
        # Nine windows, 48 frames, of which five are new; the rest of each sequence at its end.
        assert sent[:3] == [(1, 48)] * 3 and max(sent) == (1, 48)
        short = client.score_video(videos / "short.mp4", "s")
        assert same(short, score_locally(videos / "short.mp4", "s"))
        assert short.window_frames.tolist() == [10]
        assert tf.make_ndarray(server.requests[-1].inputs["window_frames"]).tolist() == [10]


def test_one_version_of_a_network_with_three_heads_scores_a_whole_video(server, videos):
    server.description = JOINT_DESCRIPTION
    with Client(server.address, encoding="png") as client:
        assert client.class_names == NAMES
        server.description = {**JOINT_DESCRIPTION, "class_names": ("dark", "light")}
        server.versions = [1, 1] + [2] * 99
        segments = client.score_video(videos / "long.mp4", "v")
        assert segments.score.tolist() == score_locally(videos / "long.mp4", "v").score.tolist()
        assert set(segments.label) == {"dark", "light"}
        server.versions = [3, 4] * 9
        with pytest.raises(ServingError, match="answers of several versions in turn"):
            client.score_video(videos / "long.mp4", "v")


def test_frames_travel_as_jpeg_of_high_quality_and_full_color_resolution(server, videos):
    expected = Local().score_video(videos / "short.mp4", "v")
    with Client(server.address) as client:
        segments = client.score_video(videos / "short.mp4", "v")
    np.testing.assert_allclose(segments.score, expected.score, atol=0.005)
    frames = np.stack(list(read_frames(videos / "short.mp4", 25.0, 24, 32)))
    sent = tf.make_ndarray(server.requests[-1].inputs["images"])
    received = np.stack(
        [tf.io.decode_jpeg(image, dct_method="INTEGER_ACCURATE").numpy() for image in sent]
    )
    # Of noise, a quality of 95 and colors at half the resolution change pixels by 16 on average.
    assert np.abs(received.astype(int) - frames).mean() < 1.5


def test_localize_applies_prior_and_nms_like_local_networks(server, videos):
    segments = Local().score_video(videos / "long.mp4", "long")
    with Client(server.address, encoding="png") as client:
        for given_threshold, threshold in ((None, 0.3), (0.7, 0.7)):
            found = client.localize(videos / "long.mp4", nms_threshold=given_threshold)
            expected = detections_from_segments(segments, PRIOR, threshold)
            assert 0 < len(found) == len(expected)
            for column in vars(expected):
                assert vars(found)[column].tolist() == vars(expected)[column].tolist()
    # The description was asked for once.
    signatures = [request.model_spec.signature_name for request in server.requests]
    assert signatures == ["describe", "score_stretch", "score_stretch"]


def test_a_served_model_without_prior_leaves_scores_as_they_are(server, videos):
    ones = np.ones((2, 3)).tolist()  # as the description of such a model has them
    server.description["window_prior"] = {**DESCRIPTION["window_prior"], "weights": ones}
    segments = Local().score_video(videos / "long.mp4", "long")
    expected = detections_from_segments(segments, None, 0.3)
    with Client(server.address, encoding="png") as client:
        found = client.localize(videos / "long.mp4")
    assert 0 < len(found) and found.score.tolist() == expected.score.tolist()
    assert found.start.tolist() == expected.start.tolist()


def test_a_run_writes_the_files_that_local_networks_write(server, videos, tmp_path):
    paths = [videos / f"{name}.mp4" for name in ("short", "empty", "missing", "long")]
    handle = ModelServer(server.address, encoding="png")
    found = localize_videos(paths, handle, tmp_path / "served", detections_file="found.txt")
    local = localize_videos(paths, Local(), tmp_path / "local", detections_file="found.txt")
    assert found.failures == local.failures
    assert [failure["video"] for failure in found.failures] == [str(paths[1]), str(paths[2])]
    for name in (SEGMENTS_CSV, "found.txt", "detclasslist.txt"):
        served = (tmp_path / "served" / name).read_bytes()
        assert served == (tmp_path / "local" / name).read_bytes() and served.count(b"\n") > 1


def test_a_run_keeps_to_the_version_that_answered_first(server, videos, tmp_path):
    handle = ModelServer(server.address, label="stable")
    localize_videos([videos / "short.mp4"], handle, tmp_path)
    # The first request asks by label, all others by the version that answered.
    asked = [request.model_spec.version_label for request in server.requests]
    assert asked[0] == "stable" and set(asked[1:]) == {""}
    assert {r.model_spec.version.value for r in server.requests[1:]} == {1}
    # Another NMS threshold does not change the rows, so nothing is scored again.
    server.description["nms_threshold"] = 0.5
    server.requests.clear()
    localize_videos([videos / "short.mp4"], handle, tmp_path)
    assert server.chunks() == []
    server.versions = [2] * 9
    with pytest.raises(InputError, match=r"results of other networks \(version was 1, is 2\)"):
        localize_videos([videos / "long.mp4"], handle, tmp_path)


@pytest.mark.parametrize("description", [DESCRIPTION, JOINT_DESCRIPTION])
def test_scores_that_are_not_finite_are_an_error(server, videos, monkeypatch, description):
    server.description = description
    monkeypatch.setattr("tests.serving.test_client.class_scores", lambda images: np.full(3, np.nan))
    monkeypatch.setattr("tests.serving.test_client.is_kept", lambda scores: True)
    with Client(server.address) as client:
        with pytest.raises(ServingError, match="expected finite scores. Received: NaN or infi"):
            client.score_video(videos / "short.mp4", "v")


@pytest.mark.parametrize("text", ["no JSON", 200_000 * "["])
def test_a_description_that_is_no_json_is_an_error(server, monkeypatch, text):
    with Client(server.address) as client:
        monkeypatch.setattr(json, "dumps", lambda description: text)
        with pytest.raises(ServingError, match="expected the description of a model that export"):
            client.describe()


def test_a_video_without_frames_is_refused_before_the_server_is_asked_to_score(server, videos):
    with Client(server.address) as client, pytest.raises(VideoError, match="is empty"):
        client.score_video(videos / "empty.mp4", "v")
    assert server.chunks() == []


@pytest.mark.parametrize(
    ("code", "details", "kind", "message"),
    [
        ("NOT_FOUND", "Servable not found for request: Latest(scnn)", ModelNotFound,
         "not found (Servable not found for request: Latest(scnn)); give a model, version"),
        ("INVALID_ARGUMENT", "Unrecognized servable version label: x", ModelNotFound,
         "not found (Unrecognized servable version label: x); give a model, version or label"),
        ("INVALID_ARGUMENT", "assertion failed: [too many.]\n\t [[{{node Assert}}]]",
         InvalidRequest, "refused a request (assertion failed: [too many.]); ask for a model"),
        ("FAILED_PRECONDITION", 'Serving signature key "describe" not found.',
         InvalidRequest, 'refused a request (Serving signature key "describe" not found); ask'),
        ("INTERNAL", "", ServingError, "failed (INTERNAL: INTERNAL); read the server's log"),
    ],
)  # fmt: skip
def test_each_status_code_becomes_its_error_class_and_one_sentence(
    server, code, details, kind, message
):
    server.errors = [(grpc.StatusCode[code], details)]
    with Client(server.address) as client, pytest.raises(ServingError) as error:
        client.describe()
    assert type(error.value) is kind
    assert str(error.value).startswith(f"{server.address}, model 'scnn': {message}")
    assert "\n" not in str(error.value)


def test_requests_name_the_model_and_the_version_or_label(server):
    for options, expected in (
        ({"version": 7}, ("scnn", 7, "")),
        ({"label": "canary"}, ("scnn", 0, "canary")),
        ({}, ("scnn", 0, "")),
    ):
        with Client(server.address, **options) as client:
            client.describe()
        spec = server.requests[-1].model_spec
        assert (spec.name, spec.version.value, spec.version_label) == expected
    with Client(server.address, model="other", version=7) as client:
        with pytest.raises(ModelNotFound, match="model 'other', version 7: not found"):
            client.describe()


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="encoding must be jpeg or png. Received: 'gif'"):
        Client("127.0.0.1:1", encoding="gif")
    for deadline in (0.0, -1.0, float("nan"), 3601.0, float("inf")):
        with pytest.raises(InputError, match="deadline_s must be above 0 and at most 3600. Rec"):
            Client("127.0.0.1:1", deadline_s=deadline)
    with pytest.raises(InputError, match="not both. Received: version=7, label='canary'"):
        Client("127.0.0.1:1", version=7, label="canary")


def test_large_requests_are_retried_while_the_server_is_not_ready(server, videos):
    with Client(server.address, encoding="png", retry_wait_s=0.01) as client:
        client.describe()
        server.requests.clear()
        server.errors = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 2
        segments = client.score_video(videos / "long.mp4", "v")
    assert same(segments, Local().score_video(videos / "long.mp4", "v"))
    # gRPC by itself keeps at most 256 KiB for a retry.
    assert [request.ByteSize() > 256 << 10 for request in server.requests] == [True] * 3


def test_retries_end_after_five_attempts(server):
    server.errors = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 9
    with Client(server.address, retry_wait_s=0.01) as client:
        with pytest.raises(Unavailable, match=r"cannot be reached \(loading\); che"):
            client.describe()
    assert len(server.requests) == 5


def test_an_address_without_a_server_is_unavailable():
    with Client("127.0.0.1:1", retry_wait_s=0.01) as client:
        with pytest.raises(Unavailable, match="^127.0.0.1:1, model 'scnn': cannot be rea"):
            client.describe()


def test_a_request_ends_at_its_deadline(server):
    server.answers.clear()
    with Client(server.address, deadline_s=0.2) as client:
        with pytest.raises(DeadlineExceeded, match="no answer within 0.2 s; allow more"):
            client.describe()


def test_responses_and_requests_have_a_size_limit(server, videos):
    server.description["provenance"] = "x" * (5 << 20)  # more than gRPC's own limit
    with Client(server.address) as client:
        assert len(client.describe()["provenance"]) == 5 << 20
    with Client(server.address, max_message_bytes=4000) as client:
        with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED.*larger than max.* 4000"):
            client.describe()
        del server.description["provenance"]
        client.describe()
        with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED.*larger than max.* 4000"):
            client.score_video(videos / "long.mp4", "v")
    assert server.chunks() == []  # the request was not sent


def test_a_video_is_scored_again_by_one_version_after_a_swap(server, videos):
    with Client(server.address, encoding="png", new_frames=32) as client:
        assert client.class_names == NAMES
        server.description["class_names"] = ("dark", "light")
        # Version 2 answers the third chunk: the client asks for its description, and starts
        # the video again.
        server.requests.clear()
        server.versions = [1, 1] + [2] * 10
        segments = client.score_video(videos / "long.mp4", "v")
        expected = Local().score_video(videos / "long.mp4", "v")
        assert segments.score.tolist() == expected.score.tolist()
        assert set(segments.label) == {BACKGROUND, "dark", "light"}
        assert len(server.requests) == 3 + 1 + 8
        assert client.class_names == ("dark", "light")
        # Two servers behind one address, each with another version.
        server.versions = [3, 4] * 9
        with pytest.raises(ServingError, match="answers of several versions in turn"):
            client.score_video(videos / "long.mp4", "v")


@pytest.mark.needs("openssl")
def test_tls_needs_the_server_s_own_authority(start_server, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    pair = (key.read_bytes(), certificate.read_bytes())
    server = start_server(grpc.ssl_server_credentials([pair]))
    trusting = grpc.ssl_channel_credentials(certificate.read_bytes())
    with Client(server.address, credentials=trusting, retry_wait_s=0.01) as client:
        assert client.class_names == NAMES
    for credentials in (None, grpc.ssl_channel_credentials()):
        with Client(server.address, credentials=credentials, retry_wait_s=0.01) as client:
            with pytest.raises(Unavailable, match="whether it uses TLS"):
                client.describe()
