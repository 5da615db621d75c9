from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from benchmarks import serving
from scnn_tf.localization.scnn import load_scnn


@pytest.mark.slow
def test_load_with_broken_requests_and_a_swap(tiny_models):
    """The benchmark counts right what a sound server does."""
    networks = load_scnn(tiny_models, proposal_threshold=0.0)
    figures = serving.under_load(networks, requests=120, clients=4)
    assert figures["good"] == {"right": 108, "wrong": 0}
    assert figures["broken"] == {"refused": 12, "wrong": 0}
    assert set(figures["versions"]) == {1, 2}
    assert figures["wrong"] == {}


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
        ([0.25, 0.75], 2, False),  # what version 1 would say
        ([0.25, 0.75], 3, False),  # a version that there is not
        (Failed(), 1, False),
    ],
)
def test_which_answers_are_right(monkeypatch, answered, version, right):
    def predict(request, timeout):
        if isinstance(answered, Failed):
            raise answered
        response = PredictResponse()
        response.model_spec.version.value = version
        response.outputs["scores"].CopyFrom(tf.make_tensor_proto(answered))
        return response

    stub = SimpleNamespace(PredictionServiceStub=lambda channel: SimpleNamespace(Predict=predict))
    monkeypatch.setattr(serving, "prediction_service_pb2_grpc", stub)
    answers = {1: {"scores": np.array([0.25, 0.75])}, 2: {"scores": np.array([0.5, 0.5])}}
    good = serving.Case("good", PredictRequest(), grpc.StatusCode.OK, answers)
    assert serving._sent(None, good).right is right
    # An answer to a broken request is wrong; so is a refusal with another code.
    broken = serving.Case("broken", PredictRequest(), grpc.StatusCode.NOT_FOUND, {})
    assert serving._sent(None, broken).right is isinstance(answered, Failed)
    other = serving.Case("broken", PredictRequest(), grpc.StatusCode.INVALID_ARGUMENT, {})
    assert serving._sent(None, other).right is False
