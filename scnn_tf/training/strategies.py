"""What training runs on: one device, all devices of a host, or the devices of several hosts."""

import contextlib
import json
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from scnn_tf.errors import InputError

# What a computation over all hosts ends with where one of them is gone, or has been started anew.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.InvalidArgumentError,  # "must be registered before sending heartbeat messages"
    tf.errors.DeadlineExceededError,
)


class HostLostError(InputError):
    """Another host is gone; TensorFlow can only go on in new processes, on all hosts."""


@contextlib.contextmanager
def told_if_lost() -> Iterator[None]:
    """Turns what TensorFlow says when another host is lost into a `HostLostError`."""
    try:
        yield
    except _LOST as error:
        if not os.environ.get("TF_CONFIG"):
            raise
        # Of many lines, the one on which TensorFlow says why.
        reason = re.search("Collective ops.*", error.message) or re.search(".*", error.message)
        raise HostLostError(
            f"another host is lost, or was started anew ({reason[0]}); start this one anew too: "
            "all go on from the last checkpoint"
        ) from error


@told_if_lost()
def make_strategy(logical_cpus: int = 0) -> tf.distribute.Strategy:
    """The strategy for what there is; to be called before TensorFlow is used.

    `MultiWorkerMirroredStrategy` where the variable TF_CONFIG names the hosts, once all of them
    have called this; else `MirroredStrategy` over all GPUs; else the default strategy.

    Args:
        logical_cpus: if > 1, mirrors over as many halves, thirds … of the CPU, to try the
            distributed path without GPUs.

    Raises:
        InputError: TF_CONFIG does not say which hosts there are, and which of them this is.
        HostLostError: another host does not answer.
    """
    if os.environ.get("TF_CONFIG"):
        _check_cluster(os.environ["TF_CONFIG"])
        return tf.distribute.MultiWorkerMirroredStrategy()
    if logical_cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        configuration = [tf.config.LogicalDeviceConfiguration()] * logical_cpus
        tf.config.set_logical_device_configuration(cpu, configuration)
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(logical_cpus)])
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what all of them train; without other hosts it does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    if "chief" in resolver.cluster_spec().as_dict():
        return resolver.task_type == "chief"
    return resolver.task_id == 0


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns once all hosts have called it."""
    _sum_of_ones(strategy)


@tf.function
def _sum_of_ones(strategy: tf.distribute.Strategy) -> tf.Tensor:
    return strategy.reduce("SUM", strategy.run(lambda: tf.constant(1.0)), axis=None)


def _check_cluster(text: str) -> None:
    """Looks at TF_CONFIG, which TensorFlow would trip over, or wait with for ever.

    Raises:
        InputError: it is not as it should be.
    """
    try:
        config = json.loads(text)
        hosts, task = config["cluster"], config["task"]
        if not set(hosts) <= {"chief", "worker"}:
            raise ValueError(f"its cluster has {', '.join(hosts)}")
        if not 0 <= task["index"] < len(hosts[task["type"]]):
            raise ValueError(f"its task has no address: {task}")
    except (KeyError, TypeError, ValueError) as error:  # of which broken JSON is one
        raise InputError(
            f"TF_CONFIG: cannot be used ({error!r}); it must look like "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from error
