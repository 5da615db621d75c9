"""Tables of scored segments and of detections.

A table is a handful of NumPy columns of equal length. Row order is kept everywhere, because it
decides between equal scores.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple, TypeVar

import numpy as np

from scnn_tf.io.files import CONTROL_ESCAPES


class Table:
    """Columns of equal length, converted to arrays of the declared kind."""

    def __post_init__(self):
        for f in fields(self):
            column = np.asarray(getattr(self, f.name)).astype(f.metadata["dtype"], copy=False)
            object.__setattr__(self, f.name, column)
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"expected columns of equal length. Received: {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self: "TableT", rows: np.ndarray | Sequence | slice) -> "TableT":
        """Returns the rows of an index or a mask as a new table."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def rows(self) -> Iterator[tuple]:
        """Yields the rows as tuples of Python values, in the order of the columns."""
        return zip(*(getattr(self, f.name).tolist() for f in fields(self)), strict=True)


TableT = TypeVar("TableT", bound=Table)


def column(dtype: type, default=dataclasses.MISSING):
    """Returns the field of a table's column, which is converted to a type."""
    return field(default=default, metadata={"dtype": dtype})


@dataclass(frozen=True, eq=False)
class RawSegments(Table):
    """Scored candidate windows, before post-processing.

    Attributes:
        video: str [N], video ids.
        window_frames: int [N], length of the window in frames: 16, 32, …, 512.
        start: float64 [N], start of the window, in seconds.
        end: float64 [N], end of the window, in seconds.
        label: str [N], the class of the highest score, or `BACKGROUND`; of a joint network, the
            latter only without its proposal scores.
        score: float64 [N], that score, without the prior.
        action_start: float64 [N], start of the action in the window, in seconds; None: of networks
            that give no boundaries, that of the window.
        action_end: float64 [N], end of the action, likewise.

    Example:
        >>> model = scnn_tf.load_scnn("model")
        >>> segments = model.score_video("video.mp4", video_id="video")
        >>> found = model.detections(segments)
    """

    video: np.ndarray = column(str)
    window_frames: np.ndarray = column(np.int64)
    start: np.ndarray = column(np.float64)
    end: np.ndarray = column(np.float64)
    label: np.ndarray = column(str)
    score: np.ndarray = column(np.float64)
    action_start: np.ndarray | None = column(np.float64, None)
    action_end: np.ndarray | None = column(np.float64, None)

    def __post_init__(self):
        if self.action_start is None or self.action_end is None:
            object.__setattr__(self, "action_start", self.start)
            object.__setattr__(self, "action_end", self.end)
        super().__post_init__()

    @property
    def is_regressed(self) -> np.ndarray:
        """Whether the action has boundaries other than its window's, bool [N]."""
        return (self.action_start != self.start) | (self.action_end != self.end)


class Detection(NamedTuple):
    """A detected action: one row of `Detections`.

    Attributes:
        video: id of the video.
        label: Class.
        start: Seconds.
        end: Seconds.
        score: Only the order of scores matters.
    """

    video: str
    label: str
    start: float
    end: float
    score: float

    def __str__(self) -> str:
        label = self.label.translate(CONTROL_ESCAPES)
        return f"{label}  {self.start:.1f} – {self.end:.1f} s  ({self.score:.2f})"


@dataclass(frozen=True, eq=False)
class Detections(Table):
    """Detected actions, which can be iterated row by row and printed as a table.

    Attributes:
        video: str [N], video ids.
        start: float64 [N], seconds.
        end: float64 [N], seconds.
        label: str [N], classes.
        score: float64 [N], only the order of scores matters.

    Files of other systems have rows that end before they start, or whose score is NaN. They are
    kept, since the challenges count them: as false detections.

    Example:
        >>> found = scnn_tf.Detections(["tour"], [12.4], [15.0], ["walk"], [0.87])
        >>> for detection in found:
        ...     print(detection)
        walk  12.4 – 15.0 s  (0.87)
        >>> print(found)
        0.870     12.40 –    15.00 s  walk  tour
    """

    video: np.ndarray = column(str)
    start: np.ndarray = column(np.float64)
    end: np.ndarray = column(np.float64)
    label: np.ndarray = column(str)
    score: np.ndarray = column(np.float64)

    @property
    def usable(self) -> np.ndarray:
        """Which rows are intervals with a score, bool [N]; the others find nothing."""
        finite = np.isfinite(self.start) & np.isfinite(self.end)
        return finite & (self.start < self.end) & ~np.isnan(self.score)

    def spans(self) -> np.ndarray:
        """Returns start and end of each row, float64 [N, 2], NaN where it is not `usable`."""
        spans = np.stack([self.start, self.end], axis=1)
        return np.where(self.usable[:, None], spans, np.nan)

    def __iter__(self) -> Iterator[Detection]:
        for video, start, end, label, score in self.rows():
            yield Detection(video, label, start, end, score)

    def table(self, max_rows: int | None = 50) -> str:
        """Formats the detections as aligned text: score, start and end, class, video.

        Args:
            max_rows: How many rows are shown, from the first; None: all of them.

        Returns:
            A line for each row, and one that counts the rows that are not shown.
        """
        shown = self.take(slice(max_rows))
        width = max(map(len, shown.label.tolist()), default=0)
        lines = [
            f"{score:.3f}  {start:8.2f} – {end:8.2f} s  {label:{width}}  {video}".translate(
                CONTROL_ESCAPES
            )
            for video, label, start, end, score in shown
        ]
        if len(shown) < len(self):
            lines.append(f"… and {len(self) - len(shown)} more")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def concatenate(tables: Sequence[TableT]) -> TableT:
    """Returns one table of all rows, in order.

    Args:
        tables: At least one, all of the same kind.
    """
    kind = type(tables[0])
    names = [f.name for f in fields(kind)]
    return kind(**{n: np.concatenate([getattr(t, n) for t in tables]) for n in names})
