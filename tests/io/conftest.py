"""Servers on this machine for the tests of URLs: an S3 store (moto) and web servers."""

import contextlib
import functools
import getpass
import http.client
import http.server
import logging
import os
import re
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, remove_tree
from scnn_tf.io.remote import set_up_process
from scnn_tf.io.video import write_video


class Between(http.server.ThreadingHTTPServer):
    """A proxy between a client and a server of this machine that fails as a test asks for.

    Attributes:
        trouble: What the next requests get: a status, "cut" for an answer that ends half-way, or
            None for the server's answer.
        lost: Whether all requests get a 503.
        log: (method, path, Range, status, bytes of the answer) of each request.
    """

    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.trouble, self.lost, self.log = port, [], False, []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

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
        pass


class _Files(http.server.BaseHTTPRequestHandler):
    """Serves a folder, with ranges; as `/plain/…` without, as `/sizeless/…` without a size too."""

    def __init__(self, *args, root: Path):
        self.root = root
        super().__init__(*args)

    def do_GET(self) -> None:
        _, kind, name = re.fullmatch(r"/((plain|sizeless)/)?(.*?)(?:\?.*)?", self.path).groups()
        path = self.root / urllib.parse.unquote(name)
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part and not kind:
            first, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        if kind != "sizeless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="session")
def tensorflow_io():
    """Skips where tensorflow-io's file systems do not load into this TensorFlow."""
    try:
        as_path("s3://bucket")
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def store_server(tensorflow_io):
    """An S3 server that holds the bucket "bucket", as this process's TensorFlow sees it."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    set_up_process()
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


@contextlib.contextmanager
def _python(folder: Path):
    handler = functools.partial(_Files, root=folder / "www")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()


@contextlib.contextmanager
def _nginx(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    (folder / "nginx.conf").write_text(
        # The worker keeps this user: pytest's folders are closed to others.
        f"user {getpass.getuser()}; daemon off; pid {folder}/pid; error_log {folder}/error.log;"
        "events {}\n"
        f"http {{ access_log off; root {folder}/www;"
        + "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        + f"server {{ listen 127.0.0.1:{port};"
        "location /plain/ { alias " + f"{folder}/www/; max_ranges 0; }} }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf"])
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.02)
    yield port
    process.terminate()
    process.wait()


@pytest.fixture
def web(tmp_path):
    """A web server of the folder `web.root`, behind a `Between`; `/plain/` has no ranges."""
    yield from _between(_python, tmp_path)


@pytest.fixture(params=[_python, pytest.param(_nginx, marks=pytest.mark.needs("nginx"))])
def each_web(request, tmp_path):
    """Like `web`: the server of Python and, where it is installed, nginx."""
    yield from _between(request.param, tmp_path)


def _between(serve, folder: Path):
    (folder / "www").mkdir()
    with serve(folder) as port:
        between = Between(port)
        between.root = folder / "www"
        yield between
        between.shutdown()


@pytest.fixture
def noise_video():
    """A function that writes a video of 50 frames of noise, which hardly compress."""

    def write(path: Path, size: int = 64) -> Path:
        random = np.random.default_rng(0)
        frames = (random.integers(0, 256, (size, size, 3), np.uint8) for _ in range(50))
        write_video(path, frames, 25)
        return path

    return write


@pytest.fixture
def with_ballast():
    """A function that appends 20 MB to a video, which its readers skip."""

    def append(path: Path) -> Path:
        with path.open("ab") as file:
            file.write((20 << 20).to_bytes(4, "big") + b"free" + bytes((20 << 20) - 8))
        return path

    return append
