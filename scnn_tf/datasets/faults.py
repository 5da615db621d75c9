"""Rows of annotation files that cannot be used: each costs itself, not its file."""

import contextlib
import math
import reprlib
from collections.abc import Mapping

from absl import logging

from scnn_tf.datasets.annotations import Instance, VideoAnnotation, in_subset
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_number

_SHOWN = 5  # unreadable rows that a warning lists


class Faults:
    """Sentences about the rows of a file that cannot be read, or that training cannot use.

    Args:
        path: The file or folder.

    Attributes:
        unreadable: A sentence for each row that is left out, with its place and the reason.
    """

    def __init__(self, path: AnyPath):
        self.unreadable: list[str] = []
        self._path = path
        self._instances: list[str] = []
        self._numbers: list[str] = []

    def check(self, where: str, instance: Instance, trimmed: bool = False) -> None:
        """Notes an instance without a length, or before the start."""
        if not instance.is_usable(trimmed):
            self._instances.append(
                f"{where} ({instance.label}): must start at 0 or later and end after its start. "
                f"Received: {instance.start:g} to {instance.end:g} s"
            )

    def positive(self, where: str, name: str, value: object) -> float | None:
        """Returns a positive number, or None, noted unless the file has none."""
        if value is None:
            return None
        with contextlib.suppress(ValueError):
            if 0 < (number := as_number(value)) < math.inf:
                return number if isinstance(value, str) else value
        self._numbers.append(f"{where}: {name} must be above 0. Received: {reprlib.repr(value)}")
        return None

    def report(self, strict: bool, nothing_else: bool) -> None:
        """Logs the rows that were noted: all unreadable ones counted, the first ones quoted.

        Args:
            strict: Whether any such row is an error.
            nothing_else: Whether an unreadable row is an error, because nothing could be read.

        Raises:
            InputError: There is such a row.
        """
        noted = self.unreadable + self._instances + self._numbers
        if noted and (strict or (nothing_else and self.unreadable)):
            raise InputError(f"{self._path}: {noted[0]}; correct or remove it")
        if self.unreadable:
            more = len(self.unreadable) - _SHOWN
            logging.warning(
                "%s: left out %d row(s) that cannot be read: %s%s",
                self._path,
                len(self.unreadable),
                "; ".join(self.unreadable[:_SHOWN]),
                f"; and {more} more" if more > 0 else "",
            )
        if self._instances:
            logging.warning(
                "%s: %d instance(s) have no length or start before 0; evaluation counts them, and "
                "finds none without a length, training leaves them out; the first: %s",
                self._path,
                len(self._instances),
                self._instances[0],
            )
        if self._numbers:
            logging.warning(
                "%s: %d duration(s) or frame rate(s) count as unknown; the first: %s",
                self._path,
                len(self._numbers),
                self._numbers[0],
            )


def in_subset_of(
    path: AnyPath, videos: Mapping[str, VideoAnnotation], subset: str | None
) -> dict[str, VideoAnnotation]:
    """Returns the videos of a subset, like `in_subset`; its error names the file."""
    try:
        return in_subset(videos, subset)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def no_action(path: AnyPath, subset: str | None, found: str) -> InputError:
    """Returns the error about a file or folder without any action in a subset."""
    where = "" if subset is None else f" in its subset {subset!r}"
    return InputError(f"{path}: expected at least one action{where}. Found: {found}")
