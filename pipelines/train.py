"""Trains the networks of a recipe, one after the other.

    python -m pipelines.train --data_dir=T --model_dir=M --recipe=small
    python -m pipelines.train --data_dir=T --model_dir=M --recipe=thumos14

`small` is one network with three heads; the paper's recipes are three networks, of which --stage
trains one: proposal, classification or localization, in this order.

Reads the shards of `build_tfrecords`, built by the same recipe. Writes `M/<stage>/`: model.json,
model.weights.h5, metrics.json, window_prior.csv, and logs/ for TensorBoard. After an interruption,
the same command resumes from the last of two checkpoints that is whole; other shards or initial
weights than before are refused, and so is a second training in the same folder. All GPUs are used.
`localization` starts from the weights of `classification`; --start_from names other initial
weights: a finished stage, or a folder that `convert_weights` wrote.

With --annotations and --video_dir, the network is validated during the training, on the subset
--validation_subset or on the videos that `build_tfrecords --validation_share` left out: loss,
accuracy and mAP go to the log, to metrics.json and to TensorBoard, and the weights of the best
validation are kept. --patience ends the training when it does not get better. `M/validation` holds
the shards of these videos.

To train on several hosts, run the same command on each of them at about the same time. T and M must
be on storage that all hosts reach, and TF_CONFIG must list the hosts and say which of them this is:

    TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]},
                "task": {"type": "worker", "index": 0}}' python -m pipelines.train …

The recipe's batch is divided among the hosts; except for dropout, the weights are those that one
host would have learned. The first host writes the files. When a host is lost, the others notice (at
once if its process ended, after 10 s if it fell silent), restart themselves and wait for it. Run
the same command on the lost host again, and all hosts resume from the last checkpoint. A host that
has restarted itself 20 times ends with an error. Every other error, such as a damaged record, ends
a host at once.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from absl import flags, logging

from pipelines import _cli
from scnn_tf.datasets.annotations import in_subset
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_path
from scnn_tf.models.recipes import JOINT, STAGES, Recipe, get_recipe

if TYPE_CHECKING:
    import tensorflow as tf

    from scnn_tf.training.validation import Validation

_MAX_RESTARTS = 20
_RESTARTS = "SCNN_TF_RESTARTS"  # environment variable: number of restarts so far

_STAGE = flags.DEFINE_enum(
    "stage", None, (*STAGES, JOINT), "Network to train (default: those of the recipe, in order)."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards.", required=True)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir",
    None,
    "Folder of the networks; each goes to <model_dir>/<stage>.",
    required=True,
)
_RECIPE = flags.DEFINE_string("recipe", "small", _cli.RECIPE_HELP)
_START_FROM = flags.DEFINE_string(
    "start_from",
    None,
    "Folder of the initial weights, or motion, the weights that come with scnn_tf (default: the "
    "recipe's start; for localization, <model_dir>/classification).",
)
_STEPS = flags.DEFINE_integer("steps", None, "Number of steps, instead of the recipe's.", 1)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Number of segments in a step, instead of the recipe's.", 1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and augmentation.", 0, 2**31)
_CHECKPOINT_EVERY = flags.DEFINE_integer(
    "checkpoint_every", 50, "Number of steps between two checkpoints.", 1
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations",
    None,
    "JSON file or folder of annotations, to validate on during the training (default: no "
    "validation). Loss and accuracy of each network are measured; of a joint, classification or "
    "localization network also the mAP at tIoU .3, .5 and .7. The weights of the largest mean mAP "
    "are kept; without mAP, those of the lowest loss.",
)
_VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Folder of the videos of --annotations.")
_VALIDATION_SUBSET = flags.DEFINE_string(
    "validation_subset",
    None,
    "Subset of --annotations to validate on (default: the videos that build_tfrecords "
    "--validation_share left out).",
)
_VALIDATE_EVERY = flags.DEFINE_integer(
    "validate_every",
    None,
    "Number of steps between two validations (default: a tenth of the steps).",
    1,
)
_PATIENCE = flags.DEFINE_integer(
    "patience",
    None,
    "Number of validations in a row without a better network, after which the training ends "
    "(default: it never ends early).",
    1,
)
_LOGICAL_CPUS = flags.DEFINE_integer(
    "logical_cpus",
    0,
    "Number of parts of the CPU to mirror over, to try distribution without GPUs; 0: none.",
    0,
)


def main(argv: list[str]) -> None:
    """Trains the networks and prints the metrics of each."""
    from scnn_tf.training.strategies import HostLostError, make_strategy
    from scnn_tf.training.train import train_stage

    recipe = get_recipe(_RECIPE.value)
    stages = [_STAGE.value] if _STAGE.value else recipe.stages
    if _BATCH_SIZE.value:
        recipe = dataclasses.replace(recipe, batch_size=_BATCH_SIZE.value)
    models, strategy = as_path(_MODEL_DIR.value), make_strategy(_LOGICAL_CPUS.value)
    validation = _validation(recipe, models, strategy)
    for stage in stages:
        if _STEPS.value:
            recipe = recipe.with_stage(stage, steps=_STEPS.value)
        start_from = _START_FROM.value
        if stage == "localization" and start_from is None:
            start_from = models / "classification"
        try:
            metrics = train_stage(
                stage,
                data_dir=_DATA_DIR.value,
                output_dir=models / stage,
                recipe=recipe,
                start_from=start_from,
                seed=_SEED.value,
                strategy=strategy,
                checkpoint_every=_CHECKPOINT_EVERY.value,
                validation=validation(stage),
            )
        except HostLostError as error:
            _restart(error)
        print(json.dumps(metrics))


def _validation(
    recipe: Recipe, models: AnyPath, strategy: "tf.distribute.Strategy"
) -> "Callable[[str], Validation | None]":
    """Builds the shards of the validation videos; returns stage → its validation.

    Raises:
        InputError: The flags do not say what to validate on, or the videos cannot be used.
    """
    flags_of_it = (_VIDEO_DIR, _VALIDATION_SUBSET, _VALIDATE_EVERY, _PATIENCE)
    if _ANNOTATIONS.value is None:
        if given := [flag.name for flag in flags_of_it if flag.value is not None]:
            raise InputError(f"--{given[0]} requires --annotations, to validate on")
        return lambda stage: None
    if _VIDEO_DIR.value is None:
        raise InputError("--annotations requires --video_dir, the folder of the videos")
    from scnn_tf.experiments.validation import VideoMeasure, build_validation_shards
    from scnn_tf.jobs.processes import Processes
    from scnn_tf.shards.files import read_manifest
    from scnn_tf.training.strategies import is_chief, wait_for_all
    from scnn_tf.training.validation import Validation

    annotations, manifest = read_annotations(_ANNOTATIONS.value), read_manifest(_DATA_DIR.value)
    chosen = manifest.held_out
    if _VALIDATION_SUBSET.value is not None:
        chosen = list(in_subset(annotations, _VALIDATION_SUBSET.value))
    if not chosen:
        raise InputError(
            f"{_DATA_DIR.value}: no video was left out of these shards for validation; give "
            "--validation_subset, or build them with --validation_share"
        )
    shards = models / "validation"
    if is_chief(strategy):
        build_validation_shards(
            annotations,
            chosen,
            video_dir=_VIDEO_DIR.value,
            output_dir=shards,
            recipe=recipe,
            manifest=manifest,
            runner=Processes(),
        )
    wait_for_all(strategy)
    failed = {failure["video"] for failure in read_manifest(shards).failures}
    measure = VideoMeasure(
        {key: annotations[key] for key in chosen if key not in failed},
        video_dir=_VIDEO_DIR.value,
        data_dir=_DATA_DIR.value,
        proposal_dir=models / "proposal",
    )
    return lambda stage: Validation(
        shards,
        measure=None if stage == "proposal" else measure,
        every=_VALIDATE_EVERY.value,
        patience=_PATIENCE.value,
    )


def _restart(error: Exception) -> NoReturn:
    """Replaces this process by a new one with the same command line, which waits for all hosts.

    TensorFlow 2.16 cannot form a cluster twice in one process.

    Raises:
        HostLostError: This process has been replaced often enough.
    """
    done = int(os.environ.get(_RESTARTS, 0))
    if done == _MAX_RESTARTS:
        raise error
    logging.warning("%s (restart %d of %d)", error, done + 1, _MAX_RESTARTS)
    os.environ[_RESTARTS] = str(done + 1)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
