"""Records: one segment a `tf.train.SequenceExample`, under MediaSequence's keys, in shards.

A data set is a folder: `segments-00000-of-00004.tfrecord` … and `manifest.json`, which names
every shard with its count, bytes and checksum, and freezes the recipe that built it. One set of
shards serves the three networks; what a segment means to each of them is decided on reading
(`input_pipeline`).
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.files import write_text
from scnn_tf.segments import SAMPLED_FRAMES

# Context: one value a segment.
EXAMPLE_ID = "example/id"  # bytes: <video>:<first frame>+<frames>, unique in the data set
DATASET_NAME = "example/dataset_name"  # bytes
MEDIA_ID = "clip/media_id"  # bytes: the video's id in the annotations
DATA_PATH = "clip/data_path"  # bytes: the video's file, relative to the video folder
START_TIMESTAMP = "clip/start/timestamp"  # int64, µs: the segment's start in its video
END_TIMESTAMP = "clip/end/timestamp"  # int64, µs: its end, exclusive
LABEL_INDEX = "segment/label/index"  # int64: 0 background, 1…K the classes
LABEL_STRING = "segment/label/string"  # bytes: the class, "background" for 0
IMAGE_FORMAT = "image/format"  # bytes: "jpeg"
IMAGE_HEIGHT = "image/height"  # int64, pixels
IMAGE_WIDTH = "image/width"  # int64, pixels
FRAME_RATE = "image/frame_rate"  # float, Hz: the data set's rate
# Context, ours: what MediaSequence has no key for.
WINDOW_FRAMES = "scnn/window_frames"  # int64: the segment's length at the data set's rate
OVERLAP = "scnn/overlap"  # float: v, tIoU with its instance; 1 for background and trimmed clips
TRIMMED = "scnn/trimmed"  # int64: 1 where the segment is a whole trimmed clip
BACKGROUND_DRAW = "scnn/background_draw"  # float in [0, 1): a background's lot; 0 for others
# Feature lists: one value a sampled frame, 16 of them.
IMAGE_ENCODED = "image/encoded"  # bytes: a JPEG
IMAGE_TIMESTAMP = "image/timestamp"  # int64, µs: when the frame is on display

BACKGROUND = "background"
MANIFEST = "manifest.json"
_JPEG_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class SegmentRecord:
    """One segment, ready to be written.

    Attributes:
        video_id: the video's id in the annotations.
        data_path: the video's file, relative to the video folder.
        start_frame: first frame of the segment, at `frame_rate`.
        window_frames: length, in frames.
        frame_indices: the 16 sampled frames.
        label: 0 background, 1…K the classes.
        label_name: the class, or "background".
        overlap: v in (0, 1].
        trimmed: whether the segment is a whole trimmed clip.
        background_draw: in [0, 1).
        images: 16 JPEGs, all of `height` × `width`.
        height: pixels.
        width: pixels.
        frame_rate: Hz.
        dataset_name: free text.
    """

    video_id: str
    data_path: str
    start_frame: int
    window_frames: int
    frame_indices: Sequence[int]
    label: int
    label_name: str
    overlap: float
    trimmed: bool
    background_draw: float
    images: Sequence[bytes]
    height: int
    width: int
    frame_rate: float
    dataset_name: str = ""


def encode_jpeg(image: np.ndarray) -> bytes:
    """A frame, uint8 `[H, W, 3]`, as shards and requests hold it."""
    return tf.io.encode_jpeg(image, quality=_JPEG_QUALITY).numpy()


def encode(record: SegmentRecord) -> bytes:
    """Serializes a segment as a `SequenceExample`.

    Raises:
        InputError: a positive segment whose overlap is not in (0, 1] (the loss divides by it),
            or a segment without its 16 images.
    """
    where = f"segment {record.start_frame}+{record.window_frames} of video {record.video_id!r}"
    if record.label > 0 and not 0.0 < record.overlap <= 1.0:
        raise InputError(
            f"{where}: the overlap with its instance must be in (0, 1]. "
            f"Received: {record.overlap}"
        )
    if len(record.images) != SAMPLED_FRAMES:
        raise InputError(
            f"{where}: expected {SAMPLED_FRAMES} images. Received: {len(record.images)}"
        )
    end_frame = record.start_frame + record.window_frames
    context = {
        EXAMPLE_ID: f"{record.video_id}:{record.start_frame}+{record.window_frames}",
        DATASET_NAME: record.dataset_name,
        MEDIA_ID: record.video_id,
        DATA_PATH: record.data_path,
        START_TIMESTAMP: _microseconds(record.start_frame, record.frame_rate),
        END_TIMESTAMP: _microseconds(end_frame, record.frame_rate),
        LABEL_INDEX: int(record.label),
        LABEL_STRING: record.label_name,
        IMAGE_FORMAT: "jpeg",
        IMAGE_HEIGHT: record.height,
        IMAGE_WIDTH: record.width,
        FRAME_RATE: float(record.frame_rate),
        WINDOW_FRAMES: int(record.window_frames),
        OVERLAP: float(record.overlap),
        TRIMMED: int(record.trimmed),
        BACKGROUND_DRAW: float(record.background_draw),
    }
    timestamps = [_microseconds(index, record.frame_rate) for index in record.frame_indices]
    lists = {
        IMAGE_ENCODED: tf.train.FeatureList(feature=[_feature(x) for x in record.images]),
        IMAGE_TIMESTAMP: tf.train.FeatureList(feature=[_feature(x) for x in timestamps]),
    }
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={k: _feature(v) for k, v in context.items()}),
        feature_lists=tf.train.FeatureLists(feature_list=lists),
    ).SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a serialized segment; its images stay encoded.

    Args:
        serialized: string `[]`.

    Returns:
        By key: `IMAGE_ENCODED` string `[16]`, and scalars `EXAMPLE_ID` (string), `LABEL_INDEX`,
        `WINDOW_FRAMES` (int64), `OVERLAP`, `BACKGROUND_DRAW` (float32).
    """
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features={
            EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
            LABEL_INDEX: tf.io.FixedLenFeature([], tf.int64),
            WINDOW_FRAMES: tf.io.FixedLenFeature([], tf.int64),
            OVERLAP: tf.io.FixedLenFeature([], tf.float32),
            BACKGROUND_DRAW: tf.io.FixedLenFeature([], tf.float32),
        },
        sequence_features={IMAGE_ENCODED: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    return {**context, IMAGE_ENCODED: tf.ensure_shape(lists[IMAGE_ENCODED], [SAMPLED_FRAMES])}


def parse_images(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What a network needs of a serialized segment, which may lack all labels.

    Args:
        serialized: string `[]`.

    Returns:
        The encoded images, string `[16]`, and the segment's length in frames, int32 `[]`.
    """
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features={WINDOW_FRAMES: tf.io.FixedLenFeature([], tf.int64)},
        sequence_features={IMAGE_ENCODED: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    images = tf.ensure_shape(lists[IMAGE_ENCODED], [SAMPLED_FRAMES])
    return images, tf.cast(context[WINDOW_FRAMES], tf.int32)


class ShardWriter:
    """Writes segments into a fixed number of shards, each aside, then renamed when all is well.

    A video's segments go, in turn, to all shards, so that every shard is a sample of the set.

    Example:
        with ShardWriter(folder, num_shards=4) as writer:
            writer.write(record)
        write_manifest(folder, Manifest(shards=writer.shards, ...))

    Attributes:
        shards: after the block: one dict a shard, `file`, `count`, `bytes`, `sha256`.
    """

    def __init__(self, folder: str | os.PathLike, num_shards: int):
        self.folder = Path(folder)
        self.num_shards = num_shards
        self.shards: list[dict] = []
        self._counts = [0] * num_shards
        self._names = [
            f"segments-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)
        ]

    def __enter__(self) -> "ShardWriter":
        """Opens the shards, aside; what the folder held of an older data set goes.

        Raises:
            InputError: the folder cannot be made or written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stale in [*self.folder.glob("segments-*.tfrecord*"), self.folder / MANIFEST]:
                stale.unlink(missing_ok=True)
            self._writers = [
                tf.io.TFRecordWriter(str(self.folder / f"{name}.partial"))
                for name in self._names
            ]
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"{self.folder}: cannot be written to ({reason})") from error
        return self

    def write(self, record: SegmentRecord) -> None:
        """Appends a segment to the next shard."""
        shard = sum(self._counts) % self.num_shards
        self._writers[shard].write(encode(record))
        self._counts[shard] += 1

    def __exit__(self, exc_type, exc, traceback) -> None:
        """Closes the shards, and renames them if the block ended well."""
        for writer in self._writers:
            writer.close()
        if exc_type is not None:
            return
        for name, count in zip(self._names, self._counts, strict=True):
            partial, final = self.folder / f"{name}.partial", self.folder / name
            digest = _sha256(partial)
            size = partial.stat().st_size
            partial.rename(final)
            self.shards.append({"file": name, "count": count, "bytes": size, "sha256": digest})


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
        failures: videos that could not be used: {"video", "cause"}.
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
    write_text(Path(folder) / MANIFEST, text)


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Reads `manifest.json` and looks whether every shard is there in its full length.

    Raises:
        InputError: no data set in the folder, an unreadable manifest, a missing or cut shard.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder}: no finished data set here ({MANIFEST} is missing); run build_tfrecords"
        )
    try:
        fields = json.loads(path.read_text())
        manifest = Manifest(**fields)
        for name in ("class_names", "window_frames", "label_counts"):
            object.__setattr__(manifest, name, tuple(fields[name]))
        sizes = {path.parent / shard["file"]: shard["bytes"] for shard in manifest.shards}
    except (ValueError, TypeError, KeyError) as error:  # no text, no JSON or not these fields
        raise InputError(
            f"{path}: not a manifest of a data set ({error}); build it again"
        ) from error
    for file, size in sizes.items():
        if not file.is_file():
            raise InputError(f"{file}: the shard is missing; build the data set again")
        if file.stat().st_size != size:
            raise InputError(
                f"{file}: the shard has {file.stat().st_size} bytes where its manifest says "
                f"{size}: it was cut or changed; build the data set again"
            )
    return manifest


def verify(folder: str | os.PathLike) -> None:
    """Reads every shard and compares it with the checksum that the manifest has of it.

    Raises:
        InputError: as `read_manifest`, or a shard whose bytes have changed.
    """
    for shard in read_manifest(folder).shards:
        path = Path(folder) / shard["file"]
        if _sha256(path) != shard["sha256"]:
            raise InputError(
                f"{path}: the shard was changed or damaged after it had been built (its checksum "
                "is not the manifest's); build the data set again"
            )


def _sha256(path: Path) -> str:
    """Checksum of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _microseconds(frame: int, frame_rate: float) -> int:
    return round(frame * 1e6 / frame_rate)


def _feature(value: int | float | str | bytes) -> tf.train.Feature:
    if isinstance(value, (int, np.integer)):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    if isinstance(value, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    data = value.encode() if isinstance(value, str) else value
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
