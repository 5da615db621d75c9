import json
import shutil

import pytest

from scnn_tf.shards.files import read_manifest


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


def test_the_exit_code_says_whether_there_are_problems(check, tmp_path):
    good = [[n, n + 1] for n in range(10)]
    code, out, err = check(good)
    assert (code, out.splitlines()[-1]) == (0, "no problem(s)"), err
    code, out, _ = check(good[:5], f"--output_json={tmp_path}/new/check.json")
    assert (code, out.splitlines()[-1]) == (1, "1 problem(s)")
    assert json.loads((tmp_path / "new" / "check.json").read_text())["problems"] == {
        "rare": ["run: 5 instance(s) in train, fewer than 10"]
    }
    assert check(good[:5], "--min_train=5")[0] == 0


def test_accepted_problems_are_printed_and_do_not_count(check):
    code, out, _ = check([[0, 1]], "--accept=rare")
    assert (code, out.splitlines()[-1]) == (0, "no problem(s), 2 accepted")
    assert "run: 1 instance(s) in test, fewer than 3" in out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--accept=late", "--accept: expected kinds among times, missing"),
        ("--window_frames=16,two", "--window_frames: expected numbers"),
        ("--window_frames=16,3", "--window_frames: expected lengths of 4 frames or more"),
        ("--window_frames=", "--window_frames: expected lengths of 4 frames or more"),
        ("--source_pattern=(", "expected a regular expression"),
    ],
)
def test_wrong_flag_values_are_reported_in_one_sentence(check, flag, message):
    code, _, err = check([[0, 1]], flag)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: ") and message in err.splitlines()[-1]


@pytest.mark.parametrize("name", ["labels.csv", "labels.TSV", "export.xml"])
def test_labels_are_imported_first(run_binary, tmp_path, name):
    (tmp_path / name).write_text("video,label,start,end\nv,run,1,2\n")
    code, _, err = run_binary("check_dataset", f"--annotations={tmp_path / name}")
    assert (code, err) == (
        1, f"error: {tmp_path / name}: expected annotations (.json, or a folder). Received: labels "
        "of a spreadsheet or a labelling tool; run import_annotations first\n",
    )  # fmt: skip
    (tmp_path / "export.json").write_text("[]")
    code, _, err = run_binary("check_dataset", f"--annotations={tmp_path}/export.json")
    assert code == 1 and err.endswith("run import_annotations first\n")


def test_flags_that_need_annotations(run_binary, tmp_path):
    code, _, err = run_binary("check_dataset")
    assert (code, err) == (1, "error: expected --annotations or --data_dir. Received: neither\n")
    code, _, err = run_binary("check_dataset", f"--data_dir={tmp_path}", f"--video_dir={tmp_path}")
    assert (code, err) == (1, "error: --video_dir requires --annotations\n")


def test_sound_shards_are_counted(run_binary, tiny_dataset):
    code, out, _ = run_binary("check_dataset", f"--data_dir={tiny_dataset / 'shards'}")
    total = sum(read_manifest(tiny_dataset / "shards").label_counts)
    assert (code, out) == (0, f"ok: 2 shards, {total} segments\n")


def test_annotations_and_shards_in_one_run(check, tiny_dataset):
    shards = f"--data_dir={tiny_dataset / 'shards'}"
    code, out, _ = check([[n, n + 1] for n in range(10)], shards)
    assert code == 0 and "no problem(s)\nok: 2 shards" in out
    code, out, _ = check([[0, 1]], shards)
    assert code == 1 and "\nok: 2 shards" in out


def test_a_damaged_shard_is_a_problem(run_binary, tiny_dataset, tmp_path):
    data = tmp_path / "shards"
    shutil.copytree(tiny_dataset / "shards", data)
    shard = data / read_manifest(data).shards[1]["file"]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    code, out, _ = run_binary("check_dataset", f"--data_dir={data}")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"{shard}: the shard was changed or damaged")
    assert lines[1].startswith(f"{shard}: record ") and "all after it cannot be read" in lines[1]


def test_a_folder_without_shards_is_an_error(run_binary, tmp_path):
    code, _, err = run_binary("check_dataset", f"--data_dir={tmp_path}")
    assert code == 1
    assert err.splitlines()[-1].startswith(f"error: {tmp_path}: ")


def test_videos_to_label_next_are_suggested(run_binary, tiny_dataset, tmp_path, caplog):
    annotations = json.loads((tiny_dataset / "annotations.json").read_text())
    del annotations["database"]["cat"]
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    rows = [
        {"label": "left", "score": 0.6, "segment": [0, 1]},
        {"label": "right", "score": 0.55, "segment": [0, 1]},
        {"label": "left", "score": 0.99, "segment": [2, 3]},
    ]
    found = tmp_path / "found.json"

    def suggest(results, *flags):
        found.write_text(json.dumps({"results": results}))
        return run_binary(
            "check_dataset", f"--annotations={tmp_path / 'annotations.json'}",
            f"--suggest={found}", *flags,
        )  # fmt: skip

    videos = f"--video_dir={tiny_dataset / 'videos'}"
    code, out, err = suggest({"cat": rows, "ann": rows, "lost": rows}, videos)
    assert code in (0, 1), err
    lines = out[out.index("to label next") :].splitlines()
    assert lines[0] == "to label next, of 1 without labels (worth a minute of video):"
    assert lines[1].startswith("  cat (3 s): ")
    assert lines[2] == "    0.0 to 1.0 s: left, or right? scores 0.60 and 0.55"
    assert len(lines) == 3
    assert "not suggested:" in caplog.text and "no video file named lost" in caplog.text

    code, _, err = suggest({"ann": rows}, videos)
    assert code == 1 and "lacks. Found: none; localize videos without labels" in err
    code, _, err = suggest({"cat": rows})
    assert code == 1 and "--suggest requires --video_dir" in err
