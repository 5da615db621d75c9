"""Folders that belong to one process at a time."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from scnn_tf.errors import InputError
from scnn_tf.io.folders import LOCK, FolderInUseError, locked

HOLD = """
import sys
from scnn_tf.io.folders import locked
with locked(sys.argv[1], "training"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder `tmp_path / "folder"`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "folder"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "locked\n"
        yield process


def test_a_folder_is_held_while_the_body_runs(tmp_path):
    with locked(tmp_path / "new" / "folder", "training"):
        holder = json.loads((tmp_path / "new" / "folder" / LOCK).read_text())
        assert (holder["what"], holder["pid"]) == ("training", os.getpid())
        assert holder["host"] == socket.gethostname()
        (tmp_path / "new" / "folder" / "result").touch()
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["result"]


def test_a_new_folder_in_which_nothing_was_written_is_removed(tmp_path):
    with pytest.raises(InputError), locked(tmp_path / "new", "training"):
        raise InputError("a bad recipe")
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_body_passes_and_frees_the_folder(tmp_path):
    for error in (KeyboardInterrupt, OSError(28, "full")):
        with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OSError):
            with locked(tmp_path, "training"):
                raise error
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_told_who_holds_the_folder(holder, tmp_path):
    with pytest.raises(FolderInUseError) as error, locked(tmp_path / "folder", "training"):
        pass
    assert re.fullmatch(
        rf"{tmp_path}/folder: expected a folder that no other process works in\. Found: training "
        rf"by process {holder.pid} on {socket.gethostname()} since \d{{4}}-\d\d-\d\d "
        r"\d\d:\d\d:\d\d\+\d{4} \('-c .*folder'\); wait until it has ended, or choose another "
        "folder",
        str(error.value),
    )
    holder.communicate()  # it ends
    with locked(tmp_path / "folder", "training"):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "folder" / LOCK).is_file()
    with locked(tmp_path / "folder", "localization"):
        assert json.loads((tmp_path / "folder" / LOCK).read_text())["what"] == "localization"
    assert not list((tmp_path / "folder").iterdir())


def test_files_that_a_killed_process_did_not_finish_are_removed(tmp_path):
    write = (
        "import os, signal, sys; from scnn_tf.io import files, folders\n"
        "with folders.locked(sys.argv[1], 'training'):\n"
        "    files.write_text(sys.argv[1] + '/in/b', 'whole')\n"
        "    with files.atomic_write(sys.argv[1] + '/in/a') as aside:\n"
        "        aside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", write, tmp_path], check=False)
    assert len(list((tmp_path / "in").iterdir())) == 2
    with locked(tmp_path, "training"):
        pass
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("content", [b"", b"\0" * 90, b"{", b"[1]", b'{"host": 1}', b"[" * 100_000])
def test_a_lock_damaged_by_a_power_cut_is_taken_over(content, tmp_path):
    (tmp_path / LOCK).write_bytes(content)
    with locked(tmp_path, "training"):
        pass
    assert not list(tmp_path.iterdir())


def test_the_lock_of_another_host_is_not_taken_over(tmp_path):
    """A lock of this host before it was started again is: its process cannot live any more."""
    with locked(tmp_path, "training"):
        here = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps({**here, "boot": "earlier"}))
    with locked(tmp_path, "training"):
        pass
    (tmp_path / LOCK).write_text(json.dumps({**here, "host": "other", "boot": "other"}))
    message = f"on other since .*or remove {tmp_path / LOCK} if it was killed$"
    for _ in range(2):  # the refused one leaves it
        with pytest.raises(InputError, match=message), locked(tmp_path, "training"):
            pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(InputError, match=f"{folder}: cannot be written"):
            with locked(folder, "training"):
                pass
