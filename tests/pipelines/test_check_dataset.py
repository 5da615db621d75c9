import json

import pytest


@pytest.fixture
def check(run_binary, tmp_path):
    """Runs the binary on one training and one test video with the given segments of `run`."""

    def run(segments, *flags):
        database = {
            f"{who}_1": {
                "subset": subset, "duration": 20,
                "annotations": [{"label": "run", "segment": s} for s in segments],
            }
            for who, subset in (("ann", "train"), ("bob", "test"))
        }  # fmt: skip
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps({"database": database}))
        return run_binary("check_dataset", f"--annotations={path}", *flags)

    return run


def test_exit_code_says_whether_something_is_wrong(check, tmp_path):
    good = [[n, n + 1] for n in range(10)]
    code, out, err = check(good)
    assert (code, out.splitlines()[-1]) == (0, "no problem(s)"), err
    code, out, _ = check(good[:5], f"--output_json={tmp_path}/new/check.json")
    assert (code, out.splitlines()[-1]) == (1, "1 problem(s)")
    assert json.loads((tmp_path / "new" / "check.json").read_text())["problems"] == {
        "rare": ["run: 5 instance(s) in train, fewer than 10"]
    }
    assert check(good[:5], "--min_train=5")[0] == 0


def test_what_is_accepted_is_told_and_does_not_count(check):
    code, out, _ = check([[0, 1]], "--accept=rare")
    assert (code, out.splitlines()[-1]) == (0, "no problem(s), 2 accepted")
    assert "run: 1 instance(s) in test, fewer than 3" in out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--accept=late", "--accept=late: kinds are times, missing"),
        ("--window_frames=16,two", "--window_frames=16,two: expected frames"),
        ("--window_frames=", "--window_frames=: expected frames"),
        ("--source_pattern=(", "no regular expression"),
    ],
)
def test_mistakes_are_told_in_one_sentence(check, flag, message):
    code, _, err = check([[0, 1]], flag)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: ") and message in err.splitlines()[-1]
