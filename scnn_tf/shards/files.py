"""Datasets: a folder of shards of segments, and the manifest that completes it.

`segments-00000-of-00004.tfrecord` … and `manifest.json`, which lists every shard with its count,
bytes and checksum, the recipe that built it, and the checksums of the window-length prior and of
itself. Files appear under their names only when they are complete, have reached the disk and, in a
shard, every record has been read again.
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    PathLike,
    as_path,
    atomic_write,
    is_local,
    read_json,
    read_text,
    sha256,
    signed,
    size_of,
    write_text,
)
from scnn_tf.io.stores import for_tensorflow
from scnn_tf.models.recipes import ShardRecipe
from scnn_tf.segments.prior import WINDOW_PRIOR, read_prior
from scnn_tf.shards import records

MANIFEST = "manifest.json"
_AGAIN = "build the dataset again"
_OTHER_MANIFEST = "the manifest was changed or damaged after it had been built"
_CHUNK = 1 << 20  # bytes that are read at a time
_RESUME = "what is finished is kept: fix the cause and run the same command again"
_CHANGED = "was changed or damaged after it had been built (its checksum is not the manifest's)"


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of each window, which the records of a dataset have instead of frames.

    Attributes:
        shape: Shape of the features of a window, such as (4096,).
        views: Number of views of a window: 2 if the features of its mirror image are there too.
        trunk: What computed them, as JSON can hold it: "layer" and "weights", the checksum of the
            layers up to that one; None: they were read from files.
    """

    shape: tuple[int, ...]
    views: int = 1
    trunk: dict | None = None

    @property
    def values(self) -> int:
        """Number of values that a record has for each window."""
        return self.views * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The description of a dataset: the content of `manifest.json`.

    Attributes:
        class_names: The K classes; label k is `class_names[k - 1]`, 0 is background.
        frame_rate: Rate of the frames, in Hz.
        label_counts: Number of segments of each label, background first, `[K + 1]`.
        shards: "file", "count", "bytes" and "sha256" of each shard.
        recipe: How the segments were cut out of the videos.
        num_videos: Number of videos that the segments were cut out of.
        seed: Seed of the background's draws.
        dataset_name: Free text.
        failures: "video", "file" and "cause" of each video that could not be used.
        held_out: Ids of the videos that were left out, for validation.
        features: What records have in place of frames; None: they have frames.
        window_prior: SHA-256 checksum of `window_prior.csv`; "" in earlier versions of scnn_tf.
        version: Version of the records' keys, `records.VERSION`.
        folder: Folder or URL of the dataset; not in the file.
    """

    class_names: tuple[str, ...]
    frame_rate: float
    label_counts: tuple[int, ...]
    shards: list[dict]
    recipe: ShardRecipe
    num_videos: int = 0
    seed: int = 0
    dataset_name: str = ""
    failures: list[dict] = dataclasses.field(default_factory=list)
    held_out: list[str] = dataclasses.field(default_factory=list)
    features: Features | None = None
    window_prior: str = ""
    version: int = records.VERSION
    folder: str = ""

    @property
    def num_positives(self) -> int:
        """Number of segments of all actions, N_T + N_U of the paper."""
        return sum(self.label_counts[1:])

    @property
    def num_backgrounds(self) -> int:
        """Number of background segments: the pool from which training draws."""
        return self.label_counts[0]

    @property
    def is_trainable(self) -> bool:
        """Whether it has actions and background; a stretch of an action has background, too."""
        has_background = self.num_backgrounds > 0 or self.recipe.stretch_windows > 1
        return self.num_positives > 0 and has_background


def write_manifest(folder: PathLike, manifest: Manifest) -> None:
    """Writes `manifest.json`, the last file of a dataset: with it, the dataset is complete."""
    fields = dataclasses.asdict(manifest)
    del fields["folder"]
    write_text(as_path(folder) / MANIFEST, _signed(fields))


def read_manifest(folder: PathLike) -> Manifest:
    """Reads `manifest.json` and checks that every shard is there in its full length.

    Raises:
        InputError: The folder holds no dataset of this version, the manifest was changed, or a
            shard is missing or cut.
    """
    manifest, is_changed = _read_manifest(folder)
    if is_changed:
        raise InputError(f"{as_path(folder) / MANIFEST}: {_OTHER_MANIFEST}; {_AGAIN}")
    for shard in manifest.shards:
        if complaint := _wrong_size(as_path(folder) / shard["file"], shard["bytes"]):
            raise InputError(f"{complaint}; {_AGAIN}")
    return manifest


def problems(folder: PathLike) -> Iterator[str]:
    """Checks the manifest, the prior, every record of a dataset, and every picture in it.

    Yields:
        A sentence for each problem, which names the file, and the record by its number in the
        shard, from 0.

    Raises:
        InputError: The folder holds no dataset, or its manifest cannot be read.
    """
    manifest, is_changed = _read_manifest(folder)
    if is_changed:
        yield f"{as_path(folder) / MANIFEST}: {_OTHER_MANIFEST}"
    if not manifest.window_prior:
        logging.warning(
            "%s: an earlier version of scnn_tf built this dataset, without checksums of its "
            "manifest and prior; changes in them may go unnoticed",
            folder,
        )
    yield from prior_problems(manifest)
    counts: Counter = Counter()
    seen: dict[str, str] = {}  # where each segment is
    for shard in manifest.shards:
        path = as_path(folder) / shard["file"]
        yield from _shard_problems(path, shard)
        number = 0
        try:
            for serialized in _records_of(path) if path.is_file() else ():
                where = f"{path}, record {number}"
                number += 1
                try:
                    segment = records.decode(serialized.numpy())
                    _check(segment, manifest)
                except InputError as error:
                    yield f"{where}: {error}"
                    continue
                if (name := records.segment_id(segment)) in seen:
                    yield f"{where}: its segment, {name}, is also in {seen[name]}"
                seen[name] = where
                counts[segment.label] += 1
        except tf.errors.OpError as error:
            yield f"{path}: record {number} and all after it cannot be read ({_reason(error)})"
        else:
            if number != shard["count"]:
                yield f"{path}: expected {shard['count']} records. Found: {number}"
    found = tuple(counts[label] for label in range(len(manifest.class_names) + 1))
    if found != tuple(manifest.label_counts):
        yield (
            f"{folder}: expected {list(manifest.label_counts)} segments of each label, background "
            f"first. Found: {list(found)} without problems"
        )


def file_problems(manifest: Manifest) -> Iterator[str]:
    """Yields a sentence for each shard, and for the prior, that is not as it was built."""
    for shard in manifest.shards:
        yield from _shard_problems(as_path(manifest.folder) / shard["file"], shard)
    yield from prior_problems(manifest)


def prior_problems(manifest: Manifest) -> Iterator[str]:
    """Yields a sentence for each problem of a dataset's window-length prior."""
    path = as_path(manifest.folder) / WINDOW_PRIOR
    try:
        prior = read_prior(path)
    except InputError as error:
        yield str(error)
        return
    if manifest.window_prior and sha256(path) != manifest.window_prior:
        yield f"{path}: the window-length prior {_CHANGED}"
    expected = (manifest.class_names, manifest.recipe.window_frames)
    if (prior.class_names, prior.window_frames) != expected:
        yield f"{path}: its classes or window lengths are not those of {MANIFEST}"


def shard_name(index: int, num_shards: int) -> str:
    """Returns the file name of a shard."""
    return f"segments-{index:05d}-of-{num_shards:05d}.tfrecord"


def write_records(path: PathLike, segments: Iterable[records.SegmentRecord]) -> Counter:
    """Writes segments to a file, which appears when it is complete.

    Args:
        path: File or URL; missing folders are created.
        segments: Any number of segments, of which one at a time is in memory.

    Returns:
        Label → number of segments.

    Raises:
        InputError: The file cannot be written; errors of `segments` pass.
    """
    counts: Counter = Counter()
    with _shard_file(as_path(path)) as aside, tf.io.TFRecordWriter(os.fspath(aside)) as writer:
        for segment in segments:
            writer.write(records.encode(segment))
            counts[segment.label] += 1
    return counts


def read_records(path: PathLike) -> Iterator[records.SegmentRecord]:
    """Yields the segments of a shard.

    Raises:
        InputError: A record cannot be read.
    """
    for number, serialized in enumerate(_whole(as_path(path))):
        try:
            yield records.decode(serialized.numpy())
        except InputError as error:
            raise InputError(f"{path}, record {number}: {error}") from error


def finish_shard(pieces: Sequence[tuple[str, int]], count: int, target: str) -> dict:
    """Joins files of segments into a shard, which appears when all of it has been read again.

    Then the files are removed. A file that is missing was joined by an earlier call: its bytes are
    taken from the existing `target`, when the shard is rebuilt with more pieces. A complete
    `target` is left as it is. A power cut may have damaged any of these files.

    Args:
        pieces: File or URL of each piece, and its size in bytes, in their order in the shard.
        count: Number of records of all pieces.
        target: File or URL of the shard.

    Returns:
        The manifest's entry of the shard: file, count, bytes, sha256; or why the segments of its
        videos must be cut again: damaged.

    Raises:
        InputError: The shard cannot be written.
    """
    target = as_path(target)
    files = [as_path(path) for path, _ in pieces]
    sources = [path if path.is_file() else None for path in files]
    sizes = [size for _, size in pieces]
    try:
        if None in sources and target.is_file() and size_of(target) == sum(sizes):
            shard = _read_again(target, count)  # written by a run that was killed afterwards
        else:
            with _shard_file(target) as aside:
                _join(sources, sizes, target, aside)
                shard = _read_again(aside, count)
    except _Damaged as damage:
        return {"damaged": str(damage)}
    for path in files:
        path.unlink(missing_ok=True)
    return {"file": target.name, **shard}


def describe(path: AnyPath) -> dict:
    """Returns the manifest's entry of a shard, without its name: count, bytes, sha256.

    Raises:
        InputError: A record of the shard cannot be read.
    """
    count = sum(1 for _ in _whole(path))
    return {"count": count, "bytes": size_of(path), "sha256": sha256(path)}


class _Damaged(Exception):
    """A file of segments has another content than was written to it."""


def _read_again(path: AnyPath, count: int) -> dict:
    """Describes a shard.

    Raises:
        _Damaged: The shard has another number of records, or a record is damaged.
    """
    try:
        shard = describe(path)
    except InputError as error:
        if isinstance(error.__cause__, tf.errors.DataLossError):
            raise _Damaged(str(error)) from error
        raise
    if shard["count"] != count:
        raise _Damaged(f"{path}: expected {count} records. Found: {shard['count']}")
    return shard


def _join(sources: Sequence[AnyPath | None], sizes: Sequence[int], old: AnyPath, new: Path) -> None:
    """Concatenates files; the bytes of a source that is None are taken from the old shard.

    Raises:
        _Damaged: A file is missing, or has fewer bytes.
    """
    missing = [size for path, size in zip(sources, sizes, strict=True) if path is None]
    if missing and not (old.is_file() and size_of(old) == sum(missing)):
        raise _Damaged(f"{old}: the segments of {len(missing)} video(s) are missing")
    with new.open("wb") as joined, contextlib.ExitStack() as stack:
        old_shard = stack.enter_context(old.open("rb")) if None in sources else None
        for path, size in zip(sources, sizes, strict=True):
            if path is None:
                _copy(old_shard, joined, size, old)
            else:
                with path.open("rb") as piece:
                    _copy(piece, joined, size, path)


def _copy(source: BinaryIO, target: BinaryIO, size: int, path: AnyPath) -> None:
    """Copies a number of bytes.

    Raises:
        _Damaged: The file has fewer.
    """
    left = size
    while left and (chunk := source.read(min(left, _CHUNK))):
        target.write(chunk)
        left -= len(chunk)
    if left:
        raise _Damaged(f"{path}: it ends {left} bytes too early")


@contextlib.contextmanager
def _shard_file(target: AnyPath) -> Iterator[Path]:
    """Gives a file to write, like `atomic_write`; one behind a URL is read again and compared.

    Raises:
        InputError: The file cannot be written, or other bytes arrived than were sent.
    """
    checksum = None
    with atomic_write(target, advice=_RESUME) as aside:
        try:
            yield aside
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, _reason(error), os.fspath(aside)) from error
        if not is_local(target):
            checksum = sha256(aside)
    if checksum is not None and sha256(target) != checksum:
        raise InputError(
            f"{target}: cannot be written (the bytes read back are not those sent); {_RESUME}"
        )


def _whole(path: AnyPath) -> Iterator[tf.Tensor]:
    """Yields the serialized records of a shard.

    Raises:
        InputError: A record cannot be read.
    """
    try:
        yield from _records_of(path)
    except tf.errors.OpError as error:
        raise InputError(f"{path}: a record in it cannot be read ({_reason(error)})") from error


def _records_of(path: AnyPath) -> tf.data.TFRecordDataset:
    return tf.data.TFRecordDataset(for_tensorflow(path), buffer_size=_CHUNK)


def _check(segment: records.SegmentRecord, manifest: Manifest) -> None:
    """Checks that a segment belongs to this dataset, and that its pictures can be decoded.

    Raises:
        InputError: A value of the segment is wrong.
    """
    names = (records.BACKGROUND, *manifest.class_names)
    if not 0 <= segment.label < len(names) or segment.label_name != names[segment.label]:
        raise InputError(
            f"label {segment.label}, {segment.label_name!r}, is not a class of the manifest"
        )
    if not all(-1 <= label < len(names) for label in segment.labels):
        raise InputError(f"labels {list(segment.labels)} are not all classes of the manifest")
    for overlap in (segment.overlap, *segment.overlaps):
        if not 0.0 < overlap <= 1.0:
            raise InputError(f"expected an overlap in (0, 1]. Found: {overlap:g}")
    if not np.isfinite(np.array(segment.offsets, float)).all():
        raise InputError("expected finite offsets of its windows")
    if segment.frame_rate != np.float32(manifest.frame_rate):
        raise InputError(
            f"expected a frame rate of {manifest.frame_rate:g}. Found: {segment.frame_rate:g}"
        )
    lengths = manifest.recipe.window_frames
    # A video that is shorter than all windows is one segment.
    if not (segment.trimmed or segment.window_frames in (*lengths, *range(1, min(lengths)))):
        raise InputError(
            f"expected a window of {', '.join(map(str, lengths))} frames. "
            f"Found: {segment.window_frames}"
        )
    if manifest.features is not None:
        _check_features(segment.features, manifest.features)
        return
    height, width = manifest.recipe.frame_height, manifest.recipe.frame_width
    if (segment.height, segment.width) != (height, width):
        raise InputError(
            f"expected frames of {height} × {width}. Found: {segment.height} × {segment.width}"
        )
    for number, image in enumerate(segment.images):
        try:
            shape = tuple(tf.io.decode_jpeg(image).shape)
        except tf.errors.OpError as error:
            raise InputError(f"image {number} is not a JPEG ({_reason(error)})") from error
        if shape != (height, width, 3):
            raise InputError(
                f"expected image {number} of shape {(height, width, 3)}. Found: {shape}"
            )


def _check_features(found: np.ndarray | None, expected: Features) -> None:
    """Checks the features of a record.

    Raises:
        InputError: There are none, or another number, or they are not finite.
    """
    if found is None or found.shape[1] != expected.values:
        number = 0 if found is None else found.shape[1]
        raise InputError(f"expected {expected.values} features of a window. Found: {number}")
    if not np.isfinite(found).all():
        raise InputError("expected finite features")


def _signed(fields: Mapping[str, object]) -> str:
    """Returns the text of `manifest.json`, whose last field is a checksum of the others."""
    return json.dumps(signed(fields), indent=1) + "\n"


def _read_manifest(folder: PathLike) -> tuple[Manifest, bool]:
    """Reads `manifest.json` alone; returns also whether it was changed after it had been built."""
    path = as_path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a finished dataset, but {MANIFEST} is missing; run build_tfrecords"
        )
    try:
        fields = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {_AGAIN}") from error
    if not isinstance(fields, dict) or fields.get("version") != records.VERSION:
        raise InputError(f"{path}: not a dataset of this version of scnn_tf; {_AGAIN}")
    # Earlier versions wrote no checksum.
    is_changed = fields.pop("checksum", None) is not None and _signed(fields) != read_text(path)
    if (wrong := _wrong_field(fields)) is not None:
        raise InputError(
            f"{path}: not the manifest of a dataset: {wrong} cannot be "
            f"{reprlib.repr(fields.get(wrong))}; {_AGAIN}"
        )
    try:
        windows = tuple(fields["recipe"]["window_frames"])
        fields["recipe"] = ShardRecipe(**{**fields["recipe"], "window_frames": windows})
        if features := fields.get("features"):
            fields["features"] = Features(**{**features, "shape": tuple(features["shape"])})
        for name in ("class_names", "label_counts"):
            fields[name] = tuple(fields[name])
        manifest = Manifest(**fields, folder=os.fspath(folder))
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the manifest of a dataset ({error}); {_AGAIN}") from error
    if len(manifest.label_counts) != len(manifest.class_names) + 1:
        raise InputError(
            f"{path}: expected a count for the background and each of the classes. Found: "
            f"{len(manifest.label_counts)} counts, {len(manifest.class_names)} classes; {_AGAIN}"
        )
    return manifest, is_changed


def _wrong_field(fields: Mapping[str, object]) -> str | None:
    """Returns the first field of a manifest whose value is of another type or out of range."""

    def is_text(value: object) -> bool:
        return isinstance(value, str)

    def is_count(value: object) -> bool:
        return type(value) is int and value >= 0

    def is_list(value: object, is_good: Callable[[object], bool]) -> bool:
        return isinstance(value, list) and all(map(is_good, value))

    def is_shard(value: object) -> bool:
        return isinstance(value, dict) and (
            all(map(is_text, map(value.get, ("file", "sha256"))))
            and all(map(is_count, map(value.get, ("count", "bytes"))))
        )

    def is_failure(value: object) -> bool:
        return isinstance(value, dict) and (
            all(map(is_text, map(value.get, ("video", "cause"))))
            and isinstance(value.get("file"), str | None)
        )

    def is_features(value: object) -> bool:
        return value is None or (
            isinstance(value, dict)
            and is_list(value.get("shape"), is_count)
            and type(value.get("views")) is int
            and 0 < value["views"] <= 2
        )

    value = fields.get
    names, rate, recipe = value("class_names"), value("frame_rate"), value("recipe")
    is_good = {
        "class_names": is_list(names, is_text) and len(set(names)) == len(names),
        "frame_rate": type(rate) is float and 0 < rate < math.inf,
        "label_counts": is_list(value("label_counts"), is_count),
        "shards": is_list(value("shards"), is_shard),
        "recipe": isinstance(recipe, dict) and isinstance(recipe.get("window_frames"), list),
        "num_videos": is_count(value("num_videos")),
        "seed": is_count(value("seed")),
        "dataset_name": is_text(value("dataset_name")),
        "failures": is_list(value("failures"), is_failure),
        "held_out": is_list(value("held_out", []), is_text),  # earlier versions held out none
        "features": is_features(value("features")),
    }
    return next((name for name, good in is_good.items() if not good), None)


def _shard_problems(path: AnyPath, shard: Mapping[str, object]) -> Iterator[str]:
    """Yields a sentence if the bytes of a shard are not those of the manifest's entry."""
    if complaint := _wrong_size(path, shard["bytes"]):
        yield complaint
    elif sha256(path) != shard["sha256"]:
        yield f"{path}: the shard {_CHANGED}"


def _wrong_size(path: AnyPath, size: int) -> str:
    """Returns a complaint about a missing shard or its size; "" if both are right."""
    if not path.is_file():
        return f"{path}: the shard is missing"
    if (now := size_of(path)) != size:
        return (
            f"{path}: expected a shard of {size} bytes. Found: {now} bytes, since it was cut or "
            "changed"
        )
    return ""


def _reason(error: Exception) -> str:
    """Returns the message of an error, without number and path."""
    if isinstance(error, tf.errors.OpError):
        # The message looks like "{{node …}} <path>; No space left on device [Op:…]".
        return error.message.split("}} ")[-1].split("; ")[-1].split(" [Op:")[0]
    return getattr(error, "strerror", None) or str(error)
