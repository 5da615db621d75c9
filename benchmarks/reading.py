"""Measures how fast shards are read, against the time that a training step takes.

    python -m benchmarks.reading --data_dir=SHARDS --recipe=small --output_json=reading.json

Reads the shards that `build_tfrecords` wrote. Figures, for each network of the recipe, in segments
(or stretches) a second: "training", a training step on a batch that is in memory; "decoded", the
input pipeline where the decoded segments fit into memory, after the first pass; "encoded", where
they do not, so that the JPEGs of each segment are decoded; and how many times faster than training
the pipeline is.
"""

from collections.abc import Iterator

import tensorflow as tf
from absl import flags

from benchmarks import measure
from pipelines import _cli
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import Recipe, get_recipe
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.files import read_manifest
from scnn_tf.training.train import compiled


def reading(data_dir: str, recipe: Recipe, num_batches: int = 30) -> dict:
    """Returns segments per second from shards to batches, and in a training step.

    Args:
        data_dir: Folder of shards.
        recipe: Recipe of the batches and the networks.
        num_batches: Number of batches of each timed call.

    Returns:
        Stage → the figures of the module's docstring.
    """
    manifest = read_manifest(data_dir)
    rows = {}
    for stage in recipe.stages:
        info = StageInfo(stage, manifest.class_names, manifest.frame_rate, 0, recipe)
        model = compiled(info)
        batch = next(iter(training_batches(manifest, stage, recipe)))
        cached = iter(training_batches(manifest, stage, recipe))
        passes = -(-sum(manifest.label_counts) // recipe.batch_size)
        _exhaust(cached, 2 * passes)  # each part's first pass fills its cache
        encoded = iter(training_batches(manifest, stage, recipe, cache_bytes=0))
        _exhaust(encoded, 10)
        taken = measure.in_turn(
            {
                "training": lambda model=model, batch=batch: [
                    model.train_on_batch(*batch) for _ in range(num_batches)
                ],
                "decoded": lambda cached=cached: _exhaust(cached, num_batches),
                "encoded": lambda encoded=encoded: _exhaust(encoded, num_batches),
            }
        )
        count = num_batches * recipe.batch_size
        rows[stage] = {
            **{name: round(count / value) for name, value in taken.items()},
            "decoded_times_faster": round(taken["training"] / taken["decoded"], 1),
            "encoded_times_faster": round(taken["training"] / taken["encoded"], 1),
        }
    return rows


def _exhaust(batches: Iterator, count: int) -> None:
    for _ in range(count):
        tf.nest.map_structure(lambda tensor: tensor.numpy(), next(batches))


def run() -> None:
    """Runs this benchmark as a program."""
    data_dir = flags.DEFINE_string("data_dir", None, "Folder of shards to read.", required=True)
    recipe = flags.DEFINE_string("recipe", "small", _cli.RECIPE_HELP)

    def suite() -> dict:
        return reading(data_dir=data_dir.value, recipe=get_recipe(recipe.value))

    measure.run(suite)


if __name__ == "__main__":
    run()
