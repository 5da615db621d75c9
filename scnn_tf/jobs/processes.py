"""Jobs in worker processes of this machine: a crash or a hang costs one job."""

import contextlib
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from logging import LogRecord, getLogger
from logging.handlers import QueueHandler

from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.jobs.jobs import (
    Job,
    Outcome,
    _Progress,
    read_outcome,
    run_job,
    unfinished,
    write_outcome,
)


class Processes:
    """Runs jobs in worker processes of this machine, so that one that crashes takes one job.

    A job whose process dies (a decoder that dumps core) or that takes too long has failed, and
    another process takes the place of its own. One whose process was killed from outside, for want
    of memory most likely, is tried once more. However this process ends, its workers do too.

    Args:
        workers: how many processes; None: one for each core.
        timeout_s: seconds that a job may take; 0: any time.
    """

    def __init__(self, workers: int | None = None, timeout_s: float = 0.0):
        self.workers = workers or os.cpu_count() or 1
        self.timeout_s = timeout_s

    def run(self, jobs: Sequence[Job], title: str) -> None:
        """Runs the jobs that have no outcome yet; see `Runner`."""
        waiting = deque(unfinished(jobs))
        # Workers are forked off a process that has imported, once, what the jobs need.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(sorted({job.function.__module__ for job in waiting}))
        workers: set[_Worker] = set()
        tried_again: set[str] = set()
        with _Progress(len(waiting), title) as progress:
            try:
                while waiting or workers:
                    busy = sum(worker.job is not None for worker in workers)
                    while len(workers) < min(self.workers, busy + len(waiting)):
                        workers.add(_Worker(context))
                    for worker in _with_news(workers):
                        try:
                            news = worker.receive()
                        except _Died as death:
                            workers.remove(worker)
                            job = worker.job
                            if job is None:
                                raise InputError(
                                    f"no worker process could be started: it {death}"
                                ) from death
                            if death.from_outside and job.outcome not in tried_again:
                                tried_again.add(job.outcome)
                                waiting.appendleft(job)
                            else:
                                progress.ended(_outcome_of_dead(job, death))
                            continue
                        if isinstance(news, LogRecord):
                            getLogger(news.name).handle(news)
                        elif isinstance(news, Exception):
                            raise news
                        else:
                            if news is not None:
                                progress.ended(news)
                            if waiting:
                                worker.give(waiting.popleft(), self.timeout_s)
                            else:
                                workers.remove(worker)
                                worker.process.kill()
            finally:
                for worker in workers:
                    worker.process.kill()


class _Died(Exception):
    """A worker process is no more; says how it ended.

    Attributes:
        from_outside: whether someone else killed it.
    """

    def __init__(self, how: str, from_outside: bool = False):
        super().__init__(how)
        self.from_outside = from_outside


class _Worker:
    """A worker process and the job it has, None at its start."""

    def __init__(self, context):
        self.job: Job | None = None
        self._deadline = math.inf
        self.connection, its_end = context.Pipe()
        self.process = context.Process(
            target=_work, args=(its_end, logging.get_verbosity(), dict(os.environ)), daemon=True
        )
        self.process.start()
        its_end.close()

    def give(self, job: Job, timeout_s: float) -> None:
        """Sends it a job."""
        self.job, self._timeout_s = job, timeout_s
        self._deadline = time.monotonic() + (timeout_s or math.inf)
        with contextlib.suppress(OSError):  # it has died meanwhile, which `receive` tells
            self.connection.send(job)

    @property
    def seconds_left(self) -> float:
        """Until its job's time is up; infinite if it has any time."""
        return max(0.0, self._deadline - time.monotonic())

    def receive(self) -> LogRecord | Exception | Outcome | None:
        """What it says: a message to be logged, why the run cannot go on, or how its job ended.

        It says None when it is ready for its first job.

        Raises:
            _Died: the process is no more, or has just been stopped because its time was up.
        """
        late = not self.seconds_left
        with contextlib.suppress(EOFError, OSError):
            if self.connection.poll():
                return self.connection.recv()
        if late:
            self.process.kill()
        self.process.join()
        code = self.process.exitcode
        if late:
            raise _Died(f"was stopped after {self._timeout_s:g} s, the time limit")
        if code >= 0:
            raise _Died(f"ended with exit code {code}")
        raise _Died(
            f"crashed ({signal.Signals(-code).name})",
            from_outside=-code in (signal.SIGKILL, signal.SIGTERM),
        )


def _with_news(workers: Collection[_Worker]) -> list[_Worker]:
    """Waits for the first that says something, ends, or whose time is up; and tells which."""
    left = min(worker.seconds_left for worker in workers)
    news = multiprocessing.connection.wait(
        [worker.connection for worker in workers], None if left == math.inf else left
    )
    return [w for w in workers if w.connection in news or not w.seconds_left]


def _outcome_of_dead(job: Job, death: _Died) -> Outcome:
    """How a job ended whose process is no more; it may have come to its end before."""
    if not unfinished([job]):
        return read_outcome(job)
    outcome = Outcome(
        None,
        f"{job.name}: the process that worked on it {death}; re-encode the video, leave it out, or "
        "try it again with more time and memory",
    )
    write_outcome(job, outcome)
    return outcome


def _work(
    connection: multiprocessing.connection.Connection,
    verbosity: int,
    environment: dict[str, str],
) -> None:
    """What a worker process does: the jobs that it is sent, until there is no one to send any."""
    # Its own is of the time when the first worker was started, maybe before a store was named.
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started us decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.set_verbosity(verbosity)
    forward = _Forward(connection)
    getLogger().addHandler(forward)
    news = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            with forward.lock:
                connection.send(news)
            job = connection.recv()
            try:
                news = run_job(job)
            except (InputError, OSError) as error:
                news = error


def _end_with_parent() -> None:
    """Ends this process, in the middle of its job, when the one that started it is no more."""
    multiprocessing.parent_process().join()
    os._exit(1)


class _Forward(QueueHandler):
    """Has the process that started this one log what this one would."""

    def enqueue(self, record: LogRecord) -> None:
        """Sends a message."""
        self.queue.send(record)
