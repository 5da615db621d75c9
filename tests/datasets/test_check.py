import json
import math
import shutil

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.check import check
from scnn_tf.datasets.formats import write_annotations
from scnn_tf.errors import InputError
from scnn_tf.io.video import write_video

FINE = (("run", 0, 1), ("sit", 2, 4))


@pytest.fixture
def look(tmp_path):
    """Writes annotations, of videos of 20 s by default, and checks them."""

    def run(videos, video_dir=None, **options):
        path = tmp_path / "annotations.json"
        entries = {}
        for key, (subset, instances, *rest) in videos.items():
            instances = tuple(Instance(*i) for i in instances)
            entries[key] = VideoAnnotation(key, subset, *(rest or [20.0]), None, instances)
        write_annotations(path, entries)
        return check(path, video_dir, **({"min_train": 1, "min_test": 1} | options))

    return run


def test_a_good_dataset_has_no_problems_and_no_notes(look):
    report = look({"ann_1": ("train", FINE), "bob_1": ("test", FINE)})
    assert report.problems == {}
    assert report.notes == {}
    assert report.subsets == {
        "test": {"videos": 1, "instances": 2, "seconds": 20.0},
        "train": {"videos": 1, "instances": 2, "seconds": 20.0},
    }


def test_instances_with_invalid_times_are_problems(look):
    report = look({"v": ("train", [*FINE, ("run", 5, 5), ("run", 7, 6)])})
    assert report.problems.pop("times") == ["v: run 5 – 5 s", "v: run 7 – 6 s"]
    assert report.problems == {}


def test_instances_that_end_after_their_video_are_problems(look):
    instances = [*FINE, ("run", 18, 20.4), ("sit", 19, 20.6), ("sit", 30, 32)]
    report = look({"v": ("train", instances), "w": ("train", [("run", 30, 32)], None)})
    assert report.problems["outside"] == [
        "v: sit 19 – 20.6 s, the video lasts 20.00 s",
        "v: sit 30 – 32 s, the video lasts 20.00 s",
    ]
    # What begins after the end is no instance to train on: it is in no histogram.
    assert sum(b.instances for b in report.histogram) == 5
    assert list(report.problems) == ["outside"]
    assert "outside" not in look({"v": ("train", instances)}, tolerance_s=20).problems


def test_the_typing_error_of_multithumos_is_found(tmp_path):
    # [25, 398.44, 4000.36] is in the published file.
    actions = [[24, 0.04, 11.96], [25, 398.44, 4000.36], [25, 1032.96, 1036.48]]
    entry = {"subset": "testing", "duration": 1315.39, "actions": actions}
    (tmp_path / "multithumos.json").write_text(json.dumps({"video_test_0000950": entry}))
    report = check(tmp_path / "multithumos.json")
    assert report.problems["outside"] == [
        "video_test_0000950: 25 398.44 – 4000.36 s, the video lasts 1315.39 s"
    ]


def test_duplicates_and_overlaps_of_a_class_are_problems(look):
    report = look({
        "v": ("train", [
            ("run", 0, 4), ("run", 0, 4), ("run", 1, 2), ("run", 3, 5), ("sit", 3, 5),
            ("run", 5, 6), ("Ambiguous", 3, 6),
        ]),
    })  # fmt: skip
    assert report.problems == {
        "duplicate": ["v: run 0 – 4 s occurs 2 times"],
        # [1, 2) ends before [0, 4), which therefore still overlaps [3, 5).
        "overlap": ["v: run 0 – 4 s and 1 – 2 s", "v: run 0 – 4 s and 3 – 5 s"],
    }


def test_instances_that_no_window_reaches_are_problems(look):
    # 25 Hz. 7 frames in windows of 16: 7/16 = .44. 11 frames: at most 11/16 = .6875. 20 s are 500
    # frames in 512, but the video has 500: the window of 256 has 256/500 = .512.
    instances = [("sit", 0, 7 / 25), ("run", 4, 4.44), ("hop", 0, 20), ("run", 8, 10.56)]
    report = look({"v": ("train", instances)})
    assert report.problems == {"unreachable": ["v: sit 0 – 0.28 s (0.28 s): 0.44"]}
    assert report.notes == {
        "hard": ["v: run 4 – 4.44 s (0.44 s): 0.69", "v: hop 0 – 20 s (20.00 s): 0.51"]
    }
    rows = {b.window: (b.instances, b.under_7, b.under_5) for b in report.histogram[1:-1]}
    # 64 frames from 200 on, windows of 64 from 192 and 208: 56/72 = .78.
    assert rows == {
        16: (0, 0, 0), 32: (0, 0, 0), 64: (1, 0, 0), 128: (0, 0, 0), 256: (0, 0, 0),
        512: (1, 1, 0),
    }  # fmt: skip
    short, long = report.histogram[0], report.histogram[-1]
    assert (short.instances, short.under_7, short.under_5) == (2, 2, 1)
    assert short.below == pytest.approx(16 / math.sqrt(2) / 25)
    assert (long.instances, long.above) == (0, pytest.approx(512 * math.sqrt(2) / 25))


def test_windows_and_frame_rate_can_be_chosen(look):
    videos = {"v": ("train", [("run", 0, 20)])}
    assert "unreachable" in look(videos, window_frames=(16,)).problems
    assert look(videos, window_frames=(160,), fps=8).problems == {}


def test_rare_classes_and_classes_of_one_subset_are_problems(look):
    videos = {
        "ann_1": ("Training", [("run", 0, 1), ("run", 2, 3), ("sit", 4, 5)]),
        "bob_1": ("test", [("run", 0, 1), ("hop", 4, 5)]),
    }
    report = look(videos, min_train=2, min_test=1)
    assert report.problems == {
        "one_subset": ["hop: no instance in train", "sit: no instance in test"],
        "rare": ["sit: 1 instance(s) in train, fewer than 2"],
    }
    assert "run: 1 instance(s) in test, fewer than 2" in look(videos, min_test=2).problems["rare"]


def test_sources_in_both_subsets_are_problems(look):
    videos = {
        "ann_1": ("train", FINE), "ann_2": ("test", FINE), "bob_1": ("test", FINE),
    }  # fmt: skip
    report = look(videos)
    assert report.problems == {"source": ["ann: ann_2 in test, ann_1 in train"]}
    assert report.notes["sources"] == ["ann: 1 in test, 1 in train", "bob: 1 in test"]
    # By another pattern they are the days 1 and 2.
    assert look(videos, source_pattern=r"_(\d)$").problems == {
        "source": ["1: bob_1 in test, ann_1 in train"]
    }
    with pytest.raises(InputError, match="source_pattern"):
        look(videos, source_pattern="(")


@pytest.mark.parametrize("form", ["{}", "v_{}", "{}_000010_000020"])
def test_ids_of_youtube_name_no_people(look, form):
    # By chance, two begin with the same letters and an underscore.
    ids = ["aB_cdefgH12", "aB_Hgfedc34", "-x_YzabcdEf", "Zyxwvut5432", "QOlSCBRmfWY", "4Lu8ECLHvK4"]
    subsets = ("train", "test")
    videos = {form.format(key): (subsets[n % 2], FINE) for n, key in enumerate(ids)}
    report = look(videos)
    assert (report.problems, report.notes) == ({}, {})
    # A pattern that the user gives is followed.
    assert "source" in look(videos, source_pattern="^(?:v_)?([^_]+)_").problems


def test_few_ids_with_an_underscore_name_no_people(look):
    names = ["day_1", "day_2", "hall", "kitchen", "garden"]
    report = look({name: (("train", "test")[n % 2], FINE) for n, name in enumerate(names)})
    assert report.problems == {}


def test_a_video_without_instances_is_only_noted(look):
    report = look({"v": ("train", FINE), "w": ("train", [])})
    assert (report.problems, report.notes) == ({}, {"empty": ["w"]})


def test_missing_unreadable_and_identical_files_are_problems(look, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    frames = np.zeros((50, 32, 32, 3), np.uint8)
    write_video(folder / "ann_1.mp4", frames, 25)
    write_video(folder / "cat_1.mp4", frames[:25], 25)
    shutil.copy(folder / "ann_1.mp4", folder / "bob_1.mp4")
    (folder / "dan_1.mp4").write_bytes(b"no video")
    (folder / "spare.avi").write_bytes(b"")
    (folder / "more").mkdir()
    (folder / "more" / "spare.MTS").write_bytes(b"")
    (folder / "._ann_1.mp4").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"")
    run = [("run", 0, 1)]
    report = look(
        {
            "ann_1": ("train", run, 2.0), "bob_1": ("test", run, None),
            "cat_1": ("train", [("run", 0.5, 1.8)], 2.0), "dan_1": ("train", run),
            "eve_1": ("train", run),
        },
        folder,
    )  # fmt: skip
    (missing,) = report.problems.pop("missing")
    (unreadable,) = report.problems.pop("unreadable")
    assert "eve_1.mp4" in missing
    assert "dan_1.mp4 cannot be read as a video" in unreadable
    assert report.problems == {
        "duration": ["cat_1: annotated 2.00 s, the file has 1.00 s"],
        # The file says where a video ends, not the annotation.
        "outside": ["cat_1: run 0.5 – 1.8 s, the video lasts 1.00 s"],
        "identical": ["ann_1, bob_1, in test and train"],
    }
    assert report.notes["unused"] == ["more/spare.MTS", "spare.avi"]
    assert report.subsets["test"]["seconds"] == 2.0


def test_the_table_lists_some_findings_and_json_all(look):
    instances = [("run", n, n + 0.1) for n in range(8)]
    report = look({"v": ("train", instances)})
    lines = report.table().splitlines()
    at = lines.index("PROBLEM unreachable: 8 instances of which no window reaches tIoU .5")
    assert lines[at + 1] == "  v: run 0 – 0.1 s (0.10 s): 0.16"
    assert lines[at + 6] == "  … and 3 more"
    assert any(line.startswith("< 0.45") and line.endswith("8      8      8  " + "█" * 30)
               for line in lines)  # fmt: skip
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert len(content["problems"]["unreachable"]) == 8
    assert content["histogram"][0]["under_5"] == 8


def test_the_windows_that_instances_need(look):
    # Of 25, 100 and 5 frames: 32 and 128 fit the first two best, and no window reaches the third.
    report = look({"v": ("train", [("run", 0, 1), ("run", 4, 8), ("run", 10, 10.2)])})
    assert report.needed == (32, 128)
    assert "windows that the instances need: 32, 128" in report.table().splitlines()
    assert report.to_json()["needed_window_frames"] == [32, 128]


@pytest.mark.data
def test_thumos14_has_its_known_problems(data_dir):
    report = check(data_dir / "thumos14" / "thumos14.json", tolerance_s=0)
    # 4 intervals of the validation set and 26 of the test set end after their video.
    assert len(report.problems["outside"]) == 30
    assert report.subsets["test"]["instances"] == 3358
    assert report.subsets["validation"]["instances"] == 3007
    assert set(report.problems) == {"outside", "overlap", "unreachable"}
