"""Annotated videos to shards: cut, label, sample, and only then decode (sections 3.1, 3.2)."""

import dataclasses
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import Instance, VideoAnnotation, instance_spans
from scnn_tf.datasets.video_files import find_video
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import AnyPath, as_path, size_of
from scnn_tf.io.video import probe, read_frames
from scnn_tf.jobs.jobs import Here, Job, Runner, Task, forget, read_outcome, unfinished
from scnn_tf.segments.labels import BACKGROUND, BACKGROUND_TIOU, POSITIVE_TIOU, label_segments
from scnn_tf.segments.prior import WINDOW_PRIOR, window_prior, write_prior
from scnn_tf.segments.windows import (
    WINDOW_FRAMES,
    Segment,
    sampled_indices,
    sliding_windows,
    stream_segments,
)
from scnn_tf.shards import records
from scnn_tf.shards.build_state import BuildState
from scnn_tf.shards.files import (
    Manifest,
    finish_shard,
    read_manifest,
    write_manifest,
    write_records,
)


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


def build(
    videos: Mapping[str, VideoAnnotation],
    class_names: Sequence[str],
    video_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    recipe: BuildRecipe,
    runner: Runner | None = None,
    work_dir: str | os.PathLike | None = None,
    retry_failed: bool = False,
    max_failure_fraction: float = 0.1,
) -> Manifest:
    """Builds one data set: shards, `manifest.json` and `window_prior.csv`.

    The same call goes on where a killed one stopped, and ends with the same bytes. A video that
    cannot be used is logged and listed in the manifest and in `failures.jsonl`; the others go on.

    Args:
        videos: the videos of one subset.
        class_names: all classes, also those that this subset lacks.
        video_dir: folder of the videos.
        output_dir: folder of the data set; what has been finished in it already is kept.
        recipe: how segments are made.
        runner: where videos are worked on; None: in this process.
        work_dir: folder for what is in no shard yet; None: `work` in `output_dir`.
        retry_failed: whether to try videos again that could not be used before.
        max_failure_fraction: of the videos, that may be left out, 0 to 1.

    Raises:
        InputError: there is nothing to build: no video could be used, or none has an action; more
            videos failed than may; the folder holds another data set; something cannot be
            written; or a class has the name that results give to no class.
    """
    if BACKGROUND in class_names:
        raise InputError(
            f"a class must not be called {BACKGROUND!r}, which is what segments of no class are "
            "called; rename it, or leave its annotations out"
        )
    runner = runner or Here()
    annotations = list(videos.values())
    state = BuildState(output_dir, work_dir, annotations, class_names, dataclasses.asdict(recipe))
    if state.is_finished:
        manifest = read_manifest(output_dir)
        if not (retry_failed and manifest.failures):
            logging.info("%s is built already", output_dir)
            return manifest
        state.reopen()

    folder = os.fspath(video_dir)
    plan_jobs = {
        i: Job(plan_video, (video, folder, recipe), video.video_id, state.outcome("plan", i))
        for i, video in enumerate(annotations)
    }
    plans, unplanned = _run(runner, plan_jobs, Task("planning", "video"), retry_failed)
    positives = sum(plan["positives"] for plan in plans.values())
    backgrounds = sum(plan["backgrounds"] for plan in plans.values())
    if not positives:
        if state.background_share is None:
            state.remove()  # which was nothing
        first = f", the first: {next(iter(unplanned.values()))}" if unplanned else ""
        raise InputError(
            f"{video_dir}: none of {len(videos)} videos gave a segment of an action "
            f"({len(unplanned)} could not be used{first})"
        )
    state.settle_failures(unplanned, max_failure_fraction)
    if state.background_share is None:
        state.freeze(min(1.0, recipe.background_ratio * positives / max(1, backgrounds)))

    planned = {
        i: dataclasses.replace(
            annotations[i],
            duration=plan["duration"],
            instances=tuple(Instance(*fields) for fields in plan["instances"]),
        )
        for i, plan in plans.items()
    }
    cut_jobs = {
        i: Job(
            cut_video,
            (video, folder, recipe, class_names, state.background_share, state.piece(i)),
            video.video_id,
            state.outcome("cut", i),
        )
        for i, video in planned.items()
    }
    cuts, uncut = _run(runner, cut_jobs, Task("cutting", "video", counted="frames"), retry_failed)
    failures = state.settle_failures(unplanned | uncut, max_failure_fraction)

    shards = _finish_shards(runner, state, cuts)
    actions = [action for i in cuts for action in planned[i].actions]
    prior = window_prior(
        [action.label for action in actions],
        [action.end - action.start for action in actions],
        class_names,
        recipe.window_frames,
        recipe.frame_rate,
    )
    manifest = Manifest(
        class_names=tuple(class_names),
        window_frames=recipe.window_frames,
        frame_rate=recipe.frame_rate,
        height=recipe.height,
        width=recipe.width,
        label_counts=tuple(
            sum(cut["labels"][label] for cut in cuts.values())
            for label in range(len(class_names) + 1)
        ),
        shards=shards,
        recipe=dataclasses.asdict(recipe),
        failures=failures,
    )
    write_prior(state.output_dir / WINDOW_PRIOR, prior)
    write_manifest(output_dir, manifest)
    state.tidy()
    return read_manifest(output_dir)


def plan_video(video: VideoAnnotation, video_dir: str | os.PathLike, recipe: BuildRecipe) -> dict:
    """Looks at a video without decoding it.

    Returns:
        Its real duration (seconds), its instances within that, and how many positive and
        background segments it has.

    Raises:
        VideoError: it cannot be used.
    """
    path = find_video(video, video_dir)
    duration = probe(path).duration
    video = video.clipped(duration)
    if video.trimmed and not video.actions:
        raise VideoError(f"{path}: the trimmed video is annotated with no action")
    positives, lots = _label(video, recipe)
    return {
        "duration": duration,
        "instances": [dataclasses.astuple(instance) for instance in video.instances],
        "positives": len(positives) + video.trimmed,
        "backgrounds": len(lots),
    }


def cut_video(
    video: VideoAnnotation,
    video_dir: str | os.PathLike,
    recipe: BuildRecipe,
    class_names: Sequence[str],
    background_share: float,
    target: str,
) -> dict:
    """Decodes a video once and writes its segments; memory does not grow with the video.

    Args:
        video: clipped to its real duration.
        video_dir: folder of the videos.
        recipe: how segments are made.
        class_names: label k is `class_names[k - 1]`.
        background_share: of the background segments, that is kept.
        target: file or URL to write to.

    Returns:
        "frames" that were decoded, "bytes" written, and "labels": segments of each label,
        background first.

    Raises:
        VideoError: it cannot be decoded.
    """
    path = find_video(video, video_dir)
    num_frames = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal num_frames
        # One thread: several would conceal the errors of a damaged video in more than one way.
        for frame in read_frames(path, recipe.frame_rate, recipe.height, recipe.width, threads=1):
            num_frames += 1
            yield frame

    labels = {name: index for index, name in enumerate(class_names, start=1)}
    segments = _records(video, path, frames, labels, background_share, recipe)
    counts = write_records(target, segments)
    return {
        "frames": num_frames,
        "bytes": size_of(as_path(target)),
        "labels": [counts[label] for label in range(len(class_names) + 1)],
    }


def _run(
    runner: Runner, jobs: dict[int, Job], task: Task, retry_failed: bool
) -> tuple[dict[int, dict], dict[int, str]]:
    """The results of the jobs that went well, and why the others did not."""
    if retry_failed:
        forget(list(jobs.values()), lambda job, outcome: outcome.failed)
    runner.run(list(jobs.values()), task)
    outcomes = {i: read_outcome(job) for i, job in jobs.items()}
    return (
        {i: outcome.result for i, outcome in outcomes.items() if outcome.result is not None},
        {i: outcome.cause for i, outcome in outcomes.items() if outcome.result is None},
    )


def _finish_shards(runner: Runner, state: BuildState, cuts: dict[int, dict]) -> list[dict]:
    """Joins what was cut out of videos to shards; what the manifest says of each."""
    jobs = {}
    for shard in range(state.num_shards):
        members = [i for i in cuts if state.shard_of(i) == shard]
        pieces = [(state.piece(i), cuts[i]["bytes"]) for i in members]
        count = sum(sum(cuts[i]["labels"]) for i in members)
        target = state.shard(shard)
        job = Job(
            finish_shard,
            (pieces, count, os.fspath(target)),
            target.name,
            state.outcome("shards", shard),
        )
        # A video that failed when the shard was finished, and does no more, belongs into it.
        if not unfinished([job]) and read_outcome(job).result["count"] != count:
            as_path(job.outcome).unlink()
        jobs[shard] = job
    results, _ = _run(runner, jobs, Task("finishing", "shard"), retry_failed=False)
    return list(results.values())


def _label(
    video: VideoAnnotation, recipe: BuildRecipe
) -> tuple[dict[Segment, tuple[str, float]], dict[Segment, float]]:
    """Labels the windows of a video before a frame of it is decoded.

    Returns:
        Its positive segments, each with its class name and overlap; and its background segments,
        each with its lot in [0, 1). None of a trimmed clip, whose one segment is all of it: how
        long that is shows on decoding.
    """
    if video.trimmed:
        return {}, {}
    rate = recipe.frame_rate
    windows = sliding_windows(round(video.duration * rate), recipe.window_frames)
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
    return (
        {
            w: (video.actions[i].label, v)
            for w, i, v in zip(windows, labels.instance, labels.overlap, strict=True)
            if i >= 0
        },
        {w: lot for w, lot, use in zip(windows, lots, labels.background, strict=True) if use},
    )


def _whole_clip(
    frames: Callable[[], Iterable[np.ndarray]], hold: int
) -> tuple[Segment, list[tuple[int, np.ndarray]]]:
    """The one segment of a trimmed clip, and its 16 frames.

    Args:
        frames: reads the clip, each time from its start.
        hold: frames that may be held; a longer clip is read twice.
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


def _records(
    video: VideoAnnotation,
    path: AnyPath,
    frames: Callable[[], Iterable[np.ndarray]],
    labels: Mapping[str, int],
    background_share: float,
    recipe: BuildRecipe,
) -> Iterator[records.SegmentRecord]:
    """Gives the segments of a video as its frames come; a frame is encoded once for all of them."""
    positives, lots = _label(video, recipe)
    lots = {w: lot / background_share for w, lot in lots.items() if lot < background_share}
    if video.trimmed:
        segment, sampled = _whole_clip(frames, max(recipe.window_frames))
        positives = {segment: (video.actions[0].label, 1.0)}
        chosen: Iterable = [(segment, sampled)]
    else:
        chosen = stream_segments(
            enumerate(frames()), recipe.window_frames, lambda w: w in positives or w in lots
        )
    encoded: dict[int, bytes] = {}
    for segment, sampled in chosen:
        for index, image in sampled:
            if index not in encoded:
                encoded[index] = records.encode_jpeg(image)
        name, overlap = positives.get(segment, (records.BACKGROUND, 1.0))
        yield records.SegmentRecord(
            video_id=video.video_id,
            data_path=video.file or path.name,
            start_frame=segment.start,
            window_frames=segment.length,
            frame_indices=[index for index, _ in sampled],
            label=labels[name] if segment in positives else 0,
            label_name=name,
            overlap=overlap,
            trimmed=video.trimmed,
            background_draw=lots.get(segment, 0.0),
            images=[encoded[index] for index, _ in sampled],
            height=recipe.height,
            width=recipe.width,
            frame_rate=recipe.frame_rate,
            dataset_name=recipe.dataset_name,
        )
        oldest = segment.end - max(recipe.window_frames)
        for index in [i for i in encoded if i < oldest]:
            del encoded[index]
