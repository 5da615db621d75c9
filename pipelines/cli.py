"""What all binaries share: logging, help, and errors told in one sentence."""

import os
import sys
from collections.abc import Callable

# TensorFlow's C++ side announces its build at every start; only its errors are worth a line.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Feature maps of 50 MB go back to the system after every step, and come back page by page; an
# arena keeps them. It makes training on a CPU up to twice as fast.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")

from absl import app, flags, logging  # noqa: E402

from scnn_tf.errors import InputError  # noqa: E402


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
        print(f"error: {error} (see --help)", file=sys.stderr)
        sys.exit(2)


def report_failures(failures: list[dict]) -> None:
    """Lists the videos that could not be used, at the end, where they are seen.

    Args:
        failures: {"video", "cause"} each.
    """
    for failure in failures:
        print(f"not used: {failure['video']}: {failure['cause']}", file=sys.stderr)
