"""Distribution: one device, all devices of a host, or the devices of several hosts."""

import contextlib
import json
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from scnn_tf.errors import InputError

# What the coordination service of TensorFlow 2.16 and 2.21 says, whatever the code of its error:
# an `InvalidArgumentError` is the answer to a host that speaks to a service just restarted.
_SERVICE = re.compile(
    r".*(coordination ?service|coordination agent|heartbeat|barrier (failed|timed out)|incarnation"
    r"|remote target).*",
    re.IGNORECASE,
)
# Collective operations end with the error that stopped any of them, of this host too: a record
# that cannot be decoded, or no memory. These codes are those of a broken connection.
_COLLECTIVE = re.compile("Collective ops is aborted by: .*")
_CONNECTION = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


class HostLostError(InputError):
    """Another host is lost; TensorFlow can form a cluster again only in new processes."""


@contextlib.contextmanager
def detect_lost_host() -> Iterator[None]:
    """Raises a `HostLostError` for an error by which TensorFlow reports that a host is lost.

    Every other error passes: a bad record or a wrong shape is no other host's fault.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not os.environ.get("TF_CONFIG") or not (reason := _lost_host(error)):
            raise
        raise HostLostError(
            f"another host is lost, or was restarted ({reason}); run the same command again on "
            "this host: all hosts resume from the last checkpoint"
        ) from error


def _lost_host(error: tf.errors.OpError) -> str:
    """Returns the line of an error that says how a host was lost; "" for every other error."""
    collective = _COLLECTIVE.search(error.message)
    if collective and isinstance(error, _CONNECTION):
        return collective[0]
    service = _SERVICE.search(error.message)
    return service[0].strip() if service else ""


@detect_lost_host()
def make_strategy(logical_cpus: int = 0) -> tf.distribute.Strategy:
    """Returns the strategy for the devices there are; to be called before TensorFlow is used.

    `MultiWorkerMirroredStrategy` where the variable TF_CONFIG names the hosts, once all of them
    have called this; else `MirroredStrategy` over all GPUs; else the default strategy.

    Args:
        logical_cpus: If above 1, mirrors over as many parts of the CPU, to try the distributed
            path without GPUs.

    Raises:
        InputError: TF_CONFIG does not say which hosts there are, and which of them this is.
        HostLostError: Another host does not answer.
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
    """Returns whether this process writes the files of a training; one of several hosts does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    if "chief" in resolver.cluster_spec().as_dict():
        return resolver.task_type == "chief"
    return resolver.task_id == 0


@detect_lost_host()
def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns once all hosts have called it.

    Raises:
        HostLostError: Another host is lost.
    """
    any_host(strategy, True)


@detect_lost_host()
def any_host(strategy: tf.distribute.Strategy, answer: bool) -> bool:
    """Returns whether the answer of any host is yes, once all hosts have called it.

    Raises:
        HostLostError: Another host is lost.
    """
    return bool(_sum(strategy, tf.constant(float(answer))) > 0)


@tf.function
def _sum(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    return strategy.reduce("SUM", strategy.run(lambda: tf.identity(value)), axis=None)


def _check_cluster(text: str) -> None:
    """Checks TF_CONFIG, by whose mistakes TensorFlow would crash, or wait forever.

    Raises:
        InputError: It does not describe a cluster and a task.
    """
    try:
        config = json.loads(text)
        hosts, task = config["cluster"], config["task"]
        if not set(hosts) <= {"chief", "worker"}:
            raise ValueError(f"its cluster has {', '.join(hosts)}")
        if not 0 <= task["index"] < len(hosts[task["type"]]):
            raise ValueError(f"its task has no address: {task}")
    except (KeyError, TypeError, ValueError) as error:  # a JSONDecodeError is a ValueError
        raise InputError(
            f"TF_CONFIG: cannot be used ({error!r}); it must look like "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from error
