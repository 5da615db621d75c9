import dataclasses

import pytest

from scnn_tf.errors import InputError
from scnn_tf.experiments.variants import PAPER_ABLATION, all_variants
from scnn_tf.models.recipes import RECIPES

PAPER, SMALL = RECIPES["small_paper"], RECIPES["small"]


def changes(network, recipe):
    """The settings in which a network's training differs from a recipe."""
    old, new = vars(recipe), vars(network.recipe)
    return {key: new[key] for key in old if old[key] != new[key]}


def test_variants_of_three_networks():
    found = all_variants([PAPER], alphas=(0.25, 1.0))  # 1 is the recipe's own
    assert list(found) == [
        "S-CNN",
        "S-CNN without classification",
        "S-CNN without overlap",
        "S-CNN with alpha 0.25",
        "S-CNN without proposal",
        "S-CNN without localization",
    ]
    assert set(PAPER_ABLATION) < set(found)
    assert {variant.reference for variant in found.values()} == {"S-CNN"}
    full = found["S-CNN"]
    assert [network.folder for network in full.networks] == [
        "proposal", "classification", "localization"
    ]  # fmt: skip
    assert full.networks[-1].start == "classification"
    assert found["S-CNN without proposal"] == full._replace(proposal=False)
    assert found["S-CNN without localization"].networks == full.networks[:2]
    scoring = {name: variant.networks[-1] for name, variant in found.items()}
    assert len({network.folder for network in scoring.values()}) == 5
    assert changes(scoring["S-CNN without overlap"], PAPER) == {"overlap_weight": 0}
    assert changes(scoring["S-CNN with alpha 0.25"], PAPER) == {"alpha": 0.25}
    # From random weights, with the steps and the rate of classification.
    fresh = scoring["S-CNN without classification"]
    assert fresh.start is None and fresh.stage == "localization"
    assert fresh.recipe.localization == PAPER.classification


def test_variants_of_one_network():
    recipe = dataclasses.replace(SMALL, overlap_weight=2.0, start="motion")
    found = all_variants([recipe], alphas=(0.5,))
    methods = ("shared", "boundaries", "both")
    parts = ("classification", "overlap", "proposal", "speed", "start")
    assert set(found) == {
        *methods,
        *(f"{method} without {part}" for method in methods for part in parts),
        *(f"{method} without margin" for method in methods[1:]),  # shared has none
        "both without neighbors",  # the others have none
        *(f"{method} with alpha 0.5" for method in methods),
    }
    for name, variant in found.items():
        (network,) = variant.networks
        assert network.stage == "joint" and network.start is None
        assert variant.reference == ("both" if name in methods else name.split(" with")[0])
        assert variant.proposal == (not name.endswith("proposal"))
    trained = {name: variant.networks[0] for name, variant in found.items()}
    assert len({network.folder for network in trained.values()}) == 21  # proposal: no other network
    assert trained["both"].folder == "joint"  # which is what `localize` runs
    assert changes(trained["both"], recipe) == {}
    # Detections that are windows are labelled as such, without what is around them.
    tight = dataclasses.replace(recipe.shards, margin=0.0)
    assert recipe.shards.margin > 0
    windows = {"boundary_weight": 0, "boundary_reach": 0, "shards": tight}
    assert changes(trained["shared"], recipe) == windows
    assert changes(trained["both without margin"], recipe) == {"shards": tight}
    assert changes(trained["both without neighbors"], recipe) == {"boundary_reach": 0}
    assert changes(trained["both without speed"], recipe) == {"speed": 1}
    # 8 stretches of 9 windows are 8 · 48 frames; lone windows of 16 frames: 24.
    assert changes(trained["boundaries"], recipe) == {
        "train_windows": 1, "batch_size": 24, "boundary_reach": 0
    }  # fmt: skip
    assert changes(trained["shared without overlap"], recipe) == {**windows, "overlap_weight": 0}
    assert changes(trained["both without classification"], recipe) == {"overlap_from": 0}
    assert changes(trained["both without start"], recipe) == {"start": ""}
    assert changes(trained["both with alpha 0.5"], recipe) == {"alpha": 0.5}


def test_a_recipe_without_the_overlap_loss_and_a_start_is_compared_with_the_loss_only():
    recipe = dataclasses.replace(SMALL, overlap_weight=0.0, start="")
    found = all_variants([recipe], alphas=(0.5,))
    both = {name: variant for name, variant in found.items() if name.startswith("both")}
    assert list(both) == [
        "both", "both with overlap", "both without margin", "both without neighbors",
        "both without speed", "both with alpha 0.5", "both without proposal",
    ]  # fmt: skip
    assert changes(both["both with overlap"].networks[0], recipe) == {"overlap_weight": 1}
    assert changes(both["both with alpha 0.5"].networks[0], recipe) == {
        "overlap_weight": 1, "alpha": 0.5
    }  # fmt: skip


def test_with_recipes_of_both_kinds_the_three_networks_are_compared_with_the_one():
    found = all_variants([SMALL, PAPER])
    assert list(found) == list(all_variants([PAPER, SMALL]))
    assert next(iter(found)) == "S-CNN" and found["S-CNN"].reference == "both"
    assert found["S-CNN without overlap"].reference == "S-CNN"


@pytest.mark.parametrize("recipes", [[], [PAPER, PAPER], [SMALL, PAPER, SMALL]])
def test_other_numbers_of_recipes_are_refused(recipes):
    with pytest.raises(InputError, match="expected a recipe of three networks, .* Received: "):
        all_variants(recipes)
