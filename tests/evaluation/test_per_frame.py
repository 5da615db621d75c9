import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.per_frame import evaluate_frames
from scnn_tf.localization.tables import Detections


def video(*instances, duration=10.0, video_id="v"):
    actions = tuple(Instance(*instance) for instance in instances)
    return {video_id: VideoAnnotation(video_id, "test", duration, None, actions)}


def detections(*rows):
    """Detections of (label, start, end, score)."""
    label, start, end, score = zip(*rows, strict=True)
    return Detections(["v"] * len(rows), start, end, label, score)


def test_classes_that_overlap_by_hand():
    # Ten times, at .5, 1.5 … 9.5 s. "a" is on at 2 … 5, "b" at 4 … 7.
    truth = video(("a", 2.0, 6.0), ("b", 4.0, 8.0))
    found = detections(("a", 2, 6, 0.9), ("b", 6, 10, 0.8), ("b", 5, 7, 0.9))
    outcome = evaluate_frames(truth, found, rate=1)
    # "b" has .9 at 5 and 6, both right; then .8 at 7, 8, 9, of which one is right, 3 of 5 in all;
    # time 4 is not found: (1 + 1 + 3/5 + 0) / 4.
    assert outcome.ap.tolist() == pytest.approx([1.0, 0.65])
    assert (outcome.map, outcome.times) == (pytest.approx(0.825), 10)
    assert outcome.to_json()["ap"] == dict(zip("ab", outcome.ap.tolist(), strict=True))
    assert "0.650000" in outcome.table()


def test_the_highest_score_at_a_time_counts_whatever_the_order():
    truth = video(("a", 0.0, 2.0))
    rows = [("a", 0, 4, 0.5), ("a", 0, 2, 0.9), ("a", 0, 10, 0.1)]
    for each in (rows, rows[::-1]):
        assert evaluate_frames(truth, detections(*each), rate=1).map == 1


def test_a_time_counts_if_it_lies_within_an_interval():
    # Twice a second: .25, .75, 1.25 …: of [.75, 1.25) the first alone.
    truth = video(("a", 0.75, 1.25), duration=2.0)
    outcome = evaluate_frames(truth, detections(("a", 0.5, 1.3, 1.0)), rate=2)
    assert (outcome.times, outcome.map) == (4, 0.5)
    # An instance between two times is on at none of them.
    assert evaluate_frames(video(("a", 0.6, 0.7)), detections(("a", 0, 9, 1)), rate=1).map == 0


def test_equal_to_a_loop_over_times_and_thresholds():
    random = np.random.default_rng(0)
    intervals = np.sort(random.uniform(-1, 12, [2, 40, 2]), axis=-1)
    labels = random.choice(["a", "b", "c"], [2, 40])
    truth = video(*zip(labels[0, :9], *intervals[0, :9].T, strict=True))
    scores = random.integers(0, 9, 40) / 9
    found = detections(*zip(labels[1], *intervals[1].T, scores, strict=True))
    outcome = evaluate_frames(truth, found, rate=7)
    times = (np.arange(70) + 0.5) / 7
    for name, ap in zip(outcome.class_names, outcome.ap, strict=True):
        rows = [r for r in range(40) if labels[1, r] == name]
        score = [
            max(
                (scores[r] for r in rows if intervals[1, r, 0] <= t < intervals[1, r, 1]),
                default=-1,
            )
            for t in times
        ]
        on = [
            any(i.label == name and i.start <= t < i.end for i in truth["v"].actions) for t in times
        ]
        precisions = [
            np.mean([o for o, s in zip(on, score, strict=True) if s >= mine]) if mine >= 0 else 0
            for mine, is_on in zip(score, on, strict=True) if is_on
        ]  # fmt: skip
        assert ap == pytest.approx(np.mean(precisions))


def test_what_cannot_be_evaluated_is_refused():
    truth, found = video(("a", 0, 1)), detections(("a", 0, 1, 1))
    for rate in (0, -1, np.inf, np.nan):
        with pytest.raises(InputError, match="expected a rate above 0"):
            evaluate_frames(truth, found, rate=rate)
    with pytest.raises(InputError, match="gives from 1 to 100000000 times"):
        evaluate_frames(truth, found, rate=1e9)
    with pytest.raises(InputError, match="expected the duration of each video.*Found: none of v"):
        evaluate_frames(video(("a", 0, 1), duration=None), found, rate=1)
