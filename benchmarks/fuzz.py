"""Reads damaged copies of videos: each must give frames or be refused with one sentence.

Time and memory are bounded. A copy depends on a seed and a number only, so that a harmful copy can
be made again.
"""

import contextlib
import itertools
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.video import probe, read_frames
from scnn_tf.jobs.jobs import Job, Task, read_outcome
from scnn_tf.jobs.processes import Processes

TIME_LIMIT = 20.0  # seconds for one copy
MEMORY_LIMIT = 1500.0  # MB (10⁶ bytes) of the process that reads a copy
_LARGEST = 300_000  # bytes of a copy: larger files are truncated first
_HEADER = 2048  # bytes at either end, where most of the headers are
_ADDRESS_SPACE = 8 << 30  # bytes; limits the harm that a copy can do to the machine


def fuzz(paths: Sequence[Path], copies: int, seed: int = 0) -> dict:
    """Reads damaged copies of files to their end, in several processes.

    Args:
        paths: Whole videos; the copies are spread evenly over them.
        copies: Number of copies of all videos together.
        seed: Random seed of the damage.

    Returns:
        The number of copies that were "read", and "refused" with a sentence, by "causes"; the
        "worst" seconds, MB and frames of a copy; and "findings": copies that ended otherwise.

    Raises:
        InputError: There is no file to damage.
    """
    if not paths:
        raise InputError("expected a readable video to damage. Found: none in the folders")
    began = time.monotonic()
    read, refused, findings = [], Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            Job(read_copy, (path, number, seed), path.name, f"{folder}/{number}.json")
            for number, path in zip(range(copies), itertools.cycle(paths))
        ]
        Processes(timeout_s=TIME_LIMIT).run(jobs, Task("reading", "damaged file"))
        outcomes = [read_outcome(job) for job in jobs]
    for number, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True)):
        fault = outcome.cause
        if not fault and outcome.result["megabytes"] > MEMORY_LIMIT:
            fault = f"{job.name}: takes {outcome.result['megabytes']:.0f} MB"
        if fault:
            findings.append({"copy": number, "fault": fault})
        elif outcome.result["refused"]:
            refused[outcome.result["refused"]] += 1
        else:
            read.append(outcome.result)
    return {
        "copies": copies,
        "files": len(paths),
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "read": len(read),
        "refused": refused.total(),
        "causes": dict(refused.most_common()),
        "worst": {
            key: max((result[key] for result in read), default=0)
            for key in ("seconds", "megabytes", "frames")
        },
        "findings": findings,
    }


def read_copy(path: Path, number: int, seed: int) -> dict:
    """Makes one damaged copy of a file and reads it to its end.

    Returns:
        Number of "frames", "seconds", "megabytes" at the peak, and "refused": the sentence of the
        refusal, without the file's name; "" if the copy was not refused.

    Raises:
        RuntimeError: The copy was refused, but not in one sentence about the file.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    content = path.read_bytes()[:_LARGEST]
    began, frames, refused = time.monotonic(), 0, ""
    with tempfile.TemporaryDirectory() as folder, _peak_memory() as megabytes:
        copy = Path(folder) / path.name
        copy.write_bytes(damaged(content, np.random.default_rng([seed, number])))
        try:
            probe(copy)
            for _ in read_frames(copy):
                frames += 1
        except VideoError as error:
            sentence = str(error)
            if not sentence.startswith(str(copy)) or "\n" in sentence:
                raise RuntimeError(f"no sentence about the file: {sentence!r}") from error
            refused = sentence.removeprefix(str(copy)).strip(": ")
    return {
        "frames": frames,
        "seconds": round(time.monotonic() - began, 2),
        "megabytes": megabytes[0],
        "refused": refused,
    }


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Flips bytes of a file, anywhere or in its headers, truncates it, or removes a piece."""
    kind = random.choice(["anywhere", "headers", "cut off", "cut out"])
    if kind in ("anywhere", "headers"):
        places = random.integers(len(content), size=2 ** random.integers(10))
        if kind == "headers":
            places = random.integers(-_HEADER, _HEADER, 2 ** random.integers(6)) % len(content)
        changed = np.frombuffer(content, np.uint8).copy()
        changed[places] ^= random.integers(1, 256, len(places), np.uint8)
        return changed.tobytes()
    begin, end = sorted(random.integers(len(content), size=2))
    return content[:end] if kind == "cut off" else content[:begin] + content[end:]


@contextlib.contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Appends, at the end of the block, the peak memory of this process in the block, in MB."""
    found: list[float] = []
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak until now
    try:
        yield found
    finally:
        lines = Path("/proc/self/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM"))
        found.append(round(int(line.split()[1]) * 1024 / 1e6, 1))
