import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scnn_tf.datasets.formats import read_annotations

ROOT = Path(__file__).parents[2]


@pytest.fixture
def thumos(miniature_thumos14, tmp_path) -> Path:
    return shutil.copytree(miniature_thumos14, tmp_path / "thumos")


def test_thumos14_from_folders_to_shards(run_binary, thumos, tmp_path):
    out = tmp_path / "out"
    code, printed, err = run_binary(
        "prepare_dataset", "--dataset=thumos14", f"--video_dir={thumos}",
        f"--reference={thumos / 'thumos14.json'}", f"--output_dir={out}",
    )  # fmt: skip
    assert code == 0, err
    assert "validation instances                            3007         5 ≠" in printed
    assert printed.splitlines()[-1] == f"15 videos → {out}/annotations.json"
    code, _, err = run_binary(
        "build_tfrecords", f"--annotations={out / 'annotations.json'}", f"--video_dir={thumos}",
        "--subset=train", f"--output_dir={tmp_path / 'shards'}",
    )  # fmt: skip
    assert code == 0, err


def test_missing_videos_are_an_error_unless_allowed(run_binary, thumos, tmp_path):
    (thumos / "test" / "video_test_0000131.mp4").unlink()
    flags = (
        "--dataset=thumos14",
        f"--video_dir={thumos}",
        f"--output_dir={tmp_path / 'out'}",
        "--noprobe",
    )
    code, printed, err = run_binary("prepare_dataset", *flags)
    assert code == 1 and "Traceback" not in err
    assert "missing: 1: video_test_0000131.mp4" in printed
    assert err.splitlines()[-1].startswith(f"error: {thumos}: missing are 1: video_test_0000131")
    assert not (tmp_path / "out" / "annotations.json").exists()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["missing"] == ["video_test_0000131.mp4"]

    code, printed, _ = run_binary("prepare_dataset", *flags, "--allow_missing")
    assert code == 0 and "14 videos → " in printed
    assert len(read_annotations(tmp_path / "out" / "annotations.json", "test")) == 3


def test_broken_videos_and_other_durations_are_reported_without_failure(
    run_binary, thumos, tmp_path
):
    (thumos / "test" / "video_test_0000270.mp4").write_bytes(b"broken")
    reference = json.loads((thumos / "thumos14.json").read_text())
    reference["database"]["video_test_0000131"]["duration"] = 4.1
    (tmp_path / "reference.json").write_text(json.dumps(reference))
    code, printed, err = run_binary(
        "prepare_dataset", "--dataset=thumos14", f"--video_dir={thumos}",
        f"--annotations_dir={thumos}", f"--reference={tmp_path / 'reference.json'}",
        "--tolerance_s=.05", f"--output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    assert code == 0, err
    assert "broken: 1: video_test_0000270\n" in printed
    assert "different duration: 1: video_test_0000131\n" in printed


def test_mexaction2_from_folders_to_annotations(run_binary, miniature_mexaction2, tmp_path):
    flags = (
        "--dataset=mexaction2", f"--video_dir={miniature_mexaction2}",
        f"--output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    code, printed, err = run_binary("prepare_dataset", *flags)
    assert code == 0, err
    assert "test instances                329         3 ≠" in printed
    assert printed.splitlines()[-1] == f"11 videos → {tmp_path / 'out'}/annotations.json"
    annotations = tmp_path / "out" / "annotations.json"
    assert [len(read_annotations(annotations, s)) for s in ("train", "val", "test")] == [7, 1, 3]

    code, _, err = run_binary("prepare_dataset", *flags, f"--annotations_dir={tmp_path / 'out'}")
    assert code == 1
    assert err.splitlines()[-1].startswith(
        f"error: {tmp_path / 'out'}: expected annotations of MEX"
    )


def test_a_reference_belongs_to_thumos14_only(run_binary, miniature_mexaction2, tmp_path):
    code, _, err = run_binary(
        "prepare_dataset", "--dataset=mexaction2", f"--video_dir={miniature_mexaction2}",
        "--reference=thumos14.json", f"--output_dir={tmp_path}",
    )  # fmt: skip
    assert code == 1 and err.startswith("error: --reference requires --dataset=thumos14")


def test_help_and_missing_flags_as_a_user_meets_them():
    """In a process of its own, unlike the other tests of this file."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "pipelines.prepare_dataset", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = run("--help")
    assert done.returncode == 0 and done.stdout.startswith("Verifies a copy of ")
    assert "--[no]allow_missing" in done.stdout and "report.json" in done.stdout
    done = run("--dataset=thumos14", "--output_dir=out")
    assert done.returncode == 2 and "video_dir" in done.stderr and "Traceback" not in done.stderr
