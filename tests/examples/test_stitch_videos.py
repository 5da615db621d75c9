import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.io import video

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "examples/stitch_videos.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clips_dir(tmp_path):
    for name in ("walk/ann_1.mp4", "walk/bob_1.mp4", "jump/ann_1.mp4", "jump/bob_1.mp4"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        video.write_video(path, [np.zeros((16, 16, 3), np.uint8)] * 5, 25)
    return tmp_path / "clips"


def test_each_video_joins_the_clips_of_one_person(clips_dir, tmp_path):
    (clips_dir / "jump" / "bob_2.mp4").write_text("broken")
    out = tmp_path / "out"
    result = run(
        f"--clips_dir={clips_dir}", "--targets=walk", "--test_people=bob",
        "--sequences_per_person=2", "--seed=1", f"--output_dir={out}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    # 4 sequences of 2 clips of 5 frames at 25 a second: 4 · 0.4 s.
    assert "4 videos (2 for testing), 2 s, 4 instances" in result.stdout
    assert "1 broken clips left out" in result.stdout
    assert "bob_2.mp4" in result.stderr
    database = json.loads((out / "annotations.json").read_text())["database"]
    assert {k: v["subset"] for k, v in database.items()} == {
        "ann_00": "train", "ann_01": "train", "bob_00": "test", "bob_01": "test",
    }  # fmt: skip
    assert all((out / "videos" / v["file"]).is_file() for v in database.values())


def test_an_unknown_target_class_is_reported_in_one_sentence(clips_dir, tmp_path):
    result = run(f"--clips_dir={clips_dir}", "--targets=fly", f"--output_dir={tmp_path}")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "no target class is named fly" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_flag_is_named():
    result = run("--targets=walk")
    assert result.returncode == 2
    assert "clips_dir" in result.stderr and "Traceback" not in result.stderr


def test_help_says_what_the_script_reads_and_writes():
    result = run("--help")
    assert result.returncode == 0
    assert "annotations.json" in result.stdout and "--sequences_per_person" in result.stdout
