import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import ErrorType, best_threshold, classify
from scnn_tf.evaluation.evaluate import evaluate
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

# (start, end, label), and the error type at tIoU .5
CASES = [
    (0, 10, "run", "true positive"),
    (0, 9, "run", "double detection"),  # .9, but the detection above has found the instance
    (4, 10, "jump", "wrong label"),  # .6 with run
    (0, 4, "run", "localization"),  # .4
    (9, 19, "run", "background"),  # 1 s of 19: .05
    (26, 34, "run", "confusion"),  # 4 s of 14 with jump: .29
    (24, 26, "jump", "localization"),  # .2
    (40, 50, "run", "background"),  # next to the ambiguous interval, without touching it
    (51, 60, "run", "ignored"),
    (70, 80, "crawl", "wrong label"),  # its class has no instances
    (0, 45, "crawl", "confusion"),  # 10 s of 45: .22
    (82, 89, "crawl", "background"),
]


def table(cases, video="v"):
    start, end, label = zip(*(case[:3] for case in cases), strict=True)
    return Detections([video] * len(cases), start, end, label, np.linspace(1, 0, len(cases)))


def labels(types):
    return [ErrorType(kind).label for kind in types]


def test_error_types_by_hand():
    types = classify(TRUTH, table(CASES), tiou_thresholds=[0.5])
    assert labels(types[:, 0]) == [case[3] for case in CASES]


def test_the_error_type_depends_on_the_threshold_and_the_protocol():
    found = table([(0, 4, "run"), (0, 5, "run"), (51, 60, "run")])
    # tIoU .4 and .5 with the instance, which thumos14 assigns to the larger tIoU.
    types = classify(TRUTH, found, tiou_thresholds=[0.3, 0.5])
    assert [labels(row) for row in types] == [
        ["double detection", "localization"],
        ["true positive", "localization"],
        ["ignored", "ignored"],
    ]
    # activitynet assigns it to the better score, counts tIoU .5 as enough, and ignores nothing.
    types = classify(TRUTH, found, tiou_thresholds=[0.3, 0.5], protocol="activitynet")
    assert [labels(row) for row in types] == [
        ["true positive", "localization"],
        ["double detection", "true positive"],
        ["background", "background"],
    ]


def test_a_detection_of_a_video_outside_the_ground_truth_is_background():
    types = classify(TRUTH, table(CASES[:3], "w"), tiou_thresholds=[0.5])
    assert labels(types[:, 0]) == ["background"] * 3


def test_no_detections_have_no_error_types():
    none = table(CASES).take(np.zeros(len(CASES), bool))
    assert classify(TRUTH, none, tiou_thresholds=[0.5]).shape == (0, 1)


def test_unknown_thresholds_and_protocols_are_refused():
    with pytest.raises(InputError, match=r"expected tIoU thresholds in \(0, 1\]. Received: \[0\]"):
        classify(TRUTH, table(CASES), tiou_thresholds=[0])
    with pytest.raises(InputError, match="protocol, thumos14 or activitynet. Received: 'mine'"):
        classify(TRUTH, table(CASES), tiou_thresholds=[0.5], protocol="mine")


times = st.tuples(st.integers(0, 40), st.integers(1, 15), st.sampled_from(["run", "jump"]))


@given(st.lists(times, min_size=1, max_size=12), st.lists(times, max_size=5))
def test_true_positives_are_the_detections_that_average_precision_counts(found, instances):
    # With the true positives alone, AP is the share of instances that have one.
    instances = [Instance(label, start, start + length) for start, length, label in instances]
    instances += [Instance("run", 90, 99), Instance("jump", 90, 99)]
    truth = {"v": VideoAnnotation("v", "test", 99.0, None, tuple(instances))}
    rows = table([(start, start + length, label) for start, length, label in found])
    for protocol in PROTOCOLS:
        types = classify(truth, rows, tiou_thresholds=[0.5], protocol=protocol)[:, 0]
        true = types == ErrorType.TRUE_POSITIVE
        only = evaluate(truth, rows.take(true), tiou_thresholds=[0.5], protocol=protocol)
        columns = (only.class_names, only.ap[:, 0], only.class_instances)
        for name, ap, count in zip(*columns, strict=True):
            assert ap == pytest.approx(sum(true & (rows.label == name)) / count)


@pytest.mark.data
def test_true_positives_and_ignored_detections_are_those_of_the_authors(data_dir):
    folder = data_dir / "thumos14"
    truth = read_annotations(folder / "official_txt" / "temporal_annotations_test", "test")
    found = read_detections(folder / "scnn" / "c3d_final_detections_eval0.5.csv.gz")
    expected = json.loads((folder / "scnn" / "c3d_reference_results.json").read_text())
    types = classify(truth, found, tiou_thresholds=[0.5])[:, 0]
    counted = (types != ErrorType.IGNORED).sum()
    assert counted == expected["n_ranked_after_ambiguous_removal"][4]
    names = [i.label for video in truth.values() for i in video.actions]
    recall = [
        ((types == ErrorType.TRUE_POSITIVE) & (found.label == name)).sum() / names.count(name)
        for name in sorted(set(names))
    ]
    assert np.mean(recall) == pytest.approx(expected["mean_final_recall"][4])


def test_best_threshold_by_hand():
    true, background, ignored = (
        ErrorType.TRUE_POSITIVE, ErrorType.BACKGROUND, ErrorType.IGNORED,
    )  # fmt: skip
    # By score: true, ignored, false, true, false; 2 instances. F1 at the true ones: 2 · 1 /
    # (1 + 2) = .67 and 2 · 2 / (3 + 2) = .8.
    types = np.array([background, true, ignored, true, background])
    scores = np.array([0.1, 0.9, 0.8, 0.4, 0.6])
    assert best_threshold(types, scores, 2) == 0.4
    # Equal scores are kept together: one true and one false, 2 / (2 + 1) = .67.
    types = np.array([background, true, background])
    assert best_threshold(types, np.array([0.5, 0.5, 0.1]), 1) == 0.5
    assert best_threshold(np.array([background] * 2), np.array([0.5, 0.7]), 1) == 0.7
    assert best_threshold(np.array([ignored]), np.array([0.5]), 1) == 0.5
    assert best_threshold(np.array([], int), np.array([]), 1) == 0.0
