"""Atomic writes, checksums, and the readers and writers of small files."""

import gzip
import hashlib
import io
import os

import pytest

from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    as_name,
    as_number,
    as_path,
    atomic_write,
    copy_file,
    csv_rows,
    csv_writer,
    file_identity,
    flush_tree,
    is_local,
    place_folder,
    quoted_formula,
    read_json,
    read_text,
    remove_tree,
    sha256,
    size_of,
    unquoted_formula,
    write_bytes,
    write_lines,
    write_text,
)


def test_text_round_trips_with_and_without_compression(tmp_path):
    for name in ("a.txt", "a.txt.gz"):
        write_text(tmp_path / "new" / "folders" / name, "é\n")
        assert read_text(tmp_path / "new" / "folders" / name) == "é\n"
    packed = tmp_path / "new" / "folders" / "a.txt.gz"
    assert gzip.decompress(packed.read_bytes()) == "é\n".encode()


def test_a_file_appears_when_the_body_of_atomic_write_has_ended(tmp_path):
    path = tmp_path / "new" / "a"
    with atomic_write(path) as aside:
        aside.write_text("whole")
        assert aside.parent == path.parent and not path.exists()
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["a"]


def test_the_longest_legal_name_is_written(tmp_path):
    for name in ("x" * 255, "é" * 127):
        write_text(tmp_path / name, name)
        assert read_text(tmp_path / name) == name
    assert len(list(tmp_path.iterdir())) == 2


def test_a_body_of_atomic_write_that_raises_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(KeyError), atomic_write(tmp_path / "a") as aside:
        aside.write_text("half")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert read_text(tmp_path / "a") == "old"


def test_lines_whose_source_fails_leave_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError):
        write_lines(tmp_path / "a", (f"{1 / number}\n" for number in (1, 0)))
    assert read_text(tmp_path / "a") == "old"


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_other(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(InputError, match=r"a: cannot be written \(No space left on device\)$"):
        write_bytes(tmp_path / "a", b"new")
    with pytest.raises(InputError, match=r"\(No space left on device\); free some$"):
        with atomic_write(tmp_path / "a", advice="free some") as aside:
            aside.write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert read_text(tmp_path / "a") == "old"


def test_a_file_in_place_of_a_folder_is_an_input_error(tmp_path):
    write_text(tmp_path / "file", "")
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "folder" / "a"):
        with pytest.raises(InputError, match=f"{path}: cannot be written"):
            write_text(path, "x")


def test_the_error_of_a_source_is_not_taken_for_one_of_the_target(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "a"):
        (tmp_path / "elsewhere" / "none").read_bytes()
    assert caught.value.filename == str(tmp_path / "elsewhere" / "none")


def test_a_device_or_pipe_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(tmp_path / "pipe", "text")
        write_lines(tmp_path / "pipe", ["a\n", "b\n"])
        assert os.read(reader, 99) == b"texta\nb\n"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="none.json: cannot be read .No such file"):
        read_text(tmp_path / "none.json")
    with pytest.raises(InputError, match="none.json: cannot be read .No such file"):
        sha256(tmp_path / "none.json")
    (tmp_path / "a.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="a.gz: cannot be read"):
        read_text(tmp_path / "a.gz")
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="a: cannot be read as text"):
        read_text(tmp_path / "a")


def test_the_checksum_of_a_file_of_several_blocks_is_that_of_its_bytes(tmp_path):
    data = bytes(range(256)) * 40_000  # 10 MB
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1,\n2", "line 2: Expecting ',' delimiter"),
        ("[" * 200_000, "nested too deeply"),
        ("[" * 101 + "]" * 101, "nested too deeply"),  # read by Python, but not all code after it
        ('{"a":' * 300 + "1" + "}" * 300, "nested too deeply"),
        (r'["\ud83d"]', r"'\ud83d' in it is no character"),
    ],
)
def test_invalid_json_is_one_sentence_that_names_the_file(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "a.json")
    assert "a.json" in str(error.value)
    assert message in str(error.value)


def test_json_with_byte_order_mark_surrogate_pairs_and_huge_integers_is_read(tmp_path):
    text = '["\\ud83d\\udc83", 7, 1' + "0" * 5_000 + "]"
    (tmp_path / "a.json").write_text(text, encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == ["\U0001f483", 7, float("inf")]


def test_json_of_a_hundred_levels_is_read(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100 + "]" * 100)
    assert len(read_json(tmp_path / "a.json")) == 1


def test_a_small_file_that_inflates_to_gigabytes_is_refused(tmp_path):
    """2 GB of spaces take 2 MB; the test's process would be killed if it held them."""
    with gzip.open(tmp_path / "a.json.gz", "wb") as file:
        for _ in range(2_000):
            file.write(b" " * 1_000_000)
    for read in (read_text, read_json):
        with pytest.raises(InputError, match=r"a\.json\.gz: expected a text at most 100 times"):
            read(tmp_path / "a.json.gz")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b" " * 50_000_000))  # still a small text
    assert len(read_text(tmp_path / "b.gz")) == 50_000_000


def test_a_copy_appears_whole_or_not_at_all(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10_000_000)
    copy_file(tmp_path / "a", tmp_path / "new" / "b")
    assert size_of(tmp_path / "new" / "b") == 10_000_000
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "none", tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "new"]


def test_a_tree_is_removed_whether_or_not_it_exists(tmp_path):
    write_text(tmp_path / "tree" / "a" / "b", "")
    for _ in range(2):
        remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_only_a_scheme_makes_a_url(tmp_path):
    for name in ("a:b/c", "http:a", tmp_path):
        assert is_local(name)
        assert as_path(name) == as_path(as_path(name))
    assert as_path(tmp_path) == tmp_path
    assert not is_local("s3://bucket/a") and not is_local("HTTP://host/a")


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """The order in which an atomic write calls the system: file, name, folder, new folders."""
    calls, names = [], {}
    really = {name: getattr(os, name) for name in ("open", "fsync", "replace")}

    def opened(path, flags, *more, **options):
        descriptor = really["open"](path, flags, *more, **options)
        names[descriptor] = os.path.relpath(path, tmp_path)
        return descriptor

    def synced(descriptor):
        calls.append(("fsync", names[descriptor].replace(str(os.getpid()), "PID")))
        really["fsync"](descriptor)

    def replaced(old, new, **options):
        calls.append(("rename", os.path.relpath(new, tmp_path)))
        really["replace"](old, new, **options)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_text(tmp_path / "new" / "folders" / "a", "text")
    assert calls == [
        ("fsync", "new"), ("fsync", "."),
        ("fsync", "new/folders/.a.PID.partial"), ("rename", "new/folders/a"),
        ("fsync", "new/folders"),
    ]  # fmt: skip


def test_what_was_written_survives_a_power_cut(power_cut_disk):
    """Files, a folder given its name, and a folder that a library wrote, all of them just now."""
    disk = power_cut_disk
    write_text(disk.folder / "new" / "folders" / "a", "text")
    copy_file(disk.folder / "new" / "folders" / "a", disk.folder / "b")
    (disk.folder / "partial" / "in").mkdir(parents=True)
    (disk.folder / "partial" / "in" / "c").write_text("text")
    place_folder(disk.folder / "partial", disk.folder / "1")
    (disk.folder / "library").mkdir()
    (disk.folder / "library" / "d").write_text("text")
    flush_tree(disk.folder / "library")
    (disk.folder / "lost").write_text("text")  # by Python's own means
    disk.cut_power()
    for name in ("new/folders/a", "b", "1/in/c", "library/d"):
        assert (disk.folder / name).read_text() == "text"
    assert not (disk.folder / "lost").exists()


def test_an_error_is_about_the_target_its_folders_or_the_file_for_it_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for target in ("a", tmp_path / "a"):
        for other in ("b", tmp_path / "b", "none/b"):
            with pytest.raises(FileNotFoundError), atomic_write(target):
                open(other)
        with pytest.raises(InputError, match="a: cannot be written"), atomic_write(target) as aside:
            aside.read_text()  # not written yet


def test_the_identity_of_a_file_is_its_size_time_and_ends(tmp_path):
    mebibyte = 1 << 20
    path = tmp_path / "a"
    data = bytes(range(256)) * (3 * mebibyte // 256)
    path.write_bytes(data)
    os.utime(path, ns=(0, 1_500_000_000_000_000_001))
    assert file_identity(path) == {
        "size": 3 * mebibyte,
        "mtime": 1_500_000_000_000_000_001,
        "ends": hashlib.sha256(data[:mebibyte] + data[-mebibyte:]).hexdigest(),
    }
    path.write_bytes(data[: mebibyte + 5])  # the tail begins where the head ends
    assert file_identity(path)["ends"] == hashlib.sha256(data[: mebibyte + 5]).hexdigest()
    path.write_bytes(b"")
    assert file_identity(path)["ends"] == hashlib.sha256().hexdigest()
    with pytest.raises(InputError, match="none: cannot be read .No such file"):
        file_identity(tmp_path / "none")


def test_a_row_of_csv_reads_back_with_any_line_break():
    rows = [["a\rb", "a\nb", "a\r\nb", "\r", ""], ['"', ",", " a ", "a\u2028b", "a"]]
    text = io.StringIO()
    write_row = csv_writer(text)
    for row in [["plain", 1, 0.1], *rows]:
        write_row(row)
    assert text.getvalue().startswith('plain,1,0.1\n"a\rb",')  # one line feed ends a line
    read = [row for _, row in csv_rows("x.csv", text.getvalue())]
    assert read == [["plain", "1", "0.1"], *rows]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("@a", "'@a"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"),
        ("-2+3", "'-2+3"), ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("'=1", "''=1"), ("''+1", "'''+1"),
        ("-x1_Y-z", "-x1_Y-z"), ("-1.5", "-1.5"), ("a=1", "a=1"), ("'a", "'a"),
        ("", ""), ("'", "'"),
    ],
)  # fmt: skip
def test_a_name_that_a_spreadsheet_would_compute_is_written_behind_an_apostrophe(name, written):
    assert quoted_formula(name) == written
    assert unquoted_formula(written) == name


def test_numbers_may_be_text():
    assert [as_number(value) for value in (1, 2.5, "3", " 4e1 ", "-5")] == [1, 2.5, 3, 40, -5]
    for value in ("1_2", "two", "", True, None, [1], {}):
        with pytest.raises(ValueError):
            as_number(value)


def test_names_may_be_numbers():
    assert [as_name(value) for value in ("run", "", 7, 7.0, 0.5)] == ["run", "", "7", "7", "0.5"]
    for value in (True, None, ["run"], {}):
        with pytest.raises(ValueError):
            as_name(value)
