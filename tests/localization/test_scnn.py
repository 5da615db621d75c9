import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.io.video import read_frames, write_video
from scnn_tf.localization import scnn
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.scnn import SCNN, load_scnn
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import InferenceRecipe, Recipe, ShardRecipe, get_recipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, write_prior
from scnn_tf.segments.windows import sampled_indices, sliding_windows
from scnn_tf.training import train

WINDOWS = (16, 32, 64)
RECIPE = Recipe(
    name="test", shards=ShardRecipe(frame_height=24, frame_width=32, window_frames=WINDOWS),
    inference=InferenceRecipe(proposal_threshold=0.0), crop=16, width=1 / 32, hidden=8,
    normalization="motion", initializer="he", window_input=True,
)  # fmt: skip
NAMES = ("jump", "run")
PRIOR = WindowPrior(
    NAMES, WINDOWS, np.ones((2, 3), int), np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
)


def info(stage: str, **changes) -> StageInfo:
    recipe = dataclasses.replace(RECIPE, **changes)
    return StageInfo(stage, NAMES, 25.0, 0, recipe)


def make_frames(count: int) -> list[np.ndarray]:
    """Noise that moves: every window looks different."""
    random = np.random.default_rng(1)
    still = random.integers(0, 256, (24, 32, 3))
    return [
        np.clip(np.roll(still, i * i // 40, axis=1) * (i % 50) / 50, 0, 255).astype(np.uint8)
        for i in range(count)
    ]


FRAMES = make_frames(100)


@pytest.fixture(scope="module")
def models():
    """Random networks: stage → network. About half of the segments of `FRAMES` are background."""
    keras.utils.set_random_seed(0)
    models = {stage: info(stage).build() for stage in ("proposal", "localization")}
    _, logits = score_by_hand(models["localization"], FRAMES)
    bias = models["localization"].get_layer("fc8").bias
    bias.assign([np.median(logits[:, 1:].max(axis=1) - logits[:, 0]), 0, 0])
    return models


@pytest.fixture(scope="module")
def networks(models):
    return SCNN(
        models["proposal"], models["localization"], info("localization"), PRIOR, RECIPE.inference
    )


def using(networks: SCNN, **inference) -> SCNN:
    """The same networks with other settings of inference."""
    changed = dataclasses.replace(networks.inference, **inference)
    return dataclasses.replace(networks, inference=changed)


def score_by_hand(model, frames, mirror=False):
    """All windows, and their logits `[N, outputs]`, each computed without the others."""
    windows = sliding_windows(len(frames), WINDOWS)
    clips = np.array([[frames[i] for i in sampled_indices(w)] for w in windows])
    clips = clips[:, :, 4:20, 8:24]  # 16 of 24 rows, 16 of 32 columns: the middle
    if mirror:
        clips = clips[..., ::-1, :]
    lengths = np.array([w.length for w in windows])
    logits = [
        model({"frames": clips[i : i + 1], "window_frames": lengths[i : i + 1]})
        for i in range(len(windows))
    ]
    return windows, np.concatenate(logits)[:, 0]  # of one window each


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_rows_are_what_scoring_window_by_window_gives(models, networks):
    windows, logits = score_by_hand(models["localization"], FRAMES)
    # 100 frames: 16 at 0, 4 … 84: 22; 32 at 0, 8 … 64: 9; 64 at 0, 16, 32: 3.
    assert len(windows) == 34
    scores = softmax(logits)
    segments = networks.score_frames(iter(FRAMES), "v")
    assert set(segments.video) == {"v"}
    # The order of sliding_windows is that of length, then start.
    assert segments.window_frames.tolist() == [w.length for w in windows]
    assert segments.start.tolist() == [w.start / 25 for w in windows]
    assert segments.end.tolist() == [w.end / 25 for w in windows]
    # Without regressed boundaries, an action is as long as its window.
    assert segments.action_start.tolist() == segments.start.tolist()
    assert segments.action_end.tolist() == segments.end.tolist()
    names = np.array([BACKGROUND, *NAMES])
    assert segments.label.tolist() == names[scores.argmax(axis=1)].tolist()
    assert {BACKGROUND} < set(segments.label)
    np.testing.assert_allclose(segments.score, scores.max(axis=1), atol=1e-5)


def test_the_proposal_network_filters(models, networks):
    windows, logits = score_by_hand(models["proposal"], FRAMES)
    action = softmax(logits)[:, 1]
    ranked = np.sort(action)
    # Between two scores that are well apart, somewhere in the middle.
    gap = 12 + int(np.argmax(np.diff(ranked[12:23])))
    threshold = float(ranked[gap] + ranked[gap + 1]) / 2
    strict = using(networks, proposal_threshold=threshold)
    kept = strict.score_frames(FRAMES, "v")
    expected = [w for w, score in zip(windows, action, strict=True) if score >= threshold]
    assert 0 < len(expected) < len(windows)
    starts = np.rint(kept.start * 25).astype(int).tolist()
    assert list(zip(starts, kept.window_frames.tolist(), strict=True)) == expected
    everything = networks.score_frames(FRAMES, "v")
    rows = np.flatnonzero(action >= threshold)
    assert kept.label.tolist() == everything.label[rows].tolist()
    np.testing.assert_allclose(kept.score, everything.score[rows], atol=1e-6)

    # More than every score: no segment is left, and that is no error.
    strictest = using(networks, proposal_threshold=1.0)
    assert len(strictest.score_frames(FRAMES, "v")) == 0
    without = dataclasses.replace(strict, proposal=None)
    assert len(without.score_frames(FRAMES, "v")) == 34


@pytest.mark.parametrize("stage", ["proposal", "localization"])
@pytest.mark.parametrize("value", [np.nan, 3e38])  # 3e38 is finite, and overflows
def test_scores_that_are_not_finite_are_an_error(networks, stage, value):
    broken = keras.models.clone_model(getattr(networks, stage))
    broken.set_weights(getattr(networks, stage).get_weights())
    broken.get_layer("fc8").bias.assign(np.full(broken.get_layer("fc8").bias.shape, value))
    if value == 3e38:
        broken.get_layer("fc8").kernel.assign(np.full(broken.get_layer("fc8").kernel.shape, value))
    with pytest.raises(
        InputError, match=f"finite scores of the {stage} network. Received: nan for frames 0 to 16"
    ):
        dataclasses.replace(networks, **{stage: broken}).score_frames(FRAMES, "v")


def test_class_scores_are_averaged_with_the_mirror_images(models, networks):
    sides = [softmax(score_by_hand(models["localization"], FRAMES, m)[1]) for m in (0, 1)]
    both = using(networks, mirror=True)
    segments = both.score_frames(FRAMES, "v")
    scores = (sides[0] + sides[1]) / 2
    np.testing.assert_allclose(segments.score, scores.max(axis=1), atol=1e-5)
    assert np.abs(segments.score - sides[0].max(axis=1)).max() > 1e-4


@pytest.mark.parametrize("count", [1, 10, 15])
def test_a_video_shorter_than_the_windows_is_one_segment(models, networks, count):
    segments = networks.score_frames(FRAMES[:count], "v")
    assert segments.window_frames.tolist() == [count]
    assert (segments.start[0], segments.end[0]) == (0, count / 25)
    scores = softmax(score_by_hand(models["localization"], FRAMES[:count])[1])
    assert segments.score[0] == pytest.approx(scores.max(), abs=1e-5)


def test_a_video_file(networks, tmp_path):
    write_video(tmp_path / "v.mp4", FRAMES[:40], 25)
    segments = networks.score_video(tmp_path / "v.mp4", "v")
    expected = networks.score_frames(read_frames(tmp_path / "v.mp4", 25.0, 24, 32), "v")
    assert segments.score.tolist() == expected.score.tolist()


@pytest.mark.parametrize(("recipe", "batch"), [("small_paper", 32), ("thumos14", 2)])
def test_a_batch_is_bounded_by_its_feature_map(recipe, batch):
    # 16 · 40² · 8 filters · 4 B = .8 MB a segment; 16 · 112² · 64 · 4 B = 51 MB, of 134.
    assert scnn._batch_size(get_recipe(recipe)) == batch


def test_loaded_networks_run_without_xla(model_dir):
    # Which took 30 times as long for the small network, and 3 times for the full one.
    networks = load_scnn(model_dir)
    assert not networks.proposal.jit_compile and not networks.localization.jit_compile


def test_networks_of_the_constructor_run_without_xla():
    fresh = {stage: info(stage).build() for stage in ("proposal", "localization")}
    SCNN(fresh["proposal"], fresh["localization"], info("localization"), PRIOR, RECIPE.inference)
    assert not fresh["proposal"].jit_compile and not fresh["localization"].jit_compile


def test_localize_is_the_scored_segments_post_processed(networks, tmp_path):
    write_video(tmp_path / "walk.mp4", FRAMES[:80], 25)
    segments = networks.score_video(tmp_path / "walk.mp4", "walk")
    expected = detections_from_segments(segments, PRIOR, 0.4)
    found = networks.localize(tmp_path / "walk.mp4")
    assert len(found) > 0 and set(found.video) == {"walk"}
    assert found.score.tolist() == expected.score.tolist()
    assert found.start.tolist() == expected.start.tolist()


def test_the_query_of_a_url_is_not_in_the_id_of_its_video(networks, monkeypatch):
    monkeypatch.setattr(scnn, "read_frames", lambda *arguments: FRAMES[:80])
    found = networks.localize("http://host/folder/walk.mp4?key=a/b.c")
    assert len(found) > 0 and set(found.video) == {"walk"}


def test_the_recipe_says_whether_the_window_length_prior_is_used(networks, tmp_path):
    write_video(tmp_path / "v.mp4", FRAMES[:80], 25)
    segments = networks.score_video(tmp_path / "v.mp4", "v")
    found = using(networks, window_prior=False, nms_threshold=1.0).localize(tmp_path / "v.mp4")
    actions = segments.score[segments.label != BACKGROUND]
    assert sorted(found.score) == sorted(actions)  # nothing multiplied, nothing suppressed


def test_another_precision_has_nearly_the_same_scores(models, networks):
    """Also of a proposal network that is narrower than the other."""
    narrow = info("proposal", width=1 / 32).build()
    both = dataclasses.replace(networks, proposal=narrow).in_precision("bfloat16")
    clips = np.stack([np.stack(FRAMES[i : i + 16]) for i in (0, 40)])[:, :, 4:20, 8:24]
    inputs = {"frames": clips, "window_frames": np.array([16, 32], np.int32)}
    for old, new in ((narrow, both.proposal), (networks.localization, both.localization)):
        assert {layer.compute_dtype for layer in new.layers if layer.name.startswith("conv")} == {
            "bfloat16"
        }
        scores = new.predict_on_batch(inputs)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, old.predict_on_batch(inputs), rtol=0.05, atol=0.02)
        assert np.abs(scores - old.predict_on_batch(inputs)).max() > 0
    assert dataclasses.replace(networks, proposal=None).in_precision("bfloat16").proposal is None


@pytest.fixture
def model_dir(models, tmp_path):
    """A folder of stages as `train` leaves it, with the random networks."""
    for stage, model in models.items():
        write_stage(tmp_path / "models" / stage, info(stage), model)
    return tmp_path / "models"


def write_stage(folder, stage_info, model=None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fields = json.dumps(dataclasses.asdict(stage_info))
    (folder / train.MODEL_JSON).write_text(fields)
    (model or stage_info.build()).save_weights(folder / train.WEIGHTS)
    write_prior(folder / WINDOW_PRIOR, PRIOR)


def test_networks_from_a_folder(model_dir, networks):
    loaded = load_scnn(model_dir)
    assert loaded.info == networks.info
    # A threshold that is not given is the recipe's.
    assert loaded.inference.proposal_threshold == RECIPE.inference.proposal_threshold == 0.0
    assert load_scnn(model_dir, proposal_threshold=0.6).inference.proposal_threshold == 0.6
    assert loaded.prior.weights.tolist() == PRIOR.weights.tolist()
    expected = networks.score_frames(FRAMES[:40], "v")
    segments = loaded.score_frames(FRAMES[:40], "v")
    assert segments.score.tolist() == expected.score.tolist()
    shutil.rmtree(model_dir / "proposal")
    assert load_scnn(model_dir, proposal=False).proposal is None
    shutil.copytree(model_dir / "localization", model_dir / "my_variant")
    assert load_scnn(model_dir, scorer="my_variant", proposal=False).info.stage == "localization"


def test_folders_that_do_not_fit(model_dir):
    def fails(message, **options):
        with pytest.raises(InputError, match=message) as error:
            load_scnn(model_dir, **options)
        assert "\n" not in str(error.value)

    fails("classification: expected a trained network.*run train first", scorer="classification")
    fails("proposal: a proposal network has no classes to score", scorer="proposal")
    proposal = info("proposal")
    for changed, message in (
        (dataclasses.replace(proposal, class_names=("a", "b")), r"class_names: \('a', 'b'\)"),
        (dataclasses.replace(proposal, frame_rate=30.0), "frame_rate: 30.0 and 25.0"),
        (info("proposal", crop=17), r"frames of different sizes .*\(24, 32, 17\) and \(24, 3"),
        (info("localization"), "holds a localization network where proposal is needed"),
    ):
        (model_dir / "proposal" / "model.json").write_text(json.dumps(dataclasses.asdict(changed)))
        if changed.recipe.crop == 17 or changed.stage == "localization":
            write_stage(model_dir / "proposal", changed)
        fails(message)
    shutil.rmtree(model_dir / "proposal")
    fails("proposal: expected a trained network")
    (model_dir / "localization" / WINDOW_PRIOR).unlink()
    fails("window_prior.csv: cannot be read")
    write_stage(model_dir / "localization", info("classification"))
    fails("holds a classification network where localization is needed")


def test_a_stream_gives_what_localization_of_the_video_gives(networks):
    frames = make_frames(200)
    expected = networks.detections(networks.score_frames(frames, "live"))
    expected = sorted(expected, key=lambda row: (row.end, row.score))
    found = sorted(networks.stream(iter(frames)), key=lambda row: (row.end, row.score))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    times = [[row[2:5] for row in rows] for rows in (found, expected)]
    np.testing.assert_allclose(*times, atol=1e-4)
    assert len(found) > 3
