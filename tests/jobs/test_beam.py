import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scnn_tf.errors import InputError
from scnn_tf.jobs import beam
from scnn_tf.jobs.beam import BeamRunner
from scnn_tf.jobs.jobs import Here, Job, Task, read_outcome, unfinished

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="apache-beam is not installed"
)
# Flink's and Spark's runners speak Beam's job API to a job server, which is a Java program. The job
# server that comes with Beam for tests speaks the same API and starts workers with this command.
TASK = Task("squaring", "number")
JOB_SERVER = (
    "--job_endpoint=embed",
    "--environment_type=beam:env:harness_subprocess_python:v1",
    f"--environment_config={sys.executable} -m apache_beam.runners.worker.sdk_worker_main",
)


@pytest.fixture(autouse=True)
def workers_find_this_file(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


# Functions of jobs, which other processes import by name.
def work(number: int) -> dict:
    # The parent of a job's process is the worker of Beam that has the job.
    return {"square": number**2, "worker": os.getppid()}


def square(number: int) -> dict:
    return {"square": number**2}


def crash() -> dict:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def no_room(path: str) -> dict:
    raise InputError(f"{path}: no room left")


def a_job(folder, name, function, *args) -> Job:
    return Job(function, args, name, f"{folder}/{name}.json")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """One job that is finished, four that succeed and one that crashes."""
    folder = tmp_path_factory.mktemp("outcomes")
    made = [a_job(folder, f"v{i}", work, i) for i in range(5)] + [a_job(folder, "bad", crash)]
    Here().run(made[:1], TASK)
    return made


@pytest.fixture(scope="module")
def finished(jobs):
    """The jobs, after two worker processes of Beam have run them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        BeamRunner("direct", workers=2).run(jobs, TASK)
    return jobs


@needs_beam
@pytest.mark.slow
def test_all_jobs_are_finished_and_the_finished_one_did_not_run_again(finished):
    assert not unfinished(finished)
    results = [read_outcome(job).result for job in finished[:5]]
    assert [result["square"] for result in results] == [0, 1, 4, 9, 16]
    assert results[0]["worker"] == os.getppid()  # of this process: `Here` did it
    names = [path.name for path in Path(finished[0].outcome).parent.iterdir()]
    assert len(names) == 6  # nothing else was left there


@needs_beam
@pytest.mark.slow
def test_several_processes_have_worked(finished):
    # Beam deals the five jobs out to its two workers: three and two.
    workers = {read_outcome(job).result["worker"] for job in finished[1:5]}
    assert len(workers) == 2 and os.getpid() not in workers


@needs_beam
@pytest.mark.slow
def test_a_crash_is_an_outcome(finished):
    assert read_outcome(finished[5]).cause.startswith("bad: the process that worked on it crashed")


@needs_beam
@pytest.mark.slow
def test_an_error_that_ends_the_run_is_one_sentence_and_finished_jobs_are_kept(tmp_path, capfd):
    jobs = [a_job(tmp_path, "good", square, 3), a_job(tmp_path, "full", no_room, "disk")]
    Here().run(jobs[:1], TASK)
    with pytest.raises(InputError, match="^disk: no room left$"):
        BeamRunner("direct").run(jobs, TASK)
    assert "Traceback" not in capfd.readouterr().err
    assert unfinished(jobs) == jobs[1:]
    assert [path.name for path in tmp_path.iterdir()] == ["good.json"]


@needs_beam
@pytest.mark.parametrize("name", ["flink", "spark"])
@pytest.mark.slow
def test_a_job_server_leaves_the_outcomes_that_this_process_leaves(name, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, runner in (here, Here()), (there, BeamRunner(name, JOB_SERVER)):
        runner.run([a_job(folder, f"v{i}", square, i) for i in range(2)], TASK)
    assert sorted(path.name for path in here.iterdir()) == ["v0.json", "v1.json"]
    for path in here.iterdir():
        assert (there / path.name).read_bytes() == path.read_bytes()


@needs_beam
def test_outcomes_that_workers_wrote_elsewhere_are_reported_as_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(BeamRunner, "_submit", print)  # which runs nothing
    with pytest.raises(InputError, match="1 of 1 number left no outcome.*disk that all"):
        BeamRunner("direct").run([a_job(tmp_path, "v", square, 1)], TASK)


@needs_beam
@pytest.mark.slow
@pytest.mark.parametrize(
    "name, option, complaint",
    [
        ("direct", "--no_such_option=1", "--no_such_option: Apache Beam has no such option"),
        ("direct", "runner", "expected an option that begins with --. Received: 'runner'"),
        ("spark", "--spark_version=one", "argument --spark_version: invalid choice: 'one'"),
        ("flink", "--flink_job_server_jar=nowhere.jar", "Unable to parse jar URL"),
    ],
)
def test_an_invalid_option_is_refused_in_one_sentence(name, option, complaint, tmp_path, capfd):
    with pytest.raises(InputError) as error:
        BeamRunner(name, (option,)).run([a_job(tmp_path, "v", square, 1)], TASK)
    assert complaint in str(error.value) and "\n" not in str(error.value)
    assert "usage" not in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_runner_is_refused():
    with pytest.raises(
        InputError, match="out of direct, dataflow, flink, spark. Received: 'prism'"
    ):
        BeamRunner("prism")


def test_dataflow_refuses_local_folders(tmp_path):
    with pytest.raises(InputError, match="cannot write to this machine's disk.*gs://"):
        BeamRunner("dataflow").run([a_job(tmp_path, "v", square, 1)], TASK)


def test_without_beam_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "apache_beam.py").write_text("raise ImportError('not installed')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"pip install 'scnn_tf\[beam\]'"):
        BeamRunner("direct").run([a_job(tmp_path, "v", square, 1)], TASK)


ENDLESS = """
import os, sys, time
from pathlib import Path
from scnn_tf.jobs.beam import BeamRunner
from scnn_tf.jobs.jobs import Job, Task

def endless(folder):
    Path(folder, "pid").write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    import endless_job
    job = Job(endless_job.endless, (sys.argv[1],), "v", sys.argv[1] + "/v.json")
    try:
        BeamRunner("direct").run([job], Task("waiting", "video"))
    except KeyboardInterrupt:
        print("interrupted")
"""


@needs_beam
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_all_processes_end_with_the_first_and_print_no_tracebacks(number, tmp_path):
    (tmp_path / "endless_job.py").write_text(ENDLESS)
    first = subprocess.Popen(
        [sys.executable, tmp_path / "endless_job.py", tmp_path], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, number)  # like Ctrl-C, which reaches all processes of a terminal
    out, err = first.communicate(timeout=60)
    assert out == ("interrupted\n" if number == signal.SIGINT else "")
    assert "Traceback" not in err
    worker = Path("/proc") / (tmp_path / "pid").read_text()
    while worker.exists() and ") Z" not in (worker / "stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_many_jobs_share_the_elements_of_a_pipeline(tmp_path):
    for count, size in (1, 1), (16, 1), (17, 2), (1000, 32):
        jobs = [a_job(tmp_path, str(i), square, i) for i in range(count)]
        parts = [pickle.loads(part) for part in beam._parts(jobs, TASK, 16)]
        assert [job for part, task in parts for job in part] == jobs
        assert max(len(part) for part, task in parts) == size


def contents(folder) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@needs_beam
@pytest.mark.slow
def test_a_dataset_built_by_beam_equals_the_local_one_byte_by_byte(
    run_binary, tiny_dataset, tmp_path
):
    built = {}
    for runner in "local", "direct":
        folder = tmp_path / runner
        code, out, err = run_binary(
            "build_tfrecords",
            f"--annotations={tiny_dataset}/annotations.json",
            f"--video_dir={tiny_dataset}/videos",
            f"--output_dir={folder}",
            f"--recipe={tiny_dataset}/recipe.json",
            "--num_shards=2",
            "--workers=2",
            f"--runner={runner}",
        )
        assert code == 0, err
        built[runner] = contents(folder)
    assert built["direct"] == built["local"]
    assert sum(name.endswith(".tfrecord") for name in built["local"]) == 2


@needs_beam
@pytest.mark.slow
@pytest.mark.parametrize("networks", ["tiny_models", "tiny_joint"])
def test_detections_by_beam_equal_the_local_ones_byte_by_byte(
    run_binary, tiny_dataset, networks, tmp_path, request
):
    models, found = request.getfixturevalue(networks), {}
    for runner in "local", "direct":
        code, out, err = run_binary(
            "localize",
            f"--model_dir={models}",
            f"--output_dir={tmp_path / runner}",
            "--proposal_threshold=0",
            "--workers=2",
            f"--runner={runner}",
            tiny_dataset / "videos",
        )
        assert code == 0, err
        found[runner] = contents(tmp_path / runner)
    assert found["direct"] == found["local"]
    assert len(found["local"]["segments.csv"].splitlines()) > 20


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--runner=prism"], "value should be one of <local|direct|dataflow|flink|spark>"),
        (["--beam_option=--region=x"], "--beam_option requires a Beam --runner"),
        (["--runner=flink", "--workers=2"], "--workers counts processes of this machine"),
    ],
)
def test_flags_that_do_not_go_together(run_binary, tiny_dataset, tmp_path, arguments, complaint):
    code, out, err = run_binary(
        "build_tfrecords",
        f"--annotations={tiny_dataset}/annotations.json",
        f"--video_dir={tiny_dataset}/videos",
        f"--output_dir={tmp_path / 'shards'}",
        *arguments,
    )
    assert code != 0 and complaint in err and "Traceback" not in err
    assert not (tmp_path / "shards").exists()
