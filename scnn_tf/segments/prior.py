"""The window-length prior (section 3.3): which lengths the instances of each class have."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, read_text, write_text

WINDOW_PRIOR = "window_prior.csv"
"""Name of the file in a data set, and beside each network that was trained on it."""


@dataclass(frozen=True, eq=False)
class WindowPrior:
    """How frequent each window length is in the training instances of each class.

    Attributes:
        class_names: the K classes.
        window_frames: the W lengths of windows, frames.
        counts: int64 [K, W], training instances that count for a length.
        weights: float64 [K, W], what a score is multiplied with; every row sums to 1.
    """

    class_names: tuple[str, ...]
    window_frames: tuple[int, ...]
    counts: np.ndarray
    weights: np.ndarray


def window_prior(
    labels: Sequence[str],
    durations: Sequence[float],
    class_names: Sequence[str],
    window_frames: Sequence[int],
    fps: float,
) -> WindowPrior:
    """Counts training instances: each for all lengths from half to twice its own.

    As the authors did, a window of w frames is (w − 1)/fps seconds long, from its first frame
    to its last, and an instance counts for it if it lasts at least half and at most twice as
    long; so for up to three lengths, or none. On the validation videos of THUMOS'14 at 25 fps
    this gives the authors' counts (but for length 512, where they had 22.44 s for 20.44). A
    class without any count says nothing about its lengths: all get the same weight.

    Args:
        labels: [N], the class of each training instance.
        durations: [N], seconds.
        class_names: the K classes.
        window_frames: the W lengths of windows, frames.
        fps: frames a second at which windows are cut.

    Raises:
        InputError: a label is none of the classes.
    """
    class_names, window_frames = tuple(class_names), tuple(window_frames)
    unknown = sorted(set(labels) - set(class_names))
    if unknown:
        raise InputError(f"the window-length prior knows no class {', '.join(unknown)}")
    rows = np.array([class_names.index(label) for label in labels], dtype=np.int64)
    seconds = np.asarray(durations, np.float64)[:, None]
    lengths = (np.array(window_frames) - 1) / fps
    counts = np.zeros((len(class_names), len(window_frames)), np.int64)
    np.add.at(counts, rows, (lengths / 2 <= seconds) & (seconds <= lengths * 2))
    total = counts.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, counts / np.maximum(total, 1), 1 / len(window_frames))
    return WindowPrior(class_names, window_frames, counts, weights)


def read_prior(path: str | os.PathLike) -> WindowPrior:
    """Reads CSV: class, then count_N and weight_N for each window length N; more may be there.

    Raises:
        InputError: no such file, or not of that form.
    """
    path = as_path(path)
    reader = csv.DictReader(io.StringIO(read_text(path)))
    header = reader.fieldnames or []
    lengths = [name.removeprefix("weight_") for name in header if name.startswith("weight_")]
    if "class" not in header or not lengths or {f"count_{w}" for w in lengths} - set(header):
        raise InputError(
            f"{path}: no window-length prior; its columns must be class, and count_N and "
            "weight_N for each window length N"
        )
    rows = list(reader)
    try:
        windows = tuple(int(w) for w in lengths)
        counts = np.array([[int(row[f"count_{w}"]) for w in lengths] for row in rows])
        weights = np.array([[float(row[f"weight_{w}"]) for w in lengths] for row in rows])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a count or weight is no number ({error})") from error
    names = tuple(row["class"] for row in rows)
    if not rows or len(set(names)) < len(names):
        raise InputError(f"{path}: it must have one line for each class")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError(f"{path}: a weight is negative or not finite")
    return WindowPrior(names, windows, counts, weights)


def write_prior(path: str | os.PathLike, prior: WindowPrior) -> None:
    """Writes CSV: class_id (1 … K), class, count_16, …, weight_16, …, with all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{kind}_{w}" for kind in ("count", "weight") for w in prior.window_frames]
    writer.writerow(["class_id", "class", *columns])
    rows = zip(prior.class_names, prior.counts.tolist(), prior.weights.tolist(), strict=True)
    for number, (name, counts, weights) in enumerate(rows, start=1):
        writer.writerow([number, name, *counts, *weights])
    write_text(path, text.getvalue())
