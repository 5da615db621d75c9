import pytest

from benchmarks import reading
from scnn_tf.models.recipes import get_recipe


@pytest.mark.slow
def test_reading_measures_the_stages(tiny_dataset):
    recipe = get_recipe(str(tiny_dataset / "recipe.json"))
    rows = reading.reading(str(tiny_dataset / "shards"), recipe, stages=["proposal"], num_batches=2)
    assert list(rows) == ["proposal"] and all(value > 0 for value in rows["proposal"].values())
