import pytest

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.thumos_text import read_mexaction2, read_thumos14
from scnn_tf.errors import InputError


@pytest.fixture
def thumos(tmp_path):
    folder = tmp_path / "temporal_annotations_test"
    folder.mkdir()
    (folder / "Run_test.txt").write_text("v2 5.0 6.0\nv1  1.0 2.5\nv2 0.5 3.0\n\n")
    (folder / "Ambiguous_test.txt").write_text("v2 7.0 8.0\nv3 1.0 2.0\n")
    (tmp_path / "test_durations.txt").write_text("v1.mp4\n12.5\n")
    return tmp_path


def test_thumos_text_keeps_file_order_within_a_class(thumos):
    videos = read_thumos14(thumos, "test")
    assert list(videos) == ["v1", "v2", "v3"]
    assert videos["v2"].actions == (Instance("Run", 5.0, 6.0), Instance("Run", 0.5, 3.0))
    assert videos["v2"].ambiguous == (Instance(AMBIGUOUS, 7.0, 8.0),)
    assert (videos["v1"].duration, videos["v2"].duration) == (12.5, None)
    assert read_thumos14(thumos / "temporal_annotations_test", "Test") == videos
    assert read_annotations(thumos) == videos


def test_thumos_text_of_a_training_set_is_read_as_subset_train(thumos):
    (thumos / "temporal_annotations_test" / "Run_train.txt").write_text("v4 1.0 2.0\n")
    assert list(read_thumos14(thumos / "temporal_annotations_test", "training")) == ["v4"]
    videos = read_annotations(thumos / "temporal_annotations_test")
    assert {key: video.subset for key, video in videos.items()} == {
        "v1": "test", "v2": "test", "v3": "test", "v4": "train",
    }  # fmt: skip


def test_mexaction2_leaves_out_videos_with_ambiguous_intervals_only(thumos):
    assert list(read_mexaction2(thumos, "test")) == ["v1", "v2"]
    folder = thumos / "temporal_annotations_test"
    (folder / "Run_test.txt").rename(folder / "BullChargeCape_test.txt")
    assert list(read_annotations(thumos, "test")) == ["v1", "v2"]


@pytest.mark.parametrize("line", ["v1 2.0 1.0", "v1 nan 2.0", "v1 2.0 2.0"])
def test_an_instance_without_a_length_in_thumos_text_is_kept_or_refused(thumos, line, caplog):
    path = thumos / "temporal_annotations_test" / "Run_test.txt"
    path.write_text(f"v1 1.0 2.0\n{line}\n")
    assert len(read_annotations(thumos)["v1"].instances) == 2
    assert "1 instance(s) have no length" in caplog.text and "Run_test.txt, line 2" in caplog.text
    with pytest.raises(InputError, match=r"Run_test\.txt, line 2, video v1 \(Run\): must start"):
        read_annotations(thumos, strict=True)
    # Of another subset, nothing is read.
    (path.parent / "Run_val.txt").write_text("v9 1.0 2.0\n")
    assert list(read_annotations(path.parent, "val", strict=True)) == ["v9"]


@pytest.mark.parametrize("line", ["v1 1.0", "v1 one 2.0", "v1 1_0 2.0"])
def test_an_invalid_thumos_line_costs_that_line(thumos, line, caplog):
    path = thumos / "temporal_annotations_test" / "Run_test.txt"
    path.write_text(f"v1 1.0 2.0\n{line}\n")
    assert read_annotations(thumos)["v1"].instances == (Instance("Run", 1.0, 2.0),)
    reason = f"Run_test.txt, line 2: expected `video start end` (seconds). Received: {line!r}"
    assert f"left out 1 row(s) that cannot be read: {reason}" in caplog.text
    with pytest.raises(InputError, match=r"Run_test\.txt, line 2"):
        read_annotations(thumos, strict=True)


def test_the_error_about_a_missing_thumos_subset_lists_the_present_ones(thumos):
    with pytest.raises(InputError, match="'validation'. Found: test"):
        read_thumos14(thumos, "val")


def test_an_invalid_list_of_durations_is_an_error_that_names_it(thumos):
    (thumos / "test_durations.txt").write_text("v1.mp4\n")
    with pytest.raises(InputError, match=r"test_durations\.txt"):
        read_thumos14(thumos, "test")
