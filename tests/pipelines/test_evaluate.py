import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def evaluate(*flags):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.evaluate", *map(str, flags)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def fails(*flags):
    done = evaluate(*flags)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.fixture
def folder(tmp_path):
    truth = tmp_path / "truth" / "temporal_annotations_test"
    truth.mkdir(parents=True)
    (truth / "Run_test.txt").write_text("v 0.0 2.0\nv 4.0 6.0\n")
    (truth.parent / "detclasslist.txt").write_text("7 Run\n")
    (tmp_path / "found.txt").write_text("v 0 2 7 .9\nv 8 9 7 .8\n")
    (tmp_path / "segments.csv").write_text(
        "video,window_frames,start_s,end_s,class,score\n"
        "v,16,0,2.04,Run,.9\nv,16,0.5,2.5,Run,.8\nv,32,4,6,Run,.4\nv,32,8,9,Background,.9\n"
    )
    (tmp_path / "prior.csv").write_text(
        "class_id,class,count_16,count_32,weight_16,weight_32\n1,Run,1,3,.25,.75\n"
    )
    return tmp_path


def test_the_list_of_classes_of_thumos_text_is_found_next_to_the_annotations(folder):
    truth = folder / "truth" / "temporal_annotations_test"
    found = folder / "found.txt"
    done = evaluate(f"--annotations={truth}", f"--detections={found}", "--tiou=.5")
    assert done.returncode == 0, done.stderr
    # Of two instances the first is found, by the best detection.
    assert done.stdout.splitlines() == [
        "protocol thumos14: 1 videos, 2 instances, 0 ambiguous intervals, 1 classes",
        "tIoU       instances       0.5",
        "Run                2  0.500000",
        "mAP                2  0.500000",
        "detections                   2",
    ]


def test_segments_with_prior_and_rounding(folder):
    flags = [
        f"--annotations={folder / 'truth'}",
        f"--segments={folder / 'segments.csv'}",
        f"--window_prior={folder / 'prior.csv'}",
        "--tiou=.3,.985",
        f"--output_json={folder / 'new' / 'results.json'}",
    ]
    # NMS at .2 drops [.5, 2.5), tIoU with [0, 2.04) 1.54/2.5 = .616; at .885 it stays.
    # At .985 [0, 2.04) is true only once it is rounded to [0, 2.0): 2/2.04 = .980.
    # With the prior the order is [4, 6) .3, [0, 2.04) .225, [.5, 2.5) .2.
    assert evaluate(*flags).returncode == 0
    rounded = json.loads((folder / "new" / "results.json").read_text())
    assert rounded["detections"] == {"0.3": 2, "0.985": 3}
    assert rounded["map"] == {"0.3": 1.0, "0.985": 1.0}
    assert evaluate(*flags, "--notext_rounding").returncode == 0
    exact = json.loads((folder / "new" / "results.json").read_text())
    assert exact["map"] == {"0.3": 1.0, "0.985": 0.5}


def test_each_mistake_is_reported_in_one_sentence(folder):
    truth, found = f"--annotations={folder / 'truth'}", f"--detections={folder / 'found.txt'}"
    segments = f"--segments={folder / 'segments.csv'}"
    assert "expected either --detections or --segments" in fails(truth)
    assert "expected either --detections or --segments" in fails(truth, found, segments)
    assert "no such file" in fails("--annotations=nowhere", found)
    assert "Found: test" in fails(truth, found, "--subset=train")
    assert "--tiou: expected numbers separated by commas. Received: a,b" in fails(
        truth, found, "--tiou=a,b"
    )
    assert "expected tIoU thresholds in (0, 1]" in fails(truth, found, "--tiou=50")
    assert "--window_prior needs --segments" in fails(
        truth, found, f"--window_prior={folder / 'prior.csv'}"
    )
    assert "unexpected argument 'x.json'" in fails(truth, found, "x.json")
    assert "cannot be written" in fails(truth, segments, f"--output_json={folder}/found.txt/x")


def test_rows_without_a_length_count_or_are_refused(folder):
    truth, found = f"--annotations={folder / 'truth'}", f"--detections={folder / 'found.txt'}"
    path = folder / "truth" / "temporal_annotations_test" / "Run_test.txt"
    path.write_text("v 0.0 2.0\nv 4.0 4.0\n")
    (folder / "found.txt").write_text("v 9 8 7 .95\nv 0 2 7 .9\n")
    done = evaluate(truth, found, "--tiou=.5")
    # False, true: precision 1/2 at one of two instances.
    assert done.stdout.splitlines()[-2:] == [
        "mAP                2  0.250000", "detections                   2",
    ]  # fmt: skip
    assert len(done.stderr.splitlines()) == 2  # a warning for each file
    assert "Run_test.txt, line 2, video v (Run): must start at" in fails(truth, found, "--strict")
    path.write_text("v 0.0 2.0\n")
    assert "row 1 of video 'v' must end after its start" in fails(truth, found, "--strict")


def test_an_unlabelled_subset_cannot_be_evaluated(folder):
    database = {
        "v": {"subset": "training", "annotations": [{"label": "run", "segment": [0, 1]}]},
        "w": {"subset": "testing", "annotations": []},
    }
    (folder / "a.json").write_text(json.dumps({"database": database}))
    sentence = fails(f"--annotations={folder}/a.json", f"--detections={folder}/found.txt")
    assert sentence.endswith(
        "a.json: expected at least one action in its subset 'test'. Found: 1 unlabelled video(s), "
        "without annotations (testing)"
    )


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


def test_points_are_evaluated_by_tolerance(run_binary, folder):
    flags = [f"--annotations={folder / 'truth'}", f"--detections={folder / 'found.txt'}"]
    # Middles: instances 1 and 5, detections 1 and 8.5; nothing is within a second of 5.
    output = folder / "points.json"
    code, out, err = run_binary("evaluate", *flags, "--tolerance=1,2", f"--output_json={output}")
    assert code == 0, err
    assert out.splitlines() == [
        "protocol soccernet: 1 videos, 2 instances, 1 classes; points are the middles of intervals",
        "tolerance, s instances         1         2   average",
        "Run                  2  0.545455  0.545455  0.545455",
        "mAP                  2  0.545455  0.545455  0.545455",
        "detections                     2         2         2",
    ]
    assert json.loads(output.read_text())["average_map"] == pytest.approx(6 / 11)
    _, out, _ = run_binary("evaluate", *flags, "--tolerance=tight")
    assert out.splitlines()[1].split() == "tolerance, s instances 1 2 3 4 5 average".split()
    code, _, err = run_binary("evaluate", *flags, "--tolerance=2", "--tiou=.5", "--diagnose")
    assert (code, err.splitlines()[-1]) == (
        1,
        "error: --tolerance evaluates the points of --detections by rules of its own. "
        "Received: --tiou, --diagnose as well; leave out one or the other",
    )
    code, _, err = run_binary("evaluate", *flags, "--tolerance=wide")
    assert code == 1 and "--tolerance: expected numbers separated by commas" in err


def test_frames_are_evaluated_a_given_number_of_times_a_second(run_binary, tmp_path):
    annotations, found = tmp_path / "annotations.json", tmp_path / "found.json"
    actions = [{"label": "a", "segment": [0, 2]}, {"label": "b", "segment": [1, 3]}]
    database = {"v": {"subset": "test", "duration": 4, "annotations": actions}}
    annotations.write_text(json.dumps({"database": database}))
    rows = [{"label": label, "score": 0.5, "segment": [0, 2]} for label in "ab"]
    found.write_text(json.dumps({"results": {"v": rows}}))
    flags = (f"--annotations={annotations}", f"--detections={found}", "--per_frame=1")
    code, out, err = run_binary("evaluate", *flags)
    assert code == 0, err
    # Both at 0.5 and 1.5 s: "a" is on at both, "b" at the second and, unfound, at 2.5 s.
    assert [line.split()[-1] for line in out.splitlines()[2:5]] == [
        "1.000000",
        "0.250000",
        "0.625000",
    ]
    code, _, err = run_binary("evaluate", *flags, "--tiou=.5")
    assert code == 1 and "--per_frame evaluates the times of --detections by rules" in err


@pytest.fixture
def diagnose(run_binary, tmp_path):
    """Runs `evaluate --diagnose` on a true positive, a wrong label and a localization error."""
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    (tmp_path / "found.txt").write_text("v 0 10 7 .9\nv 20 30 7 .8\nv 26 36 9 .7\n")
    (tmp_path / "detclasslist.txt").write_text("7 run\n9 jump\n")

    def run(*more, detections=f"--detections={tmp_path}/found.txt"):
        flags = [f"--annotations={tmp_path}/truth.json", detections, "--diagnose"]
        return run_binary("evaluate", *flags, *more)

    return run


def test_a_diagnosis_has_tables_json_and_a_figure(diagnose, tmp_path):
    code, out, err = diagnose(
        "--tiou=.3,.5", f"--output_json={tmp_path}/d/d.json", f"--figure={tmp_path}/d/d.png"
    )
    assert code == 0, err
    evaluation, diagnosis = out.split("\n\n", 1)
    assert evaluation.splitlines()[-2:] == [
        "mAP                2  0.500000  0.500000",
        "detections                   3         3",
    ]
    lines = diagnosis.splitlines()
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
    assert content["map"] == {"0.3": 0.5, "0.5": 0.5}
    types = content["error_types"]["0.5"]
    assert types["wrong label"] == types["localization"] == 1
    assert content["profile"]["0.3"][1]["wrong label"] == 1
    assert content["map_if_fixed"]["everything"] == {"0.3": 1.0, "0.5": 1.0}
    assert content["buckets"]["length"][0]["above"] is None
    assert (tmp_path / "d" / "d.png").read_bytes().startswith(b"\x89PNG")


def test_a_diagnosis_is_at_tiou_a_half_by_default(diagnose):
    _, out, _ = diagnose()
    assert "\ntIoU 0.5: mAP 0.5000" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tiou=half"], "--tiou: expected numbers separated by commas. Received: half"),
        (["--tiou=2"], "expected tIoU thresholds in (0, 1]"),
        (["--subset=train"], "expected videos of the subset 'train'"),
        (["--nodiagnose", "--figure=d.png"], "--figure and --buckets belong to a diagnosis"),
    ],
)
def test_each_mistake_in_a_diagnosis_is_reported_in_one_sentence(diagnose, flags, message):
    code, _, err = diagnose(*flags)
    assert code == 1
    assert message in err.splitlines()[-1]


def test_segments_cannot_be_diagnosed(diagnose, tmp_path):
    code, _, err = diagnose(detections=f"--segments={tmp_path}/segments.csv")
    assert code == 1
    assert "--diagnose needs --detections" in err.splitlines()[-1]


@pytest.mark.data
def test_table_2_of_the_paper_is_printed(data_dir):
    data = data_dir / "thumos14"
    done = evaluate(
        f"--annotations={data / 'official_txt' / 'temporal_annotations_test'}",
        f"--segments={data / 'scnn' / 'c3d_localization_raw_segments.csv.gz'}",
        f"--window_prior={data / 'window_prior.csv'}",
    )
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()
    assert "213 videos, 3358 instances, 99 ambiguous intervals, 20 classes" in table[0]
    assert table[-2].split() == [
        "mAP",
        "3358",
        "0.477186",
        "0.435345",
        "0.362761",
        "0.287022",
        "0.189701",
    ]
    assert table[-1].split()[1:] == ["10285", "11294", "14350", "19025", "24244"]
