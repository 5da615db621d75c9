"""What is written is read again by this project's own readers."""

import json

import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.import_labels import import_labels
from scnn_tf.datasets.label_tools import read_labels
from scnn_tf.report.labels.write import write_labels


def spans(intervals) -> dict:
    """Name of the video → (class, start, end) of each interval, sorted."""
    return {
        key.split("/")[-1]: sorted((i.label, i.start, i.end) for i in rows)
        for key, rows in intervals.items()
    }


def assert_equal(read, expected, steps):
    """Checks classes, and times to within half a step of the form in each video."""
    read, expected = spans(read), spans(expected)
    assert read.keys() == expected.keys()
    for key, rows in expected.items():
        assert [row[0] for row in read[key]] == [row[0] for row in rows]
        for row, real in zip(read[key], rows, strict=True):
            assert row[1:] == pytest.approx(real[1:], abs=steps[key] + 1e-9)


def imported(paths, video_dir, **options):
    """Video → instances that the import finds in the files; nothing in them is unusable."""
    result = import_labels(paths, video_dir, **options)
    assert not result.unusable and not result.not_found
    return {key: video.instances for key, video in result.videos.items()}


@pytest.fixture
def found(drafts):
    return {draft.video_id: draft.found for draft in drafts}


MILLISECONDS = {"ann_1": 0.0005, "bob": 0.0005}
FRAMES = {"ann_1": 0.5 / 25, "bob": 0.5 / 10}


def test_label_studio(drafts, found, video_dir, tmp_path):
    (path,) = write_labels(tmp_path / "tasks.json", "label_studio", drafts)
    # Predictions are no labels, until somebody accepts them.
    truth = {"cam1/ann_1": drafts[0].truth}
    assert_equal(imported([path], video_dir), truth, FRAMES)
    tasks = json.loads(path.read_text())
    for task in tasks:
        task["annotations"] = [{"result": task.pop("predictions")[0]["result"]}]
    path.write_text(json.dumps(tasks))
    assert_equal(imported([path], video_dir), found, FRAMES)


def test_via(drafts, found, video_dir, tmp_path):
    (path,) = write_labels(tmp_path / "via.json", "via", drafts)
    assert_equal(imported([path], video_dir, attribute="detections"), found, MILLISECONDS)
    truth = {"cam1/ann_1": drafts[0].truth}
    (path,) = write_labels(tmp_path / "via.json", "via", drafts[:1])
    assert_equal(imported([path], video_dir, attribute="ground truth"), truth, MILLISECONDS)


def test_cvat(drafts, found, video_dir, tmp_path):
    paths = write_labels(tmp_path, "cvat", drafts)
    assert_equal(imported(paths, video_dir), found, FRAMES)


def test_ground_truth_alone_is_no_label(drafts, video_dir, tmp_path):
    empty = drafts[0]._replace(found=())
    paths = write_labels(tmp_path, "cvat", [empty, drafts[1]])
    assert list(imported(paths, video_dir)) == ["bob"]


def test_activitynet(drafts, found, tmp_path):
    (path,) = write_labels(tmp_path / "drafts.json", "activitynet", drafts)
    videos = read_annotations(path, "draft")
    assert_equal(
        {key: v.instances for key, v in videos.items()}, found, dict.fromkeys(MILLISECONDS, 0)
    )
    assert [v.file for v in videos.values()] == ["cam1/ann_1.mp4", "bob.mp4"]


def test_elan(drafts, found, video_dir, tmp_path):
    paths = write_labels(tmp_path, "elan", drafts)
    assert_equal(imported(paths, video_dir, attribute="detections"), found, MILLISECONDS)
    truth = {"ann_1": drafts[0].truth}
    assert_equal(imported(paths[:1], video_dir, attribute="ground truth"), truth, MILLISECONDS)


def test_boris(drafts, found, video_dir, tmp_path):
    (path,) = write_labels(tmp_path / "drafts.boris", "boris", drafts)
    assert_equal(imported([path], video_dir), found, MILLISECONDS)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles(form, drafts, found, video_dir, tmp_path):
    paths = write_labels(tmp_path, form, drafts)
    assert_equal(imported(paths, video_dir), found, MILLISECONDS)


@pytest.mark.parametrize("form", ["cvat", "boris", "srt", "vtt"])
def test_ground_truth_is_marked_in_a_single_layer(form, drafts, tmp_path):
    (path,) = write_labels(tmp_path / "x", form, drafts[:1])
    labels = [span.label for video in read_labels(path) for span in video.spans]
    assert sorted(labels) == sorted(interval.label for interval in drafts[0].in_one_layer())


def test_epic(drafts, found, video_dir, tmp_path):
    (path,) = write_labels(tmp_path / "drafts.csv", "epic", drafts)
    assert_equal(imported([path], video_dir, attribute="verb"), found, MILLISECONDS)
