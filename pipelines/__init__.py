"""The binaries: each parses flags, calls the library, and prints one result."""

import os
import sys


def _report_uncaught(kind, error, traceback) -> None:
    """Prints an uncaught exception; that of Ctrl-C while a binary is imported is one word."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report_uncaught
