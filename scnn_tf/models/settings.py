"""Settings: frozen dataclasses that check their fields, and dicts of them, as JSON has them."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import get_args

from scnn_tf.errors import InputError

_LONGEST = 100  # characters of a value in the sentence of an error


class CheckedSettings:
    """Checks the fields of a frozen dataclass: first their types, then `_ranges`."""

    _where = ""  # begins the sentence of an error

    def __post_init__(self):
        wrong = [f.name for f in dataclasses.fields(self) if not _is_a(vars(self)[f.name], f.type)]
        wrong = wrong or [name for name, is_good in self._ranges().items() if not is_good]
        if wrong:
            raise InputError(f"{self._where}{wrong[0]} cannot be {shown(vars(self)[wrong[0]])}")

    def _ranges(self) -> dict[str, bool]:
        """Returns, for each field with a range, whether its value lies in it."""
        return {}


def _is_a(value: object, kind: type) -> bool:
    """Returns whether a value, perhaps from JSON, is of a field's type; numbers must be finite."""
    if parts := get_args(kind):  # tuple[int, ...]
        return isinstance(value, tuple) and all(_is_a(part, parts[0]) for part in value)
    if kind is float and type(value) in (float, int):
        return abs(value) <= sys.float_info.max  # false of NaN
    return type(value) is kind


def shown(value: object) -> str:
    """Returns a value for the sentence of an error, in which a long one is cut."""
    try:
        text = repr(value)
    except ValueError:  # Python formats no integer of more than 4,300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Returns "field was …, is …" for each field in which two dicts of settings differ."""
    found = []
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += [f"{key}.{each}" for each in differences(before, after)]
        elif before != after:
            found.append(f"{key} was {before}, is {after}")
    return found


def merged(base: dict, changes: dict) -> dict:
    """Returns `base` with the changes; a dict changes only the keys that it has."""
    both = base | changes
    for key in base.keys() & changes.keys():
        if isinstance(base[key], dict) and isinstance(changes[key], dict):
            both[key] = merged(base[key], changes[key])
    return both


def tuples(fields: Mapping[str, object]) -> dict:
    """Returns the fields with tuples for the lists that JSON has in their place."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
