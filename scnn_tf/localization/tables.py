"""Tables of scored segments and of detections.

A table is a handful of NumPy columns of equal length; row order is kept everywhere, because it
decides between equal scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar

import numpy as np


class _Table:
    """Columns of equal length, converted to arrays of the declared kind."""

    def __post_init__(self):
        for f in fields(self):
            column = np.asarray(getattr(self, f.name)).astype(f.metadata["dtype"], copy=False)
            object.__setattr__(self, f.name, column)
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must be of equal length. Received: {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self: "TableT", rows: np.ndarray) -> "TableT":
        """The rows of an index or a mask, as a new table."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


TableT = TypeVar("TableT", bound=_Table)


def _column(dtype: type):
    return field(metadata={"dtype": dtype})


@dataclass(frozen=True, eq=False)
class RawSegments(_Table):
    """What the networks say of every candidate window, before post-processing.

    Attributes:
        video: str [N], video ids.
        window_frames: int [N], length of the window in frames: 16, 32, …, 512.
        start: float64 [N], seconds.
        end: float64 [N], seconds.
        label: str [N], the class of the highest score, or `BACKGROUND`.
        score: float64 [N], that score, without the prior.
    """

    video: np.ndarray = _column(str)
    window_frames: np.ndarray = _column(np.int64)
    start: np.ndarray = _column(np.float64)
    end: np.ndarray = _column(np.float64)
    label: np.ndarray = _column(str)
    score: np.ndarray = _column(np.float64)


@dataclass(frozen=True, eq=False)
class Detections(_Table):
    """Found actions.

    Attributes:
        video: str [N], video ids.
        start: float64 [N], seconds.
        end: float64 [N], seconds.
        label: str [N], classes.
        score: float64 [N], only their order matters.
    """

    video: np.ndarray = _column(str)
    start: np.ndarray = _column(np.float64)
    end: np.ndarray = _column(np.float64)
    label: np.ndarray = _column(str)
    score: np.ndarray = _column(np.float64)


def concatenate(tables: Sequence[TableT]) -> TableT:
    """One table of all rows, in order. `tables` holds at least one, all of the same kind."""
    kind = type(tables[0])
    names = [f.name for f in fields(kind)]
    return kind(**{n: np.concatenate([getattr(t, n) for t in tables]) for n in names})
