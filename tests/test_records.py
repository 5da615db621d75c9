import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf import records
from scnn_tf.errors import InputError

JPEGS = [b"\xff\xd8 no %d" % i for i in range(16)]  # nothing here looks into them
SEGMENT = records.SegmentRecord(
    video_id="v 1",
    data_path="some/v 1.mp4",
    start_frame=8,
    window_frames=32,
    frame_indices=np.arange(8, 40, 2),
    label=2,
    label_name="run",
    overlap=0.75,
    trimmed=False,
    background_draw=0.0,
    images=JPEGS,
    height=128,
    width=171,
    frame_rate=30.0,
    dataset_name="toy",
)


def changed(**fields) -> records.SegmentRecord:
    return dataclasses.replace(SEGMENT, **fields)


def values(feature: tf.train.Feature) -> list:
    return list(getattr(feature, feature.WhichOneof("kind")).value)


def read_ids(folder, file: str) -> list[str]:
    dataset = tf.data.TFRecordDataset(str(folder / file)).map(records.parse)
    return [segment["example/id"].numpy().decode() for segment in dataset]


def test_keys_types_and_units():
    """What another program finds that knows MediaSequence's keys."""
    example = tf.train.SequenceExample.FromString(records.encode(SEGMENT))
    context = {key: values(feature) for key, feature in example.context.feature.items()}
    assert context == {
        "example/id": [b"v 1:8+32"],
        "example/dataset_name": [b"toy"],
        "clip/media_id": [b"v 1"],
        "clip/data_path": [b"some/v 1.mp4"],
        "clip/start/timestamp": [266667],  # 8/30 s, µs
        "clip/end/timestamp": [1333333],  # 40/30 s
        "segment/label/index": [2],
        "segment/label/string": [b"run"],
        "image/format": [b"jpeg"],
        "image/height": [128],
        "image/width": [171],
        "image/frame_rate": [30.0],
        "scnn/window_frames": [32],
        "scnn/overlap": [0.75],
        "scnn/trimmed": [0],
        "scnn/background_draw": [0.0],
    }
    lists = {
        key: [values(feature)[0] for feature in feature_list.feature]
        for key, feature_list in example.feature_lists.feature_list.items()
    }
    assert lists.keys() == {"image/encoded", "image/timestamp"}
    assert lists["image/encoded"] == JPEGS
    assert lists["image/timestamp"][:4] == [266667, 333333, 400000, 466667]  # 8, 10, 12, 14 /30
    assert len(lists["image/timestamp"]) == 16
    assert all(type(time) is int for time in lists["image/timestamp"])


def test_what_is_encoded_parses():
    segment = records.parse(records.encode(changed(overlap=0.7, background_draw=0.25)))
    assert segment["image/encoded"].shape == [16]
    assert segment["image/encoded"].numpy().tolist() == JPEGS
    assert segment["example/id"].numpy() == b"v 1:8+32"
    for key, dtype, value in (
        ("scnn/window_frames", "int64", 32),
        ("segment/label/index", "int64", 2),
        ("scnn/overlap", "float32", np.float32(0.7)),
        ("scnn/background_draw", "float32", 0.25),
    ):
        assert (segment[key].dtype, segment[key].numpy()) == (dtype, value)


def test_parse_knows_its_shapes_inside_a_pipeline():
    dataset = tf.data.Dataset.from_tensors(records.encode(SEGMENT)).map(records.parse)
    shapes = {key: tuple(spec.shape) for key, spec in dataset.element_spec.items()}
    assert shapes.pop("image/encoded") == (16,)
    assert set(shapes.values()) == {()}


def test_numpy_numbers_and_other_alphabets_are_welcome():
    segment = changed(
        video_id="прыжок",
        start_frame=np.int64(8),
        label=np.int32(1),
        overlap=np.float64(1.0),
        trimmed=np.bool_(True),
        background_draw=np.float32(0.5),
        frame_rate=25,
    )
    context = tf.train.SequenceExample.FromString(records.encode(segment)).context.feature
    assert values(context["example/id"])[0].decode() == "прыжок:8+32"
    assert values(context["scnn/trimmed"]) == [1]
    assert values(context["image/frame_rate"]) == [25.0]
    assert values(context["clip/start/timestamp"]) == [320000]  # 8/25 s


@pytest.mark.parametrize("overlap", [0.0, -0.5, math.nan, 1.5, math.inf])
def test_overlap_that_the_loss_cannot_divide_by_is_an_error(overlap):
    with pytest.raises(InputError) as error:
        records.encode(changed(overlap=overlap))
    assert str(error.value) == (
        "segment 8+32 of video 'v 1': the overlap with its instance must be in (0, 1]. "
        f"Received: {overlap}"
    )


def test_background_needs_no_overlap():
    segment = records.parse(records.encode(changed(label=0, overlap=0.0)))
    assert segment["scnn/overlap"] == 0.0


def test_sixteen_images_are_expected():
    with pytest.raises(InputError, match="'v 1': expected 16 images. Received: 15"):
        records.encode(changed(images=JPEGS[1:]))


def test_segments_go_to_the_shards_in_turn(tmp_path):
    with records.ShardWriter(tmp_path / "new" / "folder", num_shards=3) as writer:
        for start in range(7):
            writer.write(changed(start_frame=start))
    folder = tmp_path / "new" / "folder"
    names = [f"segments-0000{i}-of-00003.tfrecord" for i in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [shard["file"] for shard in writer.shards] == names
    assert [shard["count"] for shard in writer.shards] == [3, 2, 2]
    for first, shard in enumerate(writer.shards):
        data = (folder / shard["file"]).read_bytes()
        assert shard["bytes"] == len(data)
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
        assert read_ids(folder, shard["file"]) == [f"v 1:{i}+32" for i in range(first, 7, 3)]


def test_the_same_segments_give_the_same_bytes(tmp_path):
    def shards(name):
        with records.ShardWriter(tmp_path / name, num_shards=2) as writer:
            for start in range(3):
                writer.write(changed(start_frame=start))
        return writer.shards

    assert shards("a") == shards("b")


def test_a_shard_may_stay_empty(tmp_path):
    with records.ShardWriter(tmp_path, num_shards=2) as writer:
        writer.write(SEGMENT)
    assert [(shard["count"], shard["bytes"] > 0) for shard in writer.shards] == [
        (1, True),
        (0, False),
    ]
    assert read_ids(tmp_path, writer.shards[1]["file"]) == []


def test_no_shard_is_there_before_all_is_well(tmp_path):
    with pytest.raises(InputError, match="overlap"), records.ShardWriter(tmp_path, 2) as writer:
        writer.write(SEGMENT)
        assert not list(tmp_path.glob("*.tfrecord"))
        writer.write(changed(overlap=0.0))
    assert not list(tmp_path.glob("*.tfrecord"))
    assert writer.shards == []


def test_a_new_data_set_leaves_nothing_of_an_older_one(tmp_path):
    manifest = written(tmp_path, num_shards=3)
    records.write_manifest(tmp_path, manifest)
    with pytest.raises(KeyboardInterrupt), records.ShardWriter(tmp_path, 2) as writer:
        writer.write(SEGMENT)
        raise KeyboardInterrupt
    # Half of it was written; that is no data set, and neither is what it replaces.
    with pytest.raises(InputError, match="no finished data set"):
        records.read_manifest(tmp_path)
    with records.ShardWriter(tmp_path, 1) as writer:
        writer.write(SEGMENT)
    assert [path.name for path in tmp_path.iterdir()] == ["segments-00000-of-00001.tfrecord"]


def written(folder, num_shards: int = 2) -> records.Manifest:
    """Writes the shards of a data set, and says what its manifest holds."""
    with records.ShardWriter(folder, num_shards) as writer:
        for start in range(5):
            writer.write(changed(start_frame=start))
    return records.Manifest(
        class_names=("hop", "run"),
        window_frames=(16, 32),
        frame_rate=29.97,
        height=128,
        width=171,
        label_counts=(7, 0, 5),
        shards=writer.shards,
        recipe={"seed": 3, "note": "день"},
        failures=[{"video": "w", "cause": "no frames"}],
    )


@pytest.fixture
def data_set(tmp_path):
    records.write_manifest(tmp_path, written(tmp_path))
    return tmp_path


def test_manifest_reads_back(tmp_path):
    manifest = written(tmp_path)
    records.write_manifest(tmp_path, manifest)
    read = records.read_manifest(str(tmp_path))
    assert read == manifest
    assert (read.num_positives, read.num_backgrounds) == (5, 7)
    assert not list(tmp_path.glob("*.partial"))


def test_folder_without_manifest(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="no finished data set here.*run build_tfrecords"):
            records.read_manifest(folder)


def test_missing_shard(data_set):
    (data_set / "segments-00001-of-00002.tfrecord").unlink()
    with pytest.raises(InputError, match="00001-of-00002.tfrecord: the shard is missing"):
        records.read_manifest(data_set)


def test_cut_shard(data_set):
    shard = data_set / "segments-00001-of-00002.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    message = f"has {len(whole) - 10} bytes where its manifest says {len(whole)}: it was cut"
    with pytest.raises(InputError, match=message):
        records.read_manifest(data_set)


def test_verify_finds_a_changed_byte(data_set):
    records.verify(data_set)
    shard = data_set / "segments-00001-of-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    records.read_manifest(data_set)  # as long as it was
    with pytest.raises(InputError, match="00001-of-00002.tfrecord: the shard was changed"):
        records.verify(data_set)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b'{"class_names": ["hop"',
        b"\xff\xfe\x00",
        b"[]",
        b"3",
        b"null",
        b"{}",
        b'{"unknown": 1}',
    ],
)
def test_file_that_is_no_manifest(data_set, content):
    (data_set / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match="manifest.json: not a manifest of a data set .*again"):
        records.read_manifest(data_set)


@pytest.mark.parametrize(
    "fields",
    [
        {"class_names": None},
        {"shards": 3},
        {"shards": ["segments-00000-of-00001.tfrecord"]},
        {"shards": [{"file": "segments-00000-of-00001.tfrecord"}]},
    ],
)
def test_manifest_with_a_field_of_another_kind(data_set, fields):
    path = data_set / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(InputError, match="not a manifest of a data set"):
        records.read_manifest(data_set)
