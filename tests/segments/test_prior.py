import numpy as np
import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.segments.prior import read_prior, window_prior, write_prior

WINDOWS = (16, 32, 64, 128, 256, 512)


def test_counts_and_weights_by_hand():
    # At 1 frame a second windows of 5 and 9 frames are 4 and 8 s long, first frame to last: an
    # instance counts for the first from 2 to 8 s, for the second from 4 to 16 s.
    prior = window_prior(
        ["run", "run", "run", "run", "hop"],
        [2, 4, 8.5, 17, 1.9],
        ["hop", "run"],
        (5, 9),
        frame_rate=1,
    )
    # run: 2 s → 5; 4 s → both; 8.5 s → 9; 17 s → neither. hop: 1.9 s → neither.
    np.testing.assert_array_equal(prior.counts, [[0, 0], [2, 2]])
    np.testing.assert_array_equal(prior.weights, [[0.5, 0.5], [0.5, 0.5]])


def test_weights_are_the_share_of_the_counts():
    prior = window_prior(["run"] * 4, [2, 3, 3, 10], ["run"], (5, 9), frame_rate=1)
    np.testing.assert_array_equal(prior.weights, [[0.75, 0.25]])


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(InputError, match="classes run. Received: swim"):
        window_prior(["swim"], [1.0], ["run"], WINDOWS, 25)


def test_a_prior_that_is_written_reads_back(tmp_path):
    prior = window_prior(["run"] * 3, [0.7, 1.0, 9.0], ["hop", "run"], WINDOWS, 25)
    write_prior(tmp_path / "prior.csv", prior)
    read = read_prior(tmp_path / "prior.csv")
    assert (read.class_names, read.window_frames) == (("hop", "run"), WINDOWS)
    np.testing.assert_array_equal(read.counts, prior.counts)
    np.testing.assert_array_equal(read.weights, prior.weights)


def test_any_name_of_a_class_reads_back(tmp_path):
    names = ("a\rb", "a\nb", 'a"b', "a,b", "=1+1", "'=1+1")
    write_prior(tmp_path / "prior.csv", window_prior([names[0]], [1.0], names, WINDOWS, 25))
    assert read_prior(tmp_path / "prior.csv").class_names == names
    assert ",'=1+1,0," in (tmp_path / "prior.csv").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a window-length prior, columns class"),
        ("class,weight_16\nrun,1\n", "expected a window-length prior, columns class"),
        ("class,count_16,weight_16\n", "exactly one row for each class"),
        ("class,count_16,weight_16\nrun,1,1\nrun,1,1\n", "exactly one row for each class"),
        ("class,count_16,weight_16\nrun,1,x\n", "expected numbers as counts"),
        ("class,count_16,weight_16\nrun,1\n", "expected numbers as counts"),
        ("class,count_16,weight_16\nrun,1,-1\n", "weights of at least 0"),
        ("class,count_16,weight_16\nrun,1,nan\n", "finite weights"),
        ("class,count_16,weight_16\nrun,1" + "0" * 30 + ",1\n", "expected numbers as counts"),
        ('class,count_16,weight_16\n"' + "x" * 200_000 + '",1,1\n', "no valid CSV"),
    ],
)
def test_a_bad_file_is_reported_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "prior.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=f"prior.csv.*{message}"):
        read_prior(path)


def test_a_prior_that_lacks_a_class_or_a_window_length_is_refused(tmp_path):
    path = tmp_path / "prior.csv"
    path.write_text("class,count_16,weight_16\nrun,1,1\n")
    assert read_prior(path, ["run"], [16]).class_names == ("run",)
    for names, windows in ((["run", "hop"], [16]), (["run"], [16, 32])):
        with pytest.raises(InputError, match="prior.csv: lacks classes or window lengths"):
            read_prior(path, names, windows)


@pytest.mark.data
def test_the_validation_videos_of_thumos14_give_the_prior_of_the_authors(data_dir):
    data = data_dir / "thumos14"
    theirs = read_prior(data / "window_prior.csv")
    videos = read_annotations(data / "official_txt", "validation").values()
    actions = [i for video in videos for i in video.actions]
    ours = window_prior(
        [i.label for i in actions],
        [i.end - i.start for i in actions],
        theirs.class_names,
        WINDOWS,
        frame_rate=25,
    )
    assert theirs.window_frames == WINDOWS
    np.testing.assert_array_equal(ours.counts[:, :5], theirs.counts[:, :5])
    # Length 512: they had 22.44 s where 511 frames at 25 frames/s are 20.44 s.
    assert ours.counts[:, 5].sum() - theirs.counts[:, 5].sum() == 34
    np.testing.assert_allclose(
        theirs.weights, theirs.counts / theirs.counts.sum(axis=1, keepdims=True)
    )
