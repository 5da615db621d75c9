"""Annotated videos to shards: cut, label, sample, and only then decode (sections 3.1, 3.2)."""

import dataclasses
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

from scnn_tf import records
from scnn_tf.annotations import VIDEO_EXTENSIONS, VideoAnnotation, instance_spans
from scnn_tf.errors import InputError, VideoError
from scnn_tf.priors import window_prior, write_prior
from scnn_tf.results import BACKGROUND
from scnn_tf.segments import (
    BACKGROUND_TIOU,
    POSITIVE_TIOU,
    WINDOW_FRAMES,
    Segment,
    label_segments,
    sampled_indices,
    sliding_windows,
    stream_segments,
)
from scnn_tf.video import probe, read_frames

WINDOW_PRIOR = "window_prior.csv"


@dataclasses.dataclass(frozen=True)
class BuildRecipe:
    """How segments are made.

    Attributes:
        frame_rate: Hz; all video is resampled to it.
        height: of the stored frames, pixels.
        width: of the stored frames, pixels.
        window_frames: lengths of the windows, in frames.
        background_ratio: background segments kept for each positive one, over all videos: the
            pool that training draws from. The paper needs 1.
        positive_tiou: a segment with more tIoU than that with an instance is positive. The
            paper has .7; at .5 there are two to three times as many, badly placed ones among
            them, which the overlap loss learns to score lower.
        background_tiou: a segment with less than that with every instance is background.
        num_shards: files that the segments are spread over.
        seed: of the background's lots.
        dataset_name: free text, kept in every record.
    """

    frame_rate: float = 25.0
    height: int = 128
    width: int = 171
    window_frames: tuple[int, ...] = WINDOW_FRAMES
    background_ratio: float = 1.0
    positive_tiou: float = POSITIVE_TIOU
    background_tiou: float = BACKGROUND_TIOU
    num_shards: int = 4
    seed: int = 0
    dataset_name: str = ""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is to be cut out of one video.

    Attributes:
        video: its annotation, clipped to its real duration.
        path: its file.
        lots: background segments, each with its lot in [0, 1).
        positives: positive segments, each with its class name and overlap.
    """

    video: VideoAnnotation
    path: Path
    lots: dict[Segment, float]
    positives: dict[Segment, tuple[str, float]]


def build(
    videos: Mapping[str, VideoAnnotation],
    class_names: Sequence[str],
    video_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    recipe: BuildRecipe,
) -> records.Manifest:
    """Builds one data set: shards, `manifest.json` and `window_prior.csv`.

    A video that cannot be used is logged and listed in the manifest; the others go on.

    Args:
        videos: the videos of one subset.
        class_names: all classes, also those that this subset lacks.
        video_dir: folder of the videos.
        output_dir: folder of the data set; an older one in it is replaced.
        recipe: how segments are made.

    Raises:
        InputError: there is nothing to build: no video could be used, or none has an action; or a
            class has the name that results give to no class.
    """
    if BACKGROUND in class_names:
        raise InputError(
            f"a class must not be called {BACKGROUND!r}, which is what segments of no class are "
            "called; rename it, or leave its annotations out"
        )
    failures: list[dict] = []
    plans = [
        plan
        for video in tqdm(videos.values(), desc="planning", unit="video")
        for plan in _guarded(lambda v=video: [_plan(v, video_dir, recipe)], video, failures)
    ]
    num_positives = sum(len(plan.positives) + plan.video.trimmed for plan in plans)
    num_backgrounds = sum(len(plan.lots) for plan in plans)
    if not num_positives:
        raise InputError(
            f"{video_dir}: none of {len(videos)} videos gave a segment of an action "
            f"({len(failures)} could not be used{_first(failures)})"
        )
    kept_share = min(1.0, recipe.background_ratio * num_positives / max(1, num_backgrounds))
    labels = {name: index for index, name in enumerate(class_names, start=1)}

    counts: Counter = Counter()
    with records.ShardWriter(output_dir, recipe.num_shards) as writer:
        for plan in tqdm(plans, desc="cutting", unit="video"):
            # A video's segments are collected first, so that one that breaks off leaves none.
            cut = lambda p=plan: list(_records(p, labels, kept_share, recipe))  # noqa: E731
            for record in _guarded(cut, plan.video, failures):
                writer.write(record)
                counts[record.label] += 1
    manifest = records.Manifest(
        class_names=tuple(class_names),
        window_frames=recipe.window_frames,
        frame_rate=recipe.frame_rate,
        height=recipe.height,
        width=recipe.width,
        label_counts=tuple(counts[label] for label in range(len(class_names) + 1)),
        shards=writer.shards,
        recipe=dataclasses.asdict(recipe),
        failures=failures,
    )
    instances = [i for plan in plans for i in plan.video.actions]
    prior = window_prior(
        [i.label for i in instances],
        [i.end - i.start for i in instances],
        class_names,
        recipe.window_frames,
        recipe.frame_rate,
    )
    write_prior(Path(output_dir) / WINDOW_PRIOR, prior)
    records.write_manifest(output_dir, manifest)
    return manifest


def find_video(video: VideoAnnotation, video_dir: str | os.PathLike) -> Path:
    """The file of a video: the one its annotation names, or the one named after its id.

    Raises:
        VideoError: there is none.
    """
    folder = Path(video_dir)
    if video.file:
        path = folder / video.file
        if path.is_file():
            return path
        raise VideoError(f"{path}: the video is missing")
    for extension in sorted(VIDEO_EXTENSIONS):
        if (path := folder / f"{video.video_id}{extension}").is_file():
            return path
    raise VideoError(f"{folder}: no video file named {video.video_id}.mp4 (or .avi, .mkv, …)")


def _guarded(make, video: VideoAnnotation, failures: list[dict]) -> list:
    """What `make` gives, or nothing and an entry in `failures` where the video is at fault."""
    try:
        return make()
    except InputError as error:
        logging.warning("video %s left out: %s", video.video_id, error)
        failures.append({"video": video.video_id, "cause": str(error)})
        return []


def _first(failures: list[dict]) -> str:
    return f", the first: {failures[0]['cause']}" if failures else ""


def _plan(video: VideoAnnotation, video_dir: str | os.PathLike, recipe: BuildRecipe) -> _Plan:
    """Labels the windows of a video before a frame of it is decoded."""
    path = find_video(video, video_dir)
    duration = probe(path).duration
    video = video.clipped(duration)
    if video.trimmed:
        if not video.actions:
            raise VideoError(f"{path}: the trimmed video is annotated with no action")
        # The one segment of a trimmed clip is all of it; how long that is shows on decoding.
        return _Plan(video, path, {}, {})
    rate = recipe.frame_rate
    windows = sliding_windows(round(duration * rate), recipe.window_frames)
    spans = np.array([(w.start, w.end) for w in windows], float).reshape(-1, 2)
    labels = label_segments(
        spans,
        instance_spans(video.actions) * rate,
        instance_spans(video.ambiguous) * rate,
        recipe.positive_tiou,
        recipe.background_tiou,
    )
    # Seeded by the video, so that its lots do not depend on which others are built with it.
    random = np.random.default_rng([recipe.seed, zlib.crc32(video.video_id.encode())])
    lots = random.random(len(windows))
    return _Plan(
        video,
        path,
        {w: lot for w, lot, use in zip(windows, lots, labels.background, strict=True) if use},
        {
            w: (video.actions[i].label, v)
            for w, i, v in zip(windows, labels.instance, labels.overlap, strict=True)
            if i >= 0
        },
    )


def _records(
    plan: _Plan, labels: Mapping[str, int], kept_share: float, recipe: BuildRecipe
) -> Iterator[records.SegmentRecord]:
    """Decodes a video once and gives its segments; a frame is encoded once for all of them."""
    frames = enumerate(read_frames(plan.path, recipe.frame_rate, recipe.height, recipe.width))
    if plan.video.trimmed:
        held = list(frames)
        whole = Segment(0, len(held))
        label = plan.video.actions[0].label
        chosen = [(whole, [held[i] for i in sampled_indices(whole)])]
        described = {whole: (label, 1.0)}
    else:
        chosen = stream_segments(
            frames,
            recipe.window_frames,
            lambda s: s in plan.positives or plan.lots.get(s, 1.0) < kept_share,
        )
        described = plan.positives
    encoded: dict[int, bytes] = {}
    for segment, sampled in chosen:
        for index, image in sampled:
            if index not in encoded:
                encoded[index] = records.encode_jpeg(image)
        name, overlap = described.get(segment, (records.BACKGROUND, 1.0))
        is_background = segment not in described
        yield records.SegmentRecord(
            video_id=plan.video.video_id,
            data_path=plan.video.file or plan.path.name,
            start_frame=segment.start,
            window_frames=segment.length,
            frame_indices=[index for index, _ in sampled],
            label=0 if is_background else labels[name],
            label_name=name,
            overlap=overlap,
            trimmed=plan.video.trimmed,
            background_draw=plan.lots[segment] / kept_share if is_background else 0.0,
            images=[encoded[index] for index, _ in sampled],
            height=recipe.height,
            width=recipe.width,
            frame_rate=recipe.frame_rate,
            dataset_name=recipe.dataset_name,
        )
        oldest = segment.end - max(recipe.window_frames)
        for index in [i for i in encoded if i < oldest]:
            del encoded[index]
