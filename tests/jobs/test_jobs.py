import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scnn_tf.errors import InputError, VideoError
from scnn_tf.jobs.jobs import Here, Job, Outcome, read_outcome, unfinished
from scnn_tf.jobs.processes import Processes

RUNNERS = [Here(), Processes(1), Processes(2)]


# What jobs do: found by their names in another process.
def square(number: int) -> dict:
    return {"square": number**2, "frames": 10}


def fail(message: str) -> dict:
    raise VideoError(message)


def fault() -> dict:
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
    """Makes a job; the order of making them is the order of their outcomes' names."""
    made = []

    def make(function, *args) -> Job:
        made.append(function)
        name = f"{len(made):02d}"
        return Job(function, args, f"v{name}", str(tmp_path / "outcomes" / f"{name}.json"))

    return make


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_every_job_has_its_outcome_wherever_it_runs(runner, job, tmp_path, caplog):
    jobs = [job(square, i) for i in range(5)]
    jobs += [job(fail, "a.mp4 is empty"), job(fault), job(too_big), job(square, 9)]
    runner.run(jobs, "squares")
    outcomes = [read_outcome(each) for each in jobs]
    squares = [0, 1, 4, 9, 16, None, None, None, 81]
    assert [o.result and o.result["square"] for o in outcomes] == squares
    assert outcomes[5] == Outcome(None, "a.mp4 is empty")
    assert outcomes[6].cause == "v07: a fault in scnn_tf (KeyError('missing')); please report it"
    assert outcomes[7].cause == "v08: it needs more memory than there is"
    assert [name.name for name in sorted((tmp_path / "outcomes").iterdir())] == [
        f"0{i}.json" for i in range(1, 10)
    ]
    # Whoever runs it, the log is this process's.
    assert "video v06 left out: a.mp4 is empty" in caplog.text
    assert "line" in caplog.text and "KeyError" in caplog.text  # the fault's traceback


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_what_is_finished_is_not_done_again(runner, job):
    jobs = [job(square, 2), job(square, 3)]
    Here().run(jobs[:1], "first")
    Path(jobs[0].outcome).write_text('{"result": {"square": "kept"}, "cause": ""}')
    assert unfinished(jobs) == jobs[1:]
    runner.run(jobs, "all")
    assert [read_outcome(j).result["square"] for j in jobs] == ["kept", 9]
    assert not unfinished(jobs)
    runner.run(jobs, "nothing left")
    runner.run([], "nothing at all")


@pytest.mark.parametrize("runner", RUNNERS, ids=["here", "one", "two"])
def test_what_is_not_the_videos_fault_ends_the_run(runner, job, tmp_path):
    jobs = [job(square, 1), job(no_room, "disk"), job(square, 2)]
    with pytest.raises(InputError, match="disk: no room left"):
        runner.run(jobs, "broken off")
    assert jobs[1] in unfinished(jobs)
    with pytest.raises(FileNotFoundError) as error:
        runner.run([job(no_right, str(tmp_path / "none"))], "broken off")
    assert error.value.filename == str(tmp_path / "none")


def test_a_process_that_dies_takes_its_job_only(job):
    """Many of them, and at once: no death may be missed, and no job be blamed for another's."""
    jobs = [job(killed, signal.SIGSEGV) if i % 3 else job(square, i) for i in range(30)]
    jobs += [job(killed, signal.SIGABRT), job(ends, 3)]
    Processes(3).run(jobs, "crashing")
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
    Processes(2).run(jobs, "killed")
    assert read_outcome(jobs[0]) == Outcome({})
    assert "crashed (SIGKILL)" in read_outcome(jobs[1]).cause


def test_a_job_that_takes_too_long_is_stopped_and_the_others_go_on(job, tmp_path):
    jobs = [job(endless, str(tmp_path / "pid")), *(job(square, i) for i in range(4))]
    Processes(1, timeout_s=3.0).run(jobs, "hanging")
    assert "was stopped after 3 s, the time limit" in read_outcome(jobs[0]).cause
    assert [read_outcome(j).result["square"] for j in jobs[1:]] == [0, 1, 4, 9]
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_worker_is_used_again_and_logs_here(job, caplog):
    jobs = [job(warns, f"message {i}") for i in range(3)]
    Processes(1).run(jobs, "logging")
    pids = {read_outcome(j).result["pid"] for j in jobs}
    assert len(pids) == 1 and os.getpid() not in pids
    messages = [r.getMessage() for r in caplog.records if r.getMessage().startswith("message")]
    assert messages == ["message 0", "message 1", "message 2"]


def test_a_worker_has_the_environment_of_now(job, monkeypatch):
    jobs = [job(variable, "SCNN_TF_TEST") for _ in range(2)]
    for each, value in zip(jobs, ("one", "two"), strict=True):
        monkeypatch.setenv("SCNN_TF_TEST", value)
        Processes(1).run([each], "variables")
        assert read_outcome(each).result == {"value": value}


def test_an_outcome_that_is_damaged(job):
    damaged = job(square, 1)
    Path(damaged.outcome).parent.mkdir()
    for text in ("", "{", "[]", '{"other": 1}'):
        Path(damaged.outcome).write_text(text)
        with pytest.raises(InputError, match="01.json: not an outcome .*; remove it to do v01"):
            read_outcome(damaged)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(number, tmp_path):
    """In the middle of a job, which would go on for minutes."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "import os\n"
        "from scnn_tf.jobs.jobs import Job, Processes\n"
        "def endless(marker):\n"
        "    Path(marker).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    jobs = [Job(endless, (f'{sys.argv[1]}/{i}',), '', f'{sys.argv[1]}/o{i}.json')\n"
        "            for i in range(2)]\n"
        "    Processes(2).run(jobs, 'endless')\n"
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
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether a process runs no more; nobody may have asked yet how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_outcome_is_json_that_others_can_read(job):
    one = job(square, 3)
    Here().run([one], "one")
    assert json.loads(Path(one.outcome).read_text()) == {
        "result": {"square": 9, "frames": 10}, "cause": ""
    }  # fmt: skip
