"""The folder of a trained network: its description, its weights and its metrics."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_path, copy_file, read_text, write_text
from scnn_tf.models.recipes import Recipe, from_dict

if TYPE_CHECKING:
    import keras

MODEL_JSON = "model.json"  # what a stage is; written first, and never changed by a resumed run
WEIGHTS = "model.weights.h5"  # written last: a stage that has it is finished
METRICS = "metrics.json"
PRETRAINED = "pretrained"  # the stage of a folder that `convert_weights` wrote


@dataclasses.dataclass(frozen=True)
class StageInfo:
    """What a trained stage is: the content of `model.json`.

    Attributes:
        stage: "proposal", "classification" or "localization"; or "pretrained": a backbone without
            fc8 to start from, which has no classes, and windows and rate unknown (none, 0).
        class_names: the K classes; output k is `class_names[k - 1]`, 0 is background.
        window_frames: lengths of the windows it was trained on, in frames.
        frame_rate: Hz.
        seed: of the run.
        recipe: its settings.
    """

    stage: str
    class_names: tuple[str, ...]
    window_frames: tuple[int, ...]
    frame_rate: float
    seed: int
    recipe: Recipe

    def build(self) -> "keras.Model":
        """The network, with fresh weights.

        Raises:
            InputError: no such backbone.
        """
        from scnn_tf.models.stages import BACKBONES, network  # which load Keras

        name = self.recipe.backbone
        if name not in BACKBONES:
            raise InputError(f"backbone must be one of {', '.join(BACKBONES)}. Received: {name!r}")
        backbone = BACKBONES[name].from_recipe(self.recipe)
        if self.stage == PRETRAINED:
            return backbone
        return network(self.stage, len(self.class_names), backbone)


def load_stage(
    folder: str | os.PathLike, stage: str | None = None
) -> "tuple[keras.Model, StageInfo]":
    """A trained network and what it is.

    Args:
        folder: of the stage.
        stage: what it must be; None: any.

    Raises:
        InputError: no finished stage in the folder, or one of another stage.
    """
    folder = as_path(folder)
    info = _read_info(folder)
    if stage is not None and info.stage != stage:
        raise InputError(f"{folder}: holds a {info.stage} network where {stage} is needed")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder}: the {info.stage} network is not trained yet; run train")
    model = info.build()
    try:
        _load_weights(model, folder / WEIGHTS)
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # what h5py raises
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{folder / WEIGHTS}: cannot be loaded ({reason}); train it again"
        ) from error
    return model, info


def write_info(folder: AnyPath, info: StageInfo) -> None:
    """Writes `model.json`, from which `load_stage` knows what the weights are of."""
    write_text(folder / MODEL_JSON, json.dumps(dataclasses.asdict(info), indent=1) + "\n")


def save_weights(model: "keras.Model", folder: AnyPath) -> None:
    """Writes `model.weights.h5`, whole or not at all; a folder that has it is finished."""
    with tempfile.TemporaryDirectory() as local:  # Keras and HDF5 know no URLs
        model.save_weights(Path(local) / WEIGHTS)
        copy_file(Path(local) / WEIGHTS, folder / WEIGHTS)


def read_metrics(folder: AnyPath) -> dict:
    """The final metrics of a finished stage, as `train_stage` returned them.

    Raises:
        InputError: they are missing or damaged.
    """
    try:
        metrics = json.loads(read_text(folder / METRICS))
        if not isinstance(metrics, dict):
            raise ValueError("it holds no metrics")
    except ValueError as error:
        raise InputError(
            f"{folder / METRICS}: not what training wrote ({error}); remove {folder} to train again"
        ) from error
    return metrics


def _load_weights(model: "keras.Model", path: AnyPath) -> None:
    if isinstance(path, Path):
        model.load_weights(path)
        return
    with tempfile.TemporaryDirectory() as local:
        copy_file(path, Path(local) / WEIGHTS)
        model.load_weights(Path(local) / WEIGHTS)


def _read_info(folder: AnyPath) -> StageInfo:
    path = folder / MODEL_JSON
    if not path.is_file():
        raise InputError(f"{folder}: no network here ({MODEL_JSON} is missing); run train first")
    try:
        fields = json.loads(read_text(path))
        info = StageInfo(
            **{
                **fields,
                "class_names": tuple(fields["class_names"]),
                "window_frames": tuple(fields["window_frames"]),
                "recipe": from_dict(fields["recipe"]),
            }
        )
        if info.stage != PRETRAINED and not (info.frame_rate > 0 < min(info.window_frames)):
            raise ValueError("frame_rate and window_frames must be positive")
    except (KeyError, TypeError, ValueError) as error:  # of which broken JSON is one
        raise InputError(f"{path}: not the description of a network ({error!r})") from error
    return info
