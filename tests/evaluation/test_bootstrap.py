import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.bootstrap import Interval, interval, match_videos, resampled_maps
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.localization.tables import Detections


def video(name: str, *labels: str) -> VideoAnnotation:
    """A video with an instance of one second every two seconds."""
    instances = tuple(Instance(label, 2.0 * i, 2.0 * i + 1) for i, label in enumerate(labels))
    return VideoAnnotation(name, "test", 60.0, None, instances)


TRUTH = {"a": video("a", "run", "jump"), "b": video("b", "run")}
# run: .9 in a true, .8 in b false (background), .7 in b true. jump: .6 in a true.
FOUND = Detections(
    video=["a", "b", "b", "a"],
    start=[0, 30, 0, 2],
    end=[1, 31, 1, 3],
    label=["run", "run", "run", "jump"],
    score=[0.9, 0.8, 0.7, 0.6],
)


def matched(found=FOUND, protocol="thumos14"):
    return match_videos(TRUTH, found, tiou_threshold=0.5, protocol=protocol)


def test_map_of_a_multiset_by_hand():
    videos = matched()
    # Both videos: run (1/1 + 2/3)/2 = 5/6, jump 1.
    assert videos.mean_ap(np.array([1, 1])) == pytest.approx((5 / 6 + 1) / 2)
    # Twice b: run false, false, true, true: (1/3 + 2/4)/2; no instance of jump, which drops out.
    assert videos.mean_ap(np.array([0, 2])) == pytest.approx(5 / 12)
    # Twice a, and b: run true, true, false, true: (1 + 1 + 3/4)/3; jump 1.
    assert videos.mean_ap(np.array([2, 1])) == pytest.approx((11 / 12 + 1) / 2)
    assert np.isnan(videos.mean_ap(np.array([0, 0])))


def test_without_detections_map_is_zero():
    nothing = FOUND.take(slice(0, 0))
    assert matched(nothing).mean_ap(np.array([1, 1])) == 0


TIMES = st.integers(0, 12)


@st.composite
def cases(draw):
    """Up to four videos with instances of two classes, and detections with different scores."""
    truth = {}
    for name in "abcd"[: draw(st.integers(1, 4))]:
        labels = st.sampled_from(["run", "jump", AMBIGUOUS])
        spans = draw(st.lists(st.tuples(labels, TIMES, st.integers(1, 6)), max_size=4))
        instances = tuple(Instance(label, start, start + length) for label, start, length in spans)
        truth[name] = VideoAnnotation(name, "test", 20.0, None, instances)
    truth["e"] = video("e", "run")
    label = st.sampled_from(["run", "jump"])
    rows = draw(
        st.lists(st.tuples(st.sampled_from(sorted(truth)), TIMES, st.integers(1, 6), label),
                 max_size=12)
    )  # fmt: skip
    scores = draw(st.permutations(range(len(rows))))
    found = Detections(
        video=[row[0] for row in rows],
        start=[row[1] for row in rows],
        end=[row[1] + row[2] for row in rows],
        label=[row[3] for row in rows],
        score=scores,
    )
    counts = draw(st.lists(st.integers(0, 3), min_size=len(truth), max_size=len(truth)))
    return truth, found, np.array(counts), draw(st.sampled_from(["thumos14", "activitynet"]))


def copies(truth, found, counts):
    """The ground truth and detections in which a copy of a video is a video of its own."""
    videos, rows, names = {}, [], []
    for key, count in zip(sorted(truth), counts, strict=True):
        for number in range(count):
            name = f"{key}{number}"
            videos[name] = dataclasses.replace(truth[key], video_id=name)
    for row, key in enumerate(found.video):
        for number in range(counts[sorted(truth).index(key)]):
            rows.append(row)
            names.append(f"{key}{number}")
    return videos, dataclasses.replace(found.take(np.array(rows, int)), video=names)


@given(cases())
def test_map_of_a_multiset_is_that_of_an_evaluation_of_its_copies(case):
    truth, found, counts, protocol = case
    videos, repeated = copies(truth, found, counts)
    got = match_videos(truth, found, tiou_threshold=0.5, protocol=protocol).mean_ap(counts)
    if not any(each.actions for each in videos.values()):
        assert np.isnan(got)
        return
    expected = evaluate(videos, repeated, tiou_thresholds=[0.5], protocol=protocol)
    assert got == pytest.approx(expected.map[0])


def test_resamples_by_hand():
    """Two videos: drawn are twice a (1/4), a and b (1/2), twice b (1/4)."""
    (maps,) = resampled_maps({"x": [[matched()]]}, resamples=4000).values()
    # mAP of twice a is 1.
    values, counts = np.unique(maps.round(6), return_counts=True)
    assert values.tolist() == pytest.approx([5 / 12, 11 / 12, 1], abs=1e-6)
    np.testing.assert_allclose(counts / 4000, [0.25, 0.5, 0.25], atol=0.03)


def test_variants_are_compared_in_the_same_resamples():
    worse = FOUND.take([0, 1, 2])  # without jump, in every resample with a
    maps = resampled_maps({"full": [[matched()]], "less": [[matched(worse)]]}, resamples=500)
    difference = maps["less"] - maps["full"]
    assert (difference <= 0).all() and (difference[maps["full"] > 0.5] < 0).all()
    same = resampled_maps({"one": [[matched()]], "other": [[matched()]]}, resamples=50)
    assert (same["one"] == same["other"]).all()


def test_runs_are_drawn_within_their_dataset():
    nothing = matched(FOUND.take(slice(0, 0)))
    # A run with mAP 1 in any resample, and one with 0; the second dataset has two runs of 1.
    truth = {"a": video("a", "run")}
    good = match_videos(truth, FOUND.take([0]), tiou_threshold=0.5)
    bad = match_videos(truth, FOUND.take(slice(0, 0)), tiou_threshold=0.5)
    (maps,) = resampled_maps({"x": [[good, bad], [good, good]]}, resamples=4000).values()
    values, counts = np.unique(maps, return_counts=True)
    # Drawn of the first: bad twice, one of each, good twice; the mean over the datasets.
    assert values.tolist() == [0.5, 0.75, 1.0]
    np.testing.assert_allclose(counts / 4000, [0.25, 0.5, 0.25], atol=0.03)
    assert (resampled_maps({"x": [[nothing]]}, resamples=10)["x"] == 0).all()


def test_the_draws_follow_from_the_seed():
    variants = {"x": [[matched()]]}
    one, same, other = (resampled_maps(variants, resamples=50, seed=s)["x"] for s in (0, 0, 1))
    assert (one == same).all() and (one != other).any()


def test_interval_by_hand():
    # Of 0 … 1000, 2.5 % lie below 25 and above 975.
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.array([np.nan, 3.0, 3.0])) == (3, 3)
    assert Interval(0.1, 0.2).excludes_zero and Interval(-0.2, -0.1).excludes_zero
    assert not Interval(-0.1, 0.1).excludes_zero and not Interval(0.0, 0.0).excludes_zero
    with pytest.raises(InputError, match="expected test videos with actions"):
        interval(np.array([np.nan]))
