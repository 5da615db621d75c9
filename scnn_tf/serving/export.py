"""Trained networks to what TensorFlow Serving mounts (README, "Serve it")."""

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
from scnn_tf.io.files import AnyPath, as_path, copy_file, read_text, sha256, write_text
from scnn_tf.localization.scnn import SCNN
from scnn_tf.models.checkpoints import MODEL_JSON, WEIGHTS, read_metrics
from scnn_tf.serving.graph import BATCH_SIZES, ServingGraph
from scnn_tf.serving.server_files import read_models_config, write_server_files, write_warmup

DESCRIPTION = "scnn.json"  # in assets/
PRECISIONS = ("float32", "bfloat16")


def export(
    networks: SCNN,
    output_dir: str | os.PathLike,
    version: int | None = None,
    label: str = "stable",
    precision: str = "float32",
    nms_threshold: float = 0.4,
    max_batch_size: int = BATCH_SIZES[-1],
    provenance: dict | None = None,
) -> AnyPath:
    """Writes a version of a model, and the server's configuration beside the model.

    The version is written aside and renamed when it is whole: a server that watches the folder
    never sees half of it. Behind a URL nothing can be renamed: what makes a folder a model,
    `saved_model.pb`, is written last.

    Args:
        networks: both, of `localization.scnn.load_scnn`.
        output_dir: folder of the model, such as `saved_models/scnn`, here or behind a URL; its
            name is the model's.
        version: positive; None: one more than the highest that is there.
        label: "stable" or "canary": what requests call this version from now on.
        precision: "float32", or "bfloat16": half the size, and faster where the hardware computes
            in it.
        nms_threshold: tIoU of the signature `localize`.
        max_batch_size: segments that are scored at a time, one of `BATCH_SIZES`; 1: requests are
            never merged.
        provenance: what there is to say of where the networks come from; `read_provenance`.

    Returns:
        The folder of the version.

    Raises:
        InputError: a version that is there already, or a bad value.
    """
    if not str(output_dir).strip():
        raise InputError("give the folder of the model, such as saved_models/scnn")
    folder = as_path(output_dir)
    if isinstance(folder, Path):
        folder = Path(os.path.abspath(folder))  # its name is the model's: no "." and no ".."
    version = _checked_version(folder, version)
    read_models_config(folder.parent)  # a broken one is better known before the work
    for name, value, allowed in (
        ("precision", precision, PRECISIONS),
        ("max_batch_size", max_batch_size, BATCH_SIZES),
        ("label", label, ("stable", "canary")),
    ):
        if value not in allowed:
            raise InputError(
                f"{name} must be one of {', '.join(map(str, allowed))}. Received: {value!r}"
            )
    if precision != "float32":
        networks = networks.in_precision(precision)
    graph = ServingGraph(networks, nms_threshold, max_batch_size)
    description = describe(networks, nms_threshold)
    description["provenance"] = {
        **(provenance or {}),
        "precision": precision,
        "exported": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "scnn_tf": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
    text = json.dumps(description, indent=1)

    local = isinstance(folder, Path)
    aside = (folder if local else Path(tempfile.mkdtemp())) / f"partial.{version}.{os.getpid()}"
    try:
        aside.mkdir(parents=True)
        _archive(graph, text).write_out(aside, verbose=False)
        write_text(aside / "assets" / DESCRIPTION, text + "\n")
        write_warmup(aside, folder.name, graph)
        if local:
            aside.rename(folder / str(version))
        else:
            _upload(aside, folder / str(version))
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{folder / str(version)}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(aside if local else aside.parent, ignore_errors=True)
    write_server_files(folder, version, label)
    return folder / str(version)


def describe(networks: SCNN, nms_threshold: float) -> dict:
    """What a client must know of a model: the answer of its signature `describe`."""
    info, prior = networks.info, networks.prior
    return {
        "class_names": list(info.class_names),
        "window_frames": list(info.recipe.shards.window_frames),
        "frame_rate": info.frame_rate,
        "frame_height": info.recipe.shards.frame_height,
        "frame_width": info.recipe.shards.frame_width,
        "proposal_threshold": networks.inference.proposal_threshold,
        "nms_threshold": nms_threshold,
        "takes_length": info.recipe.window_input,
        "window_prior": {
            "class_names": list(prior.class_names),
            "window_frames": list(prior.window_frames),
            "counts": prior.counts.tolist(),
            "weights": prior.weights.tolist(),
        },
    }


def read_provenance(model_dir: str | os.PathLike) -> dict:
    """How the networks of a folder came about: recipes, seeds, metrics, checksums.

    Raises:
        InputError: the folder lacks them.
    """
    stages = {}
    for stage in ("proposal", "localization"):
        folder = as_path(model_dir) / stage
        stages[stage] = {
            **json.loads(read_text(folder / MODEL_JSON)),
            "metrics": read_metrics(folder),
            "weights_sha256": sha256(folder / WEIGHTS),
        }
    return {"stages": stages}


def _upload(source: Path, target: AnyPath) -> None:
    files = [path for path in source.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == "saved_model.pb"):
        copy_file(path, target / path.relative_to(source))


def _checked_version(folder: AnyPath, version: int | None) -> int:
    there = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    if version is None:
        return max(there, default=0) + 1
    if not 0 < version < 2**63:
        raise InputError(f"a version lies in 1 … 2⁶³ − 1. Received: {version}")
    if version in there:
        raise InputError(f"{folder / str(version)}: this version is there already; take another")
    return version


def _archive(graph: ServingGraph, description: str) -> keras.export.ExportArchive:
    """All signatures over one set of weights.

    An archive finds the variables of its endpoints by itself. What is given to its `track` is
    stored a second time.
    """
    archive = keras.export.ExportArchive()
    for name, signature in graph.signatures().items():
        archive.add_endpoint(name, signature.function, signature.inputs)
    archive.add_endpoint("describe", lambda: {"description": tf.constant(description)}, [])
    return archive
