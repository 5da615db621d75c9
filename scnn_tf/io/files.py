"""Where files are, here or behind a URL, and small ones of text, read and written whole."""

import contextlib
import csv
import gzip
import io
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Union

from scnn_tf.errors import InputError

if TYPE_CHECKING:
    from scnn_tf.io.remote import RemotePath
AnyPath = Union[Path, "RemotePath"]


def as_path(location: str | os.PathLike) -> AnyPath:
    """A file or folder of this machine, or behind a URL: `s3://bucket/name`, `http://host/name`.

    Raises:
        InputError: there is no file system for the URL.
    """
    text = os.fspath(location)
    if "://" not in text:
        return Path(location)
    from scnn_tf.io.http_path import HttpPath  # TensorFlow is needed for URLs only
    from scnn_tf.io.remote import RemotePath

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
    """The text of a file, unpacked if it ends in `.gz`, without the mark that Windows puts first.

    Raises:
        InputError: it cannot be read.
    """
    path = as_path(path)
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from error


def read_json(
    path: str | os.PathLike,
    object_pairs_hook: Callable[[list[tuple[str, object]]], object] | None = None,
) -> object:
    """What a JSON file holds; an integer beyond all floats is infinite.

    Args:
        path: the file.
        object_pairs_hook: as of `json.loads`; what it raises is passed on.

    Raises:
        InputError: it cannot be read, or is no JSON, or has text that no file can hold.
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=object_pairs_hook, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: no valid JSON, line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise InputError(f"{path}: its JSON is nested too deeply") from error
    if "\\ud" in text.lower():  # an escape may be half a character, which cannot be written
        try:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise InputError(f"{path}: {half!r} in it is no character; correct it") from error
    return content


def csv_rows(
    path: str | os.PathLike, text: str, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file's text, each with the number of the line that it ends on.

    Raises:
        InputError: the file is no CSV.
    """
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    number = 0
    try:
        for row in reader:
            number = reader.line_num
            yield number, row
    except csv.Error as error:  # such as a quote that nothing closes
        raise InputError(f"{path}: no valid CSV after line {number} ({error})") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 300 else float(digits)


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
    """Writes a file as `write_text` does; what is a device or a pipe stays one.

    Raises:
        InputError: it cannot be written.
    """
    path = as_path(path)
    try:
        if not isinstance(path, Path):
            path.write_bytes(data)
            return
        if _is_device(path):
            with path.open("ab") as file:  # /dev/stdout may be a file that others write to
                file.write(data)
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


def _is_device(path: Path) -> bool:
    """Whether something other than a file would be lost if a file took its place."""
    return path.exists() and (path.parent == Path("/dev") or not (path.is_file() or path.is_dir()))


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
