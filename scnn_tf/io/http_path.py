"""Files of web servers, `http://` and `https://`: to be read, a part at a time."""

import contextlib
import errno
import http.client
import io
import os
import posixpath
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import tenacity

from scnn_tf.io.remote import CHUNK, Reader, RemotePath

_TIMEOUT_S = 20
_ERRNO = {404: errno.ENOENT, 410: errno.ENOENT, 401: errno.EACCES, 403: errno.EACCES}


class HttpPath(RemotePath):
    """A file behind `http(s)://`; it can be read.

    TensorFlow's readers take its URL. Here Python's own client reads: tensorflow-io's fetches a
    whole file to tell its size, does not try again and leaves every connection open.
    """

    def __truediv__(self, name: str | os.PathLike) -> "HttpPath":
        return HttpPath(f"{self._url.rstrip('/')}/{urllib.parse.quote(os.fspath(name))}")

    @property
    def name(self) -> str:
        """The last part, without what may follow the path (`?key=…`)."""
        path = urllib.parse.urlsplit(self._url).path
        return urllib.parse.unquote(posixpath.basename(path))

    def open(self, mode: str = "rb") -> BinaryIO:
        """The file, to be read; only what is asked for is fetched, and it can be sought in."""
        return _HttpReader(self)

    def _stat(self) -> "_HttpStat":
        with _system_errors(self._url):
            return _head(self._url)


class _HttpStat(NamedTuple):
    length: int
    is_directory: bool = False


def _passes(error: BaseException) -> bool:
    """Whether it may be different a moment later: a server that is away, busy or cut off."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    return isinstance(error, (OSError, http.client.HTTPException))


_tried_again = tenacity.retry(
    retry=tenacity.retry_if_exception(_passes),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_exponential(multiplier=0.5),
    reraise=True,
)


@_tried_again
def _head(url: str) -> _HttpStat:
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        if (length := answer.headers["Content-Length"]) is None:
            raise OSError(errno.EIO, "the server does not tell its size", url)
        return _HttpStat(int(length))


class _HttpReader(Reader):
    """A file of a web server: one request as long as it is read on, another after each seek."""

    def __init__(self, path: HttpPath):
        self._path = path
        self._position = 0
        self._answer, self._answered = None, 0  # and the position up to which it has been read
        self._size  # noqa: B018 - a file that is missing is better known now

    def _read(self, count: int) -> bytes:
        with _system_errors(os.fspath(self._path)):
            return self._fetch(count)

    @_tried_again
    def _fetch(self, count: int) -> bytes:
        if self._position >= self._size:
            return b""
        if self._answer is None or self._answered != self._position:
            self._ask()
        try:
            data = self._answer.read(count)
            if not data:
                raise ConnectionError(f"cut off after {self._position} of {self._size} bytes")
        except Exception:
            self._answer = None
            raise
        self._answered += len(data)
        return data

    def _ask(self) -> None:
        headers = {"Range": f"bytes={self._position}-"}
        request = urllib.request.Request(os.fspath(self._path), headers=headers)
        self._answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        self._answered = self._position
        if self._answer.status != 206:  # the server knows no ranges
            for start in range(0, self._position, CHUNK):
                self._answer.read(min(CHUNK, self._position - start))

    def close(self) -> None:
        self._answer = None
        io.RawIOBase.close(self)


@contextlib.contextmanager
def _system_errors(url: str) -> Iterator[None]:
    """What servers and connections say in the body becomes `OSError`, as files have them."""
    try:
        yield
    except urllib.error.HTTPError as error:
        code = _ERRNO.get(error.code, errno.EIO)
        raise OSError(code, f"the server says {error.code} {error.reason}", url) from error
    except (OSError, http.client.HTTPException) as error:
        raise OSError(errno.EIO, str(getattr(error, "reason", error)), url) from error
