"""Object stores, against an S3 server (moto) of this machine."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io import stores
from scnn_tf.io.files import (
    as_path,
    copy_file,
    read_text,
    remove_tree,
    sha256,
    size_of,
    write_bytes,
    write_lines,
    write_text,
)
from scnn_tf.io.video import probe, read_frames

ROOT = Path(__file__).parents[2]


def test_files_of_a_store_are_written_listed_and_read(store):
    folder = store.folder
    write_text(folder / "a" / "text.txt", "one")
    write_text(folder / "a" / "more.json.gz", "two")
    write_bytes(folder / "empty", b"")
    assert read_text(folder / "a/text.txt") == "one"
    assert read_text("s3://bucket/folder/a/more.json.gz") == "two"
    assert (size_of(folder / "a/text.txt"), size_of(folder / "empty")) == (3, 0)
    assert (folder / "empty").read_bytes() == b""
    assert [path.name for path in folder.iterdir()] == ["a", "empty"]
    assert list((folder / "a").glob("*.txt")) == [folder / "a" / "text.txt"]
    assert (folder / "a").is_dir() and not (folder / "a").is_file()
    assert (folder / "empty").is_file() and not (folder / "empty").is_dir()
    assert not (folder / "none").exists() and not (folder / "none").is_dir()
    assert folder in list(as_path("s3://bucket").iterdir())

    (folder / "empty").unlink()
    (folder / "empty").unlink(missing_ok=True)
    remove_tree(folder / "a")
    assert not folder.exists()


def test_lines_and_checksums_of_a_store(store):
    write_lines(store.folder / "a.txt", ["a\n", "b\n"])
    assert read_text(store.folder / "a.txt") == "a\nb\n"
    with pytest.raises(ZeroDivisionError):
        write_lines(store.folder / "a.txt", (f"{1 / number}" for number in (1, 0)))
    assert sha256(store.folder / "a.txt") == hashlib.sha256(b"a\nb\n").hexdigest()


def test_files_are_copied_to_a_store_and_back(store, tmp_path):
    data = np.random.default_rng(0).bytes(5 << 20)
    (tmp_path / "here").write_bytes(data)
    copy_file(tmp_path / "here", store.folder / "there")
    copy_file(store.folder / "there", tmp_path / "new" / "again")
    assert (tmp_path / "new" / "again").read_bytes() == data
    with (store.folder / "there").open() as file:
        assert file.seek(-7, os.SEEK_END) == len(data) - 7
        assert file.read(100) == data[-7:] and file.read() == b"" and file.tell() == len(data)
        assert file.seek(3) == 3 and file.seek(2, os.SEEK_CUR) == 5
        assert file.read(4) == data[5:9]


def test_a_request_that_fails_for_a_moment_is_repeated(store):
    write_text(store.folder / "a", "x" * 1000)
    store.trouble = [503, "cut", 500, 503]
    assert read_text(store.folder / "a") == "x" * 1000
    assert not store.trouble


@pytest.mark.parametrize(
    "use",
    [
        lambda path: path.exists(),
        lambda path: path.is_dir(),
        lambda path: path.read_bytes(),
        lambda path: list(path.iterdir()),
        lambda path: path.write_from(io.BytesIO(b"new")),
    ],
)
def test_a_lost_store_is_not_taken_for_an_empty_one(store, use):
    write_text(store.folder / "a", "x")
    store.lost = True
    with pytest.raises(OSError) as caught:
        use(store.folder / "a")
    assert not isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == "s3://bucket/folder/a"


def test_a_store_that_denies_access_is_a_permission_error(store):
    store.trouble = [403] * 20
    with pytest.raises(PermissionError):
        (store.folder / "a").exists()
    with pytest.raises(InputError, match="s3://bucket/folder/a: cannot be read .Permission denied"):
        read_text(store.folder / "a")


def test_a_missing_bucket_is_named(store):
    with pytest.raises(InputError, match="s3://nobody/a: cannot be read .No such file"):
        read_text("s3://nobody/a")
    with pytest.raises(InputError, match="s3://nobody/a: cannot be written .No such file"):
        write_text("s3://nobody/a", "x")


def test_the_exit_code_is_kept_after_a_store_was_used(store):
    write_text(store.folder / "a", "x")
    for code in (0, 3):
        program = (
            "import sys; from scnn_tf.io.files import read_text;"
            "from scnn_tf.io.remote import set_up_process; set_up_process();"
            f"print(read_text('s3://bucket/folder/a')); sys.exit({code})"
        )
        run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
        assert (run.returncode, run.stdout) == (code, b"x\n"), run.stderr


def test_videos_of_a_store_have_the_frames_of_the_file(store, noise_video, tmp_path):
    here = noise_video(tmp_path / "v.mp4")
    there = store.folder / "v.mp4"
    copy_file(here, there)
    assert probe(there).duration == probe(here).duration
    for ours, theirs in zip(read_frames(there), read_frames(here), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(VideoError, match="s3://bucket/folder/none.mp4 does not exist"):
        probe(store.folder / "none.mp4")
    store.lost = True
    with pytest.raises(VideoError, match="s3://bucket/folder/v.mp4 cannot be read as a video"):
        probe(there)


def test_only_the_needed_part_of_a_stored_video_is_fetched(
    store, noise_video, with_ballast, tmp_path
):
    copy_file(with_ballast(noise_video(tmp_path / "v.mp4")), store.folder / "v.mp4")
    store.log.clear()
    assert len(list(read_frames(store.folder / "v.mp4"))) == 50
    ranges = [entry for entry in store.log if entry[0] == "GET" and entry[2]]
    assert {entry[3] for entry in ranges} == {206}
    assert sum(entry[4] for entry in ranges) < 5 << 20


def test_the_error_without_tensorflow_io_says_what_to_do(monkeypatch):
    monkeypatch.setattr(stores, "_file_systems", lambda: frozenset({"", "file", "gs", "ram"}))
    with pytest.raises(InputError, match="s3://b/x: TensorFlow .* cannot load tensorflow-io"):
        as_path("s3://b/x")
    as_path("gs://b/x")


def test_an_unknown_scheme_is_named(tensorflow_io):
    with pytest.raises(InputError, match="ftp://b/x: no file system is known for ftp://"):
        as_path("ftp://b/x")


@pytest.mark.slow
def test_from_videos_to_detections_by_url(store, tiny_dataset, tmp_path, run_binary):
    """Every binary reads and writes S3; training is killed and resumes from its checkpoint.

    What opens checkpoints runs in a process of its own: TensorFlow holds Python's lock meanwhile,
    and the server in this process would have to wait for it.
    """
    base = str(store.folder)
    for path in [tiny_dataset / "annotations.json", *(tiny_dataset / "videos").iterdir()]:
        copy_file(path, f"{base}/{path.relative_to(tiny_dataset)}")
    recipe = json.loads((tiny_dataset / "recipe.json").read_text()) | {
        "proposal": {"steps": 40}, "classification": {"steps": 2}, "localization": {"steps": 2},
    }  # fmt: skip
    write_text(f"{base}/recipe.json", json.dumps(recipe))

    def run(name, *arguments):
        code, out, err = run_binary(name, *arguments)
        assert code == 0, err
        return out + err

    run(
        "build_tfrecords", f"--annotations={base}/annotations.json", f"--video_dir={base}/videos",
        f"--output_dir={base}/shards", f"--work_dir={tmp_path}", "--num_shards=2",
        f"--recipe={base}/recipe.json", "--workers=1",
    )  # fmt: skip
    for shard in (tiny_dataset / "shards").glob("*.tfrecord"):
        assert as_path(f"{base}/shards/{shard.name}").read_bytes() == shard.read_bytes()
    assert run("check_dataset", f"--data_dir={base}/shards").startswith("ok")
    training = [f"--data_dir={base}/shards", f"--model_dir={base}/models",
                f"--recipe={base}/recipe.json", "--checkpoint_every=2"]  # fmt: skip

    def train(stage):
        command = [sys.executable, "-m", "pipelines.train", f"--stage={stage}", *training]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    killed = train("proposal")
    while not as_path(f"{base}/models/proposal/checkpoints/checkpoint").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    for stage in ("proposal", "classification", "localization"):
        trained = train(stage)
        logged = trained.communicate()[1]
        assert trained.returncode == 0, logged
        assert ("resuming after step" in logged) == (stage == "proposal")

    found = run("localize", f"--model_dir={base}/models", f"--output_dir={base}/found",
                "--proposal_threshold=0", f"{base}/videos")  # fmt: skip
    assert f"in 4 videos → {base}/found" in found
    table = run("evaluate", f"--annotations={base}/annotations.json", "--subset=test",
                f"--detections={base}/found/detections.json",
                f"--output_json={base}/figures.json")  # fmt: skip
    assert "mAP" in table and json.loads(read_text(f"{base}/figures.json"))
    run("export", f"--model_dir={base}/models", f"--output_dir={base}/saved/scnn")
    assert f'base_path: "{base}/saved/scnn"' in read_text(f"{base}/saved/models.config")
    program = (
        "import tensorflow as tf; from scnn_tf.io.stores import for_tensorflow;"
        "from scnn_tf.io.remote import set_up_process; set_up_process();"
        f"print(*tf.saved_model.load(for_tensorflow('{base}/saved/scnn/1')).signatures)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert loaded.returncode == 0, loaded.stderr
    assert b"localize" in loaded.stdout.split()
