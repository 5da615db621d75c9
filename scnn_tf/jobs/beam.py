"""Jobs on an Apache Beam runner: Dataflow, Flink or Spark, where one machine is outgrown.

The pipeline is one step, a job for each element, and has no output: what is found is in the jobs'
outcomes and files, which must be where every worker can write them. So a run on a cluster leaves
what a run on one machine leaves, and is resumed in the same way. `docs/beam.md` has the commands.
"""

import contextlib
import dataclasses
import io
import os
import pickle
import traceback
from collections.abc import Iterator, Sequence

from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, is_local, read_text, write_text
from scnn_tf.io.remote import set_up_process
from scnn_tf.jobs.jobs import Job, unfinished
from scnn_tf.jobs.processes import Processes

# "direct" is Beam's own runner on this machine, named by its class: what newer versions call
# `DirectRunner` downloads a program to run pipelines.
RUNNERS = {
    "direct": "FnApiRunner",
    "dataflow": "DataflowRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
}


@dataclasses.dataclass(frozen=True)
class BeamRunner:
    """Runs jobs on a Beam runner; a `jobs.Runner`.

    Attributes:
        name: a key of `RUNNERS`.
        options: of Beam and of its runner, each as on a command line: `--region=europe-west1`.
        workers: processes on this machine, 0: one for each core; of "direct" only, clusters have
            options for theirs.
        timeout_s: seconds that a job may take; 0: any time.

    Raises:
        InputError: there is no runner of that name.
    """

    name: str
    options: Sequence[str] = ()
    workers: int = 1
    timeout_s: float = 0.0

    def __post_init__(self):
        if self.name not in RUNNERS:
            names = ", ".join(RUNNERS)
            raise InputError(f"no Beam runner is called {self.name!r}; there are {names}")

    def run(self, jobs: Sequence[Job], title: str) -> None:
        """Runs the jobs that have no outcome yet, in any order; see `jobs.Runner`.

        Raises:
            InputError: Beam is not installed, an option is wrong, the workers cannot reach the
                outcomes, the pipeline failed, or a job could not go on.
        """
        todo = unfinished(jobs)
        if not todo:
            return
        local = [job.outcome for job in todo if is_local(job.outcome)]
        if self.name == "dataflow" and local:
            raise InputError(
                f"{local[0]}: workers of Dataflow cannot write to this machine's disk; give "
                "folders as URLs (gs://bucket/folder)"
            )
        stopped = f"{os.path.dirname(todo[0].outcome)}/stopped.txt"
        as_path(stopped).unlink(missing_ok=True)
        # Some for each worker, so that all have work to the end; a cluster may have a hundred.
        workers = (self.workers or os.cpu_count() or 1) if self.name == "direct" else 100
        parts = _parts(todo, 8 * workers)
        with _one_sentence(self.name):
            import apache_beam as beam

            options = self._pipeline_options()
            pipeline = beam.Pipeline(_runner(self.name, options), options)
            (
                pipeline
                | title >> beam.Create(parts)  # which also spreads them over the workers
                | "run" >> beam.Map(_run, self.timeout_s, stopped)
            )
            logging.info("%s: %d videos go to %s", title, len(todo), RUNNERS[self.name])
            pipeline.run().wait_until_finish()
        if as_path(stopped).exists():
            reason = read_text(stopped)
            as_path(stopped).unlink()
            raise InputError(reason)
        if left := unfinished(todo):
            raise InputError(
                f"--runner={self.name} ended, and {len(left)} of {len(todo)} jobs left no outcome "
                f"({left[0].outcome} is the first); outcomes must be on a disk that all workers "
                "share, under the same absolute path, or behind a URL"
            )

    def _pipeline_options(self):
        """The options, parsed.

        Raises:
            InputError: Beam has no such option, or the value is none for it.
        """
        from apache_beam.options.pipeline_options import PipelineOptions

        # A worker process runs one job at a time; more threads would only hold more memory.
        ours = ["--number_of_worker_harness_threads=1"]
        if self.name == "direct":
            ours += [
                "--direct_running_mode=multi_processing",
                f"--direct_num_workers={self.workers}",
                # Else its workers tell here how they are doing.
                "--default_sdk_harness_log_level=CRITICAL",
            ]
        for option in self.options:
            if not option.startswith("--"):
                raise InputError(f"--beam_option: {option!r} is no option, which begins with --")
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                options = PipelineOptions([*ours, *self.options])
                given = options.get_all_options(retain_unknown_options=True)
        except SystemExit as error:
            reason = said.getvalue().rpartition("error: ")[2].strip()
            raise InputError(f"--beam_option: {reason}") from error
        unknown = set(given) - set(PipelineOptions([]).get_all_options())
        # The servers of Flink and Spark have options of their own, and warn of those unknown.
        if unknown and self.name in ("direct", "dataflow"):
            raise InputError(
                f"--beam_option=--{min(unknown)}: Apache Beam has no such option for {self.name}"
            )
        return options


def _runner(name: str, options):
    """Beam's runner: an object for "direct", whose workers learn the options from it alone."""
    if name != "direct":
        return RUNNERS[name]
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(provision))


def _parts(jobs: Sequence[Job], count: int) -> list[bytes]:
    """Jobs as the elements of a pipeline, several to each: about `count`, of 32 jobs at most.

    What a process does once, such as loading networks, it does once for each part.
    """
    size = min(32, -(-len(jobs) // count))
    # As bytes, of which no coder of Beam's makes anything else.
    return [pickle.dumps(jobs[i : i + size]) for i in range(0, len(jobs), size)]


def _run(part: bytes, timeout_s: float, stopped: str) -> None:
    """Runs jobs, on a worker, in a process of its own: Beam would run one that dies for ever.

    Args:
        part: of `_parts`.
        timeout_s: seconds that a job may take; 0: any time.
        stopped: file or URL with the reason why the run cannot go on, once there is one. What was
            raised here would end up in a log, and Beam would try the same jobs again.
    """
    set_up_process()  # A worker of Beam runs no binary of ours.
    if as_path(stopped).exists():
        return
    jobs = pickle.loads(part)
    try:
        Processes(1, timeout_s).run(jobs, jobs[0].name)
    except (InputError, OSError) as error:
        write_text(stopped, str(error))


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Turns what Beam raises, pages of tracebacks of many machines, into its cause.

    Raises:
        InputError: something was raised within.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"--runner={name} needs Apache Beam, and a part of it is not installed ({error}): "
            "pip install 'scnn_tf[beam]', for Dataflow also 'apache-beam[gcp]'"
        ) from error
    except Exception as error:  # noqa: BLE001 - whatever a cluster may say
        logging.debug("%s", traceback.format_exc())
        lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        text = lines[-1] if "Traceback" in lines[0] else " ".join(lines)
        raise InputError(f"--runner={name}: the pipeline failed: {text}") from error
