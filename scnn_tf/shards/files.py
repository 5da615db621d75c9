"""Data sets: a folder of shards of segments, and the manifest that says that it is whole.

`segments-00000-of-00004.tfrecord` … and `manifest.json`, which names every shard with its count,
bytes and checksum, and the recipe that built it. Files appear under their names only when they
are whole, have reached the disk and, in a shard, every record has been read again.
"""

import contextlib
import dataclasses
import errno
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    as_path,
    atomic_write,
    is_local,
    read_text,
    sha256,
    size_of,
    write_text,
)
from scnn_tf.io.stores import for_tensorflow
from scnn_tf.shards import records

MANIFEST = "manifest.json"
_CHUNK = 1 << 20  # bytes that are read at a time
_RESUME = "what is finished is kept: fix the cause and run the same command again"
_CHANGED = (
    "the shard was changed or damaged after it had been built (its checksum is not the manifest's)"
)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a data set is: the content of `manifest.json`.

    Attributes:
        class_names: the K classes; label k is `class_names[k - 1]`, 0 is background.
        window_frames: lengths of the windows, in frames.
        frame_rate: Hz.
        height: of the stored frames, pixels.
        width: of the stored frames, pixels.
        label_counts: segments of each label, background first, `[K + 1]`.
        shards: one dict a shard: file, count, bytes, sha256.
        recipe: the settings of the build, for the reader of the file.
        failures: videos that could not be used: {"video", "file", "cause"}.
    """

    class_names: tuple[str, ...]
    window_frames: tuple[int, ...]
    frame_rate: float
    height: int
    width: int
    label_counts: tuple[int, ...]
    shards: list[dict]
    recipe: dict
    failures: list[dict]

    @property
    def num_positives(self) -> int:
        """N_T + N_U of the paper: segments of all actions."""
        return sum(self.label_counts[1:])

    @property
    def num_backgrounds(self) -> int:
        """Background segments in the shards: the pool that the views draw from."""
        return self.label_counts[0]


def write_manifest(folder: str | os.PathLike, manifest: Manifest) -> None:
    """Writes `manifest.json`; its being there says that the data set is whole."""
    text = json.dumps(dataclasses.asdict(manifest), indent=1) + "\n"
    write_text(as_path(folder) / MANIFEST, text)


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Reads `manifest.json` and looks whether every shard is there in its full length.

    Raises:
        InputError: no data set in the folder, an unreadable manifest, a missing or cut shard.
    """
    manifest = _read_manifest(folder)
    for shard in manifest.shards:
        if complaint := _wrong_size(as_path(folder) / shard["file"], shard["bytes"]):
            raise InputError(f"{complaint}; remove the folder and build the data set again")
    return manifest


def verify(folder: str | os.PathLike) -> None:
    """Reads every shard and compares it with the checksum that the manifest has of it.

    Raises:
        InputError: as `read_manifest`, or a shard whose bytes have changed.
    """
    for shard in read_manifest(folder).shards:
        path = as_path(folder) / shard["file"]
        if sha256(path) != shard["sha256"]:
            raise InputError(f"{path}: {_CHANGED}; remove the folder and build the data set again")


def problems(folder: str | os.PathLike) -> Iterator[str]:
    """Looks at every record of a data set, and at every picture in it.

    Yields:
        What is wrong, one sentence each; it names the shard, and the record by its number in the
        shard, from 0. Nothing if all is well.

    Raises:
        InputError: no data set in the folder, or an unreadable manifest.
    """
    manifest = _read_manifest(folder)
    counts: Counter = Counter()
    seen: dict[str, str] = {}  # where each segment is
    for shard in manifest.shards:
        path = as_path(folder) / shard["file"]
        if complaint := _wrong_size(path, shard["bytes"]):
            yield complaint
        elif sha256(path) != shard["sha256"]:
            yield f"{path}: {_CHANGED}"
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
                    yield f"{where}: its segment, {name}, is that of {seen[name]} too"
                seen[name] = where
                counts[segment.label] += 1
        except tf.errors.OpError as error:
            yield f"{path}, record {number}: it and those after it are lost ({_reason(error)})"
        else:
            if number != shard["count"]:
                yield f"{path}: {number} records where its manifest says {shard['count']}"
    found = tuple(counts[label] for label in range(len(manifest.class_names) + 1))
    if found != tuple(manifest.label_counts):
        yield (
            f"{folder}: {list(found)} good segments of each label, background first, where the "
            f"manifest says {list(manifest.label_counts)}"
        )


def shard_name(index: int, num_shards: int) -> str:
    """The file of a shard."""
    return f"segments-{index:05d}-of-{num_shards:05d}.tfrecord"


def write_records(path: str | os.PathLike, segments: Iterable[records.SegmentRecord]) -> Counter:
    """Writes segments to a file, which appears when all of them are in it.

    Args:
        path: file or URL; missing folders are made.
        segments: as many as there may be; one after another is held.

    Returns:
        Label → how many segments.

    Raises:
        InputError: it cannot be written; and whatever `segments` raises.
    """
    counts: Counter = Counter()
    with _shard_file(as_path(path)) as aside, tf.io.TFRecordWriter(os.fspath(aside)) as writer:
        for segment in segments:
            writer.write(records.encode(segment))
            counts[segment.label] += 1
    return counts


def finish_shard(pieces: Sequence[tuple[str, int]], count: int, target: str) -> dict:
    """Joins files of segments into a shard, which appears when all of it has been read again.

    The files are removed then. One that was removed before is in `target`, from which a shard is
    made anew that gets more pieces; if `target` is whole already, nothing is left to do.

    Args:
        pieces: file or URL of each and its bytes, in their order in the shard.
        count: records that they have together.
        target: the shard's file or URL.

    Returns:
        What the manifest says of it: file, count, bytes, sha256.

    Raises:
        InputError: a file is not what it should be, or the shard cannot be written.
    """
    target = as_path(target)
    files = [as_path(path) for path, _ in pieces]
    sources = [path if path.is_file() else None for path in files]
    sizes = [size for _, size in pieces]
    if None in sources and target.is_file() and size_of(target) == sum(sizes):
        shard = _read_again(target, count)  # a run that was killed got that far
    else:
        with _shard_file(target) as aside:
            _join(sources, sizes, target, aside)
            shard = _read_again(aside, count)
    for path in files:
        path.unlink(missing_ok=True)
    return {"file": target.name, **shard}


def describe(path: AnyPath) -> dict:
    """What a manifest says of a shard, besides its name: count, bytes, sha256.

    Raises:
        InputError: a record in it cannot be read.
    """
    try:
        count = sum(1 for _ in _records_of(path))
    except tf.errors.OpError as error:
        raise InputError(f"{path}: a record in it cannot be read ({_reason(error)})") from error
    return {"count": count, "bytes": size_of(path), "sha256": sha256(path)}


def _read_again(path: AnyPath, count: int) -> dict:
    """Describes a shard that must have so many records."""
    shard = describe(path)
    if shard["count"] != count:
        raise InputError(
            f"{path}: {shard['count']} records were read where {count} had been written; look "
            "after the disk, remove the folder and build the data set again"
        )
    return shard


def _join(sources: Sequence[AnyPath | None], sizes: Sequence[int], old: AnyPath, new: Path) -> None:
    """Puts files one after another; the bytes of those that are None are in an old shard."""
    with new.open("wb") as joined, contextlib.ExitStack() as stack:
        old_shard = stack.enter_context(old.open("rb")) if None in sources else None
        for path, size in zip(sources, sizes, strict=True):
            if path is None:
                _copy(old_shard, joined, size, old)
            else:
                with path.open("rb") as piece:
                    _copy(piece, joined, size, path)


def _copy(source: BinaryIO, target: BinaryIO, size: int, path: AnyPath) -> None:
    """Copies that many bytes of a file, or says that it has fewer."""
    left = size
    while left and (chunk := source.read(min(left, _CHUNK))):
        target.write(chunk)
        left -= len(chunk)
    if left:
        raise InputError(
            f"{path}: it ends {left} bytes too early; remove the folder and build the data set "
            "again"
        )


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


def _records_of(path: AnyPath) -> tf.data.TFRecordDataset:
    return tf.data.TFRecordDataset(for_tensorflow(path), buffer_size=_CHUNK)


def _check(segment: records.SegmentRecord, manifest: Manifest) -> None:
    """Looks whether a segment is one of this data set, and its pictures pictures.

    Raises:
        InputError: what is wrong with it.
    """
    names = (records.BACKGROUND, *manifest.class_names)
    if not 0 <= segment.label < len(names) or segment.label_name != names[segment.label]:
        raise InputError(
            f"label {segment.label}, {segment.label_name!r}, is none of the manifest's classes"
        )
    if not 0.0 < segment.overlap <= 1.0:
        raise InputError(f"the overlap should be in (0, 1], it is {segment.overlap:g}")
    size = (manifest.height, manifest.width, 3)
    if (segment.height, segment.width, 3) != size:
        raise InputError(
            f"frames of {segment.height} × {segment.width} where the manifest says "
            f"{manifest.height} × {manifest.width}"
        )
    for number, image in enumerate(segment.images):
        try:
            shape = tuple(tf.io.decode_jpeg(image).shape)
        except tf.errors.OpError as error:
            raise InputError(f"image {number} is no JPEG ({_reason(error)})") from error
        if shape != size:
            raise InputError(f"image {number} is {shape}, and should be {size}")


def _read_manifest(folder: str | os.PathLike) -> Manifest:
    """Reads `manifest.json` alone; see `read_manifest`."""
    path = as_path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder}: no finished data set here ({MANIFEST} is missing); run build_tfrecords"
        )
    try:
        fields = json.loads(read_text(path))
        for name in ("class_names", "window_frames", "label_counts"):
            fields[name] = tuple(fields[name])
        manifest = Manifest(**fields)
        for shard in manifest.shards:
            path.with_name(shard["file"]), shard["count"] + shard["bytes"], shard["sha256"]
    except (ValueError, TypeError, KeyError) as error:  # no text, no JSON or not these fields
        raise InputError(
            f"{path}: not a manifest of a data set ({error}); remove the folder and build it again"
        ) from error
    return manifest


def _wrong_size(path: AnyPath, size: int) -> str:
    """What is wrong with a shard at first sight; "" if nothing is."""
    if not path.is_file():
        return f"{path}: the shard is missing"
    if (now := size_of(path)) != size:
        return (
            f"{path}: the shard has {now} bytes where its manifest says {size}: it was cut or "
            "changed"
        )
    return ""


def _reason(error: Exception) -> str:
    """The system's words for an error, without number and path."""
    if isinstance(error, tf.errors.OpError):
        # "{{node …}} <path>; No space left on device [Op:…]"
        return error.message.split("}} ")[-1].split("; ")[-1].split(" [Op:")[0]
    return getattr(error, "strerror", None) or str(error)
