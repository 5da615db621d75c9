"""Localization by one network with three heads."""

import dataclasses
import json
import os
import shutil

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.io.video import read_frames, write_video
from scnn_tf.localization import live, scnn, sequences
from scnn_tf.localization.formats import read_detections, read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.run import ModelFolder, localize_videos
from scnn_tf.localization.scnn import JointSCNN, joint_scores, load_scnn
from scnn_tf.localization.sequences import Scored, segments_table
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import HEADS, InferenceRecipe, Recipe, ShardRecipe
from scnn_tf.models.stages import context_windows
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.segments.stretches import num_samples, num_windows
from scnn_tf.segments.windows import Segment, sampled_indices, sliding_windows

WINDOWS = (16, 32, 64)
NAMES = ("jump", "run")
RECIPE = Recipe(
    name="test",
    shards=ShardRecipe(
        frame_height=24, frame_width=32, window_frames=WINDOWS, stretch_windows=5
    ),
    inference=InferenceRecipe(proposal_threshold=0.0, window_prior=False),
    crop=16, width=1 / 32, hidden=8, normalization="local_motion", initializer="he",
    window_input=True, boundary_reach=3,
)  # fmt: skip
INFO = StageInfo("joint", NAMES, 25.0, 0, RECIPE)
PRIOR = WindowPrior(
    NAMES, WINDOWS, np.ones((2, 3), int), np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
)


def make_frames(count: int) -> list[np.ndarray]:
    """Noise that moves, faster and slower."""
    random = np.random.default_rng(1)
    still = random.integers(0, 256, (24, 32, 3))
    shifts = np.cumsum(random.integers(0, 4, count))
    return [np.roll(still, shift, axis=1).astype(np.uint8) for shift in shifts]


FRAMES = make_frames(400)


@pytest.fixture(scope="module")
def network():
    """A random network, whose scores and boundaries differ from window to window."""
    keras.utils.set_random_seed(3)
    network = INFO.build()
    random = np.random.default_rng(0)
    for head in HEADS:
        kernel = network.get_layer(head).kernel
        kernel.assign(random.normal(0, 3, kernel.shape))
    rows = score_by_hand(network, FRAMES)
    for head, column in (("proposal", 0), ("classes", 1)):
        center = np.mean([row[column] for row in rows.values()], axis=0)
        layer = network.get_layer(head)
        layer.bias.assign(-center)
        spread = np.std([row[column] for row in rows.values()])
        layer.kernel.assign(layer.kernel / spread * 1.5)
        layer.bias.assign(layer.bias / spread * 1.5)
    assert 0.1 < np.std([row[2] for row in rows.values()]) < 0.5
    return network


@pytest.fixture(scope="module")
def joint(network):
    return JointSCNN(network, INFO, PRIOR, RECIPE.inference)


def using(joint: JointSCNN, **inference) -> JointSCNN:
    """The same network with other settings of inference."""
    return dataclasses.replace(joint, inference=dataclasses.replace(joint.inference, **inference))


def score_by_hand(network, frames, mirror=False) -> dict[Segment, tuple]:
    """The outputs of the heads for each window, of the whole sequence of each length at once."""
    cropped = np.array(frames)[:, 4:20, 8:24]  # 16 of 24 rows, 16 of 32 columns: the middle
    cropped = cropped[:, :, ::-1] if mirror else cropped
    found = {}
    for length in WINDOWS:
        if count := num_windows(len(frames), length):
            samples = cropped[:: length // 16][: num_samples(count)]
            outputs = network(
                {"frames": samples[None], "window_frames": np.array([length])}, training=False
            )
            columns = [outputs[head][0].numpy() for head in ("proposal", "classes", "boundaries")]
            for number, row in enumerate(zip(*columns, strict=True)):
                found[Segment(number * length // 4, length)] = row
    return found


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def class_scores(proposal, classes) -> np.ndarray:
    """P(action) · P(class | action) of each class, from a window's logits; background has none."""
    return np.append(0, softmax(proposal)[1] * softmax(classes[1:]))


def expected_rows(network, frames, threshold=0.0, scores_of=class_scores) -> list[tuple]:
    """The columns of the rows, with times in seconds."""
    rows = []
    for window, (proposal, classes, offsets) in score_by_hand(network, frames).items():
        if softmax(proposal)[1] < threshold:
            continue
        scores = scores_of(proposal, classes)
        start, end = [window.start, window.end] + window.length * offsets
        inside = min(end, window.end) - max(start, window.start)
        if inside < 0.25 * (max(end, window.end) - min(start, window.start)):
            start, end = window.start, window.end
        start, end = np.clip([start, end], 0, len(frames))
        best = int(scores.argmax())
        rows.append(
            (window.length, window.start / 25, window.end / 25, (BACKGROUND, *NAMES)[best],
             scores[best], start / 25, end / 25)
        )  # fmt: skip
    return rows


def assert_rows(segments, expected) -> None:
    lengths, starts, ends, labels, scores, action_starts, action_ends = zip(*expected, strict=True)
    assert segments.window_frames.tolist() == list(lengths)
    assert segments.start.tolist() == list(starts)
    assert segments.end.tolist() == list(ends)
    assert segments.label.tolist() == list(labels)
    np.testing.assert_allclose(segments.score, scores, atol=1e-5)
    np.testing.assert_allclose(segments.action_start, action_starts, atol=1e-4)
    np.testing.assert_allclose(segments.action_end, action_ends, atol=1e-4)


def test_rows_are_what_whole_sequences_give(network, joint):
    segments = joint.score_frames(iter(FRAMES), "v")
    # 400 frames: 97 windows of 16, 47 of 32, 22 of 64.
    assert len(segments) == 166 and set(segments.video) == {"v"}
    assert_rows(segments, expected_rows(network, FRAMES))
    # The network tells windows apart. None is background: its score is low instead.
    assert set(NAMES) == set(segments.label)
    assert segments.score.min() < 0.2 and segments.score.max() > 0.8
    assert np.std(segments.score) > 0.05
    moved = np.abs(segments.action_start - segments.start)
    assert (moved > 0.1).any() and (np.abs(segments.action_end - segments.end) > 0.1).any()


@pytest.mark.parametrize(("name", "value"), [("_LARGEST_PART", 16), ("_PART_BYTES", 1)])
def test_rows_do_not_depend_on_the_size_of_a_part(joint, monkeypatch, name, value):
    whole = joint.score_frames(FRAMES, "v")
    sizes = []
    monkeypatch.setattr(scnn, name, value)
    original = sequences.stream_parts

    def counted(*arguments):
        for part, samples in original(*arguments):
            sizes.append(part.stretch.count)
            yield part, samples

    monkeypatch.setattr(sequences, "stream_parts", counted)
    parts = joint.score_frames(FRAMES, "v")
    # As short as a context of 9 + 2 + 3 windows on either side allows, four times as much.
    assert context_windows(RECIPE) == 14
    assert len(sizes) > len(WINDOWS) and max(sizes) == 56
    for column, other in zip(vars(parts).values(), vars(whole).values(), strict=True):
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column, other, atol=1e-5)
        else:
            np.testing.assert_array_equal(column, other)


def test_a_network_trained_on_lone_windows_is_run_on_lone_windows(network, joint):
    recipe = dataclasses.replace(RECIPE, train_windows=1)
    lone = dataclasses.replace(joint, info=dataclasses.replace(INFO, recipe=recipe))
    segments = lone.score_frames(FRAMES[:100], "v")
    cropped = np.array(FRAMES)[:, 4:20, 8:24]
    assert len(segments) == 22 + 9 + 3
    for length, start, score in zip(
        segments.window_frames, segments.start, segments.score, strict=True
    ):
        samples = cropped[round(start * 25) :: length // 16][:16]
        inputs = {"frames": samples[None], "window_frames": np.array([length])}
        outputs = network(inputs, training=False)
        proposal, classes = (outputs[head][0, 0].numpy() for head in ("proposal", "classes"))
        assert score == pytest.approx(class_scores(proposal, classes).max(), abs=1e-5)
    neighbors = joint.score_frames(FRAMES[:100], "v")
    assert np.abs(segments.score - neighbors.score).max() > 0.01


def test_rows_of_a_residual_network_do_not_depend_on_the_size_of_a_part(monkeypatch):
    keras.utils.set_random_seed(0)
    recipe = dataclasses.replace(RECIPE, backbone="resnet3d18")
    info = dataclasses.replace(INFO, recipe=recipe)
    network = info.build()
    kernel = network.get_layer("boundaries").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    residual = JointSCNN(network, info, PRIOR, recipe.inference)
    whole = residual.score_frames(FRAMES, "v")
    monkeypatch.setattr(scnn, "_LARGEST_PART", 16)  # 64 windows, of which 97 of 16 frames are two
    parts = residual.score_frames(FRAMES, "v")
    np.testing.assert_allclose(parts.score, whole.score, atol=1e-5)
    np.testing.assert_allclose(parts.action_start, whole.action_start, atol=1e-4)
    assert np.std(whole.score) > 1e-3


def test_rounding_does_not_depend_on_the_size_of_a_part(monkeypatch):
    """In bfloat16, with so many channels that a convolution forms pairs of frames."""
    keras.utils.set_random_seed(0)
    recipe = dataclasses.replace(RECIPE, width=1 / 4)
    info = dataclasses.replace(INFO, recipe=recipe)
    joint = JointSCNN(info.build(), info, PRIOR, recipe.inference).in_precision("bfloat16")
    kernel = joint.network.get_layer("boundaries").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    whole = joint.score_frames(FRAMES[:300], "v")
    # 248 samples are 59 windows: parts of 56, so that they begin 28 windows apart, not 31.
    monkeypatch.setattr(scnn, "_LARGEST_PART", 248)
    assert joint.sequences.part_windows == 56
    parts = joint.score_frames(FRAMES[:300], "v")
    np.testing.assert_allclose(parts.score, whole.score, atol=1e-5)
    np.testing.assert_allclose(parts.action_start, whole.action_start, atol=1e-5)
    assert np.std(whole.score) > 1e-3 and np.std(whole.action_start - whole.start) > 1e-3


@pytest.mark.parametrize(
    ("width", "crop", "value_bytes", "windows"),
    [(1 / 32, 16, 4, 253), (1.0, 112, 4, 80), (1.0, 112, 2, 164)],
)
def test_a_part_is_bounded_by_its_samples_and_by_its_feature_map(width, crop, value_bytes, windows):
    # 1024 samples are 1 + (1024 − 16)/4 windows. At full width, a sample has 112² · 64 · 4 B =
    # 3.2 MB in conv1a, of which 2^30 B are 334: 1 + (334 − 16)/4 = 80; in bfloat16, 668.
    recipe = dataclasses.replace(
        RECIPE, width=width, crop=crop, shards=dataclasses.replace(
            RECIPE.shards, frame_height=128, frame_width=171
        ),
    )  # fmt: skip
    assert scnn._part_windows(recipe, value_bytes) == windows


def test_scores_by_hand():
    # Softmax of (0, ln 3) is (1/4, 3/4); of (ln 2, 0), without background, (2/3, 1/3).
    outputs = {
        "proposal": np.log([[[1.0, 3.0]]]),
        "classes": np.log([[[5.0, 2.0, 1.0]]]),
    }
    action, classes = joint_scores(outputs)
    np.testing.assert_allclose(action, [[3 / 4]], rtol=1e-6)
    np.testing.assert_allclose(classes, [[[0, 1 / 2, 1 / 4]]], rtol=1e-6)
    # The class head alone: softmax of all three.
    _, classes = joint_scores(outputs, proposal=False)
    np.testing.assert_allclose(classes, [[[5 / 8, 2 / 8, 1 / 8]]], rtol=1e-6)


def test_without_the_proposal_scores_the_class_head_alone_decides(network, joint):
    alone = dataclasses.replace(joint, proposal=False)
    expected = expected_rows(network, FRAMES, scores_of=lambda _, classes: softmax(classes))
    segments = alone.score_frames(FRAMES, "v")
    assert_rows(segments, expected)
    assert {BACKGROUND, *NAMES} == set(segments.label)


def test_the_proposal_head_filters(network, joint):
    expected = expected_rows(network, FRAMES, 0.5)
    assert 10 < len(expected) < 150
    assert_rows(using(joint, proposal_threshold=0.5).score_frames(FRAMES, "v"), expected)
    assert len(using(joint, proposal_threshold=1.0).score_frames(FRAMES, "v")) == 0


def test_actions_end_within_the_video():
    """Boundaries far outside, and such as cross."""
    recipe = dataclasses.replace(RECIPE, boundary_reach=0)  # so that a head can give any offsets
    info = dataclasses.replace(INFO, recipe=recipe)
    far = info.build()
    boundaries = far.get_layer("boundaries")
    boundaries.kernel.assign(np.zeros(boundaries.kernel.shape))
    for offsets, start, end in (
        ([-1.0, 1.0], lambda w: max(0, w.start - w.length), lambda w: min(100, w.end + w.length)),
        ([-99.0, 99.0], lambda w: w.start, lambda w: w.end),  # too far to be believed
        ([0.25, 0.5], lambda w: w.start + w.length / 4, lambda w: min(100, w.end + w.length / 2)),
        ([0.5, -0.5], lambda w: w.start, lambda w: w.end),  # nothing is left: the window
        ([2.0, -2.0], lambda w: w.start, lambda w: w.end),
        ([-99.0, -98.0], lambda w: w.start, lambda w: w.end),  # before the video
    ):
        boundaries.bias.assign(offsets)
        segments = JointSCNN(far, info, PRIOR, RECIPE.inference).score_frames(FRAMES[:100], "v")
        windows = sliding_windows(100, WINDOWS)
        assert segments.action_start.tolist() == pytest.approx([start(w) / 25 for w in windows])
        assert segments.action_end.tolist() == pytest.approx([end(w) / 25 for w in windows])
        assert segments.start.tolist() == [w.start / 25 for w in windows]


def test_a_table_of_scored_segments_by_hand():
    rows = [
        Scored(Segment(0, 16), "run", 0.5, -0.5, 0.25),  # [−8, 20) of 30 frames
        Scored(Segment(8, 16), "jump", 0.25, 0.125, 1.0),  # [10, 40)
        Scored(Segment(8, 16), BACKGROUND, 0.75),
    ]
    table = segments_table("v", rows, 10.0, 30)
    assert list(table.rows()) == [
        ("v", 16, 0.0, 1.6, "run", 0.5, 0.0, 2.0),
        ("v", 16, 0.8, 2.4, "jump", 0.25, 1.0, 3.0),
        ("v", 16, 0.8, 2.4, BACKGROUND, 0.75, 0.8, 2.4),
    ]
    assert len(segments_table("v", [], 10.0, 30)) == 0


@pytest.mark.parametrize("count", [1, 3, 10, 15])
def test_a_video_shorter_than_all_windows_is_one_window(network, joint, count):
    segments = joint.score_frames(FRAMES[:count], "v")
    assert segments.window_frames.tolist() == [count]
    assert (segments.start[0], segments.end[0]) == (0, count / 25)
    clip = np.array([FRAMES[i] for i in sampled_indices(Segment(0, count))])[:, 4:20, 8:24]
    outputs = network({"frames": clip[None], "window_frames": np.array([count])}, training=False)
    scores = class_scores(*(outputs[head][0, 0].numpy() for head in ("proposal", "classes")))
    assert segments.score[0] == pytest.approx(scores.max(), abs=1e-5)
    assert 0 <= segments.action_start[0] < segments.action_end[0] <= count / 25


@pytest.mark.parametrize("count", [16, 17, 20, 31, 32, 64, 83])
def test_a_video_of_about_the_length_of_a_window(network, joint, count):
    assert_rows(joint.score_frames(FRAMES[:count], "v"), expected_rows(network, FRAMES[:count]))


def test_a_video_without_frames_has_no_rows(joint):
    assert len(joint.score_frames([], "v")) == 0


@pytest.mark.parametrize("head", ["proposal", "classes", "boundaries"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_an_error(network, head, value):
    broken = keras.models.clone_model(network)
    broken.set_weights(network.get_weights())
    bias = broken.get_layer(head).bias
    bias.assign(np.full(bias.shape, value))
    with pytest.raises(
        InputError, match="finite scores of the joint network. .*for frames 0 to 16; train it"
    ):
        JointSCNN(broken, INFO, PRIOR, RECIPE.inference).score_frames(FRAMES[:40], "v")


def test_outputs_are_averaged_with_those_of_the_mirror_image(network, joint):
    sides = [score_by_hand(network, FRAMES[:100], mirror) for mirror in (False, True)]
    segments = using(joint, mirror=True).score_frames(FRAMES[:100], "v")
    scores = [
        (class_scores(*one[:2]) + class_scores(*other[:2])) / 2
        for one, other in zip(*(side.values() for side in sides), strict=True)
    ]
    np.testing.assert_allclose(segments.score, np.max(scores, axis=1), atol=1e-5)
    windows = sides[0].keys()
    starts = [w.start + w.length * (sides[0][w][2][0] + sides[1][w][2][0]) / 2 for w in windows]
    inside = (segments.action_start > 0) & (segments.action_start != segments.start)
    assert inside.sum() > 10
    np.testing.assert_allclose(
        segments.action_start[inside], np.array(starts)[inside] / 25, atol=1e-4
    )


def test_another_precision_has_nearly_the_same_rows(network, joint):
    rounded = joint.in_precision("bfloat16")
    assert rounded.network.get_layer("conv2a").compute_dtype == "bfloat16"
    for head in ("proposal", "classes", "boundaries"):
        assert rounded.network.get_layer(head).compute_dtype == "float32"
    frames = np.stack(FRAMES[:100])[None, :, 4:20, 8:24]
    inputs = {"frames": frames, "window_frames": np.array([16], np.int32)}
    got, expected = (each.predict_on_batch(inputs) for each in (rounded.network, network))
    for head, values in expected.items():
        assert got[head].dtype == np.float32
        # Of single values the error depends on how the processor adds up in bfloat16.
        assert 0 < np.abs(got[head] - values).mean() < 0.25 * np.abs(values).mean()


def test_detections_have_the_boundaries_of_the_actions(joint, tmp_path):
    write_video(tmp_path / "walk.mp4", FRAMES[:80], 25)
    segments = joint.score_video(tmp_path / "walk.mp4", "walk")
    assert (
        segments.score.tolist()
        == joint.score_frames(
            read_frames(tmp_path / "walk.mp4", 25.0, 24, 32), "walk"
        ).score.tolist()
    )
    found = using(joint, nms_threshold=1.0).localize(tmp_path / "walk.mp4")
    # Every window is a detection, with a low score if it is no action; there is no prior.
    assert len(found) == len(segments) > 0
    assert sorted(found.start) == sorted(segments.action_start)
    assert sorted(found.end) == sorted(segments.action_end)
    assert sorted(found.score) == sorted(segments.score)


def test_a_folder_with_a_joint_network_is_loaded(tiny_joint, tmp_path):
    loaded = load_scnn(tiny_joint)
    assert isinstance(loaded, JointSCNN) and not loaded.network.jit_compile
    assert loaded.inference.proposal_threshold == 0.1 and loaded.proposal
    assert load_scnn(tiny_joint, scorer="joint").info == loaded.info
    assert load_scnn(tiny_joint, proposal_threshold=0.25).inference.proposal_threshold == 0.25
    # Without the proposal head every window is kept, and the class head alone scores.
    alone = load_scnn(tiny_joint, proposal=False)
    assert alone.inference.proposal_threshold == 0.0 and not alone.proposal
    assert load_scnn(tiny_joint, proposal=False, precision="bfloat16").proposal is False
    rounded = load_scnn(tiny_joint, precision="bfloat16")
    assert rounded.network.get_layer("conv2a").compute_dtype == "bfloat16"
    variant = shutil.copytree(tiny_joint / "joint", tmp_path / "models" / "variant").parent
    assert load_scnn(variant, scorer="variant").info == loaded.info
    with pytest.raises(InputError, match="localization: expected a trained network"):
        load_scnn(variant)


def test_the_joint_network_comes_before_the_others_of_a_folder(tiny_joint, tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models, tmp_path / "models")
    shutil.copytree(tiny_joint / "joint", folder / "joint")
    assert isinstance(load_scnn(folder), JointSCNN)
    assert load_scnn(folder, scorer="localization").info.stage == "localization"
    assert (
        ModelFolder(folder).describe().fingerprint == ModelFolder(tiny_joint).describe().fingerprint
    )
    assert "proposal/model.json" in ModelFolder(folder, "localization").describe().fingerprint


def test_a_joint_network_is_identified_by_its_weights_and_use(tiny_joint, tmp_path):
    first = ModelFolder(tiny_joint).describe()
    assert first.class_names == ("left", "right")
    assert {"joint/model.json", "joint/model.weights.h5"} <= set(first.fingerprint)
    assert ModelFolder(tiny_joint, "joint").describe().fingerprint == first.fingerprint
    for changes in ({"proposal": False}, {"proposal_threshold": 0.25}, {"precision": "bfloat16"}):
        assert ModelFolder(tiny_joint, **changes).describe().fingerprint != first.fingerprint
    # Its training is not part of it.
    other = shutil.copytree(tiny_joint, tmp_path / "other")
    path = other / "joint" / "model.json"
    fields = json.loads(path.read_text())
    fields["recipe"]["name"], fields["recipe"]["joint"]["steps"] = "another", 12345
    path.write_text(json.dumps(fields))
    assert ModelFolder(other).describe().fingerprint == first.fingerprint
    variant = shutil.copytree(tiny_joint / "joint", tmp_path / "variants" / "mine").parent
    model = ModelFolder(variant, "mine")
    assert "mine/model.json" in model.describe().fingerprint
    assert isinstance(model.open(), JointSCNN)


def test_videos_are_localized_by_a_joint_network(tiny_joint, tiny_dataset, tmp_path):
    videos = [tiny_dataset / "videos" / f"{name}.mp4" for name in ("cat", "clip")]
    model = ModelFolder(tiny_joint, proposal_threshold=0.0)
    summary = localize_videos(videos, model, tmp_path, nms_threshold=1.0)
    segments = read_segments(tmp_path / "segments.csv")
    # 80 frames: 17 windows of 16, 7 of 32, 2 of 64; 40: 7 and 2.
    assert [int(sum(segments.video == name)) for name in ("cat", "clip")] == [26, 9]
    header = (tmp_path / "segments.csv").read_text().splitlines()[0]
    assert header == ("video,window_frames,start_s,end_s,class,score,action_start_s,action_end_s")
    loaded = load_scnn(tiny_joint, proposal_threshold=0.0, nms_threshold=1.0)
    for video in videos:
        rows = segments.take(segments.video == video.stem)
        expected = loaded.score_video(video, video.stem)
        assert list(rows.rows()) == list(expected.rows())
    found = read_detections(tmp_path / "detections.json")
    again = detections_from_segments(segments, None, 1.0)
    assert len(found) == len(again) == summary.num_detections
    assert sorted(found.start) == sorted(again.start)
    assert not summary.failures and os.listdir(tmp_path)


@pytest.mark.parametrize("prior", [False, True])
def test_a_stream_gives_what_localization_of_the_video_gives(joint, prior):
    model = using(joint, window_prior=prior)
    expected = model.detections(model.score_frames(FRAMES, "v"))
    expected = sorted(expected, key=lambda row: (row.end, row.score))
    found = sorted(model.stream(iter(FRAMES), video_id="v"), key=lambda row: (row.end, row.score))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert len(found) > 10 and {row.status for row in found} == {"final"}
    times = [[row[2:5] for row in rows] for rows in (found, expected)]
    np.testing.assert_allclose(*times, atol=1e-4)


def test_of_a_stream_that_is_read_too_slowly_the_shortest_windows_are_left_out(joint, caplog):
    class Full:
        filled = 0.5

    pace = live._Pace(WINDOWS, Full())
    found = [part.length for part in joint.judged(FRAMES, live=True, skips=pace.skips) if part.rows]
    assert set(found) == {32, 64}
    assert "the machine is too slow; window lengths left out: 16." in caplog.text
    Full.filled = 0.9
    assert [pace.skips(length) for length in WINDOWS] == [True, True, False]
    Full.filled = 0.2
    assert [pace.skips(length) for length in WINDOWS] == [True, True, False]
    Full.filled = 0.0
    assert not any(pace.skips(length) for length in WINDOWS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"when_slow": "never"}, "expected when_slow to be one of scales, frames, wait. Received"),
        ({"outage_s": 0}, "expected a positive outage_s. Received: 0"),
    ],
)
def test_settings_of_a_stream_out_of_their_range(joint, settings, message):
    with pytest.raises(InputError, match=message):
        joint.stream("a.ts", **settings)
