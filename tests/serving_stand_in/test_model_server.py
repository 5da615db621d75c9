import contextlib
import os
import shutil
import socket
import threading
import time
from concurrent import futures
from unittest import mock

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from scnn_tf.errors import InputError
from scnn_tf.io.files import write_text
from scnn_tf.serving.loaded_model import LoadedModel, Refusal
from scnn_tf.serving.model_server import SERVICES, ModelServer
from scnn_tf.serving.model_store import read_config

CODE = grpc.StatusCode
STATE = get_model_status_pb2.ModelVersionStatus
WARMUP = "assets.extra/tf_serving_warmup_requests"


class Client:
    """The stubs of one server, and requests in short."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def predict(self, timeout=30.0, **options):
        return self.prediction.Predict(request(**options), timeout)

    def add(self, **options):
        """(version, y) for x = 0 or what is given."""
        response = self.predict(**options)
        return response.model_spec.version.value, tf.make_ndarray(response.outputs["y"]).tolist()

    def wait(self, folder):
        """Begins a request that is answered once `folder` has a file named "go"."""
        return self.begin(folder, {"folder": str(folder)}, "wait")

    def begin(self, folder, *arguments):
        """Begins a request that puts a file named "started" into `folder`."""
        call = self.prediction.Predict.future(request(*arguments), 30.0)
        eventually(lambda: (folder / "started").exists())
        return call

    def states(self, name="toy", **spec):
        """The state of each version."""
        query = get_model_status_pb2.GetModelStatusRequest()
        fill_in(query.model_spec, name, **spec)
        answer = self.models.GetModelStatus(query, 30.0).model_version_status
        return {status.version: STATE.State.Name(status.state) for status in answer}

    def reload(self, config):
        query = model_management_pb2.ReloadConfigRequest(config=config)
        return self.models.HandleReloadConfigRequest(query, 30.0)

    def serving(self, service=""):
        answer = self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30.0)
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def fill_in(spec, name, version=None, label=None):
    spec.name = name
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


def request(inputs=None, signature="", outputs=(), name="toy", **spec):
    """A PredictRequest; the default is x = [[0, 0]] for the default signature."""
    query = predict_pb2.PredictRequest(output_filter=outputs)
    fill_in(query.model_spec, name, **spec)
    query.model_spec.signature_name = signature
    for alias, value in ({"x": np.zeros((1, 2), np.float32)} if inputs is None else inputs).items():
        is_proto = isinstance(value, TensorProto)
        query.inputs[alias].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return query


@contextlib.contextmanager
def refused(code, message=""):
    """What is done inside fails with this status, and details that contain `message`."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert (caught.value.code(), message) == (code, message), caught.value.details()
    assert message in caught.value.details()


def eventually(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class Toy(tf.Module):
    def __init__(self, version):
        super().__init__()
        self.version = tf.Variable(float(version))

    @tf.function
    def add(self, x):
        return {"y": x + self.version, "total": tf.reduce_sum(x)}

    @tf.function
    def check(self, x):
        some = tf.debugging.assert_positive(tf.size(x), "the batch is empty")
        with tf.control_dependencies([some]):
            return {"y": tf.identity(x)}

    @tf.function
    def wait(self, folder):
        """Says that it has begun, and ends when it is told to."""
        started = tf.io.write_file(folder + "/started", "")
        with tf.control_dependencies([started]):
            go = folder + "/go"
        with tf.control_dependencies([rounds_without(go)]):
            return {"y": tf.identity(self.version)}

    @tf.function
    def pair(self, folders):
        """As `wait`, computed once for two requests with one folder each."""

        @tf.nondifferentiable_batch_function(
            num_batch_threads=1, max_batch_size=2, batch_timeout_micros=5_000_000
        )
        def both(folders):
            with tf.control_dependencies([rounds_without(folders[0] + "/go")]):
                return tf.identity(folders)

        started = tf.io.write_file(folders[0] + "/started", "")
        with tf.control_dependencies([started]):
            return {"folders": both(folders)}

    @tf.function
    def measure(self, texts, numbers):
        return {
            "characters": tf.reduce_sum(tf.strings.length(texts)),
            "sum": tf.reduce_sum(tf.cast(numbers, tf.int32)),
        }


def rounds_without(path):
    """Goes round until there is such a file, and says how often."""
    (rounds,) = tf.while_loop(
        lambda i: tf.equal(tf.size(tf.io.matching_files(path)), 0), lambda i: [i + 1], [0]
    )
    return rounds


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A folder of versions 1, 2, 3: y = x + version."""
    folder = tmp_path_factory.mktemp("toys")
    text = tf.TensorSpec([], tf.string)
    for version in (1, 2, 3):
        toy = Toy(version)
        signatures = {
            "serving_default": toy.add.get_concrete_function(tf.TensorSpec([None, 2], name="x")),
            "check": toy.check.get_concrete_function(tf.TensorSpec([None], name="x")),
            "wait": toy.wait.get_concrete_function(folder=text),
            "pair": toy.pair.get_concrete_function(folders=tf.TensorSpec([None], tf.string)),
            "measure": toy.measure.get_concrete_function(
                texts=tf.TensorSpec([None], tf.string), numbers=tf.TensorSpec([None], tf.uint8)
            ),
        }
        tf.saved_model.save(toy, folder / str(version), signatures)
    return folder


@pytest.fixture
def publish(toys, tmp_path):
    """`publish(2, 7)` puts version 2 where the server looks for versions, as version 7."""
    (tmp_path / "models" / "toy").mkdir(parents=True)

    def copy(version, number=None, model="toy", warmup=()):
        base = tmp_path / "models" / model
        aside = base / ".aside"
        shutil.copytree(toys / str(version), aside)
        if warmup:
            (aside / WARMUP).parent.mkdir()
            with tf.io.TFRecordWriter(str(aside / WARMUP)) as writer:
                for log in warmup:
                    writer.write(log.SerializeToString())
        return aside.rename(base / str(number or version))

    return copy


def config(folder, policy="", labels=None, name="toy"):
    """The configuration of one model, whose versions are in `folder`."""
    text = (
        f'name: "{name}" base_path: "{folder}" model_platform: "tensorflow" '
        f"model_version_policy {{ {policy} }}"
    )
    for label, version in (labels or {}).items():
        text += f' version_labels {{ key: "{label}" value: {version} }}'
    return text_format.Parse(f"model_config_list {{ config {{ {text} }} }}", ModelServerConfig())


@pytest.fixture
def serve(tmp_path):
    """`serve()` starts a server of the models in `tmp_path` and gives its client."""
    with contextlib.ExitStack() as stack:

        def start(policy="", labels=None, **options):
            models = config(tmp_path / "models" / "toy", policy, labels)
            server = ModelServer(models, poll_seconds=0.02, **options)
            client = Client(stack.enter_context(server).address)
            client.server = server
            return client

        yield start


@pytest.fixture(scope="module")
def toy(toys):
    """The client of a server of version 3, for requests that leave no trace."""
    with ModelServer(config(toys), poll_seconds=60.0) as server:
        yield Client(server.address)


def test_it_predicts(toy):
    response = toy.predict(inputs={"x": np.float32([[1, 2], [3, 4]])})
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 3, "serving_default")
    assert sorted(response.outputs) == ["total", "y"]
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [[4.0, 5.0], [6.0, 7.0]]
    assert tf.make_ndarray(response.outputs["total"]) == 10.0  # 1 + 2 + 3 + 4


def test_only_the_outputs_that_are_asked_for(toy):
    response = toy.predict(outputs=["total"])
    assert list(response.outputs) == ["total"]


def test_an_empty_batch_has_an_empty_answer(toy):
    assert toy.add(inputs={"x": np.zeros((0, 2), np.float32)}) == (3, [])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"name": ""}, CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        ({"name": "no"}, CODE.NOT_FOUND, "Servable not found for request: Latest(no)"),
        ({"version": 9}, CODE.NOT_FOUND, "Servable not found for request: Specific(toy, 9)"),
        ({"label": "l"}, CODE.INVALID_ARGUMENT, "Unrecognized servable version label: l"),
        ({"signature": "s"}, CODE.FAILED_PRECONDITION, 'Serving signature key "s" not found.'),
        (
            {"signature": "__saved_model_init_op"},
            CODE.FAILED_PRECONDITION,
            'Serving signature key "__saved_model_init_op" not found.',
        ),
        (
            {"inputs": {}},
            CODE.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            {"inputs": {"a": 1.0, "x": 2.0}},
            CODE.INVALID_ARGUMENT,
            "input size does not match signature: 2!=1 len({a,x}) != len({x}). "
            "Sent extra: {a}. Missing but required: {}.",
        ),
        (
            {"inputs": {"a": 1.0}},
            CODE.INVALID_ARGUMENT,
            "input tensor alias not found in signature: a. Inputs expected to be in the set {x}.",
        ),
        (
            {"inputs": {"x": np.zeros((1, 2), np.int32)}},
            CODE.INVALID_ARGUMENT,
            "input x: expects float but int32 is provided",
        ),
        (
            {"inputs": {"x": np.zeros(2, np.float32)}},
            CODE.INVALID_ARGUMENT,
            "input x: expects shape (None, 2) but [2] is provided",
        ),
        (
            {"inputs": {"x": np.zeros((1, 3), np.float32)}},
            CODE.INVALID_ARGUMENT,
            "input x: expects shape (None, 2) but [1, 3] is provided",
        ),
        (
            {"outputs": ["z"]},
            CODE.INVALID_ARGUMENT,
            "output tensor alias not found in signature: z "
            "Outputs expected to be in the set {total,y}.",
        ),
        (
            {"outputs": ["y", "y"]},
            CODE.INVALID_ARGUMENT,
            "duplicate output tensor alias: y",
        ),
        # What the graph itself refuses.
        (
            {"signature": "check", "inputs": {"x": np.zeros(0, np.float32)}},
            CODE.INVALID_ARGUMENT,
            "the batch is empty",
        ),
    ],
)
def test_a_request_that_does_not_fit(toy, options, code, message):
    with refused(code, message):
        toy.predict(**options)


def tensor(sizes, dtype=types_pb2.DT_FLOAT, unknown_rank=False, **values):
    shape = {"dim": [{"size": size} for size in sizes], "unknown_rank": unknown_rank}
    return TensorProto(dtype=dtype, tensor_shape=shape, **values)


@pytest.mark.parametrize(
    "proto",
    [
        tensor([1, 2], tensor_content=b"1234567"),  # 2 × 4 bytes
        tensor([2, 2], tensor_content=b"12345678"),
        tensor([1, 2], float_val=[1, 2, 3]),
        tensor([-1, 2], tensor_content=b"12345678"),
        tensor([], unknown_rank=True),
        tensor([1, 2], dtype=999),
        tensor([2**24, 2], float_val=[1]),  # 24 bytes that stand for 128 MiB
        tensor([2**40, 2]),
    ],
)
def test_a_malformed_tensor(toy, proto):
    with refused(CODE.INVALID_ARGUMENT):
        toy.predict(inputs={"x": proto})


def test_a_value_that_stands_for_several(toy):
    assert toy.add(inputs={"x": tensor([1, 2], float_val=[1])}) == (3, [[4.0, 4.0]])


def texts(count, *values):
    return tensor([count], types_pb2.DT_STRING, string_val=values)


def numbers(count, *values):
    return tensor([count], types_pb2.DT_UINT8, int_val=values)


def test_texts_and_small_numbers(toy):
    inputs = {"texts": texts(512, b"a" * 10_000), "numbers": numbers(4, 0, 255)}
    outputs = toy.predict(inputs=inputs, signature="measure").outputs
    assert tf.make_ndarray(outputs["characters"]) == 5_120_000  # 512 × 10,000
    assert tf.make_ndarray(outputs["sum"]) == 765  # 0 + 255 + 255 + 255


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"texts": texts(80, b"a" * 2**20)}, "texts (too large for its few values)"),  # 80 MiB
        # Even a text without characters takes some bytes: 4 million are more than 64 MiB.
        ({"texts": texts(2**22)}, "texts (too large for its few values)"),
        ({"numbers": numbers(2, 0, 256)}, "numbers (a value is out of range for uint8)"),
        ({"numbers": numbers(2, -1, 0)}, "numbers (a value is out of range for uint8)"),
    ],
)
def test_texts_and_numbers_that_are_refused(toy, inputs, message):
    good = {"texts": texts(1, b"a"), "numbers": numbers(1, 0)}
    with refused(CODE.INVALID_ARGUMENT, message):
        toy.predict(inputs=good | inputs, signature="measure")


def test_what_is_not_offered_is_unimplemented(toy):
    with refused(CODE.UNIMPLEMENTED):
        toy.prediction.Classify(classification_pb2.ClassificationRequest(), 30.0)


def test_metadata(toy):
    def metadata(*fields, name="toy"):
        query = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        query.model_spec.name = name
        return toy.prediction.GetModelMetadata(query, 30.0)

    response = metadata("signature_def")
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 3)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "check", "wait"} <= set(signatures.signature_def)
    x = signatures.signature_def["serving_default"].inputs["x"]
    assert x.dtype == types_pb2.DT_FLOAT
    assert [dimension.size for dimension in x.tensor_shape.dim] == [-1, 2]

    with refused(CODE.INVALID_ARGUMENT, "at least one metadata_field"):
        metadata()
    with refused(CODE.INVALID_ARGUMENT, "Metadata field assets is not supported"):
        metadata("assets")
    with refused(CODE.NOT_FOUND, "Latest(no)"):
        metadata("signature_def", name="no")


def test_status(toy):
    assert toy.states() == toy.states(version=3) == {3: "AVAILABLE"}
    with refused(CODE.NOT_FOUND, "Could not find any versions of model no"):
        toy.states("no")
    with refused(CODE.NOT_FOUND, "Could not find version 1 of model toy"):
        toy.states(version=1)
    with refused(CODE.INVALID_ARGUMENT, "Missing ModelSpec"):
        toy.states("")


def test_health(toy):
    assert all(toy.serving(service) for service in ("", *SERVICES))
    with refused(CODE.NOT_FOUND):
        toy.serving("no.such.Service")


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", {3}),
        ("latest {}", {3}),
        ("latest { num_versions: 2 }", {2, 3}),
        ("all {}", {1, 2, 3}),
        ("specific { versions: 1 versions: 2 }", {1, 2}),
        ("specific { versions: 2 versions: 8 }", {2}),
    ],
)
def test_version_policies(publish, serve, policy, served):
    for version in (1, 2, 3):
        publish(version)
    client = serve(policy)
    available = {n for n, state in client.states().items() if state == "AVAILABLE"}
    assert available == served
    assert client.add() == (max(served), [[max(served)] * 2])
    assert client.add(version=min(served)) == (min(served), [[min(served)] * 2])


def test_folders_that_are_no_versions(publish, serve, tmp_path):
    publish(1)
    for name in ("9.tmp", "-9", "nine", "9" * 30):
        shutil.copytree(tmp_path / "models/toy/1", tmp_path / "models/toy" / name)
    (tmp_path / "models/toy/10").mkdir()  # not yet written
    assert serve().states() == {1: "AVAILABLE"}


def test_a_new_version_drops_no_request(publish, serve):
    publish(1)
    client = serve()
    every = [[] for _ in range(4)]

    def ask(answers):
        while not answers or answers[-1][0] == 1:
            answers.append(client.add())

    with futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, answers) for answers in every]
        eventually(lambda: all(every))
        publish(2)
        for done in asking:
            done.result()  # none failed
    for answers in every:
        assert [version for version, _ in answers] == [1] * (len(answers) - 1) + [2]
        assert all(y == [[version] * 2] for version, y in answers)
    eventually(lambda: client.states() == {2: "AVAILABLE", 1: "END"})
    with refused(CODE.NOT_FOUND, "Specific(toy, 1)"):
        client.add(version=1)


def test_an_old_version_stays_for_its_last_request(publish, serve, tmp_path):
    publish(1)
    client = serve()
    running = client.wait(tmp_path)
    publish(2)
    eventually(lambda: client.states() == {2: "AVAILABLE", 1: "UNLOADING"})
    assert client.add() == (2, [[2.0, 2.0]])
    (tmp_path / "go").touch()
    assert running.result().model_spec.version.value == 1
    assert tf.make_ndarray(running.result().outputs["y"]) == 1.0
    eventually(lambda: client.states() == {2: "AVAILABLE", 1: "END"})


def test_a_version_that_goes_back(publish, serve):
    publish(1)
    folder = publish(2)
    client = serve()
    assert client.add()[0] == 2
    shutil.rmtree(folder)
    eventually(lambda: client.states() == {2: "END", 1: "AVAILABLE"})
    assert client.add() == (1, [[1.0, 1.0]])
    # With none left, the last one goes on answering.
    shutil.rmtree(folder.parent)
    client.server.models.poll()
    assert client.add() == (1, [[1.0, 1.0]])


def test_a_broken_version(publish, serve, tmp_path):
    publish(1)
    client = serve()
    broken = tmp_path / "models" / "toy" / "2"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no graph")
    eventually(lambda: client.states() == {2: "END", 1: "AVAILABLE"})
    query = get_model_status_pb2.GetModelStatusRequest()
    fill_in(query.model_spec, "toy", version=2)
    (version,) = client.models.GetModelStatus(query, 30.0).model_version_status
    assert version.status.error_code == CODE.UNKNOWN.value[0]
    assert version.status.error_message.startswith(f"{broken}: ")
    assert client.add() == (1, [[1.0, 1.0]])
    # Once its files have changed, it is tried again.
    shutil.rmtree(broken)
    publish(2)
    eventually(lambda: client.states() == {2: "AVAILABLE", 1: "END"})
    assert client.add() == (2, [[2.0, 2.0]])


def test_a_version_whose_variables_are_cut_short(publish, serve):
    folder = publish(1)
    os.truncate(folder / "variables" / "variables.data-00000-of-00001", 2)
    with pytest.raises(InputError, match=f"{folder}: Read less bytes than requested$"):
        serve()


def predict_log(*arguments, **options):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request(*arguments, **options))
    return log


def test_warm_up_requests_are_answered_first(publish, serve, tmp_path):
    (tmp_path / "go").touch()
    publish(1, warmup=[predict_log(), predict_log({"folder": str(tmp_path)}, "wait")])
    client = serve()
    assert (tmp_path / "started").exists()
    assert client.add() == (1, [[1.0, 1.0]])
    # What a new configuration keeps is not loaded again.
    (tmp_path / "started").unlink()
    client.reload(config(tmp_path / "models" / "toy", "all {}"))
    assert not (tmp_path / "started").exists()


def test_warm_up_requests_may_be_large(publish, serve):
    large = {"texts": texts(80, b"a" * 2**20), "numbers": numbers(1, 0)}
    publish(1, warmup=[predict_log(large, "measure")])
    assert serve().add() == (1, [[1.0, 1.0]])


def test_a_version_that_fails_its_warm_up_is_not_served(publish, serve):
    publish(1)
    client = serve()
    publish(2, warmup=[predict_log(), predict_log({"x": 1.0})])
    eventually(lambda: client.states() == {2: "END", 1: "AVAILABLE"})
    other = prediction_log_pb2.PredictionLog()
    other.classify_log.request.model_spec.name = "toy"
    publish(3, warmup=[other])
    eventually(lambda: client.states() == {3: "END", 2: "END", 1: "AVAILABLE"})
    assert client.add() == (1, [[1.0, 1.0]])


def test_labels(publish, serve, tmp_path):
    for version in (1, 2):
        publish(version)
    base = tmp_path / "models" / "toy"
    client = serve("all {}", {"stable": 1, "canary": 2})
    assert client.add(label="stable") == (1, [[1.0, 1.0]])
    assert client.add(label="canary") == (2, [[2.0, 2.0]])
    assert client.reload(config(base, "all {}", {"stable": 2})).status.error_code == 0
    assert client.add(label="stable") == (2, [[2.0, 2.0]])
    with refused(CODE.INVALID_ARGUMENT, "Unrecognized servable version label: canary"):
        client.add(label="canary")
    # Neither a version that is not there nor one that is about to go can have a label.
    for policy, version in (("all {}", 3), ("latest {}", 1)):
        with refused(CODE.FAILED_PRECONDITION, f"to version {version} of model toy"):
            client.reload(config(base, policy, {"stable": version}))
    assert client.add(label="stable") == (2, [[2.0, 2.0]])
    assert client.add(version=1) == (1, [[1.0, 1.0]])


def test_another_configuration(publish, serve, tmp_path):
    publish(1)
    publish(2, model="other")
    client = serve()
    both = config(tmp_path / "models" / "toy")
    both.MergeFrom(config(tmp_path / "models" / "other", name="other"))
    client.reload(both)
    assert client.add() == (1, [[1.0, 1.0]])
    assert client.add(name="other") == (2, [[2.0, 2.0]])
    # A model whose folder is another one is another model; one that is not named goes.
    client.reload(config(tmp_path / "models" / "other"))
    assert client.add() == (2, [[2.0, 2.0]])
    with refused(CODE.NOT_FOUND, "Latest(other)"):
        client.add(name="other")


def test_a_configuration_that_is_refused_changes_nothing(publish, serve, tmp_path):
    publish(1)
    client = serve()
    base, empty = tmp_path / "models" / "toy", tmp_path / "empty"
    empty.mkdir()
    publish(2, model="good")
    good = config(tmp_path / "models" / "good", name="good")

    def fails(message, *models):
        change = ModelServerConfig()
        for model in models:
            change.MergeFrom(model)
        with refused(CODE.INVALID_ARGUMENT, message):
            client.reload(change)
        assert client.add() == (1, [[1.0, 1.0]])
        with refused(CODE.NOT_FOUND):
            client.add(name="good")

    onnx = config(base)
    onnx.model_config_list.config[0].model_platform = "onnx"
    fails("only a configuration with a model_config_list")
    fails("Illegal to list model good multiple times", good, good)
    fails("model_platform must be", good, onnx)
    fails("has no name", good, config(base, name=""))
    fails("absolute path", good, config("models/toy"))
    fails("no folder named by a number", good, config(empty))
    fails("models/toy/4: ", good, config(base, "specific { versions: 4 }", name="four"))


def test_a_configuration_that_is_refused_leaves_nothing_in_memory(publish, serve, tmp_path):
    publish(1)
    client = serve()
    publish(2, model="good")
    change = config(tmp_path / "models" / "good", name="good")
    change.MergeFrom(config(tmp_path / "models" / "toy", labels={"stable": 8}))
    with mock.patch.object(LoadedModel, "close", autospec=True) as close:
        with refused(CODE.FAILED_PRECONDITION, "assign label stable to version 8"):
            client.reload(change)
    assert close.call_count == 1
    assert client.add() == (1, [[1.0, 1.0]])


def test_no_models(publish, serve):
    publish(1)
    client = serve()
    nothing = text_format.Parse("model_config_list {}", ModelServerConfig())
    client.reload(nothing)
    with refused(CODE.NOT_FOUND, "Latest(toy)"):
        client.add()
    with pytest.raises(InputError, match="names no model to serve"):
        ModelServer(nothing)


def test_a_request_ends_at_its_deadline(publish, serve, tmp_path):
    publish(1)
    client = serve(threads=1)
    with refused(CODE.DEADLINE_EXCEEDED):
        client.predict(0.3, inputs={"folder": str(tmp_path)}, signature="wait")
    # It would go on for ever, and nobody else could compute.
    assert client.add() == (1, [[1.0, 1.0]])


def test_a_deadline_ends_no_other_request(publish, serve, tmp_path):
    ready = tmp_path / "ready"
    ready.mkdir()
    (ready / "go").touch()
    publish(1, warmup=[predict_log({"folders": [str(ready)] * 2}, "pair")])
    client = serve(threads=2)
    pair = {"folders": [str(tmp_path)]}
    patient = client.begin(tmp_path, pair, "pair")
    with refused(CODE.DEADLINE_EXCEEDED):  # the last of those computed together ends them all
        client.predict(0.5, inputs=pair, signature="pair")
    with contextlib.suppress(grpc.RpcError):
        client.predict(5.0)  # has its turn when the server, too, has given that one up
    (tmp_path / "go").touch()
    partner = client.begin(tmp_path, pair, "pair")
    for call in (patient, partner):
        assert tf.make_ndarray(call.result().outputs["folders"]) == [str(tmp_path).encode()]


def test_what_is_always_cancelled_ends_at_its_deadline(publish):
    model = LoadedModel(publish(1))
    cancelled = tf.errors.CancelledError(None, None, "")
    with mock.patch.object(tf.compat.v1.Session, "run", side_effect=cancelled):
        with pytest.raises(Refusal) as caught:
            model.predict(request(), 0.05)
    assert caught.value.code == CODE.DEADLINE_EXCEEDED
    model.close()


def test_health_and_status_do_not_wait_for_requests(publish, serve, tmp_path):
    publish(1)
    client = serve(threads=1)
    running = client.wait(tmp_path)
    waiting = client.prediction.Predict.future(request(), 30.0)
    assert client.serving() and client.states() == {1: "AVAILABLE"}
    assert not waiting.done()
    (tmp_path / "go").touch()
    assert running.result() and waiting.result()


def test_too_many_requests(publish, serve, tmp_path):
    publish(1)
    client = serve(max_rpcs=1)
    running = client.wait(tmp_path)
    with refused(CODE.RESOURCE_EXHAUSTED):
        client.add()
    (tmp_path / "go").touch()
    assert running.result()
    eventually(lambda: client.serving())


def test_a_message_that_is_too_large(publish, serve):
    publish(1)
    client = serve(max_message_mb=1)
    fits = np.zeros((2**16, 2), np.float32)  # half a MiB
    assert client.add(inputs={"x": fits})[0] == 1
    with refused(CODE.RESOURCE_EXHAUSTED):
        client.add(inputs={"x": np.zeros((2**17, 2), np.float32)})


def test_stopping_answers_what_is_under_way(publish, serve, tmp_path):
    publish(1)
    client = serve()
    watched = client.health.Watch(health_pb2.HealthCheckRequest())
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    running = client.wait(tmp_path)
    stopping = threading.Thread(target=client.server.stop)
    stopping.start()
    assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert list(watched) == []  # who watches is let go
    late = Client(client.server.address)
    eventually(lambda: code_of(late.add) == CODE.UNAVAILABLE)
    assert not running.done()
    (tmp_path / "go").touch()
    assert tf.make_ndarray(running.result().outputs["y"]) == 1.0
    stopping.join(20)
    assert not stopping.is_alive()


def code_of(ask):
    try:
        ask()
    except grpc.RpcError as error:
        return error.code()


def test_stopping_cancels_what_takes_too_long(publish, serve, tmp_path):
    publish(1)
    client = serve()
    running = client.wait(tmp_path)
    client.server.stop(grace_s=0.1)
    assert code_of(running.result) in (CODE.CANCELLED, CODE.UNAVAILABLE)


def test_a_server_that_cannot_start(publish, serve, tmp_path):
    with pytest.raises(InputError, match="model toy has no version to serve: .*models/toy: no "):
        serve()
    publish(1)
    with pytest.raises(InputError, match="assign label stable to version 2 of model toy"):
        serve(labels={"stable": 2})
    port = serve().server.port
    with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1:{port}: ") as caught:
        serve(port=port)
    assert "\n" not in str(caught.value)


def test_an_address_of_ipv6(toys):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with ModelServer(config(toys), host="::1") as server:
        assert server.address == f"[::1]:{server.port}"
        assert Client(server.address).add() == (3, [[3.0, 3.0]])


def test_a_configuration_file_that_changes(publish, tmp_path, caplog):
    publish(1)
    publish(2)
    base, path = tmp_path / "models" / "toy", tmp_path / "models" / "models.config"

    def errors():
        return [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]

    def stable(version, labelled=None):
        policy = f"specific {{ versions: {version} }}"
        change = config(base, policy, {"stable": labelled or version})
        write_text(path, text_format.MessageToString(change))

    stable(1)
    with ModelServer(path, poll_seconds=0.02) as server:
        client = Client(server.address)
        assert client.add(label="stable") == (1, [[1.0, 1.0]])
        stable(2)
        eventually(lambda: client.add(label="stable") == (2, [[2.0, 2.0]]))
        eventually(lambda: client.states() == {2: "AVAILABLE", 1: "END"})
        # Whatever is wrong with it, it is said once, and all stays as it is.
        for number, (spoil, message) in enumerate(
            [
                (lambda: write_text(path, "models: everywhere"), "not a text ModelServerConfig"),
                (lambda: stable(1, labelled=2), "assign label stable to version 2"),
                (path.unlink, "models.config: cannot be read"),
            ]
        ):
            spoil()
            eventually(lambda count=number: len(errors()) > count)
            assert message in errors()[-1] and "\n" not in errors()[-1]
            assert client.add(label="stable") == (2, [[2.0, 2.0]])
        stable(1)
        eventually(lambda: client.add(label="stable") == (1, [[1.0, 1.0]]))
    assert len(errors()) == 3


def test_a_configuration_file(publish, tmp_path):
    publish(1)
    path = tmp_path / "models" / "models.config"
    # As a container sees the folder; here, it is beside the file.
    path.write_text(text_format.MessageToString(config("/models/in/a/container/toy")))
    (model,) = read_config(path).model_config_list.config
    assert model.base_path == str(tmp_path / "models" / "toy")
    with ModelServer(path) as server:
        assert Client(server.address).add() == (1, [[1.0, 1.0]])
    path.write_text(text_format.MessageToString(config(tmp_path)))
    assert read_config(path).model_config_list.config[0].base_path == str(tmp_path)
    path.write_text("model_config_list: 3")
    with pytest.raises(InputError, match="models.config: not a text ModelServerConfig"):
        read_config(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none")
