"""The real annotations with files that are empty, and miniatures with videos of seconds."""

import json
import shutil
from pathlib import Path

import pytest

from scnn_tf.datasets.activitynet import read_activitynet
from scnn_tf.datasets.annotations import AMBIGUOUS, Instance
from scnn_tf.datasets.challenges import (
    ANNOTATIONS,
    REPORT,
    Count,
    folder_with,
    list_videos,
    prepare,
)
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.mexaction2 import mexaction2
from scnn_tf.datasets.thumos14 import thumos14
from scnn_tf.datasets.thumos_text import read_thumos14
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate_segments
from scnn_tf.localization.formats import read_segments
from scnn_tf.segments.prior import read_prior
from scnn_tf.shards.build import build_shards

DIVES = (Instance("CliffDiving", 0.3, 1.6), Instance("Diving", 0.3, 1.6))


@pytest.fixture
def thumos(miniature_thumos14, tmp_path) -> Path:
    return shutil.copytree(miniature_thumos14, tmp_path / "thumos")


@pytest.fixture
def mex(miniature_mexaction2, tmp_path) -> Path:
    return shutil.copytree(miniature_mexaction2, tmp_path / "mex")


def prepared(challenge, folder, **options):
    """The report, and the annotations as they are read back."""
    report = prepare(challenge, folder / "out", **options)
    assert json.loads((folder / "out" / REPORT).read_text())["num_videos"] == report.num_videos
    return report, read_activitynet(folder / "out" / ANNOTATIONS)


def found(report) -> dict[str, int | None]:
    return {count.what: count.found for count in report.counts}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


# --- THUMOS'14


def test_thumos14_of_a_whole_miniature(thumos, tmp_path):
    report, videos = prepared(thumos14(thumos, thumos, thumos / "thumos14.json"), tmp_path)
    report.check()
    assert not (report.missing or report.broken or report.durations_off)
    assert not (report.duplicates or report.unused)
    subsets = {key: video.subset for key, video in videos.items()}
    assert sorted(k for k, subset in subsets.items() if subset == "test") == [
        "video_test_0000131", "video_test_0000270", "video_test_0001292", "video_test_0001496",
    ]  # fmt: skip
    assert set(subsets.values()) == {"train", "test"} and len(videos) == 8 + 3 + 4
    assert sum(video.trimmed for video in videos.values()) == 8
    assert all((thumos / video.file).is_file() for video in videos.values())

    clip = videos["v_Diving_g25_c01"]
    assert clip.file == "UCF101/Diving/v_Diving_g25_c01.avi"
    assert clip.instances == (Instance("Diving", 0.0, pytest.approx(1.6)),)  # 40 frames at 25 Hz
    dive = videos["video_validation_0000161"]
    # Text is read class by class, in alphabetical order: Ambiguous, CliffDiving, Diving.
    assert dive.instances == (
        Instance(AMBIGUOUS, 2.0, 2.3), *DIVES, Instance("Diving", 2.6, 3.2)
    )  # fmt: skip
    assert (dive.duration, dive.fps) == (pytest.approx(4.0), pytest.approx(25.0))


def test_thumos14_counts_are_compared_but_not_required(thumos, tmp_path):
    report, _ = prepared(thumos14(thumos, thumos), tmp_path)
    assert report.counts == [
        Count("classes", 20, 4),
        Count("trimmed clips (UCF101)", 2755, 8),
        Count("validation videos", 200, 3),
        Count("validation instances", 3007, 5),
        Count("validation ambiguous", 89, 1),
        Count("test videos", 213, 4),
        Count("test instances", 3358, 6),
        Count("test ambiguous", 99, 2),
        Count("CliffDiving that is no Diving", 0, 0),
        Count("train intervals that end after their video", 4, 0),
        Count("test intervals that end after their video", 26, 1),
    ]
    lines = {line.split("  ")[0]: line for line in report.table().splitlines()}
    assert lines["test videos"].endswith("213         4 ≠")
    assert lines["CliffDiving that is no Diving"].endswith("0         0")


def test_odd_test_videos_are_kept(thumos, tmp_path):
    report, videos = prepared(thumos14(thumos, thumos, thumos / "thumos14.json"), tmp_path)
    assert list(report.odd) == ["video_test_0000270", "video_test_0001292", "video_test_0001496"]
    # Evaluation needs the interval behind the end, training cuts it off.
    late = videos["video_test_0000270"]
    assert late.actions[1] == Instance("HammerThrow", 187.3, 193.4)
    assert late.clipped(late.duration).actions == (Instance("HammerThrow", 0.4, 1.5),)
    # Not in thumos14.json, nor in any class's text.
    assert not videos["video_test_0001292"].actions
    assert len(videos["video_test_0001292"].ambiguous) == 1
    assert len(read_annotations(tmp_path / "out" / ANNOTATIONS, "test")) == 4


def test_a_cliff_dive_without_a_dive_is_counted(thumos, tmp_path):
    with (thumos / "temporal_annotations_test" / "CliffDiving_test.txt").open("a") as file:
        file.write("video_test_0000131  2.6 3.1\n")  # The dive is 2.6 to 3.2.
    report, _ = prepared(thumos14(thumos, thumos), tmp_path)
    assert found(report)["CliffDiving that is no Diving"] == 1


def test_missing_videos_are_all_in_the_report_and_few_in_the_sentence(thumos, tmp_path):
    shutil.rmtree(thumos / "test")
    shutil.rmtree(thumos / "UCF101" / "Diving")
    challenge = thumos14(thumos, thumos)
    report = prepare(challenge, tmp_path / "out")
    tests = [f"video_test_000{number}.mp4" for number in ("0131", "0270", "1292", "1496")]
    assert report.missing == ["v_Diving_g*_c*.avi", *tests]
    assert json.loads((tmp_path / "out" / REPORT).read_text())["missing"] == report.missing
    assert not (tmp_path / "out" / ANNOTATIONS).exists()
    sentence = r"5: v_Diving_g\*_c\*.avi, video_test_0000131.mp4, video_test_0000270.mp4, … "
    with pytest.raises(InputError, match=sentence):
        report.check()
    report, videos = prepared(challenge, tmp_path, allow_missing=True)
    assert len(videos) == report.num_videos == 6 + 3
    assert {video.subset for video in videos.values()} == {"train"}


def test_a_run_that_finds_videos_missing_keeps_earlier_annotations(thumos, tmp_path):
    prepared(thumos14(thumos, thumos), tmp_path)
    (thumos / "test" / "video_test_0000131.mp4").unlink()
    prepare(thumos14(thumos, thumos), tmp_path / "out")
    assert "video_test_0000131" in read_activitynet(tmp_path / "out" / ANNOTATIONS)


@pytest.mark.parametrize(("tolerance_s", "is_off"), [(0.4, True), (0.6, False)])
def test_durations_are_compared_with_the_reference(thumos, tmp_path, tolerance_s, is_off):
    reference = json.loads((thumos / "thumos14.json").read_text())
    reference["database"]["video_test_0000131"]["duration"] = 4.5  # It has 100 frames at 25 Hz.
    (thumos / "thumos14.json").write_text(json.dumps(reference))
    challenge = thumos14(thumos, thumos, thumos / "thumos14.json")
    report, videos = prepared(challenge, tmp_path, tolerance_s=tolerance_s)
    off = {"video": "video_test_0000131", "expected": 4.5, "found": pytest.approx(4.0)}
    assert report.durations_off == ([off] if is_off else [])
    assert videos["video_test_0000131"].duration == pytest.approx(4.0)
    report.check()


def test_durations_are_compared_with_the_challenges_list(thumos, tmp_path):
    (thumos / "test_durations.txt").write_text("video_test_0000131.mp4\n9.250000\n")
    report, _ = prepared(thumos14(thumos, thumos), tmp_path)
    assert [entry["expected"] for entry in report.durations_off] == [9.25]


def test_without_probing_durations_are_those_of_the_reference(thumos, tmp_path):
    (thumos / "test" / "video_test_0000131.mp4").write_bytes(b"")
    challenge = thumos14(thumos, thumos, thumos / "thumos14.json")
    report, videos = prepared(challenge, tmp_path, probe_videos=False)
    assert not report.broken
    assert videos["video_test_0000131"].duration == 4.0
    assert videos["video_test_0001292"].duration is None
    assert videos["v_Diving_g01_c01"].instances == (Instance("Diving", 0.0, float("inf")),)
    # No duration is known.
    report, _ = prepared(thumos14(thumos, thumos), tmp_path, probe_videos=False)
    assert found(report)["test intervals that end after their video"] is None
    assert report.table().splitlines()[11].endswith("26         ?")


def test_a_broken_video_is_listed_and_kept_in_the_ground_truth(thumos, tmp_path):
    (thumos / "test" / "video_test_0000131.mp4").write_bytes(b"broken")
    challenge = thumos14(thumos, thumos, thumos / "thumos14.json")
    report, videos = prepared(challenge, tmp_path)
    report.check()
    assert [entry["video"] for entry in report.broken] == ["video_test_0000131"]
    assert "video_test_0000131.mp4" in report.broken[0]["cause"]
    assert videos["video_test_0000131"].actions[:2] == DIVES
    assert videos["video_test_0000131"].duration == 4.0


def test_other_files_are_listed_as_unused(thumos, tmp_path):
    touch(
        thumos,
        "UCF101/YoYo/v_YoYo_g25_c03.avi",  # another class
        "UCF101/Diving/holiday.mp4",  # in the folder of a class, but no clip of UCF101
        "UCF101/Diving/v_DivingBoard_g01_c01.avi",  # a longer name
        "UCF101/Diving/v_Diving_g01_c01 (1).avi",
        "validation/video_validation_0000001.mp4",  # not annotated in time, as most are
        "test/._video_test_0000131.mp4",  # macOS leaves such files next to others
        "UCF101/Diving/readme.txt",
    )
    for part in ("test", "UCF101/CliffDiving"):
        shutil.copytree(thumos / part, thumos / "unpacked_again" / part)
    report, videos = prepared(thumos14(thumos, thumos), tmp_path)
    report.check()
    assert report.unused == [
        "UCF101/Diving/holiday.mp4",
        "UCF101/Diving/v_DivingBoard_g01_c01.avi",
        "UCF101/Diving/v_Diving_g01_c01 (1).avi",
        "UCF101/YoYo/v_YoYo_g25_c03.avi",
        "validation/video_validation_0000001.mp4",
    ]
    assert len(report.duplicates) == 4 + 2
    assert all(path.startswith("unpacked_again/") for path in report.duplicates)
    assert videos["video_test_0000131"].file == "test/video_test_0000131.mp4"
    assert videos["v_CliffDiving_g01_c01"].file.startswith("UCF101/")
    assert len(videos) == 8 + 3 + 4


def test_files_are_found_in_any_layout_and_through_links(thumos, tmp_path):
    """The archives' own folders differ from copy to copy; the names in them do not."""
    root = tmp_path / "root"
    (root / "deep" / "er").mkdir(parents=True)
    (thumos / "test").rename(root / "deep" / "er" / "TH14_test_set_mp4")
    (root / "link").symlink_to(thumos, target_is_directory=True)
    for name in ("circle", "other_circle"):
        (root / "deep" / name).symlink_to(root, target_is_directory=True)
    challenge = thumos14(root, thumos)
    assert not prepare(challenge, tmp_path / "out").missing
    files = {key: video.file for key, video in challenge.videos.items()}
    assert files["video_test_0000131"] == "deep/er/TH14_test_set_mp4/video_test_0000131.mp4"
    assert files["v_Diving_g01_c01"] == "link/UCF101/Diving/v_Diving_g01_c01.avi"


def test_shards_are_built_from_what_is_written(thumos, tmp_path):
    _, videos = prepared(thumos14(thumos, thumos), tmp_path)
    manifest = build_shards(
        read_annotations(tmp_path / "out" / ANNOTATIONS),
        video_dir=thumos,
        output_dir=tmp_path / "shards",
        recipe="small",
    )
    assert manifest.class_names == ("CliffDiving", "CricketShot", "Diving", "HammerThrow")
    assert not manifest.failures
    # Two clips of each class, and windows of the validation videos.
    assert min(manifest.label_counts[1:]) >= 2 and sum(manifest.label_counts[1:]) > 8


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (
            lambda t: shutil.rmtree(t / "temporal_annotations_test"),
            "annotations of the test videos below it",
        ),
        (
            lambda t: shutil.copytree(t / "temporal_annotations_test", t / "again"),
            "Ambiguous_test.txt is both in",
        ),
        (lambda t: (t / "thumos14.json").write_text('{"database": {}}'), "none of the 7 annotated"),
        (lambda t: (t / "thumos14.json").unlink(), "thumos14.json: cannot be read"),
    ],
)
def test_unreadable_input_is_an_error_of_one_sentence(thumos, break_it, sentence):
    break_it(thumos)
    with pytest.raises(InputError, match=sentence) as error:
        thumos14(thumos, thumos, thumos / "thumos14.json")
    assert "\n" not in str(error.value)


def test_missing_and_ambiguous_folders_are_errors(thumos, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        thumos14(tmp_path / "nowhere", thumos)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        thumos14(thumos, tmp_path / "nowhere")
    touch(tmp_path / "text", "a.txt")
    with pytest.raises(InputError, match="no video file was found below it"):
        list_videos(tmp_path / "text")
    touch(tmp_path / "other", "holiday.mp4")
    with pytest.raises(
        InputError, match="none of the expected videos was found .7: video_validation_0000161.mp4"
    ):
        prepare(thumos14(tmp_path / "other", thumos), tmp_path / "out", allow_missing=True)


def test_folder_with_finds_one_folder_or_none(thumos):
    assert folder_with("Diving_val.txt", thumos) == thumos / "temporal_annotations_validation"
    assert folder_with("YoYo_val.txt", thumos) is None


@pytest.fixture(scope="module")
def real_thumos14(data_dir, tmp_path_factory):
    """A report and annotations of the real text, with an empty file for every video."""
    data, folder = data_dir / "thumos14", tmp_path_factory.mktemp("real")
    text = data / "official_txt"
    for subset in ("validation", "test"):
        touch(folder / subset, *(f"{key}.mp4" for key in read_thumos14(text, subset)))
    touch(folder, "UCF101/Diving/v_Diving_g01_c01.avi")
    challenge = thumos14(folder, text, data / "thumos14.json")
    return prepared(challenge, folder, probe_videos=False, allow_missing=True)


@pytest.mark.data
def test_the_real_text_has_all_that_is_expected_but_the_clips(real_thumos14):
    report, videos = real_thumos14
    wrong = [count.what for count in report.counts if count.expected != count.found]
    assert wrong == ["trimmed clips (UCF101)"]
    assert len(report.missing) == 19 and "v_Diving_g*_c*.avi" not in report.missing
    assert len(videos) == 1 + 200 + 213
    late = videos["video_test_0000270"]
    assert sum(i.end > late.duration for i in late.actions) == 22 and len(late.actions) == 29
    assert max(i.end for i in late.actions) == 713.7
    odd = videos["video_test_0001496"]
    assert len(odd.actions) == 18 and max(i.end for i in odd.actions) < odd.duration


@pytest.mark.data
def test_table_2_of_the_paper_from_the_annotations_written(data_dir, real_thumos14):
    data = data_dir / "thumos14"
    test = {key: video for key, video in real_thumos14[1].items() if video.subset == "test"}
    segments = read_segments(data / "scnn" / "c3d_localization_raw_segments.csv.gz")
    outcome = evaluate_segments(
        test,
        segments,
        prior=read_prior(data / "window_prior.csv"),
        tiou_thresholds=[0.5],
        text_rounding=True,
    )
    assert outcome.map[0] == pytest.approx(0.189701, abs=1e-6)
    assert (outcome.videos, outcome.ambiguous) == (213, 99)


# --- MEXaction2


def test_mexaction2_of_a_whole_miniature(mex, tmp_path):
    report, videos = prepared(mexaction2(mex, mex), tmp_path)
    report.check()
    assert not (report.broken or report.unused or report.duplicates)
    files = {key: (video.subset, video.file) for key, video in videos.items()}
    assert files == {
        "v_HorseRiding_g01_c01": ("train", "UCF101/HorseRiding/v_HorseRiding_g01_c01.avi"),
        "v_HorseRiding_g25_c01": ("train", "UCF101/HorseRiding/v_HorseRiding_g25_c01.avi"),
        "BullChargeCape_clip_1": ("train", "YouTube/BullChargeCape/clip_1.mp4"),
        "BullChargeCape_clip_2": ("train", "YouTube/BullChargeCape/clip_2.mp4"),
        "HorseRiding_clip_1": ("train", "YouTube/HorseRiding/clip_1.mp4"),
        "HorseRiding_clip_2": ("train", "YouTube/HorseRiding/clip_2.mp4"),
        "AAAAA000001_VIS_01": ("train", "INA/AAAAA000001_VIS_01.mp4"),
        "BBBBB000002_VIS_01": ("validation", "INA/BBBBB000002_VIS_01.mp4"),
        "FMVDD081880-AFP_VIS_01": ("test", "INA/FMVDD081880-AFP_VIS_01.mp4"),
        "FPVDB06041505_VIS_01": ("test", "INA/FPVDB06041505_VIS_01.mp4"),
        "KMCAB960721_VIS_01": ("test", "INA/KMCAB960721_VIS_01.mp4"),
    }
    # In no text, but in the list of test videos: whatever is detected there is false.
    assert videos["KMCAB960721_VIS_01"].instances == ()
    assert videos["HorseRiding_clip_1"].instances == (
        Instance("HorseRiding", 0.0, pytest.approx(1.6)),
    )
    assert found(report) == {
        "classes": 2, "trimmed clips (YouTube)": 4, "trimmed clips (UCF101)": 2, "INA videos": 5,
        "training instances": 2, "validation instances": 2, "test instances": 3,
    }  # fmt: skip
    assert report.table().splitlines()[3].split() == ["trimmed", "clips", "(UCF101)", "?", "2"]


def test_mexaction2_says_what_is_missing(mex, tmp_path):
    (mex / "INA" / "FPVDB06041505_VIS_01.mp4").unlink()
    (mex / "annotations" / "BullChargeCape_train.txt").unlink()
    (mex / "annotations" / "HorseRiding_train.txt").unlink()
    shutil.rmtree(mex / "YouTube" / "BullChargeCape")
    shutil.rmtree(mex / "UCF101")
    report, videos = prepared(mexaction2(mex, mex), tmp_path, allow_missing=True)
    assert report.missing == [
        "BullChargeCape_train.txt", "BullChargeCape/*.mp4", "v_HorseRiding_g*_c*.avi",
        "FPVDB06041505_VIS_01.mp4",
    ]  # fmt: skip
    # A video of which no text knows the subset.
    assert report.unused == ["INA/AAAAA000001_VIS_01.mp4"]
    assert "AAAAA000001_VIS_01" not in videos and len(videos) == 5


def test_mexaction2_ignores_other_files(mex, tmp_path):
    touch(mex, "UCF101/HorseRace/v_HorseRace_g01_c01.avi", "YouTube/clip_3.mp4")
    shutil.copy(mex / "YouTube" / "HorseRiding" / "clip_1.mp4", mex / "YouTube")
    report, videos = prepared(mexaction2(mex, mex), tmp_path)
    assert report.unused == [
        "UCF101/HorseRace/v_HorseRace_g01_c01.avi", "YouTube/clip_3.mp4"
    ]  # fmt: skip
    assert report.duplicates == ["YouTube/clip_1.mp4"]
    assert len(videos) == 11


def test_an_untrimmed_video_in_a_folder_of_a_class_is_no_clip(mex, tmp_path):
    name = "FPVDB06041505_VIS_01.mp4"
    (mex / "INA" / name).rename(mex / "YouTube" / "HorseRiding" / name)
    _, videos = prepared(mexaction2(mex, mex), tmp_path)
    assert not videos["FPVDB06041505_VIS_01"].trimmed and len(videos) == 11


def test_a_mexaction2_video_in_two_subsets_is_an_error(mex):
    (mex / "annotations" / "train_videos.txt").write_text("\nFPVDB06041505_VIS_01\n")
    with pytest.raises(InputError, match="FPVDB06041505_VIS_01 is in the subsets train and test"):
        mexaction2(mex, mex)


def test_mexaction2_without_annotations_is_an_error(mex):
    with pytest.raises(
        InputError, match="expected annotations of MEXaction2 .* BullChargeCape_test.txt"
    ):
        mexaction2(mex, mex / "YouTube")


@pytest.mark.data
def test_the_real_test_text_of_mexaction2(data_dir, mex, tmp_path):
    videos = mexaction2(mex, data_dir / "mexaction2").videos
    challenge = mexaction2(mex, data_dir / "mexaction2")
    counts = {count.what: count.found for count in challenge.counts}
    assert (counts["test instances"], counts["training instances"]) == (325, 0)
    assert sum(video.subset == "test" for video in videos.values()) == 26
    assert "video_test_0000278" not in videos
    # Of the 26, the miniature has three.
    assert counts["INA videos"] == 3
    assert challenge.missing == ["BullChargeCape_train.txt", "BullChargeCape_val.txt"]
    report, written = prepared(challenge, tmp_path, allow_missing=True)
    assert len(report.missing) == 2 + 23 and len(written) == 6 + 3
