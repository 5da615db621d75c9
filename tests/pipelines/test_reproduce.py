import json
import shutil

import pytest

from scnn_tf.experiments import reproduction
from scnn_tf.models.recipes import STAGES

RECIPE = {
    "base": "small", "crop": 16, "width": 1 / 32, "hidden": 8, "dropout": 0.0, "batch_size": 4,
    "shards": {
        "frame_height": 32, "frame_width": 32, "positive_tiou": 0.7, "background_ratio": 1,
    },
    **{stage: {"steps": 2} for stage in STAGES}, "average": 0.0,
}  # fmt: skip


@pytest.fixture
def reproduce(run_binary, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))

    def run(experiment, videos, *flags):
        return run_binary(
            "reproduce", f"--experiment={experiment}", f"--video_dir={videos}",
            f"--recipe={tmp_path / 'recipe.json'}", f"--output_dir={tmp_path / 'out'}", *flags,
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_thumos14_to_its_tables_and_again(reproduce, miniature_thumos14, tmp_path, monkeypatch):
    code, out, err = reproduce("thumos14", miniature_thumos14)
    assert code == 0, err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    # 8 clips; and 4 videos of 4 s, of which one has no actions: 5 instances.
    assert (results["videos"], results["classes"]) == (4, 4)
    assert list(results["map"]) == ["0.1", "0.2", "0.3", "0.4", "0.5"]
    assert set(results["ap"]) == {"CliffDiving", "CricketShot", "Diving", "HammerThrow"}
    # Three videos of 4 s to localize, that is 100 frames: 22 + 9 + 3 windows; 270 and 1292 too.
    assert results["estimate"]["test_windows"] == 4 * 34
    assert results["estimate"]["shards_gb"] >= 0 and results["estimate"]["step_s"] > 0
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert tables in out
    ours = " | ".join(f"{100 * value:.1f}" for value in results["map"].values())
    assert f"| paper | 47.7 | 43.5 | 36.3 | 28.7 | 19.0 |\n| here | {ours} |" in tables
    assert "| w/o proposal | 17.1 |" in tables
    for figure in ("figure4.svg", "figure7.svg"):
        assert "</svg>" in (tmp_path / "out" / figure).read_text()

    def never(*arguments, **options):
        raise AssertionError("it was done already")

    monkeypatch.setattr(reproduction, "prepare", never)
    for name in ("build", "localize"):
        monkeypatch.setattr(reproduction.ablation, name, never)
    code, again, err = reproduce("thumos14", miniature_thumos14)
    assert code == 0, err
    assert tables in again


@pytest.mark.slow
def test_mexaction2_to_its_table(reproduce, miniature_mexaction2, tmp_path):
    code, out, err = reproduce("mexaction2", miniature_mexaction2)
    assert code == 0, err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["ap"]) == {"BullChargeCape", "HorseRiding"}
    assert f"| mean | 7.4 | {100 * results['map']['0.5']:.1f} |" in out


def test_estimate_comes_before_the_work(reproduce, miniature_mexaction2, tmp_path):
    code, out, err = reproduce("mexaction2", miniature_mexaction2, "--estimate_only")
    assert code == 0, err
    assert "expected training_h: " in out and "expected memory_gb: " in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset"]


def test_missing_videos_are_named(reproduce, miniature_thumos14, tmp_path):
    videos = shutil.copytree(miniature_thumos14, tmp_path / "videos")
    (videos / "test" / "video_test_0000131.mp4").unlink()
    code, _, err = reproduce("thumos14", videos, "--estimate_only")
    assert code == 1 and "video_test_0000131.mp4" in err and "Traceback" not in err
    code, _, err = reproduce("thumos14", videos, "--estimate_only", "--allow_missing")
    assert code == 0, err


def test_table_1():
    results = {
        "protocol": "thumos14", "videos": 3, "instances": 3, "classes": 2, "map": {"0.5": 0.25},
        "ap": {"BullChargeCape": {"0.5": 0.5}, "HorseRiding": {"0.5": 0.0}},
    }  # fmt: skip
    assert reproduction.tables("mexaction2", results).splitlines()[2:7] == [
        "| class | paper | here |",
        "|---|---|---|",
        "| BullChargeCape | 11.6 | 50.0 |",
        "| HorseRiding | 3.1 | 0.0 |",
        "| mean | 7.4 | 25.0 |",
    ]
