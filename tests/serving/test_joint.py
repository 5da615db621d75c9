"""A network with three heads, exported: in TensorFlow alone, behind a server, and asked by clients.

The other tests of what is served, in `test_served`, run with such a network, too.
"""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from scnn_tf.errors import InputError
from scnn_tf.io.video import read_frames, write_video
from scnn_tf.localization import scnn
from scnn_tf.localization.scnn import load_scnn
from scnn_tf.models.boundaries import SURROUNDINGS
from scnn_tf.models.recipes import HEADS
from scnn_tf.serving.client import Client
from scnn_tf.serving.export import describe, export_scnn, read_provenance
from scnn_tf.serving.stretch_graph import StretchGraph
from scnn_tf.shards import records
from tests.serving_stand_in.server import StandIn, read_config

pytestmark = pytest.mark.slow  # the fixtures are

PART = 180  # samples of a part: at least four times the context of 16 windows on either side


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 32 × 32, of three parts at the shortest length; its noise changes speed."""
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (32, 32, 3), np.uint8)
    moved = [np.roll(noise, i * i // 60, axis=1) // (1 + i // 40 % 2) for i in range(330)]
    path = tmp_path_factory.mktemp("videos") / "noise.mp4"
    write_video(path, moved, 25)
    return path


@pytest.fixture(scope="module")
def frames(video):
    return np.stack(list(read_frames(video, 25.0, 32, 32)))


@pytest.fixture(scope="module")
def model(tiny_joint, frames):
    """A network with weights that tell windows apart, unlike those of a few steps of training.

    About half of the windows of `frames` pass its threshold.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scnn, "_LARGEST_PART", PART)
        model = _with(load_scnn(tiny_joint), proposal_threshold=0.0)
        recipe = dataclasses.replace(model.info.recipe, hidden=64)
        info = dataclasses.replace(model.info, recipe=recipe)
        keras.utils.set_random_seed(2)
        model = dataclasses.replace(model, network=info.build(), info=info)
        random = np.random.default_rng(1)
        for name, scale in (("boundaries", 0.2), ("classes", 0.5), ("proposal", 0.5)):
            kernel = model.network.get_layer(name).kernel
            kernel.assign(random.normal(scale=scale, size=kernel.shape))
        graph = StretchGraph(model)
        scores = graph.score_frames(tf.constant(frames))["class_scores"].numpy()
        bias = model.network.get_layer("classes").bias
        bias.assign(bias - [0, *np.median(np.log(scores[:, 1:]), axis=0)])
        action = graph.score_frames(tf.constant(frames))["proposal_score"].numpy()
        yield _with(model, proposal_threshold=float(np.median(action)))


def _with(model, **inference):
    changed = dataclasses.replace(model.inference, **inference)
    return dataclasses.replace(model, inference=changed)


@pytest.fixture(scope="module")
def exported(tiny_joint, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "scnn"
    return export_scnn(model, folder, provenance=read_provenance(tiny_joint))


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    yield loaded.signatures
    del loaded


@pytest.fixture(scope="module")
def address(exported):
    with StandIn(read_config(exported.parents[1] / "models.config")) as server:
        yield server.address


def answer(signatures, name, **inputs):
    outputs = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: value.numpy() for key, value in outputs.items()}


def same(table, other) -> bool:
    return all((vars(table)[column] == vars(other)[column]).all() for column in vars(table))


def test_a_window_of_several_classes_gets_the_local_rows(model, frames):
    recipe = dataclasses.replace(
        model.info.recipe, shards=dataclasses.replace(model.info.recipe.shards, multi_label=True)
    )
    info = dataclasses.replace(model.info, recipe=recipe)
    several = dataclasses.replace(model, network=info.build(), info=info)
    kernel = several.network.get_layer("boundaries").kernel
    kernel.assign(np.random.default_rng(0).normal(scale=0.2, size=kernel.shape))
    every = _with(several, proposal_threshold=0.0).score_frames(iter(frames), "v")
    several = _with(several, proposal_threshold=float(np.median(every.score)))
    segments = several.score_frames(iter(frames), "v")
    windows = set(zip(segments.start.tolist(), segments.end.tolist(), strict=True))
    assert len(windows) < len(segments) <= 2 * len(windows)  # some have both classes
    graph = StretchGraph(several)
    rows = {name: value.numpy() for name, value in graph.score_frames(tf.constant(frames)).items()}
    assert rows["start_s"].tolist() == segments.start.tolist()
    assert rows["action_start_s"].tolist() == segments.action_start.tolist()
    assert rows["action_end_s"].tolist() == segments.action_end.tolist()
    assert rows["class_scores"].max(axis=1).tolist() == segments.score.tolist()
    names = np.array(["background", *info.class_names])
    assert names[rows["class_scores"].argmax(axis=1)].tolist() == segments.label.tolist()
    detections, found = several.detections(segments), graph.localize(tf.constant(frames))
    assert found["start_s"].numpy().tolist() == detections.start.tolist()
    assert found["label"].numpy().astype(str).tolist() == detections.label.tolist()


def test_a_whole_video_in_the_graph_gets_the_local_rows_and_detections(signatures, model, frames):
    segments = model.score_frames(iter(frames), "v")
    assert 60 < len(segments) < 85  # about half of the 134 windows
    assert set(segments.label) == {"left", "right"} and len(set(segments.window_frames)) == 3
    rows = answer(signatures, "score_frames", frames=frames)
    for column, expected in (
        ("window_frames", segments.window_frames),
        ("start_s", segments.start),
        ("end_s", segments.end),
        ("action_start_s", segments.action_start),
        ("action_end_s", segments.action_end),
    ):
        assert rows[column].tolist() == expected.tolist()
    assert (rows["start_frame"] / 25).tolist() == segments.start.tolist()
    assert rows["class_scores"].max(axis=1).tolist() == segments.score.tolist()
    assert (rows["proposal_score"] >= np.float32(model.inference.proposal_threshold)).all()
    assert not rows["class_scores"][:, 0].any()
    np.testing.assert_allclose(rows["class_scores"].sum(axis=1), rows["proposal_score"], rtol=1e-5)
    # Actions begin and end elsewhere than their windows, and in the video.
    assert np.ptp(rows["offsets"]) > 0.1
    assert rows["action_start_s"].min() >= 0 and rows["action_end_s"].max() <= len(frames) / 25

    detections, found = model.detections(segments), answer(signatures, "localize", frames=frames)
    assert 5 < len(detections) < len(segments)
    assert found["start_s"].tolist() == detections.start.tolist()
    assert found["end_s"].tolist() == detections.end.tolist()
    assert found["label"].astype(str).tolist() == detections.label.tolist()
    assert found["score"].tolist() == detections.score.tolist()


@pytest.mark.parametrize("num_frames", [1, 9, 16, 40])
def test_short_videos_in_the_graph_get_the_local_rows(signatures, model, frames, num_frames):
    graph = StretchGraph(_with(model, proposal_threshold=0.0))
    rows = graph.score_frames(tf.constant(frames[:num_frames]))
    expected = _with(model, proposal_threshold=0.0).score_frames(iter(frames[:num_frames]), "v")
    assert len(expected) > 0
    assert rows["window_frames"].numpy().tolist() == expected.window_frames.tolist()
    assert rows["action_end_s"].numpy().tolist() == expected.action_end.tolist()
    assert rows["class_scores"].numpy().max(axis=1).tolist() == expected.score.tolist()


def test_a_video_without_a_kept_window_has_no_row(model, frames):
    graph = StretchGraph(_with(model, proposal_threshold=1.0))
    assert len(graph.score_frames(tf.constant(frames[:40]))["start_s"]) == 0
    assert len(graph.localize(tf.constant(frames[:40]))["start_s"]) == 0


def test_a_client_gets_the_local_rows_to_the_last_digit_by_png(address, model, video, frames):
    expected = model.score_video(video, "v")
    with Client(address, encoding="png") as client:
        assert same(client.score_video(video, "v"), expected)
        assert same(client.localize(video), model.localize(video))
        described = client.describe()
    assert (described["part_windows"], described["context_windows"]) == (64, 16)


def test_a_client_streams_what_it_localizes(address, model, video, frames):
    with Client(address, encoding="png") as client:
        expected = sorted(client.localize(video), key=lambda row: (row.end, row.score))
        for source in (video, iter(frames)):
            found = client.stream(source, video_id="noise", outage_s=0.3)
            found = sorted(found, key=lambda row: (row.end, row.score))
            assert [row[:2] for row in found] == [row[:2] for row in expected]
            times = [[row[2:5] for row in rows] for rows in (found, expected)]
            np.testing.assert_allclose(*times, atol=1e-4)
    assert len(expected) > 5


def test_a_client_gets_about_the_local_rows_by_jpeg(tiny_joint, model, video, tmp_path):
    model = _with(model, proposal_threshold=0.0)
    export_scnn(model, tmp_path / "scnn")
    expected = model.score_video(video, "v")
    with StandIn(read_config(tmp_path / "models.config")) as server:
        with Client(server.address) as client:
            found = client.score_video(video, "v")
    assert found.start.tolist() == expected.start.tolist()
    alike = found.label == expected.label
    assert alike.mean() > 0.9
    # Where the class is the same; docs/serving.md has what JPEG changes.
    assert np.abs(found.score - expected.score)[alike].max() < 0.05
    assert np.abs(found.action_start - expected.action_start).mean() < 0.05
    assert not same(found, expected)


def test_frames_images_and_records_get_the_outputs_of_the_network(
    signatures, model, tiny_stretches
):
    serialized = [
        record.numpy()
        for path in sorted((tiny_stretches / "shards").glob("*.tfrecord*"))
        for record in tf.data.TFRecordDataset(str(path))
    ]
    decoded = [records.decode(record) for record in serialized]
    chosen = [i for i, record in enumerate(decoded) if len(record.labels) == 7][:2]
    images = np.array([decoded[i].images for i in chosen], object)
    lengths = np.array([decoded[i].window_frames for i in chosen], np.int32)
    clips = np.stack(
        [[tf.io.decode_jpeg(image, dct_method="INTEGER_ACCURATE") for image in row]
         for row in images]
    )  # fmt: skip
    assert clips.shape == (2, 40, 32, 32, 3)

    def run(clips):
        outputs = model.network({"frames": clips, "window_frames": lengths})
        action = tf.nn.softmax(outputs["proposal"])[:, :, 1:].numpy()
        # The first class is background, which has no score; the others share that of the action.
        shares = tf.nn.softmax(outputs["classes"][:, :, 1:]).numpy()
        classes = np.concatenate([np.zeros_like(action), action * shares], axis=-1)
        return action[:, :, 0], classes, outputs["boundaries"].numpy()

    centre = clips[:, :, 8:24, 8:24]
    both = run(centre), run(centre[:, :, :, ::-1])
    expected = [(one + mirrored) / 2 for one, mirrored in zip(*both, strict=True)]
    examples = np.array([serialized[i] for i in chosen], object)
    for found in (
        answer(signatures, "serving_default", frames=clips, window_frames=lengths),
        answer(signatures, "jpeg", images=images, window_frames=lengths),
        answer(signatures, "sequence_example", examples=examples),
    ):
        for name, value in zip(
            ("proposal_score", "class_scores", "offsets"), expected, strict=True
        ):
            assert found[name].shape[:2] == (2, 7)
            np.testing.assert_allclose(found[name], value, atol=1e-5)


LENGTH = {"window_frames": np.array([16], np.int32)}


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("serving_default", {"frames": np.zeros([0, 16, 8, 8, 3], np.uint8)}, "no stretch"),
        ("serving_default", {"frames": np.zeros([1, 12, 8, 8, 3], np.uint8)}, "at most 268"),
        ("serving_default", {"frames": np.zeros([1, 18, 8, 8, 3], np.uint8)}, r"has 16 \+ 4 \(n"),
        ("serving_default", {"frames": np.zeros([1, 272, 1, 1, 3], np.uint8)}, "at most 268"),
        ("serving_default", {"frames": np.zeros([64, 68, 1, 1, 3], np.uint8)}, "more than 4096 fr"),
        ("serving_default", {"frames": np.zeros([2, 16, 8, 8, 3], np.uint8)}, "one for each stre"),
        ("serving_default", {"frames": np.zeros([257, 16, 1, 1, 3], np.uint8)}, "more than 256 st"),
        ("jpeg", {"images": np.full([1, 16], b"GIF89a;")}, "neither JPEG nor PNG"),
        ("jpeg", {"images": np.full([1, 15], b"")}, r"has 16 \+ 4 \(n - 1\) frames"),
        ("sequence_example", {"examples": np.array([b"no record"])}, "Invalid protocol message"),
        ("localize", {"frames": np.zeros([4097, 1, 1, 3], np.uint8)}, "more than 4096 frames"),
        ("score_frames", {"frames": np.zeros([0, 8, 8, 3], np.uint8)}, "no frame"),
    ],
)
def test_bad_requests_are_invalid_arguments(signatures, name, inputs, message):
    if name in ("serving_default", "jpeg"):
        inputs = inputs | LENGTH
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(signatures, name, **inputs)


def test_a_window_length_is_positive(signatures):
    frames = np.zeros([1, 16, 32, 32, 3], np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="window_frames must be positive"):
        answer(signatures, "serving_default", frames=frames, window_frames=np.zeros(1, np.int32))


def test_the_description_says_how_a_sequence_is_cut(exported, model):
    asset = json.loads((exported / "assets" / "scnn.json").read_text())
    assert asset["stage"] == "joint"
    assert asset["provenance"]["stages"]["joint"]["metrics"]["steps"] == 6
    described = describe(model)
    assert {name: asset[name] for name in described} == described
    assert described["window_prior"]["used"] is False


def test_warm_up_requests_cover_every_signature_with_one_window_and_a_part(exported, signatures):
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    seen = []
    for serialized in tf.data.TFRecordDataset(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(
            serialized.numpy()
        ).predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        name = request.model_spec.signature_name
        outputs = answer(signatures, name, **inputs)
        windows = outputs["class_scores"].shape[1] if "offsets" in outputs else 0
        seen.append((name, windows if name not in ("score_frames", "localize") else 64))
    stretches = [
        (name, n) for name in ("serving_default", "jpeg", "sequence_example") for n in (1, 64)
    ]
    assert sorted(seen) == sorted([*stretches, ("score_frames", 64), ("localize", 64)])


def test_bfloat16_halves_the_weights_and_answers_like_the_local_network(model, frames, tmp_path):
    folder = export_scnn(model, tmp_path / "scnn", precision="bfloat16")
    stored = sum(path.stat().st_size for path in (folder / "variables").glob("*.data-*"))
    last = sum(model.network.get_layer(name).count_params() for name in (SURROUNDINGS, *HEADS))
    rest = model.network.count_params() - last
    assert stored < 2 * rest + 4 * last + 4096  # the last layers stay in float32
    signatures = tf.saved_model.load(str(folder)).signatures
    rows = answer(signatures, "score_frames", frames=frames)
    expected = model.in_precision("bfloat16").score_frames(iter(frames), "v")
    assert rows["start_s"].tolist() == expected.start.tolist()
    assert rows["action_end_s"].tolist() == expected.action_end.tolist()
    assert rows["class_scores"].max(axis=1).tolist() == expected.score.tolist()


def test_a_network_that_is_not_finite_is_not_exported(model, frames, tmp_path):
    broken = keras.models.clone_model(model.network)
    broken.set_weights([np.full_like(weight, np.nan) for weight in model.network.get_weights()])
    broken = dataclasses.replace(model, network=broken)
    with pytest.raises(InputError, match="finite weights. Received: NaN or infinity in .*kernel"):
        export_scnn(broken, tmp_path / "scnn")
    message = "the joint network gives scores that are not finite"
    graph = StretchGraph(broken)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        graph.score_frames(tf.constant(frames[:20]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        graph.stretches(tf.constant(frames[None, :16]), tf.constant([16]))
