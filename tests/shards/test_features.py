"""Datasets of features: of a frozen trunk, and of files."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.fine_tuning import split
from scnn_tf.models.recipes import get_recipe
from scnn_tf.segments.pooling import pooled
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.features import feature_shards
from scnn_tf.shards.files import problems, read_manifest, read_records
from scnn_tf.shards.frames import centre_crop, decode_frames


@pytest.fixture(scope="module")
def recipe(tiny_stretches):
    return get_recipe(tiny_stretches / "recipe.json")


@pytest.fixture(scope="module")
def trunk(recipe):
    keras.utils.set_random_seed(0)
    return split(StageInfo("joint", ("left", "right"), 25.0, 0, recipe).build(), "flatten").trunk


@pytest.fixture(scope="module")
def stretches(tiny_stretches, tmp_path_factory):
    """A copy of the shards, whose folder gets the features."""
    folder = tmp_path_factory.mktemp("stretches") / "shards"
    return read_manifest(shutil.copytree(tiny_stretches / "shards", folder))


@pytest.fixture(scope="module")
def features(stretches, trunk, recipe):
    return feature_shards(stretches, trunk, "flatten", recipe)


def all_records(manifest) -> list:
    return [
        record
        for shard in manifest.shards
        for record in read_records(f"{manifest.folder}/{shard['file']}")
    ]


def test_features_are_the_outputs_of_the_trunk_for_whole_stretches(
    features, stretches, trunk, recipe
):
    assert features.folder.startswith(f"{stretches.folder}/features-")
    size = trunk.output_shape[-1]
    assert (features.features.shape, features.features.views) == ((size,), 2)
    pairs = list(zip(all_records(features), all_records(stretches), strict=True))
    for found, original in pairs:
        assert found.labels == original.labels and found.offsets == original.offsets
        assert found.features.shape == (len(original.labels), 2 * size)
    found, original = pairs[0]
    frames = decode_frames(tf.constant(original.images), 32, 32).numpy()
    frames = centre_crop(frames, recipe.crop)[None]
    lengths = np.full(1, original.window_frames, np.int32)
    for view, seen in enumerate((frames, frames[:, :, :, ::-1])):
        expected = trunk.predict_on_batch({"frames": seen, "window_frames": lengths})[0]
        np.testing.assert_allclose(
            found.features[:, view * size : (view + 1) * size], expected, rtol=1e-5, atol=1e-5
        )


def test_a_dataset_of_features_passes_its_check(features):
    assert list(problems(features.folder)) == []


def test_batches_have_the_features_of_one_view(features, recipe):
    size = features.features.shape[0]
    known = {}
    for record in all_records(features):
        for row in record.features:
            known[row[:size].tobytes()] = "frames"
            known[row[size:].tobytes()] = "mirrored"
    seen = set()
    for inputs, targets in training_batches(features, "joint", recipe).take(6):
        assert inputs["features"].shape == (4, 3, size)
        assert targets["classes"].shape == (4, 3, 6)
        for stretch in inputs["features"].numpy():
            (view,) = {known[window.tobytes()] for window in stretch}
            seen.add(view)
    assert seen == {"frames", "mirrored"}


def test_finished_shards_are_not_computed_again(features, trunk, recipe, stretches, tmp_path):
    folder = shutil.copytree(stretches.folder, tmp_path / "shards")
    inside = folder / features.folder.rsplit("/")[-1]
    (inside / "manifest.json").unlink()
    first, second = (inside / shard["file"] for shard in features.shards)
    second.unlink()
    before = first.stat().st_mtime_ns
    again = feature_shards(read_manifest(folder), trunk, "flatten", recipe)
    assert again.shards == features.shards
    assert first.stat().st_mtime_ns == before


def test_another_trunk_layer_or_crop_gets_a_folder_of_its_own(stretches, features, recipe):
    network = StageInfo("joint", ("left", "right"), 25.0, 0, recipe).build()  # other weights
    trunk = split(network, "flatten").trunk
    other = feature_shards(stretches, trunk, "flatten", recipe)
    layer = feature_shards(stretches, split(network, "fc6").trunk, "fc6", recipe)
    plain = feature_shards(stretches, trunk, "flatten", dataclasses.replace(recipe, mirror=False))
    folders = {each.folder for each in (features, other, layer, plain)}
    assert len(folders) == 4 and plain.features.views == 1


def test_a_layer_without_an_output_for_each_window_is_refused(stretches, recipe):
    network = StageInfo("joint", ("left", "right"), 25.0, 0, recipe).build()
    with pytest.raises(InputError, match="layer 'conv5b': expected the features of . windows"):
        feature_shards(stretches, split(network, "conv5b").trunk, "conv5b", recipe)


# Files.

RATE = 25.0
STEP = 0.16  # 4 frames


def annotated(name: str, duration: float | None = None, **fields) -> VideoAnnotation:
    run = Instance("run", 1.28, 2.56)  # frames 32 to 64
    return VideoAnnotation(name, "train", duration, None, (run,), **fields)


@pytest.fixture
def files(tmp_path):
    """Two videos' features, 100 vectors of 3, and their annotations."""
    folder = tmp_path / "features"
    folder.mkdir()
    for number, name in enumerate("vw"):
        np.save(folder / f"{name}.npy", np.random.default_rng(number).normal(size=(100, 3)))
    return folder, {name: annotated(name) for name in "vw"}


def build(folder, annotations, output, **options):
    return build_shards(
        annotations, video_dir=folder, output_dir=output, recipe="features",
        feature_seconds=STEP, **options,
    )  # fmt: skip


def test_a_dataset_of_files_of_features(files, tmp_path):
    folder, annotations = files
    manifest = build(folder, annotations, tmp_path / "shards")
    shards = manifest.recipe
    assert (shards.feature_seconds, shards.feature_size) == (STEP, 3)
    assert (manifest.features.shape, manifest.features.views) == ((18,), 1)
    assert list(problems(manifest.folder)) == []
    vectors = {name: np.load(folder / f"{name}.npy") for name in "vw"}
    labels = set()
    for record in all_records(manifest):
        windows = record.stretch.windows
        assert windows[-1].end <= 400  # 100 vectors of 4 frames
        np.testing.assert_allclose(
            record.features, pooled(vectors[record.video_id], 4.0, windows), rtol=1e-5
        )
        labels |= {(*w, k) for w, k in zip(windows, record.labels, strict=True) if k > 0}
    assert (32, 32, 1) in labels
    # The recipe takes what it leaves open from the shards; batches have their features.
    recipe = get_recipe("features").as_built(shards)
    inputs, _ = next(iter(training_batches(manifest, "joint", recipe)))
    assert inputs["features"].shape == (8, 9, 18)


def test_the_same_call_has_nothing_to_do_and_a_changed_file_is_noticed(files, tmp_path):
    folder, annotations = files
    manifest = build(folder, annotations, tmp_path / "shards")
    assert build(folder, annotations, tmp_path / "shards") == manifest
    np.save(folder / "v.npy", np.zeros([100, 3]))
    with pytest.raises(InputError, match="have changed since: v"):
        build(folder, annotations, tmp_path / "shards")


def test_unusable_files_are_left_out(files, tmp_path):
    folder, annotations = files
    np.save(folder / "x.npy", np.zeros([100, 4]))
    annotations |= {name: annotated(name) for name in "xy"}
    manifest = build(folder, annotations, tmp_path / "shards", max_failure_fraction=0.5)
    causes = {failure["video"]: failure["cause"] for failure in manifest.failures}
    assert "expected vectors of 3 features" in causes["x"]
    assert "expected one file of features, y.npy" in causes["y"]


def test_what_is_missing_for_features_is_named(files, tmp_path):
    folder, annotations = files
    options = {"video_dir": folder, "output_dir": tmp_path / "o"}
    with pytest.raises(InputError, match="recipe 'features': expected --feature_seconds"):
        build_shards(annotations, recipe="features", **options)
    with pytest.raises(InputError, match="recipe 'small': takes videos, not features"):
        build_shards(annotations, recipe="small", feature_seconds=1.0, **options)
    with pytest.raises(InputError, match="no features can be read; the first: .*z.npy"):
        build(folder, {"z": annotated("z")}, tmp_path / "o")
