"""The network that is trained: built, compiled, and filled with the weights that it starts from."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath
from scnn_tf.models.checkpoints import StageInfo, load_stage
from scnn_tf.models.fine_tuning import freeze, rates_by_depth, split
from scnn_tf.models.losses import (
    BoundaryLoss,
    ClassLoss,
    MultiLabelLoss,
    ProposalLoss,
    SegmentLoss,
)
from scnn_tf.models.metrics import MultiLabelAccuracy, SegmentAccuracy
from scnn_tf.models.optimizers import LayerwiseAdam, LayerwiseSGD
from scnn_tf.models.recipes import JOINT, Recipe
from scnn_tf.models.stages import LAST_LAYERS


def built(info: StageInfo) -> keras.Model:
    """Returns the network of a stage.

    Raises:
        InputError: The recipe makes no network, or one that does not fit into memory.
    """
    try:
        return info.build()
    except (ValueError, tf.errors.ResourceExhaustedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"recipe {info.recipe.name!r} makes no network: {reason}") from error


def compiled(info: StageInfo, network: keras.Model | None = None) -> keras.Model:
    """Returns the compiled network of a stage; its optimizer has no variables yet.

    Where the recipe caches features, it is the part of the network that learns from them.

    Args:
        info: Description of the stage.
        network: The network, whose weights the compiled one shares; None: a fresh one.

    Raises:
        InputError: The recipe makes no network, or one that does not fit into memory; or the
            network has no layer of the name up to which it is frozen.
    """
    network, recipe = network or built(info), info.recipe
    if recipe.freeze:
        freeze(network, recipe.freeze)
    trained = split(network, recipe.freeze).head if recipe.cache_features else network
    optimizer = make_optimizer(recipe, info.stage, rates_by_depth(network, recipe.depth_decay))
    loss, weights, metrics = _losses(info, optimizer)
    # XLA makes 3D convolutions several times slower on a CPU.
    trained.compile(optimizer, loss, loss_weights=weights, metrics=metrics, jit_compile=False)
    return trained


def make_variables(model: keras.Model, stage: str) -> None:
    """Makes the variables that the training of a compiled network needs, in a strategy's scope."""
    model.optimizer.build(model.trainable_variables)
    if stage == JOINT:
        # Keras 3.15 makes the means of several losses in the first step, where a MirroredStrategy
        # cannot have variables any more.
        windows, pairs = (model.output[head].shape[:-1] for head in ("proposal", "boundaries"))
        shapes = {"proposal": windows, "classes": pairs, "boundaries": pairs}
        targets = {head: keras.KerasTensor([*shape, 6]) for head, shape in shapes.items()}
        model._symbolic_build(data_batch=(model.input, targets))


def make_optimizer(
    recipe: Recipe, stage: str, layer_factors: Mapping[str, float] | None = None
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a stage, with its learning-rate schedule.

    Args:
        recipe: Settings of the training.
        stage: Name of the stage.
        layer_factors: Name of a layer → factor on its learning rate.
    """
    factors = dict(layer_factors or {})
    settings = recipe.stage(stage)
    average = {"use_ema": True, "ema_momentum": recipe.average} if recipe.average else {}
    if recipe.optimizer == "sgd":
        stairs = keras.optimizers.schedules.ExponentialDecay(
            settings.learning_rate,
            settings.decay_steps,
            settings.decay_factor,
            staircase=True,
        )
        factors |= dict.fromkeys(LAST_LAYERS, recipe.fc8_factor)
        return LayerwiseSGD(stairs, l2=recipe.weight_decay, layer_factors=factors, **average)
    cosine = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 20,
        decay_steps=max(1, settings.steps - recipe.warmup_steps),
        alpha=0.1,
        warmup_target=settings.learning_rate,
        warmup_steps=recipe.warmup_steps,
    )
    return LayerwiseAdam(cosine, factors, **average)


def load_matching(model: keras.Model, folder: AnyPath, info: StageInfo) -> None:
    """Copies the weights of another network.

    The last layers start from fresh weights if they are others, such as those of other classes; fc6
    and fc7 if fc6 has other inputs, as it has of frames of another size.

    Raises:
        InputError: There is no network in the folder, or its layers or classes are different.
    """
    source, source_info = load_stage(folder)
    if source_info.recipe.pool5 != info.recipe.pool5:
        raise InputError(
            f'{folder}: expected a network whose pool5 is "{info.recipe.pool5}", as in this '
            f'recipe. Found: "{source_info.recipe.pool5}"; change the recipe\'s pool5'
        )
    same_classes = source_info.class_names == info.class_names
    if info.stage == "localization" and source_info.class_names and not same_classes:
        raise InputError(
            f"{folder}: trained on other classes ({', '.join(source_info.class_names)}) than this "
            f"dataset has ({', '.join(info.class_names)}); choose another --start_from"
        )
    old, new = (_parts(network) for network in (source, model))
    # fc6 reads all of the picture: only its kernel depends on the size of the frames.
    fixed = [[*parts.trunk, *parts.dense[1:]] for parts in (new, old)]
    for one, other in itertools.zip_longest(*fixed):
        if one is None or other is None or one.shape != other.shape:
            raise InputError(
                f"{folder}: expected the network of this recipe, with {_described(one)}. Found: "
                f"{_described(other)}; train it with this recipe, or use the recipe it was made "
                "with"
            )
    _assign(new.trunk, old.trunk)
    for mine, others, fits, reason in (
        (new.dense, old.dense, True, "fc6 has other inputs, such as frames of another size"),
        (new.head, old.head, same_classes, "its last layers are others, as of other classes"),
    ):
        if fits and [weight.shape for weight in mine] == [weight.shape for weight in others]:
            _assign(mine, others)
        else:
            layers = ", ".join(dict.fromkeys(weight.path.split("/")[0] for weight in mine))
            logging.info("%s: %s start from fresh weights, since %s", folder, layers, reason)


def _losses(
    info: StageInfo, optimizer: keras.optimizers.Optimizer
) -> tuple[keras.losses.Loss | dict, dict | None, list | dict]:
    """Returns the losses of a stage, their weights, and its metrics."""
    recipe = info.recipe
    if info.stage != JOINT:
        weight = recipe.overlap_weight if info.stage == "localization" else 0.0
        return SegmentLoss(weight, recipe.alpha), None, [SegmentAccuracy()]
    begin = round(recipe.overlap_from * recipe.joint.steps)

    def overlap_weight():
        return recipe.overlap_weight * keras.ops.cast(optimizer.iterations >= begin, "float32")

    multi_label = recipe.shards.multi_label
    class_loss = MultiLabelLoss if multi_label else ClassLoss
    losses = {
        "proposal": ProposalLoss(),
        "classes": class_loss(overlap_weight, recipe.alpha),
        "boundaries": BoundaryLoss(),
    }
    weights = {"proposal": 1.0, "classes": 1.0, "boundaries": recipe.boundary_weight}
    accuracy = MultiLabelAccuracy() if multi_label else SegmentAccuracy()
    return losses, weights, {"classes": [accuracy]}


class _Parts(NamedTuple):
    """The weights of a network, by what decides on their shapes.

    Attributes:
        trunk: All but the others.
        dense: fc6 and fc7, by the size of the frames, too.
        head: The last layers, by the number of classes, too.
    """

    trunk: list[keras.Variable]
    dense: list[keras.Variable]
    head: list[keras.Variable]


def _parts(model: keras.Model) -> _Parts:
    parts = _Parts([], [], [])
    for weight in model.weights:
        names = set(weight.path.split("/"))
        if names.intersection(LAST_LAYERS):
            parts.head.append(weight)
        elif names & {"fc6", "fc7"}:
            parts.dense.append(weight)
        else:
            parts.trunk.append(weight)
    return parts


def _assign(targets: Sequence[keras.Variable], sources: Sequence[keras.Variable]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.assign(source)


def _described(weight: keras.Variable | None) -> str:
    return "no more weights" if weight is None else f"{weight.path} {tuple(weight.shape)}"
