"""Localization in many videos: one job for each video, so that finished videos stay finished.

A folder of results holds `run.json` (the identity of the scorer), for each video in `videos/` the
outcome of its job and its scored segments, and what is assembled from these whenever a run ends:
`segments.csv`, the detections, and `failures.jsonl`. TensorFlow is loaded only where a scorer is
opened, usually in a worker process.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from absl import logging

from scnn_tf.datasets.video_files import by_id
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path, read_text, sha256, write_lines, write_text
from scnn_tf.jobs.jobs import Here, Job, Outcome, Runner, Task, finished, forget
from scnn_tf.localization.formats import (
    check_detections_file,
    detections_writer,
    read_segments,
    segments_writer,
    write_segments,
)
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.tables import Detections, RawSegments, concatenate
from scnn_tf.models.checkpoints import MODEL_JSON, WEIGHTS, StageInfo, read_info
from scnn_tf.models.recipes import STAGES
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior

SEGMENTS_CSV = "segments.csv"
DETECTIONS_JSON = "detections.json"
FAILURES = "failures.jsonl"
RUN = "run.json"
VIDEOS = "videos"
_BEST = 20  # detections that a summary shows


class Scorer(Protocol):
    """A model that finds and scores the segments of a video."""

    def score_video(self, path: PathLike, video_id: str) -> RawSegments:
        """Returns a row for each segment that the proposal network kept.

        Raises:
            VideoError: The video cannot be used.
            InputError: The scorer cannot continue, whichever video comes next.
        """


@dataclasses.dataclass(frozen=True)
class ScorerInfo:
    """The description of a scorer.

    Attributes:
        fingerprint: JSON-serializable identity of the scorer; equal fingerprints produce equal
            rows.
        class_names: The K classes.
        prior: The window-length prior that scores are multiplied with; None: no prior.
        nms_threshold: tIoU above which the detection of lower score is removed.
    """

    fingerprint: dict
    class_names: tuple[str, ...]
    prior: WindowPrior | None
    nms_threshold: float


class ScorerHandle(Protocol):
    """A picklable handle, from which each process opens the scorer."""

    def open(self) -> Scorer:
        """Opens the scorer.

        Raises:
            InputError: The scorer is not available.
        """

    def describe(self) -> ScorerInfo:
        """Describes the scorer.

        Raises:
            InputError: The scorer is not available.
        """

    def pinned(self) -> "ScorerHandle":
        """Returns a handle that opens the same networks however long a run takes."""


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """A `ScorerHandle` of a folder of trained networks, as `train` writes it.

    Attributes:
        model_dir: Folder or URL that holds the trained stages.
        scorer: Sub-folder of the network that scores; "classification" for an ablation.
        proposal: Whether to filter by the proposal network.
        proposal_threshold: Segments whose proposal score is lower are discarded; None: the
            recipe's.
        precision: "float32" or "bfloat16", to compute in; None: the one of the training.
    """

    model_dir: PathLike
    scorer: str = "localization"
    proposal: bool = True
    proposal_threshold: float | None = None
    precision: str | None = None

    def open(self) -> Scorer:
        """Loads the networks; see `scnn.load_scnn`."""
        from scnn_tf.localization.scnn import load_scnn

        return load_scnn(
            self.model_dir,
            scorer=self.scorer,
            proposal=self.proposal,
            precision=self.precision,
            proposal_threshold=self.proposal_threshold,
        )

    def describe(self) -> ScorerInfo:
        """Describes the networks by all that decides on the scored segments.

        Raises:
            InputError: The folder holds no trained networks, or no prior.
        """
        folder = as_path(self.model_dir)
        stages = (self.scorer, "proposal") if self.proposal else (self.scorer,)
        infos = {stage: read_info(folder / stage) for stage in stages}
        info = infos[self.scorer]
        inference = info.recipe.inference
        threshold = self.proposal_threshold
        fingerprint = {
            "proposal_threshold": inference.proposal_threshold if threshold is None else threshold,
            "mirror": inference.mirror,
            "precision": self.precision,
            **{f"{stage}/{MODEL_JSON}": _identity(info) for stage, info in infos.items()},
            **{f"{stage}/{WEIGHTS}": _checksum(folder / stage / WEIGHTS) for stage in stages},
        }
        prior = read_prior(folder / self.scorer / WINDOW_PRIOR)
        return ScorerInfo(
            fingerprint,
            class_names=info.class_names,
            prior=prior if inference.window_prior else None,
            nms_threshold=inference.nms_threshold,
        )

    def pinned(self) -> "ModelFolder":
        """Returns the handle itself: trained networks do not change."""
        return self


@dataclasses.dataclass(frozen=True)
class Summary:
    """A summary of a run, whose results are in its files.

    Attributes:
        best: The best detections of all videos, at most 20, by descending score.
        num_detections: Number of detections in all videos.
        failures: The videos that could not be used, as {"video", "cause"}.
    """

    best: Detections
    num_detections: int
    failures: list[dict]


def localize_videos(
    videos: Sequence[PathLike],
    model: PathLike | ScorerHandle,
    output_dir: PathLike,
    *,
    nms_threshold: float | None = None,
    detections_file: str = DETECTIONS_JSON,
    runner: Runner | None = None,
    retry_failed: bool = False,
) -> Summary:
    """Finds the actions in video files; the same call resumes an interrupted run.

    A finished video is not scored again, unless its (local) file has changed its size. A later
    call may have more videos, another `nms_threshold` and another `detections_file`. Whether the
    run completes or is interrupted, `segments.csv` (a row for each segment that the proposal
    network kept), the detections and `failures.jsonl` are written, with the finished ones of the
    given videos in their order.

    Args:
        videos: Files or URLs; a file's name without extension becomes the video's id.
        model: Folder or URL of the trained stages; or a handle: a `ModelFolder`, or a
            `serving.client.ModelServer`.
        output_dir: Folder or URL to write to.
        nms_threshold: tIoU above which the detection of lower score is removed; best .1 less than
            the tIoU of the evaluation; None: the one of the scorer's recipe.
        detections_file: Name of the file of detections; its extension names the format.
        runner: Where the networks run; None: in this process.
        retry_failed: Whether to try videos again that could not be used before.

    Raises:
        InputError: No video was given, two videos have the same id, the folder holds results of
            other networks, or the scorer cannot continue; finished videos are kept.

    Example:
        >>> summary = scnn_tf.localize_videos(["video.mp4"], "model", "found")
        >>> print(summary.best)
    """
    folder = as_path(output_dir)
    jobs = _jobs(videos, folder)
    handle = ModelFolder(model) if isinstance(model, (str, os.PathLike)) else model
    scorer = handle.pinned()
    info = scorer.describe()
    class_list = dict(enumerate(info.class_names, start=1))
    if nms_threshold is None:
        nms_threshold = info.nms_threshold
    check_detections_file(folder / detections_file, class_list)
    _claim(folder, info.fingerprint)
    forget(jobs, lambda job, outcome: _runs_again(job, outcome, retry_failed))
    try:
        (runner or Here()).run(jobs, Task("localizing", "video", setup=scorer.open))
    finally:
        with (
            segments_writer(folder / SEGMENTS_CSV) as add_segments,
            detections_writer(folder / detections_file, class_list) as add_detections,
        ):
            summary = _assemble(jobs, info.prior, nms_threshold, add_segments, add_detections)
        lines = (json.dumps(failure) + "\n" for failure in summary.failures)
        write_lines(folder / FAILURES, lines)
    return summary


def _jobs(videos: Sequence[PathLike], folder: AnyPath) -> list[Job]:
    """Returns the job of each video, whose table and outcome are in the folder `videos`."""
    if not videos:
        raise InputError("no video was given")
    base = os.fspath(folder / VIDEOS)
    return [
        Job(
            function=_score,
            args=(os.fspath(path), name, os.path.join(base, f"{name}.csv")),
            name=os.fspath(path),
            outcome=os.path.join(base, f"{name}.json"),
        )
        for name, path in by_id(videos).items()
    ]


def _score(scorer: Scorer, path: str, video_id: str, table: str) -> dict:
    """Scores a video and writes its table; the function of a job."""
    size = _size(path)
    segments = scorer.score_video(path, video_id)
    write_segments(table, segments)
    return {"segments": len(segments), "bytes": size}


def _table_of(job: Job) -> str:
    """Returns the file with a video's scored segments."""
    return job.args[-1]


def _size(path: str) -> int | None:
    """Returns the bytes of a local file; None for a URL or a missing file."""
    return os.path.getsize(path) if os.path.isfile(path) else None


def _claim(folder: AnyPath, fingerprint: dict) -> None:
    """Writes the identity of the scorer, or checks that the results are of the same scorer."""
    begun = (folder / VIDEOS).is_dir() and any(
        path.suffix == ".json" for path in (folder / VIDEOS).iterdir()
    )
    if begun and (folder / RUN).is_file():
        try:
            old = dict(json.loads(read_text(folder / RUN)))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{folder / RUN}: expected the identity of a scorer. Received: {error}; remove "
                f"{folder} to localize again"
            ) from error
        changed = [
            f"{key} was {_shortened(old.get(key))}, is {_shortened(value)}"
            for key, value in json.loads(json.dumps({**dict.fromkeys(old), **fingerprint})).items()
            if old.get(key) != value
        ]
        if changed:
            raise InputError(
                f"{folder}: contains results of other networks ({'; '.join(changed)}); choose "
                "another --output_dir, or remove the folder to localize again"
            )
    write_text(folder / RUN, json.dumps(fingerprint, indent=1) + "\n")


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) < 20 else f"{text[:12]}…"


def _runs_again(job: Job, outcome: Outcome, retry_failed: bool) -> bool:
    """Returns whether a finished video is localized again, such as one whose file was replaced."""
    if outcome.failed:
        return retry_failed
    before, now = outcome.result["bytes"], _size(job.name)
    replaced = None not in (before, now) and before != now
    if replaced:
        logging.warning(
            "%s had %d bytes and has %d now; it is localized again", job.name, before, now
        )
    return replaced


def _assemble(
    jobs: Sequence[Job],
    prior: WindowPrior | None,
    nms_threshold: float,
    add_segments: Callable[[RawSegments], None],
    add_detections: Callable[[Detections], None],
) -> Summary:
    """Passes the segments and detections of the finished videos on, one video after another."""
    best, num_detections, failures = Detections([], [], [], [], []), 0, []
    for job, outcome in finished(jobs):
        if outcome.failed:
            failures.append({"video": job.name, "cause": outcome.cause})
            continue
        segments = read_segments(_table_of(job))
        detections = detections_from_segments(segments, prior, nms_threshold)
        add_segments(segments)
        add_detections(detections)
        num_detections += len(detections)
        best = concatenate([best, detections])
        best = best.take(np.argsort(-best.score, kind="stable")[:_BEST])
    return Summary(best, num_detections, failures)


def _identity(info: StageInfo) -> str:
    """Returns a checksum of a network's description, without the settings of training and use."""
    fields = dataclasses.asdict(info)
    del fields["checksums"]
    for name in ("name", "inference", *STAGES):  # the weights are compared instead of the training
        del fields["recipe"][name]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _checksum(path: AnyPath) -> str:
    """Returns the checksum of a file of a network.

    Raises:
        InputError: The file is missing or cannot be read.
    """
    if not path.is_file():
        raise InputError(
            f"{path.parent}: no network here ({path.name} is missing); run train first"
        )
    return sha256(path)
