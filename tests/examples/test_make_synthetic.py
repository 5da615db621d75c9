import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "examples/make_synthetic.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_videos_and_annotations_are_written(tmp_path):
    result = run(
        "--num_train=0", "--num_test=1", "--num_trimmed_per_class=1", f"--output_dir={tmp_path}"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("7 videos (1 for testing, 6 trimmed)")
    database = json.loads((tmp_path / "annotations.json").read_text())["database"]
    assert len(database) == 7
    assert all((tmp_path / "videos" / v["file"]).is_file() for v in database.values())
    assert {v["subset"] for v in database.values()} == {"train", "test"}


def test_rich_motions_have_20_classes(tmp_path):
    result = run(
        "--motions=rich",
        "--num_train=1",
        "--num_test=0",
        "--num_trimmed_per_class=0",
        f"--output_dir={tmp_path}",
    )
    assert result.returncode == 0, result.stderr
    assert "of 20 classes" in result.stdout


def test_a_wrong_flag_value_is_reported_in_one_sentence(tmp_path):
    result = run(
        "--num_train=0", "--num_test=0", "--num_trimmed_per_class=0", f"--output_dir={tmp_path}"
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "umbers of videos" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_says_what_the_script_writes():
    result = run("--help")
    assert result.returncode == 0
    assert "annotations.json" in result.stdout and "--num_train" in result.stdout
