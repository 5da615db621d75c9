import dataclasses

import pytest

from benchmarks.sizes import sizes
from scnn_tf.models.recipes import STAGES, get_recipe


@pytest.mark.slow
def test_sizes_are_those_of_the_files():
    tiny = dataclasses.replace(get_recipe("small_paper"), width=1 / 32, hidden=8, crop=16)
    figures = sizes(tiny, num_classes=3, unit=1.0)
    stages = [figures[stage] for stage in STAGES]
    assert figures["three networks"] == sum(stages) and min(stages) > 4 * 35_000
    assert figures["exported, bfloat16"] < figures["exported, float32"]
