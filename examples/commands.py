"""Runs the binaries as a user would, each shown with its command line."""

import shlex
import subprocess
import sys
import time
from pathlib import Path


def run(pipeline: str, *videos: str, **options: object) -> float:
    """Runs `python -m pipelines.PIPELINE --option=value … VIDEO…`, and exits where it fails.

    Returns:
        How many seconds it took.
    """
    command = [sys.executable, "-m", f"pipelines.{pipeline}"]
    command += [f"--{flag}={value}" for flag, value in options.items()]
    shown = ["python", *command[1:], *(["VIDEO…"] if videos else [])]
    print("\n$", shlex.join(shown), flush=True)
    began = time.monotonic()
    if code := subprocess.run([*command, *videos], cwd=Path(__file__).parents[1]).returncode:
        sys.exit(code)
    return time.monotonic() - began
