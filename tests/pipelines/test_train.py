import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scnn_tf.records import read_manifest
from scnn_tf.training import load_stage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(run_binary, tiny_dataset, tmp_path):
    """Runs the binary on the tiny data set; keyword arguments replace its flags."""

    def run(stage, *more, **changes):
        options = {
            "data_dir": tiny_dataset / "shards",
            "model_dir": tmp_path / "models",
            "recipe": tiny_dataset / "recipe.json",
            **changes,
        }
        named = [f"--{name}={value}" for name, value in options.items()]
        return run_binary("train", f"--stage={stage}", *named, *more)

    return run


def test_it_trains(train, tmp_path):
    code, out, err = train("classification", "--steps=2", "--batch_size=2", "--seed=7")
    assert code == 0, err
    metrics = json.loads(out.splitlines()[-1])
    assert (metrics["stage"], metrics["steps"]) == ("classification", 2)
    _, info = load_stage(tmp_path / "models" / "classification")
    assert (info.recipe.batch_size, info.recipe.steps, info.seed) == (2, (2, 2, 2), 7)
    # Once more: nothing is left to do, and it says the same.
    code, again, _ = train("classification", "--steps=2", "--batch_size=2", "--seed=7")
    assert (code, json.loads(again.splitlines()[-1])) == (0, metrics)

    code, _, err = train("classification", "--steps=3", "--batch_size=2", "--seed=7")
    assert code == 1
    assert "holds another run (steps was (2, 2, 2), is (3, 3, 3))" in err.splitlines()[-1]


def test_mistakes_are_told_in_one_sentence(train, tiny_dataset, tmp_path):
    def fails(message, stage="proposal", *more, **changes):
        code, _, err = train(stage, *more, **changes)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    fails("classification: no network here", "localization")
    fails("no finished data set here", data_dir=tmp_path / "none")
    fails("no recipe 'huge'", recipe="huge")
    (tmp_path / "bad.json").write_text('{"crop": -1}')
    fails("its crop cannot be -1", recipe=tmp_path / "bad.json")
    (tmp_path / "file").touch()
    fails("cannot be written", model_dir=tmp_path / "file")

    data = shutil.copytree(tiny_dataset / "shards", tmp_path / "damaged")
    shard = data / read_manifest(data).shards[0]["file"]
    shard.write_bytes(shard.read_bytes()[:1000])
    fails(f"{shard}: the shard has 1000 bytes", data_dir=data)


def test_flags_that_cannot_be(train):
    for stage, flag in (
        ("detection", "--seed=0"), ("proposal", "--steps=0"), ("proposal", "--batch_size=-4"),
        ("proposal", "--checkpoint_every=0"), ("proposal", "--logical_cpus=-1"),
    ):  # fmt: skip
        code, _, err = train(stage, flag)
        assert code == 2 and err.startswith("error: "), err


@pytest.mark.slow
def test_killed_the_hard_way_the_same_command_goes_on(tiny_dataset, tmp_path):
    """As a user sees it, and on two devices."""
    command = [
        sys.executable, "-m", "pipelines.train", "--stage=proposal", "--logical_cpus=2",
        f"--data_dir={tiny_dataset / 'shards'}", f"--model_dir={tmp_path}",
        f"--recipe={tiny_dataset / 'recipe.json'}", "--steps=150", "--checkpoint_every=15",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        checkpoints = tmp_path / "proposal" / "checkpoints"
        while not list(checkpoints.glob("ckpt-*.index")) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "proposal" / "model.weights.h5").exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on after step" in done.stderr
    metrics = json.loads(done.stdout.splitlines()[-1])
    assert (metrics["steps"], metrics["replicas"]) == (150, 2)
