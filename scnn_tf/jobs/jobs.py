"""Work on many videos, one job each: what is finished stays finished, wherever jobs run.

A job's outcome is a JSON file, written whole when the job ends, well or not. To resume is to run
the jobs that have none. A `Runner` says where they run: `Here`, in `Processes` of this machine, or
on a cluster (`scnn_tf.jobs.beam`); all of them leave the same outcomes.
"""

import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Protocol

from absl import logging
from tqdm import tqdm

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import as_path, read_text, write_text


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of a function.

    Attributes:
        function: of a module's top level, so that another process finds it; takes `args`, returns
            what JSON can hold. A `VideoError` that it raises is an outcome too; any other
            `InputError` (no room on the disk) ends the run and is none.
        args: picklable.
        name: of the video, for people.
        outcome: file or URL where its `Outcome` is written.
    """

    function: Callable[..., dict]
    args: tuple
    name: str
    outcome: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        result: what its function returned; None if it failed.
        cause: why it failed, one sentence; "" if it did not.
    """

    result: dict | None
    cause: str = ""


class Runner(Protocol):
    """Who runs jobs."""

    def run(self, jobs: Sequence[Job], title: str) -> None:
        """Runs the jobs that have no outcome yet; afterwards each has one.

        Args:
            jobs: in the order in which they should begin.
            title: what they do to what, for the progress bar: "cutting videos".

        Raises:
            InputError: the run cannot go on, whichever video comes next.
        """


class Here:
    """Runs jobs in this process, one after another."""

    def run(self, jobs: Sequence[Job], title: str) -> None:
        """Runs the jobs that have no outcome yet; see `Runner`."""
        waiting = unfinished(jobs)
        with _Progress(len(waiting), title) as progress:
            for job in waiting:
                progress.ended(run_job(job))


class _Progress(tqdm):
    """A bar of jobs, with the time left; and frames a second where results count frames.

    Args:
        total: jobs.
        title: whose last word tells what is counted: "cutting videos".
    """

    def __init__(self, total: int, title: str):
        seconds = 0.1 if sys.stderr.isatty() else 10.0  # between two lines of a log
        unit = " " + title.rpartition(" ")[2]
        super().__init__(total=total, desc=title, unit=unit, mininterval=seconds, disable=not total)
        self._title, self._frames, self._began = title, 0, time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """Counts a job."""
        self._frames += (outcome.result or {}).get("frames", 0)
        self.set_postfix_str(self._speed(), refresh=False)
        self.update()

    def _speed(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{self._frames / seconds:.0f} frames/s" if self._frames else ""

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        if self.n:
            seconds = time.monotonic() - self._began
            logging.info(
                "%s: %d of %d in %.0f s, %.3g/s %s",
                self._title, self.n, self.total, seconds, self.n / seconds, self._speed(),
            )  # fmt: skip


def run_job(job: Job) -> Outcome:
    """Runs a job and writes its outcome.

    Raises:
        InputError: which is not the video's fault.
    """
    try:
        outcome = Outcome(job.function(*job.args))
    except VideoError as error:
        outcome = Outcome(None, str(error))
    except (InputError, OSError):
        raise
    except MemoryError:
        outcome = Outcome(None, f"{job.name}: it needs more memory than there is")
    except Exception as error:  # noqa: BLE001 - a fault of ours must not end a night's run
        logging.error("%s: %s", job.name, traceback.format_exc())
        outcome = Outcome(None, f"{job.name}: a fault in scnn_tf ({error!r}); please report it")
    write_outcome(job, outcome)
    return outcome


def write_outcome(job: Job, outcome: Outcome) -> None:
    """Makes a job finished.

    Raises:
        InputError: it cannot be written.
    """
    if outcome.cause:
        logging.warning("video %s left out: %s", job.name, outcome.cause)
    try:
        write_text(job.outcome, json.dumps(dataclasses.asdict(outcome)) + "\n")
    except InputError as error:
        raise InputError(
            f"{error}; what is finished is kept: mend that, and run the same command again"
        ) from error


def read_outcome(job: Job) -> Outcome:
    """How a finished job ended.

    Raises:
        InputError: it is not finished, or its file is damaged.
    """
    text = read_text(job.outcome)
    try:
        return Outcome(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{job.outcome}: not an outcome ({error}); remove it to do {job.name} again"
        ) from error


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Those without an outcome. A folder is listed once, not asked for each job."""
    folders = {os.path.dirname(job.outcome) for job in jobs}
    finished = {
        os.fspath(path)
        for folder in folders
        if as_path(folder).is_dir()
        for path in as_path(folder).iterdir()
    }
    return [job for job in jobs if job.outcome not in finished]


def forget_failures(jobs: Sequence[Job]) -> None:
    """Removes the outcomes of those that failed, so that they are run again."""
    waiting = {job.outcome for job in unfinished(jobs)}
    for job in jobs:
        if job.outcome not in waiting and read_outcome(job).result is None:
            as_path(job.outcome).unlink(missing_ok=True)
