"""Annotated videos to shards: plan (label), cut (sample, only then decode), join.

Each of the three phases runs one job a video, or a shard, and resumes where a killed run stopped
(sections 3.1 and 3.2 of the paper).
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import (
    VideoAnnotation,
    class_names,
    in_subset,
    instance_spans,
    trainable,
)
from scnn_tf.datasets.feature_files import find_features, read_features
from scnn_tf.datasets.subsets import DEFAULT_SOURCE_PATTERN, assign_subsets
from scnn_tf.datasets.video_files import VideoFolder
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path, sha256
from scnn_tf.io.folders import locked
from scnn_tf.jobs.jobs import Here, Job, Outcome, Runner, Task, finished, forget
from scnn_tf.models.recipes import Recipe, ShardRecipe, get_recipe
from scnn_tf.models.settings import shown
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.pooling import pooled_size
from scnn_tf.segments.prior import WINDOW_PRIOR, window_prior, write_prior
from scnn_tf.segments.scales import needed_scales
from scnn_tf.segments.windows import WINDOW_FRAMES
from scnn_tf.shards.build_state import BuildState
from scnn_tf.shards.cut import Settings, content_of, cut_video, plan_video, source_of
from scnn_tf.shards.files import (
    Features,
    Manifest,
    file_problems,
    finish_shard,
    read_manifest,
    write_manifest,
)

_MOST_SHARDS = 99_999  # the numbers in their names have five digits
_LARGEST_SEED = 2**31
_COMPARED = 16  # videos whose contents are read at a time, since a store takes its time


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
    validation_share: float = 0.0,
    source_pattern: str = DEFAULT_SOURCE_PATTERN,
    frame_rate: float = 25.0,
    feature_seconds: float | None = None,
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
    video whose file has another content than before is then planned and cut again. A video that
    cannot be used is logged and listed in the manifest and in `failures.jsonl`; the build continues
    with the others.

    Args:
        annotations: Annotated videos by id, of all subsets: the dataset has the classes of all.
            Instances without a length or before the start are left out; the log counts them.
        video_dir: Folder of the videos, or of their features, if the recipe's backbone is
            "features": a file for each video (`datasets.feature_files`).
        output_dir: Folder of the dataset; what is finished in it is kept.
        recipe: Name, JSON file or `Recipe`, whose `shards` are used.
        subset: Subset of the annotations to build; None: all videos.
        validation_share: Fraction of these videos that is left out, for `train` to validate on:
            whole sources, such as people, drawn like `subsets.assign_subsets` does.
        source_pattern: See `subsets.sources`.
        frame_rate: Rate to which all video is resampled, in Hz.
        feature_seconds: Time from a feature vector to the next, in seconds, of features; None: the
            recipe's.
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
            allowed; the folder holds another dataset, or one of videos that have changed since;
            another process works in it; a file cannot be written; a class has the name that results
            give to background; or a number is out of its range.

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
    for name, value, is_good in (
        (f"num_shards from 1 to {_MOST_SHARDS}", num_shards, 0 < num_shards <= _MOST_SHARDS),
        ("a finite frame_rate above 0", frame_rate, 0 < frame_rate < math.inf),
        (f"a seed from 0 to {_LARGEST_SEED}", seed, 0 <= seed <= _LARGEST_SEED),
        ("a validation_share from 0 to 1, exclusive", validation_share, 0 <= validation_share < 1),
    ):
        if not is_good:
            raise InputError(f"expected {name}. Received: {shown(value)}")
    usable = trainable(annotations)
    classes = class_names(usable.values())
    if BACKGROUND in classes:
        raise InputError(
            f"expected no class of the name {BACKGROUND!r}, which results give to segments without "
            "an action; rename the class, or leave its annotations out"
        )
    chosen = {k: usable[k] for k in in_subset(annotations, subset) if k in usable}
    held_out = _held_out(chosen, validation_share, source_pattern, seed)
    videos = [video for key, video in chosen.items() if key not in held_out]
    if not any(video.actions for video in videos):
        where = f" in the subset {subset!r}" if subset is not None else ""
        raise InputError(f"expected at least one action{where}. Found: none")
    recipe = _with_features(get_recipe(recipe), videos, video_dir, feature_seconds)
    shards = _with_scales(recipe, videos, frame_rate)
    settings = Settings(shards, classes, float(frame_rate), num_shards, seed, dataset_name)
    with locked(output_dir, "building a dataset"):
        state = BuildState(output_dir, work_dir, videos, dataclasses.asdict(settings))
        phases = _Phases(
            state,
            settings,
            os.fspath(video_dir),
            runner or Here(),
            retry_failed,
            max_failure_fraction,
            held_out,
        )
        if manifest := phases.finished():
            return manifest
        return phases.join(phases.plan())


@dataclasses.dataclass(frozen=True)
class _Phases:
    """The three phases of one build."""

    state: BuildState
    settings: Settings
    video_dir: str
    runner: Runner
    retry_failed: bool
    max_failure_fraction: float
    held_out: list[str]

    def finished(self) -> Manifest | None:
        """Returns the manifest of a dataset to which nothing has to be done; None if there is none.

        Raises:
            InputError: Videos have changed since the dataset was built.
        """
        state = self.state
        if not state.is_finished:
            return None
        if changed := self._changed(state.contents):
            raise InputError(
                f"{state.output_dir}: holds a dataset of other videos (the files of {len(changed)} "
                f"have changed since: {state.names(changed)}); to build it from the present files, "
                "remove the folder, or choose another --output_dir"
            )
        try:
            manifest = read_manifest(state.output_dir)
            if problem := next(file_problems(manifest), None):
                raise InputError(problem)
        except InputError as error:
            logging.warning("%s is damaged, and resumed (%s)", state.output_dir, error)
            return None
        if self.retry_failed and manifest.failures:
            state.reopen()
            return None
        state.write_failures(manifest.failures)
        state.tidy()
        logging.info("%s is built already", state.output_dir)
        return manifest

    def plan(self) -> Plan:
        """Labels the windows of all videos and settles how much background is stored."""
        state = self.state
        jobs = {
            i: self._job("plan", i, plan_video, video, self.video_dir, self.settings)
            for i, video in enumerate(state.videos)
        }
        forget(list(jobs.values()), _is_from_an_earlier_version)
        self._forget_changed(jobs)
        plan = Plan(*self._run(jobs, Task("planning", "video")))
        positives = sum(video["positives"] for video in plan.videos.values())
        backgrounds = sum(video["backgrounds"] for video in plan.videos.values())
        self._report_late(plan)
        if not positives:
            if state.background_share is None:
                state.remove()  # nothing was begun
            first = f"; the first: {next(iter(plan.failures.values()))}" if plan.failures else ""
            raise InputError(
                f"{self.video_dir}: none of {len(state.videos)} videos gave a segment of an action "
                f"({len(plan.failures)} could not be used{first})"
            )
        state.settle_failures(plan.failures, self.max_failure_fraction)
        if state.background_share is None:
            ratio = self.settings.recipe.background_ratio
            state.freeze(min(1.0, ratio * positives / max(1, backgrounds)))
        return plan

    def join(self, plan: Plan) -> Manifest:
        """Cuts the videos, joins the segments to shards, writes the prior and last the manifest."""
        state, settings = self.state, self.settings
        cuts, failures = self._cut(plan)
        shards, damaged = self._finish_shards(cuts)
        if damaged:
            for damage in damaged.values():
                logging.warning("%s; the videos of the shard are cut again", damage)
            state.forget_cuts((i for i in cuts if state.shard_of(i) in damaged), cuts)
            cuts, failures = self._cut(plan)
            shards, damaged = self._finish_shards(cuts)
        if damaged:
            raise InputError(f"{next(iter(damaged.values()))}; check the disk")
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
        lacking = [settings.class_names[i] for i in np.flatnonzero(counts[1:] == 0)]
        if (
            lacking and not settings.recipe.multi_label
        ):  # there, a segment counts for one of its own
            logging.warning("there is no segment of the class(es) %s", ", ".join(lacking))
        write_prior(state.output_dir / WINDOW_PRIOR, prior)
        state.record({i: plan.videos[i]["content"] for i in cuts})
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
            held_out=self.held_out,
            features=_features_of(settings.recipe),
            window_prior=sha256(state.output_dir / WINDOW_PRIOR),
        )
        write_manifest(state.output_dir, manifest)
        state.tidy()
        return read_manifest(state.output_dir)

    def _changed(self, contents: Mapping[int, dict]) -> list[int]:
        """Returns the videos whose file has another content now; not those whose file is missing.

        Args:
            contents: Place of a video → content of its file when it was planned.
        """
        folder = VideoFolder(self.video_dir)

        def is_other(video: int) -> bool:
            try:
                path = source_of(self.state.videos[video], folder, self.settings.recipe)
                return content_of(path) != contents[video]
            except (InputError, OSError):
                return False

        with ThreadPoolExecutor(_COMPARED) as pool:
            others = pool.map(is_other, contents)
            return [i for i, other in zip(contents, others, strict=True) if other]

    def _forget_changed(self, plan_jobs: Mapping[int, Job]) -> None:
        """Removes what was done with videos whose files have changed since they were planned."""
        state = self.state
        planned, _ = self._outcomes(plan_jobs)
        contents = {i: result["content"] for i, result in planned.items()}
        changed = self._changed({**state.contents, **contents})
        if not changed:
            return
        logging.warning(
            "the files of %d video(s) have changed since the build began; these are planned and "
            "cut again: %s",
            len(changed),
            state.names(changed),
        )
        cut, failed = self._outcomes(
            {i: self._job("cut", i, cut_video) for i in range(len(state.videos))}
        )
        if set(changed) - set(failed):  # their windows counted for the share of the background
            state.freeze(None)
        state.forget_cuts(changed, cut)
        for phase in ("cut", "plan"):  # the plan last: until then, the change is found again
            for i in changed:
                as_path(state.outcome(phase, i)).unlink(missing_ok=True)

    def _report_late(self, plan: Plan) -> None:
        """Logs how many instances lie after the end of their video."""
        for kind, fate in (
            ("late", "begin after the end of their video and are left out"),
            ("cut", "end after their video and are cut off at its end"),
        ):
            if found := [i for i, planned in plan.videos.items() if planned[kind]]:
                logging.warning(
                    "%d instance(s) of %d video(s) %s; the first video: %s, which lasts %.2f s",
                    sum(plan.videos[i][kind] for i in found),
                    len(found),
                    fate,
                    self.state.videos[found[0]].video_id,
                    plan.videos[found[0]]["duration"],
                )

    def _cut(self, plan: Plan) -> tuple[dict[int, dict], list[dict]]:
        """Writes the segments of each planned video to a file of its own.

        Returns:
            Place of a video → what `cut_video` returned of it, and the failures of both phases.
        """
        state = self.state
        jobs = {
            i: self._job(
                "cut",
                i,
                cut_video,
                state.videos[i],
                self.video_dir,
                self.settings,
                planned,
                state.background_share,
                state.piece(i),
            )
            for i, planned in plan.videos.items()
        }
        cut, _ = self._outcomes(jobs)
        share = state.background_share
        stale = [i for i, result in cut.items() if result.get("background_share") != share]
        state.forget_cuts(stale, cut)
        cuts, failed = self._run(jobs, Task("cutting", "video", counted="frames"))
        failures = state.settle_failures(plan.failures | failed, self.max_failure_fraction)
        return cuts, failures

    def _finish_shards(self, cuts: dict[int, dict]) -> tuple[list[dict], dict[int, str]]:
        """Joins the pieces of each shard.

        Returns:
            The manifest's entry of each shard; and number of a shard → why the segments of its
            videos must be cut again.
        """
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
            forget([job], partial(_is_other_shard, target=target, count=count))
            jobs[shard] = job
        results, failed = self._run(jobs, Task("finishing", "shard"))
        if failed:
            raise InputError(
                f"{state.output_dir}: {len(failed)} of {state.num_shards} shards could not be "
                f"finished; the first: {next(iter(failed.values()))}; run the same command again"
            )
        damaged = {i: result["damaged"] for i, result in results.items() if "damaged" in result}
        return list(results.values()), damaged

    def _job(self, phase: str, video: int, function: Callable[..., dict], *args) -> Job:
        """Returns the job of a video in a phase."""
        name = self.state.videos[video].video_id
        return Job(function, args, name, self.state.outcome(phase, video))

    def _run(self, jobs: Mapping[int, Job], task: Task) -> tuple[dict[int, dict], dict[int, str]]:
        """Runs jobs; returns what `_outcomes` does."""
        retried = self.retry_failed
        forget(list(jobs.values()), lambda job, outcome: retried and outcome.failed)
        self.runner.run(list(jobs.values()), task)
        return self._outcomes(jobs)

    def _outcomes(self, jobs: Mapping[int, Job]) -> tuple[dict[int, dict], dict[int, str]]:
        """Returns the results of the jobs that have succeeded, the causes of those that failed."""
        forget(list(jobs.values()), lambda job, outcome: False)  # the damaged ones only
        place = {job.outcome: i for i, job in jobs.items()}
        outcomes = {place[job.outcome]: outcome for job, outcome in finished([*jobs.values()])}
        return (
            {i: outcome.result for i, outcome in outcomes.items() if not outcome.failed},
            {i: outcome.cause for i, outcome in outcomes.items() if outcome.failed},
        )


def _held_out(
    videos: Mapping[str, VideoAnnotation], share: float, source_pattern: str, seed: int
) -> list[str]:
    """Returns the ids of the videos that are left out for validation.

    Raises:
        InputError: All videos have the same source.
    """
    free = {key: dataclasses.replace(video, subset="") for key, video in videos.items()}
    assigned = assign_subsets(free, test_share=share, source_pattern=source_pattern, seed=seed)
    return [key for key, video in assigned.items() if video.subset == "test"]


def _with_features(
    recipe: Recipe, videos: Sequence[VideoAnnotation], folder: PathLike, seconds: float | None
) -> Recipe:
    """Returns the recipe with rate and length of the feature vectors, if it is for features.

    Raises:
        InputError: The rate is missing, or given for videos; or none of the files can be read.
    """
    if not recipe.takes_features:
        if seconds is not None:
            raise InputError(
                f"recipe {recipe.name!r}: takes videos, not features; choose --recipe=features, or "
                "leave out --feature_seconds"
            )
        return recipe
    shards = dataclasses.replace(
        recipe.shards, feature_seconds=seconds or recipe.shards.feature_seconds
    )
    if not shards.feature_seconds:
        raise InputError(
            f"recipe {recipe.name!r}: expected --feature_seconds, the time from a feature vector "
            "to the next, such as .32 for 8 frames at 25 Hz"
        )
    problems = []
    for video in () if shards.feature_size else videos:
        try:
            size = read_features(find_features(video, folder)).shape[1]
        except VideoError as error:
            problems.append(str(error))
            continue
        shards = dataclasses.replace(shards, feature_size=size)
        break
    if not shards.feature_size:
        raise InputError(f"{folder}: no features can be read; the first: {problems[0]}")
    return dataclasses.replace(recipe, shards=shards)


def _features_of(recipe: ShardRecipe) -> Features | None:
    """Returns what the records of a dataset have in place of frames, if anything."""
    return Features((pooled_size(recipe.feature_size),)) if recipe.feature_seconds else None


def _with_scales(
    recipe: Recipe, videos: Sequence[VideoAnnotation], frame_rate: float
) -> ShardRecipe:
    """Returns how segments are cut; the log says which window lengths the instances need.

    Only annotations decide, so that an unreadable video does not change the windows of the others.

    Raises:
        InputError: The recipe leaves the lengths to the instances, and these need none.
    """
    clipped = [video.clipped(video.duration or math.inf) for video in videos]
    found = [(v.duration, i) for v in clipped for i in v.actions if i.end < math.inf]
    scales = needed_scales(
        frame_rate * instance_spans(i for _, i in found),
        np.round(frame_rate * np.array([duration for duration, _ in found])),
        recipe.shards.window_frames or WINDOW_FRAMES,
        recipe.shards.positive_tiou,
        recipe.shards.margin,
    )
    logging.info("%s", scales)
    if not recipe.shards.window_frames and not scales.needed:
        raise InputError(
            f"recipe {recipe.name!r}: expected instances from which to choose the window lengths. "
            "Found: none within reach of a window; give shards.window_frames"
        )
    return recipe.as_built(dataclasses.replace(recipe.shards, window_frames=scales.needed)).shards


def _is_from_an_earlier_version(job: Job, outcome: Outcome) -> bool:
    """Returns whether `plan_video` of an earlier version of scnn_tf left an outcome."""
    return not outcome.failed and "content" not in outcome.result


def _is_other_shard(job: Job, outcome: Outcome, target: AnyPath, count: int) -> bool:
    """Returns whether a shard is finished again.

    It failed, its file is missing or damaged, or it has other videos: one that had failed when the
    shard was finished, and is fine now.
    """
    if outcome.failed or outcome.result.get("count") != count:
        return True
    return not target.is_file() or sha256(target) != outcome.result["sha256"]
