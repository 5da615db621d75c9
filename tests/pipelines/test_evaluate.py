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


def test_thumos_text_finds_its_list_of_classes(folder):
    truth = folder / "truth" / "temporal_annotations_test"
    found = folder / "found.txt"
    done = evaluate(f"--ground_truth={truth}", f"--detections={found}", "--tiou=.5")
    assert done.returncode == 0, done.stderr
    # Of two instances the first is found, by the best detection.
    assert done.stdout.splitlines() == [
        "protocol thumos14: 1 videos, 2 instances, 0 ambiguous intervals, 1 classes",
        "tIoU       instances       0.5",
        "Run                2  0.500000",
        "mAP                2  0.500000",
        "detections                   2",
    ]


def test_segments_with_prior_and_json(folder):
    flags = [
        f"--ground_truth={folder / 'truth'}",
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


def test_a_users_mistakes_are_told_in_one_sentence(folder):
    truth, found = f"--ground_truth={folder / 'truth'}", f"--detections={folder / 'found.txt'}"
    segments = f"--segments={folder / 'segments.csv'}"
    assert "either --detections or --segments" in fails(truth)
    assert "either --detections or --segments" in fails(truth, found, segments)
    assert "no such file" in fails("--ground_truth=nowhere", found)
    assert "it holds test" in fails(truth, found, "--subset=train")
    assert "expected numbers" in fails(truth, found, "--tiou=a,b")
    assert "thresholds lie in" in fails(truth, found, "--tiou=50")
    assert "needs --segments" in fails(truth, found, f"--window_prior={folder / 'prior.csv'}")
    assert "unexpected argument 'x.json'" in fails(truth, found, "x.json")
    assert "cannot be written" in fails(truth, segments, f"--output_json={folder}/found.txt/x")


@pytest.mark.data
def test_the_papers_table_2_is_printed(data_dir):
    data = data_dir / "thumos14"
    done = evaluate(
        f"--ground_truth={data / 'official_txt' / 'temporal_annotations_test'}",
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
