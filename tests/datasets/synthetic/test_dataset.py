import pytest

from scnn_tf.datasets.activitynet import read_activitynet
from scnn_tf.datasets.synthetic.actions import ACTIONS
from scnn_tf.datasets.synthetic.dataset import make_dataset
from scnn_tf.errors import InputError
from scnn_tf.io import video


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    return folder, make_dataset(folder, 1, 1, 2, seed=5)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rich")
    return folder, make_dataset(folder, 1, 0, 1, seed=5, motions="rich")


def test_the_dataset_on_disk(dataset):
    folder, made = dataset
    videos = read_activitynet(folder / "annotations.json")
    assert list(videos) == list(made)
    assert sum(not v.trimmed for v in videos.values()) == 2
    assert {v.subset for v in videos.values() if v.trimmed} == {"train"}
    assert videos["test_000"].subset == "test"
    for key, v in videos.items():
        info = video.probe(folder / "videos" / v.file)
        assert (info.codec, info.width, info.height) == ("h264", 128, 96)
        assert info.duration == pytest.approx(v.duration, abs=0.01), key
        assert info.average_rate == pytest.approx(v.fps)
        if v.trimmed:
            (instance,) = v.instances
            assert key.startswith(instance.label)
            assert (instance.start, instance.end) == (0, v.duration)
        else:
            assert 20 - 0.1 <= v.duration <= 30 + 0.1
    assert len({v.fps for v in videos.values()}) == 2


def test_the_seed_decides_and_the_number_of_videos_does_not(dataset, tmp_path):
    folder, made = dataset
    again = make_dataset(tmp_path, 0, 0, 1, seed=5)
    assert again["up_000"] == made["up_000"]
    same = "videos/up_000.mp4"
    assert (tmp_path / same).read_bytes() == (folder / same).read_bytes()
    other = make_dataset(tmp_path, 0, 0, 1, seed=6)
    assert other["up_000"] != made["up_000"]


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 1, 1)])
def test_invalid_numbers_of_videos_are_errors(tmp_path, counts):
    with pytest.raises(InputError, match="0 or more, and not all 0"):
        make_dataset(tmp_path, *counts)


def test_a_rich_dataset_on_disk(rich):
    folder, made = rich
    videos = read_activitynet(folder / "annotations.json")
    assert list(videos) == list(made)
    assert {v.instances[0].label for v in videos.values() if v.trimmed} == set(ACTIONS)
    for v in videos.values():
        info = video.probe(folder / "videos" / v.file)
        assert (info.width, info.height, info.average_rate) == (80, 64, 25)
        assert info.duration == pytest.approx(v.duration, abs=0.01)


def test_the_seed_decides_on_a_rich_video(rich, tmp_path):
    folder, made = rich
    again = make_dataset(tmp_path, 1, 0, 0, seed=5, motions="rich")
    assert again["train_000"] == made["train_000"]
    same = "videos/train_000.mp4"
    assert (tmp_path / same).read_bytes() == (folder / same).read_bytes()


def test_unknown_motions_are_an_error(tmp_path):
    with pytest.raises(InputError, match="one of shapes, rich. Received: poor"):
        make_dataset(tmp_path, 1, 1, 1, motions="poor")
