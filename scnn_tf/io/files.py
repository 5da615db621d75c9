"""Files of this machine or behind a URL: paths, atomic writes, checksums, text, JSON and CSV."""

import codecs
import contextlib
import csv
import errno
import gzip
import hashlib
import io
import json
import os
import posixpath
import re
import reprlib
import shutil
import tempfile
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from scnn_tf.errors import InputError
from scnn_tf.io.remote import CHUNK, RemotePath

PathLike = str | os.PathLike[str]  # What public functions take: a path or a URL.
AnyPath = Path | RemotePath  # What `as_path` makes of it.
_WEB = ("http://", "https://")
PARTIAL = ".partial"
"""Ending of the hidden file that `atomic_write` writes; a killed process leaves it."""
_LONG_NAME = 200  # bytes of a name; most file systems allow 255.
_ENDS = 1 << 20  # Bytes of a file's head and of its tail that `file_identity` reads.
_TEXT_BYTES = 64 << 20  # Of a decompressed text; larger ones may be
_TEXT_RATIO = 100  # times as large as the compressed file, which no table or JSON is.
_LEVELS = 100  # of a JSON file's nesting; Python fails at some number near 1,000.
# Errors of file systems that cannot flush a folder, or do not let this user open it.
_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
# Text that a spreadsheet takes for a formula, perhaps behind apostrophes. A name such as `-x1_Y`,
# which YouTube gives to videos, is none that could do harm.
_FORMULA = re.compile(r"'*(?:[=+@\t\r\n]|-.*[^\w.-])", re.DOTALL)

CONTROL_ESCAPES = {
    code: chr(code).encode("unicode_escape").decode() for code in (*range(32), *range(127, 160))
}
"""Table for `str.translate`: each control character → its escape, such as `\\n`."""


def is_local(location: PathLike) -> bool:
    """Returns whether a location is a path of this machine, not a URL."""
    return "://" not in os.fspath(location)


def file_name(location: PathLike) -> str:
    """Returns the last part of a path or URL, of a URL without the query that may follow it.

    Raises:
        InputError: The URL is invalid.
    """
    text = os.fspath(location)
    return os.path.basename(text if is_local(text) else _split(text).path)


def path_parts(location: PathLike) -> tuple[str, ...]:
    """Returns the parts of an absolute path, or of a URL from its server on, without its query.

    Raises:
        InputError: The URL is invalid.
    """
    text = os.fspath(location)
    if is_local(text):
        return Path(os.path.abspath(text)).parts[1:]
    url = _split(text)
    return (url.netloc, *filter(None, url.path.split("/")))


def absolute(location: PathLike) -> str:
    """Returns the absolute path of a local file, or a URL without the query that may follow it.

    The query of a URL may be a signature, which is another one each time.

    Raises:
        InputError: The URL is invalid.
    """
    text = os.fspath(location)
    if is_local(text):
        return os.path.abspath(text)
    return _split(text)._replace(query="", fragment="").geturl()


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as error:
        raise InputError(f"{url}: expected a valid URL ({error})") from error


def relative_url(path: PathLike, page: PathLike) -> str | None:
    """Returns the URL by which an HTML page can name a file, relative where it can be.

    Args:
        path: The file.
        page: Where the page will be.

    Returns:
        None for a file that a browser cannot reach from the page: one of them is in a store, or on
        this machine, and the other is not.
    """
    path, page = os.fspath(path), os.fspath(page)
    if path.lower().startswith(_WEB):
        return path
    if is_local(path) and is_local(page):
        folder = Path(page).absolute().parent
        relative = Path(os.path.relpath(Path(path).absolute(), folder)).as_posix()
    else:
        ours, theirs = _split(page), _split(path)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            return None
        relative = posixpath.relpath(theirs.path, posixpath.dirname(ours.path))
    return "./" + urllib.parse.quote(relative)  # With ./ no name can be taken for a scheme.


def as_path(location: PathLike) -> AnyPath:
    """Returns the path object of a file or folder, local or behind a URL.

    Args:
        location: A local path, or a URL such as `s3://bucket/name` or `http://host/name`.

    Raises:
        InputError: The URL is invalid, or no file system is available for it.
    """
    if is_local(location):
        return Path(location)
    url = os.fspath(location)
    _split(url)
    if url.lower().startswith(_WEB):
        from scnn_tf.io.web import HttpPath

        return HttpPath(url)
    from scnn_tf.io.stores import StorePath  # Loads TensorFlow, which other paths do not need.

    return StorePath(url)


def size_of(path: AnyPath) -> int:
    """Returns the size of a file, in bytes.

    Raises:
        OSError: The file is missing or its size is unknown.
    """
    return path.stat().st_size


def sha256(path: PathLike) -> str:
    """Returns the SHA-256 checksum of a file of any size, as 64 hexadecimal digits.

    Raises:
        InputError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with as_path(path).open("rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def json_checksum(content: object) -> str:
    """Returns a checksum of a value that JSON can hold: 64 hexadecimal digits.

    It stays the same when the value is written as JSON and read back.
    """
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def signed(fields: Mapping[str, object]) -> dict[str, object]:
    """Returns fields for a JSON file with their checksum, the last one."""
    return {**fields, "checksum": json_checksum(fields)}


def unsigned(fields: Mapping[str, object]) -> dict[str, object]:
    """Returns the fields that `signed` was given; earlier versions wrote no checksum.

    Raises:
        ValueError: They were changed or damaged since.
    """
    content = {key: value for key, value in fields.items() if key != "checksum"}
    if fields.get("checksum") not in (None, json_checksum(content)):
        raise ValueError("values that were changed or damaged")
    return content


def encodable(text: str) -> str:
    """Returns a text in which the bytes of a file's name that are no UTF-8 are escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def file_identity(path: PathLike) -> dict[str, int | str | None]:
    """Returns the size, the time and a checksum of the ends of a file, to recognize the file by.

    Returns:
        As JSON can hold it: "size", in bytes; "mtime", time of the last change in nanoseconds, None
        behind a URL; "ends", the SHA-256 checksum of the first and the last mebibyte.

    Raises:
        InputError: The file cannot be read.
    """
    path = as_path(path)
    try:
        status = path.stat()
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(min(_ENDS, status.st_size)))
            if status.st_size > _ENDS:  # behind its end, a store refuses to read
                file.seek(max(_ENDS, status.st_size - _ENDS))
                digest.update(file.read(_ENDS))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    mtime = getattr(status, "st_mtime_ns", None)
    return {"size": status.st_size, "mtime": mtime, "ends": digest.hexdigest()}


def remove_tree(path: AnyPath) -> None:
    """Removes a folder and everything in it, if the folder exists."""
    if isinstance(path, Path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.rmtree()


def make_folder(folder: AnyPath) -> None:
    """Makes a folder and those above it, if they are missing; a power cut leaves them.

    Raises:
        OSError: A folder cannot be made.
    """
    local = isinstance(folder, Path)
    missing = [p for p in (folder, *folder.parents) if not p.exists()] if local else []
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _flush(made.parent)


def flush_tree(folder: AnyPath) -> None:
    """Flushes a folder and everything in it to the disk, for files that a library wrote.

    A store keeps each file from the moment at which it is written, so that a folder behind a URL
    needs nothing.

    Raises:
        OSError: The disk does not take the bytes.
    """
    if isinstance(folder, Path):
        for path in (*folder.rglob("*"), folder, folder.parent):
            _flush(path)


def place_folder(aside: Path, target: Path) -> None:
    """Gives a finished folder its name; a power cut leaves no such folder, or the whole one.

    Raises:
        OSError: The disk does not take the bytes, or the target exists.
    """
    flush_tree(aside)
    aside.rename(target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Waits until the disk has a file's bytes, or the names in a folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in _NO_FOLDERS):
            raise


@contextlib.contextmanager
def atomic_write(path: PathLike, advice: str = "") -> Iterator[Path]:
    """Gives the body a local file to write, which becomes `path` if the body raises nothing.

    Whoever reads `path` meanwhile, or after a crash or a power cut, sees the old file or the whole
    new one: the body writes next to it, the bytes are flushed to the disk, the file is renamed, and
    its name is flushed too. A file behind a URL is written to a temporary folder and uploaded. A
    device or a pipe stays what it is and receives the bytes at the end. Missing folders are made.

    Args:
        path: The file to write: a path or a URL.
        advice: What to do when the file cannot be written; ends the error's sentence.

    Yields:
        The file for the body to write; it has another extension than `path`.

    Raises:
        InputError: The file cannot be written. An `OSError` of the body about a file elsewhere,
            such as a source that cannot be read, passes through.
    """
    target, aside = as_path(path), None
    try:
        renamed = isinstance(target, Path) and not _is_device(target)
        with _beside(target) if renamed else _in_temporary_folder(target) as aside:
            yield aside
    except OSError as error:
        if not _is_about(error, target, aside):
            raise
        message = f"{path}: cannot be written ({error.strerror or error})"
        raise InputError(f"{message}; {advice}" if advice else message) from error


def _is_about(error: OSError, target: AnyPath, aside: Path | None) -> bool:
    """Returns whether an error is about a target, its folders or the file that is written for it.

    An error that names no file comes from the open one.
    """
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return True
    name = os.fsdecode(error.filename)
    if not isinstance(target, Path):
        return name in (str(target), str(aside))
    failed = Path(name).absolute()
    return failed in (aside and aside.absolute(), target.absolute(), *target.absolute().parents)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Gives a file of the same folder, which takes the target's place at the end."""
    name = target.name
    if len(os.fsencode(name)) > _LONG_NAME:  # with more, it may be too long for the file system
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    aside = target.with_name(f".{name}.{os.getpid()}{PARTIAL}")
    try:
        make_folder(target.parent)
        yield aside
        _flush(aside)
        aside.replace(target)
        _flush(target.parent)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _in_temporary_folder(target: AnyPath) -> Iterator[Path]:
    """Gives a temporary file, whose bytes go to a URL, a device or a pipe at the end."""
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "file"
        yield aside
        with aside.open("rb") as reader:
            if isinstance(target, Path):
                with target.open("ab") as writer:  # /dev/stdout may be a file that others write to
                    shutil.copyfileobj(reader, writer, CHUNK)
            else:
                target.write_from(reader)


def _is_device(path: Path) -> bool:
    """Returns whether something other than a file would be lost if a file took its place."""
    return path.exists() and (path.parent == Path("/dev") or not (path.is_file() or path.is_dir()))


def copy_file(source: PathLike, target: PathLike) -> None:
    """Copies a file of any size, from or to a URL; the copy appears only when it is whole.

    Raises:
        OSError: The source cannot be read.
        InputError: The target cannot be written.
    """
    with as_path(source).open("rb") as reader, atomic_write(target) as aside:
        with aside.open("wb") as writer:
            shutil.copyfileobj(reader, writer, CHUNK)


def read_text(path: PathLike) -> str:
    """Reads a UTF-8 text file, decompressed if it ends in `.gz`, without a byte order mark.

    Raises:
        InputError: The file cannot be read, or is compressed beyond all reason.
    """
    path = as_path(path)
    try:
        data = path.read_bytes()
        return (_inflated(path, data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from error


def _inflated(path: AnyPath, data: bytes) -> bytes:
    """Decompresses a gzip file; one whose text is far larger would only fill the memory.

    Raises:
        InputError: It is.
    """
    limit = max(_TEXT_BYTES, _TEXT_RATIO * len(data))
    blocks, size = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while block := file.read(CHUNK):
            size += len(block)
            if size > limit:
                raise InputError(
                    f"{path}: expected a text at most {_TEXT_RATIO} times as large as the "
                    f"compressed file. Found: more than {limit >> 20} MiB; decompress the file if "
                    "the text is meant to be so large"
                )
            blocks.append(block)
    return b"".join(blocks)


def read_json(
    path: PathLike,
    object_pairs_hook: Callable[[list[tuple[str, object]]], object] | None = None,
) -> object:
    """Reads a JSON file. An integer of 300 digits or more becomes a float, infinite if too large.

    Args:
        path: The file.
        object_pairs_hook: Like that of `json.loads`; its exceptions pass through.

    Raises:
        InputError: The file cannot be read, is no JSON, or holds text that cannot be encoded.
    """
    return parse_json(path, read_text(path), object_pairs_hook)


def parse_json(
    path: PathLike,
    text: str,
    object_pairs_hook: Callable[[list[tuple[str, object]]], object] | None = None,
) -> object:
    """Returns the content of a JSON file whose text was read; otherwise like `read_json`.

    Raises:
        InputError: The text is no JSON, or holds text that cannot be encoded.
    """
    try:
        content = json.loads(text, object_pairs_hook=object_pairs_hook, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: no valid JSON, line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise InputError(f"{path}: the JSON is nested too deeply") from error
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory") from error
    if _is_deep(content):
        raise InputError(f"{path}: the JSON is nested too deeply")
    if "\\ud" in text.lower():  # An escape may be half a character, which cannot be written.
        try:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise InputError(
                f"{path}: {half!r} in it is no character, but half of a pair; correct the text"
            ) from error
    return content


def _is_deep(content: object) -> bool:
    """Returns whether values are nested so deeply that code which follows them may fail."""
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(_LEVELS):
        level = [
            value
            for each in level
            for value in (each.values() if isinstance(each, dict) else each)
            if isinstance(value, dict | list)
        ]
        if not level:
            return False
    return True


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 300 else float(digits)


def csv_rows(path: PathLike, text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yields the rows of a CSV file's text, each with the number of its last line.

    Args:
        path: The file, for the error.
        text: Its content.
        delimiter: The character between two fields.

    Raises:
        InputError: The text is no CSV.
    """
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    number = 0
    try:
        for row in reader:
            number = reader.line_num
            yield number, row
    except csv.Error as error:  # Such as a quote that is never closed.
        raise InputError(f"{path}: no valid CSV after line {number} ({error})") from error


def csv_writer(file: TextIO) -> Callable[[Iterable[object]], None]:
    """Returns a function that writes a row of CSV to a file, each in the form of `csv_rows`.

    A line of the file ends in a line feed; a field with a line break of any kind is quoted.
    """

    class Lines:
        def write(self, line: str) -> None:
            file.write(line.removesuffix("\r\n") + "\n")

    # The csv module quotes only the line breaks that end its own lines, so both have to.
    return csv.writer(Lines(), lineterminator="\r\n").writerow


def quoted_formula(name: str) -> str:
    """Returns a name for a CSV file: behind an apostrophe where a spreadsheet would compute it."""
    return f"'{name}" if _FORMULA.match(name) else name


def unquoted_formula(field: str) -> str:
    """Returns the name that `quoted_formula` was given."""
    return field[1:] if field.startswith("'") and _FORMULA.match(field) else field


def as_number(value: object) -> float:
    """Returns a number that a file gives as a number or as text, such as `65.9` or `"65.9"`.

    Raises:
        ValueError: The value is no number.
    """
    if isinstance(value, str) and "_" not in value:  # Python would read 1_2 as 12.
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"expected a number. Received: {reprlib.repr(value)}")


def as_name(value: object) -> str:
    """Returns a name that a file gives as text or as a number.

    Raises:
        ValueError: The value is neither.
    """
    return value if isinstance(value, str) else f"{as_number(value):.17g}"


def write_text(path: PathLike, text: str) -> None:
    """Writes a UTF-8 text file atomically, compressed if it ends in `.gz`.

    Raises:
        InputError: The file cannot be written.
    """
    data = text.encode("utf-8")
    if os.fspath(path).endswith(".gz"):
        data = gzip.compress(data, mtime=0)  # Without a time: equal text gives equal bytes.
    write_bytes(path, data)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Writes a file atomically; see `atomic_write`.

    Raises:
        InputError: The file cannot be written.
    """
    with atomic_write(path) as aside:
        aside.write_bytes(data)


@contextlib.contextmanager
def text_writer(path: PathLike) -> Iterator[TextIO]:
    """Gives the body a text file to write, of any length; otherwise like `write_text`.

    Raises:
        InputError: The file cannot be written; see `atomic_write`.
    """
    with atomic_write(path) as aside, contextlib.ExitStack() as opened:
        file = opened.enter_context(aside.open("wb"))
        if os.fspath(path).endswith(".gz"):  # Without name and time: equal text gives equal bytes.
            file = opened.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        # Not a TextIOWrapper, which flushes at its end and so changes the compressed bytes.
        yield codecs.getwriter("utf-8")(file)


def write_lines(path: PathLike, lines: Iterable[str]) -> None:
    """Writes a text of any length like `write_text`, one line after another.

    Args:
        path: The file to write.
        lines: The lines, each with its line break; what the iterable raises passes through.

    Raises:
        InputError: The file cannot be written.
    """
    with text_writer(path) as file:
        for line in lines:  # `writelines` would join them in memory
            file.write(line)
