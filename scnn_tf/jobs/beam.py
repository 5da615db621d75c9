"""Jobs on an Apache Beam runner: Dataflow, Flink or Spark, for work that outgrows one machine.

The pipeline has one step and no output: the results are the outcomes and files of the jobs, which
must be in a place that every worker can write to. So a run on a cluster leaves the same files as a
run on one machine, and is resumed in the same way. It was tested with Beam's own runner and a job
server on one machine, not on a cluster. `docs/scaling.md` has the commands.
"""

import contextlib
import dataclasses
import io
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from logging import LogRecord, getLogger

from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, is_local, read_text, write_text
from scnn_tf.io.remote import set_up_process
from scnn_tf.jobs.jobs import Job, Task, unfinished
from scnn_tf.jobs.processes import Forward, Processes, without_interrupts

# "direct" is Beam's own runner on this machine. Its class is named here because `DirectRunner`
# downloads a program to run pipelines in newer versions of Beam.
RUNNERS = {
    "direct": "FnApiRunner",
    "dataflow": "DataflowRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
}


@dataclasses.dataclass(frozen=True)
class BeamRunner:
    """A `jobs.Runner` that runs jobs on a runner of Apache Beam.

    Attributes:
        name: A key of `RUNNERS`.
        options: Options of Beam and its runner, in command-line form: `--region=europe-west1`.
        workers: Number of processes on this machine, 0: one for each core; for "direct" only,
            because clusters have options of their own.
        timeout_s: Time limit of a job, in seconds; 0: no limit.

    Raises:
        InputError: No runner has this name.
    """

    name: str
    options: Sequence[str] = ()
    workers: int = 1
    timeout_s: float = 0.0

    def __post_init__(self):
        if self.name not in RUNNERS:
            names = ", ".join(RUNNERS)
            raise InputError(f"expected a Beam runner out of {names}. Received: {self.name!r}")

    def run(self, jobs: Sequence[Job], task: Task) -> None:
        """Runs the jobs that have no outcome yet, in any order; see `jobs.Runner`.

        Raises:
            InputError: Beam is not installed, an option is invalid, the workers cannot reach the
                outcomes, the pipeline failed, or a job ended the run.
        """
        todo = unfinished(jobs)
        if not todo:
            return
        local = [job.outcome for job in todo if is_local(job.outcome)]
        if self.name == "dataflow" and local:
            raise InputError(
                f"{local[0]}: workers of Dataflow cannot write to this machine's disk; give "
                "URLs of folders (gs://bucket/folder)"
            )
        stopped = f"{os.path.dirname(todo[0].outcome)}/stopped.txt"
        as_path(stopped).unlink(missing_ok=True)
        # Several parts for each worker keep all of them busy to the end; a cluster may have 100.
        workers = (self.workers or os.cpu_count() or 1) if self.name == "direct" else 100
        parts = _parts(todo, task, 8 * workers)
        logging.info("%s: %s go to %s", task.verb, task.count(len(todo)), RUNNERS[self.name])
        _in_own_session(self._submit, str(task), parts, stopped)
        if as_path(stopped).exists():
            reason = read_text(stopped)
            as_path(stopped).unlink()
            raise InputError(reason)
        if left := unfinished(todo):
            raise InputError(
                f"--runner={self.name} ended, but {len(left)} of {task.count(len(todo))} left no "
                f"outcome ({left[0].outcome} is the first); put outcomes behind a URL, or on a "
                "disk that all workers share under the same absolute path"
            )

    def _submit(self, title: str, parts: Sequence[bytes], stopped: str) -> None:
        """Runs the pipeline.

        Raises:
            InputError: The pipeline failed.
        """
        with _one_sentence(self.name):
            import apache_beam as beam

            options = self._pipeline_options()
            pipeline = beam.Pipeline(_runner(self.name, options), options)
            (
                pipeline
                | title >> beam.Create(parts)  # which also spreads them over the workers
                | "run" >> beam.Map(_run, self.timeout_s, stopped)
            )
            pipeline.run().wait_until_finish()

    def _pipeline_options(self):
        """Returns the parsed options.

        Raises:
            InputError: Beam has no such option, or the value is invalid.
        """
        from apache_beam.options.pipeline_options import PipelineOptions

        # A worker process runs one job at a time; more threads would only hold more memory.
        ours = ["--number_of_worker_harness_threads=1"]
        if self.name == "direct":
            ours += [
                "--direct_running_mode=multi_processing",
                f"--direct_num_workers={self.workers}",
                # Otherwise the workers' log of Beam's internals appears here.
                "--default_sdk_harness_log_level=CRITICAL",
            ]
        for option in self.options:
            if not option.startswith("--"):
                raise InputError(
                    f"--beam_option: expected an option that begins with --. Received: {option!r}"
                )
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                options = PipelineOptions([*ours, *self.options])
                given = options.get_all_options(retain_unknown_options=True)
        except SystemExit as error:
            reason = said.getvalue().rpartition("error: ")[2].strip()
            raise InputError(f"--beam_option: {reason}") from error
        unknown = set(given) - set(PipelineOptions([]).get_all_options())
        # The servers of Flink and Spark have options of their own and warn of unknown ones.
        if unknown and self.name in ("direct", "dataflow"):
            raise InputError(
                f"--beam_option=--{min(unknown)}: Apache Beam has no such option for {self.name}"
            )
        return options


def _runner(name: str, options):
    """Returns Beam's runner; for "direct" an object, from which its workers get the options."""
    if name != "direct":
        return RUNNERS[name]
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(provision))


def _parts(jobs: Sequence[Job], task: Task, count: int) -> list[bytes]:
    """Returns the elements of the pipeline: about `count` parts of at most 32 jobs each.

    A worker opens what the jobs share, such as loaded networks, once for each part.
    """
    size = min(32, -(-len(jobs) // count))
    # Pickled here, because Beam's coders leave bytes as they are.
    return [pickle.dumps((jobs[i : i + size], task)) for i in range(0, len(jobs), size)]


def _run(part: bytes, timeout_s: float, stopped: str) -> None:
    """Runs jobs on a worker, in a process of their own: Beam retries a crashing bundle forever.

    Args:
        part: An element of `_parts`.
        timeout_s: Time limit of a job, in seconds; 0: no limit.
        stopped: File or URL to which the reason is written if the run cannot continue. An error
            raised here would only be logged, and Beam would run the same jobs again.
    """
    set_up_process()  # A worker of Beam runs no binary of ours.
    if as_path(stopped).exists():
        return
    jobs, task = pickle.loads(part)
    try:
        Processes(workers=1, timeout_s=timeout_s).run(jobs, task)
    except (InputError, OSError) as error:
        write_text(stopped, str(error))


def _in_own_session(function: Callable[..., None], *args) -> None:
    """Calls a function in a process of its own, which ends with all that it has started.

    Ctrl-C would reach each process that Beam starts on this machine, and each would print
    tracebacks. In a session of their own, they are killed.

    Raises:
        InputError: The function has raised it, or the process has died.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_call, args=(theirs, logging.get_verbosity(), function, args))
    try:
        with without_interrupts():
            process.start()
        theirs.close()
        while isinstance(news := ours.recv(), LogRecord):
            getLogger(news.name).handle(news)
    except EOFError:
        process.join()
        news = InputError(f"the process of Beam's pipeline ended with code {process.exitcode}")
    finally:
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, or has no session yet
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
    if news is not None:
        raise news


def _call(
    connection: multiprocessing.connection.Connection,
    verbosity: int,
    function: Callable[..., None],
    args: tuple,
) -> None:
    """Calls a function in the process of `_in_own_session`, and sends its error, or None."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.set_verbosity(verbosity)
    forward = Forward(connection)
    getLogger().addHandler(forward)
    news = None
    try:
        function(*args)
    except InputError as error:
        news = error
    with forward.lock:
        connection.send(news)


def _end_with_parent() -> None:
    """Ends this session when the parent of this process has ended."""
    multiprocessing.parent_process().join()
    os.killpg(0, signal.SIGKILL)


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Turns an error of Beam, pages of tracebacks of many machines, into one sentence.

    Raises:
        InputError: An exception was raised inside.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"--runner={name} needs Apache Beam, a part of which is not installed ({error}); "
            "pip install 'scnn_tf[beam]', for Dataflow also 'apache-beam[gcp]'"
        ) from error
    except Exception as error:  # noqa: BLE001 - clusters raise errors of any class
        logging.debug("%s", traceback.format_exc())
        lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        text = lines[-1] if "Traceback" in lines[0] else " ".join(lines)
        raise InputError(f"--runner={name}: the pipeline failed: {text}") from error
