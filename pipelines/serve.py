"""Serves exported models over gRPC, where there is no TensorFlow Serving.

    python -m pipelines.serve --model_config_file=saved_models/models.config

Reads the same `models.config` and SavedModels as `tensorflow_model_server`, and offers its gRPC
services: PredictionService (Predict, GetModelMetadata), ModelService and health. A folder that the
file names but this machine does not have is looked for beside the file. New versions are swapped
in while requests are answered, and a `models.config` that has changed is read again; one that is
not valid is logged and changes nothing. Writes nothing but --port_file. Stops on SIGTERM or Ctrl-C,
when the requests under way are answered; a second one stops it at once.
"""

import logging
import os
import signal
import threading
from pathlib import Path

from absl import flags

from pipelines import _cli
from scnn_tf.errors import InputError
from scnn_tf.io.files import write_text

_DAY_S = 86400.0  # no wait is longer; threads cannot wait for ever by a number

_MODEL_CONFIG_FILE = flags.DEFINE_string(
    "model_config_file", None, "ModelServerConfig, as text.", required=True
)
_ADDRESS = flags.DEFINE_string(
    "address", "127.0.0.1", "Where to listen; 0.0.0.0: on every network, for anybody to ask."
)
_PORT = flags.DEFINE_integer("port", 8500, "0: any that is free.", 0, 65535)
_PORT_FILE = flags.DEFINE_string("port_file", None, "Writes the port there when it is ready.")
_POLL = flags.DEFINE_float(
    "file_system_poll_wait_seconds",
    1.0,
    "How often new versions, and changes of the configuration, are looked for.",
    0.01,
    _DAY_S,
)
_THREADS = flags.DEFINE_integer(
    "threads", 32, "Requests that compute at the same time; a model merges what it can.", 1
)
_MAX_MESSAGE_MB = flags.DEFINE_integer(
    "max_message_mb", 512, "Largest request and largest response.", 1, 2047
)
_GRACE_S = flags.DEFINE_float(
    "grace_s", 30.0, "Seconds that requests under way may take when it is stopped.", 0.0, _DAY_S
)
_SSL_KEY = flags.DEFINE_string("ssl_key", None, "PEM file of the private key; with --ssl_cert.")
_SSL_CERT = flags.DEFINE_string("ssl_cert", None, "PEM file of the certificate, for TLS.")
_LAST_S = 5.0  # that a cancelled request may take to end


def main(argv: list[str]) -> None:
    """Serves until a signal comes."""
    del argv
    if (_SSL_KEY.value is None) != (_SSL_CERT.value is None):
        raise InputError("TLS needs both --ssl_key and --ssl_cert")
    # What gRPC cannot do, we say; it would say it first, in its own words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # TensorFlow calls the loader that TensorFlow Serving has too deprecated; users cannot mend it.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    import grpc

    from scnn_tf.serving.model_server import RPC_THREADS, ModelServer

    credentials = None
    if _SSL_KEY.value:
        pair = Path(_SSL_KEY.value).read_bytes(), Path(_SSL_CERT.value).read_bytes()
        credentials = grpc.ssl_server_credentials([pair])
    server = ModelServer(
        _MODEL_CONFIG_FILE.value,
        _ADDRESS.value,
        _PORT.value,
        credentials,
        _THREADS.value,
        _POLL.value,
        _MAX_MESSAGE_MB.value,
    )
    stopped = threading.Event()

    def stop(number, frame) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.start()
    if _PORT_FILE.value:
        write_text(_PORT_FILE.value, f"{server.port}\n")
    print(f"serving {', '.join(server.models.names())} at {server.address}", flush=True)
    stopped.wait()
    print("stopping", flush=True)
    server.stop(_GRACE_S.value)
    # A computation that does not look whether it is cancelled must not hold the process up.
    for thread in threading.enumerate():
        if thread.name.startswith(RPC_THREADS):
            thread.join(_LAST_S)
            if thread.is_alive():
                os._exit(0)


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
