import json
import math

import numpy as np
import pytest

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.spotting import TOLERANCES, evaluate_spots
from scnn_tf.localization.tables import Detections


def truth(**points):
    """Ground truth of one class, with a point a time."""
    return {
        key: VideoAnnotation(key, "test", None, None, tuple(Instance("goal", t, t) for t in times))
        for key, times in points.items()
    }


def spots(*rows, label="goal"):
    """Detections of a second around (video, time, score)."""
    video, time, score = zip(*rows, strict=True)
    time = np.array(time)
    return Detections(video, time - 0.5, time + 0.5, [label] * len(rows), score)


def ap(ground_truth, found, tolerance):
    return evaluate_spots(ground_truth, found, tolerances=[tolerance]).ap[0, 0]


def test_a_point_is_the_middle_and_may_be_half_of_the_tolerance_away():
    walk = VideoAnnotation("v", "test", None, None, (Instance("goal", 10, 20),))
    found = Detections(["v"], [16], [16.4], ["goal"], [0.9])  # 15 and 16.2: 1.2 s late
    outcome = evaluate_spots({"v": walk}, found, tolerances=[2.3, 2.4, 5])
    assert outcome.ap.tolist() == [[0.0, 1.0, 1.0]]
    # An early point is as good as a late one, and decimals compare as they are written.
    assert ap(truth(v=[12.7]), spots(("v", 12.2, 0.9)), 1) == 1
    assert ap(truth(v=[12.2]), spots(("v", 12.7, 0.9)), 1) == 1


def test_average_precision_is_interpolated_at_11_recalls():
    # By score: true, false, true. Precision 1 at recall 1/3, 2/3 at recall 2/3, none at 1.
    # Recalls 0, .1, .2, .3: 1; .4, .5, .6: 2/3; .7 to 1: 0. (4 + 3 · 2/3) / 11 = 6/11.
    ground_truth = truth(v=[10, 20, 30])
    found = spots(("v", 10, 0.9), ("v", 50, 0.8), ("v", 20, 0.7))
    assert ap(ground_truth, found, 2) == pytest.approx(6 / 11)


def test_an_instance_takes_the_best_score_in_reach_not_the_nearest():
    # .9 is 2 s off, .8 exact: the instance takes .9, and .8 is false. Recall 1 at precision 1.
    assert ap(truth(v=[10]), spots(("v", 10, 0.8), ("v", 12, 0.9)), 4) == 1
    # At a tolerance of 2 only .8 is in reach, after a false one: precision 1/2.
    assert ap(truth(v=[10]), spots(("v", 10, 0.8), ("v", 12, 0.9)), 2) == 0.5


def test_instances_take_in_the_order_of_time_and_each_detection_once():
    # 12 is in reach of 10 and 13. 10 comes first and takes it, though the file has 13 first, so
    # that 13 is not found: precision 1 up to recall 1/2, 6 of 11 recalls.
    found = spots(("v", 12, 0.9), ("v", 90, 0.8))
    assert ap(truth(v=[13, 10]), found, 4) == pytest.approx(6 / 11)
    # With another one that only 10 reaches, but of a lower score, it is the same.
    found = spots(("v", 12, 0.9), ("v", 8, 0.8))
    assert ap(truth(v=[13, 10]), found, 4) == pytest.approx(6 / 11)


def test_equal_scores_are_one_step_whatever_their_order():
    rows = [("v", 10, 0.5), ("v", 50, 0.5)]
    assert ap(truth(v=[10]), spots(*rows), 2) == ap(truth(v=[10]), spots(*rows[::-1]), 2) == 0.5


def test_videos_are_ranked_together_and_matched_apart():
    ground_truth = truth(a=[10], b=[10])
    # b's is false: at 30 nothing is. Recall 1/2 at precision 1/2.
    found = spots(("b", 30, 0.9), ("a", 10, 0.8))
    assert ap(ground_truth, found, 2) == pytest.approx(6 / 11 / 2)


def test_average_map_is_the_mean_height_of_the_curve_over_tolerances():
    # Found from 2 on: mAP 0, 1, 1 at 1, 2, 5. (1 s · (0 + 1) / 2 + 3 s · 1) / 4 s = 7/8.
    outcome = evaluate_spots(truth(v=[10]), spots(("v", 11, 0.9)), tolerances=[5, 1, 2])
    assert outcome.tolerances == (1, 2, 5)
    assert outcome.map.tolist() == [0, 1, 1]
    assert outcome.average_map == 7 / 8
    # With equal steps, as SoccerNet's: (0 + 1) / 2, 1, 1, 1, over 4 steps.
    outcome = evaluate_spots(truth(v=[10]), spots(("v", 11, 0.9)), tolerances=TOLERANCES["tight"])
    assert outcome.average_map == 3.5 / 4
    assert len(TOLERANCES["loose"]) == 12 and TOLERANCES["loose"][-1] == 60


def test_classes_count_alike_and_ambiguous_intervals_have_no_effect():
    goals = tuple(Instance("goal", t, t) for t in (10, 20, 30))
    others = (Instance("foul", 5, 5), Instance(AMBIGUOUS, 40, 60))
    ground_truth = {"v": VideoAnnotation("v", "test", None, None, goals + others)}
    found = spots(("v", 50, 0.95), ("v", 5, 0.9), label="foul")
    outcome = evaluate_spots(ground_truth, found, tolerances=[1])
    assert (outcome.class_names, outcome.class_instances.tolist()) == (("foul", "goal"), [1, 3])
    assert outcome.map.tolist() == [0.25]  # foul: 1/2; goal: 0


def test_rows_without_a_point_or_a_score_find_nothing_and_count():
    ground_truth = truth(v=[10, math.nan])
    found = Detections(
        ["v"] * 4, [11, math.nan, 9.5, 9.5], [9, 10, 10.5, 10.5], ["goal"] * 4,
        [0.9, 0.8, 0.7, math.nan],
    )  # fmt: skip
    # False, false, true, false, of two instances: precision 1/3 up to recall 1/2.
    assert ap(ground_truth, found, 2) == pytest.approx(6 / 11 / 3)
    assert evaluate_spots(ground_truth, found, tolerances=[2]).detections == 4


def test_table_and_json_contain_all_figures():
    outcome = evaluate_spots(truth(v=[10]), spots(("v", 11, 0.9)), tolerances=[1, 2])
    assert outcome.table().splitlines() == [
        "protocol soccernet: 1 videos, 1 instances, 1 classes; points are the middles of intervals",
        "tolerance, s instances         1         2   average",
        "goal                 1  0.000000  1.000000  0.500000",
        "mAP                  1  0.000000  1.000000  0.500000",
        "detections                     1         1         1",
    ]
    assert json.loads(json.dumps(outcome.to_json())) == {
        "protocol": "soccernet", "videos": 1, "instances": 1, "classes": 1, "detections": 1,
        "map": {"1": 0.0, "2": 1.0}, "average_map": 0.5, "ap": {"goal": {"1": 0.0, "2": 1.0}},
    }  # fmt: skip


def test_bad_arguments_are_refused():
    found = spots(("v", 10, 0.9))
    for tolerances in ([], [0], [-1], [math.nan], [math.inf]):
        with pytest.raises(InputError, match="expected tolerances above 0, in seconds. Received"):
            evaluate_spots(truth(v=[10]), found, tolerances=tolerances)
    with pytest.raises(InputError, match="at least one instance"):
        evaluate_spots(truth(v=[]), found, tolerances=[1])
    with pytest.raises(InputError, match="expected detections of videos of the ground truth"):
        evaluate_spots(truth(w=[10]), found, tolerances=[1])
