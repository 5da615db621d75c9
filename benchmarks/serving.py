"""Measures a served model under load, with broken requests and a change of version.

    python -m benchmarks.serving --model_dir=M --requests=8000 --output_json=serving.json

Reads a folder of trained stages. Serves it by the tests' stand-in for TensorFlow Serving, in its
own process on this machine; run the benchmark from the root of the repository. Figures:
"under_load", requests of six kinds from many clients, one in ten broken, while version 2 is swapped
in: right and wrong answers, requests/s, latencies, the server's memory; "batching", requests for
one segment each, merged in the graph and one by one.
"""

import contextlib
import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig
from tqdm import tqdm

from benchmarks import measure
from scnn_tf.localization.scnn import JointSCNN, Localizer, load_scnn
from scnn_tf.segments.windows import SAMPLED_FRAMES
from scnn_tf.serving.bounds import MAX_FRAMES
from scnn_tf.serving.export import export_scnn

MODEL = "scnn"
TOLERANCE = 1e-4  # of scores
_ROOT = Path(__file__).parents[1]
_CLIP_FRAMES = 48  # in requests for a stretch of video
_TIMEOUT_S = 120


class Case(NamedTuple):
    """A request and the answer that it must get.

    Attributes:
        name: Kind of the request.
        request: Message for Predict.
        code: Status code of the answer.
        answers: Version → outputs, if the code is OK.
    """

    name: str
    request: predict_pb2.PredictRequest
    code: grpc.StatusCode
    answers: dict[int, dict[str, np.ndarray]]


class Outcome(NamedTuple):
    """The answer to a request: its latency, whether it was right, its version and status code."""

    seconds: float
    right: bool
    version: int
    code: grpc.StatusCode


def under_load(model: Localizer, *, requests: int, clients: int, seed: int = 0) -> dict:
    """Sends requests of all kinds, one in ten broken, and swaps the version in the middle.

    Args:
        model: The model to serve: version 1 in float32, version 2 in bfloat16.
        requests: Number of requests.
        clients: Number of threads that send them, each one request after the other.
        seed: Seed of the requests' order.

    Returns:
        Counts of right and wrong answers to good and broken requests, answers by version, seconds,
        latencies (ms), and the server's memory over time (MB).
    """
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        versions = [
            export_scnn(model, Path(folder) / MODEL, precision=precision)
            for precision in ("float32", "bfloat16")
        ]
        good = _good(versions, model, random)
        broken = _broken(good[0].request, model)
        order = [
            broken[i // 10 % len(broken)] if i % 10 == 9 else good[random.integers(len(good))]
            for i in range(requests)
        ]
        with _server(Path(folder), _config(versions, 1)) as (channel, memory):
            memories = {"start": memory()}
            swap = requests // 4  # loading takes a while under this load
            prediction, models = PredictionServiceStub(channel), ModelServiceStub(channel)

            def send_next(index: int) -> Outcome:
                if index == swap:
                    reload = ReloadConfigRequest(config=_config(versions, 2))
                    models.HandleReloadConfigRequest(reload, timeout=_TIMEOUT_S)
                if index * 10 % requests < 10:
                    memories[f"{index * 100 // requests} %"] = memory()
                return send(prediction, order[index])

            began = time.monotonic()
            with ThreadPoolExecutor(clients) as pool:
                outcomes = list(tqdm(pool.map(send_next, range(requests)), "requests", requests))
            seconds = time.monotonic() - began
            memories["end"] = memory()
    return {
        "clients": clients,
        **_counts(order, outcomes),
        "seconds": round(seconds, 2),
        "requests_per_s": round(requests / seconds, 1),
        "latency_ms": _percentiles(
            [o for case, o in zip(order, outcomes, strict=True) if case.answers]
        ),
        "server_mb": memories,
    }


def batching(model: Localizer, *, requests: int, clients: int, seed: int = 0) -> dict:
    """Compares requests for one segment each that are merged with requests one by one.

    Args:
        model: The model to serve.
        requests: Number of requests, each way.
        clients: Number of threads that send them.
        seed: Seed of the pictures.

    Returns:
        "merged" and "one by one": wrong answers, requests/s and latencies (ms).
    """
    found = {}
    for name, max_batch_size in (("merged", 32), ("one by one", 1)):
        with tempfile.TemporaryDirectory() as folder:
            version = export_scnn(model, Path(folder) / MODEL, max_batch_size=max_batch_size)
            cases = _good([version], model, np.random.default_rng(seed))
            cases = [case for case in cases if case.name == "serving_default, 1"]
            order = list(itertools.islice(itertools.cycle(cases), requests))
            with _server(Path(folder), _config([version], 1)) as (channel, _):
                send_to_server = functools.partial(send, PredictionServiceStub(channel))
                with ThreadPoolExecutor(clients) as pool:
                    list(pool.map(send_to_server, order[: 2 * clients]))
                    began = time.monotonic()
                    outcomes = list(pool.map(send_to_server, order))
                    seconds = time.monotonic() - began
        found[name] = {
            "wrong": sum(not o.right for o in outcomes),
            "requests_per_s": round(requests / seconds, 1),
            "latency_ms": _percentiles(outcomes),
        }
    return found


def send(stub: PredictionServiceStub, case: Case) -> Outcome:
    """Sends a request and compares the answer with that of the version that gave it.

    Args:
        stub: Its `Predict` sends the request.
        case: The request and its answers.
    """
    began = time.monotonic()
    try:
        response = stub.Predict(case.request, timeout=_TIMEOUT_S)
    except grpc.RpcError as error:
        return Outcome(time.monotonic() - began, error.code() == case.code, 0, error.code())
    seconds = time.monotonic() - began
    version = response.model_spec.version.value
    expected = case.answers.get(version, {})
    found = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    right = bool(expected) and found.keys() == expected.keys()
    for name in expected if right else ():
        same_shape = found[name].shape == expected[name].shape
        right &= same_shape and np.allclose(found[name], expected[name], rtol=0, atol=TOLERANCE)
    return Outcome(seconds, right, version, grpc.StatusCode.OK)


def _counts(order: Sequence[Case], outcomes: Sequence[Outcome]) -> dict:
    """Returns the numbers of right and wrong answers, and of answers by version."""
    pairs = list(zip(order, outcomes, strict=True))
    good = [outcome for case, outcome in pairs if case.answers]
    broken = [outcome for case, outcome in pairs if not case.answers]
    return {
        "requests": len(pairs),
        "good": {"right": sum(o.right for o in good), "wrong": sum(not o.right for o in good)},
        "broken": {
            "refused": sum(o.right for o in broken),
            "wrong": sum(not o.right for o in broken),
        },
        "wrong": Counter(f"{case.name}: {o.code.name}" for case, o in pairs if not o.right),
        "versions": Counter(o.version for o in good),
    }


def _good(versions: list[Path], model: Localizer, random: np.random.Generator) -> list[Case]:
    """Returns requests of all kinds with the answers of every version, computed in this process."""
    recipe = model.info.recipe
    size = recipe.shards.frame_height, recipe.shards.frame_width, 3
    loaded = {int(path.name): tf.saved_model.load(str(path)).signatures for path in versions}
    length = {"window_frames": np.int32} if recipe.window_input else {}
    cases = []

    def add(name: str, signature: str, inputs: dict) -> None:
        answers = {
            version: {
                key: value.numpy()
                for key, value in signatures[signature](
                    **{key: tf.constant(value) for key, value in inputs.items()}
                ).items()
            }
            for version, signatures in loaded.items()
        }
        cases.append(Case(name, _request(signature, inputs), grpc.StatusCode.OK, answers))

    for _ in range(4):
        video = random.integers(0, 256, [_CLIP_FRAMES, *size], np.uint8)
        images = np.array([tf.io.encode_jpeg(frame).numpy() for frame in video], object)
        for count in (1, 3):
            lengths = {key: np.full([count], 16, kind) for key, kind in length.items()}
            starts = np.arange(count)[:, None] * 8 + np.arange(SAMPLED_FRAMES)
            clips = {"frames": video[starts], **lengths}
            add(f"serving_default, {count}", "serving_default", clips)
            add(f"jpeg, {count}", "jpeg", {"images": images[starts], **lengths})
        add("score_frames", "score_frames", {"frames": video})
        if not isinstance(model, JointSCNN):
            add("score_stretch", "score_stretch", {"images": images, "scored_frames": np.int32(0)})
    return cases


def _broken(good: predict_pb2.PredictRequest, model: Localizer) -> list[Case]:
    """Returns requests that must be refused, each with its code."""
    recipe = model.info.recipe
    size = [recipe.shards.frame_height, recipe.shards.frame_width, 3]
    invalid = grpc.StatusCode.INVALID_ARGUMENT

    def changed(name: str, code: grpc.StatusCode, change: Callable) -> Case:
        request = predict_pb2.PredictRequest()
        request.CopyFrom(good)
        change(request)
        return Case(name, request, code, {})

    def frames(value: np.ndarray) -> Callable:
        return lambda request: request.inputs["frames"].CopyFrom(tf.make_tensor_proto(value))

    video = _request("score_frames", {"frames": np.zeros([MAX_FRAMES + 1, 8, 8, 3], np.uint8)})
    garbage = {"images": np.full([1, SAMPLED_FRAMES], b"\xff\xd8 no JPEG", object)}
    if recipe.window_input:
        garbage["window_frames"] = np.array([16], np.int32)
    nan = np.full([1, SAMPLED_FRAMES, *size], np.nan, np.float32)
    return [
        changed("wrong rank", invalid, frames(np.zeros([SAMPLED_FRAMES, *size], np.uint8))),
        changed("wrong dtype", invalid, frames(np.zeros([1, SAMPLED_FRAMES, *size], np.int64))),
        changed("NaN", invalid, frames(nan)),
        changed("empty batch", invalid, frames(np.zeros([0, SAMPLED_FRAMES, *size], np.uint8))),
        Case("garbage JPEG", _request("jpeg", garbage), invalid, {}),
        Case("too many frames", video, invalid, {}),
        changed("no input", invalid, lambda request: request.inputs.clear()),
        changed(
            "unknown model",
            grpc.StatusCode.NOT_FOUND,
            lambda request: setattr(request.model_spec, "name", "other"),
        ),
        changed(
            "unknown signature",
            grpc.StatusCode.FAILED_PRECONDITION,
            lambda request: setattr(request.model_spec, "signature_name", "other"),
        ),
    ]


def _request(signature: str, inputs: dict) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def _config(versions: list[Path], version: int) -> ModelServerConfig:
    """Returns the server's configuration with one of the versions."""
    config = ModelServerConfig()
    model = config.model_config_list.config.add(
        name=MODEL, model_platform="tensorflow", base_path=str(versions[0].parent)
    )
    model.model_version_policy.specific.versions.append(version)
    return config


@contextlib.contextmanager
def _server(
    folder: Path, config: ModelServerConfig
) -> Iterator[tuple[grpc.Channel, Callable[[], float]]]:
    """Starts a server in its own process; yields a channel to it and a function of its memory."""
    config_file = folder / "models.config"
    config_file.write_text(str(config))
    command = [sys.executable, "-m", "tests.serving_stand_in.server", str(config_file)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}")
            status, page = Path(f"/proc/{process.pid}/statm"), os.sysconf("SC_PAGE_SIZE")
            limit = 512 << 20
            options = [
                ("grpc.max_send_message_length", limit),
                ("grpc.max_receive_message_length", limit),
            ]
            with grpc.insecure_channel(address, options) as channel:
                yield channel, lambda: round(int(status.read_text().split()[1]) * page / 1e6, 1)
        finally:
            process.terminate()


def _percentiles(outcomes: list[Outcome]) -> dict[str, float]:
    milliseconds = 1000 * np.array([o.seconds for o in outcomes])
    return {f"p{q}": round(float(np.percentile(milliseconds, q)), 1) for q in (50, 99)}


def run() -> None:
    """Runs this benchmark as a program."""
    model_dir = flags.DEFINE_string(
        "model_dir", None, "Folder of the trained stages to serve.", required=True
    )
    requests = flags.DEFINE_integer("requests", 4000, "Number of requests.", 100)
    clients = flags.DEFINE_integer("clients", 32, "Number of clients that send them.", 1)

    def suite() -> dict:
        model = load_scnn(model_dir.value)
        load = {"requests": requests.value, "clients": clients.value}
        return {"under_load": under_load(model, **load), "batching": batching(model, **load)}

    measure.run(suite)


if __name__ == "__main__":
    run()
