"""Training in two processes, as on two hosts."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from scnn_tf.models.checkpoints import load_stage
from scnn_tf.training.train import train_stage

# Trains like `pipelines.train`, and writes the weights that this host ends with to a file.
HOST = """
import sys
import keras
import numpy as np
from scnn_tf.training.strategies import make_strategy
from scnn_tf.training.train import train_stage

data_dir, folder, recipe, weights = sys.argv[1:]

class Save(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        np.savez(weights, *[w.numpy() for w in self.model.weights])

train_stage(
    "localization", data_dir=data_dir, output_dir=folder, recipe=recipe,
    strategy=make_strategy(), callbacks=[Save()],
)
"""


def damage_picture(example):
    """Replaces the fourth picture of a record by bytes that no decoder knows."""
    pictures = example.feature_lists.feature_list["image/encoded"].feature
    pictures[3].bytes_list.value[0] = b"no picture"


def drop_picture(example):
    """Removes the last picture of a record, so that parsing it finds a wrong shape."""
    for values in example.feature_lists.feature_list.values():
        del values.feature[-1]


@pytest.fixture
def start(tmp_path):
    """`start(host, *arguments)` starts Python as host 0 or 1 of 2; its output goes to `log<host>`.

    `num_hosts=1` makes a cluster of one host.
    """
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in listening]
    for each in listening:
        each.close()
    started = []

    def run(host, *arguments, num_hosts=2):
        cluster = {"worker": hosts[:num_hosts]}
        config = {"cluster": cluster, "task": {"type": "worker", "index": host}}
        with (tmp_path / f"log{host}").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *map(str, arguments)], stdout=log, stderr=log,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
            )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def finish(processes, tmp_path):
    for host, process in enumerate(processes):
        assert process.wait(300) == 0, (tmp_path / f"log{host}").read_text()[-3000:]


def printed(log: Path) -> dict:
    """The metrics, a line of the log; gRPC may write others after it, when a host ends first."""
    (line,) = (line for line in log.read_text().splitlines()[-9:] if line.startswith('{"'))
    return json.loads(line)


@pytest.mark.slow
def test_two_hosts_learn_the_weights_of_one(start, tiny_dataset, tmp_path):
    shards, recipe = tiny_dataset / "shards", tiny_dataset / "recipe.json"
    weights = [tmp_path / f"weights{host}.npz" for host in range(2)]
    arguments = ["-c", HOST, shards, tmp_path / "two", recipe]
    finish([start(host, *arguments, weights[host]) for host in range(2)], tmp_path)
    train_stage("localization", data_dir=shards, output_dir=tmp_path / "one", recipe=recipe)
    one, two = (load_stage(tmp_path / name)[0] for name in ("one", "two"))
    with np.load(weights[0]) as chief, np.load(weights[1]) as other:
        for a, b, name in zip(one.weights, two.weights, chief.files, strict=True):
            np.testing.assert_array_equal(chief[name], other[name])
            np.testing.assert_array_equal(chief[name], b.numpy())
            # The only difference is the order in which gradients are summed over the batch.
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-6)
    # Only the first host writes files.
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "logs", "metrics.json", "model.json", "model.weights.h5", "window_prior.csv"
    ]  # fmt: skip
    assert len(list((tmp_path / "two" / "logs").rglob("events.*"))) == 1
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert (metrics["steps"], metrics["replicas"]) == (6, 2)


@pytest.mark.slow
def test_one_of_two_hosts_validates(start, tiny_dataset, tiny_stretches, tmp_path):
    """The other one waits, and ends early too; both learn the joint network of one host.

    At a learning rate of almost zero, no validation is better than the first one.
    """
    changes = {
        "optimizer": "sgd", "joint": {"learning_rate": 1e-12, "steps": 6}, "overlap_from": 1,
        "boundary_weight": 0,  # a tIoU of exactly .5 would fall to either side of it
    }  # fmt: skip
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"base": str(tiny_stretches / "recipe.json"), **changes}))
    command = [
        "-m", "pipelines.train", f"--recipe={recipe}", f"--data_dir={tiny_stretches / 'shards'}",
        f"--annotations={tiny_dataset / 'annotations.json'}", "--validation_subset=test",
        f"--video_dir={tiny_dataset / 'videos'}", "--validate_every=2", "--patience=1",
    ]  # fmt: skip
    processes = [start(host, *command, f"--model_dir={tmp_path / 'two'}") for host in range(2)]
    finish(processes, tmp_path)
    two = [printed(tmp_path / f"log{k}") for k in range(2)]
    assert two[0] == two[1]
    assert (two[0]["replicas"], two[0]["steps"], two[0]["best_step"]) == (2, 4, 2)
    assert "validation: loss" not in (tmp_path / "log1").read_text()
    finish([start(0, *command, f"--model_dir={tmp_path / 'one'}", num_hosts=1)], tmp_path)
    one = printed(tmp_path / "log0")
    for row, other in zip(one["validation"], two[0]["validation"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=2e-5)
    networks = [load_stage(tmp_path / name / "joint")[0] for name in ("one", "two")]
    for a, b in zip(*(network.weights for network in networks), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-6)


class Interrupt(keras.callbacks.Callback):
    """Interrupts a training after a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == self.step:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_host_comes_back(killed, start, tiny_dataset, tmp_path):
    """The other host restarts itself; both learn the weights of a run interrupted at that step."""
    steps, shards = 300, tiny_dataset / "shards"
    # At a higher learning rate, the differences of another order of summation grow step by step.
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
    resumed = [re.findall(r"resuming after step (\d+) of", log.read_text()) for log in logs]
    assert resumed[0] == resumed[1] and len(resumed[0]) == 1
    two, _ = load_stage(tmp_path / "proposal")

    options = {"data_dir": shards, "output_dir": tmp_path / "one", "recipe": recipe}
    options["checkpoint_every"] = 10
    with pytest.raises(KeyboardInterrupt):
        train_stage("proposal", **options, callbacks=[Interrupt(int(resumed[0][0]))])
    train_stage("proposal", **options)
    one, _ = load_stage(tmp_path / "one")
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "complaint", "num_hosts"),
    [
        (damage_picture, "image 3 is not a JPEG", 1),
        (damage_picture, "image 3 is not a JPEG", 2),
        (drop_picture, "expected 16 images. Found: 15", 1),
    ],
)
def test_a_damaged_record_ends_every_host_at_once(
    damage, complaint, num_hosts, start, rewrite_records, tiny_dataset, tmp_path
):
    """It is not mistaken for the loss of a host, after which a host would restart and wait."""
    command = [
        "-m", "pipelines.train", "--stage=proposal", f"--data_dir={rewrite_records(damage)}",
        f"--recipe={tiny_dataset / 'recipe.json'}", f"--model_dir={tmp_path}",
    ]  # fmt: skip
    processes = [start(host, *command, num_hosts=num_hosts) for host in range(num_hosts)]
    for host, process in enumerate(processes):
        code, log = process.wait(300), (tmp_path / f"log{host}").read_text()
        assert code == 1, log[-3000:]
        (error,) = [line for line in log.splitlines() if line.startswith("error: ")]
        assert re.search(
            rf"of-00002\.tfrecord, record 0: {complaint}.*; remove the folder and build", error
        )
        assert "Traceback" not in log and "another host is lost" not in log


@pytest.mark.slow
def test_a_host_that_would_train_another_recipe_ends(start, tiny_dataset, tmp_path):
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
