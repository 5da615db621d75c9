"""Files of web servers, `http://` and `https://`, read a part at a time through fsspec."""

import asyncio
import contextlib
import errno
import os
import posixpath
import string
import tempfile
import urllib.parse
from collections.abc import Iterator
from typing import BinaryIO

import aiohttp
import fsspec
import tenacity

from scnn_tf.io.remote import RemotePath, RemoteReader, Stat

_TIMEOUT_S = 20  # Without a byte.
_BLOCK = 1 << 21  # Bytes of a request.
_MAX_BLOCKS = 16  # Blocks kept in memory: FFmpeg jumps between pictures, sound and index.
_ERRNO = {404: errno.ENOENT, 410: errno.ENOENT, 401: errno.EACCES, 403: errno.EACCES}


def _is_temporary(error: BaseException) -> bool:
    """Returns whether a request may succeed a moment later: the server is lost, busy, cut off."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status >= 500 or error.status == 429
    if isinstance(error, (FileNotFoundError, ValueError)):  # ValueError: no URL, no ranges.
        return False
    return isinstance(error, (OSError, aiohttp.ClientError, asyncio.TimeoutError))


_tried_again = tenacity.retry(
    retry=tenacity.retry_if_exception(_is_temporary),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_exponential(multiplier=0.5),
    reraise=True,
)


class HttpPath(RemotePath):
    """A file of a web server, for reading only; requests are repeated for some seconds.

    For TensorFlow's own readers, see `stores.for_tensorflow`.
    """

    def __truediv__(self, name: str | os.PathLike[str]) -> "HttpPath":
        return HttpPath(f"{self._url.rstrip('/')}/{urllib.parse.quote(os.fspath(name))}")

    @property
    def name(self) -> str:
        """The last part of the path, without the query that may follow it (`?key=…`)."""
        path = urllib.parse.urlsplit(self._url).path
        return urllib.parse.unquote(posixpath.basename(path))

    def stat(self) -> Stat:  # noqa: D102
        with _system_errors(self._url):
            size = _info(self._url)["size"]
        if size is None:
            raise OSError(errno.EIO, "the server does not tell its size", self._url)
        return Stat(size, is_directory=False)

    def open(self, mode: str = "rb") -> BinaryIO:  # noqa: D102
        if mode != "rb":
            raise self._read_only()
        with _system_errors(self._url):
            size = _info(self._url)["size"]
            # Where the size is unknown, so is the end: the whole file is fetched first.
            return _HttpReader(self, size) if size else _download(self._url)

    def iterdir(self) -> Iterator["HttpPath"]:  # noqa: D102
        reason = "a web server's folder cannot be listed; name its files"
        raise OSError(errno.ENOTSUP, reason, self._url)


class _HttpReader(RemoteReader):
    """A file of a web server in blocks; the whole file, where the server knows no ranges."""

    def __init__(self, path: HttpPath, size: int):
        super().__init__(path)
        self._size = size
        self._copy = None
        self._file = _web().open(
            _quoted(os.fspath(path)),
            size=size,
            block_size=_BLOCK,
            cache_type="blockcache",
            cache_options={"maxblocks": _MAX_BLOCKS},
        )

    def _fetch(self, position: int, count: int) -> bytes:
        if position >= self._size:
            return b""
        with _system_errors(os.fspath(self._path)):
            if self._copy is None:
                try:
                    return self._read(position, count)
                except ValueError:  # fsspec's error for a server that knows no ranges.
                    self._copy = _download(os.fspath(self._path))
            self._copy.seek(position)
            return self._copy.read(count)

    @_tried_again
    def _read(self, position: int, count: int) -> bytes:
        self._file.seek(position)
        return self._file.read(count)

    def close(self) -> None:  # noqa: D102
        self._file.close()
        if self._copy is not None:
            self._copy.close()
        super().close()


def _web() -> fsspec.AbstractFileSystem:
    """Returns fsspec's file system of web servers; fsspec keeps one for each process and thread."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
    return fsspec.filesystem(
        "http",
        encoded=True,  # A URL is sent as it is: a signature may cover it.
        headers={"Accept-Encoding": "identity"},  # A range of compressed bytes is of no use.
        client_kwargs={"timeout": timeout, "trust_env": True},  # trust_env: http_proxy and others.
    )


def _quoted(url: str) -> str:
    """Quotes what a URL must not have, such as spaces, and nothing else."""
    return urllib.parse.quote(url, safe=string.punctuation)


@_tried_again
def _info(url: str) -> dict:
    """Returns what the server says of a file; "size" is None where it does not say it."""
    try:
        return _web().info(_quoted(url))
    except FileNotFoundError as error:  # fsspec's word for any failure.
        raise error.__cause__ or error from None


@_tried_again
def _download(url: str) -> BinaryIO:
    """Fetches a whole file into a temporary one and opens it."""
    copy = tempfile.NamedTemporaryFile()  # noqa: SIM115 - who reads it closes it
    _web().get_file(_quoted(url), copy.name)
    return copy


@contextlib.contextmanager
def _system_errors(url: str) -> Iterator[None]:
    """Turns errors of servers and connections in the body into `OSError`."""
    try:
        yield
    except aiohttp.ClientResponseError as error:
        code = _ERRNO.get(error.status, errno.EIO)
        raise OSError(code, f"the server says {error.status} {error.message}", url) from error
    except (OSError, aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
        # ValueError: aiohttp refuses the URL, such as one whose port is 99999.
        code = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO
        raise OSError(code, str(error) or type(error).__name__, url) from error
