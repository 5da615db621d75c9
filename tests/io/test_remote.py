"""Files behind URLs, against an S3 server (moto) and a web server (nginx) of this machine."""

import contextlib
import http.client
import http.server
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import find_videos
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io import remote
from scnn_tf.io.files import as_path, copy_file, read_text, remove_tree, size_of, write_text
from scnn_tf.io.video import probe, read_frames, write_video

ROOT = Path(__file__).parents[2]


class Between(http.server.ThreadingHTTPServer):
    """Stands between a client and a server of this machine, and makes trouble when told to.

    Attributes:
        trouble: what the next requests meet instead of their answer: a status, or "cut" for an
            answer that breaks off half-way.
        lost: whether all requests meet a 503.
        log: (method, path, Range, status, bytes of the answer) of each request.
    """

    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.trouble, self.lost, self.log = port, [], False, []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def quiet(self) -> None:
        self.trouble, self.lost, self.log = [], False, []


class _Handler(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        if self.headers.get("Expect") == "100-continue":  # or a client waits a second
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self.server.trouble.pop(0) if self.server.trouble else None
        if self.server.lost:
            trouble = 503
        if isinstance(trouble, int):
            status, headers, data = trouble, [("Content-Length", "0")], b""
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.behind)
            headers = {k: v for k, v in self.headers.items() if k != "Expect"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            status, headers, data = answer.status, answer.getheaders(), answer.read()
            connection.close()
        sent = data[: len(data) // 2] if trouble == "cut" else data
        self.server.log.append(
            (self.command, self.path, self.headers.get("Range"), status, len(sent))
        )
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in ("connection", "transfer-encoding"):
                self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has read enough hangs up
            for start in range(0, len(sent), 1 << 16):
                if self.server.lost:
                    break
                self.wfile.write(sent[start : start + (1 << 16)])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def log_message(self, *_) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def store_server():
    """An S3 server that holds the bucket "bucket", as this process's TensorFlow sees it."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    if "s3" not in remote._file_systems():
        pytest.skip("this TensorFlow cannot load tensorflow-io")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # each request
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    between = Between(server.get_host_and_port()[1])
    # Read once, when the first file is opened.
    os.environ |= {
        "S3_ENDPOINT": between.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_MAX_ATTEMPTS": "2",  # to find a lost server lost soon
    }
    request = urllib.request.Request(f"{between.url}/bucket", method="PUT")
    urllib.request.urlopen(request).close()
    yield between
    between.shutdown()
    server.stop()


@pytest.fixture
def store(store_server):
    """The S3 server; `store.folder` is empty."""
    store_server.quiet()
    store_server.folder = as_path("s3://bucket/folder")
    yield store_server
    store_server.quiet()
    remove_tree(store_server.folder)


@pytest.fixture
def web(tmp_path):
    """A web server of `web.root`, with trouble on the way; `web.access` is its own log."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    if "http" not in remote._file_systems():
        pytest.skip("this TensorFlow cannot load tensorflow-io")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "www").mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        f'http {{ log_format short "$status $request_method $request_uri $body_bytes_sent";'
        f"access_log {tmp_path}/access.log short; root {tmp_path}/www;"
        + "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
        + f"server {{ listen 127.0.0.1:{port};"
        "location /plain/ { alias " + f"{tmp_path}/www/; max_ranges 0; }} }} }}\n"
    )
    (tmp_path / "www").chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents):  # nginx's worker is another user
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    process = subprocess.Popen([nginx, "-c", tmp_path / "nginx.conf"])
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.02)
    between = Between(port)
    between.root, between.access = tmp_path / "www", tmp_path / "access.log"
    yield between
    between.shutdown()
    process.terminate()
    process.wait()


def _with_ballast(path: Path) -> Path:
    """Appends 20 MB that are there to be skipped."""
    with path.open("ab") as file:
        file.write((20 << 20).to_bytes(4, "big") + b"free" + bytes((20 << 20) - 8))
    return path


def _noise_video(path: Path, size: int = 64) -> Path:
    random = np.random.default_rng(0)
    write_video(path, (random.integers(0, 256, (size, size, 3), np.uint8) for _ in range(50)), 25)
    return path


def test_files_of_a_store_are_written_listed_and_read(store):
    folder = store.folder
    write_text(folder / "a" / "text.txt", "one")
    write_text(folder / "a" / "more.json.gz", "two")
    (folder / "empty").write_bytes(b"")
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


def test_what_passes_is_tried_again(store):
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
        lambda path: path.write_bytes(b"new"),
    ],
)
def test_a_lost_store_is_not_an_empty_one(store, use):
    write_text(store.folder / "a", "x")
    store.lost = True
    with pytest.raises(OSError) as caught:
        use(store.folder / "a")
    assert not isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == "s3://bucket/folder/a"


def test_a_store_that_lets_nobody_in_says_so(store):
    store.trouble = [403] * 20
    with pytest.raises(PermissionError):
        (store.folder / "a").exists()
    with pytest.raises(InputError, match="s3://bucket/folder/a: cannot be read .Permission denied"):
        read_text(store.folder / "a")


def test_a_bucket_that_is_not_there_is_named(store):
    with pytest.raises(InputError, match="s3://nobody/a: cannot be read .No such file"):
        read_text("s3://nobody/a")
    with pytest.raises(InputError, match="s3://nobody/a: cannot be written .No such file"):
        write_text("s3://nobody/a", "x")


def test_the_exit_code_outlives_a_store(store):
    write_text(store.folder / "a", "x")
    for code in (0, 3):
        program = (
            "import sys; from scnn_tf.io.files import read_text;"
            f"print(read_text('s3://bucket/folder/a')); sys.exit({code})"
        )
        run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
        assert (run.returncode, run.stdout) == (code, b"x\n"), run.stderr


def test_videos_of_a_store_have_the_frames_of_the_file(store, tmp_path):
    here = _noise_video(tmp_path / "v.mp4")
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


def test_of_a_video_in_a_store_only_what_is_needed_is_fetched(store, tmp_path):
    copy_file(_with_ballast(_noise_video(tmp_path / "v.mp4")), store.folder / "v.mp4")
    store.log.clear()
    assert len(list(read_frames(store.folder / "v.mp4"))) == 50
    ranges = [entry for entry in store.log if entry[0] == "GET" and entry[2]]
    assert {entry[3] for entry in ranges} == {206}
    assert sum(entry[4] for entry in ranges) < 5 << 20


def test_files_of_a_web_server_are_read(web):
    (web.root / "a b.txt").write_text("one")
    folder = as_path(web.url)
    assert read_text(folder / "a b.txt") == "one"
    assert (folder / "a b.txt").name == "a b.txt" and size_of(folder / "a b.txt") == 3
    assert (folder / "a b.txt").is_file() and not (folder / "none").exists()
    assert as_path(f"{web.url}/dir/v.mp4?key=a/b").stem == "v"
    with pytest.raises(InputError, match="/none: cannot be read .the server says 404 Not Found"):
        read_text(folder / "none")


def test_nothing_is_written_to_a_web_server(web):
    with pytest.raises(InputError, match=f"{web.url}/a: cannot be written .Read-only file system"):
        write_text(f"{web.url}/a", "x")


def test_what_a_web_server_breaks_off_is_asked_for_again(web):
    data = np.random.default_rng(0).bytes(3 << 20)
    (web.root / "a").write_bytes(data)
    web.trouble = [503, None, "cut", 503, "cut"]  # of HEAD, HEAD, GET, GET, GET
    assert as_path(f"{web.url}/a").read_bytes() == data
    assert not web.trouble
    starts = [entry[2] for entry in web.log if entry[0] == "GET" and entry[3] == 206]
    assert starts == ["bytes=0-", "bytes=1572864-", "bytes=2359296-"]


def test_a_web_server_without_ranges_gives_the_same(web):
    data = np.random.default_rng(0).bytes(1 << 20)
    (web.root / "a").write_bytes(data)
    with as_path(f"{web.url}/plain/a").open() as file:
        file.seek(1000)
        assert file.read(10) == data[1000:1010]
    assert {entry[3] for entry in web.log} == {200}


def test_videos_of_a_web_server_have_the_frames_of_the_file(web, tmp_path):
    here = _noise_video(tmp_path / "v.mp4")
    shutil.copy(here, web.root)
    url = f"{web.url}/v.mp4?key=1"
    assert list(find_videos([url])) == [url]
    assert probe(url).duration == probe(here).duration
    for ours, theirs in zip(read_frames(url), read_frames(here), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "206 GET /v.mp4?key=1" in web.access.read_text()
    with pytest.raises(VideoError, match="none.mp4 does not exist"):
        probe(f"{web.url}/none.mp4")
    web.lost = True
    with pytest.raises(VideoError, match="cannot be read as a video: the server says 503"):
        probe(url)


def test_of_a_video_on_a_web_server_only_what_is_needed_is_fetched(web):
    _with_ballast(_noise_video(web.root / "v.mp4"))
    assert len(list(read_frames(f"http://127.0.0.1:{web.behind}/v.mp4"))) == 50
    lines = [line.split() for line in web.access.read_text().splitlines()]
    assert {status for status, method, _, _ in lines if method == "GET"} == {"206"}
    assert sum(int(sent) for *_, sent in lines) < 15 << 20  # what its socket takes, at most


def test_a_video_whose_server_is_lost_is_not_a_short_one(web):
    _noise_video(web.root / "v.mp4", 640)  # more than what is on its way at a time
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


def test_without_tensorflow_io_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(remote, "_file_systems", lambda: frozenset({"", "file", "gs", "ram"}))
    with pytest.raises(InputError, match="s3://b/x: TensorFlow .* cannot load tensorflow-io"):
        as_path("s3://b/x")
    as_path("gs://b/x")


def test_an_unknown_scheme_is_named():
    if "s3" not in remote._file_systems():
        pytest.skip("this TensorFlow cannot load tensorflow-io")
    with pytest.raises(InputError, match="ftp://b/x: no file system is known for ftp://"):
        as_path("ftp://b/x")


@pytest.mark.slow
def test_from_videos_to_detections_by_url(store, tiny_dataset, tmp_path, run_binary):
    """Every binary reads and writes S3; training is killed, and goes on from its checkpoint."""
    base = str(store.folder)
    for path in [tiny_dataset / "annotations.json", *(tiny_dataset / "videos").iterdir()]:
        copy_file(path, f"{base}/{path.relative_to(tiny_dataset)}")
    recipe = json.loads((tiny_dataset / "recipe.json").read_text()) | {"steps": [40, 2, 2]}
    write_text(f"{base}/recipe.json", json.dumps(recipe))

    def run(name, *arguments):
        code, out, err = run_binary(name, *arguments)
        assert code == 0, err
        return out + err

    run(
        "build_tfrecords", f"--annotations={base}/annotations.json", f"--video_dir={base}/videos",
        f"--output_dir={base}/shards", f"--work_dir={tmp_path}", "--frame_height=32",
        "--frame_width=32", "--background_ratio=4", "--num_shards=2", "--workers=1",
    )  # fmt: skip
    for shard in (tiny_dataset / "shards").glob("*.tfrecord"):
        assert as_path(f"{base}/shards/{shard.name}").read_bytes() == shard.read_bytes()
    assert run("check_dataset", f"--data_dir={base}/shards").startswith("ok")
    training = [f"--data_dir={base}/shards", f"--model_dir={base}/models",
                f"--recipe={base}/recipe.json", "--checkpoint_every=2"]  # fmt: skip

    def train(stage):
        # In a process of its own: TensorFlow holds Python's lock while it opens a checkpoint, and
        # the server here would have to wait for it.
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
        told = trained.communicate()[1]
        assert trained.returncode == 0, told
        assert ("going on after step" in told) == (stage == "proposal")

    found = run("localize", f"--model_dir={base}/models", f"--output_dir={base}/found",
                "--proposal_threshold=0", f"{base}/videos")  # fmt: skip
    assert f"in 4 videos → {base}/found" in found
    table = run("evaluate", f"--annotations={base}/annotations.json", "--subset=test",
                f"--detections={base}/found/detections.json",
                f"--output_json={base}/figures.json")  # fmt: skip
    assert "mAP" in table and json.loads(read_text(f"{base}/figures.json"))
    run("export", f"--model_dir={base}/models", f"--output_dir={base}/saved/scnn")
    assert f'base_path: "{base}/saved/scnn"' in read_text(f"{base}/saved/models.config")
    import tensorflow as tf

    assert "localize" in tf.saved_model.load(f"{base}/saved/scnn/1").signatures
