"""Small text files, read and written whole."""

import contextlib
import gzip
import os
import zlib
from pathlib import Path

from scnn_tf.errors import InputError


def read_text(path: str | Path) -> str:
    """The text of a file, unpacked if it ends in `.gz`.

    Raises:
        InputError: it cannot be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error


def write_text(path: str | Path, text: str) -> None:
    """Writes a file, packed if it ends in `.gz`; missing folders are made.

    It is written aside and renamed: who reads meanwhile, or after a crash, sees the old file or
    the whole new one.

    Raises:
        InputError: it cannot be written.
    """
    path = Path(path)
    data = text.encode("utf-8")
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # the same content gives the same bytes
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
