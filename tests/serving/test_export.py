import dataclasses
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.io.video import read_frames
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.scnn import load_scnn
from scnn_tf.models.recipes import InferenceRecipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.segments.windows import sampled_indices, sliding_windows
from scnn_tf.serving.export import describe, export_scnn, read_provenance
from scnn_tf.serving.segment_graph import BATCH_SIZES, SegmentGraph
from scnn_tf.shards import records

pytestmark = pytest.mark.slow  # the fixtures are

# A server: TensorFlow without Keras and without this package.
SERVER = """
import pickle, sys
sys.modules["keras"] = sys.modules["scnn_tf"] = None
import tensorflow as tf
model, asked, answered = sys.argv[1:]
signatures = tf.saved_model.load(model).signatures
with open(asked, "rb") as file:
    requests = pickle.load(file)
answers = [
    {key: value.numpy() for key, value in signatures[name](**inputs).items()}
    for name, inputs in requests
]
with open(answered, "wb") as file:
    pickle.dump(answers, file)
"""


def ask(model, *requests):
    """Answers to (signature, inputs) from a process without Keras and without this package."""
    asked, answered = model / "asked.pickle", model / "answered.pickle"
    constants = [
        (name, {key: np.asarray(value) for key, value in inputs.items()})
        for name, inputs in requests
    ]
    asked.write_bytes(pickle.dumps(constants))
    # Converted in the server: a tensor cannot be pickled.
    code = SERVER.replace("(**inputs)", "(**{k: tf.constant(v) for k, v in inputs.items()})")
    command = [sys.executable, "-c", code, *map(str, (model, asked, answered))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return pickle.loads(answered.read_bytes())


@pytest.fixture(scope="module")
def frames(tiny_dataset):
    """The 80 frames of the test video, uint8 `[80, 32, 32, 3]`."""
    return np.stack(list(read_frames(tiny_dataset / "videos" / "cat.mp4", 25.0, 32, 32)))


@pytest.fixture(scope="module")
def model(tiny_models, frames):
    """An S-CNN whose threshold is in the widest gap of the proposal scores of `frames`' windows."""
    model = load_scnn(tiny_models)
    windows = sliding_windows(len(frames))
    clips = np.stack([frames[sampled_indices(w)] for w in windows])[:, :, 8:24, 8:24]
    lengths = np.array([w.length for w in windows])
    logits = model.proposal({"frames": clips, "window_frames": lengths})
    scores = np.sort(tf.nn.softmax(logits)[:, 0, 1])
    widest = 5 + np.diff(scores[5:-5]).argmax()
    threshold = float(scores[widest : widest + 2].mean())
    inference = dataclasses.replace(model.inference, proposal_threshold=threshold)
    return dataclasses.replace(model, inference=inference)


@pytest.fixture(scope="module")
def exported(tiny_models, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "scnn"
    (folder / "partial.1" / "variables").mkdir(parents=True)  # left by an export that was killed
    return export_scnn(model, folder, provenance=read_provenance(tiny_models))


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    yield loaded.signatures
    del loaded


def encoded(frames, encode=tf.io.encode_png):
    return np.array([encode(frame).numpy() for frame in frames], object)


def assert_same_as_local(model, frames, rows, found):
    """The answers of `score_frames` and `localize` are the results of this process."""
    segments = model.score_frames(iter(frames), "v")
    assert rows["window_frames"].tolist() == segments.window_frames.tolist()
    assert rows["start_s"].tolist() == segments.start.tolist()
    assert rows["end_s"].tolist() == segments.end.tolist()
    assert (rows["start_frame"] / 25).tolist() == segments.start.tolist()
    assert (rows["proposal_score"] >= model.inference.proposal_threshold).all()
    names = np.array([BACKGROUND, *model.info.class_names])
    assert names[rows["class_scores"].argmax(axis=1)].tolist() == segments.label.tolist()
    np.testing.assert_allclose(rows["class_scores"].max(axis=1), segments.score, atol=1e-4)

    detections = model.detections(segments)
    assert found["label"].astype(str).tolist() == detections.label.tolist()
    assert found["start_s"].tolist() == detections.start.tolist()
    assert found["end_s"].tolist() == detections.end.tolist()
    assert names[found["class_index"]].tolist() == detections.label.tolist()
    np.testing.assert_allclose(found["score"], detections.score, atol=1e-4)


def test_tensorflow_alone_answers_like_the_local_networks(exported, model, frames):
    rows, found, chunk, described = ask(
        exported,
        ("score_frames", {"frames": frames}),
        ("localize", {"frames": frames}),
        ("score_stretch", {"images": encoded(frames), "scored_frames": np.int32(0)}),
        ("describe", {}),
    )
    assert_same_as_local(model, frames, rows, found)
    assert (
        5 <= len(rows["start_s"]) <= len(sliding_windows(len(frames))) - 5
    )  # the threshold discards some
    for name, column in rows.items():
        np.testing.assert_array_equal(chunk[name], column)
    asset = json.loads((exported / "assets" / "scnn.json").read_text())
    assert json.loads(described["description"]) == asset
    assert asset["class_names"] == ["left", "right"]
    assert asset["window_prior"]["weights"] == model.prior.weights.tolist()
    assert asset["window_prior"]["used"] is True
    assert asset["provenance"]["stages"]["proposal"]["metrics"]["steps"] == 1


def test_a_real_video_is_localized_like_locally(signatures, model, data_dir):
    path = sorted((data_dir / "videos" / "kth").glob("*.avi"))[0]
    frames = np.stack(list(read_frames(path, 25.0, 32, 32))[:200])
    answers = (
        {k: v.numpy() for k, v in signatures[name](frames=tf.constant(frames)).items()}
        for name in ("score_frames", "localize")
    )
    assert_same_as_local(model, frames, *answers)


def test_frames_images_and_records_get_the_scores_of_the_networks(signatures, model, frames):
    windows = [(0, 16), (8, 32), (16, 64)]
    clips = np.stack([frames[s + np.arange(16) * n // 16] for s, n in windows])
    lengths = np.array([n for _, n in windows], np.int32)
    centre = clips[:, :, 8:24, 8:24]  # 16 × 16 of 32 × 32

    def softmax(network, clips):
        return tf.nn.softmax(network({"frames": clips, "window_frames": lengths}))[:, 0].numpy()

    action = softmax(model.proposal, centre)[:, 1]
    classes = softmax(model.localization, centre)
    classes = (classes + softmax(model.localization, centre[:, :, :, ::-1])) / 2

    images = np.array([encoded(clip) for clip in clips])
    examples = [
        records.encode(
            records.SegmentRecord(
                "v", "v.mp4", s, n, range(16), 0, "background", 1.0, False, 0.0, png, 32, 32, 25.0
            )
        )
        for (s, n), png in zip(windows, images, strict=True)
    ]
    lengths = tf.constant(lengths)
    for answer in (
        signatures["serving_default"](frames=tf.constant(clips), window_frames=lengths),
        signatures["jpeg"](images=tf.constant(images), window_frames=lengths),
        signatures["sequence_example"](examples=tf.constant(examples)),
    ):
        np.testing.assert_allclose(answer["proposal_score"], action, atol=1e-5)
        np.testing.assert_allclose(answer["class_scores"], classes, atol=1e-5)


def test_a_chunk_leaves_out_windows_within_its_scored_frames(signatures, frames):
    images = tf.constant(encoded(frames))
    whole = signatures["score_stretch"](images=images, scored_frames=tf.constant(0))
    late = signatures["score_stretch"](images=images, scored_frames=tf.constant(40))
    end = whole["start_frame"].numpy() + whole["window_frames"].numpy()
    assert 0 < (end > 40).sum() < len(end)
    for name in whole:
        np.testing.assert_allclose(late[name], whole[name].numpy()[end > 40], atol=1e-6)


def test_a_last_batch_of_one_is_rounded_like_in_local_networks(model, frames):
    recipe = dataclasses.replace(model.info.recipe, hidden=512)
    keras.utils.set_random_seed(0)
    proposal, localization = (
        dataclasses.replace(model.info, stage=stage, recipe=recipe).build()
        for stage in ("proposal", "localization")
    )
    wide = dataclasses.replace(
        model, proposal=proposal, localization=localization,
        inference=dataclasses.replace(model.inference, proposal_threshold=0.0),
    )  # fmt: skip
    graph = SegmentGraph(wide, 2)
    score_frames = tf.function(graph.score_frames)
    for begin in range(0, 56, 8):
        clip = frames[begin : begin + 24]  # three windows: a batch of two, and one
        expected = wide.score_frames(iter(clip), "v").score
        rows = score_frames(tf.constant(clip))
        found = rows["class_scores"].numpy().max(axis=1)
        # On processors without AVX-512 the last bit differs.
        np.testing.assert_array_max_ulp(found, expected.astype(np.float32), maxulp=4)


def test_a_video_shorter_than_all_windows_is_one_segment(signatures, model, frames):
    rows = signatures["score_frames"](frames=tf.constant(frames[:9]))
    expected = model.score_frames(iter(frames[:9]), "v")
    assert rows["window_frames"].numpy().tolist() == expected.window_frames.tolist()
    assert set(rows["window_frames"].numpy()) <= {9}


def test_frames_of_another_size_are_resized(signatures, frames):
    larger = np.repeat(np.repeat(frames, 2, axis=1), 3, axis=2)  # 64 × 96
    resized = tf.cast(tf.image.resize(larger, [32, 32], antialias=True), tf.uint8)
    expected = signatures["score_frames"](frames=resized)
    rows = signatures["score_frames"](frames=tf.constant(larger))
    np.testing.assert_array_equal(rows["start_frame"], expected["start_frame"])
    np.testing.assert_allclose(rows["class_scores"], expected["class_scores"], atol=1e-5)


def test_simultaneous_requests_get_their_own_answers(signatures, frames):
    def score(index):
        clips = tf.constant(frames[None, index : index + 16])
        answer = signatures["serving_default"](frames=clips, window_frames=tf.constant([16]))
        return answer["class_scores"].numpy()[0]

    alone = [score(index) for index in range(40)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(score, range(40)))
    np.testing.assert_allclose(together, alone, atol=1e-5)
    # More segments than are scored at a time.
    clips = np.stack([frames[i : i + 16] for i in range(40)])
    answer = signatures["serving_default"](
        frames=tf.constant(clips), window_frames=tf.fill([40], 16)
    )
    np.testing.assert_allclose(answer["class_scores"], alone, atol=1e-5)


SEGMENT = np.zeros([1, 16, 32, 32, 3], np.uint8)
# The header of a PNG of 20000 × 20000 pixels; the rest is missing.
PNG_OF_20000 = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + 2 * (20000).to_bytes(4, "big") + b"\x08\2\0\0\0CRC."
)


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("serving_default", {"frames": np.zeros([0, 16, 32, 32, 3], np.uint8)}, "no segment"),
        ("serving_default", {"frames": np.zeros([2, 16, 32, 32, 3], np.uint8)}, "equal 0th"),
        ("serving_default", {"frames": np.zeros([1025, 16, 1, 1, 3], np.uint8)}, "more than 1024"),
        ("jpeg", {"images": np.full([1025, 16], b"")}, "more than 1024"),
        ("jpeg", {"images": np.full([1, 16], b"")}, "neither JPEG nor PNG"),
        ("jpeg", {"images": np.full([1, 16], b"no image")}, "neither JPEG nor PNG"),
        ("jpeg", {"images": np.full([1, 16], b"GIF89a;")}, "neither JPEG nor PNG"),
        ("jpeg", {"images": np.full([1, 16], b"\xff\xd8\xff no JPEG")}, "JPEG"),
        ("jpeg", {"images": np.full([1, 16], PNG_OF_20000)}, "more than 8388608 pixels"),
        ("score_stretch", {"images": np.full([20], PNG_OF_20000)}, "more than 8388608 pixels"),
        ("serving_default", {"frames": SEGMENT, "window_frames": [-1]}, "must be positive"),
        ("sequence_example", {"examples": np.array([b"no record"])}, "Invalid protocol message"),
        ("score_frames", {"frames": np.zeros([0, 32, 32, 3], np.uint8)}, "no frame"),
        ("score_frames", {"frames": np.zeros([4097, 1, 1, 3], np.uint8)}, "more than 4096 frames"),
        ("localize", {"frames": np.zeros([4097, 1, 1, 3], np.uint8)}, "more than 4096 frames"),
        ("score_frames", {"frames": np.zeros([20, 0, 9, 3], np.uint8)}, "non-zero size"),
        ("serving_default", {"frames": np.zeros([1, 16, 9, 0, 3], np.uint8)}, "non-zero size"),
    ],
)
def test_bad_requests_are_invalid_arguments(signatures, name, inputs, message):
    if name == "score_stretch":
        inputs = {**inputs, "scored_frames": np.int32(0)}
    if name in ("serving_default", "jpeg") and "window_frames" not in inputs:
        count = 1 if "equal" in message else len(next(iter(inputs.values())))
        inputs = {**inputs, "window_frames": np.full([count], 16, np.int32)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})


def test_weights_are_stored_once(exported, model):
    parameters = model.proposal.count_params() + model.localization.count_params()
    stored = sum(path.stat().st_size for path in (exported / "variables").glob("*.data-*"))
    assert 4 * parameters <= stored < 4 * parameters * 1.05 + 4096


@pytest.fixture(scope="module")
def half(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("half") / "scnn"
    return export_scnn(model, folder, precision="bfloat16", max_batch_size=4)


def test_bfloat16_halves_the_size_of_the_weights(half, model):
    parameters = model.proposal.count_params() + model.localization.count_params()
    stored = sum(path.stat().st_size for path in (half / "variables").glob("*.data-*"))
    assert stored < 2.5 * parameters + 4096


def test_requests_for_two_versions_in_one_process_are_not_merged(signatures, half, frames):
    versions = signatures, tf.saved_model.load(str(half)).signatures

    def score(job):
        version, index = job
        clips, lengths = tf.constant(frames[None, index : index + 16]), tf.constant([16])
        answer = versions[version]["serving_default"](frames=clips, window_frames=lengths)
        return answer["class_scores"].numpy()[0]

    jobs = [(version, index) for index in range(20) for version in (0, 1)]
    alone = np.array([score(job) for job in jobs])
    with ThreadPoolExecutor(16) as pool:
        together = np.array(list(pool.map(score, jobs)))
    np.testing.assert_allclose(together, alone, atol=1e-6)
    apart = np.abs(alone[::2] - alone[1::2]).max(axis=1)
    assert (apart > 1e-5).all() and (apart < 0.02).all()


def test_batch_normalization_is_exported_with_its_moving_statistics(
    model, frames, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(model.info.recipe, backbone="resnet3d18", width=1 / 32)
    infos = [
        dataclasses.replace(model.info, stage=stage, recipe=recipe)
        for stage in ("proposal", "localization")
    ]
    keras.utils.set_random_seed(0)  # the weights must not depend on the tests before
    proposal, localization = (info.build() for info in infos)
    random = np.random.default_rng(0)
    for layer in (*proposal.layers, *localization.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(random.uniform(0.5, 2, [4, *layer.gamma.shape]))
    residual = dataclasses.replace(
        model, proposal=proposal, localization=localization, info=infos[1],
        inference=InferenceRecipe(proposal_threshold=0.0),
    )  # fmt: skip
    signatures = SegmentGraph.signatures  # one of them is enough, and takes a fifth of the time
    monkeypatch.setattr(
        SegmentGraph,
        "signatures",
        lambda graph: {"score_frames": signatures(graph)["score_frames"]},
    )
    loaded = tf.saved_model.load(str(export_scnn(residual, tmp_path / "scnn", max_batch_size=1)))
    rows = loaded.signatures["score_frames"](frames=tf.constant(frames[:40]))
    expected = residual.score_frames(iter(frames[:40]), "v")
    np.testing.assert_array_equal(rows["window_frames"], expected.window_frames)
    np.testing.assert_allclose(rows["class_scores"].numpy().max(axis=1), expected.score, atol=1e-4)
    assert np.ptp(expected.score) > 0.01


def test_existing_versions_and_bad_arguments_are_refused(model, exported):
    folder = exported.parent
    assert exported.name == "1"
    with pytest.raises(InputError, match="scnn/1: this version exists already"):
        export_scnn(model, folder, version=1)
    with pytest.raises(InputError, match="version must be in 1 .* Received: 0"):
        export_scnn(model, folder, version=0)
    for wrong in ({"precision": "int8"}, {"max_batch_size": 3}, {"label": "best"}):
        with pytest.raises(InputError, match="must be one of"):
            export_scnn(model, folder, **wrong)
    for nowhere in ("", " "):
        with pytest.raises(InputError, match="expected the folder of the model"):
            export_scnn(model, nowhere)
    (folder.parent / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        export_scnn(model, folder.parent / "file")
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_a_broken_models_config_is_reported_before_the_work(model, tmp_path):
    (tmp_path / "models.config").write_text("model_config_list {")
    with pytest.raises(InputError, match="models.config: not a model server's configuration"):
        export_scnn(model, tmp_path / "scnn")
    assert not (tmp_path / "scnn").exists()


def test_a_folder_is_exported_into_by_one_process(model, tmp_path, monkeypatch):
    def meanwhile(*arguments):
        # A lock also keeps out another one of the same process.
        with pytest.raises(InputError, match="no other process works in. Found: export by proc"):
            export_scnn(model, tmp_path / "scnn")
        raise KeyboardInterrupt

    monkeypatch.setattr("scnn_tf.serving.export._archive", meanwhile)
    with pytest.raises(KeyboardInterrupt):
        export_scnn(model, tmp_path / "scnn")
    assert [path.name for path in tmp_path.rglob("*")] == ["scnn"]


@pytest.mark.parametrize("stage", ["proposal", "localization"])
def test_networks_that_are_not_finite_are_not_exported(model, frames, stage, tmp_path):
    network = getattr(model, stage)
    broken = keras.models.clone_model(network)
    broken.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    model = dataclasses.replace(model, **{stage: broken})
    with pytest.raises(InputError, match="finite weights. Received: NaN or infinity in .*kernel"):
        export_scnn(model, tmp_path / "scnn")
    assert not list(tmp_path.iterdir())
    # Finite weights may overflow: the graph checks the scores, too.
    graph = SegmentGraph(model, 32)
    message = f"the {stage} network gives scores that are not finite"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        graph.score_frames(tf.constant(frames[:20]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        graph.segments(tf.constant(frames[None, :16]), tf.constant([16]))


def test_a_full_disk_is_reported_and_leaves_nothing_behind(model, tmp_path, monkeypatch):
    class Full:
        def write_out(self, folder, verbose):
            (folder / "saved_model.pb").touch()
            raise tf.errors.ResourceExhaustedError(None, None, "saved_model.pb; No space left")

    monkeypatch.setattr("scnn_tf.serving.export._archive", lambda *arguments: Full())
    with pytest.raises(InputError, match="scnn/1: cannot be written .*No space left"):
        export_scnn(model, tmp_path / "scnn")
    assert not list((tmp_path / "scnn").iterdir())


def test_the_prior_is_applied_by_class_name_in_whatever_order(model, frames):
    prior = model.prior
    reversed_prior = WindowPrior(
        prior.class_names[::-1], prior.window_frames, prior.counts[::-1], prior.weights[::-1]
    )
    expected = SegmentGraph(model, 32).localize(tf.constant(frames))
    reordered = dataclasses.replace(model, prior=reversed_prior)
    found = SegmentGraph(reordered, 32).localize(tf.constant(frames))
    assert found["label"].numpy().tolist() == expected["label"].numpy().tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-6)


def test_the_graph_and_the_description_obey_a_recipe_without_prior(model, frames):
    inference = dataclasses.replace(model.inference, window_prior=False)
    without = dataclasses.replace(model, inference=inference)
    graph = SegmentGraph(without, 32)
    found = graph.localize(tf.constant(frames))
    expected = detections_from_segments(
        model.score_frames(iter(frames), "v"), None, model.inference.nms_threshold
    )
    assert found["label"].numpy().astype(str).tolist() == expected.label.tolist()
    np.testing.assert_allclose(found["score"], expected.score, atol=1e-4)
    with_prior = SegmentGraph(model, 32).localize(tf.constant(frames))
    assert not np.array_equal(with_prior["score"], found["score"])
    described = describe(without)["window_prior"]
    assert described["used"] is False
    assert described["weights"] == np.ones_like(model.prior.weights).tolist()
    assert described["counts"] == model.prior.counts.tolist()


def test_a_killed_export_leaves_no_version(model, tmp_path, monkeypatch):
    class Killed:
        def write_out(self, folder, verbose):
            (folder / "saved_model.pb").touch()
            raise KeyboardInterrupt

    monkeypatch.setattr("scnn_tf.serving.export._archive", lambda *arguments: Killed())
    with pytest.raises(KeyboardInterrupt):
        export_scnn(model, tmp_path / "scnn")
    assert not [path for path in (tmp_path / "scnn").iterdir() if path.name.isdecimal()]
    assert not (tmp_path / "models.config").exists()


def test_warm_up_requests_cover_every_signature_and_batch_size(exported, signatures):
    from tensorflow_serving.apis import prediction_log_pb2

    seen = []
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    for serialized in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(serialized.numpy())
        request = log.predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        name = request.model_spec.signature_name
        answer = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        first = max(inputs.values(), key=np.size)  # the frames; a proto's map has no order
        seen.append((name, len(first)))
        if name in ("serving_default", "jpeg", "sequence_example"):
            assert answer["class_scores"].shape == (len(first), 3)
    segments = [
        (name, size)
        for name in ("serving_default", "jpeg", "sequence_example")
        for size in BATCH_SIZES
    ]
    videos = [(name, 64) for name in ("score_frames", "score_stretch", "localize")]
    assert sorted(seen) == sorted(segments + videos)
