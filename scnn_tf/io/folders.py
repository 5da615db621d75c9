"""Folders that belong to one process at a time."""

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import PARTIAL, PathLike, as_path, make_folder

LOCK = ".lock"
"""Name of the file in a folder that says which process holds the folder."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # the same in all containers of a machine


class FolderInUseError(InputError):
    """Another process holds a folder."""


@contextlib.contextmanager
def locked(folder: PathLike, what: str) -> Iterator[None]:
    """Keeps a folder to this process while the body runs; another process gets an error.

    The kernel holds the lock (`flock`) and releases it when the process ends, however it ends. The
    file `.lock` describes the process, and is removed at the end; one that a killed process or a
    power cut left is taken over, and files that were half-written are removed. One of another host
    must be removed by hand, since whether its process still runs cannot be seen from here.

    A folder behind a URL is not locked: a store has no lock that ends with its process, and a file
    that outlives a killed process would keep the same command from resuming. A file system without
    locks is used without them, and a warning says so.

    Args:
        folder: The folder; it is made if it is missing, and removed again if it stays empty.
        what: What this process does, such as "training", for the error of another one.

    Raises:
        FolderInUseError: Another process holds the folder.
        InputError: The folder cannot be written.
    """
    folder = as_path(folder)
    if not isinstance(folder, Path):
        yield
        return
    is_new = not folder.exists()
    with contextlib.ExitStack() as held:
        try:
            file = held.enter_context(_acquired(folder / LOCK))
            _check_host(folder / LOCK)
            held.callback(_free, folder, is_new)
            if os.fstat(file.fileno()).st_size:  # of a process that did not end by itself
                for path in list(folder.rglob(f".*{PARTIAL}*")):
                    path.unlink(missing_ok=True)
            os.ftruncate(file.fileno(), 0)
            holder = json.dumps({"what": what, **_this_process()})
            os.write(file.fileno(), f"{holder}\n".encode())
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
        yield


def _free(folder: Path, is_new: bool) -> None:
    """Removes the file of a lock, and a new folder in which nothing was written."""
    (folder / LOCK).unlink(missing_ok=True)
    if is_new:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _acquired(path: Path) -> BinaryIO:
    """Returns the open file of a lock that this process now has.

    Raises:
        FolderInUseError: Another process has the lock.
        OSError: The file cannot be opened.
    """
    while True:
        make_folder(path.parent)
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError as error:
            file.close()
            raise FolderInUseError(
                f"{path.parent}: expected a folder that no other process works in. Found: "
                f"{_described(_read(path))}; wait until it has ended, or choose another folder"
            ) from error
        except FileNotFoundError:
            pass
        except OSError as error:
            logging.warning("%s: the folder is used without a lock (%s)", path.parent, error)
            return file
        file.close()  # its process has ended since and removed it: no lock on this folder


def _check_host(path: Path) -> None:
    """Checks that a lock was not left by another host, on whose processes `flock` may not depend.

    Raises:
        InputError: It was.
    """
    holder, here = _read(path), _this_process()
    if holder and holder["host"] != here["host"] and holder["boot"] != here["boot"]:
        raise InputError(
            f"{path.parent}: expected a folder that no other process works in. Found: "
            f"{_described(holder)}; wait until it has ended, or remove {path} if it was killed"
        )


def _this_process() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _BOOT.read_text().strip() if _BOOT.is_file() else "",
        "since": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "command": " ".join(sys.argv)[:500],
    }


def _read(path: Path) -> dict:
    """Returns what a lock's file says; empty if it was not written, or damaged by a power cut."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) and {"what", *_this_process()} <= set(holder) else {}


def _described(holder: dict) -> str:
    """Returns a holder in words."""
    if not holder:
        return "another process"
    return (
        f"{holder['what']} by process {holder['pid']} on {holder['host']} since {holder['since']} "
        f"({holder['command']!r})"
    )
