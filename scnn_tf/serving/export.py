"""Exports a trained S-CNN as the SavedModel that TensorFlow Serving mounts (docs/serving.md)."""

import datetime
import json
import os
import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from scnn_tf import __version__
from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    AnyPath,
    PathLike,
    as_path,
    copy_file,
    place_folder,
    read_json,
    sha256,
    write_text,
)
from scnn_tf.io.folders import locked
from scnn_tf.localization.scnn import JointSCNN, Localizer
from scnn_tf.models.checkpoints import (
    MODEL_JSON,
    WEIGHTS,
    default_scorer,
    not_finite,
    read_metrics,
)
from scnn_tf.models.recipes import JOINT
from scnn_tf.serving.graph import ServingGraph, applied_prior
from scnn_tf.serving.segment_graph import BATCH_SIZES, SegmentGraph
from scnn_tf.serving.server_files import read_models_config, write_server_files, write_warmup
from scnn_tf.serving.stretch_graph import StretchGraph

DESCRIPTION = "scnn.json"  # in assets/
PRECISIONS = ("float32", "bfloat16")
LABELS = ("stable", "canary")
_PARTIAL = "partial."  # begins the name of a folder that is not complete


def export_scnn(
    model: Localizer,
    output_dir: PathLike,
    *,
    version: int | None = None,
    label: str = "stable",
    precision: str = "float32",
    max_batch_size: int = BATCH_SIZES[-1],
    provenance: dict | None = None,
) -> AnyPath:
    """Writes a version of a model, and the server's configuration next to the model's folder.

    The version is written aside and renamed when it is complete, so that a server that watches the
    folder never sees half of a version. Behind a URL nothing can be renamed; there
    `saved_model.pb`, without which a folder is no model, is written last.

    Args:
        model: A trained S-CNN from `load_scnn`, with both networks or with one of three heads. The
            signature `localize` uses its thresholds, and its window-length prior if its recipe
            does.
        output_dir: Folder or URL of the model, such as `saved_models/scnn`; its name becomes the
            model's.
        version: A positive number; None: one more than the highest version in the folder.
        label: "stable" or "canary": the label by which requests find this version from now on.
        precision: "float32", or "bfloat16", which halves the size and is faster where the hardware
            computes in it.
        max_batch_size: Number of segments scored at a time, one of `BATCH_SIZES`; 1: requests are
            never merged. A network with three heads scores one stretch at a time, whatever this is.
        provenance: Where the networks come from, for the description; see `read_provenance`.

    Returns:
        The folder of the version.

    Raises:
        InputError: The version exists already, an argument is out of its range, the networks have
            weights that are not finite, or another process exports into the same folder.

    Example:
        >>> model = scnn_tf.load_scnn("model")
        >>> scnn_tf.export_scnn(model, "saved_models/scnn").name
        '1'
    """
    if not str(output_dir).strip():
        raise InputError("expected the folder of the model, such as saved_models/scnn")
    for name, value, allowed in (
        ("precision", precision, PRECISIONS),
        ("max_batch_size", max_batch_size, BATCH_SIZES),
        ("label", label, LABELS),
    ):
        if value not in allowed:
            raise InputError(
                f"{name} must be one of {', '.join(map(str, allowed))}. Received: {value!r}"
            )
    check_exportable(model)
    folder = as_path(output_dir)
    if isinstance(folder, Path):
        folder = Path(os.path.abspath(folder))  # without "." and "..": its name is the model's
    description = describe(model)
    description["provenance"] = {
        **(provenance or {}),
        "precision": precision,
        **time_and_versions(),
    }
    with locked(folder.parent, "export"):  # models.config is there
        version = _checked_version(folder, version)
        read_models_config(folder.parent)  # a broken configuration is reported before the work
        if precision != "float32":
            model = model.in_precision(precision)
        joint = isinstance(model, JointSCNN)
        graph = StretchGraph(model) if joint else SegmentGraph(model, max_batch_size)
        _write_version(graph, json.dumps(description, indent=1), folder, version)
        write_server_files(folder, version, label)
    return folder / str(version)


def check_exportable(model: Localizer) -> None:
    """Checks that networks can be exported.

    Raises:
        InputError: They take features, or have weights that are not finite.
    """
    if model.info.recipe.takes_features:
        raise InputError(
            "expected networks of frames, which a server is sent. Received: a network of features"
        )
    joint = isinstance(model, JointSCNN)
    for network in [model.network] if joint else [model.proposal, model.localization]:
        if weight := not_finite(network):
            raise InputError(
                f"expected networks with finite weights. Received: NaN or infinity in {weight} of "
                f"{network.name}; train it again"
            )


def describe(model: Localizer) -> dict:
    """Returns what a client must know of a model: the answer of the signature `describe`."""
    info, shards, prior = model.info, model.info.recipe.shards, applied_prior(model)
    description = {
        "stage": info.stage,
        "class_names": list(info.class_names),
        "window_frames": list(shards.window_frames),
        "frame_rate": info.frame_rate,
        "frame_height": shards.frame_height,
        "frame_width": shards.frame_width,
        "proposal_threshold": model.inference.proposal_threshold,
        "nms_threshold": model.inference.nms_threshold,
        "takes_length": info.recipe.window_input,
        "window_prior": {
            "used": model.inference.window_prior,
            "class_names": list(prior.class_names),
            "window_frames": list(prior.window_frames),
            "counts": prior.counts.tolist(),
            "weights": prior.weights.tolist(),
        },
    }
    if isinstance(model, JointSCNN):  # the parts in which clients send a sequence
        description["part_windows"] = model.sequences.part_windows
        description["context_windows"] = model.sequences.context_windows
    return description


def read_provenance(model_dir: PathLike) -> dict:
    """Returns recipes, seeds, metrics and checksums of the networks of a folder.

    Raises:
        InputError: A file of a trained stage is missing.
    """
    stages = {}
    scorer = default_scorer(as_path(model_dir))
    for stage in (JOINT,) if scorer == JOINT else ("proposal", scorer):
        folder = as_path(model_dir) / stage
        stages[stage] = {
            **read_json(folder / MODEL_JSON),
            "metrics": read_metrics(folder),
            "weights_sha256": sha256(folder / WEIGHTS),
        }
    return {"stages": stages}


def time_and_versions() -> dict[str, str]:
    """Returns the time, UTC, and the versions of the libraries, for the provenance."""
    return {
        "exported": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "scnn_tf": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def _write_version(graph: ServingGraph, description: str, folder: AnyPath, version: int) -> None:
    local = isinstance(folder, Path)
    for left in folder.glob(f"{_PARTIAL}*") if local else ():  # by exports that were killed
        shutil.rmtree(left, ignore_errors=True)
    aside = (folder if local else Path(tempfile.mkdtemp())) / f"{_PARTIAL}{version}"
    try:
        aside.mkdir(parents=True)
        _archive(graph, description).write_out(aside, verbose=False)
        write_text(aside / "assets" / DESCRIPTION, description + "\n")
        write_warmup(aside, folder.name, graph)
        if local:
            place_folder(aside, folder / str(version))
        else:
            _upload(aside, folder / str(version))
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{folder / str(version)}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(aside if local else aside.parent, ignore_errors=True)


def _upload(source: Path, target: AnyPath) -> None:
    files = [path for path in source.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == "saved_model.pb"):
        copy_file(path, target / path.relative_to(source))


def _checked_version(folder: AnyPath, version: int | None) -> int:
    """Returns the version, or the next one, if it does not exist yet."""
    existing = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    if version is None:
        return max(existing, default=0) + 1
    if not 0 < version < 2**63:
        raise InputError(f"version must be in 1 … 2⁶³ − 1. Received: {version}")
    if version in existing:
        raise InputError(f"{folder / str(version)}: this version exists already; give another one")
    return version


def _archive(graph: ServingGraph, description: str) -> keras.export.ExportArchive:
    """Returns all signatures over one set of weights.

    An archive finds the variables of its endpoints by itself; variables that its `track` is given
    are stored a second time (Keras 3.15).
    """
    archive = keras.export.ExportArchive()
    for name, signature in graph.signatures().items():
        archive.add_endpoint(name, signature.function, signature.inputs)
    archive.add_endpoint("describe", lambda: {"description": tf.constant(description)}, [])
    return archive
