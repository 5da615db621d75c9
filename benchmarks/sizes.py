"""Measures the size of the paper's networks on disk, as trained and as exported.

    python -m benchmarks.sizes --output_json=sizes.json

Reads nothing: the networks are untrained. Figures, in MB (10⁶ bytes): each stage's weights, the
three together, and the exported model in float32 and in bfloat16.
"""

import tempfile
from pathlib import Path

from benchmarks import measure
from scnn_tf.localization.scnn import SCNN
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import STAGES, Recipe, get_recipe
from scnn_tf.segments.prior import window_prior
from scnn_tf.serving.export import PRECISIONS, export_scnn


def sizes(recipe: Recipe, num_classes: int = 20, unit: float = 1e6) -> dict:
    """Returns the sizes of a recipe's networks.

    Args:
        recipe: Recipe of the networks.
        num_classes: Number of action classes.
        unit: Bytes in a unit of the figures.
    """
    names = tuple(f"class {k}" for k in range(1, num_classes + 1))
    prior = window_prior([], [], names, recipe.shards.window_frames, 25.0)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        networks = {}
        for stage in STAGES:
            info = StageInfo(stage, names, 25.0, 0, recipe)
            networks[stage] = info.build()
            path = Path(folder) / f"{stage}.weights.h5"
            networks[stage].save_weights(path)
            found[stage] = round(_bytes(path) / unit, 1)
            path.unlink()
        found["three networks"] = round(sum(found.values()), 1)
        model = SCNN(networks["proposal"], networks["localization"], info, prior, recipe.inference)
        for precision in PRECISIONS:
            version = export_scnn(model, Path(folder) / "scnn", precision=precision)
            found[f"exported, {precision}"] = round(_bytes(version) / unit, 1)
    return found


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def run() -> None:
    """Runs this benchmark as a program."""

    def suite() -> dict:
        return sizes(recipe=get_recipe("thumos14"))

    measure.run(suite)


if __name__ == "__main__":
    run()
