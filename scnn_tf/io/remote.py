"""Files behind a URL, `s3://`, `gs://`, `az://` or `hdfs://`, as `pathlib` has them.

TensorFlow's file systems do the work, most of which tensorflow-io brings. Once a `RemotePath` was
made, every function of TensorFlow that takes a file name (readers and writers of TFRecords,
checkpoints, SavedModels, summaries) takes the URL too.
"""

import contextlib
import ctypes
import errno
import fnmatch
import functools
import io
import os
import posixpath
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

import tensorflow as tf

from scnn_tf.errors import InputError

_ERRNO = {
    tf.errors.NotFoundError: errno.ENOENT,
    tf.errors.AlreadyExistsError: errno.EEXIST,
    tf.errors.PermissionDeniedError: errno.EACCES,
    tf.errors.UnauthenticatedError: errno.EACCES,
}
CHUNK = 1 << 22
# Amazon's SDK tries again by itself, and by default for minutes; who has set these knows better.
_S3_DEFAULTS = {
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "3",  # of each of the four attempts that tensorflow-io makes
    "S3_CONNECT_TIMEOUT_MSEC": "3000",
    "S3_REQUEST_TIMEOUT_MSEC": "20000",  # without a byte
}


class RemotePath(os.PathLike):
    """A file or folder behind a URL; has what this package uses of `pathlib.Path`.

    What `pathlib` raises as `OSError` is raised as `OSError` here, once it has been tried for some
    seconds. Others see a file that is written only when it is whole.

    Args:
        url: with its scheme.

    Raises:
        InputError: no file system for the scheme could be loaded.
    """

    def __init__(self, url: str | os.PathLike):
        scheme, _, rest = os.fspath(url).partition("://")
        bucket, slash, key = rest.partition("/")
        # A bucket must have its slash, a folder must not.
        self._url = f"{scheme}://{bucket}/{key.rstrip('/')}"
        _load_file_system(scheme.lower(), self._url)

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

    def __truediv__(self, name: str | os.PathLike) -> "RemotePath":
        return type(self)(f"{self._url.rstrip('/')}/{os.fspath(name)}")

    @property
    def name(self) -> str:
        """The last part."""
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
        """The folder it is in; a bucket's is the bucket."""
        return type(self)(posixpath.dirname(self._url))

    def with_name(self, name: str) -> "RemotePath":
        """A neighbour."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether a file or folder is there.

        Raises:
            OSError: that cannot be told.
        """
        try:
            self._stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether it is a folder (where there are only keys: whether some begin with it)."""
        try:
            return self._stat().is_directory
        except FileNotFoundError:
            return False

    def is_file(self) -> bool:
        """Whether a file is there."""
        try:
            return not self._stat().is_directory
        except FileNotFoundError:
            return False

    def size(self) -> int:
        """Bytes of the file."""
        return self._stat().length

    def iterdir(self) -> Iterator["RemotePath"]:
        """What is in the folder, by name."""
        for name in sorted({n.rstrip("/") for n in self._run(tf.io.gfile.listdir)} - {""}):
            yield self / name

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """What is in the folder under names of a form; one level, without `**`."""
        if self.is_dir():
            yield from (p for p in self.iterdir() if fnmatch.fnmatchcase(p.name, pattern))

    def open(self, mode: str = "rb") -> BinaryIO:
        """The file, to be read; only what is asked for is fetched, and it can be sought in."""
        if mode != "rb":
            raise ValueError(f"A remote file is written whole. Received: mode={mode!r}")
        return Reader(self)

    def read_bytes(self) -> bytes:
        """The whole file."""
        with self.open() as file:
            return file.read()

    def write_bytes(self, data: bytes) -> None:
        """Writes the whole file; its folders are made."""
        self.write_from(io.BytesIO(data))

    def write_from(self, reader: BinaryIO) -> None:
        """Writes all that is left in a file of this machine; its folders are made."""
        # Stores show a file once it is closed, and know no folders; HDFS shows its first byte.
        aside = f"{self._url}.partial.{os.getpid()}" if self._url.startswith("hdfs:") else None

        def write(url: str) -> None:
            if aside:
                tf.io.gfile.makedirs(posixpath.dirname(url))
            with tf.io.gfile.GFile(aside or url, "wb") as file:
                shutil.copyfileobj(reader, file, CHUNK)
                file.write(b"")  # or an empty one would not be made
            if aside:
                tf.io.gfile.rename(aside, url, overwrite=True)

        self._run(write)

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Makes the folder and those above it; no matter if it is there."""
        self._run(tf.io.gfile.makedirs)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""
        with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])):
            self._run(tf.io.gfile.remove)

    def rmtree(self) -> None:
        """Removes the folder and all in it, if it is there."""
        if self.is_dir():
            self._run(tf.io.gfile.rmtree)

    def _stat(self):
        """With attributes `length` (bytes) and `is_directory`."""
        return self._run(tf.io.gfile.stat)

    def _run(self, function: Callable):
        """`function(url)`; errors as the system's own have them.

        Raises:
            OSError: it failed.
        """
        with system_errors(self._url):
            try:
                return function(self._url)
            except tf.errors.NotFoundError:
                # So s3:// calls it, too, when the server cannot be reached or does not let us in;
                # it would be fatal to take that for a run that has not begun. Reading is honest.
                with tf.io.gfile.GFile(self._url, "rb") as file:
                    file.read(1)
                return function(self._url)


class Reader(io.RawIOBase):
    """A remote file as Python and FFmpeg read one; half a megabyte is fetched at a time."""

    def __init__(self, path: RemotePath):
        self._path = path
        self._position = 0
        self._file = tf.io.gfile.GFile(os.fspath(path), "rb")

    @functools.cached_property
    def _size(self) -> int:
        return self._path.size()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Asks for nothing yet."""
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self._size
        self._position = offset
        return offset

    def tell(self) -> int:
        """Bytes before what is read next."""
        return self._position

    def readinto(self, buffer) -> int:
        """Reads at most what the buffer holds; 0 at the end."""
        with system_errors(os.fspath(self._path)):
            data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, count: int) -> bytes:
        if self._file.tell() != self._position:  # each seek is a request
            self._file.seek(self._position)
        return self._file.read(count)

    def close(self) -> None:
        """Closes it."""
        self._file.close()
        super().close()


@contextlib.contextmanager
def system_errors(url: str) -> Iterator[None]:
    """Errors of TensorFlow in the body become `OSError`, as files have them."""
    try:
        yield
    except tf.errors.UnimplementedError as error:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), url) from error
    except tf.errors.OpError as error:
        code = _ERRNO.get(type(error), errno.EIO)
        reason = error.message.strip(": .\n").partition("\n")[0]
        raise OSError(code, reason if code == errno.EIO else os.strerror(code), url) from error
    except (OSError, RuntimeError) as error:  # the last is az://'s
        if getattr(error, "filename", None):
            raise
        raise OSError(errno.EIO, str(error), url) from error


@functools.cache
def _file_systems() -> frozenset[str]:
    """The schemes that TensorFlow knows, with tensorflow-io's if it can be loaded."""
    for name, value in _S3_DEFAULTS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so says TensorFlow 2.17 and later that it does not fit
        with contextlib.suppress(ImportError, NotImplementedError):
            import tensorflow_io  # noqa: F401 - registers its file systems
    _skip_destructors()
    return frozenset(scheme.lower() for scheme in tf.io.gfile.get_registered_schemes())


def _skip_destructors() -> None:
    """Lets the process end without the C++ libraries' destructors.

    Once s3:// was used, they abort ("pure virtual method called"), and a good run would end with
    code 134. Python is through by then, and the exit code is passed on.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc
        libc.on_exit(libc._exit, None)


def _load_file_system(scheme: str, url: str) -> None:
    if scheme in _file_systems():
        return
    if "s3" in _file_systems():
        raise InputError(f"{url}: no file system is known for {scheme}://")
    raise InputError(
        f"{url}: TensorFlow {tf.__version__} cannot load tensorflow-io 0.37, which brings "
        f"{scheme}://; use TensorFlow 2.16 (requirements.lock), or copy the files to this machine"
    )
