"""Trains one of the three networks of S-CNN; run it once for each stage, in this order.

    python -m pipelines.train --stage=proposal --data_dir=T --model_dir=M --recipe=small
    python -m pipelines.train --stage=classification --data_dir=T --model_dir=M --recipe=small
    python -m pipelines.train --stage=localization --data_dir=T --model_dir=M --recipe=small

Reads the shards of `build_tfrecords`. Writes `M/<stage>/`: model.json, model.weights.h5,
metrics.json, window_prior.csv, and logs/ for TensorBoard. Killed at any step, the same command
goes on from the last checkpoint. All GPUs are used. `localization` starts from `classification`;
--start_from, what `convert_weights` wrote or another finished stage, starts any stage.

On several hosts, the same command on each of them, at about the same time, with T and M on storage
that all of them reach, and in TF_CONFIG who they are and which of them this is:

    TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]},
                "task": {"type": "worker", "index": 0}}' python -m pipelines.train …

The recipe's batch is that of all hosts together, and but for dropout the weights are those that one
would have learned. The first host writes. When one is lost (killed: known at once; silent: after
10 s), the others start anew and wait for it: start it again with the same command, and all go
on from the last checkpoint. They do so 20 times, then end with a sentence and exit code 1.
"""

import dataclasses
import json
import os
import sys
from typing import NoReturn

from absl import flags, logging

from pipelines import _cli
from scnn_tf.io.files import as_path
from scnn_tf.models.recipes import STAGES, get_recipe

_MAX_RESTARTS = 20
_RESTARTS = "SCNN_TF_RESTARTS"  # environment variable: how often this process started anew

_STAGE = flags.DEFINE_enum("stage", None, STAGES, "Network to train.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards.", required=True)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir",
    None,
    "Folder of the three stages; the network goes to <model_dir>/<stage>.",
    required=True,
)
_RECIPE = flags.DEFINE_string("recipe", "small", _cli.RECIPE_HELP)
_START_FROM = flags.DEFINE_string(
    "start_from",
    None,
    "Folder of the initial weights (default: none; for localization, <model_dir>/classification).",
)
_STEPS = flags.DEFINE_integer("steps", None, "Number of steps, instead of the recipe's.", 1)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Number of segments in a step, instead of the recipe's.", 1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and augmentation.", 0, 2**31)
_CHECKPOINT_EVERY = flags.DEFINE_integer(
    "checkpoint_every", 50, "Number of steps between two checkpoints.", 1
)
_LOGICAL_CPUS = flags.DEFINE_integer(
    "logical_cpus",
    0,
    "Number of parts of the CPU to mirror over, to try distribution without GPUs; 0: none.",
    0,
)


def main(argv: list[str]) -> None:
    """Trains the stage and prints its metrics."""
    from scnn_tf.training.strategies import HostLostError, make_strategy
    from scnn_tf.training.train import train_stage

    recipe, stage = get_recipe(_RECIPE.value), _STAGE.value
    if _BATCH_SIZE.value:
        recipe = dataclasses.replace(recipe, batch_size=_BATCH_SIZE.value)
    if _STEPS.value:
        recipe = recipe.with_stage(stage, steps=_STEPS.value)
    models, start_from = as_path(_MODEL_DIR.value), _START_FROM.value
    if stage == "localization" and start_from is None:
        start_from = str(models / "classification")
    try:
        metrics = train_stage(
            stage,
            _DATA_DIR.value,
            str(models / stage),
            recipe,
            start_from=start_from,
            seed=_SEED.value,
            strategy=make_strategy(_LOGICAL_CPUS.value),
            checkpoint_every=_CHECKPOINT_EVERY.value,
        )
    except HostLostError as error:
        _start_anew(error)
    print(json.dumps(metrics))


def _start_anew(error: Exception) -> NoReturn:
    """Becomes a new program with the same command line, to meet the host that comes back.

    In this one TensorFlow cannot form a cluster again.

    Raises:
        HostLostError: it did so often enough.
    """
    done = int(os.environ.get(_RESTARTS, 0))
    if done == _MAX_RESTARTS:
        raise error
    logging.warning("%s (%d of %d times)", error, done + 1, _MAX_RESTARTS)
    os.environ[_RESTARTS] = str(done + 1)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
