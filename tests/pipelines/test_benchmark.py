"""The binary of the benchmarks; what they measure is tested in `tests/benchmarks`."""

import json


def test_what_is_missing_is_said_before_anything_is_measured(run_binary, monkeypatch):
    code, _, err = run_binary("benchmark", "--suite=growth,reading")
    assert code and "--suite=reading needs --data_dir" in err
    code, _, err = run_binary("benchmark", "--suite=fastest")
    assert code and "give some of network, gpu, untrimmed" in err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run_binary("benchmark", "--suite=network")
    assert code == 1 and "pip install 'scnn_tf[benchmark]'" in err


def test_suites_in_one_run_with_the_machine(run_binary, tmp_path, monkeypatch):
    from benchmarks import evaluation, growth

    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setattr(evaluation, "compare", lambda: {"seconds": 1})
    monkeypatch.setattr(growth, "measure", lambda: {"minutes": 2})
    path = tmp_path / "figures.json"
    code, out, err = run_binary("benchmark", "--suite=evaluation,growth", f"--output_json={path}")
    assert code == 0, err
    figures = json.loads(path.read_text())
    assert figures["evaluation"] == {"seconds": 1} and figures["growth"] == {"minutes": 2}
    assert "cores" in figures["machine"] and json.loads(out) == figures


def test_a_folder_without_files_is_told(run_binary, tmp_path):
    code, _, err = run_binary("benchmark", "--suite=dirt", f"--videos={tmp_path}")
    assert code == 1 and f"error: --videos={tmp_path}: there is no file in it" in err
