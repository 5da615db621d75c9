"""Runs the binaries and the scripts of this folder like a user, and prints each command line."""

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(program: str, *videos: str, **options: object) -> float:
    """Runs a program with `--option=value …` and videos; exits where the program fails.

    Args:
        program: A binary of `pipelines/`, such as "train", or a script of this folder, such as
            "stitch_videos.py".
        *videos: Video files, after the flags.
        **options: Values of the flags, by name.

    Returns:
        Duration of the run in seconds.
    """
    script = program.endswith(".py")
    command = [f"examples/{program}"] if script else ["-m", f"pipelines.{program}"]
    command += [f"--{flag}={value}" for flag, value in options.items()]
    print("\n$", shlex.join(["python", *command, *(["VIDEO…"] if videos else [])]), flush=True)
    began = time.monotonic()
    if code := subprocess.run([sys.executable, *command, *videos], cwd=ROOT).returncode:
        sys.exit(code)
    return time.monotonic() - began


def print_maps(rows: Mapping[str, Mapping[str, float]]) -> None:
    """Prints a table of mAPs: name → tIoU → mAP."""
    print(f"{'mAP at tIoU':<24}" + "".join(f"{tiou:>8}" for tiou in next(iter(rows.values()))))
    for name, maps in rows.items():
        print(f"{name:<24}" + "".join(f"{value:>8.3f}" for value in maps.values()))
