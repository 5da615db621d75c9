import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.diagnosis import EVERYTHING, MISSED, diagnose
from scnn_tf.evaluation.error_types import ErrorType
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.evaluation.protocols import PROTOCOLS
from scnn_tf.localization.formats import read_detections
from scnn_tf.localization.tables import Detections


def truth(duration=None, **videos):
    return {
        key: VideoAnnotation(key, "test", duration, None, tuple(Instance(*i) for i in instances))
        for key, instances in videos.items()
    }


def detections(*rows):
    """Rows of (video, start, end, label), best first."""
    scores = [1 - number / 1000 for number in range(len(rows))]
    columns = zip(*rows, strict=True) if rows else [()] * 4
    return Detections(*columns, scores)


def types(*found, protocol="thumos14", tiou=0.5, **videos):
    """The labels of the error types, best detection first."""
    outcome = diagnose(
        truth(**videos), detections(*found), tiou_thresholds=[tiou], protocol=protocol
    )
    return [ErrorType(kind).label for kind in outcome.error_types[:, 0]]


RUN, JUMP = ("run", 0, 10), ("jump", 20, 30)


def test_each_error_type_by_hand():
    assert types(
        ("v", 0, 10, "run"),  # tIoU 1
        ("v", 1, 10, "run"),  # 9/10, but the instance is found
        ("v", 20, 30, "run"),  # 1 with jump
        ("v", 0, 4, "run"),  # 4/10
        ("v", 26, 32, "run"),  # 4/12 with jump
        ("v", 40, 50, "run"),
        v=[RUN, JUMP],
    ) == [
        "true positive", "double detection", "wrong label", "localization", "confusion",
        "background",
    ]  # fmt: skip


def test_wrong_label_goes_before_localization():
    # [4, 14): tIoU 6/14 = .43 with run, 8/10 = .8 with jump.
    overlapping = [("run", 0, 10), ("jump", 4, 12)]
    assert types(("v", 4, 14, "run"), v=overlapping) == ["wrong label"]
    assert types(("v", 4, 14, "run"), v=overlapping, tiou=0.9) == ["localization"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocol_decides_whether_an_equal_tiou_reaches_the_threshold(protocol):
    # tIoU exactly 1/2: reached in activitynet only. Exactly .1 touches, less does not.
    at_half = {"thumos14": ["localization", "confusion"]}.get(
        protocol, ["true positive", "wrong label"]
    )
    found = [("v", 0, 5, "run"), ("v", 20, 25, "run")]
    assert types(*found, protocol=protocol, v=[RUN, JUMP]) == at_half
    found = [("v", 0, 1, "run"), ("v", 0, 0.9, "run")]
    assert types(*found, protocol=protocol, v=[RUN]) == ["localization", "background"]


def test_thumos14_ignores_a_false_detection_that_touches_an_ambiguous_interval():
    found = [("v", 0, 10, "run"), ("v", 11, 20, "run")]
    instances = [RUN, (AMBIGUOUS, 8, 12)]
    assert types(*found, v=instances) == ["true positive", "ignored"]
    assert types(*found, protocol="activitynet", v=instances) == ["true positive", "background"]


def test_an_instance_of_another_video_has_no_effect():
    assert types(("w", 0, 10, "run"), v=[RUN], w=[JUMP]) == ["background"]


def gains(*found, **videos):
    """mAP, and mAP with each error type removed, and fixed."""
    outcome = diagnose(truth(**videos), detections(*found), tiou_thresholds=[0.5])
    return outcome.evaluation.map[0], *(
        {name: maps[0] for name, maps in part.items()} for part in (outcome.removed, outcome.fixed)
    )


def test_gains_of_background_localization_and_missed_by_hand():
    # False, true, false of two instances: AP = (1/2) / 2.
    found = [("v", 80, 90, "run"), ("v", 0, 10, "run"), ("v", 50, 54, "run")]
    value, removed, fixed = gains(*found, v=[RUN, ("run", 50, 60)])
    assert value == pytest.approx(1 / 4)
    assert removed["background"] == fixed["background"] == pytest.approx(1 / 2)
    assert removed["localization"] == pytest.approx(1 / 4)
    assert fixed["localization"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert fixed[MISSED] == pytest.approx(1 / 2)  # [50, 60) does not count: AP = (1/2) / 1
    assert removed[EVERYTHING] == pytest.approx(1 / 2)
    assert fixed[EVERYTHING] == 1


def test_gain_of_double_detections_by_hand():
    # True, double, true: AP = (1 + 2/3) / 2; without the double 1.
    found = [("v", 0, 10, "run"), ("v", 1, 10, "run"), ("v", 50, 60, "run")]
    value, removed, fixed = gains(*found, v=[RUN, ("run", 50, 60)])
    assert value == pytest.approx(5 / 6)
    assert removed["double detection"] == fixed["double detection"] == 1


@pytest.mark.parametrize(("end", "kind"), [(30, "wrong label"), (24, "confusion")])
def test_gains_of_wrong_classes_by_hand(end, kind):
    # run: false, true: AP 1/2; jump: nothing. Removed: 1 and 0. Fixed: it is a jump: 1 and 1.
    value, removed, fixed = gains(("v", 20, end, "run"), ("v", 0, 10, "run"), v=[RUN, JUMP])
    assert (value, removed[kind], fixed[kind]) == pytest.approx((1 / 4, 1 / 2, 1))
    # Missed fixed: jump's instance does not count, and nothing is detected of it: 1/2 and 1.
    assert fixed[MISSED] == pytest.approx(3 / 4)


def test_at_most_one_detection_is_fixed_for_each_instance():
    # Both are localization errors of one instance: the better one finds it, the other goes.
    found = [("v", 0, 4, "run"), ("v", 6, 10, "run"), ("v", 50, 60, "run")]
    _, removed, fixed = gains(*found, v=[RUN, ("run", 50, 60)])
    assert fixed["localization"] == 1
    # That of an instance that is found already is removed too: true, -, true.
    found = [("v", 0, 10, "run"), ("v", 6, 10, "run"), ("v", 50, 60, "run")]
    _, removed, fixed = gains(*found, v=[RUN, ("run", 50, 60)])
    assert fixed["localization"] == removed["localization"] == 1


def test_profile_counts_by_multiples_of_the_instances_of_a_class():
    # run has 2 instances, jump 1: the best G are run's first two and jump's first.
    found = detections(
        ("v", 0, 10, "run"), ("v", 60, 70, "run"), ("v", 0, 4, "run"), ("v", 1, 10, "run"),
        ("v", 62, 72, "run"), ("v", 20, 30, "jump"), ("v", 0, 10, "jump"),
    )  # fmt: skip
    profile = diagnose(truth(v=[RUN, ("run", 40, 50), JUMP]), found, tiou_thresholds=[0.5]).profile[
        0
    ]
    assert profile[:4].tolist() == [
        [2, 0, 0, 0, 0, 1],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0],
    ]


def test_normalized_map_by_hand():
    # N = 3/2. run: false, true of 2: R · N = 1/2 · 3/2, precision .75 / 1.75, AP_N half of that.
    # jump: all found: 1.
    found = detections(("v", 80, 90, "run"), ("v", 0, 10, "run"), ("v", 20, 30, "jump"))
    outcome = diagnose(truth(v=[RUN, ("run", 50, 55), JUMP]), found, tiou_thresholds=[0.5])
    assert outcome.normalized_map == pytest.approx([(0.75 / 1.75 / 2 + 1) / 2])
    # Bucket S of length, 3 to 6 s, has only run's second instance, which no detection finds; M has
    # the others. There run has 1 instance and R = 1: precision 1.5 / 2.5.
    s, m = outcome.buckets["length"][1:3]
    assert (s.instances, s.normalized_map, s.missed) == (1, 0, 1)
    assert (m.instances, m.missed) == (2, 0)
    assert m.normalized_map == pytest.approx((1.5 / 2.5 + 1) / 2)


def test_a_detection_that_has_found_an_instance_of_another_bucket_is_no_error_of_this_one():
    # By score: the instance of 10 s, then that of 5 s: alone, each is perfect.
    found = detections(("v", 0, 10, "run"), ("v", 50, 55, "run"))
    buckets = diagnose(truth(v=[RUN, ("run", 50, 55)]), found, tiou_thresholds=[0.5]).buckets[
        "length"
    ]
    assert [b.normalized_map for b in buckets] == [None, 1, 1, None, None]


def test_buckets_have_detads_bounds():
    # 3.9 – 0.9 is a bit more than 3 in floating point; 100 · 3 / 150 is 2 %.
    outcome = diagnose(truth(150.0, v=[("run", 0.9, 3.9)]), detections(), tiou_thresholds=[0.5])
    for name, bounds, counts in (
        ("length", ["≤ 3", "3 – 6", "6 – 12", "12 – 18", "> 18"], [1, 0, 0, 0, 0]),
        ("coverage", ["≤ 2", "2 – 4", "4 – 6", "6 – 8", "> 8"], [1, 0, 0, 0, 0]),
        ("instances", ["≤ 1", "1 – 40", "40 – 80", "> 80"], [1, 0, 0, 0]),
    ):
        assert [b.bounds() for b in outcome.buckets[name]] == bounds
        assert [b.instances for b in outcome.buckets[name]] == counts
    outcome = diagnose(
        truth(150.0, v=[RUN]), detections(), tiou_thresholds=[0.5], protocol="activitynet"
    )
    assert [b.bounds() for b in outcome.buckets["coverage"]][:2] == ["≤ 20", "20 – 40"]


def test_fifths_have_the_same_number_of_instances_as_far_as_equal_values_allow():
    lengths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    ground_truth = truth(v=[("run", 100 * n, 100 * n + n) for n in lengths])
    outcome = diagnose(ground_truth, detections(), tiou_thresholds=[0.5], buckets="fifths")
    assert [b.instances for b in outcome.buckets["length"]] == [2] * 5
    assert [b.bounds() for b in outcome.buckets["length"]][:2] == ["≤ 2", "2 – 4"]
    (only,) = outcome.buckets["instances"]  # ten instances in the video, for each of them
    assert (only.bounds(), only.instances) == ("all", 10)


def test_coverage_without_durations_is_left_out_and_reported():
    outcome = diagnose(truth(v=[RUN, JUMP]), detections(), tiou_thresholds=[0.5])
    assert list(outcome.buckets) == ["length", "instances"]
    assert "unknown of 2 instances" in outcome.table()
    assert json.loads(json.dumps(outcome.to_json()))["unmeasured"] == 2


def test_unknown_buckets_are_refused():
    with pytest.raises(InputError, match="thumos14, activitynet, fifths. Received: 'tenths'"):
        diagnose(truth(v=[RUN]), detections(), tiou_thresholds=[0.5], buckets="tenths")


_SPANS = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda s: (s[0], s[0] + s[1]))
_LABELS = st.sampled_from(["run", "jump", "sit"])
_INSTANCES = st.lists(
    st.tuples(st.sampled_from(["run", "jump", "sit", AMBIGUOUS]), _SPANS), max_size=5
)
_FOUND = st.lists(st.tuples(st.sampled_from("vw"), _SPANS, _LABELS), max_size=20)


@given(_INSTANCES, _INSTANCES, _FOUND, st.sampled_from(list(PROTOCOLS)), st.data())
def test_invariants_of_a_diagnosis(in_v, in_w, found, protocol, data):
    videos = {
        key: [(label, *span) for label, span in instances]
        for key, instances in (("v", [("run", (0, 4)), *in_v]), ("w", in_w))
    }
    ground_truth = truth(20.0, **videos)
    table = detections(*((video, *span, label) for video, span, label in found))
    table = table.take(np.array(data.draw(st.permutations(range(len(table)))), int))
    options = {"tiou_thresholds": [0.3, 0.5], "protocol": protocol}
    outcome = diagnose(ground_truth, table, **options)
    expected = evaluate(ground_truth, table, **options)
    assert outcome.evaluation.to_json() == expected.to_json()
    # Every detection that is scored has one type; nothing is ignored without ambiguity.
    assert outcome.error_types.shape == (expected.detections[0], 2)
    assert set(outcome.error_types.ravel().tolist()) <= set(ErrorType)
    if protocol == "activitynet":
        assert (outcome.error_types != ErrorType.IGNORED).all()
    true = (outcome.error_types == ErrorType.TRUE_POSITIVE).sum(axis=0)
    assert true == pytest.approx((1 - outcome.missed) * outcome.instances)
    # Nothing that is fixed lowers mAP; everything fixed leaves nothing to gain.
    for maps in (*outcome.removed.values(), *outcome.fixed.values()):
        assert (maps >= outcome.evaluation.map - 1e-12).all()
    assert outcome.fixed[EVERYTHING].tolist() == [1.0, 1.0]
    for buckets in outcome.buckets.values():
        assert sum(b.instances for b in buckets) == outcome.instances
        missed = sum(b.instances * b.missed for b in buckets if b.instances)
        assert missed == pytest.approx(outcome.missed.mean() * outcome.instances)


@given(_FOUND)
def test_classes_of_equal_size_need_no_normalization(found):
    ground_truth = truth(v=[RUN, JUMP, ("sit", 5, 9)], w=[])
    table = detections(*((video, *span, label) for video, span, label in found))
    outcome = diagnose(ground_truth, table, tiou_thresholds=[0.3])
    assert outcome.normalized_map == pytest.approx(outcome.evaluation.map)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("scnn/c3d_final_detections_eval0.5.csv.gz", 0.189701),
        ("turn/TURN-FLOW-16_SCNN_thumos14_iou0.5.txt.gz", 0.2556),
    ],
)
def test_published_detections_on_thumos14(data_dir, file, expected):
    folder = data_dir / "thumos14"
    ground_truth = read_annotations(folder / "official_txt", "test")
    names = {
        int(line.split()[0]): line.split()[1]
        for line in (folder / "official_txt" / "detclasslist.txt").read_text().splitlines()
    }
    found = read_detections(folder / file, names)
    outcome = diagnose(ground_truth, found, tiou_thresholds=[0.5])
    assert outcome.evaluation.map == pytest.approx([expected], abs=5e-5)
    assert outcome.fixed[EVERYTHING].tolist() == [1.0]
    assert outcome.unmeasured == 0
    assert [sum(b.instances for b in part) for part in outcome.buckets.values()] == [3358] * 3
    # The authors' own file has S-CNN's recall, the mean of the classes.
    if "scnn" in file:
        reference = json.loads((folder / "scnn/c3d_reference_results.json").read_text())
        assert outcome.removed[EVERYTHING] == pytest.approx([reference["mean_final_recall"][4]])
