"""Variants: the method, and the method without one of its parts.

The methods are `S-CNN`, the paper's three networks; `shared`, one network whose windows share
convolutions, and detections are windows; `boundaries`, one network of lone windows, which gives
boundaries; and `both`. Each is also a variant without one of its parts, such as "both without
start"; or with the overlap loss, if its recipe has none. "both without neighbors" computes
boundaries from a window's own features, as `boundaries` does.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from scnn_tf.errors import InputError
from scnn_tf.models.recipes import JOINT, STAGES, Recipe
from scnn_tf.segments.stretches import num_samples
from scnn_tf.segments.windows import SAMPLED_FRAMES

S_CNN, SHARED, BOUNDARIES, BOTH = "S-CNN", "shared", "boundaries", "both"
PAPER_ABLATION = (S_CNN, *(f"{S_CNN} without {stage}" for stage in STAGES))
"""The variants of section 4.3 and Figure 7."""


class Network(NamedTuple):
    """A network that a variant needs.

    Attributes:
        folder: Name of its folder.
        stage: Stage that it is trained as.
        recipe: All settings of its training.
        start: Folder of the network whose weights it starts from; None: those of the experiment.
    """

    folder: str
    stage: str
    recipe: Recipe
    start: str | None = None


class Variant(NamedTuple):
    """One way to find actions.

    Attributes:
        networks: Its networks, in the order of their training; the last one scores the windows.
        reference: Name of the variant that it is compared with.
        proposal: Whether windows are discarded by their proposal scores; in a joint network these
            are part of the class scores, too.
    """

    networks: tuple[Network, ...]
    reference: str
    proposal: bool = True


def all_variants(recipes: Sequence[Recipe], alphas: Sequence[float] = ()) -> dict[str, Variant]:
    """Returns all variants by their names, the methods before their variants.

    Args:
        recipes: A recipe of three networks, one of the joint network, or both.
        alphas: α of further variants, in addition to the recipe's.

    Raises:
        InputError: There is no recipe, or there are two of a kind.
    """
    kinds = [recipe.stages for recipe in recipes]
    if not kinds or len(set(kinds)) < len(kinds):
        raise InputError(
            "expected a recipe of three networks, one of the joint network, or one of each. "
            f"Received: {', '.join(recipe.name for recipe in recipes) or 'none'}"
        )
    found: dict[str, Variant] = {}
    for recipe in sorted(recipes, key=lambda recipe: recipe.stages == (JOINT,)):
        others = [alpha for alpha in alphas if alpha != recipe.alpha]
        if recipe.stages == STAGES:
            found |= _three_networks(recipe, others)
        else:
            found |= _one_network(recipe, others)
    if BOTH in found and S_CNN in found:
        found[S_CNN] = found[S_CNN]._replace(reference=BOTH)
    return found


def _three_networks(recipe: Recipe, alphas: Sequence[float]) -> dict[str, Variant]:
    """Returns S-CNN, and S-CNN without each of its parts."""
    # Random weights need the steps and the rate of classification: those of localization are for
    # fine-tuning, and would leave this variant untrained.
    fresh = recipe.with_stage(
        "localization",
        steps=recipe.classification.steps,
        learning_rate=recipe.classification.learning_rate,
    )
    localizations = {
        "": (recipe, "classification"),
        "without classification": (fresh, None),
        "without overlap": (dataclasses.replace(recipe, overlap_weight=0.0), "classification"),
        **{
            f"with alpha {alpha:g}": (dataclasses.replace(recipe, alpha=alpha), "classification")
            for alpha in alphas
        },
    }
    first = tuple(Network(stage, stage, recipe) for stage in ("proposal", "classification"))
    found = {}
    for part, (settings, start) in localizations.items():
        network = Network(_folder("localization", part), "localization", settings, start)
        found[f"{S_CNN} {part}".strip()] = Variant((*first, network), S_CNN)
    found[f"{S_CNN} without proposal"] = found[S_CNN]._replace(proposal=False)
    found[f"{S_CNN} without localization"] = Variant(first, S_CNN)
    return found


def _one_network(recipe: Recipe, alphas: Sequence[float]) -> dict[str, Variant]:
    """Returns the methods with one network, and each without each of its parts."""
    # As many frames in a step as the stretches have.
    lone = recipe.batch_size * num_samples(recipe.train_windows) // SAMPLED_FRAMES
    tight = {"shards": dataclasses.replace(recipe.shards, margin=0.0)}
    methods = {
        # So the head keeps its zeros: detections are the windows, as they are labelled.
        SHARED: {"boundary_weight": 0.0, "boundary_reach": 0, **tight},
        # Lone windows have none around them among which to look for boundaries.
        BOUNDARIES: {"train_windows": 1, "batch_size": lone, "boundary_reach": 0},
        BOTH: {},
    }
    parts: dict[str, dict] = {"": {}}
    if recipe.start:
        parts["without start"] = {"start": ""}
    if recipe.overlap_weight:
        parts["without classification"] = {"overlap_from": 0.0}
        parts["without overlap"] = {"overlap_weight": 0.0}
    else:
        parts["with overlap"] = {"overlap_weight": 1.0}
    if recipe.shards.margin:
        parts["without margin"] = tight
    if recipe.boundary_reach:
        parts["without neighbors"] = {"boundary_reach": 0}
    if recipe.speed > 1:
        parts["without speed"] = {"speed": 1.0}
    weight = recipe.overlap_weight or 1.0
    for alpha in alphas:
        parts[f"with alpha {alpha:g}"] = {"alpha": alpha, "overlap_weight": weight}
    found = {}
    for method, changes in methods.items():
        for part, others in parts.items():
            if part and {**changes, **others} == changes:
                continue  # the method has no such part
            name = f"{method} {part}".strip()
            settings = dataclasses.replace(recipe, **{**changes, **others})
            network = Network(_folder(JOINT, name.removeprefix(BOTH)), JOINT, settings)
            found[name] = Variant((network,), method if part else BOTH)
        found[f"{method} without proposal"] = found[method]._replace(
            reference=method, proposal=False
        )
    return found


def _folder(stage: str, words: str) -> str:
    """Returns the name of a network's folder."""
    return "_".join([stage, *words.split()])
