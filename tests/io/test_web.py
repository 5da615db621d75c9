"""Files of web servers, against one in Python and, where it is installed, nginx."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import find_videos
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import as_path, file_identity, read_text, sha256, size_of, write_text
from scnn_tf.io.stores import for_tensorflow
from scnn_tf.io.video import probe, read_frames

ROOT = Path(__file__).parents[2]
BLOCK = 1 << 21  # bytes of a request


def random_bytes(count: int) -> bytes:
    return np.random.default_rng(0).bytes(count)


def test_files_of_a_web_server_are_read(each_web):
    (each_web.root / "a b.txt").write_text("one")
    (each_web.root / "empty").write_bytes(b"")
    folder = as_path(each_web.url)
    assert read_text(folder / "a b.txt") == "one"
    assert read_text(f"{each_web.url}/a b.txt") == "one"
    assert (folder / "a b.txt").name == "a b.txt" and size_of(folder / "a b.txt") == 3
    assert folder / Path("a b.txt") == folder / "a b.txt"
    assert (folder / "a b.txt").is_file() and not (folder / "a b.txt").is_dir()
    assert (folder / "empty").read_bytes() == b"" and not (folder / "none").exists()
    with pytest.raises(InputError, match="/none: cannot be read .the server says 404 Not Found"):
        read_text(folder / "none")


def test_the_query_of_a_url_is_not_part_of_its_name():
    assert as_path("http://host/dir/v.mp4?key=a/b").stem == "v"
    assert as_path("HTTPS://host/dir/v.mp4?key=a/b").suffix == ".mp4"


def test_a_web_server_is_read_only_and_cannot_be_listed(web):
    with pytest.raises(InputError, match=f"{web.url}/a: cannot be written .Read-only file system"):
        write_text(f"{web.url}/a", "x")
    with pytest.raises(OSError, match="cannot be listed"):
        as_path(web.url).iterdir()


def test_web_servers_need_no_tensorflow(web):
    (web.root / "a").write_text("one")
    program = (
        "import sys; from scnn_tf.io.files import read_text;"
        f"print(read_text('{web.url}/a')); assert 'tensorflow' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"one\n", b"")


def test_an_interrupted_answer_is_asked_for_again_from_its_block(each_web):
    data = random_bytes(5 << 20)
    (each_web.root / "a").write_bytes(data)
    # HEAD and GET of the first look at the file, HEAD of the second, then its blocks.
    each_web.trouble = [503, 503, None, "cut", 503]
    assert as_path(f"{each_web.url}/a").read_bytes() == data
    assert not each_web.trouble
    ranges = [entry[2] for entry in each_web.log if entry[0] == "GET" and entry[3] == 206]
    first = f"bytes=0-{BLOCK - 1}"
    assert ranges[:2] == [first, first]  # the one that was cut, and again
    assert ranges[2:] == [f"bytes={BLOCK}-{2 * BLOCK - 1}", f"bytes={2 * BLOCK}-{3 * BLOCK - 1}"]


def test_a_block_that_was_read_is_not_asked_for_again(web):
    data = random_bytes(5 << 20)
    (web.root / "a").write_bytes(data)
    with as_path(f"{web.url}/a").open() as file:
        for position in (0, 4 << 20, 10, (4 << 20) + 10):
            file.seek(position)
            assert file.read(10) == data[position : position + 10]
        assert file.seek(-7, os.SEEK_END) == len(data) - 7
        assert file.read(100) == data[-7:] and file.read() == b"" and file.tell() == len(data)
    assert len([entry for entry in web.log if entry[0] == "GET"]) == 2


def test_a_web_server_without_ranges_gives_the_same_bytes(each_web):
    data = random_bytes(5 << 20)
    (each_web.root / "a").write_bytes(data)
    with as_path(f"{each_web.url}/plain/a").open() as file:
        file.seek(3 << 20)
        assert file.read(10) == data[3 << 20 : (3 << 20) + 10]
        file.seek(0)
        assert file.read() == data
    assert {entry[3] for entry in each_web.log} == {200}


def test_a_file_whose_size_the_server_does_not_tell_is_read(web):
    data = random_bytes(5 << 20)
    (web.root / "a").write_bytes(data)
    assert as_path(f"{web.url}/sizeless/a").read_bytes() == data
    with pytest.raises(OSError, match="does not tell its size"):
        size_of(as_path(f"{web.url}/sizeless/a"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_a_permission_error_and_is_not_repeated(web, status):
    web.trouble = [status] * 3  # HEAD, GET, and one that is left
    with pytest.raises(PermissionError, match=f"the server says {status}"):
        as_path(f"{web.url}/a").exists()
    assert web.trouble == [status]


@pytest.mark.slow
def test_a_lost_web_server_is_not_taken_for_a_missing_file(web):
    (web.root / "a").write_text("one")
    web.lost = True
    with pytest.raises(OSError, match="the server says 503") as caught:
        as_path(f"{web.url}/a").exists()
    assert not isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == f"{web.url}/a"


def test_an_invalid_url_is_named():
    for function in (read_text, probe, lambda url: list(find_videos([url]))):
        with pytest.raises(InputError, match=r"^http://\[::1/a.mp4: expected a valid URL"):
            function("http://[::1/a.mp4")
    with pytest.raises(InputError, match="^http://127.0.0.1:99999/a: cannot be read"):
        read_text("http://127.0.0.1:99999/a")


@pytest.mark.slow
def test_a_port_on_which_nobody_listens_is_not_taken_for_a_missing_file():
    with pytest.raises(OSError, match="Cannot connect") as caught:
        as_path("http://127.0.0.1:9/a").exists()
    assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.slow
def test_videos_of_a_web_server_have_the_frames_of_the_file(each_web, noise_video, tmp_path):
    here = noise_video(tmp_path / "v.mp4")
    shutil.copy(here, each_web.root)
    url = f"{each_web.url}/v.mp4?key=1"
    assert list(find_videos([url])) == [url]
    assert probe(url).duration == probe(here).duration
    for ours, theirs in zip(read_frames(url), read_frames(here), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {entry[1] for entry in each_web.log} == {"/v.mp4?key=1"}
    with pytest.raises(VideoError, match="none.mp4 does not exist"):
        probe(f"{each_web.url}/none.mp4")
    each_web.lost = True
    with pytest.raises(VideoError, match="cannot be read as a video: the server says 503"):
        probe(url)


def test_only_the_needed_part_of_a_video_on_a_web_server_is_fetched(
    each_web, noise_video, with_ballast
):
    with_ballast(noise_video(each_web.root / "v.mp4"))
    assert len(list(read_frames(f"{each_web.url}/v.mp4"))) == 50
    gets = [entry for entry in each_web.log if entry[0] == "GET"]
    assert {entry[3] for entry in gets} == {206}
    assert sum(entry[4] for entry in gets) < 10 << 20


@pytest.mark.slow
def test_a_video_whose_server_is_lost_is_not_a_short_one(web, noise_video):
    noise_video(web.root / "v.mp4", 640)  # many blocks
    frames = read_frames(f"{web.url}/v.mp4")
    next(frames)
    web.lost = True
    with pytest.raises(VideoError, match="the server says 503"):
        list(frames)


def test_annotations_of_a_web_server_are_read(web, tiny_dataset):
    shutil.copy(tiny_dataset / "annotations.json", web.root)
    assert read_annotations(f"{web.url}/annotations.json", "train") == read_annotations(
        tiny_dataset / "annotations.json", "train"
    )


def test_the_checksum_of_a_file_on_a_web_server(web):
    (web.root / "a").write_bytes(random_bytes(5 << 20))
    assert sha256(f"{web.url}/a") == sha256(web.root / "a")


def test_the_identity_of_a_file_on_a_web_server_is_read_from_its_ends(web):
    (web.root / "a").write_bytes(random_bytes(20 << 20))
    assert file_identity(f"{web.url}/a") == {**file_identity(web.root / "a"), "mtime": None}
    assert len([entry for entry in web.log if entry[0] == "GET"]) == 2  # blocks of 2 MiB


def test_tensorflow_reads_records_of_a_web_server(web, tensorflow_io):
    with tf.io.TFRecordWriter(str(web.root / "a.tfrecord")) as writer:
        writer.write(b"one")
    records = tf.data.TFRecordDataset(for_tensorflow(f"{web.url}/a.tfrecord"))
    assert [record.numpy() for record in records] == [b"one"]
