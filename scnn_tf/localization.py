"""Video to scored segments to detections (section 3.3)."""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
from absl import logging
from keras import ops
from tqdm import tqdm

from scnn_tf.dataset_builder import WINDOW_PRIOR
from scnn_tf.errors import InputError, VideoError
from scnn_tf.files import write_text
from scnn_tf.input_pipeline import centre_crop
from scnn_tf.models import STAGES
from scnn_tf.postprocessing import detections_from_segments
from scnn_tf.priors import WindowPrior, read_prior
from scnn_tf.results import (
    BACKGROUND,
    Detections,
    RawSegments,
    concatenate,
    write_detections,
    write_segments,
)
from scnn_tf.segments import Segment, stream_segments
from scnn_tf.training import StageInfo, load_stage
from scnn_tf.video import read_frames

SEGMENTS_CSV = "segments.csv"
DETECTIONS_JSON = "detections.json"
FAILURES = "failures.jsonl"
_BATCH = 32  # segments that a network scores at a time


class Scorer(Protocol):
    """Who finds and scores the segments of a video: `Networks` here, `serving.Client` elsewhere.

    Attributes:
        class_names: the K classes.
        prior: over classes and window lengths.
    """

    class_names: tuple[str, ...]
    prior: WindowPrior

    def score_video(self, path: str | os.PathLike, video_id: str) -> RawSegments:
        """A row for each segment that the proposal network kept, as `score_frames` has them.

        Raises:
            VideoError: the video cannot be used.
        """


@dataclasses.dataclass(frozen=True)
class Networks:
    """What it takes to localize; a `Scorer`.

    Attributes:
        proposal: keeps or drops a segment; None: every segment is kept.
        localization: scores its classes.
        info: what the localization network was trained on.
        prior: over classes and window lengths.
        proposal_threshold: a segment with less goes no further.
    """

    proposal: keras.Model | None
    localization: keras.Model
    info: StageInfo
    prior: WindowPrior
    proposal_threshold: float

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes."""
        return self.info.class_names

    def score_video(self, path: str | os.PathLike, video_id: str) -> RawSegments:
        """`score_frames` of a file.

        Raises:
            VideoError: the file cannot be used.
        """
        recipe = self.info.recipe
        frames = read_frames(path, self.info.frame_rate, recipe.frame_height, recipe.frame_width)
        return score_frames(self, frames, video_id)


def load_networks(
    model_dir: str | os.PathLike,
    scorer: str = "localization",
    proposal: bool = True,
    proposal_threshold: float | None = None,
) -> Networks:
    """Loads a folder of trained stages.

    Args:
        model_dir: holds `proposal/` and `localization/`, as `train` writes them.
        scorer: folder of the network that scores; "classification" for an ablation.
        proposal: whether to filter by the proposal network.
        proposal_threshold: a segment with less goes no further; None: the recipe's.

    Raises:
        InputError: a stage is missing, is another one, or the two don't belong together.
    """
    folder = Path(model_dir)
    model, info = load_stage(folder / scorer, scorer if scorer in STAGES else None)
    if info.stage == "proposal":
        raise InputError(f"{folder / scorer}: a proposal network has no classes to score")
    prior = read_prior(folder / scorer / WINDOW_PRIOR)
    if set(info.class_names) - set(prior.class_names) or set(info.window_frames) - set(
        prior.window_frames
    ):
        raise InputError(
            f"{folder / scorer / WINDOW_PRIOR}: lacks classes or window lengths that the network "
            "was trained on; copy the one of the data set that it was trained on"
        )
    if proposal_threshold is None:
        proposal_threshold = info.recipe.proposal_threshold
    if not proposal:
        return Networks(None, model, info, prior, proposal_threshold)
    filtering, filter_info = load_stage(folder / "proposal", "proposal")
    for field in ("class_names", "window_frames", "frame_rate"):
        if getattr(filter_info, field) != getattr(info, field):
            raise InputError(
                f"{folder}: the proposal and the {scorer} network were trained on different data "
                f"sets ({field}: {getattr(filter_info, field)} and {getattr(info, field)})"
            )
    sizes = [
        (i.recipe.frame_height, i.recipe.frame_width, i.recipe.crop)
        for i in (filter_info, info)
    ]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{folder}: the proposal and the {scorer} network see frames of different sizes "
            f"(height, width, crop: {sizes[0]} and {sizes[1]}); train them with the same recipe"
        )
    return Networks(filtering, model, info, prior, proposal_threshold)


def localize(
    videos: Sequence[str | os.PathLike],
    scorer: Scorer,
    output_dir: str | os.PathLike,
    nms_threshold: float = 0.4,
    detections_file: str = DETECTIONS_JSON,
) -> tuple[Detections, list[dict]]:
    """Finds actions in video files, and writes what is found after every one of them.

    Writes `segments.csv`, a row for each segment that the proposal network kept, the detections,
    and `failures.jsonl`: a video that cannot be used is logged, and returned as a failure too.

    Args:
        videos: files; a file's name without extension becomes the video's id.
        scorer: `load_networks` for networks in this process, a `serving.Client` for served ones.
        output_dir: folder to write to.
        nms_threshold: tIoU; .1 less than the tIoU one cares for.
        detections_file: name of the detections' file; its extension says in which form.

    Returns:
        The detections of all videos, and the failures: {"video", "cause"} each.

    Raises:
        InputError: two videos with the same id, no video at all, or the scorer cannot go on; what
            was found until then is written.
    """
    ids = [Path(video).stem for video in videos]
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice or not ids:
        reason = (
            f"two videos are named {twice[0]!r}; rename one" if twice else "no video was given"
        )
        raise InputError(reason)
    folder = Path(output_dir)
    failures: list[dict] = []
    segments = RawSegments([], [], [], [], [], [])
    detections = Detections([], [], [], [], [])

    def save() -> None:
        write_segments(folder / SEGMENTS_CSV, segments)
        classes = dict(enumerate(scorer.class_names, start=1))
        write_detections(folder / detections_file, detections, classes)
        lines = "".join(json.dumps(failure) + "\n" for failure in failures)
        write_text(folder / FAILURES, lines)

    save()  # what cannot be written is known before hours of work
    for video_id, path in zip(ids, tqdm(videos, desc="localizing", unit="video"), strict=True):
        try:
            scored = scorer.score_video(path, video_id)
        except VideoError as error:
            logging.warning("video %s left out: %s", video_id, error)
            failures.append({"video": str(path), "cause": str(error)})
            save()
            continue
        segments = concatenate([segments, scored])
        found = detections_from_segments(scored, scorer.prior, nms_threshold)
        detections = concatenate([detections, found])
        save()
    return detections, failures


def score_frames(networks: Networks, frames: Iterable[np.ndarray], video_id: str) -> RawSegments:
    """Runs the multi-scale windows of a video through the proposal and localization networks.

    Only the longest window's frames and one batch are held, so a video may be of any length.

    Args:
        networks: of `load_networks`.
        frames: uint8 `[frame_height, frame_width, 3]` each, at the networks' frame rate.
        video_id: for the rows.

    Returns:
        A row for each segment that the proposal network kept: its best class (which may be
        background) and that class's score, ordered by window length, then by start.
    """
    recipe, info = networks.info.recipe, networks.info
    threshold = networks.proposal_threshold
    names = np.array([BACKGROUND, *info.class_names])
    rows: list[tuple[Segment, str, float]] = []
    cropped = (centre_crop(frame, recipe.crop) for frame in frames)
    kept: list[tuple[Segment, np.ndarray]] = []

    def score(batch: list[tuple[Segment, np.ndarray]]) -> None:
        scores = _scores(networks.localization, batch, recipe.test_mirror)
        for (segment, _), row in zip(batch, scores, strict=True):
            best = int(row.argmax())
            rows.append((segment, names[best], float(row[best])))

    for batch in _batches(stream_segments(cropped, info.window_frames)):
        if networks.proposal is None:
            kept += batch
        else:
            action = _scores(networks.proposal, batch, mirror=False)[:, 1]
            kept += [s for s, p in zip(batch, action, strict=True) if p >= threshold]
        while len(kept) >= _BATCH:
            score(kept[:_BATCH])
            del kept[:_BATCH]
    if kept:
        score(kept)
    rows.sort(key=lambda row: (row[0].length, row[0].start))
    return RawSegments(
        video=[video_id] * len(rows),
        window_frames=[segment.length for segment, _, _ in rows],
        start=[segment.start / info.frame_rate for segment, _, _ in rows],
        end=[segment.end / info.frame_rate for segment, _, _ in rows],
        label=[label for _, label, _ in rows],
        score=[value for _, _, value in rows],
    )


def _batches(
    segments: Iterator[tuple[Segment, list[np.ndarray]]],
) -> Iterator[list[tuple[Segment, np.ndarray]]]:
    batch = []
    for segment, frames in segments:
        batch.append((segment, np.stack(frames)))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _scores(
    network: keras.Model, batch: list[tuple[Segment, np.ndarray]], mirror: bool
) -> np.ndarray:
    """Softmax scores `[N, outputs]`; averaged with those of the mirror images if so wished."""
    frames = np.zeros((_BATCH, *batch[0][1].shape), np.uint8)  # one size: compiled once
    lengths = np.full(_BATCH, batch[0][0].length, np.int32)
    for row, (segment, images) in enumerate(batch):
        frames[row], lengths[row] = images, segment.length

    def run(images: np.ndarray) -> np.ndarray:
        inputs = {"frames": images}
        if "window_frames" in network.input:
            inputs["window_frames"] = lengths
        return ops.convert_to_numpy(ops.softmax(network.predict_on_batch(inputs)))

    scores = run(frames)
    if mirror:
        scores = (scores + run(frames[:, :, :, ::-1])) / 2
    return scores[: len(batch)]
