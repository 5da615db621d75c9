import json

import pytest
import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.training.strategies import (
    HostLostError,
    detect_lost_host,
    is_chief,
    make_strategy,
    wait_for_all,
)

CLUSTER = {"worker": ["a:1", "b:1"]}


def test_the_default_strategy_without_hosts_and_gpus(monkeypatch):
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
def test_an_unusable_tf_config_is_refused(text, why, monkeypatch):
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
def test_which_host_is_the_chief(cluster, task, chief):
    class Strategy:
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
        )

    assert is_chief(Strategy()) == chief


ABORTED = "Graph execution error:\n\nCollective ops is aborted by: {}\nRestart your program."
errors = tf.errors


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        (errors.UnavailableError, ABORTED.format("Socket closed"), "Socket closed"),
        (errors.DeadlineExceededError, ABORTED.format("Deadline Exceeded"), "Deadline Exceeded"),
        (
            errors.UnavailableError,
            ABORTED.format("Task /job:worker/replica:0/task:1 heartbeat timeout."),
            "heartbeat timeout",
        ),
        (
            errors.InvalidArgumentError,
            ABORTED.format("Task 1 must be registered before sending heartbeat messages"),
            "must be registered before sending heartbeat messages",
        ),
        (
            errors.AbortedError,
            "task:1 unexpectedly tried to connect with a different incarnation. It has restarted.",
            "different incarnation",
        ),
        (errors.DeadlineExceededError, "Barrier timed out. Barrier_id: 7", "Barrier timed out"),
    ],
)
def test_what_tensorflow_says_of_a_lost_host(kind, message, reason, monkeypatch):
    def fail():
        with detect_lost_host():
            raise kind(None, None, message)

    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(HostLostError, match=f"host is lost.*{reason}.*; run the same command") as e:
        fail()
    assert "\n" not in str(e.value)
    monkeypatch.delenv("TF_CONFIG")
    with pytest.raises(kind):  # there is no other host
        fail()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.InvalidArgumentError, "Unknown image file format. One of JPEG, PNG, GIF required."),
        # The same error, as the collective operations report it that it stopped.
        (errors.InvalidArgumentError, ABORTED.format("Unknown image file format.")),
        (errors.InvalidArgumentError, "Matrix size-incompatible: In[0]: [4,22], In[1]: [16,8]"),
        (errors.ResourceExhaustedError, ABORTED.format("OOM when allocating tensor")),
        (errors.DataLossError, "corrupted record at 0"),
        (errors.InternalError, "Dst tensor is not initialized."),
    ],
)
def test_other_errors_are_not_taken_for_a_lost_host(kind, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(kind), detect_lost_host():
        raise kind(None, None, message)
