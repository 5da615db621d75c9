import json

import pytest


@pytest.mark.slow
def test_all_variants_and_a_second_call_that_has_nothing_to_do(
    run_binary, tiny_dataset, tmp_path, monkeypatch
):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        json.dumps(
            {
                "base": str(tiny_dataset / "recipe.json"),
                "proposal": {"steps": 1},
                "classification": {"steps": 2},
                "localization": {"steps": 1},
                "alpha": 0.25,
            }
        )
    )
    out = tmp_path / "out"
    flags = (
        f"--datasets={tiny_dataset}", f"--recipe={recipe}", f"--output_dir={out}",
        "--alphas=1", "--tiou=.3,.5",
    )  # fmt: skip
    code, table, err = run_binary("ablate", *flags)
    assert code == 0, err
    summary = json.loads((out / "ablation.json").read_text())
    assert list(summary["variants"]) == [
        "S-CNN", "w/o proposal", "w/o classification", "w/o localization", "α = 1"
    ]  # fmt: skip
    for maps in summary["variants"].values():
        assert list(maps) == ["0.3", "0.5"]
        assert all(len(runs) == 1 and 0 <= runs[0] <= 1 for runs in maps.values())
    assert (summary["videos"], summary["instances"], summary["classes"]) == (1, 2, 2)
    assert summary["runs"] == [[tiny_dataset.name, 0]]
    assert len(summary["top_k"]["S-CNN"][0]) == len(summary["depths"])
    assert (out / "top_k.png").is_file()
    assert "w/o classification" in table

    models = out / tiny_dataset.name / "seed0"
    steps = {
        folder: json.loads((models / folder / "metrics.json").read_text())["steps"]
        for folder in ("proposal", "classification", "localization", "localization_fresh")
    }
    # Without classification it starts from fresh weights, and gets that stage's steps.
    assert steps == {
        "proposal": 1, "classification": 2, "localization": 1, "localization_fresh": 2
    }  # fmt: skip

    from scnn_tf.experiments import ablation
    from scnn_tf.training import train

    def never(*arguments, **options):
        raise AssertionError("it was there already")

    monkeypatch.setattr(train, "training_batches", never)
    for name in ("build", "localize"):
        monkeypatch.setattr(ablation, name, never)
    code, again, err = run_binary("ablate", *flags)
    assert (code, again) == (0, table), err
    assert json.loads((out / "ablation.json").read_text()) == summary


def test_mistakes_are_told_in_one_sentence(run_binary, tiny_dataset, tmp_path):
    def fails(message, *flags, datasets=tiny_dataset, out=tmp_path / "out"):
        code, _, err = run_binary("ablate", f"--datasets={datasets}", f"--output_dir={out}", *flags)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    fails("--seeds takes numbers. Received: 0,one", "--seeds=0,one")
    fails("--alphas takes numbers", "--alphas=a")
    fails("--tiou takes numbers", "--tiou=.3;.5")
    fails("give a data set, a seed", "--seeds=")
    fails("give a data set, a seed", datasets="")
    fails("seeds lie in", "--seeds=-1")
    fails("thresholds in (0, 1]", "--tiou=30")
    fails("no recipe 'tiny'", "--recipe=tiny")
    fails("annotations.json: no such file", datasets=tmp_path)
    fails("folders have different names", datasets=f"{tiny_dataset},{tiny_dataset}")
    (tmp_path / "file").touch()
    fails("cannot be written", out=tmp_path / "file")
