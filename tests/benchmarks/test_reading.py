import pytest

from benchmarks import reading
from scnn_tf.models.recipes import get_recipe


@pytest.mark.slow
def test_reading_measures_the_stages(tiny_stretches):
    recipe = get_recipe(str(tiny_stretches / "recipe.json"))
    rows = reading.reading(str(tiny_stretches / "shards"), recipe, num_batches=2)
    assert list(rows) == ["joint"] and all(value > 0 for value in rows["joint"].values())
