"""Training in two processes, as on two hosts."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.models.checkpoints import load_stage
from scnn_tf.models.recipes import get_recipe
from scnn_tf.training.train import train_stage

# What `pipelines.train` does, and then writes down the weights that this host ended with.
HOST = """
import sys
import numpy as np
from scnn_tf.training import strategies
from scnn_tf.training import train
from scnn_tf.models.recipes import get_recipe

def train_and_tell(model, *rest):
    latest = train(model, *rest)
    np.savez(weights, *[w.numpy() for w in model.weights])
    return latest

data_dir, folder, recipe, weights = sys.argv[1:]
train, train._train = train._train, train_and_tell
strategy = strategies.make_strategy()
train.train_stage("localization", data_dir, folder, get_recipe(recipe), strategy=strategy)
"""


@pytest.fixture
def start(tmp_path):
    """`start(host, *arguments)` gives the process of host 0 or 1; it speaks to `log<host>`."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in listening]
    for each in listening:
        each.close()
    started = []

    def starts(host, *arguments):
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": host}}
        with (tmp_path / f"log{host}").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *map(str, arguments)], stdout=log, stderr=log,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
            )  # fmt: skip
        started.append(process)
        return process

    yield starts
    for process in started:
        process.kill()
        process.wait()


def finish(processes, tmp_path):
    for host, process in enumerate(processes):
        assert process.wait(300) == 0, (tmp_path / f"log{host}").read_text()[-3000:]


def test_two_hosts_train_as_one_does(start, tiny_dataset, tmp_path):
    shards, recipe = str(tiny_dataset / "shards"), tiny_dataset / "recipe.json"
    weights = [tmp_path / f"weights{host}.npz" for host in range(2)]
    arguments = ["-c", HOST, shards, tmp_path / "two", recipe]
    finish([start(host, *arguments, weights[host]) for host in range(2)], tmp_path)
    train_stage("localization", shards, str(tmp_path / "one"), get_recipe(str(recipe)))
    one, two = (load_stage(tmp_path / name)[0] for name in ("one", "two"))
    with np.load(weights[0]) as chief, np.load(weights[1]) as other:
        for a, b, name in zip(one.weights, two.weights, chief.files, strict=True):
            np.testing.assert_array_equal(chief[name], other[name])
            np.testing.assert_array_equal(chief[name], b.numpy())
            # Of sums over the batch in another order, and nothing else.
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-6)
    # One of the two has written.
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "logs", "metrics.json", "model.json", "model.weights.h5", "window_prior.csv"
    ]  # fmt: skip
    assert len(list((tmp_path / "two" / "logs").rglob("events.*"))) == 1
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert (metrics["steps"], metrics["replicas"]) == (6, 2)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_host_is_killed_and_comes_back(killed, start, tiny_dataset, tmp_path, monkeypatch):
    """The other one starts anew by itself; they end where one that was resumed there ends."""
    steps, shards = 300, str(tiny_dataset / "shards")
    # Faster than this, and what sums in another order differ by grows from step to step.
    changes = {"optimizer": "sgd", "proposal": {"learning_rate": 1e-4, "steps": steps}}
    fields = {**json.loads((tiny_dataset / "recipe.json").read_text()), **changes}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(fields))
    command = [
        "-m", "pipelines.train", "--stage=proposal", f"--recipe={recipe}", f"--data_dir={shards}",
        f"--model_dir={tmp_path}", "--checkpoint_every=10",
    ]  # fmt: skip
    processes = [start(host, *command) for host in range(2)]
    logs = [tmp_path / f"log{host}" for host in range(2)]
    deadline = time.monotonic() + 300
    while "step 20 of" not in logs[0].read_text():
        assert time.monotonic() < deadline, logs[0].read_text()[-3000:]
        time.sleep(0.05)
    processes[killed].kill()
    processes[killed].wait()
    processes[killed] = start(killed, *command)
    finish(processes, tmp_path)
    assert "another host is lost" in logs[1 - killed].read_text()
    resumed = [re.findall(r"going on after step (\d+) of", log.read_text()) for log in logs]
    assert resumed[0] == resumed[1] and len(resumed[0]) == 1
    two, _ = load_stage(tmp_path / "proposal")

    def dying_there(self, batch, logs=None):
        report(self, batch, logs)
        if int(self.model.optimizer.iterations.numpy()) == int(resumed[0][0]):
            raise KeyboardInterrupt

    def train():
        train_stage(
            "proposal", shards, str(tmp_path / "one"), get_recipe(str(recipe)), checkpoint_every=10
        )

    report = train.Report.on_train_batch_end
    with monkeypatch.context() as dying:
        dying.setattr(train.Report, "on_train_batch_end", dying_there)
        with pytest.raises(KeyboardInterrupt):
            train()
    train()
    one, _ = load_stage(tmp_path / "one")
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-5)


def test_a_host_with_another_command(start, tiny_dataset, tmp_path):
    """Who would train something else says so, rather than join."""
    other = tmp_path / "other.json"
    fields = json.loads((tiny_dataset / "recipe.json").read_text())
    other.write_text(json.dumps({**fields, "hidden": 4}))
    processes = [
        start(
            host, "-m", "pipelines.train", "--stage=proposal", f"--recipe={recipe}",
            f"--data_dir={tiny_dataset / 'shards'}", f"--model_dir={tmp_path}",
        )
        for host, recipe in enumerate((tiny_dataset / "recipe.json", other))
    ]  # fmt: skip
    assert processes[1].wait(300) == 1
    assert re.search(
        "error: .*holds another run .*hidden was 8, is 4", (tmp_path / "log1").read_text()
    )
