import csv
import dataclasses
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import wave
import weakref
import zlib

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.datasets.annotations import Instance, VideoAnnotation, instance_spans
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.video import read_frames, write_video
from scnn_tf.jobs.jobs import Here, Outcome, write_outcome
from scnn_tf.jobs.processes import Processes
from scnn_tf.models.recipes import Recipe, ShardRecipe
from scnn_tf.segments.labels import label_segments
from scnn_tf.segments.prior import WINDOW_PRIOR
from scnn_tf.segments.windows import Segment, sampled_indices, sliding_windows
from scnn_tf.shards import records
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.cut import whole_clip
from scnn_tf.shards.files import read_manifest

SHARDS = ShardRecipe(frame_height=32, frame_width=48, window_frames=(16, 32), background_ratio=100)
# Of 48 frames, with an instance on [16, 32). Windows of 16 start at 0, 4 … 32: tIoU 1 at 16,
# 12/20 at 12 and 20, 8/24 = .33 at 8 and 24, 4/28 = .14 at 4 and 28, 0 at 0 and 32. Windows of
# 32 start at 0, 8, 16: tIoU 16/32 each. So one is positive and four are background.
POSITIVE = "v:16+16"
BACKGROUND = ["v:0+16", "v:28+16", "v:32+16", "v:4+16"]


def grey(index: int) -> int:
    """Returns the brightness of frame `index` of a test video, which identifies it."""
    return 20 + 4 * index


def make_video(folder, name: str, num_frames: int = 48) -> None:
    frames = (np.full((32, 48, 3), grey(i), np.uint8) for i in range(num_frames))
    write_video(folder / f"{name}.mp4", frames, 25)


def annotation(name: str = "v", *instances: Instance, **fields) -> VideoAnnotation:
    instances = instances or (Instance("run", 16 / 25, 32 / 25),)
    return VideoAnnotation(name, "train", None, None, instances, **fields)


def segments(folder) -> dict[str, dict]:
    """Reads the shards: example/id → the values of all features, lists where they are."""
    found = {}
    for shard in read_manifest(folder).shards:
        count = 0
        for serialized in tf.data.TFRecordDataset(str(folder / shard["file"])):
            example = tf.train.SequenceExample.FromString(serialized.numpy())
            values = {k: value(f) for k, f in example.context.feature.items()}
            for key, features in example.feature_lists.feature_list.items():
                values[key] = [value(f) for f in features.feature]
            found[values[records.EXAMPLE_ID].decode()] = values
            count += 1
        assert count == shard["count"]
    return found


def value(feature):
    return getattr(feature, feature.WhichOneof("kind")).value[0]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder, "v")
    make_video(folder, "short", 10)
    return folder


def build_one(videos, output_dir, *annotations, names=("jump", "run"), options=None, **changes):
    """Builds; `options` are arguments of `build_shards`, all other changes of the recipe."""
    actions = tuple(Instance(name, 0.0, 1.0) for name in names)
    others = VideoAnnotation("another", "test", None, None, actions)
    by_id = {video.video_id: video for video in (*(annotations or (annotation(),)), others)}
    return build_shards(
        by_id,
        video_dir=videos,
        output_dir=output_dir,
        recipe=Recipe("toy", shards=dataclasses.replace(SHARDS, **changes), crop=16),
        **{"num_shards": 2, "dataset_name": "toy", **(options or {})},
    )


@pytest.fixture(scope="module")
def built(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return build_one(videos, folder), folder


def test_instances_without_a_length_are_left_out(built, videos, tmp_path, caplog):
    run = annotation().instances
    unusable = (Instance("run", 0.0, 0.0), Instance("jump", 1.0, 0.5), Instance("run", -1.0, 1.0))
    manifest = build_one(videos, tmp_path, annotation("v", *run, *unusable))
    assert "left out 3 instance(s) without a length, or before the start, of 1" in caplog.text
    assert manifest.shards == built[0].shards  # the same bytes


def test_a_video_of_which_only_the_times_are_unknown_is_no_background(videos, tmp_path, caplog):
    nowhere = annotation("short", Instance("run", 0.0, 0.0))
    manifest = build_one(videos, tmp_path, annotation(), nowhere)
    assert manifest.num_videos == 1
    assert "of 1 video(s) such as short, and with them 1 video(s) that have no other" in caplog.text


def test_labels_and_counts(built):
    manifest, folder = built
    found = segments(folder)
    assert sorted(found) == sorted([POSITIVE, *BACKGROUND])
    assert manifest.label_counts == (4, 0, 1)  # background, jump, run
    assert [shard["count"] for shard in manifest.shards] == [5, 0]  # one video, one shard
    read = read_manifest(folder)
    assert (read.label_counts, read.shards) == (manifest.label_counts, manifest.shards)
    assert read.class_names == ("jump", "run")
    positive = found[POSITIVE]
    assert (positive[records.LABEL_INDEX], positive[records.LABEL_STRING]) == (2, b"run")
    assert positive[records.OVERLAP] == 1.0
    assert positive[records.BACKGROUND_DRAW] == 0.0
    for name in BACKGROUND:
        background = found[name]
        assert (background[records.LABEL_INDEX], background[records.OVERLAP]) == (0, 1.0)
        assert background[records.LABEL_STRING] == b"background"
        assert 0 <= background[records.BACKGROUND_DRAW] < 1
    assert len({found[name][records.BACKGROUND_DRAW] for name in BACKGROUND}) == 4


def test_a_window_between_the_tiou_bounds_is_no_segment(videos, tmp_path):
    # [16, 30) and the window 16+16: 14/16 = .875. 12+16 has 12/18 = .67, no positive.
    build_one(videos, tmp_path, annotation("v", Instance("run", 16 / 25, 30 / 25)))
    (positive,) = [s for s in segments(tmp_path).values() if s[records.LABEL_INDEX]]
    assert positive[records.OVERLAP] == pytest.approx(0.875)


def test_frames_and_their_timestamps(built):
    for name, segment in segments(built[1]).items():
        start = int(re.search(r":(\d+)\+", name)[1])
        # 16 of 16 frames, 40 ms each; the end is exclusive.
        assert segment[records.START_TIMESTAMP] == start * 40_000
        assert segment[records.END_TIMESTAMP] == (start + 16) * 40_000
        times = [(start + k) * 40_000 for k in range(16)]
        assert segment[records.IMAGE_TIMESTAMP] == times
        images = [tf.io.decode_jpeg(image).numpy() for image in segment[records.IMAGE_ENCODED]]
        assert {image.shape for image in images} == {(32, 48, 3)}
        expected = [grey(start + k) for k in range(16)]
        assert [image.mean() for image in images] == pytest.approx(expected, abs=1.5)
        assert segment[records.MEDIA_ID] == b"v"
        assert segment[records.DATA_PATH] == b"v.mp4"
        assert segment[records.DATASET_NAME] == b"toy"
        assert segment[records.FRAME_RATE] == 25.0


def test_a_frame_is_encoded_once(videos, tmp_path, monkeypatch):
    encode, pictures = tf.io.encode_jpeg, []

    def counting(image, **options):
        pictures.append(round(float(np.mean(image))))
        return encode(image, **options)

    monkeypatch.setattr(tf.io, "encode_jpeg", counting)
    build_one(videos, tmp_path)
    # Five segments hold 80 images, of the frames 0–19 (0+16, 4+16), 16–31 and 28–47: all 48.
    assert len(pictures) == 48
    assert pictures == pytest.approx([grey(i) for i in range(48)], abs=2)


def test_builds_are_equal_byte_for_byte_unless_the_seed_differs(videos, built, tmp_path):
    manifest, folder = built
    again = build_one(videos, tmp_path / "again")
    assert again.shards == manifest.shards  # names, counts, checksums
    for shard in again.shards:
        assert (tmp_path / "again" / shard["file"]).read_bytes() == (
            folder / shard["file"]
        ).read_bytes()
    other = build_one(videos, tmp_path / "other", options={"seed": 1})
    assert [s["sha256"] for s in other.shards] != [s["sha256"] for s in again.shards]


def test_the_background_draws_of_a_video_do_not_depend_on_other_videos(videos, built, tmp_path):
    make_video(tmp_path, "first")
    (tmp_path / "v.mp4").write_bytes((videos / "v.mp4").read_bytes())
    build_one(tmp_path, tmp_path / "out", annotation("first"), annotation("v"))
    both, alone = segments(tmp_path / "out"), segments(built[1])
    for name in BACKGROUND:
        assert both[name][records.BACKGROUND_DRAW] == alone[name][records.BACKGROUND_DRAW]


def test_the_pool_of_background_is_cut_to_size(tmp_path):
    # 1000 frames: windows of 16 at 0, 4 … 984: 247; of 32 at 0, 8 … 968: 122; 369 in all. Of
    # these, [160, 176) is an instance; with tIoU ≥ .3 meet 152, 156, 164, 168 (8/24, 12/20) and
    # the 32s of 144, 152, 160 (16/32). 369 − 1 − 4 − 3 = 361 background, and 20 of them wanted.
    make_video_long(tmp_path)
    instance = Instance("run", 160 / 25, 176 / 25)
    manifest = build_one(
        tmp_path, tmp_path / "out", annotation("long", instance), background_ratio=20
    )
    assert manifest.num_positives == 1
    # Binomial(361, 20/361): mean 20, SD 4.3.
    assert 7 <= manifest.num_backgrounds <= 33
    draws = [
        s[records.BACKGROUND_DRAW]
        for s in segments(tmp_path / "out").values()
        if not s[records.LABEL_INDEX]
    ]
    # The draws of the stored segments are spread over [0, 1) again.
    assert 0 <= min(draws) < 0.35 and 0.65 < max(draws) < 1


def test_no_background_at_all(videos, tmp_path):
    manifest = build_one(videos, tmp_path, background_ratio=0)
    assert manifest.label_counts == (0, 0, 1)
    (positive,) = segments(tmp_path).values()
    assert positive[records.BACKGROUND_DRAW] == 0.0


def make_video_long(folder) -> None:
    write_video(folder / "long.mp4", [np.zeros((16, 16, 3), np.uint8)] * 1000, 25)


def test_background_lies_below_the_recipes_background_tiou(videos, tmp_path):
    # Below .4 the windows of 16 at 8 and 24, tIoU .33, are background too.
    manifest = build_one(videos, tmp_path, background_tiou=0.4)
    assert manifest.num_backgrounds == 6


def test_a_trimmed_clip_is_one_segment(videos, tmp_path):
    clip = annotation("clip", Instance("jump", 0.0, math.inf), trimmed=True, file="v.mp4")
    manifest = build_one(videos, tmp_path, clip)
    assert manifest.label_counts == (0, 1, 0)
    ((name, segment),) = segments(tmp_path).items()
    assert name == "clip:0+48"
    assert segment[records.TRIMMED] == 1
    assert segment[records.OVERLAP] == 1.0
    assert segment[records.WINDOW_FRAMES] == 48
    # 16 of 48 frames: every third.
    assert segment[records.IMAGE_TIMESTAMP] == [3 * k * 40_000 for k in range(16)]
    brightness = [tf.io.decode_jpeg(i).numpy().mean() for i in segment[records.IMAGE_ENCODED]]
    assert brightness == pytest.approx([grey(3 * k) for k in range(16)], abs=1.5)


def test_trimmed_clips_count_among_the_positives(videos, tmp_path):
    # N_T + N_U = 3 + 1, and as much background: all four of the untrimmed video.
    instance = Instance("jump", 0.0, math.inf)
    clips = [annotation(f"clip{i}", instance, trimmed=True, file="v.mp4") for i in range(3)]
    manifest = build_one(videos, tmp_path, annotation(), *clips, background_ratio=1)
    assert manifest.label_counts == (4, 3, 1)


def test_a_trimmed_clip_has_the_label_of_its_first_action_that_is_not_after_its_end(
    videos, tmp_path
):
    # 48 frames last 1.92 s.
    actions = Instance("jump", 10.0, 12.0), Instance("run", 0.0, 1.5)
    manifest = build_one(videos, tmp_path, annotation("v", *actions, trimmed=True))
    assert manifest.label_counts == (0, 0, 1)


def test_a_frame_rate_may_be_an_integer(videos, built, tmp_path):
    manifest = build_one(videos, tmp_path, options={"frame_rate": 25})
    assert manifest.frame_rate == 25.0
    assert manifest.shards == built[0].shards


def test_a_video_shorter_than_all_windows_has_no_segments(videos, tmp_path):
    # 10 frames give one segment, 0+10, and the instance [0, 8) covers .8 of it.
    build_one(videos, tmp_path, annotation("short", Instance("run", 0.0, 8 / 25)))
    ((name, segment),) = segments(tmp_path).items()
    assert name == "short:0+10"
    assert segment[records.OVERLAP] == pytest.approx(0.8)
    frames = [k * 10 // 16 for k in range(16)]  # 0 0 1 1 2 3 3 …
    assert segment[records.IMAGE_TIMESTAMP] == [i * 40_000 for i in frames]


def test_instances_end_with_their_video_at_the_latest(videos, tmp_path):
    # [32, 90) of 48 frames is [32, 48): the window 32+16, tIoU 1.
    late = annotation("v", Instance("run", 32 / 25, 90 / 25), Instance("jump", 50 / 25, 60 / 25))
    manifest = build_one(videos, tmp_path, late)
    (positive,) = [s for s in segments(tmp_path).values() if s[records.LABEL_INDEX]]
    assert positive[records.START_TIMESTAMP] == 32 * 40_000
    assert positive[records.OVERLAP] == 1.0
    assert manifest.label_counts[1] == 0  # the one that starts after the video


def test_ambiguous_intervals_are_not_background(videos, tmp_path):
    # [0, 2) meets the windows 0+16 (and 0+32): one background less.
    ambiguous = Instance("Ambiguous", 0.0, 2 / 25)
    manifest = build_one(videos, tmp_path, annotation("v", *annotation().instances, ambiguous))
    assert manifest.label_counts == (3, 0, 1)
    assert "v:0+16" not in segments(tmp_path)


def test_the_window_prior_counts_the_instances(built):
    # 16 frames, .64 s. A window of 16 counts as 15/25 = .6 s, half and twice: .3 … 1.2: counts;
    # of 32 as 31/25 = 1.24 s: .62 … 2.48: counts. jump has none: even weights.
    with open(built[1] / WINDOW_PRIOR) as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert [rows["run"][f"{k}_{w}"] for k in ("count", "weight") for w in (16, 32)] == [
        "1", "1", "0.5", "0.5",
    ]  # fmt: skip
    assert rows["jump"]["count_16"] == "0" and rows["jump"]["weight_32"] == "0.5"


def test_unusable_videos_are_listed_and_the_others_are_built(videos, tmp_path, built):
    (tmp_path / "v.mp4").write_bytes((videos / "v.mp4").read_bytes())
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "corrupt.mp4").write_bytes(b"no video at all " * 100)
    (tmp_path / "cut.mp4").write_bytes((videos / "v.mp4").read_bytes()[:600])
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    manifest = build_one(
        tmp_path,
        tmp_path / "out",
        *(annotation(name) for name in ("missing", "empty", "corrupt", "cut")),
        annotation("sound", file="sound.wav"),
        annotation("gone", file="elsewhere/gone.avi"),
        annotation("nothing", Instance("Ambiguous", 0, 1), trimmed=True, file="v.mp4"),
        annotation("v"),
        options={"max_failure_fraction": 0.9},
    )
    causes = {failure["video"]: failure["cause"] for failure in manifest.failures}
    assert list(causes) == ["missing", "empty", "corrupt", "cut", "sound", "gone", "nothing"]
    for name, cause in causes.items():
        assert str(tmp_path) in cause and "\n" not in cause, name
    assert "no video file named missing.mp4" in causes["missing"]
    assert "is empty" in causes["empty"]
    assert "cannot be read as a video" in causes["corrupt"]
    assert "cannot be read as a video" in causes["cut"]
    assert "has no video in it" in causes["sound"]
    assert "gone.avi: the video is missing" in causes["gone"]
    assert "no action" in causes["nothing"]
    assert read_manifest(tmp_path / "out").failures == manifest.failures
    lines = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == manifest.failures
    assert manifest.failures[5]["file"] == "elsewhere/gone.avi"
    assert segments(tmp_path / "out").keys() == segments(built[1]).keys()


def test_a_video_that_fails_while_it_is_cut_leaves_no_segments(
    videos, tmp_path, monkeypatch, built
):
    from scnn_tf.shards import cut

    read = cut.read_frames

    def failing(path, *arguments, **options):
        for index, frame in enumerate(read(path, *arguments, **options)):
            if path.name == "bad.mp4" and index == 40:
                raise VideoError(f"{path} ends early")
            yield frame

    monkeypatch.setattr(cut, "read_frames", failing)
    for name in ("bad.mp4", "v.mp4"):
        (tmp_path / name).write_bytes((videos / "v.mp4").read_bytes())
    half = {"max_failure_fraction": 0.5}
    manifest = build_one(
        tmp_path, tmp_path / "out", annotation("bad"), annotation("v"), options=half
    )
    assert [failure["video"] for failure in manifest.failures] == ["bad"]
    assert segments(tmp_path / "out").keys() == segments(built[1]).keys()


def test_a_build_of_which_every_video_fails_while_it_is_cut_has_no_segments(
    videos, tmp_path, monkeypatch
):
    def failing(path, *arguments, **options):
        raise VideoError(f"{path} ends early")

    monkeypatch.setattr("scnn_tf.shards.cut.read_frames", failing)
    manifest = build_one(videos, tmp_path, options={"max_failure_fraction": 1.0})
    assert manifest.label_counts == (0, 0, 0)
    assert (manifest.num_positives, manifest.num_backgrounds) == (0, 0)


def test_instances_beyond_the_end_are_counted(videos, tmp_path, caplog):
    # The video lasts 48/25 = 1.92 s.
    late = annotation("v", *annotation().instances, Instance("jump", 2.0, 3.0))
    other = annotation("w", Instance("run", 1.0, 2.0), Instance("jump", 9, 10), file="v.mp4")
    lost = annotation("x", Instance("jump", 9, 10), file="v.mp4")
    manifest = build_one(videos, tmp_path, late, other, lost, options=HALF)
    assert manifest.label_counts[1] == 0
    assert (
        "2 instance(s) of 2 video(s) begin after the end of their video and are left out; the "
        "first video: v, which lasts 1.92 s"
    ) in caplog.text
    assert (
        "1 instance(s) of 1 video(s) end after their video and are cut off at its end; the first "
        "video: w, which lasts 1.92 s"
    ) in caplog.text
    assert "there is no segment of the class(es) jump" in caplog.text
    # Its actions are somewhere: it is not without them, so it gives no background.
    assert [(f["video"], f["cause"]) for f in manifest.failures] == [
        (
            "x",
            f"{videos / 'v.mp4'}: lasts 1.92 s, and all its 1 action(s) begin later; correct its "
            "annotations",
        )
    ]


def test_a_shard_that_cannot_be_finished_ends_the_build_which_resumes(
    videos, built, tmp_path, monkeypatch
):
    def fails(pieces, count, target):
        raise MemoryError

    monkeypatch.setattr("scnn_tf.shards.build.finish_shard", fails)
    message = f"{tmp_path}: 2 of 2 shards could not be finished; the first: .*more memory than is"
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            build_one(videos, tmp_path)
    assert not (tmp_path / "manifest.json").exists()
    monkeypatch.undo()
    assert build_one(videos, tmp_path).shards == built[0].shards


def test_a_class_of_the_name_of_background_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected no class of the name 'Background'"):
        build_one(tmp_path, tmp_path / "shards", names=("Background", "run"))


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_shards", 0), ("num_shards", 10**9), ("frame_rate", 0.0), ("frame_rate", math.nan),
        ("frame_rate", math.inf), ("seed", -1), ("seed", 10**400), ("seed", 10**5000),
    ],
    ids=range(8),
)  # fmt: skip
def test_numbers_out_of_range_are_refused_before_any_work(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"expected .*{name}.*\. Received: .{{1,110}}$"):
        build_one(tmp_path, tmp_path / "shards", options={name: value})
    assert not (tmp_path / "shards").exists()


def test_an_unknown_subset_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected videos of the subset 'val'. Found: test, train"):
        build_one(tmp_path, tmp_path / "shards", options={"subset": "val"})


def test_a_build_without_a_segment_of_an_action_is_refused(videos, tmp_path):
    with pytest.raises(InputError, match=r"none of 1 videos .*\(1 could not be used; the first"):
        build_one(videos, tmp_path, annotation("missing"))
    ambiguous = annotation("v", Instance("Ambiguous", 0.0, 1.0))
    with pytest.raises(InputError, match="expected at least one action in the subset 'train'"):
        build_one(videos, tmp_path, ambiguous)
    # 2 frames of 48: no window has more than 2/16 of tIoU with it.
    with pytest.raises(InputError, match="none of 1 videos gave a segment of an action"):
        build_one(videos, tmp_path, annotation("v", Instance("run", 0.0, 2 / 25)))
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_is_a_file_is_refused(videos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file.*cannot be written"):
        build_one(videos, tmp_path / "file")


# Builds that are interrupted and resumed.

LONG = Instance("run", 0.0, math.inf)
SIX = [
    annotation("v"),
    annotation("clip", LONG, trimmed=True, file="v.mp4"),  # longer than the longest window
    annotation("missing"),
    annotation("again", Instance("jump", 0.3, 1.1), file="v.mp4"),
    annotation("short", Instance("run", 0.0, 0.1)),
    annotation("nothing", Instance("Ambiguous", 0.0, 0.1), file="v.mp4"),
]
HALF = {"max_failure_fraction": 0.5}


def contents(folder) -> dict[str, bytes]:
    """Reads the files of a dataset, without those of the build's state."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def six(videos, tmp_path_factory):
    """The files that an uninterrupted build of `SIX` writes."""
    folder = tmp_path_factory.mktemp("six")
    manifest = build_one(videos, folder, *SIX, options=HALF)
    assert [failure["video"] for failure in manifest.failures] == ["missing"]
    assert sum(manifest.label_counts) > 10
    return contents(folder)


def test_videos_go_to_shards_in_turn(videos, six, tmp_path):
    build_one(videos, tmp_path, *SIX, options=HALF)
    assert contents(tmp_path).keys() == {
        "segments-00000-of-00002.tfrecord", "segments-00001-of-00002.tfrecord", "manifest.json",
        "plan.json", "failures.jsonl", "window_prior.csv",
    }  # fmt: skip
    ids = [
        [segment.video_id for segment in stored(tmp_path / f"segments-0000{i}-of-00002.tfrecord")]
        for i in range(2)
    ]
    order = [list(dict.fromkeys(names)) for names in ids]
    assert order == [["v", "short"], ["clip", "again", "nothing"]]
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert [entry["shard"] for entry in plan["videos"]] == [0, 1, 0, 1, 0, 1]


def stored(path) -> list[records.SegmentRecord]:
    return [records.decode(item.numpy()) for item in tf.data.TFRecordDataset(str(path))]


def test_streaming_gives_the_segments_of_a_video_held_in_memory(videos, tmp_path):
    """Compares with all frames and all windows of a video in memory."""
    options = {**HALF, "num_shards": 1, "seed": 7}
    build_one(videos, tmp_path, *SIX, options=options, background_ratio=2.0)
    share = json.loads((tmp_path / "plan.json").read_text())["background_share"]
    assert 0 < share < 1
    expected = []
    for video in SIX:
        if video.video_id == "missing":
            continue
        path = videos / (video.file or f"{video.video_id}.mp4")
        frames = list(read_frames(path, 25.0, SHARDS.frame_height, SHARDS.frame_width))
        video = video.clipped(len(frames) / 25)
        windows, draws, labels = [Segment(0, len(frames))], [0.0], None
        if not video.trimmed:
            windows = sliding_windows(len(frames), SHARDS.window_frames)
            spans = [(w.start / 25, w.end / 25) for w in windows]
            labels = label_segments(
                np.array(spans), instance_spans(video.actions), instance_spans(video.ambiguous)
            )
            draws = np.random.default_rng([7, zlib.crc32(video.video_id.encode())]).random(
                len(windows)
            )
        of_video = []
        for i, (window, draw) in enumerate(zip(windows, draws, strict=True)):
            if labels is not None and not labels.positive[i]:
                if not labels.background[i] or draw >= share:
                    continue
                name, overlap, draw = "background", 1.0, draw / share
            else:
                name = video.actions[labels.instance[i] if labels is not None else 0].label
                overlap, draw = labels.overlap[i] if labels is not None else 1.0, 0.0
            images = [records.encode_jpeg(frames[j]) for j in sampled_indices(window)]
            of_video.append(
                (window.end, window.length, video.video_id, name, np.float32(overlap),
                 np.float32(draw), images)
            )  # fmt: skip
        expected += sorted(of_video, key=lambda segment: segment[:2])
    found = [
        (s.start_frame + s.window_frames, s.window_frames, s.video_id, s.label_name, s.overlap,
         s.background_draw, s.images)
        for s in stored(tmp_path / "segments-00000-of-00001.tfrecord")
    ]  # fmt: skip
    assert len(found) > 10 and found == expected


class _Killed(BaseException):
    """No cleaning up after it: every further operation on files is refused."""


@pytest.fixture
def killed_at(tmp_path):
    """`killed_at(n)`: from the n-th change of files on, from 0, none in `tmp_path` happens.

    It returns a dict whose "count" says how many have been asked for since.
    """
    state = {"armed": True, "left": math.inf, "count": 0}
    changing = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}

    def hook(event, arguments):
        writes = event == "open" and set("wax+") & set(str(arguments[1]))
        if not state["armed"] or not (event in changing or writes):
            return
        if str(tmp_path) in str(arguments[0]):
            state["count"] += 1
            state["left"] -= 1
            if state["left"] < 0:
                raise _Killed

    def arm(number: float) -> dict:
        state.update(left=number, count=0)
        return state

    sys.addaudithook(hook)
    yield arm
    state["armed"] = False  # a hook cannot be taken off


MOMENTS = [7, pytest.param(1, marks=pytest.mark.slow)]  # every 7th change of files, or all


@pytest.mark.parametrize("every", MOMENTS)
def test_a_build_killed_at_any_moment_resumes_to_the_same_bytes(
    videos, six, tmp_path, killed_at, every
):
    state = killed_at(math.inf)
    build_one(videos, tmp_path / "whole", *SIX, options=HALF)
    operations = state["count"]
    assert operations > 50
    for number in range(0, operations, every):
        folder = tmp_path / f"{number}"
        killed_at(number)
        with pytest.raises(_Killed):
            build_one(videos, folder, *SIX, options=HALF)
        killed_at(math.inf)
        build_one(videos, folder, *SIX, options=HALF)
        assert contents(folder) == six, f"killed at operation {number} of {operations}"
        assert not list(folder.glob(".segments*"))


def test_a_resumed_build_does_not_decode_finished_videos_again(
    videos, tmp_path, killed_at, monkeypatch
):
    from scnn_tf.shards import cut

    decoded, read = [], cut.read_frames

    def counting(path, *arguments, **options):
        decoded.append(path.name)
        if len(decoded) == 3:
            killed_at(0)
        return read(path, *arguments, **options)

    monkeypatch.setattr(cut, "read_frames", counting)
    four = [annotation(name, file="v.mp4") for name in "abcd"]
    with pytest.raises(_Killed):
        build_one(videos, tmp_path / "out", *four)
    assert len(decoded) == 3  # a and b are finished, c is not
    killed_at(math.inf)
    build_one(videos, tmp_path / "out", *four)
    assert len(decoded) == 5
    build_one(videos, tmp_path / "out", *four)  # it is built already
    assert len(decoded) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_same_bytes(videos, six, tmp_path, workers):
    options = {**HALF, "runner": Processes(workers), "work_dir": tmp_path / "work"}
    build_one(videos, tmp_path / "out", *SIX, options=options)
    assert contents(tmp_path / "out") == six
    assert not (tmp_path / "out" / "work").exists()


def crash(*arguments) -> dict:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


class CrashingAt:
    """Processes in which a decoder dumps core at one video."""

    def __init__(self, name: str):
        self.name = name

    def run(self, jobs, task):
        Processes(2).run(
            [
                dataclasses.replace(job, function=crash)
                if (job.name, task.verb) == (self.name, "cutting")
                else job
                for job in jobs
            ],
            task,
        )


def test_a_crashing_decoder_costs_one_video_which_can_be_retried(videos, six, tmp_path):
    options = {**HALF, "runner": CrashingAt("again")}
    manifest = build_one(videos, tmp_path, *SIX, options=options)
    failures = {failure["video"]: failure["cause"] for failure in manifest.failures}
    assert failures.keys() == {"missing", "again"} and "crashed (SIGSEGV)" in failures["again"]
    # Without being asked to, nothing is tried again.
    assert build_one(videos, tmp_path, *SIX, options=HALF) == manifest
    again = build_one(videos, tmp_path, *SIX, options={**HALF, "retry_failed": True})
    assert [failure["video"] for failure in again.failures] == ["missing"]
    assert contents(tmp_path) == six


@pytest.mark.parametrize("every", MOMENTS)
def test_a_killed_retry_resumes_to_the_same_bytes(videos, six, tmp_path, killed_at, every):
    crashed = {**HALF, "runner": CrashingHere("again")}
    retry = {**HALF, "retry_failed": True}
    build_one(videos, tmp_path / "crashed", *SIX, options=crashed)
    shutil.copytree(tmp_path / "crashed", tmp_path / "whole")
    state = killed_at(math.inf)
    build_one(videos, tmp_path / "whole", *SIX, options=retry)
    operations = state["count"]
    assert operations > 20
    for number in range(0, operations, every):
        folder = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "crashed", folder)
        killed_at(number)
        with pytest.raises(_Killed):
            build_one(videos, folder, *SIX, options=retry)
        killed_at(math.inf)
        build_one(videos, folder, *SIX, options=retry)
        assert contents(folder) == six, f"killed at operation {number} of {operations}"


class CrashingHere(CrashingAt):
    """The same in this process, which must not really crash."""

    def run(self, jobs, task):
        for job in jobs:
            if (job.name, task.verb) == (self.name, "cutting"):
                write_outcome(job, Outcome(None, "it crashed"))
        Here().run(jobs, task)


def test_a_fixed_video_is_added_with_the_same_share_of_background(videos, tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes((videos / "v.mp4").read_bytes())
    (tmp_path / "videos" / "c.mp4").touch()
    three = [annotation(name) for name in "abc"]
    recipe = {"background_ratio": 2.0}
    out = tmp_path / "out"
    first = build_one(tmp_path / "videos", out, *three, options=HALF, **recipe)
    share = json.loads((out / "plan.json").read_text())["background_share"]
    (tmp_path / "videos" / "c.mp4").write_bytes((videos / "v.mp4").read_bytes())
    second = build_one(tmp_path / "videos", out, *three, options={"retry_failed": True}, **recipe)
    assert len(first.failures) == 1 and not second.failures
    assert second.num_positives == first.num_positives + 1
    assert json.loads((out / "plan.json").read_text())["background_share"] == share
    assert not (out / "failures.jsonl").exists() and not (out / "work").exists()
    shards = sorted(out.glob("segments-*"))
    assert {s.video_id for shard in shards for s in stored(shard)} == {"a", "b", "c"}


def test_another_build_in_the_folder_is_refused(videos, tmp_path, killed_at):
    killed_at(20)
    with pytest.raises(_Killed):
        build_one(videos, tmp_path, *SIX, options=HALF)
    killed_at(math.inf)

    def refused(message, *annotations, **changes):
        options = {**HALF, "seed": changes.pop("seed", 0)}
        with pytest.raises(InputError, match=f"{tmp_path}: holds another dataset {message}"):
            build_one(videos, tmp_path, *annotations or SIX, options=options, **changes)

    refused(r"\(frame_height was 32, is 64; seed was 0, is 3\)", frame_height=64, seed=3)
    refused(r"\(window_frames was \[16, 32\], is \[16\]\)", window_frames=(16,))
    refused(r"\(classes are new: fly\)", names=("fly", "jump", "run"))
    refused(r"\(videos are missing: nothing\)", *SIX[:-1])
    refused(r"\(videos are new: x\)", *SIX, annotation("x"))
    refused(r"\(videos are in another order\)", *SIX[::-1])
    refused(
        r"\(videos have other annotations: v\)",
        annotation("v", Instance("run", 0.0, 1.0)),
        *SIX[1:],
    )
    build_one(videos, tmp_path, *SIX, options=HALF)
    refused(r"\(frame_height was 32, is 64\)", frame_height=64)
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(InputError, match="plan.json: not the plan of a build"):
        build_one(videos, tmp_path, *SIX, options=HALF)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(InputError, match=f"{tmp_path}: contains a dataset but no plan.json"):
        build_one(videos, tmp_path, *SIX, options=HALF)
    (tmp_path / "plan.json").touch()
    with pytest.raises(InputError, match=f"{tmp_path}: contains a dataset but no plan.json"):
        build_one(videos, tmp_path, *SIX, options=HALF)


def test_more_failures_than_allowed_end_the_build(videos, tmp_path):
    with pytest.raises(InputError) as error:
        build_one(videos, tmp_path, *SIX, options={"max_failure_fraction": 0.16})
    assert str(error.value).startswith(
        "1 of 6 videos could not be used, more than --max_failure_fraction=0.16; the "
        f"first: {videos}: no video file named missing.mp4"
    )
    assert f"{tmp_path / 'failures.jsonl'} lists all" in str(error.value)
    assert not (tmp_path / "manifest.json").exists()
    # Nothing is lost: who allows more goes on.
    build_one(videos, tmp_path, *SIX, options={"max_failure_fraction": 0.17})


def test_a_long_clip_is_not_held_in_memory(tmp_path):
    class Frame:
        pass

    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    def frames():
        nonlocal most
        for _ in range(1000):
            frame = Frame()
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    segment, sampled = whole_clip(frames, hold=32)
    assert segment == Segment(0, 1000)
    assert [i for i, _ in sampled] == [k * 1000 // 16 for k in range(16)]
    assert most <= 32 + 16 + 3  # what is held, what is chosen, what comes


@pytest.mark.needs("mount", "umount")
def test_a_build_resumes_after_a_full_disk(videos, six, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        message = r"No space left on device\); what is finished is kept: fix the cause and run"
        with pytest.raises(InputError, match=f"{disk}.*{message}"):
            build_one(videos, disk / "out", *SIX, options={**HALF, "runner": Processes(2)})
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        build_one(videos, disk / "out", *SIX, options={**HALF, "runner": Processes(2)})
        assert contents(disk / "out") == six
    finally:
        subprocess.run(["umount", disk], check=True)


# Builds whose files a power cut has damaged.


def half_done(videos, folder, killed_at, moment: int) -> list[str]:
    """Kills a build of `SIX` at its n-th change of files; returns the names of its files."""
    killed_at(moment)
    with pytest.raises(_Killed):
        build_one(videos, folder, *SIX, options=HALF)
    killed_at(math.inf)
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


@pytest.fixture
def operations(videos, tmp_path, killed_at) -> int:
    """How often an uninterrupted build of `SIX` changes files."""
    state = killed_at(math.inf)
    build_one(videos, tmp_path / "whole", *SIX, options=HALF)
    return state["count"]


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("damage", ["empty", "missing", "zeros"])
def test_a_build_resumes_whichever_of_its_files_is_damaged(
    videos, six, tmp_path, killed_at, operations, damage, share
):
    moment = round(share * operations)
    names = half_done(videos, tmp_path / "half", killed_at, moment)
    assert len(names) > 8
    for number, name in enumerate(names):
        folder = shutil.copytree(tmp_path / "half", tmp_path / str(number))
        path = folder / name
        content = path.read_bytes()
        path.unlink()
        if damage != "missing":
            path.write_bytes(b"" if damage == "empty" else bytes(len(content)))
        build_one(videos, folder, *SIX, options=HALF)
        assert contents(folder) == six, name


@pytest.mark.parametrize(
    "name", ["manifest.json", "segments-00001-of-00002.tfrecord", WINDOW_PRIOR, "failures.jsonl"]
)
def test_a_finished_dataset_with_a_damaged_file_is_completed(videos, six, tmp_path, name, caplog):
    build_one(videos, tmp_path, *SIX, options=HALF)
    (tmp_path / name).write_bytes(b"")
    build_one(videos, tmp_path, *SIX, options=HALF)
    assert (f"{tmp_path} is damaged, and resumed" in caplog.text) == (name != "failures.jsonl")
    assert contents(tmp_path) == six


@pytest.mark.parametrize("name", ["segments-00000-of-00002.tfrecord", WINDOW_PRIOR])
def test_a_flipped_bit_in_a_finished_dataset_is_repaired(videos, six, tmp_path, name):
    build_one(videos, tmp_path, *SIX, options=HALF)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    build_one(videos, tmp_path, *SIX, options=HALF)
    assert contents(tmp_path) == six


def test_every_file_reaches_the_disk_before_it_gets_its_name(videos, tmp_path, monkeypatch):
    fsync, replace, flushed, named = os.fsync, os.replace, set(), set()

    def flushing(descriptor):
        flushed.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def naming(source, target):
        assert str(source) in flushed, source
        named.add(str(target))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(os, "replace", naming)
    build_one(videos, tmp_path / "out", *SIX, options=HALF)
    written = {str(path) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert len(written) > 10 and written <= named
    assert {os.path.dirname(name) for name in named} <= flushed  # and so do the names


@pytest.mark.slow
def test_a_power_cut_costs_no_finished_video(videos, six, power_cut_disk, killed_at):
    folder = power_cut_disk.folder / "out"
    for moment in (20, 40, 60):
        try:
            half_done(videos, folder, lambda n: killed_at(n), moment)
        finally:
            killed_at(math.inf)
        before = len(list(folder.glob("work/*/*.json")))
        power_cut_disk.cut_power()
        assert len([p for p in folder.glob("work/*/*.json") if p.stat().st_size]) == before
    build_one(videos, folder, *SIX, options=HALF)
    power_cut_disk.cut_power()
    assert contents(folder) == six


# Videos that are replaced.


@pytest.fixture
def own_videos(tmp_path):
    """A folder of three videos, which a test may replace."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name, num_frames in (("a", 48), ("b", 48), ("c", 40)):
        make_video(folder, name, num_frames)
    return folder


ABC = [annotation(name) for name in "abc"]
TWICE = {"background_ratio": 2.0}  # less than there is, so that the share depends on all videos


def replaced(folder, name: str) -> None:
    """Puts a longer video in the place of another one, with the old time stamp."""
    status = (folder / f"{name}.mp4").stat()
    make_video(folder, name, 56)
    os.utime(folder / f"{name}.mp4", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.9])
def test_a_video_that_was_replaced_is_planned_and_cut_again(
    own_videos, tmp_path, killed_at, caplog, share
):
    state = killed_at(math.inf)
    build_one(own_videos, tmp_path / "before", *ABC, **TWICE)
    moment = round(share * state["count"])
    killed_at(moment)
    with pytest.raises(_Killed):
        build_one(own_videos, tmp_path / "out", *ABC, **TWICE)
    killed_at(math.inf)
    replaced(own_videos, "b")
    build_one(own_videos, tmp_path / "out", *ABC, **TWICE)
    build_one(own_videos, tmp_path / "fresh", *ABC, **TWICE)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert contents(tmp_path / "out") != contents(tmp_path / "before")
    if share > 0.5:
        assert "the files of 1 video(s) have changed since the build began" in caplog.text


@pytest.mark.parametrize("every", MOMENTS)
def test_a_killed_build_of_a_replaced_video_resumes_to_the_same_bytes(
    own_videos, tmp_path, killed_at, every
):
    state = killed_at(math.inf)
    build_one(own_videos, tmp_path / "before", *ABC, **TWICE)
    killed_at(round(0.9 * state["count"]))
    with pytest.raises(_Killed):
        build_one(own_videos, tmp_path / "half", *ABC, **TWICE)
    killed_at(math.inf)
    replaced(own_videos, "b")
    shutil.copytree(tmp_path / "half", tmp_path / "whole")
    state = killed_at(math.inf)
    build_one(own_videos, tmp_path / "whole", *ABC, **TWICE)
    operations = state["count"]
    build_one(own_videos, tmp_path / "fresh", *ABC, **TWICE)
    for number in range(0, operations, every):
        folder = shutil.copytree(tmp_path / "half", tmp_path / str(number))
        killed_at(number)
        with pytest.raises(_Killed):
            build_one(own_videos, folder, *ABC, **TWICE)
        killed_at(math.inf)
        build_one(own_videos, folder, *ABC, **TWICE)
        assert contents(folder) == contents(tmp_path / "fresh"), f"killed at {number}"


def test_a_finished_dataset_names_the_videos_that_were_replaced(own_videos, tmp_path):
    out = tmp_path / "out"
    build_one(own_videos, out, *ABC)
    before = contents(out)
    (own_videos / "a.mp4").touch()  # another time, the same content
    moved = shutil.copytree(own_videos, tmp_path / "moved")
    for folder in (own_videos, moved):
        build_one(folder, out, *ABC)
    (moved / "c.mp4").unlink()  # what is gone is no other video
    build_one(moved, out, *ABC)
    replaced(own_videos, "b")
    message = (
        rf"{out}: holds a dataset of other videos \(the files of 1 have changed since: b\); to "
        "build it from the present files, remove the folder, or choose another --output_dir"
    )
    for retry in (False, True):
        with pytest.raises(InputError, match=message):
            build_one(own_videos, out, *ABC, options={"retry_failed": retry})
    assert contents(out) == before


def test_a_video_that_changes_while_it_is_cut_is_left_out(own_videos, tmp_path, monkeypatch):
    from scnn_tf.shards import cut

    read = cut.read_frames

    def growing(path, *arguments, **options):
        yield from read(path, *arguments, **options)
        if path.name == "b.mp4":
            with path.open("ab") as file:
                file.write(b"more")

    monkeypatch.setattr(cut, "read_frames", growing)
    manifest = build_one(own_videos, tmp_path / "out", *ABC, options=HALF)
    (failure,) = manifest.failures
    assert failure["video"] == "b" and "was replaced or written to while" in failure["cause"]
    monkeypatch.undo()
    retried = build_one(own_videos, tmp_path / "out", *ABC, options={"retry_failed": True})
    assert not retried.failures
    build_one(own_videos, tmp_path / "fresh", *ABC)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_only_failed_videos_are_tried_again(own_videos, tmp_path, monkeypatch):
    from scnn_tf.shards import cut

    whole = (own_videos / "b.mp4").read_bytes()
    (own_videos / "b.mp4").write_bytes(b"")
    build_one(own_videos, tmp_path / "out", *ABC, options=HALF)
    read, probe, decoded, probed = cut.read_frames, cut.probe, [], []

    def reading(path, *arguments, **options):
        decoded.append(path.name)
        return read(path, *arguments, **options)

    def probing(path):
        probed.append(path.name)
        return probe(path)

    monkeypatch.setattr(cut, "read_frames", reading)
    monkeypatch.setattr(cut, "probe", probing)
    (own_videos / "b.mp4").write_bytes(whole)
    build_one(own_videos, tmp_path / "out", *ABC, options={"retry_failed": True})
    assert decoded == probed == ["b.mp4"]
    (shard,) = (tmp_path / "out").glob("segments-00001-*")
    assert {segment.video_id for segment in stored(shard)} == {"b"}


def test_two_builds_in_one_folder(videos, six, tmp_path, monkeypatch):
    from scnn_tf.shards import build

    plan, errors = build.plan_video, []

    def meanwhile(*arguments):
        if not errors:
            with pytest.raises(InputError) as error:
                build_one(videos, tmp_path, *SIX, options=HALF)
            errors.append(str(error.value))
        return plan(*arguments)

    monkeypatch.setattr(build, "plan_video", meanwhile)
    build_one(videos, tmp_path, *SIX, options=HALF)
    message = f"{tmp_path}: expected a folder that no other process works in. Found: building"
    assert errors[0].startswith(message)
    assert contents(tmp_path) == six
    assert {path.name for path in tmp_path.iterdir()} == {*six, "work"}  # one video has failed


def test_window_lengths_that_the_instances_need(caplog, tmp_path):
    """Instances of 16 and 30 frames need 16 and 32; a video of 90 frames has no window of 128.

    One instance ends after its video, and one of a video without a file counts too.
    """
    write_video(tmp_path / "v.mp4", [np.zeros((32, 48, 3), np.uint8)] * 90, 25)
    instances = [Instance("run", 16 / 25, 32 / 25), Instance("run", 60 / 25, 999.0)]
    video = dataclasses.replace(annotation("v", *instances), duration=90 / 25)
    missing = annotation("w", Instance("run", 0, 64 / 25))
    recipe = Recipe("mine", shards=dataclasses.replace(SHARDS, window_frames=()), crop=16)
    options = {"video_dir": tmp_path, "recipe": recipe, "max_failure_fraction": 1.0}
    with caplog.at_level("INFO", logger="absl"):
        manifest = build_shards({"v": video}, output_dir=tmp_path / "one", **options)
    assert manifest.recipe.window_frames == (16, 32)
    assert "fits best: 16 (1), 32 (1), 64 (0), 128 (0), 256 (0), 512 (0)" in caplog.text
    # The same call has nothing to do, and neither has one that gives the chosen lengths.
    assert build_shards({"v": video}, output_dir=tmp_path / "one", **options) == manifest
    options["recipe"] = recipe.as_built(manifest.recipe)
    assert build_shards({"v": video}, output_dir=tmp_path / "one", **options) == manifest
    options["recipe"] = recipe
    both = build_shards({"v": video, "w": missing}, output_dir=tmp_path / "two", **options)
    assert both.recipe.window_frames == (16, 32, 64) and len(both.failures) == 1


def test_window_lengths_of_instances_that_no_window_reaches(tmp_path):
    recipe = Recipe("mine", shards=dataclasses.replace(SHARDS, window_frames=()), crop=16)
    video = annotation("v", Instance("run", 0, 0.1))
    with pytest.raises(InputError, match="recipe 'mine': expected instances .* none within reach"):
        build_shards({"v": video}, video_dir=tmp_path, output_dir=tmp_path / "o", recipe=recipe)


def test_whole_sources_are_left_out_for_validation(tmp_path):
    """A third of three videos, of two people, is the one of bob; two thirds are those of ann."""
    names = ("ann_1", "ann_2", "bob_1")
    for name in names:
        make_video(tmp_path, name)
    videos = {name: annotation(name) for name in names}
    recipe = Recipe("mine", shards=SHARDS, crop=16)
    options = {"video_dir": tmp_path, "recipe": recipe}
    for share, held_out in ((0.0, []), (0.34, ["bob_1"]), (0.6, ["ann_1", "ann_2"])):
        folder = tmp_path / f"{share}"
        manifest = build_shards(videos, output_dir=folder, validation_share=share, **options)
        assert manifest.held_out == held_out
        assert {name.split(":")[0] for name in segments(folder)} == {*names} - {*held_out}
    assert build_shards(videos, output_dir=folder, validation_share=0.6, **options) == manifest
    with pytest.raises(InputError, match="holds another dataset .*videos are new: ann_1, ann_2"):
        build_shards(videos, output_dir=folder, **options)
    with pytest.raises(InputError, match="would be in the subset 'train'; sources are ann_1"):
        only = {"ann_1": videos["ann_1"]}
        build_shards(only, output_dir=tmp_path / "o", validation_share=0.5, **options)
    with pytest.raises(InputError, match="expected a validation_share from 0 to 1, exclusive. Rec"):
        build_shards(videos, output_dir=tmp_path / "o", validation_share=1.0, **options)
