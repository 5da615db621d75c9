import dataclasses
import hashlib
import json
import math
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import sha256
from scnn_tf.models.recipes import ShardRecipe
from scnn_tf.segments.prior import WINDOW_PRIOR, window_prior, write_prior
from scnn_tf.shards import files, records

JPEG = tf.io.encode_jpeg(np.zeros((16, 24, 3), np.uint8)).numpy()
SEGMENT = records.SegmentRecord(
    video_id="v 1", data_path="some/v 1.mp4", start_frame=8, window_frames=32,
    frame_indices=range(8, 40, 2), label=2, label_name="run", overlap=0.75, trimmed=False,
    background_draw=0.0, images=[JPEG] * 16, height=16, width=24, frame_rate=30.0,
)  # fmt: skip


def changed(**fields) -> records.SegmentRecord:
    return dataclasses.replace(SEGMENT, **fields)


def many(*starts: int) -> list[records.SegmentRecord]:
    return [changed(start_frame=start) for start in starts]


def read_ids(path) -> list[str]:
    dataset = tf.data.TFRecordDataset(str(path)).map(records.parse)
    return [segment["example/id"].numpy().decode() for segment in dataset]


def listing(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def piece(path: Path, *starts: int) -> tuple[str, int]:
    """Writes a file of segments, and returns the piece for `finish_shard`."""
    files.write_records(path, many(*starts))
    return os.fspath(path), path.stat().st_size


def written(folder) -> files.Manifest:
    """Writes the shards and the prior of a dataset and returns its manifest."""
    names, lengths = ("hop", "run"), (16, 32)
    write_prior(folder / WINDOW_PRIOR, window_prior(["run"], [1.0], names, lengths, 30.0))
    paths = [folder / files.shard_name(i, 2) for i in range(2)]
    for path, starts in zip(paths, [(0, 1, 2), (3, 4)], strict=True):
        files.write_records(path, many(*starts))
    return files.Manifest(
        class_names=names,
        frame_rate=30.0,
        label_counts=(0, 0, 5),
        shards=[{"file": path.name, **files.describe(path)} for path in paths],
        recipe=ShardRecipe(frame_height=16, frame_width=24, window_frames=lengths),
        seed=3,
        dataset_name="день",
        failures=[{"video": "w", "file": None, "cause": "no frames"}],
        window_prior=sha256(folder / WINDOW_PRIOR),
    )


@pytest.fixture
def data_set(tmp_path):
    files.write_manifest(tmp_path, written(tmp_path))
    return tmp_path


def test_segments_are_written_and_counted(tmp_path):
    path = tmp_path / "new" / "folder" / "cut.tfrecord"
    segments = [*many(0, 1), changed(label=0, label_name="background", start_frame=2)]
    assert files.write_records(path, iter(segments)) == {2: 2, 0: 1}
    assert read_ids(path) == ["v 1:0+32", "v 1:1+32", "v 1:2+32"]
    assert listing(path.parent) == ["cut.tfrecord"]
    before = path.read_bytes()
    files.write_records(path, iter(segments))
    assert path.read_bytes() == before


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "cut.tfrecord"

    def failing():
        yield SEGMENT
        assert not path.exists()
        raise VideoError("the video ends early")

    with pytest.raises(VideoError, match="ends early"):
        files.write_records(path, failing())
    with pytest.raises(InputError, match="overlap"):
        files.write_records(path, [SEGMENT, changed(overlap=0.0)])
    assert listing(tmp_path) == []
    files.write_records(path, [])
    assert read_ids(path) == []


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/cut: cannot be written .*; what is finished is"):
        files.write_records(tmp_path / "file" / "cut", [SEGMENT])


def test_a_shard_is_its_pieces_in_order(tmp_path):
    pieces = [piece(tmp_path / f"{i}", *starts) for i, starts in enumerate([(3, 4), (), (0,)])]
    target = tmp_path / "out" / "shard"
    shard = files.finish_shard(pieces, 3, str(target))
    assert read_ids(target) == ["v 1:3+32", "v 1:4+32", "v 1:0+32"]
    data = target.read_bytes()
    assert shard == {
        "file": "shard", "count": 3, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()
    }  # fmt: skip
    assert listing(tmp_path) == ["out"] and listing(target.parent) == ["shard"]
    # A repeated call, after a run that was killed before it noted the outcome, changes nothing.
    assert files.finish_shard(pieces, 3, str(target)) == shard
    assert files.finish_shard([], 0, str(tmp_path / "empty"))["bytes"] == 0


def test_a_finished_shard_is_rebuilt_with_another_piece(tmp_path):
    first, second, third = (piece(tmp_path / str(i), i, i + 10) for i in range(3))
    target = tmp_path / "shard"
    files.finish_shard([first, third], 4, str(target))
    alone = [Path(first[0]).exists(), Path(second[0]).exists(), Path(third[0]).exists()]
    assert alone == [False, True, False]
    files.finish_shard([first, second, third], 6, str(target))
    assert read_ids(target) == [f"v 1:{i}+32" for i in (0, 10, 1, 11, 2, 12)]
    assert listing(tmp_path) == ["shard"]


def test_pieces_of_unexpected_content_are_damaged(tmp_path):
    target = tmp_path / "shard"

    def damaged(message, pieces, count):
        found = files.finish_shard(pieces, count, str(target))
        assert found.keys() == {"damaged"} and re.search(message, found["damaged"]), found
        assert not list(tmp_path.glob(".shard*"))
        assert Path(pieces[0][0]).exists()

    one, two = piece(tmp_path / "one", 0), piece(tmp_path / "two", 1, 2)
    damaged("expected 4 records. Found: 3", [one, two], 4)
    damaged("one: it ends 7 bytes too early", [(one[0], one[1] + 7), two], 3)
    flip(Path(two[0]), -50)
    damaged("a record in it cannot be read .*corrupted record", [one, two], 3)
    none = (str(tmp_path / "none"), one[1])
    damaged("shard: the segments of 1 video.s. are missing", [one, none], 2)
    # The old shard holds three pieces of the size of the missing one: it may be any of them.
    target.write_bytes(3 * Path(one[0]).read_bytes())
    damaged("shard: the segments of 1 video.s. are missing", [one, none], 2)


@pytest.fixture
def small_disk(tmp_path):
    """A folder that holds 100 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.needs("mount", "umount")
def test_a_full_disk_is_reported_and_leaves_no_partial_file(small_disk, tmp_path):
    message = r"cannot be written \(No space left on device\); what is finished is kept: fix"
    path = small_disk / "cut"
    with pytest.raises(InputError, match=f"{path}: {message}"):
        files.write_records(path, (changed(start_frame=i) for i in range(1000)))
    assert listing(small_disk) == []
    pieces = [piece(tmp_path / str(i), *range(10 * i, 10 * i + 10)) for i in range(15)]
    assert sum(size for _, size in pieces) > 100_000
    with pytest.raises(InputError, match=message):
        files.finish_shard(pieces, 150, str(small_disk / "shard"))
    assert listing(small_disk) == []
    files.finish_shard(pieces, 150, str(tmp_path / "shard"))  # on another disk, it succeeds


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest = written(tmp_path)
    files.write_manifest(tmp_path, manifest)
    read = files.read_manifest(str(tmp_path))
    assert read == dataclasses.replace(manifest, folder=str(tmp_path))
    assert (read.num_positives, read.num_backgrounds) == (5, 0)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="expected a finished dataset.*run build_tfrecords"):
            files.read_manifest(folder)


def test_a_missing_shard_is_named(data_set):
    (data_set / "segments-00001-of-00002.tfrecord").unlink()
    with pytest.raises(InputError, match="00001-of-00002.tfrecord: the shard is missing"):
        files.read_manifest(data_set)


def test_a_truncated_shard_is_named(data_set):
    shard = data_set / "segments-00001-of-00002.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    message = f"expected a shard of {len(whole)} bytes. Found: {len(whole) - 10} bytes"
    with pytest.raises(InputError, match=message):
        files.read_manifest(data_set)


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
def test_files_that_are_not_manifests_are_refused(data_set, content):
    (data_set / "manifest.json").write_bytes(content)
    with pytest.raises(
        InputError, match="manifest.json: (not a dataset of this|no valid JSON|cannot be read as)"
    ):
        files.read_manifest(data_set)


def test_shards_of_an_earlier_version_are_refused_in_one_sentence(data_set):
    path = data_set / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["version"]
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match="not a dataset of this version .*build the dataset"):
        files.read_manifest(data_set)


@pytest.mark.parametrize(
    "fields",
    [
        {"class_names": None},
        {"recipe": {}},
        {"recipe": {"window_frames": [16], "frame_height": "high"}},
        {"shards": 3},
        {"shards": ["segments-00000-of-00001.tfrecord"]},
        {"shards": [{"file": "segments-00000-of-00001.tfrecord"}]},
        {"shards": [{"file": "a", "bytes": "many", "count": 1, "sha256": ""}]},
        {"class_names": [["hop"], "run"]},
        {"class_names": ["run", "run"]},
        {"label_counts": [0, 0, 5.5]},
        {"label_counts": [0, 0, -5]},
        {"frame_rate": math.nan},
        {"frame_rate": -25.0},
        {"seed": [3]},
        {"num_videos": None},
        {"dataset_name": {}},
        {"failures": [3]},
        {"failures": [{"video": ["w"], "file": None, "cause": ""}]},
        {"recipe": {"window_frames": [[16]]}},
        {"recipe": {"window_frames": [0]}},
        {"unknown": 1},
    ],
)
def test_manifest_fields_of_another_type_are_refused(data_set, fields):
    path = data_set / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(InputError, match="not the manifest of a dataset"):
        files.read_manifest(data_set)


def flip(path: Path, position: int) -> None:
    """Damages one byte."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def replace(data_set, *segments: records.SegmentRecord) -> None:
    """Puts other segments into the second shard; the manifest agrees with its bytes."""
    path = data_set / "segments-00001-of-00002.tfrecord"
    manifest = files.read_manifest(data_set)
    files.write_records(path, segments)
    manifest.shards[1].update(files.describe(path))
    files.write_manifest(data_set, manifest)


def test_a_good_data_set_has_no_problems(data_set):
    assert list(files.problems(data_set)) == []


def test_problems_name_the_shard_and_the_record(data_set):
    big = tf.io.encode_jpeg(np.zeros((32, 24, 3), np.uint8)).numpy()
    bad = {
        "label 3, 'fly', is not a class": changed(label=3, label_name="fly"),
        "label 2, 'hop', is not a class": changed(label_name="hop"),
        "expected frames of 16 × 24. Found: 8 × 24": changed(height=8),
        r"image 7 is not a JPEG": changed(images=[*[JPEG] * 7, b"\xff\xd8 cut", *[JPEG] * 8]),
        r"expected image 15 of shape \(16, 24, 3\). Found: \(32, 24, 3\)": changed(
            images=[*[JPEG] * 15, big]
        ),
        r"expected an overlap in \(0, 1\]. Found: 0": changed(
            label=0, label_name="background", overlap=0.0
        ),
    }
    made = [dataclasses.replace(s, start_frame=3 + i) for i, s in enumerate(bad.values())]
    replace(data_set, *made, changed(start_frame=1))
    *found, last = files.problems(data_set)
    shard = data_set / "segments-00001-of-00002.tfrecord"
    for number, (message, problem) in enumerate(zip(bad, found[:6], strict=True)):
        assert problem.startswith(f"{shard}, record {number}: ")
        assert re.search(message, problem), problem
    first = data_set / "segments-00000-of-00002.tfrecord"
    assert found[6:] == [f"{shard}, record 6: its segment, v 1:1+32, is also in {first}, record 1"]
    assert last == (
        f"{data_set}: expected [0, 0, 5] segments of each label, background first. Found: "
        "[0, 0, 4] without problems"
    )


def test_problems_of_values_that_are_not_the_manifests(data_set):
    bad = {
        "expected a frame rate of 30. Found: 25": changed(frame_rate=25.0),
        "expected a window of 16, 32 frames. Found: 24": changed(window_frames=24),
    }
    replace(data_set, *bad.values(), changed(window_frames=15), changed(trimmed=True))
    found = list(files.problems(data_set))
    assert [problem.split(": ", 1)[1] for problem in found[:2]] == list(bad)
    # A whole video may be shorter than all windows, a trimmed clip have any length.
    assert len(found) == 2


def test_every_damaged_byte_of_the_manifest_and_the_prior_is_found(data_set):
    for name in ("manifest.json", WINDOW_PRIOR):
        path = data_set / name
        good = path.read_bytes()
        for position in range(0, len(good), 7):
            for bit in (0, 5):
                bad = bytearray(good)
                bad[position] ^= 1 << bit
                path.write_bytes(bad)
                try:
                    found = next(files.problems(data_set), None)
                except InputError as error:
                    found = str(error)
                assert found is not None and name in found, (position, bit)
                assert "\n" not in found
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("class_names", ["hop", "ran"]),
        ("frame_rate", 25.0),
        ("label_counts", [1, 0, 4]),
        ("seed", 4),
        ("num_videos", 7),
        ("dataset_name", ""),
        ("failures", []),
    ],
)
def test_a_changed_field_of_the_manifest_is_found(data_set, field, value):
    path = data_set / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}, indent=1) + "\n")
    message = "the manifest was changed or damaged after it had been built"
    assert next(files.problems(data_set)) == f"{path}: {message}"
    with pytest.raises(InputError, match=f"{path}: {message}; build the dataset again"):
        files.read_manifest(data_set)


def test_a_changed_recipe_of_the_manifest_is_found(data_set):
    path = data_set / "manifest.json"
    fields = json.loads(path.read_text())
    fields["recipe"]["window_frames"] = [16, 33]
    path.write_text(json.dumps(fields, indent=1) + "\n")
    found = list(files.problems(data_set))
    assert "the manifest was changed" in found[0]
    assert "its classes or window lengths are not those of manifest.json" in found[1]
    assert "expected a window of 16, 33 frames. Found: 32" in found[2]


def test_a_dataset_of_an_earlier_version_has_no_checksums(data_set, caplog):
    path = data_set / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["checksum"], fields["window_prior"]
    path.write_text(json.dumps(fields, indent=1) + "\n")
    assert list(files.problems(data_set)) == []
    assert "without checksums of its manifest and prior" in caplog.text
    assert files.read_manifest(data_set).seed == 3


def test_a_missing_prior_is_a_problem(data_set):
    (data_set / WINDOW_PRIOR).unlink()
    (problem,) = files.problems(data_set)
    assert problem.startswith(f"{data_set / WINDOW_PRIOR}: cannot be read (No such file")


def test_problems_of_damaged_files(data_set):
    first, second = (data_set / f"segments-0000{i}-of-00002.tfrecord" for i in range(2))
    size = first.stat().st_size
    flip(first, size // 2)  # in the middle of three records of the same size
    second.unlink()
    found = list(files.problems(data_set))
    assert found[0].startswith(f"{first}: the shard was changed or damaged")
    assert found[1].startswith(f"{first}: record 1 and all after it cannot be read (corrupted")
    assert found[2] == f"{second}: the shard is missing"
    assert found[3] == f"{second}: expected 2 records. Found: 0"
    assert "Found: [0, 0, 1] without problems" in found[4]


@pytest.mark.parametrize("position", range(0, 10))
def test_every_damaged_byte_is_found(data_set, position):
    shard = data_set / "segments-00000-of-00002.tfrecord"
    flip(shard, position * shard.stat().st_size // 10)
    found = list(files.problems(data_set))
    assert found and all(str(shard) in problem for problem in found[:-1])
