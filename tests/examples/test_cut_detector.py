from pathlib import Path

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.io import video

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import cut_detector

    return cut_detector


@pytest.fixture
def truth():
    # Two instances of 2 s and 1 s in 5 s at 25 frames/s: boundaries at frames 50, 75 and 100.
    instances = (Instance("walk", 0, 2), Instance("run", 3, 4))
    return {"a": VideoAnnotation("a", "test", 5.0, 25.0, instances)}


def test_hard_cuts_and_fades_are_found_at_their_middle(detector, tmp_path):
    # A cut at frame 40, and a fade of 6 frames around frame 80.
    levels = [50.0] * 40 + [120.0] * 37 + list(np.linspace(115, 65, 6)) + [60.0] * 37
    frames = [np.full((36, 44, 3), round(level), np.uint8) for level in levels]
    video.write_video(tmp_path / "a.mp4", frames, 25)
    change = detector.relative_change(tmp_path / "a.mp4")
    assert list(detector.find_cuts({"a": change}, 3, 1.0)["a"]) == [0, 40, 80, 120]


def test_precision_and_recall_count_cuts_near_boundaries(detector, truth):
    cuts = {"a": dict.fromkeys([0, 20, 47, 79, 101, 110, 125], 1.0)}
    # Frames 47 and 101 are within 3 frames of 50 and 100; 20, 79 and 110 are decoys.
    assert detector.precision_recall(truth, cuts) == pytest.approx((2 / 5, 2 / 3))


def test_the_ground_truth_gives_the_classes_and_the_cuts_the_times(detector, truth):
    exact = {"a": {0: np.inf, 50: 3.0, 75: 2.0, 100: 1.0, 125: np.inf}}
    assert detector.mean_ap(truth, exact) == [1.0, 1.0, 1.0]
    # Walking is cut at 1.2 s of 2: tIoU .6 and .4, and the weaker cut puts the worse part second.
    decoy = {"a": {0: np.inf, 30: 5.0, 50: 3.0, 75: 2.0, 100: 1.0, 125: np.inf}}
    assert detector.mean_ap(truth, decoy) == [1.0, 1.0, 0.5]


def test_equal_parts_fill_the_video(detector, truth):
    assert list(detector.equal_parts(truth, 30)["a"]) == [0, 30, 60, 90, 125]
