import dataclasses
import gzip
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


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "row",
    [(5, 5, 0.9), (6, 5, 0.9), (np.nan, 5, 0.9), (0, np.inf, 0.9), (-np.inf, np.inf, 0.9)],
)
def test_a_detection_without_a_length_is_false(protocol, row):
    # False, true: precision 1/2 at the only instance, though [0, 10) contains the other's times.
    found = detections(("v", *row[:2], "run", row[2]), ("v", 0, 9, "run", 0.5))
    outcome = evaluate(truth(v=[("run", 0, 10)]), found, tiou_thresholds=[0.5], protocol=protocol)
    assert outcome.map.tolist() == [0.5]
    assert outcome.detections.tolist() == [2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_detection_without_a_score_is_false_and_last(protocol):
    # It covers the second instance, which stays missing: AP 1/2 as if it were not there.
    found = detections(("v", 4, 6, "run", np.nan), ("v", 0, 2, "run", 0.1))
    ground_truth = truth(v=[("run", 0, 2), ("run", 4, 6)])
    outcome = evaluate(ground_truth, found, tiou_thresholds=[0.5], protocol=protocol)
    assert outcome.map.tolist() == [0.5]
    assert outcome.detections.tolist() == [2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "times", [(0, 0), (5, 5), (2, 0), (np.nan, np.nan), (0, np.inf), (np.inf, np.inf)]
)
def test_an_instance_without_a_length_counts_and_is_not_found(protocol, times):
    # One of two instances is found by the only detection, the exact one of [0, 2): AP 1/2.
    ground_truth = truth(v=[("run", *times), ("run", 0, 2)], w=[("hop", *times)])
    found = detections(("v", 0, 2, "run", 0.9), ("w", 0, 2, "hop", 0.9))
    outcome = evaluate(ground_truth, found, tiou_thresholds=[0.1, 1 - 1e-9], protocol=protocol)
    assert outcome.class_instances.tolist() == [1, 2]
    assert outcome.ap.tolist() == [[0.0, 0.0], [0.5, 0.5]]


def test_an_instance_before_the_start_or_after_the_end_is_found_like_any_other():
    (video,) = truth(v=[("run", -1, 1), ("run", 90, 99)]).values()
    ground_truth = {"v": dataclasses.replace(video, duration=30.0)}
    found = detections(("v", -1, 1, "run", 0.9), ("v", 90, 99, "run", 0.8))
    assert evaluate(ground_truth, found, tiou_thresholds=[0.9]).map.tolist() == [1.0]


def kit_map(ground_truth, found, threshold, protocol):
    """mAP by the loops of the challenges' evaluation, written out row by row.

    THUMOS: an instance takes the best free detection above the threshold; the others are false,
    unless they touch an ambiguous interval. ActivityNet: a detection takes the best free instance
    at or above it; a precision is the highest at its own or a higher recall.
    """

    def overlap(start, end, other_start, other_end):
        inside = min(end, other_end) - max(start, other_start)
        return inside / (max(end, other_end) - min(start, other_start)) if inside > 0 else 0.0

    rows = sorted(
        enumerate(found.rows()),
        key=lambda row: (-row[1][4], row[1][0] if protocol == "thumos14" else "", row[0]),
    )
    results = []
    for name in sorted({i.label for v in ground_truth.values() for i in v.actions}):
        ours = [row for _, row in rows if row[3] == name and row[0] in ground_truth]
        true, ignored, count = set(), set(), 0
        by_video = {key: [n for n, row in enumerate(ours) if row[0] == key] for key in ground_truth}
        for key, video in ground_truth.items():
            instances = [i for i in video.actions if i.label == name]
            count += len(instances)
            table = {
                n: [overlap(*ours[n][1:3], i.start, i.end) for i in instances]
                for n in by_video[key]
            }
            if protocol == "thumos14":
                for column in range(len(instances)):
                    free = [n for n in by_video[key] if n not in true]
                    best = max(free, key=lambda n: table[n][column], default=None)
                    if best is not None and table[best][column] > threshold:
                        true.add(best)
                for n in set(by_video[key]) - true:
                    if any(overlap(*ours[n][1:3], i.start, i.end) > 0 for i in video.ambiguous):
                        ignored.add(n)
            else:
                taken = set()
                for n in by_video[key]:
                    free = [c for c in range(len(instances)) if c not in taken]
                    best = max(free, key=lambda c: table[n][c], default=None)
                    if best is not None and table[n][best] >= threshold:
                        true.add(n)
                        taken.add(best)
        counted = [n in true for n in range(len(ours)) if n not in ignored]
        precision, hits = [], 0
        for rank, hit in enumerate(counted, start=1):
            hits += hit
            if hit:
                precision.append(hits / rank)
        if protocol == "activitynet":
            precision = [max(precision[n:]) for n in range(len(precision))]
        results.append(sum(precision) / count)
    return sum(results) / len(results)


@pytest.mark.data
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_published_detections_with_rows_without_a_length_are_evaluated_like_by_the_kit(
    data_dir, tmp_path, protocol, caplog
):
    data = data_dir / "thumos14"
    # TURN's file with every 97th row turned round or shortened to nothing, and scored higher; the
    # annotations with times as text, and an instance [0, 0] in every 20th video.
    source = gzip.decompress((data / "turn/TURN-FLOW-16_SCNN_thumos14_iou0.5.txt.gz").read_bytes())
    lines = [line.split() for line in source.decode().splitlines()]
    for number, row in enumerate(lines[::97]):
        row[1:3] = (row[2], row[1]) if number % 2 else (row[1], row[1])
        row[4] = str(2 * float(row[4]))
    (tmp_path / "found.txt").write_text("".join(f"{' '.join(row)}\n" for row in lines))
    content = json.loads((data / "thumos14.json").read_text())
    test = [entry for entry in content["database"].values() if entry["subset"].lower() == "test"]
    for number, entry in enumerate(test):
        entry["duration"] = str(entry["duration"])
        for item in entry["annotations"]:
            item["segment"] = [str(seconds) for seconds in item["segment"]]
        if not number % 20:
            entry["annotations"].append(entry["annotations"][0] | {"segment": ["0", "0"]})
    (tmp_path / "truth.json").write_text(json.dumps(content))

    ground_truth = read_annotations(tmp_path / "truth.json", "test")
    found = read_detections(
        tmp_path / "found.txt", read_class_list(data / "official_txt/detclasslist.txt")
    )
    assert sum(len(video.actions) for video in ground_truth.values()) == 3358 + 11
    degenerate = len(lines[::97])
    assert f"{degenerate} of {len(lines)} detections have no length or no score" in caplog.text
    assert "truth.json: 11 instance(s) have no length" in caplog.text
    outcome = evaluate(ground_truth, found, tiou_thresholds=[0.5], protocol=protocol)
    assert outcome.map[0] == pytest.approx(kit_map(ground_truth, found, 0.5, protocol), abs=1e-12)
    without = evaluate(
        ground_truth, found.take(found.usable), tiou_thresholds=[0.5], protocol=protocol
    )
    assert outcome.map[0] < without.map[0]  # they do count


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
