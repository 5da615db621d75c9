"""The flags that say where videos are worked on: here, or on an Apache Beam runner."""

from absl import flags

from scnn_tf.errors import InputError
from scnn_tf.jobs import jobs, processes

flags.disclaim_key_flags()  # they are the flags of the binary that asks for them


class RunnerFlags:
    """--runner, --beam_option and --workers of a binary.

    Args:
        workers: default of --workers.
        workers_help: what --help says of it.
    """

    def __init__(self, workers: int, workers_help: str):
        self._runner = flags.DEFINE_enum(
            "runner",
            "local",
            ["local", "direct", "dataflow", "flink", "spark"],
            "Where videos are worked on: in processes of this machine, or by Apache Beam, whose "
            "direct runner is on this machine too (docs/beam.md).",
        )
        self._beam_options = flags.DEFINE_multi_string(
            "beam_option",
            [],
            "An option for Beam, such as --beam_option=--region=europe-west1; may be repeated.",
        )
        self._workers = flags.DEFINE_integer("workers", workers, workers_help, 0)

    def runner(self, timeout_s: float) -> jobs.Runner:
        """Who runs the jobs.

        Args:
            timeout_s: seconds that one may take; 0: any time.

        Raises:
            InputError: flags that do not go together.
        """
        name = self._runner.value
        if name == "local":
            if self._beam_options.present:
                raise InputError("--beam_option can only be given together with a Beam --runner")
            return processes.Processes(self._workers.value, timeout_s)
        if name != "direct" and self._workers.present:
            raise InputError(
                f"--workers counts processes of this machine; how many --runner={name} has is an "
                "option of its own, given as --beam_option (docs/beam.md)"
            )
        from scnn_tf.jobs.beam import BeamRunner

        return BeamRunner(name, self._beam_options.value, self._workers.value, timeout_s)
