import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.models.recipes import get_recipe
from scnn_tf.shards.files import read_manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build(run_binary, tiny_dataset, tmp_path):
    """Runs the binary on the tiny dataset; keyword arguments replace its flags."""

    def run(*more, **changes):
        options = {
            "annotations": tiny_dataset / "annotations.json",
            "video_dir": tiny_dataset / "videos",
            "output_dir": tmp_path / "shards",
            "recipe": tiny_dataset / "recipe.json",
            **changes,
        }
        named = [f"--{name}={value}" for name, value in options.items()]
        return run_binary("build_tfrecords", *named, *more)

    return run


def annotations(tmp_path, database) -> Path:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"database": database}))
    return path


def entry(*segments, label="left", **fields):
    items = [{"label": label, "segment": list(segment)} for segment in segments]
    return {"subset": "train", "annotations": items, **fields}


def test_it_builds(build, tiny_dataset, tmp_path):
    recipe = tmp_path / "all_background.json"
    base = str(tiny_dataset / "recipe.json")
    recipe.write_text(json.dumps({"base": base, "shards": {"background_ratio": 100}}))
    code, out, _ = build("--num_shards=3", "--dataset_name=toy", recipe=recipe)
    assert code == 0
    manifest = read_manifest(tmp_path / "shards")
    background, left, right = manifest.label_counts
    # [8, 40) and the clip are "left" (twice and once), [64, 80) is "right".
    assert (left, right) == (3, 2) and background > 20
    assert [line.split() for line in out.splitlines()[:3]] == [
        [str(background), "background"], ["3", "left"], ["2", "right"]
    ]  # fmt: skip
    total = background + 5
    assert out.splitlines()[3] == (
        f"{total} segments of 3 videos in 3 shards → {tmp_path / 'shards'}"
    )
    assert manifest.recipe == get_recipe(recipe).shards
    assert manifest.dataset_name == "toy"


def test_bad_videos_and_the_exit_code(build, tiny_dataset, tmp_path):
    database = json.loads((tiny_dataset / "annotations.json").read_text())["database"]
    path = annotations(tmp_path, {**database, "x": entry([0, 1], file="x.mp4"), "y": entry([0, 1])})
    code, out, err = build("--max_failure_fraction=.4", annotations=path)
    assert code == 0
    assert "segments of 3 videos in 4 shards" in out
    causes = [line for line in err.splitlines() if line.startswith("not used: ")]
    assert [cause.split(": ")[1] for cause in causes] == ["x", "y"]
    assert "x.mp4: the video is missing" in causes[0] and "Traceback" not in err
    assert sum(read_manifest(tmp_path / "shards").label_counts[1:]) == 5
    code, _, err = build(annotations=path, output_dir=tmp_path / "other")
    assert code == 1
    assert err.splitlines()[-1].startswith("error: 2 of 5 videos could not be used, more than")


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ({}, "expected at least one action"),
        ({"ann": entry([1, 1])}, "expected at least one action in the subset 'train'"),
        ({"ann": entry([2, 1])}, "expected at least one action in the subset 'train'"),
        ({"ann": entry([-1, 1])}, "expected at least one action in the subset 'train'"),
        ({"ann": entry()}, "expected at least one action"),
        ({"ann": entry([0, 1], label="Ambiguous")}, "expected at least one action"),
        ({"ann": {**entry([0, 1]), "subset": "test"}}, "expected videos of the subset 'train'"),
        ({"ann": {"subset": "train", "annotations": [{"label": 3}]}}, 'expected "label" and'),
        # After the end of its video.
        ({"ann": entry([90, 95])}, "ann.mp4: lasts 4.00 s, and all its 1 action(s) begin later"),
        ({"none": entry([0, 1])}, "(1 could not be used; the first: "),
    ],
)
def test_annotations_that_cannot_be_used(build, tmp_path, database, message):
    code, _, err = build(annotations=annotations(tmp_path, database))
    assert code == 1 and "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: ") and message in last


def test_unlabelled_videos_are_no_background(build, tmp_path, caplog):
    database = {
        "ann": entry([0.32, 1.6]), "bob": {"subset": "train"},
        "cat": {"subset": "testing", "annotations": []},
    }  # fmt: skip
    path = annotations(tmp_path, database)
    what = "left out 2 unlabelled video(s), without annotations (testing, train), such as bob"
    code, out, _ = build(annotations=path)
    assert code == 0 and " of 1 videos in " in out and what in caplog.text
    caplog.clear()
    code, _, err = build("--subset=testing", annotations=path, output_dir=tmp_path / "other")
    assert code == 1 and what in caplog.text
    assert err == f"error: {path}: expected videos of the subset 'testing'. Found: train\n"


def test_files_that_cannot_be_used(build, tiny_dataset, tmp_path):
    def fails(message, *more, **changes):
        code, _, err = build(*more, **changes)
        assert code == 1 and "Traceback" not in err
        last = err.splitlines()[-1]
        assert last.startswith("error: ") and message in last, err

    (tmp_path / "file").touch()
    (tmp_path / "twice.json").write_text('{"database": {"a": {}, "a": {}}}')
    fails("no such file or folder of annotations", annotations=tmp_path / "none.json")
    fails("no valid JSON", annotations=tmp_path / "file")
    fails("'a' occurs twice", annotations=tmp_path / "twice.json")
    fails("Found: neither", annotations=tmp_path)
    fails("none of 3 videos gave a segment", video_dir=tmp_path / "none")
    fails("/file: cannot be written (File exists)", output_dir=tmp_path / "file")
    fails("/shards: cannot be written (Not a directory)", output_dir=tmp_path / "file" / "shards")
    file = tiny_dataset / "annotations.json"
    fails(f"{file}: expected videos of the subset 'dev'. Found: test, train", "--subset=dev")
    fails("expected a recipe: one of thumos14", recipe="none")


def test_flags_that_cannot_be(build):
    for flag in (
        "--frame_rate=0", "--frame_rate=inf", "--num_shards=0",
        "--seed=-1", "--no_such_flag", "--max_failure_fraction=1.1",
        "--workers=-1", "--video_timeout_s=-1", "--frame_rate=nan", "--output_dir=",
    ):  # fmt: skip
        code, _, err = build(flag)
        assert code == 2, flag
        assert err.startswith("error: ") and len(err.splitlines()) <= 2, err


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bytes(tiny_dataset, tmp_path):
    """SIGKILL at some moment, again and again, and the same command each time."""
    from scnn_tf.datasets.annotations import Instance, VideoAnnotation
    from scnn_tf.datasets.formats import write_annotations
    from scnn_tf.shards.build import build_shards

    actions = (Instance("left", 0.32, 1.6), Instance("right", 2.56, 3.2))
    videos = {
        f"v{i:02d}": VideoAnnotation(f"v{i:02d}", "train", None, None, actions, file="ann.mp4")
        for i in range(20)
    }
    write_annotations(tmp_path / "annotations.json", videos)
    recipe = tiny_dataset / "recipe.json"
    build_shards(
        videos,
        video_dir=tiny_dataset / "videos",
        output_dir=tmp_path / "whole",
        recipe=recipe,
    )

    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "pipelines.build_tfrecords", f"--recipe={recipe}",
        "--workers=2",
        f"--annotations={tmp_path / 'annotations.json'}", f"--output_dir={out}",
        f"--video_dir={tiny_dataset / 'videos'}",
    ]  # fmt: skip
    random = np.random.default_rng()
    moments = sorted(int(n) for n in random.integers(1, 40, 2))  # outcomes, of 20 + 20 + 4
    for moment in moments:
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        while len(list(out.glob("work/*/*.json"))) < moment and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "in 4 shards" in done.stdout

    def contents(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    assert contents(out) == contents(tmp_path / "whole"), f"killed at {moments}"


def test_help_as_a_user_calls_it():
    """In a process of its own: what the others of these tests do not show."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.build_tfrecords", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("Builds a dataset: annotated videos in, TFRecord shards")
    assert "--output_dir" in done.stdout and "manifest.json" in done.stdout
