"""Annotated videos to shards: plan (label), cut (sample, only then decode), join.

Each of the three phases runs one job a video, or a shard, and resumes where a killed run stopped
(sections 3.1 and 3.2 of the paper).
"""

import dataclasses
import os
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import (
    VideoAnnotation,
    class_names,
    in_subset,
    trainable,
)
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike
from scnn_tf.jobs.jobs import Here, Job, Outcome, Runner, Task, forget, read_outcome
from scnn_tf.models.recipes import Recipe, get_recipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WINDOW_PRIOR, window_prior, write_prior
from scnn_tf.shards.build_state import BuildState
from scnn_tf.shards.cut import Settings, cut_video, plan_video
from scnn_tf.shards.files import (
    Manifest,
    finish_shard,
    read_manifest,
    write_manifest,
)


class Plan(NamedTuple):
    """The first phase of a build.

    Attributes:
        videos: Place of a video → what `plan_video` returned of it.
        failures: Place of a video → why it cannot be used.
    """

    videos: dict[int, dict]
    failures: dict[int, str]


def build_shards(
    annotations: Mapping[str, VideoAnnotation],
    *,
    video_dir: PathLike,
    output_dir: PathLike,
    recipe: str | Recipe = "small",
    subset: str | None = "train",
    frame_rate: float = 25.0,
    num_shards: int = 4,
    seed: int = 0,
    dataset_name: str = "",
    runner: Runner | None = None,
    work_dir: PathLike | None = None,
    retry_failed: bool = False,
    max_failure_fraction: float = 0.1,
) -> Manifest:
    """Builds one dataset: shards, `manifest.json` and `window_prior.csv`.

    An interrupted build resumes when the same call is repeated, and ends with the same bytes. A
    video that cannot be used is logged and listed in the manifest and in `failures.jsonl`; the
    build continues with the others.

    Args:
        annotations: Annotated videos by id, of all subsets: the dataset has the classes of all.
            Instances without a length or before the start are left out; the log counts them.
        video_dir: Folder of the videos.
        output_dir: Folder of the dataset; what is finished in it is kept.
        recipe: Name, JSON file or `Recipe`, whose `shards` are used.
        subset: Subset of the annotations to build; None: all videos.
        frame_rate: Rate to which all video is resampled, in Hz.
        num_shards: Number of files that the segments are spread over.
        seed: Seed of the background's draws.
        dataset_name: Free text that every record holds.
        runner: Runs the jobs; None: this process.
        work_dir: Folder for what is not in a shard yet; None: `work` in `output_dir`.
        retry_failed: Whether to try videos again that could not be used before.
        max_failure_fraction: Largest fraction of the videos that may be left out, 0 to 1.

    Returns:
        The manifest of the dataset.

    Raises:
        InputError: No video could be used, or none has an action; more videos failed than
            allowed; the folder holds another dataset; a file cannot be written; a class has the
            name that results give to background; or there is no shard or no frame rate.

    Example:
        >>> manifest = scnn_tf.build_shards(
        ...     scnn_tf.read_annotations("annotations.json"),
        ...     video_dir="videos",
        ...     output_dir="new_shards",
        ...     recipe="recipe.json",
        ... )
        >>> manifest.class_names
        ('left', 'right')
    """
    if num_shards < 1 or not frame_rate > 0:
        raise InputError(
            "expected at least one shard and a frame rate above 0. Received: "
            f"num_shards={num_shards}, frame_rate={frame_rate}"
        )
    usable = trainable(annotations)
    classes = class_names(usable.values())
    if BACKGROUND in classes:
        raise InputError(
            f"expected no class of the name {BACKGROUND!r}, which results give to segments without "
            "an action; rename the class, or leave its annotations out"
        )
    videos = [usable[key] for key in in_subset(annotations, subset) if key in usable]
    if not any(video.actions for video in videos):
        where = f" in the subset {subset!r}" if subset is not None else ""
        raise InputError(f"expected at least one action{where}. Found: none")
    settings = Settings(
        get_recipe(recipe).shards, classes, float(frame_rate), num_shards, seed, dataset_name
    )
    state = BuildState(output_dir, work_dir, videos, dataclasses.asdict(settings))
    if state.is_finished:
        manifest = read_manifest(output_dir)
        if not (retry_failed and manifest.failures):
            logging.info("%s is built already", output_dir)
            return manifest
        state.reopen()
    phases = _Phases(state, settings, os.fspath(video_dir), runner or Here(), retry_failed)
    plan = phases.plan(max_failure_fraction)
    cuts, failures = phases.cut(plan, max_failure_fraction)
    return phases.join(plan, cuts, failures)


@dataclasses.dataclass(frozen=True)
class _Phases:
    """The three phases of one build."""

    state: BuildState
    settings: Settings
    video_dir: str
    runner: Runner
    retry_failed: bool

    def plan(self, max_failure_fraction: float) -> Plan:
        """Labels the windows of all videos and settles how much background is stored."""
        state = self.state
        jobs = {
            i: Job(
                plan_video,
                (video, self.video_dir, self.settings, state.windows(i)),
                video.video_id,
                state.outcome("plan", i),
            )
            for i, video in enumerate(state.videos)
        }
        plan = Plan(*self._run(jobs, Task("planning", "video")))
        positives = sum(video["positives"] for video in plan.videos.values())
        backgrounds = sum(video["backgrounds"] for video in plan.videos.values())
        if not positives:
            if state.background_share is None:
                state.remove()  # nothing was begun
            first = f"; the first: {next(iter(plan.failures.values()))}" if plan.failures else ""
            raise InputError(
                f"{self.video_dir}: none of {len(state.videos)} videos gave a segment of an action "
                f"({len(plan.failures)} could not be used{first})"
            )
        state.settle_failures(plan.failures, max_failure_fraction)
        if state.background_share is None:
            ratio = self.settings.recipe.background_ratio
            state.freeze(min(1.0, ratio * positives / max(1, backgrounds)))
        return plan

    def cut(self, plan: Plan, max_failure_fraction: float) -> tuple[dict[int, dict], list[dict]]:
        """Writes the segments of each planned video to a file of its own.

        Returns:
            Place of a video → what `cut_video` returned of it, and the failures of both phases.
        """
        state = self.state
        jobs = {
            i: Job(
                cut_video,
                (
                    state.videos[i],
                    self.video_dir,
                    self.settings,
                    plan.videos[i]["actions"],
                    state.windows(i),
                    state.background_share,
                    state.piece(i),
                ),
                state.videos[i].video_id,
                state.outcome("cut", i),
            )
            for i in plan.videos
        }
        cuts, failed = self._run(jobs, Task("cutting", "video", counted="frames"))
        return cuts, state.settle_failures(plan.failures | failed, max_failure_fraction)

    def join(self, plan: Plan, cuts: dict[int, dict], failures: list[dict]) -> Manifest:
        """Joins the segments of the videos to shards; writes the prior, and last the manifest."""
        state, settings = self.state, self.settings
        shards = self._finish_shards(cuts)
        actions = [action for i in cuts for action in plan.videos[i]["actions"]]
        prior = window_prior(
            [settings.class_names[label - 1] for label, _ in actions],
            [duration for _, duration in actions],
            settings.class_names,
            settings.recipe.window_frames,
            settings.frame_rate,
        )
        counts = np.zeros(1 + len(settings.class_names), int)
        for cut in cuts.values():
            counts += cut["labels"]
        write_prior(state.output_dir / WINDOW_PRIOR, prior)
        manifest = Manifest(
            class_names=settings.class_names,
            frame_rate=settings.frame_rate,
            label_counts=tuple(counts.tolist()),
            shards=shards,
            recipe=settings.recipe,
            num_videos=len(cuts),
            seed=settings.seed,
            dataset_name=settings.dataset_name,
            failures=failures,
        )
        write_manifest(state.output_dir, manifest)
        state.tidy()
        return read_manifest(state.output_dir)

    def _finish_shards(self, cuts: dict[int, dict]) -> list[dict]:
        """Joins the pieces of each shard; returns the manifest's entry of each shard."""
        state, jobs = self.state, {}
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
            # A video that failed when the shard was finished, and is fine now, belongs into it.
            forget([job], partial(_is_other_shard, count=count))
            jobs[shard] = job
        results, failed = self._run(jobs, Task("finishing", "shard"))
        if failed:
            raise InputError(
                f"{state.output_dir}: {len(failed)} of {state.num_shards} shards could not be "
                f"finished; the first: {next(iter(failed.values()))}; run the same command again"
            )
        return list(results.values())

    def _run(self, jobs: dict[int, Job], task: Task) -> tuple[dict[int, dict], dict[int, str]]:
        """Runs jobs; returns the results of those that succeeded, the causes of the others."""
        if self.retry_failed:
            forget(list(jobs.values()), lambda job, outcome: outcome.failed)
        self.runner.run(list(jobs.values()), task)
        outcomes = {i: read_outcome(job) for i, job in jobs.items()}
        return (
            {i: outcome.result for i, outcome in outcomes.items() if outcome.result is not None},
            {i: outcome.cause for i, outcome in outcomes.items() if outcome.result is None},
        )


def _is_other_shard(job: Job, outcome: Outcome, count: int) -> bool:
    """Returns whether a shard is finished again: it failed, or its pieces have changed."""
    return outcome.failed or outcome.result["count"] != count
