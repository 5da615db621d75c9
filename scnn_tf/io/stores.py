"""Object stores and HDFS: `s3://`, `gs://`, `az://`, `hdfs://`, through TensorFlow's file systems.

tensorflow-io brings most of them. After a `StorePath` was made, or `for_tensorflow` was called,
TensorFlow's own functions (readers and writers of TFRecords, checkpoints, SavedModels, summaries)
take the URL too.
"""

import contextlib
import errno
import functools
import os
import posixpath
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.io.remote import CHUNK, RemotePath, RemoteReader, Stat

_ERRNO = {
    tf.errors.NotFoundError: errno.ENOENT,
    tf.errors.AlreadyExistsError: errno.EEXIST,
    tf.errors.PermissionDeniedError: errno.EACCES,
    tf.errors.UnauthenticatedError: errno.EACCES,
}


def for_tensorflow(path: str | os.PathLike[str]) -> str:
    """Returns a path as TensorFlow's own readers take it, once they know its file system.

    Raises:
        InputError: This TensorFlow has no file system for the URL.
    """
    text = os.fspath(path)
    if "://" in text:
        _require_file_system(text)
    return text


class StorePath(RemotePath):
    """A file or folder of an object store or of HDFS; requests are repeated for some seconds.

    Raises:
        InputError: No file system for the scheme could be loaded.
    """

    def __init__(self, url: str):
        super().__init__(url)
        _require_file_system(self._url)

    def stat(self) -> Stat:  # noqa: D102
        found = self._run(tf.io.gfile.stat)
        return Stat(found.length, found.is_directory)

    def open(self, mode: str = "rb") -> BinaryIO:  # noqa: D102
        if mode != "rb":
            raise ValueError(
                f"expected mode 'rb', as a remote file is written whole. Received: {mode!r}"
            )
        return _StoreReader(self)

    def iterdir(self) -> Iterator["StorePath"]:  # noqa: D102
        for name in sorted({n.rstrip("/") for n in self._run(tf.io.gfile.listdir)} - {""}):
            yield self / name

    def write_from(self, reader: BinaryIO) -> None:  # noqa: D102
        # Stores show a file once it is closed, and know no folders; HDFS shows its first byte.
        aside = f"{self._url}.partial.{os.getpid()}" if self._url.startswith("hdfs:") else None

        def write(url: str) -> None:
            if aside:
                tf.io.gfile.makedirs(posixpath.dirname(url))
            with tf.io.gfile.GFile(aside or url, "wb") as file:
                shutil.copyfileobj(reader, file, CHUNK)
                file.write(b"")  # Or an empty file would not be made.
            if aside:
                tf.io.gfile.rename(aside, url, overwrite=True)

        self._run(write)

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:  # noqa: D102
        self._run(tf.io.gfile.makedirs)

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: D102
        with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])):
            self._run(tf.io.gfile.remove)

    def rmtree(self) -> None:  # noqa: D102
        if self.is_dir():
            self._run(tf.io.gfile.rmtree)

    def _run(self, function: Callable):
        """Returns `function(url)`; the errors of TensorFlow become `OSError`."""
        with _system_errors(self._url):
            try:
                return function(self._url)
            except tf.errors.NotFoundError:
                # tensorflow-io 0.37 raises this also where an S3 server is lost or denies access; a
                # run must not be taken for one that has not begun. Reading gives the true error.
                with tf.io.gfile.GFile(self._url, "rb") as file:
                    file.read(1)
                return function(self._url)


class _StoreReader(RemoteReader):
    """A file of a store; TensorFlow's file system fetches half a megabyte at a time."""

    def __init__(self, path: StorePath):
        super().__init__(path)
        self._file = tf.io.gfile.GFile(os.fspath(path), "rb")

    def _fetch(self, position: int, count: int) -> bytes:
        with _system_errors(os.fspath(self._path)):
            if self._file.tell() != position:  # Each seek is a request.
                self._file.seek(position)
            return self._file.read(count)

    def close(self) -> None:  # noqa: D102
        self._file.close()
        super().close()


@contextlib.contextmanager
def _system_errors(url: str) -> Iterator[None]:
    """Turns errors of TensorFlow in the body into `OSError`."""
    try:
        yield
    except tf.errors.UnimplementedError as error:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), url) from error
    except tf.errors.OpError as error:
        code = _ERRNO.get(type(error), errno.EIO)
        reason = error.message.strip(": .\n").partition("\n")[0]
        raise OSError(code, reason if code == errno.EIO else os.strerror(code), url) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: of az://.
        if getattr(error, "filename", None):
            raise
        raise OSError(errno.EIO, str(error), url) from error


@functools.cache
def _file_systems() -> frozenset[str]:
    """Returns the schemes that TensorFlow knows, with tensorflow-io's if it can be loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow 2.17 and later warns that it does not fit.
        with contextlib.suppress(ImportError, NotImplementedError):
            import tensorflow_io  # noqa: F401 - registers its file systems
    return frozenset(scheme.lower() for scheme in tf.io.gfile.get_registered_schemes())


def _require_file_system(url: str) -> None:
    scheme = url.partition("://")[0].lower()
    if scheme in _file_systems():
        return
    if "s3" in _file_systems():
        raise InputError(f"{url}: no file system is known for {scheme}://")
    raise InputError(
        f"{url}: TensorFlow {tf.__version__} cannot load tensorflow-io 0.37, which brings "
        f"{scheme}://; use TensorFlow 2.16 (requirements.lock), or copy the files to this machine"
    )
