"""Resumable jobs: one function call for each video, each with an outcome on disk.

The outcome of a job is a JSON file that is written atomically when the job ends, whether it
succeeded or failed. Resuming a run means running the jobs that have no outcome. A `Runner` decides
where jobs run: `Here` in this process, `scnn_tf.jobs.processes` in worker processes of this
machine, `scnn_tf.jobs.beam` on a cluster. All runners leave the same outcomes.
"""

import contextlib
import dataclasses
import functools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from absl import logging
from tqdm import tqdm

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import (
    absolute,
    as_path,
    encodable,
    file_identity,
    is_local,
    signed,
    unsigned,
    write_text,
)


@dataclasses.dataclass(frozen=True)
class Job:
    """One function call, such as the work on one video.

    Attributes:
        function: A function at the top level of a module, so that other processes can import it;
            returns a dict that JSON can represent. A `VideoError` that it raises becomes a failed
            outcome; any other `InputError`, such as a full disk, ends the run without an outcome.
        args: Picklable arguments of the function.
        name: The name of the job in messages, such as the path of its video.
        outcome: File or URL to which its `Outcome` is written.
        source: File or URL that the function reads, whose identity becomes a part of the outcome;
            "" for none.
    """

    function: Callable[..., dict]
    args: tuple
    name: str
    outcome: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The end of a job.

    Attributes:
        result: The return value of the function; None if the job failed.
        cause: One sentence that says why the job failed; "" if it succeeded.
        source: See `source_of`; None for a job without a source.
    """

    result: dict | None
    cause: str = ""
    source: dict | None = None

    @property
    def failed(self) -> bool:
        """Whether the job failed."""
        return self.result is None


@dataclasses.dataclass(frozen=True)
class Task:
    """The common part of all jobs of a run.

    Attributes:
        verb: What the jobs do, as an -ing form: "cutting".
        noun: What one job does it to, in the singular, with a plural in s: "video".
        counted: Key of a number in the jobs' results whose sum per second is shown as well, such
            as "frames"; "" for none.
        setup: Opens what the jobs of a process share, such as loaded networks; picklable. It is
            called once in every process that runs jobs, with its first job, and the jobs'
            functions get its result as an additional first argument. None: nothing is shared.
    """

    verb: str
    noun: str
    counted: str = ""
    setup: Callable[[], Any] | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.noun}s"

    def count(self, number: int) -> str:
        """Returns a number with its noun: "1 video", "2 videos"."""
        return f"{number} {self.noun}{'' if number == 1 else 's'}"


class Runner(Protocol):
    """A place where jobs run."""

    def run(self, jobs: Sequence[Job], task: Task) -> None:
        """Runs the jobs that have no outcome yet; afterwards every job has one.

        Args:
            jobs: The jobs, in the order in which they should begin.
            task: The common part of the jobs.

        Raises:
            InputError: The run cannot continue, whichever job comes next.
        """


class Here:
    """A runner that runs jobs in this process, one after another."""

    def run(self, jobs: Sequence[Job], task: Task) -> None:
        """Runs the jobs that have no outcome yet; see `Runner`."""
        worker = Worker(task)
        waiting = unfinished(jobs)
        with Progress(len(waiting), task) as progress:
            for job in waiting:
                progress.ended(worker.run(job))


class Worker:
    """Runs jobs of one task in this process and keeps what they share."""

    def __init__(self, task: Task):
        self._setup = functools.cache(task.setup) if task.setup else None

    def run(self, job: Job) -> Outcome:
        """Runs a job and writes its outcome.

        Raises:
            InputError: The run cannot continue.
            OSError: Likewise.
        """
        source = source_of(job)  # before the work: a file that changes meanwhile is noticed
        result, cause = None, ""
        try:
            shared = (self._setup(),) if self._setup else ()
            result = job.function(*shared, *job.args)
        except VideoError as error:
            cause = str(error)
        except (InputError, OSError):
            raise
        except MemoryError:
            cause = f"{job.name}: needs more memory than is available"
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end a night's run
            logging.error("%s: %s", job.name, traceback.format_exc())
            cause = f"{job.name}: a bug in scnn_tf ({error!r}); please report it"
        outcome = Outcome(result, cause, source)
        write_outcome(job, outcome)
        return outcome


class Progress(tqdm):
    """A progress bar of jobs with the time left and their speed, which is logged at the end.

    Args:
        total: Number of jobs.
        task: The words to count them with.
    """

    def __init__(self, total: int, task: Task):
        seconds = 0.1 if sys.stderr.isatty() else 10.0  # between two lines of a log
        super().__init__(
            total=total,
            desc=str(task),
            unit=f" {task.noun}s",
            mininterval=seconds,
            disable=not total,
        )
        self._task, self._counted, self._began = task, 0, time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """Counts a job that has ended."""
        self._counted += (outcome.result or {}).get(self._task.counted, 0)
        self.set_postfix_str(self._speed(), refresh=False)
        self.update()

    def _speed(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{self._counted / seconds:.0f} {self._task.counted}/s" if self._counted else ""

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        if self.n:
            seconds = time.monotonic() - self._began
            speeds = [f"{self.n / seconds:.3g} {self._task.noun}s/s", self._speed()]
            logging.info(
                "%s: %d of %s in %.0f s, %s",
                self._task.verb, self.n, self._task.count(self.total), seconds,
                ", ".join(filter(None, speeds)),
            )  # fmt: skip


def source_of(job: Job) -> dict | None:
    """Returns the identity of the file that a job reads, to notice when it is another one.

    Returns:
        Its "path", see `files.absolute`, and what `files.file_identity` returns; the path alone if
        no such file can be read; None for a job without a source.
    """
    if not job.source:
        return None
    source = {"path": absolute(job.source)}
    if not is_local(job.source) or os.path.isfile(job.source):  # a named pipe would block
        with contextlib.suppress(InputError):
            source |= file_identity(job.source)
    return source


def write_outcome(job: Job, outcome: Outcome) -> None:
    """Writes the outcome of a job, which marks the job as finished.

    Raises:
        InputError: The file cannot be written.
    """
    if outcome.cause:
        # Whoever collects logs may take nothing but UTF-8.
        logging.warning("%s failed: %s", encodable(job.name), outcome.cause)
    try:
        write_text(job.outcome, json.dumps(signed(dataclasses.asdict(outcome))) + "\n")
    except InputError as error:
        raise InputError(
            f"{error}; finished work is kept: fix the cause and run the same command again"
        ) from error


class DamagedOutcome(InputError):
    """The file of an outcome does not hold one."""


def read_outcome(job: Job) -> Outcome:
    """Reads the outcome of a finished job.

    Raises:
        DamagedOutcome: The file is damaged.
        InputError: The job is not finished, or the file cannot be read.
    """
    try:
        outcome = Outcome(**unsigned(json.loads(as_path(job.outcome).read_bytes())))
        for value, kind in (outcome.result, dict), (outcome.cause, str), (outcome.source, dict):
            if not isinstance(value, kind) and (value is not None or kind is str):
                raise TypeError(f"{value!r:.40}")
        return outcome
    except OSError as error:
        raise InputError(f"{job.outcome}: cannot be read ({error.strerror or error})") from error
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise DamagedOutcome(
            f"{job.outcome}: expected the outcome of a job. Received: {error}; {job.name} has to "
            "run again"
        ) from error


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Returns the jobs without an outcome; each folder is listed once, whatever it holds."""
    folders = {os.path.dirname(job.outcome) for job in jobs}
    present = {
        os.fspath(path)
        for folder in folders
        if as_path(folder).is_dir()
        for path in as_path(folder).iterdir()
    }
    return [job for job in jobs if job.outcome not in present]


def finished(jobs: Sequence[Job]) -> list[tuple[Job, Outcome]]:
    """Returns the jobs that have an outcome, with it, in the order of `jobs`.

    Raises:
        InputError: An outcome is damaged.
    """
    waiting = {job.outcome for job in unfinished(jobs)}
    return [(job, read_outcome(job)) for job in jobs if job.outcome not in waiting]


def forget(jobs: Sequence[Job], again: Callable[[Job, Outcome], bool]) -> None:
    """Removes outcomes, so that their jobs run again; damaged ones, too.

    Args:
        jobs: The jobs, finished or not.
        again: Whether a finished job is to run again.

    Raises:
        InputError: An outcome cannot be read.
    """
    waiting = {job.outcome for job in unfinished(jobs)}
    for job in jobs:
        if job.outcome in waiting:
            continue
        try:
            remove = again(job, read_outcome(job))
        except DamagedOutcome as error:
            logging.warning("%s", error)
            remove = True
        if remove:
            as_path(job.outcome).unlink(missing_ok=True)
