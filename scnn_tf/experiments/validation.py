"""Validation data of a training: their shards, and the mAP of a network in their videos."""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence

import keras
import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.video_files import VideoFolder
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.io.files import PathLike, as_path
from scnn_tf.io.video import probe, read_frames
from scnn_tf.jobs.jobs import Runner
from scnn_tf.localization.scnn import SCNN, JointSCNN, Localizer
from scnn_tf.localization.tables import concatenate
from scnn_tf.models.checkpoints import WEIGHTS, StageInfo, load_stage
from scnn_tf.models.recipes import JOINT
from scnn_tf.segments.prior import WINDOW_PRIOR, read_prior
from scnn_tf.shards.build import build_shards
from scnn_tf.shards.files import Manifest

TIOU = (0.3, 0.5, 0.7)
_SUBSET = "validation videos of this training"  # no annotations have a subset of this name
_CACHE_BYTES = 1 << 30  # limit of the decoded videos that are held


def build_validation_shards(
    annotations: Mapping[str, VideoAnnotation],
    videos: Collection[str],
    *,
    video_dir: PathLike,
    output_dir: PathLike,
    manifest: Manifest,
    runner: Runner | None = None,
) -> Manifest:
    """Builds shards of the validation videos like those of the training; resumes if interrupted.

    Args:
        annotations: Annotated videos of all subsets.
        videos: Ids of the validation videos.
        video_dir: Folder of the videos.
        output_dir: Folder of the shards.
        manifest: Of the training's shards, whose settings are taken.
        runner: Runs the jobs; None: this process.

    Raises:
        InputError: A video is not annotated, or see `build_shards`.
    """
    if unknown := sorted(set(videos) - set(annotations)):
        raise InputError(
            f"expected annotations of the validation videos. Found: none of {unknown[0]!r}; give "
            "the --annotations that the shards were built from"
        )
    annotations = {
        key: dataclasses.replace(video, subset=_SUBSET) if key in videos else video
        for key, video in annotations.items()
    }
    recipe = dataclasses.replace(_ANY, shards=manifest.recipe)
    return build_shards(
        annotations,
        video_dir=video_dir,
        output_dir=output_dir,
        recipe=recipe,
        subset=_SUBSET,
        frame_rate=manifest.frame_rate,
        num_shards=1,
        seed=manifest.seed,
        runner=runner,
    )
