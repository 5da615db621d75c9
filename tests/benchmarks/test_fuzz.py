import json

import numpy as np
import pytest

from benchmarks import fuzz
from scnn_tf.errors import InputError
from scnn_tf.jobs.jobs import Outcome, write_outcome


def test_damage_is_repeatable_and_of_every_kind():
    content = bytes(range(256)) * 40
    copies = [fuzz.damaged(content, np.random.default_rng([1, i])) for i in range(60)]
    assert copies == [fuzz.damaged(content, np.random.default_rng([1, i])) for i in range(60)]
    flipped = [copy for copy in copies if len(copy) == len(content)]
    assert any(copy[4000:6000] == content[4000:6000] for copy in flipped)  # only its headers
    assert any(copy[4000:6000] != content[4000:6000] for copy in flipped)
    short = [copy for copy in copies if len(copy) < len(content)]
    assert any(copy == content[: len(copy)] for copy in short)
    assert any(copy != content[: len(copy)] for copy in short)


def test_damaged_copies_are_read_in_other_processes(tmp_path, write_at):
    path = write_at(tmp_path / "a.mkv", list(range(0, 800, 40)))
    figures = fuzz.fuzz([path], copies=12)
    assert figures["read"] + figures["refused"] == 12 and figures["findings"] == []
    assert figures["read"] and figures["refused"]
    assert 0 < figures["worst"]["megabytes"] < fuzz.MEMORY_LIMIT
    with pytest.raises(InputError, match="expected a readable video to damage"):
        fuzz.fuzz([], copies=1)


def test_a_crash_and_too_much_memory_are_findings(tmp_path, monkeypatch):
    read = {"frames": 3, "seconds": 0.1, "megabytes": 50.0, "refused": ""}
    ends = [
        Outcome(read),
        Outcome(read | {"refused": "has no video in it."}),
        Outcome(read | {"megabytes": 1600.0}),
        Outcome(None, "b.mkv: the process that worked on it crashed (SIGSEGV)"),
    ]

    class Ended:
        def __init__(self, timeout_s):
            pass

        def run(self, jobs, title):
            for job, outcome in zip(jobs, ends, strict=True):
                write_outcome(job, outcome)

    monkeypatch.setattr(fuzz, "Processes", Ended)
    figures = fuzz.fuzz([tmp_path / "a.mkv", tmp_path / "b.mkv"], copies=4)
    assert (figures["read"], figures["refused"]) == (1, 1)
    assert figures["causes"] == {"has no video in it.": 1}
    assert figures["worst"] == {"seconds": 0.1, "megabytes": 50.0, "frames": 3}
    assert figures["findings"] == [
        {"copy": 2, "fault": "a.mkv: takes 1600 MB"},
        {"copy": 3, "fault": "b.mkv: the process that worked on it crashed (SIGSEGV)"},
    ]
    assert json.dumps(figures)
