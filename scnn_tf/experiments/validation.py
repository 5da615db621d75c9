"""Validation data of a training: their shards, and the mAP of a network in their videos."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.video_files import VideoFolder
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.io.files import PathLike, as_path
from scnn_tf.io.video import probe, read_frames
from scnn_tf.jobs.jobs import Runner
from scnn_tf.localization.scnn import SCNN, Localizer, joint_localizer
from scnn_tf.localization.tables import RawSegments, concatenate
from scnn_tf.models.checkpoints import WEIGHTS, StageInfo, load_stage
from scnn_tf.models.recipes import JOINT, Recipe
from scnn_tf.segments.prior import WINDOW_PRIOR, read_prior
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.cut import source_of
from scnn_tf.shards.files import Manifest, read_manifest

TIOU = (0.3, 0.5, 0.7)
_SUBSET = "validation videos of this training"  # no annotations have a subset of this name
_CACHE_BYTES = 1 << 30  # limit of the decoded videos that are held


def build_validation_shards(
    annotations: Mapping[str, VideoAnnotation],
    videos: Collection[str],
    *,
    video_dir: PathLike,
    output_dir: PathLike,
    recipe: Recipe,
    manifest: Manifest,
    runner: Runner | None = None,
) -> Manifest:
    """Builds shards of the validation videos like those of the training; resumes if interrupted.

    Args:
        annotations: Annotated videos of all subsets.
        videos: Ids of the validation videos.
        video_dir: Folder of the videos.
        output_dir: Folder of the shards.
        recipe: Recipe of the training.
        manifest: Manifest of the training's shards, like which these are built.
        runner: Runs the jobs; None: this process.

    Raises:
        InputError: A video is not annotated, or see `build_shards`.
    """
    if unknown := sorted(set(videos) - set(annotations)):
        raise InputError(
            f"expected annotations of the validation videos. Found: none for {unknown[0]!r}; give "
            "the --annotations that the shards were built from"
        )
    annotations = {
        key: dataclasses.replace(video, subset=_SUBSET) if key in videos else video
        for key, video in annotations.items()
    }
    return build_shards(
        annotations,
        video_dir=video_dir,
        output_dir=output_dir,
        recipe=recipe.as_built(manifest.recipe),
        subset=_SUBSET,
        frame_rate=manifest.frame_rate,
        num_shards=1,
        seed=manifest.seed,
        runner=runner,
    )


class VideoMeasure:
    """A `training.validation.Measure`: evaluates the detections of a network in whole videos.

    The detections are those of `localize` with the recipe's settings, the mAPs those of `evaluate`.
    Decoded videos are held in memory, up to a gigabyte; others are decoded for each validation.

    Args:
        videos: Annotated videos by id.
        video_dir: Folder of the videos, or of their features.
        data_dir: Shards of the training, for the window-length prior.
        proposal_dir: Folder of the proposal network, which filters the windows for a classification
            or localization network; where there is none yet, these score every window.
        tiou_thresholds: tIoU thresholds of the mAPs.
    """

    def __init__(
        self,
        videos: Mapping[str, VideoAnnotation],
        *,
        video_dir: PathLike,
        data_dir: PathLike,
        proposal_dir: PathLike,
        tiou_thresholds: Sequence[float] = TIOU,
    ):
        self._videos, self._tiou_thresholds = videos, tiou_thresholds
        self._prior = read_prior(as_path(data_dir) / WINDOW_PRIOR)
        self._proposal_dir = as_path(proposal_dir)
        folder, shards = VideoFolder(video_dir), read_manifest(data_dir).recipe
        self._paths = {key: source_of(video, folder, shards) for key, video in videos.items()}
        self._decoded: dict[str, list[np.ndarray]] = {}
        self._room = _CACHE_BYTES

    def __call__(self, network: keras.Model, info: StageInfo) -> dict:
        """Returns the evaluation, as `Evaluation.to_json`.

        Raises:
            VideoError: A video cannot be read.
        """
        model = self._localizer(network, info)
        segments = [self._scored(model, key) for key in self._videos]
        detections = model.detections(concatenate(segments))
        known = {action.label for video in self._videos.values() for action in video.actions}
        detections = detections.take(np.isin(detections.label, sorted(known)))
        return evaluate(self._videos, detections, tiou_thresholds=self._tiou_thresholds).to_json()

    def _localizer(self, network: keras.Model, info: StageInfo) -> Localizer:
        inference = info.recipe.inference
        if info.stage == JOINT:
            return joint_localizer(network, info, self._prior, inference)
        filtering = None
        if (self._proposal_dir / WEIGHTS).is_file():
            filtering, _ = load_stage(self._proposal_dir, "proposal")
        return SCNN(filtering, network, info, self._prior, inference)

    def _scored(self, model: Localizer, key: str) -> RawSegments:
        if model.info.recipe.takes_features:
            return model.score_video(self._paths[key], key)
        return model.score_frames(self._frames(key, model.info), key)

    def _frames(self, key: str, info: StageInfo) -> Iterable[np.ndarray]:
        """Returns the frames of a video, at the rate and size of the shards."""
        if key in self._decoded:
            return self._decoded[key]
        shards, path = info.recipe.shards, self._paths[key]
        frames = read_frames(path, info.frame_rate, shards.frame_height, shards.frame_width)
        size = shards.frame_height * shards.frame_width * 3
        size *= round(probe(path).duration * info.frame_rate)
        if size > self._room:
            return frames
        self._room -= size
        self._decoded[key] = list(frames)
        return self._decoded[key]
