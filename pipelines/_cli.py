"""What all binaries share: logging, help, errors in one sentence, lists of numbers, runners."""

import os
import sys
from collections.abc import Callable

# TensorFlow's C++ side announces its build at every start; only its errors are worth a line.
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

flags.disclaim_key_flags()  # flags defined here belong to the binary that asks for them


def run(main: Callable[[list[str]], int | None], positional: bool = False) -> None:
    """Parses flags and runs `main`; an `InputError` becomes one sentence and exit code 1.

    Args:
        main: takes what is left of the command line (program name first), returns an exit code
            or None. Its module's docstring is what `--help` prints, followed by its flags.
        positional: whether it takes arguments that are no flags.
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
            # No right to write, no room left, a file for a folder: the user's to mend as well.
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
    """Level and time, without the thread and line number that only a developer reads."""

    def format(self, record) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        return f"{record.levelname[0]} {time} {record.getMessage()}"


def _is_ours(record) -> bool:
    """Lets through what the libraries below warn of, but not how they are doing."""
    return record.levelno >= logging.converter.STANDARD_WARNING or "scnn_tf" in record.pathname


def _parse(main: Callable, argv: list[str]) -> list[str]:
    """Parses flags. `--help` is ours: absl's knows only binaries that are run as `__main__`."""
    registered = argv[0] if main.__module__ == "__main__" else main.__module__
    if {"--help", "-h", "-help"} & set(argv[1:]):
        module = sys.modules[main.__module__]
        print(module.__doc__.strip(), "\n\nflags:")
        print(flags.FLAGS.module_help(registered).split("\n", 1)[1])
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv, known_only=False)
        for flag in flags.FLAGS.get_key_flags_for_module(registered):
            # An unset variable of a script is no path, and NaN is within any bounds.
            if (flag.value == "" and flag.default is None) or flag.value != flag.value:
                raise flags.IllegalFlagValueError(f"flag --{flag.name} has no value")
        return rest
    except flags.Error as error:
        # absl reports each missing flag on a line of its own.
        print(f"error: {'; '.join(str(error).splitlines())} (see --help)", file=sys.stderr)
        sys.exit(2)


def report_failures(failures: list[dict]) -> None:
    """Lists the videos that could not be used, at the end, where they are seen.

    Args:
        failures: {"video", "cause"} each.
    """
    for failure in failures:
        print(f"not used: {failure['video']}: {failure['cause']}", file=sys.stderr)


def numbers(name: str, values: list[str], kind: Callable = float) -> list:
    """Returns the numbers of a list flag, such as --tiou=.3,.5.

    Args:
        name: Name of the flag, for the error.
        values: Its value as absl parsed it.
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

    def runner(self, timeout_s: float) -> Runner:
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
            return Processes(self._workers.value, timeout_s)
        if name != "direct" and self._workers.present:
            raise InputError(
                f"--workers counts processes of this machine; how many --runner={name} has is an "
                "option of its own, given as --beam_option (docs/beam.md)"
            )
        from scnn_tf.jobs.beam import BeamRunner

        return BeamRunner(name, self._beam_options.value, self._workers.value, timeout_s)
