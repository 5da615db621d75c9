import json

import pytest

from benchmarks import building, measure, network
from scnn_tf.errors import InputError


def test_calls_are_timed_in_turn_after_a_warm_up():
    calls = []
    seconds = measure.in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
    assert "".join(calls) == "ababab"  # the first of each is not counted
    assert set(seconds) == {"a", "b"}
    assert "keras" in measure.machine()["versions"]


def test_a_program_prints_and_writes_machine_and_figures(run_binary, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "alone", lambda: {"clips": 2})
    path = tmp_path / "figures.json"
    code, out, err = run_binary("benchmarks.network", "--gpu", f"--output_json={path}")
    assert code == 0, err
    assert json.loads(path.read_text()) == json.loads(out)
    figures = json.loads(out)
    assert figures["figures"] == {"clips": 2}
    assert "cores" in figures["machine"] and "keras" in figures["versions"]


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("building", "--video"),
        ("full_width", "--video"),
        ("reading", "--data_dir"),
        ("untrimmed", "--model_dir"),
        ("waits", "--video"),
    ],
)
def test_a_program_names_a_missing_flag(run_binary, name, flag):
    code, out, err = run_binary(f"benchmarks.{name}")
    assert (code, out) == (2, "") and flag in err and len(err.splitlines()) == 1
    code, out, _ = run_binary(f"benchmarks.{name}", "--help")
    assert code == 0
    assert f"python -m benchmarks.{name}" in out and f"{flag}:" in out and "--output_json:" in out


def test_a_missing_package_or_program_is_reported_before_the_work(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="torch is not installed.*pip install 'scnn_tf.benchmark"):
        network.compare()
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="ffmpeg is not installed"):
        building.building(None)
