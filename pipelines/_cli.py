"""The command line of all binaries: logging, help, errors, lists of numbers, runners.

A binary defines its flags at the top, and imports TensorFlow, Keras and matplotlib only inside its
`main`, so that --help and a wrong flag take no time.
"""

import os
import sys
from collections.abc import Callable

# TensorFlow's C++ code logs its build at every start; only its errors are worth a line.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Set before TensorFlow is loaded, and here because a library must not decide on the memory of a
# program that uses it. Without an arena, feature maps of 50 MB return to the system after every
# step and come back page by page; with it, training on a CPU is up to twice as fast.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")

from absl import app, flags, logging  # noqa: E402

from scnn_tf.errors import InputError  # noqa: E402
from scnn_tf.io.remote import set_up_process  # noqa: E402
from scnn_tf.jobs.jobs import Runner  # noqa: E402
from scnn_tf.jobs.processes import Processes  # noqa: E402

DETECTIONS_HELP = (
    "Detections: ActivityNet results (.json), .csv or THUMOS text (.txt); the last two also .gz."
)
RECIPE_HELP = (
    "Recipe: thumos14, thumos14_res3d, mexaction2, small, or a JSON file of a base and changes."
)

flags.disclaim_key_flags()  # flags defined here belong to the binary that calls


def run(main: Callable[[list[str]], int | None], positional: bool = False) -> None:
    """Parses flags, runs `main`, and exits; an `InputError` is printed in one sentence.

    Args:
        main: Takes the arguments that are no flags (program name first) and returns an exit code
            or None. `--help` prints its module's docstring, followed by its flags.
        positional: Whether arguments that are no flags are allowed.
    """

    def guarded(argv: list[str]) -> int:
        try:
            if len(argv) > 1 and not positional:
                raise InputError(f"unexpected argument {argv[1]!r}; inputs are flags (see --help)")
            return main(argv) or 0
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            # No permission, no space left, a file instead of a folder: also for the user to fix.
            if error.filename is None:
                raise
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    set_up_process()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(_Formatter())
    logging.get_absl_handler().addFilter(_is_ours)
    app.run(guarded, flags_parser=lambda argv: _parse(main, argv))


class _Formatter(logging.PythonFormatter):
    """Formats a log line as level, time and message."""

    def format(self, record) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        return f"{record.levelname[0]} {time} {record.getMessage()}"


def _is_ours(record) -> bool:
    """Returns whether a record is a warning, or a message of this library."""
    return record.levelno >= logging.converter.STANDARD_WARNING or "scnn_tf" in record.pathname


def _parse(main: Callable, argv: list[str]) -> list[str]:
    """Parses flags and prints --help, which absl prints only for binaries run as `__main__`."""
    registered = argv[0] if main.__module__ == "__main__" else main.__module__
    if {"--help", "-h", "-help"} & set(argv[1:]):
        module = sys.modules[main.__module__]
        print(module.__doc__.strip(), "\n\nflags:")
        print(flags.FLAGS.module_help(registered).split("\n", 1)[1])
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv, known_only=False)
        for flag in flags.FLAGS.get_key_flags_for_module(registered):
            # A script's unset variable gives an empty value, and absl's bounds let NaN pass.
            if (flag.value == "" and flag.default is None) or flag.value != flag.value:
                raise flags.IllegalFlagValueError(f"flag --{flag.name} has no value")
        return rest
    except flags.Error as error:
        # absl reports each missing flag on a line of its own.
        print(f"error: {'; '.join(str(error).splitlines())} (see --help)", file=sys.stderr)
        sys.exit(2)


def report_failures(failures: list[dict]) -> None:
    """Prints the videos that could not be used, one on each line of stderr.

    Args:
        failures: {"video", "cause"} of each video.
    """
    for failure in failures:
        print(f"not used: {failure['video']}: {failure['cause']}", file=sys.stderr)


def numbers(name: str, values: list[str], kind: Callable = float) -> list:
    """Returns the numbers of a list flag, such as --tiou=.3,.5.

    Args:
        name: Name of the flag, for the error.
        values: Value of the flag, as absl parsed it.
        kind: `float` or `int`.

    Raises:
        InputError: A value is not a number.
    """
    try:
        return [kind(value) for value in values]
    except ValueError as error:
        raise InputError(
            f"--{name}: expected numbers separated by commas. Received: {','.join(values)}"
        ) from error


class RunnerFlags:
    """The flags --runner, --beam_option and --workers of a binary.

    Args:
        workers: Default of --workers.
        workers_help: Help text of --workers.
    """

    def __init__(self, workers: int, workers_help: str):
        self._runner = flags.DEFINE_enum(
            "runner",
            "local",
            ["local", "direct", "dataflow", "flink", "spark"],
            "Where videos are processed: local, in processes of this machine; or by Apache Beam, "
            "whose direct runner is on this machine, too (docs/scaling.md).",
        )
        self._beam_options = flags.DEFINE_multi_string(
            "beam_option",
            [],
            "Option for Beam, such as --beam_option=--region=europe-west1; may be repeated.",
        )
        self._workers = flags.DEFINE_integer("workers", workers, workers_help, 0)

    def runner(self, timeout_s: float) -> Runner:
        """Returns the runner of the jobs.

        Args:
            timeout_s: Seconds that a job may take; 0: no limit.

        Raises:
            InputError: The flags contradict each other.
        """
        name = self._runner.value
        if name == "local":
            if self._beam_options.present:
                raise InputError("--beam_option requires a Beam --runner, such as --runner=direct")
            return Processes(self._workers.value, timeout_s)
        if name != "direct" and self._workers.present:
            raise InputError(
                f"--workers counts processes of this machine; set the number of workers of "
                f"--runner={name} by a --beam_option (docs/scaling.md)"
            )
        from scnn_tf.jobs.beam import BeamRunner

        return BeamRunner(name, self._beam_options.value, self._workers.value, timeout_s)
