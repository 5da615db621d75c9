import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.localization.formats import read_detections
from scnn_tf.localization.run import localize_videos
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.shards.files import read_manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(run_binary, tiny_dataset, tmp_path):
    """Runs the binary on the tiny dataset; keyword arguments replace its flags."""

    def run(stage=None, *more, **changes):
        options = {
            "data_dir": tiny_dataset / "shards",
            "model_dir": tmp_path / "models",
            "recipe": tiny_dataset / "recipe.json",
            **changes,
        }
        named = [f"--{name}={value}" for name, value in options.items() if value is not None]
        stages = [f"--stage={stage}"] if stage else []
        return run_binary("train", *stages, *named, *more)

    return run


def test_a_stage_is_trained_once(train, tmp_path):
    code, out, err = train("classification", "--steps=2", "--batch_size=2", "--seed=7")
    assert code == 0, err
    metrics = json.loads(out.splitlines()[-1])
    assert (metrics["stage"], metrics["steps"]) == ("classification", 2)
    _, info = load_stage(tmp_path / "models" / "classification")
    assert (info.recipe.batch_size, info.recipe.classification.steps, info.seed) == (2, 2, 7)
    # The same command trains nothing and prints the same metrics.
    code, again, _ = train("classification", "--steps=2", "--batch_size=2", "--seed=7")
    assert (code, json.loads(again.splitlines()[-1])) == (0, metrics)

    code, _, err = train("classification", "--steps=3", "--batch_size=2", "--seed=7")
    assert code == 1
    assert "holds another run (classification.steps was 2, is 3)" in err.splitlines()[-1]


def test_start_from_replaces_the_default_initial_weights(train, tmp_path):
    """The default of localization, `<model_dir>/classification`, is empty here."""
    code, _, err = train("classification", "--steps=1", model_dir=tmp_path / "elsewhere")
    assert code == 0, err
    start = tmp_path / "elsewhere" / "classification"
    code, _, err = train("localization", "--steps=1", f"--start_from={start}")
    assert code == 0, err
    code, _, err = train("proposal", "--steps=1", f"--start_from={tmp_path / 'none'}")
    assert (code, err.count(f"error: {tmp_path / 'none'}: expected a trained network")) == (1, 1)


@pytest.mark.slow
def test_without_a_stage_the_networks_of_the_recipe_are_trained_in_order(train, tmp_path):
    code, out, err = train(None, "--steps=1")
    assert code == 0, err
    metrics = [json.loads(line) for line in out.splitlines()]
    assert [each["stage"] for each in metrics] == ["proposal", "classification", "localization"]
    for each in metrics:
        assert each["steps"] == 1
        _, info = load_stage(tmp_path / "models" / each["stage"], each["stage"])
    # Localization began with the weights of classification.
    assert "start_from" in info.checksums


def test_the_joint_network_is_trained_by_one_command(train, tiny_stretches, tmp_path):
    changes = {"data_dir": tiny_stretches / "shards", "recipe": tiny_stretches / "recipe.json"}
    code, out, err = train(None, "--steps=2", "--batch_size=2", "--seed=7", **changes)
    assert code == 0, err
    (metrics,) = map(json.loads, out.splitlines())
    assert (metrics["stage"], metrics["steps"]) == ("joint", 2)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["joint"]
    _, info = load_stage(tmp_path / "models" / "joint")
    assert (info.recipe.batch_size, info.recipe.joint.steps, info.seed) == (2, 2, 7)
    # The same command, and the same stage by its name, train nothing.
    for stage in (None, "joint"):
        code, again, _ = train(stage, "--steps=2", "--batch_size=2", "--seed=7", **changes)
        assert (code, json.loads(again.splitlines()[-1])) == (0, metrics)
    code, _, err = train("proposal", **changes)
    assert code == 1
    assert "expected a stage that it trains: joint. Received: 'proposal'" in err.splitlines()[-1]


@pytest.fixture
def validated(train, tiny_dataset, tiny_stretches, tmp_path):
    """Runs a training of the joint network with validation on the videos of `tiny_dataset`."""

    def run(*more, **changes):
        options = {
            "data_dir": tiny_stretches / "shards", "recipe": tiny_stretches / "recipe.json",
            "annotations": tiny_dataset / "annotations.json", "video_dir": tiny_dataset / "videos",
        }  # fmt: skip
        return train(None, *more, **{**options, **changes})

    return run


def test_validation_gives_the_map_of_localize_and_evaluate(validated, tiny_dataset, tmp_path):
    code, out, err = validated("--validation_subset=test", "--validate_every=6", "--patience=9")
    assert code == 0, err
    (row,) = json.loads(out.splitlines()[-1])["validation"]
    assert (row["step"], list(row["map"])) == (6, ["0.3", "0.5", "0.7"])
    summary = localize_videos(
        [tiny_dataset / "videos" / "cat.mp4"], tmp_path / "models", tmp_path / "found"
    )
    assert summary.num_detections > 0
    expected = evaluate(
        read_annotations(tiny_dataset / "annotations.json", "test"),
        read_detections(tmp_path / "found" / "detections.json"),
        tiou_thresholds=[0.3, 0.5, 0.7],
    ).to_json()
    assert row["map"] == expected["map"] and row["ap"] == expected["ap"]
    # The shards of the validation videos are those of the subset.
    manifest = read_manifest(tmp_path / "models" / "validation")
    assert (manifest.num_videos, manifest.class_names) == (1, ("left", "right"))


def test_validation_on_the_videos_that_were_held_out(
    validated, run_binary, tiny_dataset, tiny_stretches, tmp_path
):
    code, out, err = run_binary(
        "build_tfrecords", f"--annotations={tiny_dataset / 'annotations.json'}",
        f"--video_dir={tiny_dataset / 'videos'}", f"--recipe={tiny_stretches / 'recipe.json'}",
        f"--output_dir={tmp_path / 'shards'}", "--validation_share=.34", "--seed=2",
    )  # fmt: skip
    assert code == 0, err
    manifest = read_manifest(tmp_path / "shards")
    (held_out,) = manifest.held_out  # a third of three videos
    assert out.splitlines()[-1] == f"left out for validation: {held_out}"
    assert (manifest.num_videos, held_out) == (2, "bob")
    code, out, err = validated("--validate_every=3", data_dir=tmp_path / "shards")
    assert code == 0, err
    assert [row["step"] for row in json.loads(out.splitlines()[-1])["validation"]] == [3, 6]
    plan = json.loads((tmp_path / "models" / "validation" / "plan.json").read_text())
    assert [video["video"] for video in plan["videos"]] == [held_out]


def test_mistakes_of_validation_are_named_in_one_sentence(validated, tmp_path):
    for message, flags, changes in (
        ("no video was left out of these shards for validation; give --validation_subset", (), {}),
        ("expected videos of the subset 'dev'. Found: test", ("--validation_subset=dev",), {}),
        ("--annotations requires --video_dir", (), {"video_dir": None}),
        ("--validate_every requires --annotations",
         ("--validate_every=2",), {"annotations": None, "video_dir": None}),
    ):  # fmt: skip
        code, _, err = validated(*flags, **changes)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last


def test_mistakes_are_named_in_one_sentence(train, tiny_dataset, tmp_path):
    def fails(message, stage="proposal", *more, **changes):
        code, _, err = train(stage, *more, **changes)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    fails("classification: expected a trained network", "localization")
    fails("expected a finished dataset", data_dir=tmp_path / "none")
    fails("expected a recipe: one of thumos14, ", recipe="huge")
    (tmp_path / "bad.json").write_text('{"crop": -1}')
    fails("recipe 'bad': crop cannot be -1", recipe=tmp_path / "bad.json")
    (tmp_path / "file").touch()
    fails("cannot be written", model_dir=tmp_path / "file")

    data = shutil.copytree(tiny_dataset / "shards", tmp_path / "damaged")
    shard = data / read_manifest(data).shards[0]["file"]
    shard.write_bytes(shard.read_bytes()[:1000])
    fails(f"{shard}: expected a shard of ", data_dir=data)


def test_values_of_flags_out_of_range_are_refused(train):
    for stage, flag in (
        ("detection", "--seed=0"), ("proposal", "--steps=0"), ("proposal", "--batch_size=-4"),
        ("proposal", "--checkpoint_every=0"), ("proposal", "--logical_cpus=-1"),
    ):  # fmt: skip
        code, _, err = train(stage, flag)
        assert code == 2 and err.startswith("error: "), err


@pytest.fixture
def command(tiny_dataset):
    """`command(model_dir)` is a training of 150 steps, in a process of its own."""

    def of(model_dir):
        return [
            sys.executable, "-m", "pipelines.train", "--stage=proposal",
            f"--data_dir={tiny_dataset / 'shards'}", f"--model_dir={model_dir}",
            f"--recipe={tiny_dataset / 'recipe.json'}", "--steps=150", "--checkpoint_every=15",
        ]  # fmt: skip

    return of


def kill_after_a_checkpoint(command, model_dir):
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        # This file is written last, once there is a whole checkpoint.
        checkpoint = model_dir / "proposal" / "checkpoints" / "checkpoint"
        while not checkpoint.is_file() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (model_dir / "proposal" / "model.weights.h5").exists()


@pytest.mark.slow
def test_a_killed_training_resumes_by_the_same_command(command, tmp_path):
    kill_after_a_checkpoint(command(tmp_path), tmp_path)
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "resuming after step" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 150


@pytest.mark.slow
def test_a_training_survives_power_cuts(command, power_cut_disk):
    """At once after it was killed, and at once after its end."""
    folder = power_cut_disk.folder / "new" / "models"
    kill_after_a_checkpoint(command(folder), folder)
    power_cut_disk.cut_power()
    done = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, check=False)
    power_cut_disk.cut_power()
    assert done.returncode == 0, done.stderr[-2000:]
    assert "resuming after step" in done.stderr
    assert load_stage(folder / "proposal")[1].stage == "proposal"
    metrics = json.loads(done.stdout.splitlines()[-1])
    assert json.loads((folder / "proposal" / "metrics.json").read_text()) == metrics


@pytest.mark.slow
def test_the_second_of_two_trainings_in_one_folder_is_refused(command, tmp_path):
    """Begun within seconds, with another recipe."""
    with subprocess.Popen(command(tmp_path), cwd=ROOT, stderr=subprocess.DEVNULL) as first:
        lock = tmp_path / "proposal" / ".lock"
        while not lock.is_file() and first.poll() is None:
            time.sleep(0.02)
        second = subprocess.run(
            [*command(tmp_path), "--seed=1"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert (first.returncode, second.returncode) == (0, 1)
    (error,) = [line for line in second.stderr.splitlines() if line.startswith("error: ")]
    assert f"Found: training of proposal by process {first.pid} on " in error
    assert load_stage(tmp_path / "proposal")[1].seed == 0


@pytest.mark.slow
def test_two_devices_learn_the_weights_of_one(train, tiny_dataset, tmp_path):
    """`MirroredStrategy` on two halves of the CPU gets the same batches."""
    recipe = tmp_path / "recipe.json"
    # Not Adam: in its first steps it turns a gradient of 1e-9 into as long a step as one of 1.
    changes = {"optimizer": "sgd", "proposal": {"learning_rate": 1e-3, "steps": 3}}
    recipe.write_text(json.dumps({"base": str(tiny_dataset / "recipe.json"), **changes}))
    code, _, err = train("classification", recipe=recipe, model_dir=tmp_path / "one")
    assert code == 0, err
    # The CPU must be divided before TensorFlow is used: hence a process of its own.
    done = subprocess.run(
        [
            sys.executable, "-m", "pipelines.train", "--stage=classification",
            f"--data_dir={tiny_dataset / 'shards'}", f"--model_dir={tmp_path / 'two'}",
            f"--recipe={recipe}", "--logical_cpus=2",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["replicas"] == 2
    one, two = (load_stage(tmp_path / name / "classification")[0] for name in ("one", "two"))
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-6)
    bias = one.get_layer("fc8").bias.numpy()
    assert np.abs(bias).max() > 1e-2  # it started at zero, so that something was learned


@pytest.mark.slow
def test_two_devices_learn_the_joint_network_of_one(validated, tiny_stretches, tmp_path):
    """However actions are spread over the two: losses are means over those of both.

    One of the devices validates.
    """
    recipe = tmp_path / "recipe.json"
    changes = {"optimizer": "sgd", "joint": {"learning_rate": 1e-2, "steps": 3}}
    recipe.write_text(json.dumps({"base": str(tiny_stretches / "recipe.json"), **changes}))
    options = {"--validation_subset=test", f"--recipe={recipe}"}
    code, one, err = validated(*options, recipe=None, model_dir=tmp_path / "one")
    assert code == 0, err
    # The CPU must be divided before TensorFlow is used: hence a process of its own.
    flags = [flag.replace("/one", "/two") for flag in sys.argv[1:]]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.train", *flags, "--logical_cpus=2"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads(out.splitlines()[-1]) for out in (one, done.stdout))
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert one["loss"] == pytest.approx(two["loss"], abs=2e-5)
    for row, other in zip(one["validation"], two["validation"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=2e-5)
    networks = [load_stage(tmp_path / name / "joint")[0] for name in ("one", "two")]
    for a, b in zip(*(network.weights for network in networks), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-6)
    assert np.abs(networks[0].get_layer("classes").bias.numpy()).max() > 1e-3  # it started at zero
