import json

import pytest


@pytest.mark.slow
def test_a_folder_of_networks_becomes_a_version_with_its_provenance(
    run_binary, tiny_models, tmp_path
):
    code, out, err = run_binary(
        "export", f"--model_dir={tiny_models}", f"--output_dir={tmp_path / 'scnn'}",
        "--label=canary", "--proposal_threshold=.25", "--nms_threshold=.1",
    )  # fmt: skip
    assert code == 0, err
    version = tmp_path / "scnn" / "1"
    assert out.endswith(f" MB → {version}\n")
    description = json.loads((version / "assets" / "scnn.json").read_text())
    assert description["proposal_threshold"] == 0.25 and description["nms_threshold"] == 0.1
    assert set(description["provenance"]["stages"]) == {"proposal", "localization"}
    assert 'key: "canary"' in (tmp_path / "models.config").read_text()


def test_mistakes_are_reported_in_one_sentence(run_binary, tiny_models, tmp_path):
    def fails(message, *flags, expected=1):
        code, _, err = run_binary("export", f"--output_dir={tmp_path / 'scnn'}", *flags)
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == expected and message in last and "Traceback" not in err

    fails("--model_dir", expected=2)
    fails("run train first", f"--model_dir={tmp_path}")
    model_dir = f"--model_dir={tiny_models}"
    fails("--label", model_dir, "--label=best", expected=2)
    fails("version must be in 1", model_dir, "--version=0")
    fails("max_batch_size must be one of 1, 2, 4", model_dir, "--max_batch_size=3")
    fails("precision must be one of float32, bfloat16. Received: 'int8'", model_dir,
          "--precision=int8")  # fmt: skip
    fails("--data_dir is no flag of --format=saved_model", model_dir, f"--data_dir={tmp_path}")
    fails("--label is no flag of --format=onnx", model_dir, "--format=onnx", "--label=canary")
    fails("int8 takes the ranges of its feature maps from real video; give shards, --data_dir",
          model_dir, "--format=tflite", "--precision=int8")  # fmt: skip
    assert not (tmp_path / "scnn").exists()


@pytest.mark.slow
def test_an_export_for_devices_is_a_folder_with_its_card(run_binary, tiny_models, tmp_path):
    for package in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path / "edge" / "scnn"
    code, out, err = run_binary(
        "export", f"--model_dir={tiny_models}", f"--output_dir={folder}", "--format=onnx",
        "--proposal_threshold=.25",
    )  # fmt: skip
    assert code == 0, err
    assert out.endswith(f" MB → {folder}\n")
    card = json.loads((folder / "card.json").read_text())
    assert card["proposal_threshold"] == 0.25 and set(card["networks"]) == {
        "proposal", "localization",
    }  # fmt: skip
    assert set(card["provenance"]["stages"]) == {"proposal", "localization"}
