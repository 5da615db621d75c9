import json

import pytest
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.training.strategies import (
    HostLostError,
    is_chief,
    make_strategy,
    told_if_lost,
    wait_for_all,
)

CLUSTER = {"worker": ["a:1", "b:1"]}


def test_without_hosts_and_gpus(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    strategy = make_strategy()
    assert strategy is tf.distribute.get_strategy()
    assert is_chief(strategy)
    wait_for_all(strategy)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("worker", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"task": {"type": "worker", "index": 0}}', "KeyError.*cluster"),
        (json.dumps({"cluster": CLUSTER}), "KeyError.*task"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker"}}), "KeyError.*index"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}), "no address"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}), "KeyError"),
        (json.dumps({"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}), "has ps"),
    ],
)
def test_a_cluster_that_cannot_be_used(text, why, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=f"TF_CONFIG: .*{why}.*; it must look like") as e:
        make_strategy()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("cluster", "task", "chief"),
    [
        (CLUSTER, ("worker", 0), True),
        (CLUSTER, ("worker", 1), False),
        ({**CLUSTER, "chief": ["c:1"]}, ("worker", 0), False),
        ({**CLUSTER, "chief": ["c:1"]}, ("chief", 0), True),
    ],
)
def test_who_writes(cluster, task, chief):
    class Strategy:
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
        )

    assert is_chief(Strategy()) == chief


def test_what_tensorflow_says_of_a_lost_host(monkeypatch):
    def fail():
        with told_if_lost():
            raise tf.errors.UnavailableError(None, None, "Error:\n at Collective ops: closed\n …")

    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(tf.errors.UnavailableError):  # no other host is to blame
        fail()
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(HostLostError, match=r"host is lost.* \(Collective ops: closed\); start"):
        fail()
