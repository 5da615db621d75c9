import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate, evaluate_segments
from scnn_tf.evaluation.protocols import PROTOCOLS
from scnn_tf.localization.formats import read_class_list, read_detections, read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.segments.prior import read_prior


def truth(**videos):
    return {
        key: VideoAnnotation(key, "test", None, None, tuple(Instance(*i) for i in instances))
        for key, instances in videos.items()
    }


def detections(*rows):
    return Detections(*zip(*rows, strict=True))


NONE = Detections([], [], [], [], [])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_average_precision_by_hand(protocol):
    # By score: true, false, false, true. Precision at the true ones 1/1 and 2/4, of 3
    # instances: (1 + 1/2) / 3 = 1/2. Interpolation changes nothing here.
    ground_truth = truth(v=[("run", 0, 2), ("run", 4, 6), ("run", 8, 10)])
    found = detections(
        ("v", 0, 2, "run", 0.9),
        ("v", 20, 22, "run", 0.8),
        ("v", 30, 32, "run", 0.7),
        ("v", 4, 6, "run", 0.6),
    )
    assert evaluate(
        ground_truth, found, tiou_thresholds=[0.5], protocol=protocol
    ).map == pytest.approx([0.5])


def test_a_video_with_nothing_but_ambiguous_intervals_still_counts():
    ground_truth = truth(v1=[("run", 0, 2)], v2=[(AMBIGUOUS, 0, 1)])
    found = detections(("v2", 4, 5, "run", 0.9), ("v1", 0, 2, "run", 0.8))
    outcome = evaluate(ground_truth, found, tiou_thresholds=[0.5])
    assert outcome.map.tolist() == [0.5]
    assert (outcome.videos, outcome.ambiguous) == (2, 1)


def test_map_is_over_all_classes_that_have_instances():
    ground_truth = truth(v=[("run", 0, 2), ("hop", 4, 6)])
    outcome = evaluate(
        ground_truth, detections(("v", 0, 2, "run", 0.9)), tiou_thresholds=[0.3, 0.5]
    )
    assert outcome.class_names == ("hop", "run")
    assert outcome.ap.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert outcome.map.tolist() == [0.5, 0.5]
    assert outcome.class_instances.tolist() == [1, 1]


def test_detections_of_other_videos_and_classes_are_skipped_and_logged(caplog):
    ground_truth = truth(v=[("run", 0, 2)])
    found = detections(("w", 0, 2, "run", 0.99), ("v", 0, 2, "swim", 0.98), ("v", 0, 2, "run", 0.9))
    outcome = evaluate(ground_truth, found, tiou_thresholds=[0.5])
    assert outcome.map.tolist() == [1.0]
    assert outcome.detections.tolist() == [1]
    assert "skipped 1 of 3 detections: their 1 videos are not in the ground truth" in caplog.text
    assert "swim" in caplog.text


def test_detections_of_other_videos_only_are_an_error():
    found = detections(("v.mp4", 0, 2, "run", 0.9))
    with pytest.raises(
        InputError, match=r"'v'. Received: 1 detections of other videos, such as 'v\.mp4'"
    ):
        evaluate(truth(v=[("run", 0, 2)]), found, tiou_thresholds=[0.5])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_detections_give_zero(protocol):
    outcome = evaluate(
        truth(v=[("run", 0, 2)]), NONE, tiou_thresholds=[0.3, 0.5], protocol=protocol
    )
    assert outcome.map.tolist() == [0.0, 0.0]


def test_bad_arguments_are_refused():
    ground_truth = truth(v=[("run", 0, 2)])
    with pytest.raises(InputError, match="protocol, thumos14 or activitynet. Received: 'coco'"):
        evaluate(ground_truth, NONE, tiou_thresholds=[0.5], protocol="coco")
    for thresholds in ([], [0.0], [1.5], [float("nan")]):
        with pytest.raises(InputError, match=r"expected tIoU thresholds in \(0, 1\]"):
            evaluate(ground_truth, NONE, tiou_thresholds=thresholds)
    with pytest.raises(InputError, match="at least one instance"):
        evaluate(truth(v=[(AMBIGUOUS, 0, 2)]), NONE, tiou_thresholds=[0.5])


def test_table_and_json_contain_all_figures():
    ground_truth = truth(v=[("run", 0, 2), (AMBIGUOUS, 3, 4)])
    outcome = evaluate(
        ground_truth, detections(("v", 0, 2, "run", 1.0)), tiou_thresholds=[0.3, 0.5]
    )
    assert json.loads(json.dumps(outcome.to_json())) == {
        "protocol": "thumos14",
        "videos": 1,
        "instances": 1,
        "ambiguous": 1,
        "classes": 1,
        "detections": {"0.3": 1, "0.5": 1},
        "map": {"0.3": 1.0, "0.5": 1.0},
        "ap": {"run": {"0.3": 1.0, "0.5": 1.0}},
    }
    assert outcome.table().splitlines() == [
        "protocol thumos14: 1 videos, 1 instances, 1 ambiguous intervals, 1 classes",
        "tIoU       instances       0.3       0.5",
        "run                1  1.000000  1.000000",
        "mAP                1  1.000000  1.000000",
        "detections                   1         1",
    ]


def test_nms_threshold_is_each_tiou_threshold_minus_a_tenth():
    # tIoU of [0, 4) and [2, 6) is 2/6: over .2, under .4. So the second survives at .5 only.
    segments = RawSegments(["v", "v"], [16, 16], [0, 2], [4, 6], ["run", "run"], [0.9, 0.8])
    ground_truth = truth(v=[("run", 0, 4), ("run", 2, 6)])
    outcome = evaluate_segments(
        ground_truth, segments, prior=None, tiou_thresholds=[0.05, 0.3, 0.5]
    )
    assert outcome.tiou_thresholds == (0.05, 0.3, 0.5)
    assert outcome.detections.tolist() == [1, 1, 2]
    assert outcome.map.tolist() == [0.5, 0.5, 1.0]


APART = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["hop", "run"])), min_size=1, max_size=12
)


@given(APART, st.randoms(use_true_random=False), st.sampled_from(list(PROTOCOLS)))
def test_perfect_detections_give_one_whatever_the_order_of_videos(labels, random, protocol):
    instances = [(v, 3.0 * i, 3.0 * i + 2, label) for i, (v, label) in enumerate(labels)]
    found = [(*row, random.random()) for row in instances]
    videos = sorted({row[0] for row in instances})
    random.shuffle(videos)
    random.shuffle(found)
    ground_truth = truth(
        **{v: [(label, s, e) for w, s, e, label in instances if w == v] for v in videos}
    )
    outcome = evaluate(
        ground_truth, detections(*found), tiou_thresholds=[0.1, 0.5, 0.99], protocol=protocol
    )
    assert outcome.map == pytest.approx(np.ones(3))


ANY = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 15),
        st.integers(1, 6),
        st.sampled_from(["hop", "run"]),
    ),
    min_size=1,
    max_size=15,
)


@given(ANY, ANY, st.permutations("abc"), st.sampled_from(list(PROTOCOLS)))
def test_the_order_of_videos_does_not_matter(instances, found, order, protocol):
    rows = [(v, s, s + n, label, 1 / (2 + i)) for i, (v, s, n, label) in enumerate(found)]

    def outcome(videos, rows):
        ground_truth = truth(
            **{v: [(label, s, s + n) for w, s, n, label in instances if w == v] for v in videos}
        )
        return evaluate(
            ground_truth, detections(*rows), tiou_thresholds=[0.2, 0.5], protocol=protocol
        )

    ap = outcome("abc", rows).ap
    assert (outcome(order, sorted(rows, key=lambda row: order.index(row[0]))).ap == ap).all()
    assert ((0 <= ap) & (ap <= 1)).all()


@pytest.fixture(scope="module")
def authors(data_dir):
    data = data_dir / "thumos14"
    return (
        read_segments(data / "scnn" / "c3d_localization_raw_segments.csv.gz"),
        read_prior(data / "window_prior.csv"),
        read_annotations(data / "official_txt" / "temporal_annotations_test", "test"),
    )


TIOU = [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.data
def test_table_2_of_the_paper_from_the_authors_raw_scores(data_dir, authors):
    data = data_dir / "thumos14"
    segments, prior, ground_truth = authors
    outcome = evaluate_segments(
        ground_truth, segments, prior=prior, tiou_thresholds=TIOU, text_rounding=True
    )
    reference = json.loads((data / "scnn" / "c3d_reference_results.json").read_text())
    np.testing.assert_allclose(
        outcome.map, [0.477186, 0.435345, 0.362761, 0.287022, 0.189701], atol=1e-6, rtol=0
    )
    np.testing.assert_allclose(outcome.map, reference["mAP"], atol=1e-9, rtol=0)
    assert set(outcome.class_names) == set(reference["AP"])
    for name, ap in zip(outcome.class_names, outcome.ap, strict=True):
        np.testing.assert_allclose(ap, reference["AP"][name], atol=1e-9, rtol=0, err_msg=name)
    assert outcome.detections.tolist() == [10285, 11294, 14350, 19025, 24244]
    assert (outcome.videos, outcome.class_instances.sum(), outcome.ambiguous) == (213, 3358, 99)


@pytest.mark.data
def test_a_threshold_off_by_its_last_bit_gives_the_same(authors):
    segments, prior, ground_truth = authors
    outcomes = [
        evaluate_segments(
            ground_truth, segments, prior=prior, tiou_thresholds=[tiou], text_rounding=True
        )
        for tiou in (0.3, 0.1 + 0.2)  # .30000000000000004, as the authors' loop made it
    ]
    np.testing.assert_array_equal(outcomes[0].ap, outcomes[1].ap)


@pytest.mark.data
@pytest.mark.parametrize(
    ("use_prior", "rounding", "expected"),
    [
        (False, True, [0.4427, 0.3759, 0.2794, 0.1969, 0.1313]),
        (True, False, [0.4747, 0.4321, 0.3569, 0.2824, 0.1903]),
    ],
)
def test_without_prior_or_rounding(authors, use_prior, rounding, expected):
    segments, prior, ground_truth = authors
    prior = prior if use_prior else None
    outcome = evaluate_segments(
        ground_truth, segments, prior=prior, tiou_thresholds=TIOU, text_rounding=rounding
    )
    np.testing.assert_allclose(outcome.map, expected, atol=5e-5, rtol=0)


@pytest.mark.data
def test_without_nms(authors):
    segments, prior, ground_truth = authors
    found = detections_from_segments(segments, prior, None, text_rounding=True)
    outcome = evaluate(ground_truth, found, tiou_thresholds=TIOU)
    np.testing.assert_allclose(
        outcome.map, [0.0820, 0.0805, 0.0781, 0.0749, 0.0701], atol=5e-5, rtol=0
    )


@pytest.mark.data
def test_json_ground_truth_lacks_the_ambiguous_intervals(data_dir, authors):
    data = data_dir / "thumos14"
    # 212 videos, no ambiguous interval: nothing is ignored, and mAP is a point lower. The one
    # video that has nothing else is not there, so that its detections are skipped.
    segments, prior, _ = authors
    ground_truth = read_annotations(data / "thumos14.json", "test")
    outcome = evaluate_segments(
        ground_truth, segments, prior=prior, tiou_thresholds=TIOU, text_rounding=True
    )
    assert (outcome.videos, outcome.class_instances.sum(), outcome.ambiguous) == (212, 3358, 0)
    assert outcome.detections.tolist() == [10270, 11278, 14331, 18999, 24209]
    np.testing.assert_allclose(
        outcome.map, [0.466218, 0.425750, 0.355579, 0.281258, 0.185258], atol=1e-6, rtol=0
    )


@pytest.mark.data
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("thumos14", [0.5404, 0.4413, 0.2556]), ("activitynet", [0.5664, 0.4498, 0.2588])],
)
def test_another_published_system(data_dir, authors, protocol, expected):
    data = data_dir / "thumos14"
    classes = read_class_list(data / "official_txt" / "detclasslist.txt")
    for tiou, wanted in zip((0.1, 0.3, 0.5), expected, strict=True):
        path = data / "turn" / f"TURN-FLOW-16_SCNN_thumos14_iou{tiou}.txt.gz"
        outcome = evaluate(
            authors[2],
            read_detections(path, classes),
            tiou_thresholds=[tiou],
            protocol=protocol,
        )
        assert outcome.map[0] == pytest.approx(wanted, abs=5e-5)
