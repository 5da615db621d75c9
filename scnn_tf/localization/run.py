"""Localizing many videos: one job each, so that what is finished is never done again.

A folder of results holds `run.json` (which networks, frozen), for each video in `videos/` how its
job ended and the rows it gave, and what is put together of them whenever a run ends:
`segments.csv`, the detections, and `failures.jsonl`. TensorFlow is loaded only where a scorer is
opened, in a worker process as a rule.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from absl import logging

from scnn_tf.datasets.video_files import by_id
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_path, read_text, sha256, write_lines, write_text
from scnn_tf.jobs.jobs import Here, Job, Runner, forget_failures, read_outcome, unfinished
from scnn_tf.localization.formats import (
    check_detections_file,
    read_segments,
    write_detections,
    write_segments,
)
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.tables import Detections, RawSegments, concatenate
from scnn_tf.models.checkpoints import MODEL_JSON, WEIGHTS
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior

SEGMENTS_CSV = "segments.csv"
DETECTIONS_JSON = "detections.json"
FAILURES = "failures.jsonl"
RUN = "run.json"
VIDEOS = "videos"
_BEST = 20  # detections that a run shows


class Scorer(Protocol):
    """Who finds and scores the segments of a video."""

    def score_video(self, path: str | os.PathLike, video_id: str) -> RawSegments:
        """A row for each segment that the proposal network kept.

        Raises:
            VideoError: the video cannot be used.
            InputError: the scorer cannot go on, whichever video comes next.
        """


class ScorerAt(Protocol):
    """Where a scorer is: hashable, and can be sent to other processes, which open it there."""

    def open(self) -> Scorer:
        """The scorer itself.

        Raises:
            InputError: it cannot be had.
        """

    def pinned(self) -> "ScorerAt":
        """One that opens the same networks however long the run takes."""

    def fingerprint(self) -> dict:
        """What decides on the rows, as JSON can hold it; whoever has the same gives the same."""

    def prior(self) -> WindowPrior:
        """Over classes and window lengths; decides on the detections."""


@dataclasses.dataclass(frozen=True)
class NetworksAt:
    """Networks in a folder, as `train` writes them; a `ScorerAt`.

    Attributes:
        model_dir: folder or URL.
        scorer: folder in it of the network that scores; "classification" for an ablation.
        proposal: whether to filter by the proposal network.
        proposal_threshold: a segment with less goes no further; None: the recipe's.
        precision: to compute in, "float32" or "bfloat16"; None: as they were trained.
    """

    model_dir: str | os.PathLike
    scorer: str = "localization"
    proposal: bool = True
    proposal_threshold: float | None = None
    precision: str | None = None

    def open(self) -> Scorer:
        """`localization.load_networks`."""
        from scnn_tf.localization.scnn import load_networks

        networks = load_networks(
            self.model_dir, self.scorer, self.proposal, self.proposal_threshold
        )
        return networks.in_precision(self.precision) if self.precision else networks

    def pinned(self) -> "NetworksAt":
        """The same: trained networks stay what they are."""
        return self

    def fingerprint(self) -> dict:
        """Checksums of the weights and of the recipes, the threshold and the precision.

        Raises:
            InputError: there are no trained networks.
        """
        folders = (self.scorer, "proposal") if self.proposal else (self.scorer,)
        files = [f"{folder}/{name}" for folder in folders for name in (MODEL_JSON, WEIGHTS)]
        checksums = {name: _checksum(as_path(self.model_dir) / name) for name in files}
        told = {"proposal_threshold": self.proposal_threshold, "precision": self.precision}
        return {**told, **checksums}

    def prior(self) -> WindowPrior:
        """The one beside the network that scores.

        Raises:
            InputError: it cannot be read.
        """
        return read_prior(as_path(self.model_dir) / self.scorer / WINDOW_PRIOR)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a run found; all of it is in the files.

    Attributes:
        best: the best detections of all videos, by score, descending; 20 at most.
        num_detections: how many there are in all.
        failures: videos that could not be used: {"video", "cause"} each.
    """

    best: Detections
    num_detections: int
    failures: list[dict]


def localize(
    videos: Sequence[str | os.PathLike],
    scorer: ScorerAt,
    output_dir: str | os.PathLike,
    nms_threshold: float = 0.4,
    detections_file: str = DETECTIONS_JSON,
    runner: Runner | None = None,
    retry_failed: bool = False,
) -> Found:
    """Finds actions in video files; the same call goes on where one before it stopped.

    A video that is finished is not scored again, unless its file has another size than it had
    (local files only). More videos may be given than before; `nms_threshold` and `detections_file`
    may be others. Whether the run comes to its end or is broken off, `segments.csv`, a row for each
    segment that the proposal network kept, the detections and `failures.jsonl` are put together of
    those videos of this call that are finished, in their order.

    Args:
        videos: files or URLs; a file's name without extension becomes the video's id.
        scorer: `NetworksAt` a folder, or `serving.client.ModelServer` an address.
        output_dir: folder or URL to write to.
        nms_threshold: tIoU; .1 less than the tIoU one cares for.
        detections_file: name of the detections' file; its extension says in which form.
        runner: where the networks run; None: in this process.
        retry_failed: tries again videos that could not be used before.

    Raises:
        InputError: two videos with the same id, no video at all, results of other networks in the
            folder, or the scorer cannot go on; what was found until then is written.
    """
    folder = as_path(output_dir)
    scorer = scorer.pinned()
    jobs = _jobs(videos, scorer, folder)
    fingerprint, prior = scorer.fingerprint(), scorer.prior()
    classes = dict(enumerate(prior.class_names, start=1))
    check_detections_file(folder / detections_file, classes)
    _claim(folder, fingerprint)
    _forget_replaced(jobs)
    if retry_failed:
        forget_failures(jobs)
    _opened.cache_clear()  # the folder may hold other networks than at the last call
    try:
        (runner or Here()).run(jobs, "localizing")
    finally:
        _opened.cache_clear()
        tables, failures = _finished(jobs)
        write_segments(folder / SEGMENTS_CSV, map(read_segments, tables))
        best = _Best()
        detections = (
            best.of(detections_from_segments(read_segments(table), prior, nms_threshold))
            for table in tables
        )
        write_detections(folder / detections_file, detections, classes)
        write_lines(folder / FAILURES, (json.dumps(failure) + "\n" for failure in failures))
    return Found(best.detections, best.seen, failures)


def _jobs(videos: Sequence[str | os.PathLike], scorer: ScorerAt, folder: AnyPath) -> list[Job]:
    if not videos:
        raise InputError("no video was given")
    base = os.fspath(folder / VIDEOS)
    return [
        Job(
            _score,
            (scorer, os.fspath(path), name, os.path.join(base, f"{name}.csv")),
            os.fspath(path),
            os.path.join(base, f"{name}.json"),
        )
        for name, path in by_id(videos).items()
    ]


def _score(scorer: ScorerAt, path: str, video_id: str, table: str) -> dict:
    """The job of a video: its rows to a file."""
    size = _size(path)
    segments = _opened(scorer).score_video(path, video_id)
    write_segments(table, [segments])
    return {"segments": len(segments), "bytes": size}


@functools.lru_cache(maxsize=1)
def _opened(scorer: ScorerAt) -> Scorer:
    """Opened once in a process, for all the videos that it gets."""
    return scorer.open()


def _size(path: str) -> int | None:
    """Bytes of a local file; None of another, or of one that is not there."""
    return os.path.getsize(path) if os.path.isfile(path) else None


def _claim(folder: AnyPath, fingerprint: dict) -> None:
    """Writes which networks the results are of, or finds that they are of just these."""
    begun = (folder / VIDEOS).is_dir() and any(
        path.suffix == ".json" for path in (folder / VIDEOS).iterdir()
    )
    if begun and (folder / RUN).is_file():
        try:
            old = dict(json.loads(read_text(folder / RUN)))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{folder / RUN}: not what a run wrote ({error}); remove {folder} to localize again"
            ) from error
        changed = [
            f"{key} was {_told(old.get(key))}, is {_told(value)}"
            for key, value in json.loads(json.dumps({**dict.fromkeys(old), **fingerprint})).items()
            if old.get(key) != value
        ]
        if changed:
            raise InputError(
                f"{folder}: holds results of other networks ({'; '.join(changed)}); give another "
                "--output_dir, or remove the folder to localize again"
            )
    write_text(folder / RUN, json.dumps(fingerprint, indent=1) + "\n")


def _told(value: object) -> str:
    text = str(value)
    return text if len(text) < 20 else f"{text[:12]}…"


def _forget_replaced(jobs: Sequence[Job]) -> None:
    """Removes the outcomes of videos in whose place there is another file now."""
    waiting = {job.outcome for job in unfinished(jobs)}
    for job in jobs:
        result = None if job.outcome in waiting else read_outcome(job).result
        size = _size(job.name)
        if result is not None and None not in (size, result["bytes"]) and size != result["bytes"]:
            logging.warning(
                "%s had %d bytes and has %d now: it is localized again",
                job.name,
                result["bytes"],
                size,
            )
            as_path(job.outcome).unlink()


def _finished(jobs: Sequence[Job]) -> tuple[list[str], list[dict]]:
    """The tables of the videos that are finished, and those that could not be used."""
    waiting = {job.outcome for job in unfinished(jobs)}
    tables, failures = [], []
    for job in jobs:
        if job.outcome in waiting:
            continue
        outcome = read_outcome(job)
        if outcome.result is None:
            failures.append({"video": job.name, "cause": outcome.cause})
        else:
            tables.append(job.args[-1])
    return tables, failures


class _Best:
    """Keeps the best of the detections that pass by, of which there may be millions."""

    def __init__(self):
        self.detections, self.seen = Detections([], [], [], [], []), 0

    def of(self, detections: Detections) -> Detections:
        """Lets a video's detections pass."""
        both = concatenate([self.detections, detections])
        self.detections = both.take(np.argsort(-both.score, kind="stable")[:_BEST])
        self.seen += len(detections)
        return detections


def _checksum(path: AnyPath) -> str:
    """Returns the checksum of one of a network's files."""
    if not path.is_file():
        raise InputError(
            f"{path.parent}: no network here ({path.name} is missing); run train first"
        )
    return sha256(path)
