"""Localization in many videos: one job for each video, so that finished videos stay finished.

From the results of all videos in a folder (see `results`), `segments.csv`, the detections and
`failures.jsonl` are assembled whenever a run ends. TensorFlow is loaded only where a scorer is
opened, usually in a worker process.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path, sha256, write_lines
from scnn_tf.io.folders import locked
from scnn_tf.jobs.jobs import Here, Runner, Task
from scnn_tf.localization.formats import (
    check_detections_file,
    detections_writer,
    read_segments,
    segments_writer,
    write_segments,
)
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.results import Result, Results
from scnn_tf.localization.tables import Detections, RawSegments, concatenate
from scnn_tf.models.checkpoints import (
    MODEL_JSON,
    WEIGHTS,
    StageInfo,
    default_scorer,
    read_info,
)
from scnn_tf.models.recipes import JOINT, STAGES
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior

SEGMENTS_CSV = "segments.csv"
DETECTIONS_JSON = "detections.json"
FAILURES = "failures.jsonl"
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
        scorer: Sub-folder of the network that scores, such as "classification" for an ablation;
            None: "joint" if there is one, else "localization".
        proposal: Whether to filter by proposal scores; of a joint network, whether these are part
            of its class scores, too.
        proposal_threshold: Segments whose proposal score is lower are discarded; None: the
            recipe's.
        precision: "float32" or "bfloat16", to compute in; None: the one of the training.
    """

    model_dir: PathLike
    scorer: str | None = None
    proposal: bool = True
    proposal_threshold: float | None = None
    precision: str | None = None

    def __post_init__(self):
        _check_fraction("proposal_threshold", self.proposal_threshold)

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
        scorer = self.scorer or default_scorer(folder)
        info = read_info(folder / scorer)
        infos = {scorer: info}
        if self.proposal and info.stage != JOINT:
            infos["proposal"] = read_info(folder / "proposal")
        inference = info.recipe.inference
        threshold = self.proposal_threshold
        fingerprint = {
            "proposal": self.proposal,
            "proposal_threshold": inference.proposal_threshold if threshold is None else threshold,
            "mirror": inference.mirror,
            "precision": self.precision,
            **{f"{stage}/{MODEL_JSON}": _identity(info) for stage, info in infos.items()},
            **{f"{stage}/{WEIGHTS}": _checksum(folder / stage / WEIGHTS) for stage in infos},
        }
        prior = read_prior(folder / scorer / WINDOW_PRIOR)
        return ScorerInfo(
            fingerprint,
            class_names=info.class_names,
            prior=prior if inference.window_prior else None,
            nms_threshold=inference.nms_threshold,
        )

    @property
    def takes_features(self) -> bool:
        """Whether the networks take files of features in place of videos.

        Raises:
            InputError: The folder holds no trained networks.
        """
        folder = as_path(self.model_dir)
        return read_info(folder / (self.scorer or default_scorer(folder))).recipe.takes_features

    def pinned(self) -> "ModelFolder":
        """Returns the handle itself: trained networks do not change."""
        return self


@dataclasses.dataclass(frozen=True)
class Summary:
    """A summary of a run, whose results are in its files.

    Attributes:
        best: The best detections of the given videos, at most 20, by descending score.
        num_detections: Number of detections in the given videos.
        failures: The given videos that could not be used, as {"video", "cause"}.
        videos: Id → absolute path or URL of the given videos, and of those of earlier calls whose
            results the files hold, too.
    """

    best: Detections
    num_detections: int
    failures: list[dict]
    videos: dict[str, str]


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

    A finished video is not scored again, unless its file was replaced. A later call may have other
    videos, another `nms_threshold` and another `detections_file`. Whether the run completes or is
    interrupted, `segments.csv` (a row for each segment that the proposal network kept), the
    detections and `failures.jsonl` are written. They hold the finished videos of this call and of
    earlier ones, whether or not their files still exist, by their ids: calls for some of the videos
    each, in any order, end with the same files as one call for all.

    Args:
        videos: Files or URLs. Their ids are those that `datasets.video_files.by_id` gives to all
            videos of the folder.
        model: Folder or URL of the trained stages; or a handle: a `ModelFolder`, or a
            `serving.client.ModelServer`.
        output_dir: Folder or URL to write to.
        nms_threshold: tIoU above which the detection of lower score is removed; best .1 less than
            the tIoU of the evaluation; None: the one of the scorer's recipe.
        detections_file: Name of the file of detections; its extension names the format.
        runner: Where the networks run; None: in this process.
        retry_failed: Whether to try videos again that could not be used before.

    Raises:
        InputError: No video was given, two videos have the same id, another process works in the
            folder, it holds results of other networks, or the scorer cannot continue; finished
            videos are kept.

    Example:
        >>> summary = scnn_tf.localize_videos(["video.mp4"], "model", "found")
        >>> print(summary.best)
    """
    folder = as_path(output_dir)
    results = Results(folder, videos, _score)
    handle = ModelFolder(model) if isinstance(model, (str, os.PathLike)) else model
    scorer = handle.pinned()
    info = scorer.describe()
    class_list = dict(enumerate(info.class_names, start=1))
    if nms_threshold is None:
        nms_threshold = info.nms_threshold
    _check_fraction("nms_threshold", nms_threshold)
    check_detections_file(folder / detections_file, class_list)
    with locked(folder, "localization"):
        results.prepare(info.fingerprint, retry_failed)
        try:
            (runner or Here()).run(results.jobs, Task("localizing", "video", setup=scorer.open))
        finally:
            finished = results.finished()
            with (
                segments_writer(folder / SEGMENTS_CSV) as add_segments,
                detections_writer(folder / detections_file, class_list) as add_detections,
            ):
                best, num_detections = _assemble(
                    finished, info.prior, nms_threshold, add_segments, add_detections
                )
            failed = [result for result in finished if result.outcome.failed]
            failures = [{"video": r.path, "cause": r.outcome.cause} for r in failed]
            write_lines(folder / FAILURES, (json.dumps(failure) + "\n" for failure in failures))
        ours = [f for f, result in zip(failures, failed, strict=True) if result.given]
        return Summary(best, num_detections, ours, results.videos())


def _check_fraction(name: str, value: float | None) -> None:
    """Checks a threshold.

    Raises:
        InputError: The threshold is not from 0 to 1.
    """
    if value is not None and not 0 <= value <= 1:  # of NaN, too, which no score exceeds
        raise InputError(f"expected {name} from 0 to 1. Received: {value}")


def _score(scorer: Scorer, path: str, name: str, table: str) -> dict:
    """Scores a video and writes its table; the function of a job."""
    segments = scorer.score_video(path, name)
    write_segments(table, segments)
    return {"segments": len(segments), "sha256": sha256(table)}


def _assemble(
    results: Iterable[Result],
    prior: WindowPrior | None,
    nms_threshold: float,
    add_segments: Callable[[RawSegments], None],
    add_detections: Callable[[Detections], None],
) -> tuple[Detections, int]:
    """Passes the segments and detections of the finished videos on, one video after another.

    Returns:
        The best detections of the given videos, and the number of all of theirs.
    """
    best, num_detections = Detections([], [], [], [], []), 0
    for video_id, _, outcome, table, given in results:
        if outcome.failed:
            continue
        segments = read_segments(table)
        segments = dataclasses.replace(segments, video=[video_id] * len(segments))
        detections = detections_from_segments(segments, prior, nms_threshold)
        add_segments(segments)
        add_detections(detections)
        if given:
            num_detections += len(detections)
            best = concatenate([best, detections])
            best = best.take(np.argsort(-best.score, kind="stable")[:_BEST])
    return best, num_detections


def _identity(info: StageInfo) -> str:
    """Returns a checksum of a network's description, without the settings of training and use."""
    fields = dataclasses.asdict(info)
    del fields["checksums"]
    for name in (
        "name",
        "inference",
        *STAGES,
        JOINT,
    ):  # the weights are compared instead of the training
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
