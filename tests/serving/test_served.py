"""An exported model behind a server, asked over the network.

By default the server is the stand-in, and the model a tiny one. To test TensorFlow Serving itself:

    SCNN_SERVING_ADDRESS=host:8500 SCNN_SAVED_MODEL=saved_models/scnn/1 \
        python -m pytest tests/serving/test_served.py

where SCNN_SAVED_MODEL is the folder that the server has mounted as its newest version of "scnn".
"""

import json
import os
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from scnn_tf.io.video import read_frames
from scnn_tf.localization.formats import read_detections, read_segments
from scnn_tf.localization.scnn import load_scnn
from scnn_tf.serving.client import Client
from scnn_tf.serving.export import export_scnn
from tests.serving_stand_in.server import StandIn, read_config

REMOTE = os.environ.get("SCNN_SERVING_ADDRESS")
CODE = grpc.StatusCode

pytestmark = pytest.mark.slow  # the fixtures are


@pytest.fixture(scope="module", params=["remote"] if REMOTE else ["tiny_models", "tiny_joint"])
def networks(request):
    """The folder of the networks that are served; None: of a real server, they are unknown."""
    return None if REMOTE else request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def saved_model(networks, tmp_path_factory):
    """The folder of the version that is served."""
    if REMOTE:
        return Path(os.environ["SCNN_SAVED_MODEL"])
    model = load_scnn(networks, proposal_threshold=0.0)
    return export_scnn(model, tmp_path_factory.mktemp("saved_models") / "scnn")


@pytest.fixture(scope="module")
def address(saved_model):
    if REMOTE:
        yield REMOTE
        return
    with StandIn(read_config(saved_model.parents[1] / "models.config")) as server:
        yield server.address


@pytest.fixture(scope="module")
def stub(address):
    with grpc.insecure_channel(address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def asset(saved_model):
    return json.loads((saved_model / "assets" / "scnn.json").read_text())


@pytest.fixture(scope="module")
def local(saved_model):
    """The signatures of the same model, loaded into this process."""
    loaded = tf.saved_model.load(str(saved_model))
    yield loaded.signatures
    del loaded


@pytest.fixture(scope="module")
def video(tiny_dataset):
    return tiny_dataset / "videos" / "cat.mp4"


@pytest.fixture(scope="module")
def frames(video, asset):
    return np.stack(
        list(read_frames(video, asset["frame_rate"], asset["frame_height"], asset["frame_width"]))
    )


def ask(stub, signature, inputs, **spec):
    spec = {"name": "scnn", "signature_name": signature, **spec}
    request = predict_pb2.PredictRequest(model_spec=spec)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return stub.Predict(request, 60)


def refused(stub, code, signature, inputs, **spec):
    with pytest.raises(grpc.RpcError) as error:
        ask(stub, signature, inputs, **spec)
    assert error.value.code() == code, error.value


def with_length(asset, inputs, count=1):
    if asset["takes_length"]:
        inputs["window_frames"] = np.full([count], 16, np.int32)
    return inputs


def test_every_signature_answers_like_the_model_loaded_here(stub, local, asset, frames):
    images = np.array([tf.io.encode_jpeg(frame).numpy() for frame in frames[:40]], object)
    clips, clip_images = np.stack([frames[:16], frames[20:36]]), images[None, :16]
    asked = {
        "serving_default": with_length(asset, {"frames": clips}, 2),
        "jpeg": with_length(asset, {"images": clip_images}),
        "score_frames": {"frames": frames},
        "score_stretch": {"images": images, "scored_frames": np.int32(0)},
        "localize": {"frames": frames},
        "describe": {},
    }
    assert set(asked) | {"sequence_example"} == {*local, "score_stretch"}
    asked = {signature: inputs for signature, inputs in asked.items() if signature in local}
    for signature, inputs in asked.items():
        response = ask(stub, signature, inputs)
        expected = local[signature](**{key: tf.constant(value) for key, value in inputs.items()})
        assert set(response.outputs) == set(expected)
        assert response.model_spec.version.value >= 1
        for name, value in expected.items():
            found, value = tf.make_ndarray(response.outputs[name]), value.numpy()
            if np.issubdtype(found.dtype, np.floating):
                np.testing.assert_allclose(found, value, atol=1e-4)
            else:
                assert np.array_equal(found, value)


def test_bad_requests_are_refused_with_tensorflow_serving_s_codes(stub, asset):
    def default(frames):
        return with_length(asset, {"frames": frames}, len(frames))

    good = default(np.zeros([1, 16, 8, 8, 3], np.uint8))
    refused(stub, CODE.NOT_FOUND, "serving_default", good, name="other")
    refused(stub, CODE.NOT_FOUND, "serving_default", good, version={"value": 999})
    refused(stub, CODE.INVALID_ARGUMENT, "serving_default", good, version_label="other")
    refused(stub, CODE.FAILED_PRECONDITION, "other", good)
    for frames in (
        np.zeros([16, 8, 8, 3], np.uint8),  # rank
        np.zeros([1, 15, 8, 8, 3], np.uint8),  # shape
        np.zeros([1, 16, 8, 8, 3], np.float32),  # dtype
        np.zeros([0, 16, 8, 8, 3], np.uint8),  # nothing
    ):
        refused(stub, CODE.INVALID_ARGUMENT, "serving_default", default(frames))
    renamed = {{"frames": "pictures"}.get(key, key): value for key, value in good.items()}
    refused(stub, CODE.INVALID_ARGUMENT, "serving_default", renamed)
    refused(stub, CODE.INVALID_ARGUMENT, "serving_default", {})
    for garbage in (b"garbage", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
        images = with_length(asset, {"images": np.full([1, 16], garbage, object)})
        refused(stub, CODE.INVALID_ARGUMENT, "jpeg", images)
    long = np.zeros([5000, 4, 4, 3], np.uint8)
    refused(stub, CODE.INVALID_ARGUMENT, "localize", {"frames": long})


def test_status_and_metadata_name_the_version_and_its_signatures(stub, address):
    with grpc.insecure_channel(address) as channel:
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "scnn"
        states = service.GetModelStatus(request, 60).model_version_status
    assert get_model_status_pb2.ModelVersionStatus.AVAILABLE in [s.state for s in states]
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "scnn"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, 60).metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "jpeg", "sequence_example", "score_frames", "localize"} <= set(
        signatures.signature_def
    )


@pytest.mark.parametrize("new_frames", [128, 1024])
def test_the_client_finds_what_one_request_with_all_frames_finds(
    address, local, video, frames, new_frames
):
    expected = {k: v.numpy() for k, v in local["localize"](frames=tf.constant(frames)).items()}
    with Client(address, encoding="png", new_frames=new_frames) as client:
        found = client.localize(video)
    assert len(found) == len(expected["score"]) > 0
    np.testing.assert_allclose(found.start, expected["start_s"], atol=1e-4)
    np.testing.assert_allclose(found.end, expected["end_s"], atol=1e-4)
    assert found.label.tolist() == expected["label"].astype(str).tolist()
    np.testing.assert_allclose(found.score, expected["score"], atol=1e-4)


@pytest.mark.skipif(bool(REMOTE), reason="needs the networks that were exported")
def test_localize_writes_the_same_files_with_a_server_as_without(
    run_binary, address, networks, video, tmp_path
):
    for folder, source in (
        ("local", [f"--model_dir={networks}", "--proposal_threshold=0"]),
        ("served", [f"--server={address}", "--encoding=png"]),
    ):
        code, _, err = run_binary("localize", *source, f"--output_dir={tmp_path / folder}", video)
        assert code == 0, err
    names = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "served").iterdir())
    segments = [read_segments(tmp_path / f / "segments.csv") for f in ("local", "served")]
    assert segments[0].start.tolist() == segments[1].start.tolist()
    assert segments[0].label.tolist() == segments[1].label.tolist()
    for column in ("score", "action_start", "action_end"):
        ours, theirs = (getattr(table, column) for table in segments)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    found = [read_detections(tmp_path / f / "detections.json") for f in ("local", "served")]
    assert len(found[0]) == len(found[1]) > 0
    np.testing.assert_allclose(found[0].start, found[1].start, atol=1e-4)
