"""Exports a trained S-CNN for devices: LiteRT or ONNX files that need no TensorFlow (docs/edge.md).

The folder of an export has the networks, `card.json`, which describes them, and `scnn_edge.py`,
which runs them.
"""

import importlib.util
import itertools
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, as_path, place_folder, sha256, write_text
from scnn_tf.localization.scnn import JointSCNN, Localizer
from scnn_tf.segments.stretches import num_samples
from scnn_tf.serving import edge_runtime
from scnn_tf.serving.edge_graph import EdgeNetwork, edge_networks
from scnn_tf.serving.export import check_exportable, describe, time_and_versions
from scnn_tf.serving.onnx import to_onnx
from scnn_tf.serving.standalone import standalone
from scnn_tf.serving.tflite import TFLITE_PRECISIONS, to_tflite
from scnn_tf.shards.files import Manifest, read_manifest, read_records
from scnn_tf.shards.frames import decode_frames

RUNTIME = "scnn_edge.py"
STRETCH_WINDOWS = 96
"""Default of the largest number of windows that a network is given at a time."""
PRECISIONS = {"tflite": TFLITE_PRECISIONS, "onnx": ("float32",)}
"""Format → precisions of its files."""
_PACKAGES = {"tflite": ("ai_edge_litert",), "onnx": ("tf2onnx", "onnxruntime")}
_STRETCHES = 24  # of the shards, by which int8 is calibrated and all precisions are checked


class Difference(NamedTuple):
    """How far the outputs of an exported network are from the trained one's.

    Attributes:
        mean: Mean of the absolute differences of all outputs, of the output where it is largest.
        largest: The largest one.
    """

    mean: float
    largest: float


TOLERANCES = {
    "float32": Difference(1e-5, 1e-3),
    "float16": Difference(2e-3, 5e-2),
    "int8": Difference(3e-2, 0.5),
}
"""Precision → differences up to which scores, and offsets in window lengths, count as equal."""


def export_edge(
    model: Localizer,
    output_dir: PathLike,
    *,
    format: str,
    precision: str = "float32",
    data_dir: PathLike | None = None,
    stretch_windows: int = STRETCH_WINDOWS,
    provenance: dict | None = None,
) -> Path:
    """Writes a model for devices, and checks that its outputs are those of the trained networks.

    Args:
        model: A trained S-CNN from `load_scnn`.
        output_dir: New folder of this machine. It appears when it is complete.
        format: "tflite" (LiteRT) or "onnx".
        precision: One of the format's `PRECISIONS`.
        data_dir: Shards, for "int8", whose feature maps get their ranges from them; all precisions
            are checked on them. None: they are checked on noise.
        stretch_windows: Largest number of windows that a joint network is given at a time: memory
            grows with it, and the share of windows that are computed twice falls.
        provenance: Where the networks come from, for the card; see `export.read_provenance`.

    Returns:
        The folder.

    Raises:
        InputError: The folder exists, a package is missing, an argument is out of its range, the
            networks or the shards cannot be used, or the outputs differ by more than `TOLERANCES`.

    Example:
        >>> model = scnn_tf.load_scnn("model")
        >>> export_edge(model, "edge/scnn", format="tflite", precision="float16").name
        'scnn'
    """
    check_exportable(model)
    folder = Path(os.path.abspath(output_dir))
    _check_arguments(folder, format, precision, data_dir)
    parts = _parts(model, stretch_windows)
    if data_dir:
        stretches = _shard_stretches(model, read_manifest(data_dir), parts["part_windows"])
    else:
        stretches = _noise(model, parts["part_windows"])
    aside = folder.with_name(f"partial.{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)  # by an export that was killed
    try:
        aside.mkdir(parents=True)
        networks = {
            network.name: _written(aside, network, format, precision, stretches)
            for network in edge_networks(model)
        }
        card = {**describe(model), **parts, "format": format, "precision": precision}
        card["networks"] = networks
        write_text(aside / edge_runtime.CARD, json.dumps(card))  # for the check
        card["difference"] = _checked_difference(model, aside, precision, stretches)._asdict()
        card["tolerance"] = TOLERANCES[precision]._asdict()
        card["checked_on"] = f"{len(stretches)} records of shards" if data_dir else "noise"
        card["provenance"] = {**(provenance or {}), **time_and_versions()}
        write_text(aside / edge_runtime.CARD, json.dumps(card, indent=1) + "\n")
        write_text(aside / RUNTIME, standalone(edge_runtime))
        place_folder(aside, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _check_arguments(folder: Path, format: str, precision: str, data_dir: PathLike | None) -> None:
    """Checks the arguments of an export.

    Raises:
        InputError: An argument is out of its range, the folder exists, or a package is missing.
    """
    if format not in PRECISIONS:
        raise InputError(f"format must be one of {', '.join(PRECISIONS)}. Received: {format!r}")
    if precision not in PRECISIONS[format]:
        raise InputError(
            f"precision of {format} must be one of {', '.join(PRECISIONS[format])}. Received: "
            f"{precision!r}"
        )
    if precision == "int8" and not data_dir:
        raise InputError(
            "int8 takes the ranges of its feature maps from real video; give shards, --data_dir"
        )
    if folder.exists():
        raise InputError(f"{folder}: exists already; choose another --output_dir")
    for package in _PACKAGES[format]:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"an export as {format} needs {package}, which is not installed; run pip install "
                "'scnn_tf[edge]'"
            )


def _parts(model: Localizer, stretch_windows: int) -> dict[str, int]:
    """Returns the sizes of the parts in which a sequence is run, for the card.

    Raises:
        InputError: A part would be too short to judge a window.
    """
    if not isinstance(model, JointSCNN) or model.sequences.part_windows == 1:
        return {"part_windows": 1, "context_windows": 0}
    context = model.sequences.context_windows
    if stretch_windows <= 2 * context:
        raise InputError(
            f"stretch_windows must be more than {2 * context}, since {context} windows on either "
            f"side decide on a window. Received: {stretch_windows}"
        )
    return {"part_windows": stretch_windows, "context_windows": context}


def _shard_stretches(
    model: Localizer, manifest: Manifest, part_windows: int
) -> list[dict[str, np.ndarray]]:
    """Returns inputs of the networks, from records that are spread over all shards.

    Raises:
        InputError: The shards have other frames than the networks take, or cannot be read.
    """
    recipe = model.info.recipe.shards
    height, width = recipe.frame_height, recipe.frame_width
    found = manifest.recipe.frame_height, manifest.recipe.frame_width
    if found != (height, width) or manifest.features:
        what = "features" if manifest.features else f"{found[0]} × {found[1]} pixels"
        raise InputError(
            f"{manifest.folder}: expected shards of frames of {height} × {width} pixels, which the "
            f"networks take. Found: {what}"
        )
    total = sum(shard["count"] for shard in manifest.shards)
    if not total:
        raise InputError(f"{manifest.folder}: expected shards with records. Found: none")
    step = max(1, total // _STRETCHES)
    files = [as_path(manifest.folder) / shard["file"] for shard in manifest.shards]
    every = itertools.chain.from_iterable(map(read_records, files))
    return [
        _inputs(
            model,
            decode_frames(tf.constant(record.images), height, width).numpy(),
            record.window_frames,
            part_windows,
        )
        for record in itertools.islice(every, 0, step * _STRETCHES, step)
    ]


def _noise(model: Localizer, part_windows: int) -> list[dict[str, np.ndarray]]:
    """Returns inputs of random pixels, one for each window length."""
    random, recipe = np.random.default_rng(0), model.info.recipe.shards
    shape = [num_samples(part_windows), recipe.frame_height, recipe.frame_width, 3]
    return [
        _inputs(model, random.integers(0, 256, shape, np.uint8), length, part_windows)
        for length in recipe.window_frames
    ]


def _inputs(
    model: Localizer, frames: np.ndarray, length: int, part_windows: int
) -> dict[str, np.ndarray]:
    """Returns the inputs of a network for a stretch, of at most as many windows as a part."""
    inputs = {"frames": frames[None, : num_samples(part_windows)]}
    if model.info.recipe.window_input:
        inputs["window_frames"] = np.full(1, length, np.int32)
    return inputs


def _written(
    folder: Path,
    network: EdgeNetwork,
    format: str,
    precision: str,
    stretches: Sequence[dict[str, np.ndarray]],
) -> dict:
    """Writes a network's file, and returns its entry in the card."""
    if format == "onnx":
        content = to_onnx(network)
    else:
        content = to_tflite(network, precision, stretches)
    path = folder / f"{network.name}.{format}"
    path.write_bytes(content)
    return {"file": path.name, "bytes": len(content), "sha256": sha256(path)}


def _checked_difference(
    model: Localizer, folder: Path, precision: str, stretches: Sequence[dict[str, np.ndarray]]
) -> Difference:
    """Returns how far the outputs of exported networks are from those of the trained ones.

    Raises:
        InputError: They are too far.
    """
    exported = edge_runtime.load(folder).networks
    differences = defaultdict(list)  # of all outputs of the same name
    for network in edge_networks(model, pictures=False):
        for stretch in stretches:
            found = exported[network.name](stretch)
            for name, expected in network.score(**stretch).items():
                differences[name].append(np.abs(found[name] - expected.numpy()).ravel())
    columns = [np.concatenate(column) for column in differences.values()]
    found = Difference(
        mean=max(float(column.mean()) for column in columns),
        largest=max(float(column.max()) for column in columns),
    )
    allowed = TOLERANCES[precision]
    if not (found.mean <= allowed.mean and found.largest <= allowed.largest):
        raise InputError(
            f"expected outputs of the {precision} networks that differ from those of the trained "
            f"ones by at most {allowed.mean} in the mean and {allowed.largest} anywhere. Found: "
            f"{found.mean:.2g} and {found.largest:.2g}; choose another precision"
        )
    return found
