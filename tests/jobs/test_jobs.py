import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import file_identity, json_checksum
from scnn_tf.jobs.jobs import (
    DamagedOutcome,
    Here,
    Job,
    Outcome,
    Task,
    finished,
    forget,
    read_outcome,
    source_of,
    unfinished,
)
from scnn_tf.jobs.processes import Processes

TASK = Task("squaring", "number", counted="frames")
RUNNERS = [Here(), Processes(1), Processes(2)]


# Functions of jobs, which other processes import by name.
def square(number: int) -> dict:
    return {"square": number**2, "frames": 10}


def fail(message: str) -> dict:
    raise VideoError(message)


def bug() -> dict:
    return {}["missing"]


def too_big() -> dict:
    raise MemoryError


def no_room(path: str) -> dict:
    raise InputError(f"{path}: no room left")


def no_right(path: str) -> dict:
    return {"text": Path(path).read_text()}


def killed(number: int) -> dict:
    os.kill(os.getpid(), number)
    time.sleep(60)
    return {}


def killed_once(marker: str) -> dict:
    if not os.path.exists(marker):
        Path(marker).touch()
        killed(signal.SIGKILL)
    return {}


def ends(code: int) -> dict:
    os._exit(code)


def endless(marker: str) -> dict:
    Path(marker).write_text(str(os.getpid()))
    time.sleep(600)
    return {}


def variable(name: str) -> dict:
    return {"value": os.environ.get(name)}


def warns(text: str) -> dict:
    from absl import logging

    logging.warning("%s", text)
    logging.info("not shown where only warnings are")
    return {"pid": os.getpid()}


@pytest.fixture
def job(tmp_path):
    """Makes jobs, whose outcomes are numbered in the order of their making."""
    made = []

    def make(function, *args) -> Job:
        made.append(function)
        name = f"{len(made):02d}"
        return Job(function, args, f"v{name}", str(tmp_path / "outcomes" / f"{name}.json"))

    return make


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_every_runner_leaves_an_outcome_for_every_job(runner, job, tmp_path, caplog):
    jobs = [job(square, i) for i in range(5)]
    jobs += [job(fail, "a.mp4 is empty"), job(bug), job(too_big), job(square, 9)]
    runner.run(jobs, TASK)
    outcomes = [read_outcome(each) for each in jobs]
    squares = [0, 1, 4, 9, 16, None, None, None, 81]
    assert [o.result and o.result["square"] for o in outcomes] == squares
    assert outcomes[5] == Outcome(None, "a.mp4 is empty")
    assert outcomes[6].cause == "v07: a bug in scnn_tf (KeyError('missing')); please report it"
    assert outcomes[7].cause == "v08: needs more memory than is available"
    assert [name.name for name in sorted((tmp_path / "outcomes").iterdir())] == [
        f"0{i}.json" for i in range(1, 10)
    ]
    # Messages of worker processes are logged in this process.
    assert "v06 failed: a.mp4 is empty" in caplog.text
    assert "line" in caplog.text and "KeyError" in caplog.text  # the bug's traceback


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_finished_jobs_are_not_run_again(runner, job):
    jobs = [job(square, 2), job(square, 3)]
    Here().run(jobs[:1], TASK)
    Path(jobs[0].outcome).write_text('{"result": {"square": "kept"}, "cause": ""}')
    assert unfinished(jobs) == jobs[1:]
    runner.run(jobs, TASK)
    assert [read_outcome(j).result["square"] for j in jobs] == ["kept", 9]
    assert not unfinished(jobs)
    runner.run(jobs, TASK)
    runner.run([], TASK)


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_an_error_that_is_not_about_the_video_ends_the_run(runner, job, tmp_path):
    jobs = [job(square, 1), job(no_room, "disk"), job(square, 2)]
    with pytest.raises(InputError, match="disk: no room left"):
        runner.run(jobs, TASK)
    assert jobs[1] in unfinished(jobs)
    with pytest.raises(FileNotFoundError) as error:
        runner.run([job(no_right, str(tmp_path / "none"))], TASK)
    assert error.value.filename == str(tmp_path / "none")


def test_a_process_that_dies_costs_only_its_own_job(job):
    """Many processes die at once: none may be missed, and no job be blamed for another's death."""
    jobs = [job(killed, signal.SIGSEGV) if i % 3 else job(square, i) for i in range(30)]
    jobs += [job(killed, signal.SIGABRT), job(ends, 3)]
    Processes(3).run(jobs, TASK)
    for i, each in enumerate(jobs[:30]):
        outcome = read_outcome(each)
        if i % 3:
            assert outcome.cause.startswith(
                f"{each.name}: the process that worked on it crashed (SIGSEGV); re-encode"
            )
        else:
            assert outcome.result["square"] == i * i
    assert "crashed (SIGABRT)" in read_outcome(jobs[30]).cause
    assert "ended with exit code 3" in read_outcome(jobs[31]).cause


def test_a_job_whose_process_was_killed_from_outside_is_tried_once_more(job, tmp_path):
    jobs = [job(killed_once, str(tmp_path / "marker")), job(killed, signal.SIGKILL)]
    Processes(2).run(jobs, TASK)
    assert read_outcome(jobs[0]) == Outcome({})
    assert "crashed (SIGKILL)" in read_outcome(jobs[1]).cause


def test_a_job_beyond_the_time_limit_is_stopped_and_the_others_run(job, tmp_path):
    jobs = [job(endless, str(tmp_path / "pid")), *(job(square, i) for i in range(4))]
    Processes(1, timeout_s=3.0).run(jobs, TASK)
    assert "was stopped after 3 s, the time limit" in read_outcome(jobs[0]).cause
    assert [read_outcome(j).result["square"] for j in jobs[1:]] == [0, 1, 4, 9]
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_worker_runs_many_jobs_and_its_messages_are_logged_here(job, caplog):
    jobs = [job(warns, f"message {i}") for i in range(3)]
    Processes(1).run(jobs, TASK)
    pids = {read_outcome(j).result["pid"] for j in jobs}
    assert len(pids) == 1 and os.getpid() not in pids
    messages = [r.getMessage() for r in caplog.records if r.getMessage().startswith("message")]
    assert messages == ["message 0", "message 1", "message 2"]


def test_a_worker_has_the_present_environment_of_its_parent(job, monkeypatch):
    jobs = [job(variable, "SCNN_TF_TEST") for _ in range(2)]
    for each, value in zip(jobs, ("one", "two"), strict=True):
        monkeypatch.setenv("SCNN_TF_TEST", value)
        Processes(1).run([each], TASK)
        assert read_outcome(each).result == {"value": value}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'{"other": 1}', b"\0" * 99, b"[" * 100_000, b"\xff\xfe\xfd",
        b'{"result": 1, "cause": ""}', b'{"result": {}, "cause": null}',
        b'{"result": null, "cause": "", "source": "a.mp4"}',
    ],
    ids=range(10),
)  # fmt: skip
def test_a_damaged_outcome_is_named_and_its_job_runs_again(job, content, caplog):
    damaged, good = job(square, 1), job(square, 2)
    Here().run([damaged, good], TASK)
    Path(damaged.outcome).write_bytes(content)
    with pytest.raises(
        InputError, match="01.json: expected the outcome of a job.*; v01 has to run again"
    ):
        read_outcome(damaged)
    forget([damaged, good], lambda job, outcome: False)
    assert unfinished([damaged, good]) == [damaged]
    assert "01.json: expected the outcome of a job" in caplog.text


def test_an_outcome_identifies_the_file_that_its_job_reads(job, tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"1234")
    monkeypatch.chdir(tmp_path)
    reads = dataclasses.replace(job(square, 1), source="a.mp4")
    dies = dataclasses.replace(job(killed, signal.SIGSEGV), source="a.mp4")
    Processes(1).run([reads, dies], TASK)
    expected = {"path": str(tmp_path / "a.mp4"), **file_identity("a.mp4")}
    assert read_outcome(reads).source == read_outcome(dies).source == expected
    # What is no file, such as a pipe that nobody writes to, has a path only.
    os.mkfifo("pipe.mp4")
    for name in ("none.mp4", "pipe.mp4", "."):
        path = {"path": os.path.abspath(name)}
        assert source_of(dataclasses.replace(reads, source=name)) == path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(number, tmp_path):
    """They end in the middle of a job that would take minutes."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "import os\n"
        "from scnn_tf.jobs.jobs import Job, Task\n"
        "from scnn_tf.jobs.processes import Processes\n"
        "def endless(marker):\n"
        "    Path(marker).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    jobs = [Job(endless, (f'{sys.argv[1]}/{i}',), '', f'{sys.argv[1]}/o{i}.json')\n"
        "            for i in range(2)]\n"
        "    Processes(2).run(jobs, Task('waiting', 'job'))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path], stderr=subprocess.PIPE, start_new_session=True
    )
    markers = [tmp_path / str(i) for i in range(2)]
    wait_for(lambda: all(marker.is_file() and marker.read_text() for marker in markers))
    workers = [int(marker.read_text()) for marker in markers]
    parent.send_signal(number)
    parent.communicate(timeout=30)
    assert parent.returncode != 0
    for worker in workers:
        wait_for(lambda w=worker: is_gone(w))
    assert not list(tmp_path.glob("o*.json"))


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Returns whether a process has ended, perhaps as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def add(log: str, number: int) -> dict:
    return {"sum": int(Path(log).read_text().count("opened")) + number, "pid": os.getpid()}


def killed_with(log: str, number: int) -> dict:
    killed(signal.SIGSEGV)
    return {}


@dataclasses.dataclass(frozen=True)
class Opener:
    """A picklable handle, as that of a folder of networks is."""

    log: str

    def open(self) -> str:
        with open(self.log, "a") as file:
            file.write(f"opened in {os.getpid()}\n")
        return self.log


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_every_process_opens_what_its_jobs_share_once_a_run(runner, job, tmp_path):
    log = tmp_path / "log"
    task = dataclasses.replace(TASK, setup=Opener(str(log)).open)
    for run in range(2):
        jobs = [job(add, 10 * i) for i in range(4)]
        runner.run(jobs, task)
        openings = log.read_text().splitlines()[run:]
        pids = {read_outcome(each).result["pid"] for each in jobs}
        assert {f"opened in {pid}" for pid in pids} <= set(openings)
        if not isinstance(runner, Processes) or runner.workers == 1:
            assert len(log.read_text().splitlines()) == run + 1
            assert [read_outcome(j).result["sum"] for j in jobs] == [
                run + 1 + 10 * i for i in range(4)
            ]
    runner.run(jobs, dataclasses.replace(TASK, setup=bug))  # nothing is left to run


def test_the_process_after_a_crash_opens_what_its_jobs_share_again(job, tmp_path):
    log = tmp_path / "log"
    jobs = [job(add, 0), job(killed_with, 0), job(add, 0)]
    Processes(1).run(jobs, dataclasses.replace(TASK, setup=Opener(str(log)).open))
    assert [o.result and o.result["sum"] for o in map(read_outcome, jobs)] == [1, None, 2]
    assert len(set(log.read_text().splitlines())) == 2


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_an_error_on_opening_what_jobs_share_ends_the_run(runner, job):
    with pytest.raises(InputError, match="networks: no room left"):
        task = dataclasses.replace(TASK, setup=functools.partial(no_room, "networks"))
        runner.run([job(add, 1)], task)


def test_outcomes_are_forgotten_on_request(job):
    jobs = [job(square, 1), job(fail, "a.mp4 is empty"), job(square, 2)]
    Here().run(jobs[:2], TASK)
    assert finished(jobs) == [
        (jobs[0], Outcome({"square": 1, "frames": 10})),
        (jobs[1], Outcome(None, "a.mp4 is empty")),
    ]
    forget(jobs, lambda job, outcome: outcome.failed)
    assert [each for each, _ in finished(jobs)] == jobs[:1] and unfinished(jobs) == jobs[1:]


def test_progress_counts_the_jobs_in_the_words_of_their_task(job, caplog):
    caplog.set_level("INFO", logger="absl")
    Here().run([job(square, 1), job(square, 2)], TASK)
    assert re.search(
        r"squaring: 2 of 2 numbers in 0 s, [\d.e+]+ numbers/s, \d+ frames/s", caplog.text
    )
    Here().run([job(square, 1)], Task("cutting", "video"))
    assert re.search(r"cutting: 1 of 1 video in 0 s, [\d.e+]+ videos/s$", caplog.text, re.M)
    assert str(TASK) == "squaring numbers" and TASK.count(1) == "1 number"


def test_an_outcome_is_json_that_others_can_read(job):
    one = job(square, 3)
    Here().run([one], TASK)
    fields = {"result": {"square": 9, "frames": 10}, "cause": "", "source": None}
    written = {**fields, "checksum": json_checksum(fields)}
    assert json.loads(Path(one.outcome).read_text()) == written


def test_every_flipped_bit_of_an_outcome_is_noticed(job):
    one = job(square, 3)
    Here().run([one], TASK)
    outcome, content = read_outcome(one), Path(one.outcome).read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            Path(one.outcome).write_bytes(flipped)
            with contextlib.suppress(DamagedOutcome):
                assert read_outcome(one) == outcome, flipped  # where it was white space


def test_an_outcome_of_an_earlier_version_has_no_checksum(job):
    one = job(square, 3)
    Path(one.outcome).parent.mkdir(parents=True, exist_ok=True)
    Path(one.outcome).write_text('{"result": {"square": 9}, "cause": ""}')
    assert read_outcome(one) == Outcome({"square": 9})


def test_ctrl_c_while_the_workers_start_is_left_to_the_first_process(tmp_path):
    # The module of the job takes a while to be imported, by the server that workers are forked off.
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "open(f'importing.{os.getpid()}', 'w').close()\n"
        "if os.getpid() != int(os.environ['FIRST']): time.sleep(3)\n"
        "def job(): return {}\n"
    )
    code = (
        "import os; os.environ['FIRST'] = str(os.getpid())\n"
        "from scnn_tf.jobs.jobs import Job, Task; from scnn_tf.jobs.processes import Processes\n"
        "import slow\n"
        "try: Processes(1).run([Job(slow.job, (), 'x', 'x.json')], Task('waiting', 'job'))\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("importing.*"))) < 2:
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert out == "interrupted\n" and "Traceback" not in err
