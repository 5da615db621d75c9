import json
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from benchmarks import serving
from scnn_tf.localization.scnn import load_scnn


@pytest.mark.slow
def test_all_answers_of_the_stand_in_are_counted_as_right(tiny_models):
    model = load_scnn(tiny_models, proposal_threshold=0.0)
    figures = serving.under_load(model, requests=120, clients=4)
    assert figures["good"] == {"right": 108, "wrong": 0}
    assert figures["broken"] == {"refused": 12, "wrong": 0}
    assert set(figures["versions"]) == {1, 2}
    assert figures["wrong"] == {}


@pytest.mark.slow
def test_the_program_compares_merged_and_single_requests(run_binary, tiny_models, monkeypatch):
    monkeypatch.setattr(serving, "under_load", lambda model, requests, clients: {})
    code, out, err = run_binary(
        "benchmarks.serving", f"--model_dir={tiny_models}", "--requests=100", "--clients=4"
    )
    assert code == 0, err
    batching = json.loads(out)["figures"]["batching"]
    assert {name: row["wrong"] for name, row in batching.items()} == {"merged": 0, "one by one": 0}


class Failed(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("answered", "version", "right"),
    [
        ([0.25, 0.75], 1, True),
        ([0.25005, 0.75], 1, True),  # within the tolerance
        ([0.251, 0.75], 1, False),
        ([0.25, 0.75, 0.0], 1, False),
        ([0.5, 0.5], 2, True),
        ([0.25, 0.75], 2, False),  # the answer of version 1
        ([0.25, 0.75], 3, False),  # an unknown version
        (Failed(), 1, False),
    ],
)
def test_an_answer_is_right_if_it_is_that_of_its_version(answered, version, right):
    def predict(request, timeout):
        if isinstance(answered, Failed):
            raise answered
        response = PredictResponse()
        response.model_spec.version.value = version
        response.outputs["scores"].CopyFrom(tf.make_tensor_proto(answered))
        return response

    stub = SimpleNamespace(Predict=predict)
    answers = {1: {"scores": np.array([0.25, 0.75])}, 2: {"scores": np.array([0.5, 0.5])}}
    good = serving.Case("good", PredictRequest(), grpc.StatusCode.OK, answers)
    assert serving.send(stub, good).right is right
    # An answer to a broken request is wrong; so is a refusal with another code.
    broken = serving.Case("broken", PredictRequest(), grpc.StatusCode.NOT_FOUND, {})
    assert serving.send(stub, broken).right is isinstance(answered, Failed)
    other = serving.Case("broken", PredictRequest(), grpc.StatusCode.INVALID_ARGUMENT, {})
    assert serving.send(stub, other).right is False
