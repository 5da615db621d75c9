from pathlib import Path

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance
from scnn_tf.errors import InputError
from scnn_tf.io import video

EXAMPLES = Path(__file__).parents[2] / "examples"
LABELS = """
person01_walking_d1\t\tframes\t1-75, 152-225
person01_running_d2\t\tframes\t26-50
person01_boxing_d1\t\tframes\t1-95
person02_walking_d1\t\tframes\t1-50
person13_running_d3\t\t*missing*
"""


@pytest.fixture
def kth(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import kth

    return kth


def test_passes_are_read_from_the_labels_of_the_films_that_are_there(kth, tmp_path):
    (tmp_path / "00sequences.txt").write_text(LABELS)
    frame = np.zeros((16, 16, 3), np.uint8)
    for name, count in (("walking_d1", 230), ("running_d2", 60), ("boxing_d1", 95)):
        video.write_video(tmp_path / f"person01_{name}_uncomp.avi", [frame] * count, 25)
    videos = kth.ground_truth(tmp_path)
    assert list(videos) == ["person01_walking_d1_uncomp", "person01_running_d2_uncomp"]
    walking, running = videos.values()
    # Frames count from 1, and the last one belongs to the pass: 1-75 are the first 3 s.
    assert walking.instances == (Instance("walk", 0, 3), Instance("walk", 151 / 25, 9))
    assert running.instances == (Instance("run", 1, 2),)
    assert (walking.subset, walking.duration) == ("test", pytest.approx(9.2))
    assert walking.file == "person01_walking_d1_uncomp.avi"


def test_a_folder_without_labels_or_films_is_an_error(kth, tmp_path):
    with pytest.raises(InputError, match="00sequences.txt"):
        kth.ground_truth(tmp_path)
    (tmp_path / "00sequences.txt").write_text(LABELS)
    with pytest.raises(InputError, match="films of walking or running"):
        kth.ground_truth(tmp_path)


@pytest.mark.data
def test_the_real_films_have_16_passes(kth, data_dir):
    videos = kth.ground_truth(data_dir / "videos" / "kth")
    labels = [i.label for v in videos.values() for i in v.instances]
    assert (len(videos), labels.count("walk"), labels.count("run")) == (4, 8, 8)
    assert all(i.end <= v.duration + 0.04 for v in videos.values() for i in v.instances)
