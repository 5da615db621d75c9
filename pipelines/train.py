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
from typing import NoReturn

from absl import flags, logging

from pipelines import _cli
from scnn_tf.io.files import as_path
from scnn_tf.models.recipes import JOINT, STAGES, get_recipe

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
    """Trains the networks and prints the metrics of each."""
    from scnn_tf.training.strategies import HostLostError, make_strategy
    from scnn_tf.training.train import train_stage

    recipe = get_recipe(_RECIPE.value)
    stages = [_STAGE.value] if _STAGE.value else recipe.stages
    if _BATCH_SIZE.value:
        recipe = dataclasses.replace(recipe, batch_size=_BATCH_SIZE.value)
    models, strategy = as_path(_MODEL_DIR.value), make_strategy(_LOGICAL_CPUS.value)
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
            )
        except HostLostError as error:
            _restart(error)
        print(json.dumps(metrics))


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
