import json
import shutil

import pytest

from scnn_tf.experiments import reproduction
from scnn_tf.localization.formats import read_segments
from scnn_tf.models.recipes import STAGES

RECIPE = {
    "base": "small_paper", "crop": 16, "width": 1 / 32, "hidden": 8, "dropout": 0.0,
    "batch_size": 4,
    "shards": {
        "frame_height": 32, "frame_width": 32, "positive_tiou": 0.7, "background_ratio": 1,
    },
    **{stage: {"steps": 2} for stage in STAGES}, "average": 0.0,
}  # fmt: skip


_FRESH = "localization_without_classification"


@pytest.mark.slow
def test_an_ablation_trains_the_variants_and_a_second_call_trains_none(
    run_binary, tiny_dataset, tiny_stretches, tmp_path, monkeypatch
):
    for name, base, changes in (
        ("three", tiny_dataset, {
            "proposal": {"steps": 1}, "classification": {"steps": 2}, "localization": {"steps": 1},
            "alpha": 0.25,
        }),
        ("one", tiny_stretches, {"joint": {"steps": 1}, "inference": {"proposal_threshold": 0}}),
    ):  # fmt: skip
        recipe = {"base": str(base / "recipe.json"), **changes}
        (tmp_path / f"{name}.json").write_text(json.dumps(recipe))
    out, variants = tmp_path / "out", [
        "S-CNN", "S-CNN without proposal", "S-CNN without classification",
        "S-CNN without localization", "S-CNN with alpha 1",
        "shared", "boundaries", "both", "both without proposal",
    ]  # fmt: skip
    flags = (
        f"--datasets={tiny_dataset}", f"--recipe={tmp_path}/three.json,{tmp_path}/one.json",
        f"--output_dir={out}", "--alphas=1", "--tiou=.3,.5", f"--variants={','.join(variants)}",
    )  # fmt: skip
    code, table, err = run_binary("experiment", *flags)
    assert code == 0, err
    summary = json.loads((out / "ablation.json").read_text())
    assert list(summary["variants"]) == variants
    for maps in summary["variants"].values():
        assert list(maps) == ["0.3", "0.5"]
        assert all(len(runs) == 1 and 0 <= runs[0] <= 1 for runs in maps.values())
    assert (summary["videos"], summary["instances"], summary["classes"]) == (1, 2, 2)
    assert summary["runs"] == [[tiny_dataset.name, 0]]
    assert len(summary["top_k"]["S-CNN"][0]) == len(summary["depths"])
    assert "both" in summary["top_k"] and "shared" not in summary["top_k"]
    references = {name: each["reference"] for name, each in summary["differences"].items()}
    assert "both" not in references and references["S-CNN"] == references["shared"] == "both"
    assert references["both without proposal"] == "both"
    for figure in ("top_k.png", "differences.png"):
        assert (out / figure).is_file()
    assert table == (out / "ablation.md").read_text()
    assert "| S-CNN without classification |" in table

    models = out / tiny_dataset.name / "seed0"
    steps = {
        folder: json.loads((models / folder / "metrics.json").read_text())["steps"]
        for folder in ("proposal", "classification", "localization", _FRESH)
    }
    # Without classification, localization starts from random weights with that stage's steps.
    assert steps == {
        "proposal": 1, "classification": 2, "localization": 1, _FRESH: 2
    }  # fmt: skip
    # Without the head of boundaries, detections are windows.
    found = read_segments(models / "test_joint_shared" / "segments.csv")
    assert len(found) and (found.action_start == found.start).all()

    from scnn_tf.experiments import ablation
    from scnn_tf.training import train

    def never(*arguments, **options):
        raise AssertionError("a finished step was repeated")

    monkeypatch.setattr(train, "training_batches", never)
    for name in ("build_shards", "localize_videos"):
        monkeypatch.setattr(ablation, name, never)
    code, again, err = run_binary("experiment", *flags)
    assert (code, again) == (0, table), err
    assert json.loads((out / "ablation.json").read_text()) == summary


def test_wrong_arguments_of_an_ablation_are_reported_in_one_sentence(
    run_binary, tiny_dataset, tmp_path
):
    def fails(message, *flags, datasets=tiny_dataset, out=tmp_path / "out"):
        code, _, err = run_binary(
            "experiment", f"--datasets={datasets}", f"--output_dir={out}", *flags
        )
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    fails("--seeds: expected numbers separated by commas. Received: 0,one", "--seeds=0,one")
    fails("--alphas: expected numbers", "--alphas=a")
    fails("--tiou: expected numbers", "--tiou=.3;.5")
    fails("expected a dataset, a seed", "--seeds=")
    fails("expected a dataset, a seed", datasets="")
    fails("expected seeds in", "--seeds=-1")
    fails("thresholds in (0, 1]", "--tiou=30")
    fails("Received: 'tiny'", "--recipe=tiny")
    fails(
        "one of the joint network, or one of each. Received: small, small", "--recipe=small,small"
    )
    fails("expected variants of these: S-CNN, ", "--variants=all")
    fails("annotations.json: no such file", datasets=tmp_path)
    fails("folders have different names", datasets=f"{tiny_dataset},{tiny_dataset}")
    (tmp_path / "file").touch()
    fails("cannot be written", out=tmp_path / "file")


@pytest.fixture
def experiment(run_binary, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))

    def run(name, videos, *flags):
        return run_binary(
            "experiment", f"--experiment={name}", f"--video_dir={videos}",
            f"--recipe={tmp_path / 'recipe.json'}", f"--output_dir={tmp_path / 'out'}", *flags,
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_thumos14_from_folders_to_tables_and_a_second_call(
    experiment, miniature_thumos14, tmp_path, monkeypatch
):
    code, out, err = experiment("thumos14", miniature_thumos14)
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
    assert "| S-CNN without proposal | 17.1 |" in tables
    for figure in ("figure4.svg", "figure7.svg"):
        assert "</svg>" in (tmp_path / "out" / figure).read_text()

    def never(*arguments, **options):
        raise AssertionError("a finished step was repeated")

    monkeypatch.setattr(reproduction, "prepare", never)
    for name in ("build_shards", "localize_videos"):
        monkeypatch.setattr(reproduction.ablation, name, never)
    code, again, err = experiment("thumos14", miniature_thumos14)
    assert code == 0, err
    assert tables in again


@pytest.mark.slow
def test_mexaction2_from_folders_to_its_table(experiment, miniature_mexaction2, tmp_path):
    code, out, err = experiment("mexaction2", miniature_mexaction2)
    assert code == 0, err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["ap"]) == {"BullChargeCape", "HorseRiding"}
    assert f"| mean | 7.4 | {100 * results['map']['0.5']:.1f} |" in out


def test_an_experiment_of_the_paper_needs_its_three_networks(
    run_binary, miniature_mexaction2, tmp_path
):
    code, _, err = run_binary(
        "experiment", "--experiment=mexaction2", f"--video_dir={miniature_mexaction2}",
        "--recipe=small", f"--output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    assert code == 1 and not (tmp_path / "out").exists()
    assert err == (
        "error: expected a recipe of the paper's three networks. Received: 'small', of joint\n"
    )


def test_estimate_only_stops_before_the_work(experiment, miniature_mexaction2, tmp_path):
    code, out, err = experiment("mexaction2", miniature_mexaction2, "--estimate_only")
    assert code == 0, err
    assert "expected training_h: " in out and "expected memory_gb: " in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset"]


def test_missing_videos_of_an_experiment_are_named(experiment, miniature_thumos14, tmp_path):
    videos = shutil.copytree(miniature_thumos14, tmp_path / "videos")
    (videos / "test" / "video_test_0000131.mp4").unlink()
    code, _, err = experiment("thumos14", videos, "--estimate_only")
    assert code == 1 and "video_test_0000131.mp4" in err and "Traceback" not in err
    code, _, err = experiment("thumos14", videos, "--estimate_only", "--allow_missing")
    assert code == 0, err


def test_flags_of_the_other_mode_are_refused(run_binary, tmp_path):
    def fails(message, *flags):
        code, _, err = run_binary("experiment", f"--output_dir={tmp_path}", *flags)
        assert (code, err) == (1, f"error: {message}\n")

    either = "expected either --datasets or --experiment. Received: "
    fails(f"{either}neither")
    fails(f"{either}both", "--datasets=a", "--experiment=thumos14")
    fails("--seeds requires --datasets", "--experiment=thumos14", "--seeds=1")
    fails("--variants requires --datasets", "--experiment=thumos14", "--variants=both")
    fails("--video_dir requires --experiment", "--datasets=a", "--video_dir=videos")
    fails("--experiment requires --video_dir", "--experiment=thumos14")
