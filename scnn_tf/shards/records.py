"""Records: a segment, or a stretch, is a `tf.train.SequenceExample` with MediaSequence's keys.

The paper's three networks are trained on the same records of segments; `batches` derives the
training set of each. One network with three heads is trained on stretches, whose windows each have
a label of their own. In place of frames, a record may have features that another network computed
of each window.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from scnn_tf.errors import InputError
from scnn_tf.segments.stretches import Stretch, num_samples

# Context: one value for each segment.
EXAMPLE_ID = "example/id"  # bytes: <video>:<first frame>+<frames>, unique in the dataset
DATASET_NAME = "example/dataset_name"  # bytes
MEDIA_ID = "clip/media_id"  # bytes: the video's id in the annotations
DATA_PATH = "clip/data_path"  # bytes: the video's file, relative to the video folder
START_TIMESTAMP = "clip/start/timestamp"  # int64, µs: the segment's start in its video
END_TIMESTAMP = "clip/end/timestamp"  # int64, µs: the segment's end, exclusive
LABEL_INDEX = "clip/label/index"  # int64: 0 background, 1…K the classes
LABEL_STRING = "clip/label/string"  # bytes: the class, "background" for 0
IMAGE_FORMAT = "image/format"  # bytes: "jpeg"
IMAGE_HEIGHT = "image/height"  # int64, pixels
IMAGE_WIDTH = "image/width"  # int64, pixels
FRAME_RATE = "image/frame_rate"  # float, Hz: the dataset's rate
# Context, without a key of MediaSequence.
WINDOW_FRAMES = "scnn/window_frames"  # int64: length of the segment in frames, at FRAME_RATE
OVERLAP = "scnn/overlap"  # float: v, tIoU with its instance; 1 for background and trimmed clips
TRIMMED = "scnn/trimmed"  # int64: 1 where the segment is a whole trimmed clip
BACKGROUND_DRAW = "scnn/background_draw"  # float in [0, 1): random for background, 0 otherwise
# Context of a stretch of n windows: a value for each of them, or two; of a multi-label dataset for
# each window and class, the classes of a window next to each other.
WINDOW_LABELS = "scnn/windows/label"  # int64 [n]: -1 for a window that is neither of both, too
WINDOW_OVERLAPS = "scnn/windows/overlap"  # float [n]: v of each window
WINDOW_OFFSETS = "scnn/windows/offset"  # float [2 n]: from its start and end to its instance's, / L
WINDOW_COLUMNS = "scnn/windows/columns"  # int64: number of classes; absent: a window has one label
# Feature lists: one value for each of the sampled frames, 16 of a segment.
IMAGE_ENCODED = "image/encoded"  # bytes: a JPEG
IMAGE_TIMESTAMP = "image/timestamp"  # int64, µs: the frame's time in its video
# Feature list of a stretch that has no frames: values for each of its n windows.
WINDOW_FEATURES = "scnn/windows/feature"  # float [M · F]: F features of each of a window's M views
BACKGROUND = "background"  # `LABEL_STRING` of a background segment
VERSION = 2  # version of the keys; 1 had segment/label/* for clip/label/*
_JPEG_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class SegmentRecord:
    """The content of one record: a segment, or a stretch, which has `labels`.

    Attributes:
        video_id: Id of the video in the annotations.
        data_path: File of the video, relative to the video folder.
        start_frame: First frame of the segment or of the first window, at `frame_rate`.
        window_frames: Length of the segment, or of each window, in frames.
        frame_indices: Indices of the sampled frames: 16, or 16 + 4 (n - 1) of a stretch.
        label: 0 for background, 1…K for the classes; of a stretch, that of its first window of an
            action.
        label_name: Name of the class, or "background".
        overlap: tIoU v with the segment's instance, in (0, 1]; of a stretch, of the same window.
        trimmed: Whether the segment is a whole trimmed clip.
        background_draw: Random number in [0, 1), by which training chooses background.
        images: A JPEG for each of `frame_indices`, all of `height` × `width`; none with `features`.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        frame_rate: Rate of the frames, in Hz.
        dataset_name: Free text.
        columns: Number of labels of a window: 1, or of a multi-label dataset K; then `labels`,
            `overlaps` and `offsets` have a value for each window and class.
        labels: Label of each window of a stretch; -1: neither an action nor background.
        overlaps: tIoU v of each window with its instance, 1 without one.
        offsets: Offsets of each window with an instance, see `losses.pack_targets`; else (0, 0).
        features: float32 `[n, M · F]`, F features of each of the M views of each window, such as
            its frames and their mirror images; None: the record has images.
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
    columns: int = 1
    labels: Sequence[int] = ()
    overlaps: Sequence[float] = ()
    offsets: Sequence[tuple[float, float]] = ()
    features: np.ndarray | None = None

    @property
    def stretch(self) -> Stretch:
        """The windows of the record; a segment is one window."""
        count = len(self.labels) // max(1, self.columns)
        return Stretch(self.start_frame, self.window_frames, max(1, count))


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encodes a frame, uint8 `[H, W, 3]`, for shards."""
    return tf.io.encode_jpeg(image, quality=_JPEG_QUALITY).numpy()


def encode(record: SegmentRecord) -> bytes:
    """Serializes a segment as a `SequenceExample`.

    Raises:
        InputError: The overlap of a positive segment, by which the loss divides, is not in (0, 1];
            or there is another number of images, or of windows with features.
    """
    where = f"segment {record.start_frame}+{record.window_frames} of video {record.video_id!r}"
    if record.label > 0 and not 0.0 < record.overlap <= 1.0:
        raise InputError(
            f"{where}: expected the overlap with its instance in (0, 1]. Received: {record.overlap}"
        )
    if problem := _wrong_number(record):
        raise InputError(f"{where}: {problem}")
    end_frame = record.stretch.end
    context = {
        EXAMPLE_ID: segment_id(record),
        DATASET_NAME: record.dataset_name,
        MEDIA_ID: record.video_id,
        DATA_PATH: record.data_path,
        START_TIMESTAMP: _microseconds(record.start_frame, record.frame_rate),
        END_TIMESTAMP: _microseconds(end_frame, record.frame_rate),
        LABEL_INDEX: int(record.label),
        LABEL_STRING: record.label_name,
        FRAME_RATE: float(record.frame_rate),
        WINDOW_FRAMES: int(record.window_frames),
        OVERLAP: float(record.overlap),
        TRIMMED: int(record.trimmed),
        BACKGROUND_DRAW: float(record.background_draw),
    }
    if record.labels:
        context |= {
            WINDOW_LABELS: list(map(int, record.labels)),
            WINDOW_OVERLAPS: list(map(float, record.overlaps)),
            WINDOW_OFFSETS: [float(value) for pair in record.offsets for value in pair],
        }
    if record.columns > 1:
        context[WINDOW_COLUMNS] = record.columns
    if record.features is None:
        context |= {
            IMAGE_FORMAT: "jpeg", IMAGE_HEIGHT: record.height, IMAGE_WIDTH: record.width
        }  # fmt: skip
        timestamps = [_microseconds(index, record.frame_rate) for index in record.frame_indices]
        values = {IMAGE_ENCODED: record.images, IMAGE_TIMESTAMP: timestamps}
    else:
        values = {WINDOW_FEATURES: [window.tolist() for window in record.features]}
    lists = {
        key: tf.train.FeatureList(feature=[_feature(value) for value in each])
        for key, each in values.items()
    }
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={k: _feature(v) for k, v in context.items()}),
        feature_lists=tf.train.FeatureLists(feature_list=lists),
    ).SerializeToString(deterministic=True)


def _wrong_number(record: SegmentRecord) -> str:
    """Returns what is wrong with the number of images, or of windows with features; "": nothing."""
    if record.features is not None:
        found, expected = len(record.features), record.stretch.count
        return f"expected features of {expected} windows. Found: {found}" * (found != expected)
    expected = num_samples(record.stretch.count)
    found = len(record.images), len(record.frame_indices)
    return f"expected {expected} images. Found: {found[0]}" * (found != (expected, expected))


def segment_id(record: SegmentRecord) -> str:
    """Returns the id of a segment, unique in its dataset: `EXAMPLE_ID`."""
    windows = f"x{record.stretch.count}" if record.labels else ""
    return f"{record.video_id}:{record.start_frame}+{record.window_frames}{windows}"


def decode(serialized: bytes) -> SegmentRecord:
    """Decodes a record in Python; `parse` does it in `tf.data`.

    Raises:
        InputError: The bytes are not a segment, or lack a value.
    """
    try:
        example = tf.train.SequenceExample.FromString(serialized)
        features = example.context.feature
        context = {key: _values(feature)[0] for key, feature in features.items()}
        lists = {
            key: [_values(feature) for feature in values.feature]
            for key, values in example.feature_lists.feature_list.items()
        }
        images, times, vectors = (
            lists.get(key, []) for key in (IMAGE_ENCODED, IMAGE_TIMESTAMP, WINDOW_FEATURES)
        )
        rate = context[FRAME_RATE]
        record = SegmentRecord(
            video_id=context[MEDIA_ID].decode(),
            data_path=context[DATA_PATH].decode(),
            start_frame=round(context[START_TIMESTAMP] * rate / 1e6),
            window_frames=context[WINDOW_FRAMES],
            frame_indices=[round(time * rate / 1e6) for (time,) in times],
            label=context[LABEL_INDEX],
            label_name=context[LABEL_STRING].decode(),
            overlap=context[OVERLAP],
            trimmed=bool(context[TRIMMED]),
            background_draw=context[BACKGROUND_DRAW],
            images=[image for (image,) in images],
            height=context.get(IMAGE_HEIGHT, 0),
            width=context.get(IMAGE_WIDTH, 0),
            frame_rate=rate,
            dataset_name=context[DATASET_NAME].decode(),
        )
        if WINDOW_LABELS in features:
            offsets = _values(features[WINDOW_OFFSETS])
            record = dataclasses.replace(
                record,
                columns=context.get(WINDOW_COLUMNS, 1),
                labels=tuple(_values(features[WINDOW_LABELS])),
                overlaps=tuple(_values(features[WINDOW_OVERLAPS])),
                offsets=tuple(zip(offsets[::2], offsets[1::2], strict=True)),
            )
        if vectors:
            features = np.array([list(window) for window in vectors], np.float32)
            record = dataclasses.replace(record, features=features)
    except DecodeError as error:
        raise InputError("it is not a SequenceExample") from error
    except KeyError as error:
        raise InputError(f"it lacks {error}") from error
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"a value in it is of another type ({error})") from error
    for field in dataclasses.fields(record):
        if field.type in (int, float) and type(vars(record)[field.name]) is not field.type:
            raise InputError(f"its {field.name} is of another type")
    if not all(isinstance(image, bytes) for image in record.images):
        raise InputError("its images are of another type")
    if problem := _wrong_number(record):
        raise InputError(problem)
    if not len(record.labels) == len(record.overlaps) == len(record.offsets):
        raise InputError("its windows have not the same number of labels, overlaps and offsets")
    if record.columns < 1 or len(record.labels) % record.columns:
        raise InputError(f"its {len(record.labels)} labels are not {record.columns} a window")
    return record


def parse(
    serialized: tf.Tensor, stretches: bool = False, features: int = 0, columns: int = 1
) -> dict[str, tf.Tensor]:
    """Parses a serialized record; its images stay encoded.

    Args:
        serialized: string `[]`.
        stretches: Whether it is a stretch of n windows.
        features: Number of values that each window has in place of frames; 0: it has frames.
        columns: Number of labels that each window has.

    Returns:
        By key: `IMAGE_ENCODED` string `[16 + 4 (n - 1)]`, or `WINDOW_FEATURES` float32
        `[n, features]`; and scalars `EXAMPLE_ID` (string),
        `LABEL_INDEX`, `WINDOW_FRAMES` (int64), `OVERLAP`, `BACKGROUND_DRAW` (float32); of a stretch
        also `WINDOW_LABELS` int64 `[n]`, `WINDOW_OVERLAPS` float32 `[n]`, `WINDOW_OFFSETS` float32
        `[n, 2]`; with several columns, `[n, columns]` and `[n, columns, 2]`.
    """
    context_features = {
        EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
        LABEL_INDEX: tf.io.FixedLenFeature([], tf.int64),
        WINDOW_FRAMES: tf.io.FixedLenFeature([], tf.int64),
        OVERLAP: tf.io.FixedLenFeature([], tf.float32),
        BACKGROUND_DRAW: tf.io.FixedLenFeature([], tf.float32),
    }
    if stretches:
        context_features |= {
            WINDOW_LABELS: tf.io.VarLenFeature(tf.int64),
            WINDOW_OVERLAPS: tf.io.VarLenFeature(tf.float32),
            WINDOW_OFFSETS: tf.io.VarLenFeature(tf.float32),
        }
    if features:
        sequence = {WINDOW_FEATURES: tf.io.FixedLenSequenceFeature([features], tf.float32)}
    else:
        sequence = {IMAGE_ENCODED: tf.io.FixedLenSequenceFeature([], tf.string)}
    context, lists = tf.io.parse_single_sequence_example(serialized, context_features, sequence)
    if stretches:
        windows = [-1, columns] if columns > 1 else [-1]
        for key, shape in (
            (WINDOW_LABELS, windows),
            (WINDOW_OVERLAPS, windows),
            (WINDOW_OFFSETS, [*windows, 2]),
        ):
            context[key] = tf.reshape(context[key].values, shape)
    else:
        lists[IMAGE_ENCODED] = tf.ensure_shape(lists[IMAGE_ENCODED], [num_samples(1)])
    return {**context, **lists}


def parse_images(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Parses the inputs of a network; the record may lack all labels.

    Args:
        serialized: string `[]`.

    Returns:
        The encoded images, string `[T]`, 16 of a segment, and the length of the segment, or of each
        window of a stretch, in frames, int32 `[]`.
    """
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features={WINDOW_FRAMES: tf.io.FixedLenFeature([], tf.int64)},
        sequence_features={IMAGE_ENCODED: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    return lists[IMAGE_ENCODED], tf.cast(context[WINDOW_FRAMES], tf.int32)


def _microseconds(frame: int, frame_rate: float) -> int:
    return round(frame * 1e6 / frame_rate)


def _feature(value: int | float | str | bytes | list[int] | list[float]) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], (int, np.integer)):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    data = [each.encode() if isinstance(each, str) else each for each in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=data))


def _values(feature: tf.train.Feature) -> Sequence[int | float | bytes]:
    return getattr(feature, feature.WhichOneof("kind")).value
