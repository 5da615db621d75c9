import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

ROOT = Path(__file__).parents[2]

# Of 127.0.0.1, signed by itself, from 2000 to 2100; it protects nothing.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgEHb6l/g5khfu2niL
nLdiiRk+j+I0ZVYUAS/c1g7oaSehRANCAAQKdbANI3EtcRJNBBmfYvajRvwNIRu7
dgxIEMhXXaSqODvBxPr18cFx12iOPxjQWiWJxjHg0uFniNbgKcaP/erF
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBWTCB/6ADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCWxvY2FsaG9z
dDAgFw0wMDAxMDEwMDAwMDBaGA8yMTAwMDEwMTAwMDAwMFowFDESMBAGA1UEAwwJ
bG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECnWwDSNxLXESTQQZ
n2L2o0b8DSEbu3YMSBDIV12kqjg7wcT69fHBcddojj8Y0FolicYx4NLhZ4jW4CnG
j/3qxaNAMD4wDwYDVR0RBAgwBocEfwAAATAMBgNVHRMEBTADAQH/MB0GA1UdDgQW
BBTTTW3cdKtqsCwvLkVd8O3A9IUr1jAKBggqhkjOPQQDAgNJADBGAiEA7WKItGOs
+rqDYLohcaiUhR4PsDFF59qBWQLkyxQT0uQCIQC/Eb8ysAdKaGqasJnQ0evGKNOH
OqFpHrSXXDm0TlrkNQ==
-----END CERTIFICATE-----
"""


class Waiting(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "folder")])
    def wait(self, folder):
        """Writes `started` into a folder, and answers when `go` is there too."""
        with tf.control_dependencies([tf.io.write_file(folder + "/started", "")]):
            go = folder + "/go"
        (rounds,) = tf.while_loop(
            lambda i: tf.equal(tf.size(tf.io.matching_files(go)), 0), lambda i: [i + 1], [0]
        )
        return {"answered": rounds >= 0}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder as `export` leaves it, and the files for TLS."""
    folder = tmp_path_factory.mktemp("saved_models")
    model = Waiting()
    tf.saved_model.save(model, folder / "toy" / "4", model.wait)
    (folder / "models.config").write_text(
        'model_config_list { config { name: "toy" base_path: "/models/toy" '
        'model_platform: "tensorflow" } }'
    )
    (folder / "key.pem").write_text(KEY)
    (folder / "certificate.pem").write_text(CERTIFICATE)
    return folder


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)
    return path.read_text()


def ask(channel, folder):
    """Begins a request that is answered once `folder` has a file named "go"."""
    request = PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["folder"].CopyFrom(tf.make_tensor_proto(str(folder)))
    call = PredictionServiceStub(channel).Predict.future(request, 60)
    wait_for(folder / "started")
    return call


def answered(call):
    return tf.make_ndarray(call.result().outputs["answered"]) == np.True_


@pytest.fixture
def serve(models, tmp_path):
    """`serve()` runs the binary and gives the process and a channel to it."""
    processes = []

    def start(*flags):
        # Neither Keras nor the networks can be imported there.
        code = (
            "import runpy, sys; sys.modules.update(dict.fromkeys(['keras', 'scnn_tf.models']));"
            "runpy.run_module('pipelines.serve', run_name='__main__', alter_sys=True)"
        )
        flags = [
            f"--model_config_file={models / 'models.config'}", "--port=0",
            f"--port_file={tmp_path / 'port'}", *flags,
        ]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", code, *flags], cwd=ROOT, text=True, stdout=subprocess.PIPE
        )
        processes.append(process)
        return process, grpc.insecure_channel(f"127.0.0.1:{int(wait_for(tmp_path / 'port'))}")

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_sigterm_lets_what_is_under_way_end(serve, tmp_path):
    process, channel = serve()
    running = ask(channel, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline().startswith("serving toy (version 4) at 127.0.0.1:")
    assert process.stdout.readline() == "stopping\n"
    assert not running.done()
    (tmp_path / "go").touch()
    assert answered(running)
    assert process.wait(60) == 0


def test_sigterm_does_not_wait_for_ever(serve, tmp_path):
    process, channel = serve("--grace_s=0.1")
    running = ask(channel, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert running.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
def signals():
    """Puts the handlers of signals back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_tls_and_ctrl_c(run_binary, models, tmp_path, signals):
    answers = []

    def client():
        address = f"127.0.0.1:{int(wait_for(tmp_path / 'port'))}"
        credentials = grpc.ssl_channel_credentials(CERTIFICATE.encode())
        try:
            answers.append(answered(ask(grpc.secure_channel(address, credentials), tmp_path)))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    (tmp_path / "go").touch()
    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    code, out, err = run_binary(
        "serve", f"--model_config_file={models / 'models.config'}", "--port=0",
        f"--port_file={tmp_path / 'port'}", f"--ssl_key={models / 'key.pem'}",
        f"--ssl_cert={models / 'certificate.pem'}",
    )  # fmt: skip
    assert code == 0, err
    assert out.endswith("stopping\n") and "Traceback" not in err
    thread.join(60)
    assert answers == [True]


def test_mistakes_are_told_in_one_sentence(run_binary, models, tmp_path):
    def fails(message, *flags, expected=1):
        code, _, err = run_binary(
            "serve", f"--model_config_file={models / 'models.config'}", "--port=0", *flags
        )
        assert code == expected and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    broken = models / "broken.config"
    broken.write_text("models: everywhere")
    empty = models / "empty.config"
    empty.write_text(
        f'model_config_list {{ config {{ name: "none" base_path: "{tmp_path}" '
        'model_platform: "tensorflow" } }'
    )
    nothing = models / "nothing.config"
    nothing.write_text("model_config_list {}")
    fails("none.config: cannot be read", "--model_config_file=none.config")
    fails("broken.config: not a text ModelServerConfig", f"--model_config_file={broken}")
    fails(f"model none has no version to serve: {tmp_path}", f"--model_config_file={empty}")
    fails("nothing.config: names no model to serve", f"--model_config_file={nothing}")
    for flag in ("--file_system_poll_wait_seconds", "--grace_s"):
        fails(f"flag {flag}=inf", f"{flag}=inf", expected=2)
    fails("both --ssl_key and --ssl_cert", f"--ssl_key={models / 'key.pem'}")
    fails("No such file", f"--ssl_key={tmp_path}/none", f"--ssl_cert={tmp_path}/none")
    fails("the TLS key is not valid", f"--ssl_key={broken}", f"--ssl_cert={broken}")
    fails("cannot listen at 300.1.1.1:0", "--address=300.1.1.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        fails(f"cannot listen at 127.0.0.1:{port}: the port is in use", f"--port={port}")
