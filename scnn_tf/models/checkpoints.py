"""The folder of a trained network: its description, its weights and its metrics."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_path, copy_file, read_json, write_text
from scnn_tf.models.recipes import Recipe, from_dict

if TYPE_CHECKING:
    import keras

MODEL_JSON = "model.json"  # description of the stage; written first
WEIGHTS = "model.weights.h5"  # written last: with it, the stage is finished
METRICS = "metrics.json"
PRETRAINED = "pretrained"  # the stage of a folder that `convert_weights` wrote


@dataclasses.dataclass(frozen=True)
class StageInfo:
    """The description of a trained stage: the content of `model.json`.

    Attributes:
        stage: "proposal", "classification" or "localization"; or "pretrained": a backbone without
            fc8 to start from, which has no classes and a frame rate of 0.
        class_names: The K classes; output k is `class_names[k - 1]`, 0 is background.
        frame_rate: Rate of the frames that it was trained on, in Hz.
        seed: Seed of the run.
        recipe: Settings of the run.
    """

    stage: str
    class_names: tuple[str, ...]
    frame_rate: float
    seed: int
    recipe: Recipe

    def build(self) -> "keras.Model":
        """Returns the network with fresh weights.

        Raises:
            InputError: There is no such backbone.
        """
        from scnn_tf.models.stages import BACKBONES, network  # which load Keras

        name = self.recipe.backbone
        if name not in BACKBONES:
            raise InputError(f"backbone must be one of {', '.join(BACKBONES)}. Received: {name!r}")
        arguments = self.recipe.backbone_arguments()
        backbone = BACKBONES[name](**arguments)
        if self.stage == PRETRAINED:
            return backbone
        return network(
            self.stage,
            len(self.class_names),
            backbone,
            initializer=arguments.get("initializer", "caffe"),
        )


def load_stage(folder: PathLike, stage: str | None = None) -> "tuple[keras.Model, StageInfo]":
    """Returns a trained network and its description.

    Args:
        folder: Folder or URL of the stage.
        stage: Stage that it must be; None: any.

    Raises:
        InputError: The folder holds no finished stage, or another stage.
    """
    folder = as_path(folder)
    info = read_info(folder)
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
    """Writes `model.json`, the description of a stage."""
    write_text(folder / MODEL_JSON, json.dumps(dataclasses.asdict(info), indent=1) + "\n")


def save_weights(model: "keras.Model", folder: AnyPath) -> None:
    """Writes `model.weights.h5`, the last file of a stage: with it, the stage is finished."""
    with tempfile.TemporaryDirectory() as local:  # Keras and HDF5 know no URLs
        model.save_weights(Path(local) / WEIGHTS)
        copy_file(Path(local) / WEIGHTS, folder / WEIGHTS)


def read_metrics(folder: AnyPath) -> dict:
    """Returns the final metrics of a finished stage, as `train_stage` returned them.

    Raises:
        InputError: They are missing or damaged.
    """
    again = f"remove {folder} to train again"
    try:
        metrics = read_json(folder / METRICS)
    except InputError as error:
        raise InputError(f"{error}; {again}") from error
    if not isinstance(metrics, dict):
        raise InputError(f"{folder / METRICS}: expected an object of metrics; {again}")
    return metrics


def read_info(folder: PathLike) -> StageInfo:
    """Reads `model.json`, the description of a trained stage.

    Raises:
        InputError: There is no such file, or it is damaged or of another version.
    """
    path = as_path(folder) / MODEL_JSON
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a trained network, but {MODEL_JSON} is missing; run train first"
        )
    try:
        fields = dict(read_json(path))
        fields["class_names"] = tuple(fields["class_names"])
        fields["recipe"] = from_dict(fields["recipe"])
        info = StageInfo(**fields)
        well = isinstance(info.frame_rate, float) and all(
            isinstance(name, str) for name in info.class_names
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # also an `InputError`
        raise InputError(
            f"{path}: not the description of a network by this version of scnn_tf ({error}); "
            "train the network again"
        ) from error
    if not well or (info.stage != PRETRAINED and not info.frame_rate > 0):
        raise InputError(
            f"{path}: expected class names, and a frame rate above 0. Received: "
            f"{info.class_names!r}, {info.frame_rate!r}; train the network again"
        )
    return info


def _load_weights(model: "keras.Model", path: AnyPath) -> None:
    """Reads weights; those behind a URL are copied first, since Keras and HDF5 know no URLs."""
    if isinstance(path, Path):
        model.load_weights(path)
        return
    with tempfile.TemporaryDirectory() as local:
        copy_file(path, Path(local) / WEIGHTS)
        model.load_weights(Path(local) / WEIGHTS)
