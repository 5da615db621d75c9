"""One video: labels its windows, and cuts the chosen windows into records (sections 3.1, 3.2).

The first needs only the video's duration, so that what is chosen may depend on all videos; the
second decodes the video once.
"""

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scnn_tf.datasets.annotations import Instance, VideoAnnotation, instance_spans
from scnn_tf.datasets.feature_files import find_features, read_features
from scnn_tf.datasets.video_files import VideoFolder
from scnn_tf.errors import VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path, file_identity, size_of
from scnn_tf.io.video import probe, read_frames
from scnn_tf.models.recipes import ShardRecipe
from scnn_tf.segments.labels import label_segments
from scnn_tf.segments.pooling import pooled
from scnn_tf.segments.stretches import Stretch, num_samples, overlapping, stream_stretches
from scnn_tf.segments.windows import SAMPLED_FRAMES, Segment, sampled_indices, sliding_windows
from scnn_tf.shards import records
from scnn_tf.shards.files import write_records


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides on the bytes of the shards, but for the videos.

    Attributes:
        recipe: How segments are cut out of videos.
        class_names: The K classes; label k is `class_names[k - 1]`, 0 is background.
        frame_rate: Rate to which all video is resampled, in Hz.
        num_shards: Number of files that the segments are spread over.
        seed: Seed of the background's draws.
        dataset_name: Free text that every record holds.
    """

    recipe: ShardRecipe
    class_names: tuple[str, ...]
    frame_rate: float = 25.0
    num_shards: int = 4
    seed: int = 0
    dataset_name: str = ""

    def label_of(self, action: Instance) -> int:
        """Returns the label of an action, 1…K."""
        return 1 + self.class_names.index(action.label)


def source_of(video: VideoAnnotation, folder: VideoFolder, recipe: ShardRecipe) -> AnyPath:
    """Returns the file of an annotated video, or of its features, if the recipe is for these.

    Raises:
        VideoError: The file is missing, or two files have the name.
    """
    return find_features(video, folder.folder) if recipe.feature_seconds else folder.find(video)


class Windows(NamedTuple):
    """All windows of an untrimmed video, in the order of `sliding_windows`.

    A window has C labels: one, or of a multi-label dataset one for each class, by the instances of
    this class alone.

    Attributes:
        start: int64 `[N]`, first frame.
        length: int64 `[N]`, in frames.
        label: int64 `[N, C]`, 0 for background, 1…K for the classes, -1 for what is neither.
        overlap: float64 `[N, C]`, tIoU with the instance that the window belongs to, though it may
            be too little to be labelled with its class; 1 without an instance.
        offset: float64 `[N, C, 2]`, from the window's start and end to those of its instance, in
            window lengths; 0 without an instance.
    """

    start: np.ndarray
    length: np.ndarray
    label: np.ndarray
    overlap: np.ndarray
    offset: np.ndarray


class Candidates(NamedTuple):
    """All stretches of a video that a dataset may have; of one window each, all its segments.

    Attributes:
        rows: The windows of each of the S stretches, as numbers of rows of `Windows`.
        positive: bool `[S]`, whether it has a window of an action.
        background: bool `[S]`, whether it has none, but a window of background.
        draw: float64 `[S]` in [0, 1): backgrounds with the lowest draws are stored; 0 for others.
    """

    rows: list[range]
    positive: np.ndarray
    background: np.ndarray
    draw: np.ndarray


def content_of(path: PathLike) -> dict[str, int | str | None]:
    """Returns the size and the ends of a video file, which stay when it is moved or touched.

    Returns:
        As JSON can hold it: "size", in bytes, and "ends", a checksum of its head and tail.

    Raises:
        InputError: The file cannot be read.
    """
    identity = file_identity(path)
    return {name: identity[name] for name in ("size", "ends")}


def plan_video(video: VideoAnnotation, video_dir: str, settings: Settings) -> dict:
    """Labels the windows of a video by its duration and annotations, before its frames are read.

    Args:
        video: The annotated video.
        video_dir: Folder of the videos.
        settings: Of the build.

    Returns:
        "content" of the file; its real "duration" (seconds); "actions", the label and duration of
        each instance within it; the number of instances that are "late", after its end, and "cut"
        at its end; and the number of its "positives" and "backgrounds".

    Raises:
        VideoError: The video cannot be used.
    """
    path = source_of(video, VideoFolder(video_dir), settings.recipe)
    content, duration = content_of(path), _duration(path, settings.recipe)
    clipped = video.clipped(duration)
    if video.actions and not clipped.actions:  # what it shows is unknown: no background
        raise VideoError(
            f"{path}: lasts {duration:.2f} s, and all its {len(video.actions)} action(s) begin "
            "later; correct its annotations"
        )
    if video.trimmed and not video.actions:
        raise VideoError(f"{path}: the trimmed video is annotated with no action")
    late = len(video.instances) - len(clipped.instances)
    planned = {
        "content": content,
        "duration": duration,
        "actions": [
            (settings.label_of(action), action.end - action.start) for action in clipped.actions
        ],
        "late": late,
        "cut": sum(duration < i.end < math.inf for i in video.instances) - late,
    }
    if video.trimmed and settings.recipe.stretch_windows == 1:
        # Its one segment is all of it; decoding will show how long that is.
        return {**planned, "positives": 1, "backgrounds": 0}
    found = candidates(clipped, label_windows(clipped, settings), settings)
    counts = int(found.positive.sum()), int(found.background.sum())
    return {**planned, "positives": counts[0], "backgrounds": counts[1]}


def label_windows(video: VideoAnnotation, settings: Settings) -> Windows:
    """Labels the windows of an untrimmed video (section 3.2).

    Args:
        video: The annotated video, clipped to its real duration.
        settings: Of the build.
    """
    recipe, groups = settings.recipe, [video.actions]
    if recipe.multi_label:
        groups = [[a for a in video.actions if a.label == name] for name in settings.class_names]
    windows = sliding_windows(round(video.duration * settings.frame_rate), recipe.window_frames)
    starts, lengths = np.array(windows, np.int64).reshape(-1, 2).T
    spans = np.stack([starts, starts + lengths], axis=1)
    columns = zip(*(_labelled(spans, group, video, settings) for group in groups), strict=True)
    label, overlap, offset = (np.stack(column, axis=1) for column in columns)
    return Windows(starts, lengths, label, overlap, offset)


def _labelled(
    spans: np.ndarray, actions: Sequence[Instance], video: VideoAnnotation, settings: Settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels windows by some of a video's actions; returns label, overlap and offset of `Windows`.

    Args:
        spans: int64 `[N, 2]`, start and end of each window, in frames.
        actions: The actions that count.
        video: The annotated video.
        settings: Of the build.
    """
    recipe, rate = settings.recipe, settings.frame_rate
    instances = instance_spans(actions) * rate
    found = label_segments(
        spans,
        instances,
        instance_spans(video.ambiguous) * rate,
        positive_tiou=recipe.positive_tiou,
        background_tiou=recipe.background_tiou,
        margin=recipe.margin,
    )
    belongs = found.instance >= 0
    offset = np.zeros(spans.shape)
    offset[belongs] = instances[found.instance[belongs]] - spans[belongs]
    label = np.array([*map(settings.label_of, actions), 0])[found.instance]
    # What a trimmed clip shows besides is a part of its action, too.
    background = found.background & (not video.trimmed)
    label = np.where(found.positive, label, np.where(background, 0, -1))
    return label, found.overlap, offset / np.diff(spans)


def candidates(video: VideoAnnotation, windows: Windows, settings: Settings) -> Candidates:
    """Groups the windows of a video to stretches, and draws for those of background.

    Args:
        video: The annotated video.
        windows: What `label_windows` returned for it.
        settings: Of the build.
    """
    # The rows of one length follow each other.
    _, firsts, numbers = np.unique(windows.length, return_index=True, return_counts=True)
    rows = [
        range(first + members.start, first + members.stop)
        for first, number in zip(firsts.tolist(), numbers.tolist(), strict=True)
        for members in overlapping(number, settings.recipe.stretch_windows)
    ]
    bounds = np.array([(members.start, members.stop) for members in rows], int).reshape(-1, 2)

    def with_any(chosen: np.ndarray) -> np.ndarray:
        """Returns which stretches have a chosen window, bool `[S]`."""
        counts = np.concatenate([[0], np.cumsum(chosen)])[bounds]
        return counts[:, 1] > counts[:, 0]

    positive = with_any((windows.label > 0).any(axis=1))
    background = with_any((windows.label == 0).all(axis=1))
    # Seeded by the video, so that its draws do not depend on the other videos of the build.
    random = np.random.default_rng([settings.seed, zlib.crc32(video.video_id.encode())])
    draw = np.where(positive, 0.0, random.random(len(rows)))
    return Candidates(rows, positive, background & ~positive, draw)


def _duration(path: AnyPath, recipe: ShardRecipe) -> float:
    """Returns the duration of a video, or of its features, in seconds.

    Raises:
        VideoError: The file cannot be read, or its vectors have another length than all others.
    """
    if recipe.feature_seconds:
        return len(read_features(path, recipe.feature_size)) * recipe.feature_seconds
    return probe(path).duration


def cut_video(
    video: VideoAnnotation,
    video_dir: str,
    settings: Settings,
    planned: Mapping[str, object],
    background_share: float,
    target: str,
) -> dict:
    """Decodes a video once and writes its segments; memory does not grow with the video.

    Of a dataset of features, the features of the video are read instead, and pooled.

    Args:
        video: The annotated video.
        video_dir: Folder of the videos.
        settings: Of the build.
        planned: What `plan_video` returned.
        background_share: Fraction of the background that is stored.
        target: File or URL to write to.

    Returns:
        "frames" of the video, "bytes" written, "labels": segments of each label, background
        first; and the "background_share".

    Raises:
        VideoError: The video cannot be decoded, or is another one than was planned.
    """
    path = source_of(video, VideoFolder(video_dir), settings.recipe)
    recipe, num_frames = settings.recipe, 0
    clipped = video.clipped(planned["duration"])

    def frames() -> Iterator[np.ndarray]:
        nonlocal num_frames
        # One thread: several would conceal the errors of a damaged video in more than one way.
        for frame in read_frames(
            path,
            settings.frame_rate,
            recipe.frame_height,
            recipe.frame_width,
            threads=1,
        ):
            num_frames += 1
            yield frame

    if video.trimmed and recipe.stretch_windows == 1:
        segment, sampled = whole_clip(frames, hold=max(recipe.window_frames))
        label = settings.label_of(clipped.actions[0])
        chosen = {Stretch(*segment): _Targets([label], [1.0], [(0.0, 0.0)], 0.0)}
        content = _encoded([(Stretch(*segment), sampled)], recipe)
    else:
        windows = label_windows(clipped, settings)
        found = candidates(clipped, windows, settings)
        chosen = _chosen(windows, found, background_share)
        if recipe.feature_seconds:
            num_frames = round(clipped.duration * settings.frame_rate)
            content = _pooled(path, chosen, settings)
        else:
            content = _encoded(stream_stretches(enumerate(frames()), chosen), recipe)
    data_path = path.name if recipe.feature_seconds else video.file or path.name
    counts = write_records(
        target,
        (
            _record(video, data_path, stretch, chosen[stretch], settings, **fields)
            for stretch, fields in content
        ),
    )
    if content_of(path) != planned["content"]:
        raise VideoError(
            f"{path}: was replaced or written to while the dataset was built; use --retry_failed"
        )
    return {
        "frames": num_frames,
        "bytes": size_of(as_path(target)),
        "labels": [counts[label] for label in range(len(settings.class_names) + 1)],
        "background_share": background_share,
    }


def whole_clip(
    frames: Callable[[], Iterable[np.ndarray]], hold: int
) -> tuple[Segment, list[tuple[int, np.ndarray]]]:
    """Returns the one segment of a trimmed clip, and its 16 frames with their indices.

    Args:
        frames: Reads the clip, each time from its start.
        hold: Number of frames that may be held; a longer clip is read twice.
    """
    held, length = {}, 0
    for length, frame in enumerate(frames(), start=1):
        if length <= hold:
            held[length - 1] = frame
    whole = Segment(0, length)
    indices = sampled_indices(whole)
    if length > hold:
        held = {i: frame for i, frame in enumerate(frames()) if i in indices}
    return whole, [(i, held[i]) for i in indices]


class _Targets(NamedTuple):
    """The targets of the windows of a stretch, C for each, and the draw of one of background."""

    labels: list[int]
    overlaps: list[float]
    offsets: list[tuple[float, float]]
    background_draw: float


def _chosen(
    windows: Windows, found: Candidates, background_share: float
) -> dict[Stretch, _Targets]:
    """Returns the stretches to store: all with an action, and the drawn background.

    Args:
        windows: All windows of the video.
        found: Their stretches.
        background_share: Fraction of the background that is stored.
    """
    drawn = found.background & (found.draw < background_share)
    # The stored draws are spread over [0, 1) again; the fraction may be 0, and all of them too.
    draw = np.divide(found.draw, background_share, out=np.zeros_like(found.draw), where=drawn)
    chosen = {}
    for number in np.flatnonzero(found.positive | drawn).tolist():
        members = found.rows[number]
        stretch = Stretch(
            int(windows.start[members[0]]), int(windows.length[members[0]]), len(members)
        )
        chosen[stretch] = _Targets(
            windows.label[members].ravel().tolist(),
            windows.overlap[members].ravel().tolist(),
            windows.offset[members].reshape(-1, 2).tolist(),
            float(draw[number]),
        )
    return chosen


def _encoded(
    cut: Iterable[tuple[Stretch, list[tuple[int, np.ndarray]]]], recipe: ShardRecipe
) -> Iterator[tuple[Stretch, dict]]:
    """Yields stretches with the fields of their records that hold images.

    Each frame is encoded once for all stretches.

    Args:
        cut: Stretches with their frames and the indices of these.
        recipe: Of the dataset.
    """
    longest = num_samples(recipe.stretch_windows) * max(recipe.window_frames) // SAMPLED_FRAMES
    encoded: dict[int, bytes] = {}
    for stretch, sampled in cut:
        for index, image in sampled:
            if index not in encoded:
                encoded[index] = records.encode_jpeg(image)
        yield (
            stretch,
            {
                "frame_indices": [index for index, _ in sampled],
                "images": [encoded[index] for index, _ in sampled],
                "height": recipe.frame_height,
                "width": recipe.frame_width,
            },
        )
        oldest = stretch.end - longest
        for index in [i for i in encoded if i < oldest]:
            del encoded[index]


def _pooled(
    path: AnyPath, stretches: Iterable[Stretch], settings: Settings
) -> Iterator[tuple[Stretch, dict]]:
    """Yields stretches with the fields of their records that hold features."""
    recipe = settings.recipe
    vectors = read_features(path, recipe.feature_size)
    for stretch in stretches:
        yield (
            stretch,
            {
                "frame_indices": (),
                "images": (),
                "height": 0,
                "width": 0,
                "features": pooled(
                    vectors, recipe.feature_seconds * settings.frame_rate, stretch.windows
                ),
            },
        )


def _record(
    video: VideoAnnotation,
    data_path: str,
    stretch: Stretch,
    targets: _Targets,
    settings: Settings,
    **fields: object,
) -> records.SegmentRecord:
    """Returns the record of a stretch.

    Args:
        video: The annotated video.
        data_path: Its file, relative to the folder.
        stretch: The stretch.
        targets: The targets of its windows.
        settings: Of the build.
        **fields: What a network sees of it.
    """
    names = (records.BACKGROUND, *settings.class_names)
    main = next((k for k, label in enumerate(targets.labels) if label > 0), 0)
    label = max(0, targets.labels[main])
    if settings.recipe.stretch_windows > 1:
        fields |= {
            "columns": len(targets.labels) // stretch.count,
            "labels": targets.labels,
            "overlaps": targets.overlaps,
            "offsets": targets.offsets,
        }
    return records.SegmentRecord(
        video_id=video.video_id,
        data_path=data_path,
        start_frame=stretch.start,
        window_frames=stretch.window_frames,
        label=label,
        label_name=names[label],
        overlap=targets.overlaps[main] if label else 1.0,
        trimmed=video.trimmed,
        background_draw=targets.background_draw,
        frame_rate=settings.frame_rate,
        dataset_name=settings.dataset_name,
        **fields,
    )
