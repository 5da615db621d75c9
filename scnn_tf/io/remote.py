"""Paths behind URLs, with the methods of `pathlib.Path` that this package uses.

`web.HttpPath` reads web servers, `stores.StorePath` reads and writes object stores and HDFS;
`files.as_path` chooses between them.
"""

import abc
import atexit
import ctypes
import errno
import fnmatch
import functools
import io
import os
import posixpath
import sys
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

CHUNK = 1 << 22  # Bytes that are copied at a time.
# Amazon's SDK tries again by itself, and by default for minutes.
_S3_DEFAULTS = {
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "3",  # Of each of the four attempts that tensorflow-io makes.
    "S3_CONNECT_TIMEOUT_MSEC": "3000",
    "S3_REQUEST_TIMEOUT_MSEC": "20000",  # Without a byte.
}


@functools.cache
def set_up_process() -> None:
    """Prepares this process for files behind `s3://`; every binary calls it at its start.

    A program that uses the library itself should call it too, before its first URL:

    - A lost S3 server is reported after seconds instead of minutes: `AWS_RETRY_MODE`,
      `AWS_MAX_ATTEMPTS`, `S3_CONNECT_TIMEOUT_MSEC` and `S3_REQUEST_TIMEOUT_MSEC` get values,
      unless the environment has some. Child processes inherit them.
    - The process keeps its exit code. With tensorflow-io 0.37 a C++ destructor aborts ("pure
      virtual method called") after `s3://` was used, and a good run would end with code 134. So
      the C++ destructors are skipped where tensorflow-io was loaded. Python has finished by then.
    """
    for name, value in _S3_DEFAULTS.items():
        os.environ.setdefault(name, value)
    atexit.register(_skip_destructors)


def _skip_destructors() -> None:
    # Python's last act: what the C library was given last runs first, and gets the exit code.
    libc = ctypes.CDLL(None)
    if "tensorflow_io" in sys.modules and hasattr(libc, "on_exit"):  # glibc
        libc.on_exit(libc._exit, None)


class Stat(NamedTuple):
    """Size and kind of a file or folder.

    Attributes:
        st_size: Size in bytes, as `os.stat` names it.
        is_directory: Whether it is a folder.
    """

    st_size: int
    is_directory: bool


class RemotePath(os.PathLike):
    """A file or folder behind a URL.

    Every method raises an `OSError` where `pathlib` would. A server that is lost is never taken
    for a missing file: only the server's own word makes a `FileNotFoundError`.

    Args:
        url: The URL, with its scheme.
    """

    def __init__(self, url: str):
        scheme, _, rest = os.fspath(url).partition("://")
        host, _, key = rest.partition("/")
        # A bucket must have its slash, a folder must not.
        self._url = f"{scheme}://{host}/{key.rstrip('/')}"

    def __fspath__(self) -> str:
        return self._url

    __str__ = __fspath__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def __eq__(self, other) -> bool:
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __lt__(self, other: "RemotePath") -> bool:
        return self._url < other._url

    def __truediv__(self, name: str | os.PathLike[str]) -> "RemotePath":
        return type(self)(f"{self._url.rstrip('/')}/{os.fspath(name)}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self._url)

    @property
    def stem(self) -> str:
        """The last part without its extension."""
        return posixpath.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        """The extension, with its dot."""
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> "RemotePath":
        """The folder that holds it; the parent of a bucket is the bucket."""
        return type(self)(posixpath.dirname(self._url))

    def with_name(self, name: str) -> "RemotePath":
        """Returns the path of another name in the same folder."""
        return self.parent / name

    def exists(self) -> bool:
        """Returns whether a file or folder is there."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Returns whether a folder is there; where there are only keys: a key that begins so."""
        try:
            return self.stat().is_directory
        except FileNotFoundError:
            return False

    def is_file(self) -> bool:
        """Returns whether a file is there."""
        try:
            return not self.stat().is_directory
        except FileNotFoundError:
            return False

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yields the paths in the folder whose name matches a pattern without `**`."""
        if self.is_dir():
            yield from (p for p in self.iterdir() if fnmatch.fnmatchcase(p.name, pattern))

    def read_bytes(self) -> bytes:
        """Reads the whole file."""
        with self.open() as file:
            return file.read()

    @abc.abstractmethod
    def stat(self) -> Stat:
        """Returns the size, and whether it is a folder."""

    @abc.abstractmethod
    def open(self, mode: str = "rb") -> BinaryIO:
        """Opens the file for reading and seeking; only the parts that are read are fetched."""

    def iterdir(self) -> Iterator["RemotePath"]:
        """Returns the paths in the folder, in the order of their names."""
        raise self._read_only()

    def write_from(self, reader: BinaryIO) -> None:
        """Writes the rest of an open file; others see the new file only when it is whole."""
        raise self._read_only()

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Makes the folder and those above it, if they are missing."""
        raise self._read_only()

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""
        raise self._read_only()

    def rmtree(self) -> None:
        """Removes the folder and everything in it, if it is there."""
        raise self._read_only()

    def _read_only(self) -> OSError:
        return OSError(errno.EROFS, os.strerror(errno.EROFS), self._url)


class RemoteReader(io.RawIOBase):
    """A remote file that Python and FFmpeg can read and seek in.

    A subclass has `_fetch(position, count)`, which returns at most `count` bytes, none at the end.

    Args:
        path: The file.
    """

    def __init__(self, path: RemotePath):
        self._path = path
        self._position = 0

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Changes the position; makes no request, unless it counts from the end."""
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self._size
        self._position = offset
        return offset

    def tell(self) -> int:
        """Returns the position of the next byte to be read."""
        return self._position

    def readinto(self, buffer) -> int:
        """Reads at most as many bytes as the buffer holds; 0 at the end."""
        data = self._fetch(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    @functools.cached_property
    def _size(self) -> int:
        return self._path.stat().st_size

    def _fetch(self, position: int, count: int) -> bytes:
        raise NotImplementedError
