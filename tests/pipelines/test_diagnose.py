import json

import pytest

TRUTH = {
    "database": {
        "v": {
            "subset": "test",
            "duration": 100,
            "annotations": [
                {"label": "run", "segment": [0, 10]}, {"label": "jump", "segment": [20, 30]},
            ],
        }
    }
}  # fmt: skip
FOUND = "v 0 10 7 .9\nv 20 30 7 .8\nv 26 36 9 .7\n"  # true, wrong label, localization


@pytest.fixture
def diagnose(run_binary, tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    (tmp_path / "found.txt").write_text(FOUND)
    (tmp_path / "detclasslist.txt").write_text("7 run\n9 jump\n")

    def run(*more):
        flags = [f"--ground_truth={tmp_path}/truth.json", f"--detections={tmp_path}/found.txt"]
        return run_binary("diagnose", *flags, *more)

    return run


def test_tables_json_and_figure(diagnose, tmp_path):
    code, out, err = diagnose(
        "--tiou=.3,.5", f"--output_json={tmp_path}/d/d.json", f"--figure={tmp_path}/d/d.png"
    )
    assert code == 0, err
    lines = out.splitlines()
    assert lines[:2] == [
        "protocol thumos14: 1 videos, 2 instances, 2 classes, 3 detections",
        # run: AP 1; jump: 0, its detection has tIoU 4/16.
        "tIoU 0.3, 0.5: mAP 0.5000, mAP_N 0.5000, 50.0% of the instances missed",
    ]
    (best,) = (line.split() for line in lines[4:7] if line.startswith("best G"))
    assert best == ["best", "G", "2", "50.0%", "0.0%", "0.0%", "50.0%", "0.0%", "0.0%"]
    assert [line.split()[-2:] for line in lines if line.startswith("localization ")] == [
        ["+0.0000", "+0.5000"]
    ]
    content = json.loads((tmp_path / "d" / "d.json").read_text())
    assert content["kinds"]["0.5"]["wrong label"] == content["kinds"]["0.5"]["localization"] == 1
    assert content["profile"]["0.3"][1]["wrong label"] == 1
    assert content["map_if_fixed"]["everything"] == {"0.3": 1.0, "0.5": 1.0}
    assert content["buckets"]["length"][0]["above"] is None
    assert (tmp_path / "d" / "d.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tiou=half"], "--tiou=half: expected numbers"),
        (["--tiou=2"], "tIoU thresholds lie in (0, 1]"),
        (["--subset=train"], "there is no subset 'train'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(diagnose, flags, message):
    code, _, err = diagnose(*flags)
    assert code == 1
    assert message in err.splitlines()[-1]
