"""Segments are cut where players show their times, however a file counts its own."""

import dataclasses
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.io.video import write_video
from scnn_tf.models.recipes import Recipe, ShardRecipe
from scnn_tf.shards import records
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import read_manifest

pytestmark = pytest.mark.needs("ffmpeg")
RECIPE = ShardRecipe(frame_height=32, frame_width=48, window_frames=(16,), background_ratio=0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A video of 48 pictures, 25 a second, with B frames; the brightness is a picture's number."""
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    write_video(path, (np.full((32, 48, 3), 20 + 4 * i, np.uint8) for i in range(48)), 25)
    return path


def made_by_ffmpeg(*arguments, target) -> None:
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", *arguments, target]
    subprocess.run([str(argument) for argument in command], check=True)


def brightness(image: np.ndarray) -> int:
    """Returns the number that a picture of `plain` shows."""
    return round((image.mean() - 20) / 4)


def bars(image: np.ndarray) -> int:
    """Returns the number that a picture of the found videos shows: 14 vertical bars, its bits."""
    centres = (np.arange(14) + 0.5) * image.shape[1] / 14
    return int(2 ** np.arange(14) @ (image.mean((0, 2))[centres.astype(int)] > 127))


def cut(video, folder, *instances: Instance, number=brightness, **recipe):
    """Returns times in milliseconds and numbers of the pictures of each positive segment."""
    annotation = VideoAnnotation("v", "train", None, None, instances, file=video.name)
    build_shards(
        {"v": annotation},
        video_dir=video.parent,
        output_dir=folder / "shards",
        recipe=Recipe("toy", shards=dataclasses.replace(RECIPE, **recipe), crop=16),
        num_shards=1,
    )
    (shard,) = read_manifest(folder / "shards").shards
    times, pictures = [], []
    for serialized in tf.data.TFRecordDataset(str(folder / "shards" / shard["file"])):
        example = tf.train.SequenceExample.FromString(serialized.numpy())
        lists = example.feature_lists.feature_list
        stamps = [f.int64_list.value[0] for f in lists[records.IMAGE_TIMESTAMP].feature]
        images = [f.bytes_list.value[0] for f in lists[records.IMAGE_ENCODED].feature]
        times.append([stamp // 1000 for stamp in stamps])
        pictures.append([number(tf.io.decode_jpeg(image).numpy()) for image in images])
    return times, pictures


def test_a_video_that_sound_precedes(plain, tmp_path):
    # Picture k is shown at .64 + k/25 s: at 1.28 s it is the 16th.
    made_by_ffmpeg(
        "-f", "lavfi", "-i", "anullsrc", "-itsoffset", "0.64", "-i", plain,
        "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-t", "2.56", target=tmp_path / "v.mp4",
    )  # fmt: skip
    times, pictures = cut(tmp_path / "v.mp4", tmp_path, Instance("run", 1.28, 1.92))
    assert times == [[1280 + 40 * k for k in range(16)]]
    assert pictures == [list(range(16, 32))]


def test_the_first_picture_stands_while_only_sound_is_there(plain, tmp_path):
    made_by_ffmpeg(
        "-f", "lavfi", "-i", "anullsrc", "-itsoffset", "0.64", "-i", plain,
        "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-t", "2.56", target=tmp_path / "v.mp4",
    )  # fmt: skip
    _, pictures = cut(tmp_path / "v.mp4", tmp_path, Instance("run", 0.32, 0.96))
    assert pictures == [[0] * 8 + list(range(8))]  # frames 8 … 15 are before .64 s


def test_a_video_that_was_cut_without_encoding(plain, tmp_path, caplog):
    # An edit list hides the pictures before .32 s, the first 8: 40 are shown, for 1.6 s.
    made_by_ffmpeg("-ss", "0.32", "-i", plain, "-c", "copy", target=tmp_path / "v.mp4")
    late = Instance("run", 1.65, 1.9)
    times, pictures = cut(tmp_path / "v.mp4", tmp_path, Instance("walk", 0.64, 1.28), late)
    assert times == [[640 + 40 * k for k in range(16)]]
    assert pictures == [list(range(24, 40))]
    assert "1 instance(s) of 1 video(s) begin after the end of their video" in caplog.text
    assert "v, which lasts 1.60 s" in caplog.text
    assert "there is no segment of the class(es) run" in caplog.text


@pytest.mark.parametrize("name", ["v.avi", "v.mkv", "v.ts"])
def test_a_video_in_another_container(plain, tmp_path, name):
    made_by_ffmpeg("-i", plain, "-c", "copy", target=tmp_path / name)
    times, pictures = cut(tmp_path / name, tmp_path, Instance("run", 0.64, 1.28))
    assert times == [[640 + 40 * k for k in range(16)]]
    assert pictures == [list(range(16, 32))]


@pytest.mark.data
@pytest.mark.parametrize(
    ("case", "first"),
    [
        # The pictures begin at 3 s, 25 a second: (5.12 − 3) · 25 = 53.
        ("delayed_video/videos/delayed.mp4", 53),
        ("h264_in_avi/numbered.avi", 128),
        # Cut at 7.3 s, half a frame before picture 183, so that frames are sampled later by it.
        ("edit_list/videos/trimmed.mp4", 311),
    ],
)
def test_videos_from_reports(data_dir, tmp_path, case, first):
    times, pictures = cut(
        data_dir.parent / "cases" / case,
        tmp_path,
        Instance("walk", 5.12, 7.68),
        number=bars,
        window_frames=(64,),
        frame_height=120,
        frame_width=224,
    )
    assert times == [[5120 + 160 * k for k in range(16)]]
    assert pictures == [[first + 4 * k for k in range(16)]]
