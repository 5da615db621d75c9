"""Small files written whole, and where files are."""

import gzip
import os

import pytest

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    as_path,
    copy_file,
    read_json,
    read_text,
    remove_tree,
    size_of,
    write_bytes,
    write_text,
)


def test_text_comes_back_packed_or_not(tmp_path):
    for name in ("a.txt", "a.txt.gz"):
        write_text(tmp_path / "new" / "folders" / name, "é\n")
        assert read_text(tmp_path / "new" / "folders" / name) == "é\n"
    packed = tmp_path / "new" / "folders" / "a.txt.gz"
    assert gzip.decompress(packed.read_bytes()) == "é\n".encode()


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_other(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(InputError, match="a: cannot be written .No space left on device"):
        write_bytes(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert read_text(tmp_path / "a") == "old"


def test_a_device_or_pipe_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(tmp_path / "pipe", "text")
        assert os.read(reader, 9) == b"text"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="none.json: cannot be read .No such file"):
        read_text(tmp_path / "none.json")
    (tmp_path / "a.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="a.gz: cannot be read"):
        read_text(tmp_path / "a.gz")
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="a: cannot be read as text"):
        read_text(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1,\n2", "line 2: Expecting ',' delimiter"),
        ("[" * 200_000, "nested too deeply"),
        (r'["\ud83d"]', r"'\ud83d' in it is no character"),
    ],
)
def test_what_is_no_json_is_told_in_one_sentence(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "a.json")
    assert "a.json" in str(error.value)
    assert message in str(error.value)


def test_json_of_windows_whole_characters_and_large_numbers_are_read(tmp_path):
    text = '["\\ud83d\\udc83", 7, 1' + "0" * 5_000 + "]"
    (tmp_path / "a.json").write_text(text, encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == ["\U0001f483", 7, float("inf")]


def test_a_copy_appears_whole_or_not_at_all(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10_000_000)
    copy_file(tmp_path / "a", tmp_path / "new" / "b")
    assert size_of(tmp_path / "new" / "b") == 10_000_000
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "none", tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "new"]


def test_a_tree_is_removed_and_may_be_missing(tmp_path):
    write_text(tmp_path / "tree" / "a" / "b", "")
    for _ in range(2):
        remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_local_name_is_a_path_though_it_looks_odd(tmp_path):
    assert as_path("a:b/c") == as_path(as_path("a:b/c"))
    assert as_path(tmp_path) == tmp_path
