import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.io.video import write_video
from scnn_tf.models.recipes import Recipe, ShardRecipe
from scnn_tf.segments.windows import Segment, sliding_windows
from scnn_tf.shards import records
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.cut import Settings, cut_video, label_windows, plan_video
from scnn_tf.shards.files import problems, read_manifest

SHARDS = ShardRecipe(
    frame_height=32, frame_width=48, window_frames=(16, 32), background_ratio=100,
    stretch_windows=5,
)  # fmt: skip
SETTINGS = Settings(SHARDS, ("jump", "run"))


def video(start: float, end: float, duration: float = 48, **fields) -> VideoAnnotation:
    """A video with one instance of "run"; all times in frames, 25 a second."""
    run = Instance("run", start / 25, end / 25)
    return VideoAnnotation("v", "train", duration / 25, 25.0, (run,), **fields)


def labelled(annotation: VideoAnnotation, settings: Settings = SETTINGS) -> dict[Segment, tuple]:
    """Each window with its label, overlap and offsets."""
    windows = label_windows(annotation, settings)
    rows = zip(*(column.tolist() for column in windows), strict=True)
    return {
        Segment(start, length): tuple(column for (column,) in rest) for start, length, *rest in rows
    }


def test_every_window_of_a_video_has_a_label():
    found = labelled(video(16, 32))
    # Windows of 16 start at 0, 4 … 32: tIoU 1 at 16, 12/20 at 12 and 20, 8/24 at 8 and 24, 4/28
    # at 4 and 28, else 0. Those of 32 start at 0, 8 and 16: tIoU 16/32.
    assert list(found) == sliding_windows(48, (16, 32))
    labels = [label for label, *_ in found.values()]
    assert labels == [0, 0, -1, -1, 2, -1, -1, 0, 0, -1, -1, -1]
    # A window that belongs to the action has its tIoU and offsets, though not its label.
    overlaps = [1, 1, 1 / 3, 0.6, 1, 0.6, 1 / 3, 1, 1, 0.5, 0.5, 0.5]
    assert [overlap for _, overlap, _ in found.values()] == pytest.approx(overlaps)
    assert found[24, 16] == (-1, pytest.approx(1 / 3), [-0.5, -0.5])
    assert found[28, 16] == (0, 1.0, [0.0, 0.0])


def test_with_a_margin_a_window_is_labelled_with_longer_actions():
    wide = dataclasses.replace(SHARDS, margin=0.25, positive_tiou=0.5, background_tiou=0.5)
    settings = dataclasses.replace(SETTINGS, recipe=wide)
    # [16, 32) and 4 frames on either side are all of the action; its offsets are the window's.
    assert labelled(video(12, 36), settings)[16, 16] == (2, 1.0, [-0.25, 0.25])
    # Of an action of 44 frames, 24: tIoU .55, where that of the window itself is .36.
    label, overlap, offsets = labelled(video(2, 46), settings)[16, 16]
    assert (label, overlap, offsets) == (2, pytest.approx(24 / 44), [-14 / 16, 14 / 16])
    # 4 frames more on either side are too many around an action of 10.
    assert labelled(video(18, 28), settings)[16, 16][0] == 0


def test_a_window_has_a_label_for_each_class_of_a_multi_label_dataset():
    """A run [16, 32) within a jump [8, 40)."""
    both = dataclasses.replace(
        video(16, 32), instances=(Instance("run", 16 / 25, 32 / 25), Instance("jump", 0.32, 1.6))
    )
    recipe = dataclasses.replace(SHARDS, multi_label=True)
    windows = label_windows(both, dataclasses.replace(SETTINGS, recipe=recipe))
    assert windows.label.shape == windows.overlap.shape == windows.offset.shape[:2] == (12, 2)
    rows = zip(*(column.tolist() for column in windows), strict=True)
    found = {
        Segment(start, length): tuple(zip(*columns, strict=True))
        for start, length, *columns in rows
    }
    # [16, 32) is all of the run and half of the jump, which it is neither of nor background to.
    assert found[16, 16] == ((-1, 0.5, [-0.5, 0.5]), (2, 1.0, [0.0, 0.0]))
    assert found[8, 32] == ((1, 1.0, [0.0, 0.0]), (-1, 0.5, [0.25, -0.25]))
    # [4, 20) has 12 of 36 frames of the jump, and 4 of 28 of the run: background of the run only.
    assert [label for label, *_ in found[4, 16]] == [-1, 0]


def test_offsets_by_hand():
    found = labelled(video(14, 30))
    # Of the window [16, 32): 2 frames more at the start and 2 less at the end, of 16.
    for window, offset in (((16, 16), -0.125), ((12, 16), 0.125)):
        label, overlap, offsets = found[window]
        assert (label, overlap) == (2, pytest.approx(14 / 18))
        assert offsets == pytest.approx([offset, offset])
    # Of [8, 40), when it is positive: 6 and 10 of 32. Times need not be whole frames.
    settings = dataclasses.replace(
        SETTINGS, recipe=dataclasses.replace(SHARDS, positive_tiou=0.4, background_tiou=0.3)
    )
    label, overlap, offsets = labelled(video(14, 30), settings)[8, 32]
    assert (label, overlap) == (2, pytest.approx(0.5))
    assert offsets == pytest.approx([6 / 32, -10 / 32])
    (_, _, offsets) = labelled(video(15.5, 32.25))[16, 16]
    assert offsets == pytest.approx([-0.5 / 16, 0.25 / 16])


def test_the_windows_of_a_trimmed_clip_are_its_action_or_neither():
    # Of 80 frames: 16 of 80 are tIoU .2, which would be background in an untrimmed video.
    found = labelled(video(0, 80, 80, trimmed=True))
    assert {label for label, *_ in found.values()} == {-1}
    assert {label for label, *_ in labelled(video(0, 80, 80)).values()} == {-1, 0}
    # Of 40 frames: 32 of 40 are .8, at 0 and 8.
    found = labelled(video(0, 40, 40, trimmed=True))
    positive = {window: rest for window, rest in found.items() if rest[0] > 0}
    assert positive == {
        (0, 32): (2, 0.8, [0.0, 0.25]),
        (8, 32): (2, 0.8, [-0.25, 0.0]),
    }


def test_ambiguous_intervals_are_neither_action_nor_background():
    ambiguous = Instance("Ambiguous", 0, 10 / 25)
    annotation = dataclasses.replace(video(16, 32), instances=(*video(16, 32).instances, ambiguous))
    labels = {window: label for window, (label, *_) in labelled(annotation).items()}
    assert [labels[start, 16] for start in (0, 4, 8, 28, 32)] == [-1, -1, -1, 0, 0]


def gray(index: int) -> int:
    """Returns the brightness of frame `index` of a test video, which identifies it."""
    return 10 + 2 * index


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of 100, 48, 40 and 3 frames."""
    folder = tmp_path_factory.mktemp("videos")
    for name, count in (("long", 100), ("v", 48), ("clip", 40), ("blink", 3)):
        frames = (np.full((32, 48, 3), gray(i), np.uint8) for i in range(count))
        write_video(folder / f"{name}.mp4", frames, 25)
    return folder


ANNOTATIONS = {
    name: dataclasses.replace(annotation, video_id=name, file=f"{name}.mp4")
    for name, annotation in {
        "long": video(30, 62, 100),
        "v": video(16, 32),
        "clip": video(0, 40, 40, trimmed=True),
        "blink": video(0, 3, 3),
    }.items()
}
# Not built, it makes "jump" the other class.
OTHER = VideoAnnotation("other", "test", 4.0, 25.0, (Instance("jump", 0.0, 1.0),))


def build(videos, folder, recipe=SHARDS, **options):
    return build_shards(
        {**ANNOTATIONS, "other": OTHER}, video_dir=videos, output_dir=folder, num_shards=2,
        recipe=Recipe("toy", shards=recipe, crop=16, normalization="local_motion"), **options,
    )  # fmt: skip


def stored(folder) -> list[records.SegmentRecord]:
    return [
        records.decode(item.numpy())
        for shard in read_manifest(folder).shards
        for item in tf.data.TFRecordDataset(str(folder / shard["file"]))
    ]


@pytest.fixture(scope="module")
def built(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return build(videos, folder), folder


def test_a_dataset_of_stretches_is_sound(built):
    manifest, folder = built
    assert list(problems(folder)) == []
    found = stored(folder)
    assert len({records.segment_id(stretch) for stretch in found}) == len(found)
    assert len(found) == sum(manifest.label_counts)
    labels = [stretch.label for stretch in found]
    assert [labels.count(k) for k in range(3)] == list(manifest.label_counts)
    # Seen from a stretch, its label is that of its first window of an action.
    for stretch in found:
        actions = [k for k, label in enumerate(stretch.labels) if label > 0]
        assert stretch.label == (stretch.labels[actions[0]] if actions else 0)
        if actions:
            assert stretch.overlap == stretch.overlaps[actions[0]]
            assert stretch.background_draw == 0
        else:
            assert 0 <= stretch.background_draw < 1


def test_stretches_hold_the_targets_of_their_windows(built):
    names = {"long": set(), "v": set(), "clip": set(), "blink": set()}
    for stretch in stored(built[1]):
        expected = labelled(ANNOTATIONS[stretch.video_id])
        windows = stretch.stretch.windows
        names[stretch.video_id] |= set(windows)
        assert len(windows) == len(stretch.labels)
        for number, window in enumerate(windows):
            label, overlap, offsets = expected[window]
            assert stretch.labels[number] == label
            assert stretch.overlaps[number] == pytest.approx(overlap)
            assert stretch.offsets[number] == pytest.approx(tuple(offsets))
    # Every window of an action is in one; so is the background, all of which is stored here.
    for name, held in names.items():
        for window, (label, *_) in labelled(ANNOTATIONS[name]).items():
            assert label < 0 or window in held


def test_stretches_hold_the_frames_of_their_windows(built):
    for stretch in stored(built[1]):
        expected = stretch.stretch.frames.tolist()
        assert list(stretch.frame_indices) == expected
        means = [tf.io.decode_jpeg(image).numpy().mean() for image in stretch.images]
        assert means == pytest.approx([gray(i) for i in expected], abs=1.5)


def test_as_many_windows_as_a_video_has(built):
    counts = {(s.video_id, s.window_frames): len(s.labels) for s in stored(built[1])}
    # 40 frames have two windows of 32; three frames are one window.
    assert counts["clip", 32] == 2 and counts["blink", 3] == 1
    assert counts["long", 16] == counts["v", 16] == 5


def test_builds_of_stretches_are_equal_byte_for_byte(built, videos, tmp_path):
    assert build(videos, tmp_path / "again").shards == built[0].shards
    assert build(videos, tmp_path / "other", seed=1).shards != built[0].shards


@pytest.mark.filterwarnings("error")
def test_only_drawn_background_is_stored(videos, tmp_path):
    """With no background at all, each stretch has an action."""
    recipe = dataclasses.replace(SHARDS, background_ratio=0.0)
    manifest = build(videos, tmp_path, recipe)
    assert manifest.label_counts[0] == 0 and manifest.num_positives > 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["background_share"] == 0
    # Neighbors of an action are stored with it, and are still background where they are.
    labels = {label for stretch in stored(tmp_path) for label in stretch.labels}
    assert labels == {-1, 0, 2}


def test_the_plan_counts_the_stretches_of_a_video(videos):
    # The nine windows of 16 are stretches of five, at 0, 3 and 4; window 4 is the action.
    # The three of 32 are one stretch, without an action or background.
    planned = plan_video(ANNOTATIONS["v"], str(videos), SETTINGS)
    assert (planned["positives"], planned["backgrounds"]) == (3, 0)
    planned = plan_video(ANNOTATIONS["clip"], str(videos), SETTINGS)
    assert (planned["positives"], planned["backgrounds"]) == (1, 0)
    segments = dataclasses.replace(SHARDS, stretch_windows=1)
    planned = plan_video(
        ANNOTATIONS["clip"], str(videos), dataclasses.replace(SETTINGS, recipe=segments)
    )
    assert (planned["positives"], planned["backgrounds"]) == (1, 0)


def test_a_frame_is_encoded_once_for_all_stretches(videos, tmp_path, monkeypatch):
    encode, pictures = tf.io.encode_jpeg, []
    monkeypatch.setattr(
        tf.io, "encode_jpeg", lambda *image, **how: pictures.append(image) or encode(*image, **how)
    )
    annotation = ANNOTATIONS["long"]
    planned = plan_video(annotation, str(videos), SETTINGS)
    cut_video(annotation, str(videos), SETTINGS, planned, 1.0, str(tmp_path / "v.tfrecord"))
    assert len(pictures) == 100  # all frames of the video
