"""The command line of all binaries: output, logging, help, errors, lists of numbers, runners.

A binary defines its flags at the top, and imports TensorFlow, Keras and matplotlib only inside its
`main`, so that --help and a wrong flag take no time.
"""

import atexit
import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

# TensorFlow's C++ code logs its build at every start; only its errors are worth a line.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Set before TensorFlow is loaded, and here because a library must not decide on the memory of a
# program that uses it. Without an arena, feature maps of 50 MB return to the system after every
# step and come back page by page; with it, training on a CPU is up to twice as fast.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")

from absl import app, flags, logging  # noqa: E402

from scnn_tf.errors import InputError  # noqa: E402
from scnn_tf.io.files import CONTROL_ESCAPES, encodable  # noqa: E402
from scnn_tf.io.remote import set_up_process  # noqa: E402
from scnn_tf.jobs.jobs import Runner  # noqa: E402
from scnn_tf.jobs.processes import Processes  # noqa: E402

DETECTIONS_HELP = (
    "Detections: ActivityNet results (.json), .csv or THUMOS text (.txt); the last two also .gz."
)
CLASS_LIST_HELP = (
    "File with lines of `id name`, for detections in THUMOS text. Default: the detclasslist.txt "
    "next to the detections, in the folder of the annotations, or in the folder above."
)
RECIPE_HELP = (
    "Recipe: small, small_paper, few_shot, features, thumos14, thumos14_res3d, mexaction2, or a "
    "JSON file of a base and changes."
)

flags.disclaim_key_flags()  # flags defined here belong to the binary that calls


def run(main: Callable[[list[str]], int | None], positional: bool = False) -> None:
    """Parses flags, runs `main`, and exits; an `InputError` is printed in one sentence.

    Args:
        main: Takes the arguments that are no flags (program name first) and returns an exit code
            or None. `--help` prints its module's docstring, followed by its flags.
        positional: Whether arguments that are no flags are allowed.
    """

    def checked(argv: list[str]) -> int:
        if len(argv) > 1 and not positional:
            raise InputError(f"unexpected argument {argv[1]!r}; inputs are flags (see --help)")
        code = main(argv) or 0
        if sys.stdout:
            sys.stdout.flush()
        return code

    set_up_process()
    # What is done is done: Ctrl-C must not change the exit code while the interpreter ends.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(_Formatter())
    logging.get_absl_handler().addFilter(_is_ours)
    with _safe_output(), _reported_errors():
        app.run(checked, flags_parser=lambda argv: _parse(main, argv))


@contextlib.contextmanager
def _reported_errors() -> Iterator[None]:
    """Prints a user's error in the body in one sentence, and exits."""
    try:
        yield
    except InputError as error:
        print(f"error: {_on_one_line(error)}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        # No permission, no space left, a file instead of a folder: also for the user to fix.
        if error.filename is None:
            raise
        print(f"error: {_on_one_line(error.filename)}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends already
        print("interrupted", file=sys.stderr)
        sys.exit(130)


class _SafeOutput:
    """A text stream to a terminal, a pipe or a file, on which any text can be printed.

    - Control characters, which a name may have, appear as escapes and steer no terminal.
    - Characters that the stream's encoding lacks appear as escapes.
    - A closed pipe ends the output, not the work.

    Args:
        stream: The stream.
        kept: The control characters that are written as they are.
    """

    def __init__(self, stream: TextIO, kept: str):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        self._stream = stream
        self._escapes = {
            code: text for code, text in CONTROL_ESCAPES.items() if chr(code) not in kept
        }

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text."""
        with self._guarded():
            self._stream.write(text.translate(self._escapes))
        return len(text)

    def flush(self) -> None:
        """Sends on what was written."""
        with self._guarded():
            self._stream.flush()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is still buffered, and all that follows, goes nowhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                raise OSError(error.errno, error.strerror, self._stream.name) from error


@contextlib.contextmanager
def _safe_output() -> Iterator[None]:
    """Makes stdout and stderr a `_SafeOutput` while the body runs, where they are open."""
    streams = sys.stdout, sys.stderr
    try:
        if sys.stdout:
            sys.stdout = _SafeOutput(sys.stdout, kept="\n\t")
        if sys.stderr:
            sys.stderr = _SafeOutput(sys.stderr, kept="\n\t\r")  # progress bars need \r
        yield
    finally:
        if sys.stdout:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
        sys.stdout, sys.stderr = streams


def _on_one_line(message: object) -> str:
    """Returns a message with all control characters as escapes."""
    return str(message).translate(CONTROL_ESCAPES)


class _Formatter(logging.PythonFormatter):
    """Formats a log line as level, time and message."""

    def format(self, record) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        message = encodable(record.getMessage())
        return f"{record.levelname[0]} {time} {_on_one_line(message)}"


def _is_ours(record) -> bool:
    """Returns whether a record is a warning, or a message of this library."""
    return record.levelno >= logging.converter.STANDARD_WARNING or "scnn_tf" in record.pathname


def _parse(main: Callable, argv: list[str]) -> list[str]:
    """Parses flags and prints --help, which absl prints only for binaries run as `__main__`."""
    registered = argv[0] if main.__module__ == "__main__" else main.__module__
    if {"--help", "-h", "-help"} & set(argv[1:]):
        module = sys.modules[main.__module__]
        print(module.__doc__.strip(), "\n\nflags:")
        print(flags.FLAGS.module_help(registered).split("\n", 1)[1], flush=True)
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
        message = _on_one_line("; ".join(str(error).splitlines()))
        print(f"error: {message} (see --help)", file=sys.stderr)
        sys.exit(2)


def report_failures(failures: list[dict]) -> None:
    """Prints the videos that could not be used, one on each line of stderr.

    Args:
        failures: {"video", "cause"} of each video.
    """
    for failure in failures:
        line = f"not used: {failure['video']}: {failure['cause']}"
        print(_on_one_line(line), file=sys.stderr)


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
