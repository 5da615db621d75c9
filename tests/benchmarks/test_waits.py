import pytest

from benchmarks import waits
from scnn_tf.localization.run import ModelFolder
from scnn_tf.models.recipes import get_recipe


@pytest.mark.slow
def test_each_part_of_localization_and_training_is_timed(tiny_joint, tiny_stretches, tiny_dataset):
    rows = waits.waits(
        tiny_dataset / "videos" / "cat.mp4",
        get_recipe(str(tiny_stretches / "recipe.json")),
        lambda: ModelFolder(tiny_joint).open(),
        repeats=1,
        num_batches=2,
    )
    parts = {
        "localization": ["decode", "copy", "compute", "all", "realtime"],
        "training": ["read", "copy", "step", "all"],
    }
    for name, expected in parts.items():
        assert set(expected) <= set(rows[name])
        assert all(rows[name][each] > 0 for each in expected)
