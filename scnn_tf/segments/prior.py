"""The window-length prior (section 3.3): the frequency of each window length in each class."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    PathLike,
    as_path,
    csv_writer,
    quoted_formula,
    read_text,
    unquoted_formula,
    write_text,
)

WINDOW_PRIOR = "window_prior.csv"
"""Name of the prior's file in a folder of shards and next to each network trained on them."""


@dataclass(frozen=True, eq=False)
class WindowPrior:
    """Frequency of each window length among the training instances of each class.

    Attributes:
        class_names: K classes.
        window_frames: W window lengths, in frames.
        counts: int64 [K, W], number of training instances that count for a length.
        weights: float64 [K, W], factor of a score; every row sums to 1.
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
    frame_rate: float,
) -> WindowPrior:
    """Returns the prior of training instances, each counted for lengths from half to twice its own.

    Like the authors' code, it takes a window of w frames as (w − 1) / frame rate seconds long, from
    its first frame to its last. An instance counts for the window if it lasts at least half and at
    most twice as long, so that it counts for up to three lengths. On the validation videos of
    THUMOS'14 at 25 frames/s this gives the authors' counts, except for length 512, which they took
    as 22.44 s instead of 20.44 s. All lengths of a class without any count have the same weight.

    Args:
        labels: [N], class of each training instance.
        durations: [N], duration of each training instance, in seconds.
        class_names: K classes.
        window_frames: W window lengths, in frames.
        frame_rate: Frame rate at which windows are cut, in frames/s.

    Raises:
        InputError: A label is not in `class_names`.
    """
    class_names, window_frames = tuple(class_names), tuple(window_frames)
    unknown = sorted(set(labels) - set(class_names))
    if unknown:
        raise InputError(
            f"expected instances of the classes {', '.join(class_names)}. Received: "
            f"{', '.join(unknown)}"
        )
    rows = np.array([class_names.index(label) for label in labels], dtype=np.int64)
    seconds = np.asarray(durations, np.float64)[:, None]
    lengths = (np.array(window_frames) - 1) / frame_rate
    counts = np.zeros((len(class_names), len(window_frames)), np.int64)
    np.add.at(counts, rows, (lengths / 2 <= seconds) & (seconds <= lengths * 2))
    total = counts.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, counts / np.maximum(total, 1), 1 / len(window_frames))
    return WindowPrior(class_names, window_frames, counts, weights)


def read_prior(
    path: PathLike, class_names: Collection[str] = (), window_frames: Collection[int] = ()
) -> WindowPrior:
    """Reads a prior from CSV: columns class, and count_N and weight_N for each window length N.

    Other columns are ignored.

    Args:
        path: The file.
        class_names: Classes that the prior must have.
        window_frames: Window lengths that it must have, in frames.

    Raises:
        InputError: The file cannot be read or has another form, or lacks a class or a length.
    """
    path = as_path(path)
    text = read_text(path)
    try:
        reader = csv.DictReader(io.StringIO(text))
        header, rows = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise InputError(f"{path}: no valid CSV ({error})") from error
    lengths = [name.removeprefix("weight_") for name in header if name.startswith("weight_")]
    if "class" not in header or not lengths or {f"count_{w}" for w in lengths} - set(header):
        raise InputError(
            f"{path}: expected a window-length prior, columns class, and count_N and weight_N for "
            f"each window length N. Found: {', '.join(header) or 'none'}"
        )
    try:
        windows = tuple(int(w) for w in lengths)
        counts = np.array([[int(row[f"count_{w}"]) for w in lengths] for row in rows], np.int64)
        weights = np.array([[float(row[f"weight_{w}"]) for w in lengths] for row in rows])
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected numbers as counts and weights ({error})") from error
    names = tuple(unquoted_formula(row["class"] or "") for row in rows)
    if not rows or len(set(names)) < len(names):
        raise InputError(f"{path}: expected exactly one row for each class")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError(f"{path}: expected finite weights of at least 0")
    if set(class_names) - set(names) or set(window_frames) - set(windows):
        raise InputError(
            f"{path}: lacks classes or window lengths that belong to it; copy the prior of the "
            "dataset for which build_tfrecords wrote it"
        )
    return WindowPrior(names, windows, counts, weights)


def write_prior(path: PathLike, prior: WindowPrior) -> None:
    """Writes a prior as CSV with all digits: class_id (1 … K), class, count_16, …, weight_16, …."""
    text = io.StringIO()
    write_row = csv_writer(text)
    columns = [f"{kind}_{w}" for kind in ("count", "weight") for w in prior.window_frames]
    write_row(["class_id", "class", *columns])
    rows = zip(prior.class_names, prior.counts.tolist(), prior.weights.tolist(), strict=True)
    for number, (name, counts, weights) in enumerate(rows, start=1):
        write_row([number, quoted_formula(name), *counts, *weights])
    write_text(path, text.getvalue())
