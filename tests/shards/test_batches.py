import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.models.recipes import Recipe, ShardRecipe, StageRecipe
from scnn_tf.segments.stretches import num_samples
from scnn_tf.shards import records
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.files import (
    Manifest,
    describe,
    read_manifest,
    shard_name,
    write_manifest,
    write_records,
)
from scnn_tf.shards.frames import centre_crop

HEIGHT, WIDTH = 24, 32
RECIPE = Recipe(
    name="test", shards=ShardRecipe(frame_height=HEIGHT, frame_width=WIDTH), crop=16, batch_size=4,
    mirror=False, window_input=True,
)  # fmt: skip
# Segments are identified by their length. 8 of class 1 and 4 of class 2, with overlaps .70, .71
# …; 48 of background, whose draws are 0/48, 1/48 … 47/48.
POSITIVES = {100 + i: (1 if i < 8 else 2, 0.7 + i / 100) for i in range(12)}
BACKGROUND = {1000 + i: i / 48 for i in range(48)}


def picture() -> np.ndarray:
    """Returns an image whose red gives the column, 8·c, and whose green gives the row, 8·r."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([8 * columns, 8 * rows, 0 * rows], axis=-1).astype(np.uint8)


def write(folder, positives=POSITIVES, background=BACKGROUND) -> Manifest:
    """A dataset of these segments, each of 16 times the same picture."""
    jpeg = tf.io.encode_jpeg(picture(), quality=100, chroma_downsampling=False).numpy()
    labels = {1: "jump", 2: "run", 0: "background"}
    segments = [(length, *rest, 0.0) for length, rest in positives.items()]
    segments += [(length, 0, 1.0, draw) for length, draw in background.items()]
    made = [
        records.SegmentRecord(
            video_id="v",
            data_path="v.mp4",
            start_frame=0,
            window_frames=length,
            frame_indices=range(16),
            label=label,
            label_name=labels[label],
            overlap=overlap,
            trimmed=False,
            background_draw=draw,
            images=[jpeg] * 16,
            height=HEIGHT,
            width=WIDTH,
            frame_rate=25.0,
        )  # fmt: skip
        for length, label, overlap, draw in segments
    ]
    files = [folder / shard_name(i, 2) for i in range(2)]
    for i, path in enumerate(files):
        write_records(path, made[i::2])
    counts = [list(label for label, _ in positives.values()).count(k) for k in (1, 2)]
    manifest = Manifest(
        class_names=("jump", "run"),
        frame_rate=25.0,
        label_counts=(len(background), *counts),
        shards=[{"file": path.name, **describe(path)} for path in files],
        recipe=RECIPE.shards,
    )
    write_manifest(folder, manifest)
    return read_manifest(folder)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write(tmp_path_factory.mktemp("shards"))


def segments(shards, stage, count, seed=0, **changes):
    """(frames, length, label, overlap) of the first `count` segments of a stage's stream."""
    recipe = dataclasses.replace(RECIPE, **changes)
    batches = training_batches(shards, stage, recipe, seed).take(count // recipe.batch_size)
    parts = [(x["frames"], x["window_frames"], y[:, 0, 0], y[:, 0, 1]) for x, y in batches]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def test_shapes_and_dtypes(shards):
    inputs, targets = training_batches(shards, "classification", RECIPE).element_spec
    assert inputs == {
        "frames": tf.TensorSpec([4, 16, 16, 16, 3], tf.uint8),
        "window_frames": tf.TensorSpec([4], tf.int32),
    }
    assert targets == tf.TensorSpec([4, 1, 2], tf.float32)
    without = dataclasses.replace(RECIPE, window_input=False)
    assert training_batches(shards, "proposal", without).element_spec[0].keys() == {"frames"}


def test_the_proposal_view_is_half_background(shards):
    _, lengths, labels, _ = segments(shards, "proposal", 400, redraw_background=True)
    assert set(labels) == {0, 1}
    assert labels.mean() == pytest.approx(0.5, abs=0.1)  # Binomial(400, ½): SD .025
    for length, label in zip(lengths, labels, strict=True):
        assert label == (length in POSITIVES)
    assert set(lengths) == {*POSITIVES, *BACKGROUND}  # from the whole pool


def test_the_classification_view_has_a_kth_of_background(shards):
    _, lengths, labels, _ = segments(shards, "classification", 400, redraw_background=True)
    # Positives : background = 1 : 1/K, so background is 1/(K + 1) = 1/3, and class 1, with 8 of
    # 12 positives, is 2/3 · 8/12 = 4/9.
    assert (labels == 0).mean() == pytest.approx(1 / 3, abs=0.1)
    assert (labels == 1).mean() == pytest.approx(4 / 9, abs=0.1)
    for length, label in zip(lengths, labels, strict=True):
        assert label == POSITIVES.get(length, (0,))[0]


def test_the_localization_view_has_overlaps(shards):
    _, lengths, labels, overlaps = segments(shards, "localization", 120, redraw_background=True)
    for length, label, overlap in zip(lengths, labels, overlaps, strict=True):
        assert (label, overlap) == pytest.approx(POSITIVES.get(length, (0, 1.0)))


@pytest.mark.parametrize(
    ("stage", "background", "limit"),
    [
        # 12 positives of 60: draws below 12/48 are 12 of background, as many.
        ("proposal", 1.0, 12),
        # One K-th, K = 2: below 6/48.
        ("classification", 0.0, 6),
        ("localization", 0.0, 6),
        # As the recipe says: twice as many, and 1/3.
        ("proposal", 2.0, 24),
        ("classification", 1 / 3, 4),
    ],
)
def test_a_fixed_draw_is_the_same_set_in_every_epoch(shards, stage, background, limit):
    expected = [*POSITIVES, *list(BACKGROUND)[:limit]]
    size = len(expected)
    settings = dataclasses.replace(RECIPE.stage(stage), background=background)
    _, lengths, _, _ = segments(
        shards, stage, 2 * size, redraw_background=False, **{stage: settings}
    )
    first, second = lengths[:size], lengths[size:]
    assert sorted(first) == sorted(second) == sorted(expected)
    assert list(first) != list(second) and list(first) != sorted(first)


def test_crop_and_mirror_are_one_draw_for_a_segment(shards):
    frames, *_ = segments(shards, "proposal", 200, mirror=True)
    assert (frames == frames[:, :1]).all()
    first = frames[:, 0].astype(float)
    mirrored = first[:, 0, 0, 0] > first[:, 0, -1, 0]  # red falls from left to right
    assert mirrored.mean() == pytest.approx(0.5, abs=0.15)  # Binomial(200, ½): SD .035
    left = np.minimum(first[:, 0, 0, 0], first[:, 0, -1, 0]) / 8
    top = first[:, 0, 0, 1] / 8
    # 16 of 24 rows begin at 0 … 8, 16 of 32 columns at 0 … 16; all of them occur.
    assert set(top.round().astype(int)) == set(range(9))
    assert set(left.round().astype(int)) == set(range(17))
    # A crop keeps its neighbours: 16 columns and rows in a row.
    columns = np.where(mirrored[:, None], first[:, 0, ::-1, 0], first[:, 0, :, 0])
    assert np.abs(columns - columns[:, :1] - 8 * np.arange(16)).max() < 8


def test_without_augmentation_only_the_place_of_the_crop_changes(shards):
    frames, *_ = segments(shards, "proposal", 40, crop=HEIGHT)
    # All 24 rows, and 24 of 32 columns: red, in steps of 8, says which.
    first = np.round(frames[:, 0, 0, 0, 0].astype(float) / 8)
    shifted = frames.astype(float) - 8 * first[:, None, None, None, None] * np.array([1, 0, 0])
    assert set(first) <= set(range(9)) and len(set(first)) > 3
    assert np.abs(shifted - shifted[:1]).mean() < 2  # what JPEG loses


def test_random_scale_crops_and_resizes(shards):
    frames, *_ = segments(shards, "proposal", 120, min_scale=0.5)
    assert (frames == frames[:, :1]).all()
    first = frames[:, 0].astype(float)
    # A crop of s pixels, 8 … 16, is stretched to 16: red rises by 8 · s/16 a column, 4 … 8.
    slope = (first[:, 8, 11, 0] - first[:, 8, 4, 0]) / 7
    assert 3 < slope.min() < 5 and 7 < slope.max() < 9


def test_random_brightness_and_contrast(shards):
    frames, *_ = segments(shards, "proposal", 120, brightness=0.2, contrast=0.5)
    assert (frames == frames[:, :1]).all()
    first = frames[:, 0].astype(float)
    # Where nothing is cut off at 0 or 255, the contrast is what red rises by, 8 · (.5 … 1.5).
    whole = (first.min(axis=(1, 2, 3)) > 0) & (first.max(axis=(1, 2, 3)) < 255)
    slope = (first[whole, 8, 11, 0] - first[whole, 8, 4, 0]) / 7
    assert 3.5 < slope.min() < 5 and 9 < slope.max() < 12.5
    # Of equal contrast, equal crops differ by the shift alone; all in all it is up to ±51.
    means = first.mean(axis=(1, 2, 3))
    assert means.max() - means.min() > 60


def test_the_same_seed_gives_the_same_batches(shards):
    changes = dict(mirror=True, redraw_background=True, min_scale=0.8, brightness=0.1)
    once, again = (segments(shards, "localization", 40, seed=3, **changes) for _ in range(2))
    other = segments(shards, "localization", 40, seed=4, **changes)
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert list(once[1]) != list(other[1])


@pytest.mark.parametrize("memory", [4 << 30, 0])
@pytest.mark.parametrize("redraw", [True, False])
def test_replicas_share_the_batches_that_one_device_sees(shards, redraw, memory):
    """A batch of 4 on two hosts with two devices each: a row for every device, in this order."""
    recipe = dataclasses.replace(RECIPE, redraw_background=redraw, min_scale=0.8, batch_size=4)
    alone = list(training_batches(shards, "proposal", recipe, cache_bytes=memory).take(10))
    contexts = (tf.distribute.InputContext(2, host, 4) for host in range(2))
    hosts = [
        list(
            training_batches(shards, "proposal", recipe, context=context, cache_bytes=memory).take(
                20
            )
        )
        for context in contexts
    ]
    for number, (inputs, targets) in enumerate(alone):
        rows = [batch for host in hosts for batch in host[2 * number : 2 * number + 2]]
        frames, labels = zip(*((x["frames"], y) for x, y in rows), strict=True)
        np.testing.assert_array_equal(inputs["frames"], np.concatenate(frames))
        np.testing.assert_array_equal(targets, np.concatenate(labels))


def test_the_center_crop_of_the_paper():
    frames = np.zeros((2, 128, 171, 3), np.uint8)
    frames[:, 8, 29], frames[:, 119, 140] = 1, 2  # the corners: 8 + 112 − 1, 29 + 112 − 1
    crop = centre_crop(frames, 112)
    assert crop.shape == (2, 112, 112, 3)
    assert (crop[:, 0, 0] == 1).all() and (crop[:, -1, -1] == 2).all()


def test_missing_segments_and_unknown_stages_are_refused(shards, tmp_path):
    with pytest.raises(InputError, match="positive and background segments. Found: 0 and 48"):
        training_batches(write(tmp_path / "a", positives={}), "proposal", RECIPE)
    with pytest.raises(InputError, match="positive and background segments. Found: 12 and 0"):
        training_batches(write(tmp_path / "b", background={}), "proposal", RECIPE)
    with pytest.raises(InputError, match="stage must be one of .*Received: 'detection'"):
        training_batches(shards, "detection", RECIPE)


# Stretches of 7 windows, of which a step takes 3; each is known by the length of its windows.
# Its frames are gray, 3 · k at sample k. Window w has the overlap (w + 1)/7, offsets w and −w.
JOINT = dataclasses.replace(
    RECIPE,
    shards=dataclasses.replace(RECIPE.shards, stretch_windows=7),
    normalization="local_motion",
    joint=StageRecipe(background=0.5),
    train_windows=3,
)
LABELS = {
    16: [0, 0, 0, 0, 1, 0, 0],
    32: [2, -1, -1, 0, 0, 0, 1],
    48: [0, -1, 0, 0, 0, 0, 0],
    64: [0, 0, 0, 0, 0, 0, 0],
    80: [0, 2],  # a short video has no more windows
}


@pytest.fixture(scope="module")
def stretches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stretches")
    images = [
        tf.io.encode_jpeg(np.full((HEIGHT, WIDTH, 3), 3 * k, np.uint8), quality=100).numpy()
        for k in range(num_samples(7))
    ]
    names, made = ("background", "jump", "run"), []
    for length, labels in LABELS.items():
        label = next((label for label in labels if label > 0), 0)
        count = num_samples(len(labels))
        made.append(
            records.SegmentRecord(
                video_id="v",
                data_path="v.mp4",
                start_frame=0,
                window_frames=length,
                frame_indices=[k * length // 16 for k in range(count)],
                label=label,
                label_name=names[label],
                overlap=1.0,
                trimmed=False,
                background_draw=0.0 if label else 0.1,
                images=images[:count],
                height=HEIGHT,
                width=WIDTH,
                frame_rate=25.0,
                labels=labels,
                overlaps=[(w + 1) / 7 for w in range(len(labels))],
                offsets=[(w, -w) for w in range(len(labels))],
            )
        )
    path = folder / shard_name(0, 1)
    write_records(path, made)
    manifest = Manifest(
        class_names=("jump", "run"),
        frame_rate=25.0,
        label_counts=(2, 1, 2),
        shards=[{"file": path.name, **describe(path)}],
        recipe=JOINT.shards,
    )
    write_manifest(folder, manifest)
    return read_manifest(folder)


def parts(stretches, count, seed=0, memory=4 << 30, **changes):
    """(length, gray of each frame, labels, overlaps, offsets) of the first `count` examples."""
    recipe = dataclasses.replace(JOINT, **changes)
    batches = training_batches(stretches, "joint", recipe, seed, cache_bytes=memory)
    for inputs, targets in batches.take(count // recipe.batch_size):
        frames = inputs["frames"].numpy().astype(float).mean(axis=(2, 3, 4)) / 3
        yield from zip(
            inputs["window_frames"].numpy().tolist(),
            np.rint(frames).astype(int).tolist(),
            targets["classes"][..., 0].numpy().astype(int).tolist(),
            np.rint(targets["classes"][..., 1].numpy() * 7).tolist(),
            targets["classes"][..., 2:4].numpy().tolist(),
            strict=True,
        )


def test_shapes_of_batches_of_stretches(stretches):
    inputs, targets = next(iter(training_batches(stretches, "joint", JOINT)))
    assert inputs["frames"].shape == (4, 24, 16, 16, 3) and inputs["frames"].dtype == tf.uint8
    assert inputs["window_frames"].shape == (4,)
    assert targets.keys() == {"proposal", "classes", "boundaries"}
    for each in targets.values():
        assert (each.shape, each.dtype) == ((4, 3, 6), tf.float32)
    np.testing.assert_array_equal(targets["proposal"], targets["classes"])


def test_boundaries_are_learned_from_all_windows_that_belong_to_an_action(stretches):
    """A window with an overlap below 1 belongs to an action, whatever its label."""
    for inputs, targets in training_batches(stretches, "joint", JOINT).take(20):
        label, overlap, *offsets, _, _ = np.moveaxis(targets["classes"].numpy(), -1, 0)
        exists = np.ones(label.shape, bool)
        exists[inputs["window_frames"] == 80, 2:] = False  # its stretch has two windows
        expected = exists & ((label > 0) | (overlap < 1))
        found, *_ = boundaries = np.moveaxis(targets["boundaries"].numpy(), -1, 0)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(boundaries[2:4], offsets)
        assert (boundaries[4] == expected.sum()).all()


@pytest.mark.parametrize("hosts", [1, 2])
def test_targets_of_stretches_count_the_windows_of_the_whole_batch(stretches, hosts):
    """On two devices, of one host or of two, each gets half of the numbers of one device."""
    (whole,) = training_batches(stretches, "joint", JOINT).take(1)
    targets = whole[1]["classes"].numpy()
    positives, background = (targets[..., 0] > 0).sum(), (targets[..., 0] == 0).sum()
    assert positives > 0 and background > 0
    assert np.unique(targets[..., 4:], axis=None).tolist() == sorted({positives, background})
    rows = []
    for host in range(hosts):
        context = tf.distribute.InputContext(hosts, host, num_replicas_in_sync=2)
        batches = training_batches(stretches, "joint", JOINT, context=context)
        rows += [batch["classes"].numpy() for _, batch in batches.take(2 // hosts)]
    np.testing.assert_array_equal(np.concatenate(rows)[..., :4], targets[..., :4])
    np.testing.assert_array_equal(np.concatenate(rows)[..., 4:], targets[..., 4:] / 2)


@pytest.mark.parametrize("memory", [4 << 30, 0])
def test_windows_of_a_batch_keep_their_frames_and_targets(stretches, memory):
    """Decoded once and cached, or read each time."""
    for length, frames, labels, overlaps, offsets in parts(stretches, 200, memory=memory):
        first, have = round(overlaps[0]) - 1, len(LABELS[length])
        count = min(3, have - first)
        windows = list(range(first, first + count))
        last = num_samples(have) - 1
        assert frames == [min(4 * first + k, last) for k in range(24)]
        assert labels[:count] == LABELS[length][first : first + count]
        assert overlaps[:count] == [w + 1 for w in windows]
        assert offsets[:count] == [[w, -w] for w in windows]
        # Only the short video's stretch is filled up, with a window that is neither.
        assert labels[count:] == ([-1] if length == 80 else [])


def test_faster_parts_have_longer_windows(stretches):
    faster = 0
    for length, frames, *_ in parts(stretches, 200, speed=1.24):
        stretch = max(each for each in LABELS if each <= length)
        rate = length / stretch
        last = num_samples(len(LABELS[stretch])) - 1
        expected = np.minimum(frames[0] + rate * np.arange(24), last)
        assert np.abs(frames - np.floor(expected)).max() <= 1  # the length is rounded
        faster += rate > 1
    assert 60 < faster < 140


def test_a_short_video_is_not_shown_so_fast_that_it_has_no_window(stretches):
    """The short one has 20 samples: at 1.25 times the speed, they are one window of 16."""
    short = [length for length, frames, *_ in parts(stretches, 200, speed=2.0) if frames[-1] < 20]
    assert set(short) > {80, 100} and max(short) == 100


def firsts(stretches, count, background) -> dict[int, np.ndarray]:
    """Returns, for each stretch, how often a part begins at each of its windows."""
    found = {length: np.zeros(7) for length in LABELS}
    stage = StageRecipe(background=background)
    for length, _, _, overlaps, _ in parts(stretches, count, joint=stage):
        found[length][round(overlaps[0]) - 1] += 1
    return found


def test_an_action_lies_anywhere_in_a_part(stretches):
    found = firsts(stretches, 1200, background=1e-6)
    # Each of the four windows of actions is drawn as often: 300 times.
    assert [count.sum() for count in found.values()] == [300, 600, 0, 0, 300]
    # Around window 4, the first of three windows is 2, 3 or 4.
    np.testing.assert_allclose(found[16], [0, 0, 100, 100, 100, 0, 0], atol=30)  # SD 8
    # Around window 0 or 6: at the ends of the stretch there is no other place.
    np.testing.assert_allclose(found[32], [300, 0, 0, 0, 300, 0, 0], atol=1)


def test_background_is_drawn_from_all_stretches(stretches):
    found = firsts(stretches, 2300, background=16_000)
    # Each of the 23 windows of background is drawn as often: 100 times.
    assert [count.sum() for count in found.values()] == [600, 300, 600, 700, 100]
    # Around windows 3, 4 and 5: first windows 1–3, 2–4, and 3–4, since a part ends with window 6.
    expected = np.array([0, 1, 2, 3 + 0, 3, 0, 0]) * 100 / 3
    np.testing.assert_allclose(found[32], expected, atol=40)


def test_the_shares_of_actions_and_background(stretches):
    # Half as many draws around background as around actions: 1/3 of all, of which 13 in 23 are in
    # the stretches without an action.
    found = firsts(stretches, 1200, background=0.5)
    share = (found[48].sum() + found[64].sum()) / 1200
    assert share == pytest.approx(13 / 23 / 3, abs=0.05)  # SD .011


def test_stretches_need_no_other_background_than_that_beside_actions(stretches):
    without = dataclasses.replace(stretches, label_counts=(0, 1, 2))
    assert next(iter(training_batches(without, "joint", JOINT)))


def test_the_same_seed_gives_the_same_parts(stretches):
    changes = dict(mirror=True, min_scale=0.8)
    once, again = (list(parts(stretches, 40, seed=3, **changes)) for _ in range(2))
    assert once == again
    assert once != list(parts(stretches, 40, seed=4, **changes))
