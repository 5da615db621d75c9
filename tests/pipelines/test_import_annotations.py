import json

from scnn_tf.datasets.formats import read_activitynet

ROWS = "video,label,start,end\nann_1,run,0,2\nann_2,sit,0:01,0:03\nbob_1,run,1,2\n"


def test_exports_become_annotations(run_binary, tmp_path):
    (tmp_path / "a.csv").write_text(ROWS)
    output = tmp_path / "new" / "annotations.json"
    code, out, err = run_binary(
        "import_annotations", f"--output={output}", "--test=bob", tmp_path / "a.csv"
    )
    assert code == 0, err
    assert out.splitlines() == [
        "test: 1 videos, 1 instances of 1 classes",
        "train: 2 videos, 2 instances of 2 classes",
        f"3 videos → {output}",
    ]
    videos = read_activitynet(output)
    assert {key: video.subset for key, video in videos.items()} == {
        "ann_1": "train", "ann_2": "train", "bob_1": "test",
    }  # fmt: skip
    assert json.loads(output.read_text())["database"]["ann_2"]["annotations"] == [
        {"label": "sit", "segment": [1.0, 3.0]}
    ]


def test_an_invalid_instance_is_an_error_unless_it_is_skipped(run_binary, tmp_path):
    (tmp_path / "a.csv").write_text(ROWS + "bob_1,run,5,4\n")
    output = tmp_path / "annotations.json"
    flags = ["import_annotations", f"--output={output}", tmp_path / "a.csv"]
    code, _, err = run_binary(*flags)
    assert code == 1 and not output.exists()
    assert "a.csv: bob_1, line 5, 5 to 4 (run)" in err
    assert err.splitlines()[-1].startswith("error: 1 labelled interval(s) are no valid instances")
    code, _, err = run_binary(*flags, "--skip_unusable")
    assert code == 0 and "line 5" in err
    assert len(read_activitynet(output)["bob_1"].instances) == 1


def test_invalid_arguments_are_errors_of_one_sentence(run_binary, tmp_path):
    output = f"--output={tmp_path}/a.json"
    code, _, err = run_binary("import_annotations", output)
    assert (code, err.splitlines()[-1]) == (
        1, "error: expected one or more files that the labelling tool has exported",
    )  # fmt: skip
    code, _, err = run_binary("import_annotations", output, "--test=a", "--test_share=.5", "a.csv")
    assert code == 1 and "either --test or --test_share" in err
    code, _, err = run_binary("import_annotations", output, tmp_path / "none.csv")
    assert code == 1 and "none.csv: cannot be read" in err
