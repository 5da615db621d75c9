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
from collections.abc import Collection, Iterator, Sequence
from logging import LogRecord, getLogger
from logging.handlers import QueueHandler
from multiprocessing import forkserver, resource_tracker

from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.jobs.jobs import (
    Job,
    Outcome,
    Progress,
    Task,
    Worker,
    read_outcome,
    source_of,
    unfinished,
    write_outcome,
)


class Processes:
    """A runner with worker processes of this machine, so that a crash costs one job.

    A job whose process dies (a decoder that dumps core) or exceeds the time limit has failed, and
    another process replaces its own. A job whose process was killed from outside, most likely for
    want of memory, is tried once more. However this process ends, its workers end too.

    Args:
        workers: Number of processes; None or 0: one for each core.
        timeout_s: Time limit of a job, in seconds; 0: no limit.
    """

    def __init__(self, workers: int | None = None, timeout_s: float = 0.0):
        self.workers = workers or os.cpu_count() or 1
        self.timeout_s = timeout_s

    def run(self, jobs: Sequence[Job], task: Task) -> None:
        """Runs the jobs that have no outcome yet; see `Runner`."""
        waiting = unfinished(jobs)
        pool = _Pool(waiting, task, self.workers, self.timeout_s)
        with Progress(len(waiting), task) as progress, contextlib.closing(pool):
            for outcome in pool.outcomes():
                progress.ended(outcome)


class _Pool:
    """The worker processes of a run and the jobs that wait for them."""

    def __init__(self, jobs: Sequence[Job], task: Task, size: int, timeout_s: float):
        # Workers are forked off a process that has imported, once, what the jobs need.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(sorted({job.function.__module__ for job in jobs}))
        with without_interrupts():
            forkserver.ensure_running()
        self._task, self._size, self._timeout_s = task, size, timeout_s
        self._waiting = deque(jobs)
        self._workers: set[_Process] = set()
        self._tried_again: set[str] = set()

    def outcomes(self) -> Iterator[Outcome]:
        """Runs the jobs and yields their outcomes as they end.

        Raises:
            InputError: The run cannot continue.
            OSError: Likewise.
        """
        while self._waiting or self._workers:
            busy = sum(worker.job is not None for worker in self._workers)
            while len(self._workers) < min(self._size, busy + len(self._waiting)):
                self._workers.add(_Process(self._context, self._task))
            for worker in _with_news(self._workers):
                try:
                    outcome = self._handle(worker, worker.receive())
                except _Died as death:
                    outcome = self._replace(worker, death)
                if outcome is not None:
                    yield outcome

    def close(self) -> None:
        """Kills the workers."""
        for worker in self._workers:
            worker.process.kill()

    def _handle(
        self, worker: "_Process", news: LogRecord | Exception | Outcome | None
    ) -> Outcome | None:
        """Handles a message of a worker; returns the outcome if its job ended."""
        if isinstance(news, LogRecord):
            getLogger(news.name).handle(news)
            return None
        if isinstance(news, Exception):
            raise news
        if self._waiting:
            worker.give(self._waiting.popleft(), self._timeout_s)
        else:
            self._workers.remove(worker)
            worker.process.kill()
        return news

    def _replace(self, worker: "_Process", death: "_Died") -> Outcome | None:
        """Removes a dead worker; returns the outcome of its job unless it is tried again."""
        self._workers.remove(worker)
        job = worker.job
        if job is None:
            raise InputError(f"no worker process could be started: it {death}") from death
        if death.from_outside and job.outcome not in self._tried_again:
            self._tried_again.add(job.outcome)
            self._waiting.appendleft(job)
            return None
        return _outcome_of_dead(job, death)


class _Died(Exception):
    """A worker process has ended; the message says how.

    Attributes:
        from_outside: Whether another process killed it.
    """

    def __init__(self, how: str, from_outside: bool = False):
        super().__init__(how)
        self.from_outside = from_outside


class _Process:
    """A worker process and its present job, None at its start."""

    def __init__(self, context, task: Task):
        self.job: Job | None = None
        self._deadline = math.inf
        self.connection, its_end = context.Pipe()
        self.process = context.Process(
            target=_work,
            args=(its_end, task, logging.get_verbosity(), dict(os.environ)),
            daemon=True,
        )
        self.process.start()
        its_end.close()

    def give(self, job: Job, timeout_s: float) -> None:
        """Sends the process a job."""
        self.job, self._timeout_s = job, timeout_s
        self._deadline = time.monotonic() + (timeout_s or math.inf)
        with contextlib.suppress(OSError):  # the process died meanwhile, which `receive` reports
            self.connection.send(job)

    @property
    def seconds_left(self) -> float:
        """Seconds until its job exceeds the time limit; infinite without a limit."""
        return max(0.0, self._deadline - time.monotonic())

    def receive(self) -> LogRecord | Exception | Outcome | None:
        """Receives a message of the process.

        Returns:
            A record to log, the error that ends the run, or the outcome of its job; None when the
            process is ready for its first job.

        Raises:
            _Died: The process has ended, or was stopped because its job exceeded the time limit.
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


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Keeps Ctrl-C, which reaches all processes of a terminal, from those that the body starts.

    They inherit that SIGINT is blocked. A process that ignores SIGINT itself (Python 3.11's fork
    server) would print a traceback in the time before. This process is interrupted after the body.
    """
    resource_tracker.ensure_running()  # the body would start it, which unblocks SIGINT
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def _with_news(workers: Collection[_Process]) -> list[_Process]:
    """Waits until a process sends a message, ends or exceeds its time limit, and returns those."""
    left = min(worker.seconds_left for worker in workers)
    news = multiprocessing.connection.wait(
        [worker.connection for worker in workers], None if left == math.inf else left
    )
    return [w for w in workers if w.connection in news or not w.seconds_left]


def _outcome_of_dead(job: Job, death: _Died) -> Outcome:
    """Returns the outcome of a job whose process died, perhaps after the job had finished."""
    if not unfinished([job]):
        return read_outcome(job)
    outcome = Outcome(
        None,
        f"{job.name}: the process that worked on it {death}; re-encode the video, leave it out, or "
        "try it again with more time and memory",
        source_of(job),
    )
    write_outcome(job, outcome)
    return outcome


def _work(
    connection: multiprocessing.connection.Connection,
    task: Task,
    verbosity: int,
    environment: dict[str, str],
) -> None:
    """Runs, in a worker process, the jobs that it receives, until the connection is closed."""
    # The fork server's environment predates later changes of os.environ, such as S3_ENDPOINT.
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.set_verbosity(verbosity)
    forward = Forward(connection)
    getLogger().addHandler(forward)
    worker = Worker(task)
    news = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            with forward.lock:
                connection.send(news)
            job = connection.recv()
            try:
                news = worker.run(job)
            except (InputError, OSError) as error:
                news = error


def _end_with_parent() -> None:
    """Ends this process, in the middle of its job, when its parent has ended."""
    multiprocessing.parent_process().join()
    os._exit(1)


class Forward(QueueHandler):
    """A log handler that sends records to the process that started this one."""

    def enqueue(self, record: LogRecord) -> None:  # noqa: D102
        self.queue.send(record)
