"""The network that is trained: built, compiled, and filled with the weights that it starts from."""

import itertools
from collections.abc import Mapping

import keras
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath
from scnn_tf.models.checkpoints import StageInfo, load_stage
from scnn_tf.models.fine_tuning import freeze, rates_by_depth, split
from scnn_tf.models.losses import BoundaryLoss, ClassLoss, ProposalLoss, SegmentLoss
from scnn_tf.models.metrics import SegmentAccuracy
from scnn_tf.models.optimizers import LayerwiseAdam, LayerwiseSGD
from scnn_tf.models.recipes import HEADS, JOINT, Recipe


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
        factors |= dict.fromkeys(("fc8", *HEADS), recipe.fc8_factor)
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
    """Copies the weights of another network; those of fc8 only if its outputs are the same classes.

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
    old_body, old_head = _body_and_head(source)
    new_body, new_head = _body_and_head(model)
    for new, old in itertools.zip_longest(new_body, old_body):
        if new is None or old is None or new.shape != old.shape:
            raise InputError(
                f"{folder}: expected the network of this recipe, with {_described(new)}. Found: "
                f"{_described(old)}; train it with this recipe, or use the recipe it was made with"
            )
        new.assign(old)
    if same_classes and [w.shape for w in new_head] == [w.shape for w in old_head]:
        for new, old in zip(new_head, old_head, strict=True):
            new.assign(old)
    else:
        logging.info(
            "%s: its fc8 is not used, since its outputs are other classes; fc8 starts from fresh "
            "weights",
            folder,
        )


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

    losses = {
        "proposal": ProposalLoss(),
        "classes": ClassLoss(overlap_weight, recipe.alpha),
        "boundaries": BoundaryLoss(),
    }
    weights = {"proposal": 1.0, "classes": 1.0, "boundaries": recipe.boundary_weight}
    return losses, weights, {"classes": [SegmentAccuracy()]}


def _body_and_head(model: keras.Model) -> tuple[list[keras.Variable], list[keras.Variable]]:
    """Returns the weights below the last layers, and those of the last layers, if there are any."""
    body, head = [], []
    for weight in model.weights:
        (head if {"fc8", *HEADS} & set(weight.path.split("/")) else body).append(weight)
    return body, head


def _described(weight: keras.Variable | None) -> str:
    return "no more weights" if weight is None else f"{weight.path} {tuple(weight.shape)}"
