import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import FORGIVEN
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.evaluation.judging import KINDS, RIGHT, best_threshold, judge
from scnn_tf.evaluation.protocols import PROTOCOLS
from scnn_tf.localization.formats import read_detections
from scnn_tf.localization.tables import Detections

TRUTH = {
    "v": VideoAnnotation(
        "v", "test", 90.0, None,
        (
            Instance("run", 0, 10), Instance("jump", 20, 30), Instance(AMBIGUOUS, 50, 52),
            Instance("sit", 70, 80),
        ),
    )
}  # fmt: skip

# (start, end, label), and the kind at tIoU .5
CASES = [
    (0, 10, "run", "right"),
    (0, 9, "run", "duplicate"),  # .9, but the instance has taken the one above
    (4, 10, "jump", "wrong class"),  # .6 of run
    (0, 4, "run", "poor overlap"),  # .4
    (9, 19, "run", "background"),  # 1 s of 19: .05
    (26, 34, "run", "wrong class"),  # 4 s of 14 of jump: .29
    (24, 26, "jump", "poor overlap"),  # .2
    (40, 50, "run", "background"),  # only beside the ambiguous interval
    (51, 60, "run", "where nobody could tell"),
    (70, 80, "crawl", "wrong class"),  # of a class without instances
    (0, 45, "crawl", "wrong class"),  # 10 of 45: .22
    (82, 89, "crawl", "background"),
]


def table(cases, video="v"):
    start, end, label = zip(*(case[:3] for case in cases), strict=True)
    return Detections([video] * len(cases), start, end, label, np.linspace(1, 0, len(cases)))


def names(kinds):
    return [KINDS[kind] for kind in kinds]


def test_kinds_by_hand():
    assert names(judge(TRUTH, table(CASES), [0.5])[:, 0]) == [case[3] for case in CASES]


def test_the_kind_depends_on_the_threshold_and_the_protocol():
    found = table([(0, 4, "run"), (0, 5, "run"), (51, 60, "run")])
    # tIoU .4 and .5 with the instance, which thumos14 gives to the larger one.
    assert [names(k) for k in judge(TRUTH, found, [0.3, 0.5])] == [
        ["duplicate", "poor overlap"], ["right", "poor overlap"], [KINDS[5], KINDS[5]]
    ]  # fmt: skip
    # activitynet gives it to the better score, takes .5 for enough, and forgives nothing.
    assert [names(k) for k in judge(TRUTH, found, [0.3, 0.5], "activitynet")] == [
        ["right", "poor overlap"], ["duplicate", "right"], ["background", "background"]
    ]  # fmt: skip


def test_other_videos_are_background():
    assert names(judge(TRUTH, table(CASES[:3], "w"), [0.5])[:, 0]) == ["background"] * 3
    assert judge(TRUTH, table(CASES).take(np.zeros(len(CASES), bool)), [0.5]).shape == (0, 1)


def test_what_cannot_be_judged():
    with pytest.raises(InputError, match=r"a tIoU threshold lies in \(0, 1\]. Received: \[0\]"):
        judge(TRUTH, table(CASES), [0])
    with pytest.raises(InputError, match="no protocol 'mine'; there are thumos14, activitynet"):
        judge(TRUTH, table(CASES), [0.5], "mine")


times = st.tuples(st.integers(0, 40), st.integers(1, 15), st.sampled_from(["run", "jump"]))


@given(st.lists(times, min_size=1, max_size=12), st.lists(times, max_size=5))
def test_right_is_what_the_average_precision_counts(found, instances):
    # With all right ones first, AP is the share of instances that have a right one.
    instances = [Instance(label, start, start + length) for start, length, label in instances]
    instances += [Instance("run", 90, 99), Instance("jump", 90, 99)]
    truth = {"v": VideoAnnotation("v", "test", 99.0, None, tuple(instances))}
    rows = table([(start, start + length, label) for start, length, label in found])
    for protocol in PROTOCOLS:
        right = judge(truth, rows, [0.5], protocol)[:, 0] == RIGHT
        only = evaluate(truth, rows.take(right), [0.5], protocol)
        columns = (only.class_names, only.ap[:, 0], only.class_instances)
        for name, ap, count in zip(*columns, strict=True):
            assert ap == pytest.approx(sum(right & (rows.label == name)) / count)


@pytest.mark.data
def test_what_the_authors_count_right_and_forgive(data_dir):
    folder = data_dir / "thumos14"
    truth = read_annotations(folder / "official_txt" / "temporal_annotations_test", "test")
    found = read_detections(folder / "scnn" / "c3d_final_detections_eval0.5.csv.gz")
    expected = json.loads((folder / "scnn" / "c3d_reference_results.json").read_text())
    kinds = judge(truth, found, [0.5])[:, 0]
    assert (kinds != FORGIVEN).sum() == expected["n_ranked_after_ambiguous_removal"][4]
    labels = [i.label for video in truth.values() for i in video.actions]
    recall = [
        ((kinds == RIGHT) & (found.label == name)).sum() / labels.count(name)
        for name in sorted(set(labels))
    ]
    assert np.mean(recall) == pytest.approx(expected["mean_final_recall"][4])


def test_best_threshold_by_hand():
    # By score: right, forgiven, wrong, right, wrong; 2 instances. F1 at the right ones: 2 · 1 /
    # (1 + 2) = .67 and 2 · 2 / (3 + 2) = .8.
    kinds = np.array([4, 0, 5, 0, 4])
    scores = np.array([0.1, 0.9, 0.8, 0.4, 0.6])
    assert best_threshold(kinds, scores, 2) == 0.4
    # Equal scores are kept together: one right and one wrong, 2 / (2 + 1) = .67.
    assert best_threshold(np.array([4, 0, 4]), np.array([0.5, 0.5, 0.1]), 1) == 0.5
    assert best_threshold(np.array([4, 4]), np.array([0.5, 0.7]), 1) == 0.7
    assert best_threshold(np.array([5]), np.array([0.5]), 1) == 0.5
    assert best_threshold(np.array([], int), np.array([]), 1) == 0.0
