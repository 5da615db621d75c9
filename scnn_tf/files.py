"""Where files are, here or behind a URL, and small ones of text, read and written whole."""

import contextlib
import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Union

from scnn_tf.errors import InputError

if TYPE_CHECKING:
    from scnn_tf.remote import RemotePath

AnyPath = Union[Path, "RemotePath"]


def as_path(location: str | os.PathLike) -> AnyPath:
    """A file or folder of this machine, or behind a URL: `s3://bucket/name`, `http://host/name`.

    Raises:
        InputError: there is no file system for the URL.
    """
    text = os.fspath(location)
    if "://" not in text:
        return Path(location)
    from scnn_tf.http_path import HttpPath  # TensorFlow is needed for URLs only
    from scnn_tf.remote import RemotePath

    return (HttpPath if text.lower().startswith("http") else RemotePath)(text)


def size_of(path: AnyPath) -> int:
    """Bytes of a file.

    Raises:
        OSError: it cannot be told.
    """
    return path.stat().st_size if isinstance(path, Path) else path.size()


def remove_tree(path: AnyPath) -> None:
    """Removes a folder and all in it, if it is there."""
    if isinstance(path, Path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.rmtree()


def copy_file(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies a file of any size, from or to a URL; it appears only when it is whole.

    Raises:
        OSError: it cannot be read, or not be written.
    """
    source, target = as_path(source), as_path(target)
    with source.open("rb") as reader:
        if not isinstance(target, Path):
            target.write_from(reader)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with aside.open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 22)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, unpacked if it ends in `.gz`.

    Raises:
        InputError: it cannot be read.
    """
    path = as_path(path)
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file, packed if it ends in `.gz`; missing folders are made.

    It is written aside and renamed: who reads meanwhile, or after a crash, sees the old file or
    the whole new one.

    Raises:
        InputError: it cannot be written.
    """
    data = text.encode("utf-8")
    if os.fspath(path).endswith(".gz"):
        data = gzip.compress(data, mtime=0)  # the same content gives the same bytes
    write_bytes(path, data)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file as `write_text` does.

    Raises:
        InputError: it cannot be written.
    """
    path = as_path(path)
    try:
        if not isinstance(path, Path):
            path.write_bytes(data)
            return
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(data)
            aside.replace(path)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Writes a text of any length, line by line, as `write_text` does; nothing of it is held.

    Raises:
        InputError: it cannot be written.
    """
    path = as_path(path)
    if not isinstance(path, Path):  # a store would show what there is of it when `lines` raises
        with tempfile.TemporaryDirectory() as folder:
            write_lines(Path(folder) / path.name, lines)
            copy_file(Path(folder) / path.name, path)
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(aside.open("wb"))
            if path.suffix == ".gz":  # without name and time: the same content, the same bytes
                file = opened.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
            file.writelines(line.encode("utf-8") for line in lines)
        aside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
