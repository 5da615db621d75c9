"""Training one stage: under any `tf.distribute` strategy, killed and resumed at any step."""

import dataclasses
import itertools
import json
import time

import keras
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_path, read_text, remove_tree, write_text
from scnn_tf.models.checkpoints import (
    METRICS,
    MODEL_JSON,
    WEIGHTS,
    StageInfo,
    load_stage,
    read_info,
    read_metrics,
    save_weights,
    write_info,
)
from scnn_tf.models.losses import SegmentLoss
from scnn_tf.models.metrics import SegmentAccuracy
from scnn_tf.models.optimizers import LayerwiseSGD
from scnn_tf.models.recipes import STAGES, Recipe, differences
from scnn_tf.segments.prior import WINDOW_PRIOR
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.files import Manifest, read_manifest, verify
from scnn_tf.training.loop import Logs, Report, train_steps
from scnn_tf.training.strategies import is_chief, told_if_lost, wait_for_all


@told_if_lost()
def train_stage(
    stage: str,
    data_dir: str,
    output_dir: str,
    recipe: Recipe,
    start_from: str | None = None,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    checkpoint_every: int = 50,
) -> dict:
    """Trains one network; the same call goes on where a killed one stopped.

    Args:
        stage: "proposal", "classification" or "localization".
        data_dir: folder of shards.
        output_dir: folder of the stage: `model.json`, `model.weights.h5`, `metrics.json`,
            `checkpoints/`, `logs/` (TensorBoard).
        recipe: all settings.
        start_from: folder of a finished stage, or of converted weights, to start with: fc8 too if
            it has the same classes and outputs; None: fresh weights.
        seed: of weights, order and augmentation.
        strategy: how to distribute; None: the default.
        checkpoint_every: steps.

    Returns:
        The final metrics: stage, steps, seconds of this call, loss and accuracy over the last
        `checkpoint_every` steps of training, segments and replicas.

    Raises:
        InputError: no such stage or data set, or the folder holds another run.
        HostLostError: of several hosts another one is lost; the same call, in new processes on
            all of them, goes on.
    """
    strategy = strategy or tf.distribute.get_strategy()
    _check_arguments(stage, recipe, strategy)
    manifest = read_manifest(data_dir)
    _check_shards(manifest, recipe)
    prior = read_text(as_path(data_dir) / WINDOW_PRIOR)
    info = StageInfo(stage, manifest.class_names, manifest.frame_rate, seed, recipe)
    folder, chief = as_path(output_dir), is_chief(strategy)
    if chief:
        _claim(folder, info)
    wait_for_all(strategy)
    if not chief:
        _check_run(folder, info)
    if (folder / WEIGHTS).is_file():
        logging.info("%s is trained already", folder)
        return read_metrics(folder)

    began = time.monotonic()
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        model = compiled(info)
        if start_from is not None:
            _load_matching(model, as_path(start_from), info)
        manager = _restored_checkpoints(model, folder)
    latest = _train(model, strategy, manager, folder, manifest, info, checkpoint_every)
    metrics = {
        "stage": stage,
        "steps": int(model.optimizer.iterations.numpy()),
        "seconds": round(time.monotonic() - began, 1),
        "segments": sum(manifest.label_counts),
        "replicas": strategy.num_replicas_in_sync,
        **latest,
    }
    if chief:
        _finish(model, folder, metrics, prior)
    wait_for_all(strategy)
    return read_metrics(folder)


def compiled(info: StageInfo) -> keras.Model:
    """The network of a stage with its loss and optimiser, all variables made.

    Raises:
        InputError: the recipe makes no network.
    """
    recipe = info.recipe
    try:
        model = info.build()
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"recipe {recipe.name!r} makes no network: {reason}") from error
    model.compile(
        make_optimizer(recipe, info.stage),
        SegmentLoss(recipe.overlap_weight if info.stage == "localization" else 0.0, recipe.alpha),
        metrics=[SegmentAccuracy()],
        jit_compile=False,  # XLA makes 3D convolutions several times slower on a CPU
    )
    model.optimizer.build(model.trainable_variables)
    return model


def make_optimizer(recipe: Recipe, stage: str) -> keras.optimizers.Optimizer:
    """The optimiser of a stage, with its learning-rate schedule."""
    settings = recipe.stage(stage)
    average = {"use_ema": True, "ema_momentum": recipe.average} if recipe.average else {}
    if recipe.optimizer == "sgd":
        stairs = keras.optimizers.schedules.ExponentialDecay(
            settings.learning_rate,
            settings.decay_steps,
            settings.decay_factor,
            staircase=True,
        )
        return LayerwiseSGD(
            stairs, l2=recipe.weight_decay, fast_factor=recipe.fc8_factor, **average
        )
    cosine = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 20,
        decay_steps=max(1, settings.steps - recipe.warmup_steps),
        alpha=0.1,
        warmup_target=settings.learning_rate,
        warmup_steps=recipe.warmup_steps,
    )
    return keras.optimizers.Adam(cosine, **average)


def _check_shards(manifest: Manifest, recipe: Recipe) -> None:
    """Checks that shards were built by this recipe.

    Raises:
        InputError: A setting is different.
    """
    shards, wanted = (dataclasses.asdict(each) for each in (manifest.recipe, recipe.shards))
    if changed := differences(shards, wanted):
        raise InputError(
            f"{manifest.folder}: its shards were built by another recipe than {recipe.name!r} "
            f"({'; '.join(changed)}); build them with this --recipe, or train with theirs"
        )


def _check_arguments(stage: str, recipe: Recipe, strategy: tf.distribute.Strategy) -> None:
    recipe.stage(stage)  # or there is no such stage
    if recipe.batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"recipe {recipe.name!r}: a batch of {recipe.batch_size} cannot be split evenly over "
            f"{strategy.num_replicas_in_sync} devices; give --batch_size"
        )


def _restored_checkpoints(model: keras.Model, folder: AnyPath) -> tf.train.CheckpointManager:
    """The run's checkpoints, the latest of which, if any, is in the model now."""
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model, optimizer=model.optimizer),
        str(folder / "checkpoints"),
        max_to_keep=1,
    )
    try:
        manager.restore_or_initialize()
    except (IndexError, tf.errors.OpError) as error:
        raise InputError(
            f"{manager.directory}: the checkpoint cannot be read: its storage is out of reach, or "
            "it is damaged; then remove the folder, to train from the start"
        ) from error
    return manager


def _train(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    manager: tf.train.CheckpointManager,
    folder: AnyPath,
    manifest: Manifest,
    info: StageInfo,
    checkpoint_every: int,
) -> dict[str, float]:
    """Trains for the steps that are left; the loss and metrics of the last of them."""
    steps = info.recipe.stage(info.stage).steps
    done = int(model.optimizer.iterations.numpy())
    if done:
        logging.info("%s: going on after step %d of %d", manager.directory, done, steps)
    if done >= steps:  # killed between its last checkpoint and its weights
        model.optimizer.finalize_variable_values(model.trainable_variables)
        return {}
    report = Report(manager if is_chief(strategy) else None, steps, checkpoint_every)
    callbacks = [report]
    if is_chief(strategy):
        callbacks.append(Logs(str(folder / "logs"), update_freq=10))

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        seed = info.seed + 1000 * done
        return training_batches(manifest, info.stage, info.recipe, seed, context)

    try:
        train_steps(model, strategy, batches, steps - done, callbacks)
    except tf.errors.DataLossError as error:
        verify(manifest.folder)  # which says which shard it is
        raise InputError(f"{manifest.folder}: a shard cannot be read ({error.message})") from error
    return report.latest


def _finish(model: keras.Model, folder: AnyPath, metrics: dict, prior: str) -> None:
    """Writes what a finished stage is known by, the weights last."""
    write_text(folder / METRICS, json.dumps(metrics, indent=1) + "\n")
    write_text(folder / WINDOW_PRIOR, prior)
    save_weights(model, folder)
    remove_tree(folder / "checkpoints")


def _claim(folder: AnyPath, info: StageInfo) -> None:
    """Writes the description of this run, or checks that the folder holds the same run."""
    begun = (folder / WEIGHTS).is_file() or (folder / "checkpoints").is_dir()
    if begun and (folder / MODEL_JSON).is_file():
        _check_run(folder, info)
    write_info(folder, info)  # again where only the settings of inference have changed


def _check_run(folder: AnyPath, info: StageInfo) -> None:
    """Checks that the folder holds the same run: all but how its network will be used.

    Raises:
        InputError: Something else is different.
    """
    changed = differences(_identity(read_info(folder)), _identity(info))
    if changed:
        raise InputError(
            f"{folder}: holds another run ({'; '.join(changed)}); choose another --model_dir, or "
            "remove the folder to train again"
        )


def _identity(info: StageInfo) -> dict:
    """Returns what decides on the weights of a stage."""
    fields = dataclasses.asdict(info)
    recipe = fields.pop("recipe")
    others = {*STAGES, "inference"} - {info.stage}
    return fields | {key: value for key, value in recipe.items() if key not in others}


def _load_matching(model: keras.Model, folder: AnyPath, info: StageInfo) -> None:
    """Takes over the weights of `folder`, fc8 included where it tells the same classes."""
    source, source_info = load_stage(folder)
    same_classes = source_info.class_names == info.class_names
    if info.stage == "localization" and source_info.class_names and not same_classes:
        raise InputError(
            f"{folder}: trained on other classes ({', '.join(source_info.class_names)}) than this "
            f"data set has ({', '.join(info.class_names)})"
        )
    old_body, old_head = _body_and_head(source)
    new_body, new_head = _body_and_head(model)
    for new, old in itertools.zip_longest(new_body, old_body):
        if new is None or old is None or new.shape != old.shape:
            raise InputError(
                f"{folder}: its network is not this recipe's: {_told(old)} there, {_told(new)} "
                "here; train it with the same recipe, or take the recipe that it was made with"
            )
        new.assign(old)
    if same_classes and [w.shape for w in new_head] == [w.shape for w in old_head]:
        for new, old in zip(new_head, old_head, strict=True):
            new.assign(old)
    else:
        logging.info(
            "%s: fc8 is not taken over, its outputs mean something else; it starts afresh", folder
        )


def _body_and_head(model: keras.Model) -> tuple[list[keras.Variable], list[keras.Variable]]:
    """The weights below fc8, and those of fc8, if there is one."""
    body, head = [], []
    for weight in model.weights:
        (head if "fc8" in weight.path.split("/") else body).append(weight)
    return body, head


def _told(weight: keras.Variable | None) -> str:
    return "no more weights" if weight is None else f"{weight.path} {tuple(weight.shape)}"
