import json

from scnn_tf.datasets.activitynet import read_activitynet
from scnn_tf.datasets.annotations import Instance

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


def test_an_invalid_instance_is_left_out_unless_strict(run_binary, tmp_path):
    (tmp_path / "a.csv").write_text(ROWS + "bob_1,run,5,4\n")
    output = tmp_path / "annotations.json"
    flags = ["import_annotations", f"--output={output}", tmp_path / "a.csv"]
    code, _, err = run_binary(*flags, "--strict")
    assert code == 1 and not output.exists()
    assert "not used: " in err and "a.csv: bob_1, line 5, 5 to 4 (run)" in err
    assert err.splitlines()[-1].startswith("error: 1 label(s) cannot be used, as listed; correct")
    code, out, err = run_binary(*flags)
    assert code == 0 and "line 5" in err
    assert "not used: 1 label(s), as listed" in out.splitlines()
    assert len(read_activitynet(output)["bob_1"].instances) == 1


def test_videos_that_are_not_labelled_or_not_found_are_counted(run_binary, tmp_path):
    region = {"value": {"start": 1, "end": 2, "labels": ["run"]}}
    tasks = [
        {"data": {"video": "v.mp4"}, "annotations": [{"result": [region]}]},
        *({"data": {"video": f"{n}.mp4"}, "annotations": []} for n in range(7)),
    ]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    (tmp_path / "videos").mkdir()
    flags = [f"--output={tmp_path}/o.json", f"--video_dir={tmp_path}/videos"]
    code, out, err = run_binary("import_annotations", *flags, tmp_path / "a.json")
    assert code == 0
    assert out.splitlines() == [
        "train: 1 videos, 1 instances of 1 classes",
        "not labelled, left out: 7 videos (0.mp4, 1.mp4, 2.mp4, 3.mp4, 4.mp4, …)",
        "not found or unreadable, written without a duration: 1 videos",
        f"1 videos → {tmp_path}/o.json",
    ]
    assert err == (f"written without a duration: {tmp_path}/videos: no video file named v.mp4\n")
    assert list(read_activitynet(tmp_path / "o.json")) == ["v"]


def test_invalid_arguments_are_errors_of_one_sentence(run_binary, tmp_path):
    output = f"--output={tmp_path}/a.json"
    code, _, err = run_binary("import_annotations", output)
    assert (code, err.splitlines()[-1]) == (
        1, "error: expected one or more files of labels",
    )  # fmt: skip
    code, _, err = run_binary("import_annotations", output, "--test=a", "--test_share=.5", "a.csv")
    assert code == 1 and "either --test or --test_share" in err
    code, _, err = run_binary("import_annotations", output, tmp_path / "none.csv")
    assert code == 1 and "none.csv: cannot be read" in err


def test_points_become_instances_of_a_given_length(run_binary, tmp_path):
    events = [{"gameTime": f"1 - 00:{second}", "label": "Goal"} for second in ("00", "10", "20")]
    (tmp_path / "Labels-v2.json").write_text(json.dumps({"annotations": events}))
    (tmp_path / "a.csv").write_text(ROWS)
    flags = [f"--output={tmp_path}/o.json", tmp_path / "Labels-v2.json", tmp_path / "a.csv"]
    code, out, err = run_binary("import_annotations", *flags)
    assert code == 0, err
    assert err == (
        f"not used: {tmp_path}/Labels-v2.json: 1_224p: 3 label(s) are points, without a length; "
        "give the length that their instances get (--point_width)\n"
    )
    assert "1_224p" not in read_activitynet(tmp_path / "o.json")
    code, out, err = run_binary("import_annotations", "--point_width=3", *flags)
    assert (code, err) == (0, "")
    instances = read_activitynet(tmp_path / "o.json")["1_224p"].instances
    assert [(i.start, i.end) for i in instances] == [(0, 1.5), (8.5, 11.5), (18.5, 21.5)]


def test_data_sets_are_joined_and_their_classes_named(run_binary, tmp_path):
    videos = {
        "video_test_0000950": {
            "subset": "testing", "duration": 1315.39,
            "actions": [[25, 1032.96, 1036.48], [7, 1, 2]],
        },
        "video_validation_0000051": {
            "subset": "training", "duration": 169.79, "actions": [[9, 67.5, 75.9]],
        },
    }  # fmt: skip
    (tmp_path / "multithumos.json").write_text(json.dumps(videos))
    (tmp_path / "classes.txt").write_text("9 BasketballDunk\n25 Run\n")
    output = tmp_path / "annotations.json"
    flags = [f"--output={output}", f"--class_list={tmp_path / 'classes.txt'}"]
    code, out, err = run_binary("import_annotations", *flags, tmp_path / "multithumos.json")
    assert code == 0, err
    assert err == (
        f"not used: {tmp_path}/multithumos.json: video_test_0000950, 1.0 to 2.0 s (7): its class "
        "is not in the list of classes\n"
    )
    read = read_activitynet(output)
    assert read["video_test_0000950"].instances == (Instance("Run", 1032.96, 1036.48),)
    assert [(v.subset, v.duration) for v in read.values()] == [("test", 1315.39), ("train", 169.79)]

    header = "narration_id,video_id,start_timestamp,stop_timestamp,verb,noun\n"
    for subset, kitchen in ("train", "P01_01"), ("validation", "P02_01"):
        row = f"{kitchen}_0,{kitchen},00:01:02.5,00:01:03.25,take,plate\n"
        (tmp_path / f"EPIC_100_{subset}.csv").write_text(header + row)
    (tmp_path / "EPIC_100_video_info.csv").write_text(
        "video_id,duration,fps,resolution\nP01_01,99.5,50,1x1\nP02_01,80,50,1x1\nP09_09,7,50,1x1\n"
    )
    files = [tmp_path / f"EPIC_100_{name}.csv" for name in ("train", "validation", "video_info")]
    code, out, err = run_binary("import_annotations", flags[0], "--attribute=verb,noun", *files)
    assert code == 0, err
    assert out.splitlines() == [
        "train: 1 videos, 1 instances of 1 classes",
        "validation: 1 videos, 1 instances of 1 classes",
        "not labelled, left out: 1 videos (P09_09)",
        f"2 videos → {output}",
    ]
    read = read_activitynet(output)
    assert read["P01_01"].instances == (Instance("take plate", 62.5, 63.25),)
    assert [video.duration for video in read.values()] == [99.5, 80.0]
