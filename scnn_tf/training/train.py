"""Training of one stage, under any `tf.distribute` strategy; it resumes when it was interrupted."""

import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    PathLike,
    as_path,
    json_checksum,
    read_text,
    remove_tree,
    sha256,
    write_text,
)
from scnn_tf.io.folders import locked
from scnn_tf.models.checkpoints import (
    METRICS,
    MODEL_JSON,
    WEIGHTS,
    StageInfo,
    read_info,
    read_metrics,
    save_weights,
    weights_checksum,
    write_info,
)
from scnn_tf.models.fine_tuning import split
from scnn_tf.models.recipes import JOINT, STAGES, Recipe, get_recipe
from scnn_tf.models.settings import differences
from scnn_tf.models.starts import start_folder
from scnn_tf.segments.prior import WINDOW_PRIOR
from scnn_tf.shards.batches import training_batches
from scnn_tf.shards.features import feature_shards
from scnn_tf.shards.files import Manifest, prior_problems, problems, read_manifest
from scnn_tf.training.loop import Logs, Report, train_steps
from scnn_tf.training.networks import built, compiled, load_matching, make_variables
from scnn_tf.training.saving import Checkpoints
from scnn_tf.training.strategies import detect_lost_host, is_chief, wait_for_all
from scnn_tf.training.validation import Validation, Validator, warn

_TEMPORARY_BYTES = 1 << 20  # what TensorFlow needs of TMPDIR, for the code that it generates


def train_stage(
    stage: str,
    *,
    data_dir: PathLike,
    output_dir: PathLike,
    recipe: PathLike | Recipe = "small",
    start_from: PathLike | None = None,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    checkpoint_every: int = 50,
    validation: Validation | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict:
    """Trains one network; an interrupted training resumes by the same call.

    The folder belongs to one process (`io.folders.locked`) and to one run: the same recipe, seed,
    shards, initial weights and validation.

    Args:
        stage: "proposal", "classification" or "localization", from shards of segments; or "joint",
            from shards of stretches.
        data_dir: Folder or URL of the shards.
        output_dir: Folder or URL of the stage, to which `model.json`, `model.weights.h5`,
            `metrics.json`, `window_prior.csv`, `checkpoints/` and `logs/` (TensorBoard) go.
        recipe: Name, JSON file or `Recipe`.
        start_from: Folder of a finished stage, or of converted weights, or the name of weights that
            come with scnn_tf (`models.starts`): the initial weights, as far as `load_matching` uses
            them. None: the recipe's `start`.
        seed: Seed of weights, order and augmentation.
        strategy: Strategy to train with, from `make_strategy`; None: the default.
        checkpoint_every: Number of steps between two checkpoints.
        validation: Videos on which the network is validated during the training, which then ends
            with the weights of the best validation; None: it ends with the last weights.
        callbacks: Called after each step with the means of loss and metrics.

    Returns:
        The final metrics: stage, steps, seconds of this call, loss and accuracy over the last
        `checkpoint_every` steps, number of segments and of replicas; with a validation also
        "best_step", the step of the weights, and "validation", the `Validator.history`.

    Raises:
        InputError: There is no such stage, recipe or dataset; a record of it, or its prior, is
            damaged; the shards are of another recipe; the folder holds another run, or another
            process trains in it; or a file cannot be written.
        HostLostError: Another one of several hosts is lost; the same call, in new processes on all
            of them, resumes.

    Example:
        >>> metrics = scnn_tf.train_stage(
        ...     "proposal", data_dir="shards", output_dir="trained/proposal", recipe="recipe.json")
        >>> metrics["steps"]
        6
    """
    strategy = strategy or tf.distribute.get_strategy()
    recipe = get_recipe(recipe)
    _check_arguments(stage, recipe, strategy)
    manifest = read_manifest(data_dir)
    recipe = recipe.as_built(manifest.recipe)
    _check_shards(manifest, recipe)
    if problem := next(prior_problems(manifest), None):
        raise InputError(f"{problem}; remove the folder and build the dataset again")
    _check_temporary_folder()
    checksums = {"shards": _checksum(manifest)}
    if start_from := start_from or recipe.start or None:
        start_from = start_folder(start_from)
        checksums["start_from"] = weights_checksum(start_from)
    if validation is not None:
        validation.check(manifest)
        checksums["validation"] = validation.checksum()
    info = StageInfo(stage, manifest.class_names, manifest.frame_rate, seed, recipe, checksums)
    folder, chief = as_path(output_dir), is_chief(strategy)
    with locked(folder, f"training of {stage}") if chief else contextlib.nullcontext():
        if chief:
            info = _claim(folder, info)
            write_text(folder / WINDOW_PRIOR, read_text(as_path(data_dir) / WINDOW_PRIOR))
        wait_for_all(strategy)
        if not chief:
            _check_run(folder, info)
        if not (folder / WEIGHTS).is_file():
            model, metrics = _train(
                folder,
                manifest,
                info,
                strategy,
                start_from,
                checkpoint_every,
                validation,
                callbacks,
            )
            if chief:
                write_text(folder / METRICS, json.dumps(metrics, indent=1) + "\n")
                save_weights(model, folder, info)
            wait_for_all(strategy)
        else:
            logging.info("%s is trained already", folder)
        if chief:
            remove_tree(folder / "checkpoints")
        return read_metrics(folder)


def _check_shards(manifest: Manifest, recipe: Recipe) -> None:
    """Checks that shards were built by this recipe.

    Raises:
        InputError: A setting is different, or they have features where the recipe is for frames.
    """
    if (manifest.features is not None) != recipe.takes_features:
        kinds = ("frames", "features")
        found, expected = kinds[manifest.features is not None], kinds[recipe.takes_features]
        raise InputError(
            f"{manifest.folder}: recipe {recipe.name!r} expects shards of {expected}. Found: "
            f"shards of {found}; choose another --data_dir or --recipe"
        )
    shards, wanted = (dataclasses.asdict(each) for each in (manifest.recipe, recipe.shards))
    if changed := differences(shards, wanted):
        raise InputError(
            f"{manifest.folder}: its shards were built by another recipe than {recipe.name!r} "
            f"({'; '.join(changed)}); build them with this --recipe, or train with theirs"
        )


def _check_arguments(stage: str, recipe: Recipe, strategy: tf.distribute.Strategy) -> None:
    """Checks that the recipe can train this stage on these devices.

    Raises:
        InputError: There is no such stage, the recipe does not train it, or the batch cannot be
            split.
    """
    recipe.stage(stage)  # raises, if there is no such stage
    if stage not in recipe.stages:
        raise InputError(
            f"recipe {recipe.name!r}: expected a stage that it trains: {', '.join(recipe.stages)}. "
            f"Received: {stage!r}; choose another --stage or --recipe"
        )
    if recipe.batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"recipe {recipe.name!r}: a batch of {recipe.batch_size} cannot be split evenly over "
            f"{strategy.num_replicas_in_sync} devices; give --batch_size"
        )


def _train(
    folder: AnyPath,
    manifest: Manifest,
    info: StageInfo,
    strategy: tf.distribute.Strategy,
    start_from: PathLike | None,
    checkpoint_every: int,
    validation: Validation | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[keras.Model, dict]:
    """Trains for the steps that are left; returns the network and the metrics of the stage.

    Raises:
        InputError: A record of the dataset or all checkpoints are damaged, the initial weights do
            not fit, or a step needs too much memory.
    """
    began, steps = time.monotonic(), info.recipe.stage(info.stage).steps
    keras.utils.set_random_seed(info.seed)
    with detect_lost_host(), strategy.scope():  # the chief sends its initial weights to all hosts
        network = built(info)
        model = compiled(info, network)
        make_variables(model, info.stage)
        if start_from is not None:
            load_matching(network, as_path(start_from), info)
    if info.recipe.cache_features:
        manifest = _features(manifest, network, info.recipe, strategy)
        if validation is not None:
            found = _features(read_manifest(validation.data_dir), network, info.recipe, strategy)
            validation = dataclasses.replace(validation, data_dir=found.folder)
    validator = None
    if validation is not None:
        whole = built(info)
        whole.set_weights(network.get_weights())
        second = compiled(info, whole)
        validator = Validator(validation, info, second, whole, strategy, folder / "logs")
    with detect_lost_host(), strategy.scope():
        checkpoints = Checkpoints(model, folder / "checkpoints", validator)
        latest = checkpoints.restore()
    done = int(model.optimizer.iterations.numpy())
    if done:
        logging.info("%s: resuming after step %d of %d", info.stage, done, steps)
    else:
        logging.info("%s: starts from %s", info.stage, start_from or "fresh weights")
    chief = is_chief(strategy)
    report = Report(checkpoints if chief else None, steps, checkpoint_every, latest)
    # Keras 3.15 cannot serialize the graph of a network that begins in the middle of another.
    logs = Logs(str(folder / "logs"), update_freq=10, write_graph=model is network)
    own = [report, logs] if chief else [report]
    if validator is not None:
        own.insert(0, validator)  # so that a report saves what it has found

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_batches(manifest, info.stage, info.recipe, info.seed, done, context)

    if done < steps and not (validator and validator.is_over):
        with _explained(manifest, info.recipe):
            train_steps(model, strategy, batches, steps - done, [*own, *callbacks])
    else:  # killed between its last checkpoint and its weights
        model.optimizer.finalize_variable_values(model.trainable_variables)
    metrics = {
        "stage": info.stage,
        "steps": int(model.optimizer.iterations.numpy()),
        "seconds": round(time.monotonic() - began, 1),
        "segments": sum(manifest.label_counts),
        "replicas": strategy.num_replicas_in_sync,
        **report.latest,
    }
    if validator is None or not chief:
        return network, metrics
    warn(validator.history, report.latest, info.stage)
    metrics |= {"best_step": validator.best["step"], "validation": validator.history}
    return validator.whole, metrics


def _features(
    manifest: Manifest, network: keras.Model, recipe: Recipe, strategy: tf.distribute.Strategy
) -> Manifest:
    """Returns the features of a dataset, by the frozen part of a network; the chief computes them.

    Raises:
        InputError: The layer has no outputs for each window, or a file cannot be read or written.
    """
    trunk = split(network, recipe.freeze).trunk
    if is_chief(strategy):
        feature_shards(manifest, trunk, recipe.freeze, recipe)
    wait_for_all(strategy)
    return feature_shards(manifest, trunk, recipe.freeze, recipe)


@contextlib.contextmanager
def _explained(manifest: Manifest, recipe: Recipe) -> Iterator[None]:
    """Says of an error of TensorFlow in the training loop what is wrong with the dataset.

    Raises:
        InputError: A record of the dataset is damaged, or a step needs too much memory.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"recipe {recipe.name!r}: a step of {recipe.batch_size} segments does not fit into "
            "memory; give a smaller --batch_size, and run the same command in another --model_dir"
        ) from error
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        # TensorFlow does not say in which record it found a wrong checksum, picture or shape.
        logging.info("%s: looking for a damaged record", manifest.folder)
        if problem := next(problems(manifest.folder), None):
            problem += "; remove the folder and build the dataset again"
        elif isinstance(error, tf.errors.DataLossError):
            problem = f"{manifest.folder}: a shard could not be read; run the same command again"
        else:
            raise
        raise InputError(problem) from error


def _claim(folder: AnyPath, info: StageInfo) -> StageInfo:
    """Writes and returns the description of this run; checks that the folder holds no other run.

    Weights that were damaged after they had been written are removed, so that they are made again.
    """
    weights = folder / WEIGHTS
    if weights.is_file() or (folder / "checkpoints").is_dir():
        try:
            checksums = read_info(folder).checksums
        except InputError as error:
            raise InputError(
                f"{folder}: holds another run, or this one with a damaged {MODEL_JSON} ({error}); "
                "choose another --model_dir, or remove the folder to train again"
            ) from error
        _check_run(folder, info)
        info = dataclasses.replace(info, checksums=checksums)
        if weights.is_file() and checksums.get("weights") not in (None, sha256(weights)):
            logging.warning("%s was damaged; the network is trained again", weights)
            weights.unlink()
    write_info(folder, info)  # again where only the settings of inference have changed
    return info


def _check_run(folder: AnyPath, info: StageInfo) -> None:
    """Checks that the folder holds the same run; settings of inference may differ.

    Raises:
        InputError: Something that decides on the weights is different.
    """
    old = read_info(folder)
    changed = differences(_identity(old), _identity(info))
    if "shards" in old.checksums:  # earlier versions wrote none
        for name, what in (
            ("shards", "--data_dir holds other shards than before"),
            ("start_from", "--start_from gives other initial weights than before"),
            ("validation", "the validation is another than before"),
        ):
            if old.checksums.get(name) != info.checksums.get(name):
                changed.append(what)
    if changed:
        raise InputError(
            f"{folder}: holds another run ({'; '.join(changed)}); choose another --model_dir, or "
            "remove the folder to train again"
        )


def _identity(info: StageInfo) -> dict:
    """Returns the settings that decide on the weights of a stage."""
    fields = dataclasses.asdict(info)
    recipe = fields.pop("recipe")
    del fields["checksums"]
    others = {*STAGES, JOINT, "inference", "name"} - {info.stage}
    return fields | {key: value for key, value in recipe.items() if key not in others}


def _checksum(manifest: Manifest) -> str:
    """Returns a checksum of all shards of a dataset, wherever its folder is."""
    return json_checksum([shard["sha256"] for shard in manifest.shards])


def _check_temporary_folder() -> None:
    """Checks that the folder of temporary files, in which TensorFlow writes code, is not full.

    Raises:
        InputError: It cannot be written.
    """
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_TEMPORARY_BYTES))
            file.flush()
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: the folder of temporary files cannot be written "
            f"({error.strerror}); make room in it, or set TMPDIR to another folder"
        ) from error
