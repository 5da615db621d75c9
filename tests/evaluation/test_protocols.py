import numpy as np
import pytest

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.evaluation.protocols import ACTIVITYNET, PROTOCOLS, THUMOS14, get_protocol, tiou_array
from scnn_tf.localization.tables import Detections


def truth(**videos):
    return {
        key: VideoAnnotation(key, "test", None, None, tuple(Instance(*i) for i in instances))
        for key, instances in videos.items()
    }


def detections(*rows):
    return Detections(*zip(*rows, strict=True))


def test_protocols_by_name():
    assert list(PROTOCOLS) == ["thumos14", "activitynet"]
    assert get_protocol("thumos14") is THUMOS14
    assert get_protocol("activitynet") is ACTIVITYNET
    with pytest.raises(InputError, match="thumos14 or activitynet. Received: 'coco'"):
        get_protocol("coco")


def test_thresholds_lie_between_zero_and_one():
    np.testing.assert_array_equal(tiou_array([0.1, 1]), [0.1, 1.0])
    for thresholds in ([], [0.0], [1.5], [float("nan")]):
        with pytest.raises(InputError, match=r"expected tIoU thresholds in \(0, 1\]"):
            tiou_array(thresholds)


def test_only_activitynet_interpolates():
    # False, true, true: precisions at the true ones 1/2 and 2/3. Interpolated, 1/2 becomes 2/3.
    ground_truth = truth(v=[("run", 0, 2), ("run", 4, 6)])
    found = detections(("v", 20, 22, "run", 0.9), ("v", 0, 2, "run", 0.8), ("v", 4, 6, "run", 0.7))
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="thumos14"
    ).map == pytest.approx([7 / 12])
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="activitynet"
    ).map == pytest.approx([2 / 3])


def test_instances_choose_in_thumos14_and_detections_in_activitynet():
    # tIoU of [0, 8) and [0, 10) with the instance [0, 10) are .8 and 1. thumos14: the instance
    # takes the second, so that the best-scored one is false: AP = 1/2. activitynet: the
    # best-scored one takes the instance: AP = 1.
    ground_truth = truth(v=[("run", 0, 10)])
    found = detections(("v", 0, 8, "run", 0.9), ("v", 0, 10, "run", 0.8))
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="thumos14"
    ).map == pytest.approx([0.5])
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="activitynet"
    ).map == pytest.approx([1.0])


def test_instances_choose_in_file_order():
    # tIoU of [0, 10) with the instances [0, 12) and [0, 10): 10/12, 1; of [6, 12): 6/12, 4/12.
    first, second = ("run", 0, 12), ("run", 0, 10)
    found = detections(("v", 0, 10, "run", 0.9), ("v", 6, 12, "run", 0.8))
    # [0, 12) takes [0, 10), which leaves 4/12 to the other: one of two found.
    assert evaluate(truth(v=[first, second]), found, tiou_thresholds=[0.4]).map == pytest.approx(
        [0.5]
    )
    # [0, 10) takes [0, 10), which leaves 6/12 to the other: both found.
    assert evaluate(truth(v=[second, first]), found, tiou_thresholds=[0.4]).map == pytest.approx(
        [1.0]
    )


def test_tiou_equal_to_the_threshold_is_true_in_activitynet_only():
    ground_truth = truth(v=[("run", 0, 2)])
    found = detections(("v", 0, 1, "run", 0.9))  # tIoU 1/2
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="thumos14"
    ).map.tolist() == [0.0]
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="activitynet"
    ).map.tolist() == [1.0]


def test_a_second_detection_of_an_instance_is_false():
    ground_truth = truth(v=[("run", 0, 2), ("run", 10, 12)])
    found = detections(("v", 0, 2, "run", 0.9), ("v", 0, 2, "run", 0.8), ("v", 10, 12, "run", 0.7))
    for protocol in PROTOCOLS:  # (1 + 2/3) / 2
        assert evaluate(
            ground_truth, found, tiou_thresholds=[0.5], protocol=protocol
        ).map == pytest.approx([5 / 6])


def test_thumos14_ignores_a_false_detection_that_touches_an_ambiguous_interval():
    # The false detection comes first; it overlaps the ambiguous interval by a tenth of a second.
    ground_truth = truth(v=[("run", 0, 2), (AMBIGUOUS, 5, 6)])
    found = detections(("v", 5.9, 9, "run", 0.9), ("v", 0, 2, "run", 0.8))
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="thumos14"
    ).map.tolist() == [1.0]
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="activitynet"
    ).map.tolist() == [0.5]
    only_touching = detections(("v", 6, 9, "run", 0.9), ("v", 0, 2, "run", 0.8))
    assert evaluate(ground_truth, only_touching, tiou_thresholds=[0.5]).map.tolist() == [0.5]


def test_a_true_detection_in_an_ambiguous_interval_counts():
    ground_truth = truth(v=[("run", 0, 2), (AMBIGUOUS, 0, 2)])
    found = detections(("v", 0, 2, "run", 1.0))
    assert evaluate(ground_truth, found, tiou_thresholds=[0.5]).map.tolist() == [1.0]


def test_of_equal_scores_thumos14_takes_the_lower_video_and_activitynet_the_earlier_row():
    ground_truth = truth(a=[("run", 0, 2)], b=[("run", 0, 2)])
    found = detections(("b", 5, 6, "run", 0.5), ("a", 0, 2, "run", 0.5))
    # thumos14: true, false: AP = 1/2 · 1. activitynet: false, true: 1/2 · 1/2.
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="thumos14"
    ).map.tolist() == [0.5]
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol="activitynet"
    ).map.tolist() == [0.25]
