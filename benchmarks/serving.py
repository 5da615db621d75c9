"""A served model under load: many clients, broken requests, a change of version in the middle."""

import contextlib
import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2
from tqdm import tqdm

from benchmarks import measure
from scnn_tf.localization.scnn import SCNN, load_scnn
from scnn_tf.segments.windows import SAMPLED_FRAMES
from scnn_tf.serving.export import export

MODEL = "scnn"
TOLERANCE = 1e-4  # of scores
_ROOT = Path(__file__).parents[1]
_CLIP_FRAMES = 48  # of the requests that bring a stretch of video


class Case(NamedTuple):
    """A request and what must come back.

    Attributes:
        name: of the kind of request.
        request: to Predict.
        code: of the answer.
        answers: version → the outputs, where the answer is OK.
    """

    name: str
    request: predict_pb2.PredictRequest
    code: grpc.StatusCode
    answers: dict[int, dict[str, np.ndarray]]


class Outcome(NamedTuple):
    """What became of a request: how long it took (s), whether it was right, and what it was."""

    seconds: float
    right: bool
    version: int
    code: grpc.StatusCode


def under_load(networks: SCNN, requests: int, clients: int, seed: int = 0) -> dict:
    """Thousands of requests from many clients, one in ten broken, a version swap in the middle.

    Args:
        networks: to serve: version 1 in float32, version 2 in bfloat16.
        requests: how many in all.
        clients: threads that send them, one after the other each.
        seed: of their order.

    Returns:
        Counts of right and wrong answers to good and broken requests, answers by version, seconds,
        latencies (ms), and the server's memory over time (MB).
    """
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        versions = [
            export(networks, Path(folder) / MODEL, precision=precision)
            for precision in ("float32", "bfloat16")
        ]
        cases = _good(versions, networks, random)
        broken = _broken(cases[0].request, networks)
        order = [
            broken[i // 10 % len(broken)] if i % 10 == 9 else cases[random.integers(len(cases))]
            for i in range(requests)
        ]
        with _server(Path(folder), _config(versions, 1)) as (address, memory):
            channel = _channel(address)
            memories = {"start": memory()}
            swap = requests // 4  # loading takes a while, under this load

            def send(index: int) -> Outcome:
                if index == swap:
                    reload = model_management_pb2.ReloadConfigRequest(config=_config(versions, 2))
                    service = model_service_pb2_grpc.ModelServiceStub(channel)
                    service.HandleReloadConfigRequest(reload, timeout=120)
                if index * 10 % requests < 10:
                    memories[f"{index * 100 // requests} %"] = memory()
                return _sent(channel, order[index])

            began = time.monotonic()
            with ThreadPoolExecutor(clients) as pool:
                outcomes = list(tqdm(pool.map(send, range(requests)), "requests", requests))
            seconds = time.monotonic() - began
            memories["end"] = memory()
    good = [o for o, case in zip(outcomes, order, strict=True) if case.answers]
    bad = [o for o, case in zip(outcomes, order, strict=True) if not case.answers]
    return {
        "requests": requests,
        "clients": clients,
        "good": {"right": sum(o.right for o in good), "wrong": sum(not o.right for o in good)},
        "broken": {"refused": sum(o.right for o in bad), "wrong": sum(not o.right for o in bad)},
        "wrong": Counter(
            f"{case.name}: {o.code.name}"
            for o, case in zip(outcomes, order, strict=True)
            if not o.right
        ),
        "versions": Counter(o.version for o in good),
        "seconds": round(seconds, 2),
        "requests_per_s": round(requests / seconds, 1),
        "latency_ms": _percentiles(good),
        "server_mb": memories,
    }


def batching(networks: SCNN, requests: int, clients: int, seed: int = 0) -> dict:
    """Throughput of requests for one segment each, merged and one by one.

    Args:
        networks: to serve.
        requests: how many, each way.
        clients: threads that send them.
        seed: of the pictures.

    Returns:
        "merged" and "one by one": requests a second and latencies (ms).
    """
    found = {}
    for name, max_batch_size in (("merged", 32), ("one by one", 1)):
        with tempfile.TemporaryDirectory() as folder:
            version = export(networks, Path(folder) / MODEL, max_batch_size=max_batch_size)
            cases = _good([version], networks, np.random.default_rng(seed))
            cases = [case for case in cases if case.name == "serving_default, 1"]
            with _server(Path(folder), _config([version], 1)) as (address, _):
                send = functools.partial(_sent, _channel(address))
                order = list(itertools.islice(itertools.cycle(cases), requests))
                with ThreadPoolExecutor(clients) as pool:
                    list(pool.map(send, order[: 2 * clients]))
                    began = time.monotonic()
                    outcomes = list(pool.map(send, order))
                    seconds = time.monotonic() - began
        found[name] = {
            "wrong": sum(not o.right for o in outcomes),
            "requests_per_s": round(requests / seconds, 1),
            "latency_ms": _percentiles(outcomes),
        }
    return found


def _good(versions: list[Path], networks: SCNN, random: np.random.Generator) -> list[Case]:
    """Requests of all kinds with the answers of every version, found in this process."""
    recipe = networks.info.recipe
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
        add("score_stretch", "score_stretch", {"images": images, "scored_frames": np.int32(0)})
    return cases


def _broken(good: predict_pb2.PredictRequest, networks: SCNN) -> list[Case]:
    """Requests that must be refused, each with its code."""
    recipe = networks.info.recipe
    size = [recipe.shards.frame_height, recipe.shards.frame_width, 3]
    invalid = grpc.StatusCode.INVALID_ARGUMENT

    def changed(name: str, code: grpc.StatusCode, change: Callable) -> Case:
        request = predict_pb2.PredictRequest()
        request.CopyFrom(good)
        change(request)
        return Case(name, request, code, {})

    def frames(value: np.ndarray) -> Callable:
        return lambda request: request.inputs["frames"].CopyFrom(tf.make_tensor_proto(value))

    video = _request("score_frames", {"frames": np.zeros([5000, 8, 8, 3], np.uint8)})
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
        Case("huge T", video, invalid, {}),
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


def _sent(channel: grpc.Channel, case: Case) -> Outcome:
    """Sends a request and compares the answer with the one of the version that gave it."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    began = time.monotonic()
    try:
        response = stub.Predict(case.request, timeout=120)
    except grpc.RpcError as error:
        right = error.code() == case.code
        return Outcome(time.monotonic() - began, right, 0, error.code())
    seconds = time.monotonic() - began
    version = response.model_spec.version.value
    expected = case.answers.get(version, {})
    found = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    right = bool(expected) and found.keys() == expected.keys()
    for name in expected if right else ():
        same_shape = found[name].shape == expected[name].shape
        right &= same_shape and np.allclose(found[name], expected[name], rtol=0, atol=TOLERANCE)
    return Outcome(seconds, right, version, grpc.StatusCode.OK)


def _config(versions: list[Path], version: int) -> model_server_config_pb2.ModelServerConfig:
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add()
    model.name, model.model_platform = MODEL, "tensorflow"
    model.base_path = str(versions[0].parent)
    model.model_version_policy.specific.versions.append(version)
    return config


@contextlib.contextmanager
def _server(
    folder: Path, config: model_server_config_pb2.ModelServerConfig
) -> Iterator[tuple[str, Callable[[], float]]]:
    """A server in a process of its own: its address, and what tells its memory in MB."""
    config_file = folder / "models.config"
    config_file.write_text(str(config))
    command = [sys.executable, "-m", "tests.serving_stand_in.server", str(config_file)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}")
            status = Path(f"/proc/{process.pid}/statm")
            page = os.sysconf("SC_PAGE_SIZE")
            yield (
                address,
                lambda: round(int(status.read_text().split()[1]) * page / 1e6, 1),
            )
        finally:
            process.terminate()


def _channel(address: str) -> grpc.Channel:
    limit = 512 << 20
    return grpc.insecure_channel(
        address,
        [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)],
    )


def _percentiles(outcomes: list[Outcome]) -> dict[str, float]:
    milliseconds = 1000 * np.array([o.seconds for o in outcomes])
    return {f"p{q}": round(float(np.percentile(milliseconds, q)), 1) for q in (50, 99)}


def run() -> None:
    """Runs this benchmark as a program."""
    model_dir = flags.DEFINE_string(
        "model_dir", None, "Folder of the trained networks.", required=True
    )
    requests = flags.DEFINE_integer("requests", 4000, "Number of requests.", 100)
    clients = flags.DEFINE_integer("clients", 32, "Number of clients that send requests.", 1)

    def suite() -> dict:
        networks = load_scnn(model_dir.value)
        return {
            "under_load": under_load(networks, requests.value, clients.value),
            "batching": batching(networks, requests.value, clients.value),
        }

    measure.run(suite)


if __name__ == "__main__":
    run()
