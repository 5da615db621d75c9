import csv
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scnn_tf.segments.labels import label_segments, tiou
from scnn_tf.segments.windows import WINDOW_FRAMES, sliding_windows


def test_tiou_by_hand():
    segments = [[0, 4], [2, 6], [10, 12]]
    instances = [[0, 4], [3, 8], [4, 10], [10.5, 11]]
    expected = [
        [1, 1 / 8, 0, 0],  # itself; [3, 4) of [0, 8); they touch; apart
        [2 / 6, 3 / 6, 2 / 8, 0],  # [2, 4) of [0, 6); [3, 6) of [2, 8); [4, 6) of [2, 10)
        [0, 0, 0, 0.5 / 2],  # the last instance lies inside: .5 of 2
    ]
    np.testing.assert_allclose(tiou(segments, instances), expected)


def test_tiou_without_segments_or_instances():
    assert tiou(np.empty([0, 2]), [[0, 1]]).shape == (0, 1)
    assert tiou([[0, 1]], np.empty([0, 2])).shape == (1, 0)


SPAN = st.tuples(st.integers(-50, 50), st.integers(1, 60)).map(lambda x: [x[0], x[0] + x[1]])


@settings(deadline=None)
@given(SPAN, SPAN)
def test_tiou_is_the_share_of_common_frames(a, b):
    frames_a, frames_b = set(range(*a)), set(range(*b))
    # The union is the hull of both where they meet, and only there it matters.
    expected = len(frames_a & frames_b) / len(frames_a | frames_b)
    assert tiou([a], [b])[0, 0] == pytest.approx(expected)
    assert tiou([b], [a])[0, 0] == tiou([a], [b])[0, 0]


def test_labels_by_hand():
    instances = [[0, 10], [100, 120]]
    segments = [
        [0, 9],  # 9/10 of instance 0: > .7
        [1, 8],  # 7/10, not > .7; nor is it needed: instance 0 has the first
        [0, 30],  # 10/30, between .3 and .5
        [0, 40],  # 10/40 = .25 < .3, just enough to belong to instance 0
        [100, 112],  # 12/20 = .6: the best of instance 1, which has none over .7
        [109, 120],  # 11/20 = .55 > .5, but not the best
        [116, 140],  # 4/40 < .25
        [200, 216],
    ]
    labels = label_segments(segments, instances)
    assert labels.instance.tolist() == [0, 0, 0, 0, 1, 1, -1, -1]
    np.testing.assert_allclose(labels.overlap, [0.9, 0.7, 1 / 3, 0.25, 0.6, 0.55, 1, 1])
    assert labels.positive.tolist() == [True] + [False] * 3 + [True] + [False] * 3
    assert labels.background.tolist() == [False] * 3 + [True] + [False] * 2 + [True] * 2


def test_the_best_segment_of_an_instance_is_positive_only_above_a_half():
    # 5/10, not > .5: the instance has no positive segment, and the segment is not used.
    labels = label_segments([[0, 5]], [[0, 10]])
    assert labels.positive.tolist() == [False]
    assert labels.background.tolist() == [False]


def test_a_tiou_equal_to_a_threshold_is_neither_above_nor_below():
    # 7/10 is not > .7, so the best rule takes it; 3/10 is not < .3.
    labels = label_segments([[0, 7], [20, 23]], [[0, 10], [20, 30]])
    assert labels.positive.tolist() == [True, False]
    assert labels.overlap.tolist() == [0.7, 0.3]
    assert labels.background.tolist() == [False, False]


def test_another_threshold_of_background():
    # 3/10, 5/10, 2/10 and 9/10 of the instance.
    segments = [[0, 3], [0, 5], [8, 10], [0, 9]]

    def backgrounds(**thresholds):
        return label_segments(segments, [[0, 10]], **thresholds).background.tolist()

    assert backgrounds() == [False, False, True, False]
    assert backgrounds(background_tiou=0.5) == [True, False, True, False]
    # A positive segment is never background.
    assert backgrounds(background_tiou=1.0) == [True, True, True, False]


def test_another_threshold_of_positives():
    # 9/10, 6/10 and 5/10 of the instance.
    segments = [[0, 9], [0, 6], [0, 5]]
    assert label_segments(segments, [[0, 10]]).positive.tolist() == [True, False, False]
    labels = label_segments(segments, [[0, 10]], positive_tiou=0.5)
    assert labels.positive.tolist() == [True, True, False]
    np.testing.assert_allclose(labels.overlap, [0.9, 0.6, 0.5])
    assert labels.background.tolist() == [False] * 3


def test_with_a_margin_what_is_around_a_segment_counts():
    # With 4 frames on either side of 16: all 24 frames; 24/48; 10/24, which alone is 10/16.
    segments = [[4, 20], [40, 56], [112, 128]]
    instances = [[0, 24], [24, 72], [115, 125]]
    labels = label_segments(segments, instances, margin=0.25)
    np.testing.assert_allclose(labels.overlap, [1, 24 / 48, 10 / 24])
    assert labels.positive.tolist() == [True, False, False]
    np.testing.assert_allclose(
        label_segments(segments, instances).overlap, [16 / 24, 1 / 3, 10 / 16]
    )
    # Not for what is ambiguous: a segment that does not meet it may be background.
    labels = label_segments([[0, 16]], np.empty([0, 2]), [[17, 30]], margin=0.25)
    assert labels.background.tolist() == [True]


def test_a_segment_belongs_to_the_instance_with_the_largest_tiou():
    # 10/12 of the first, 10/11 of the second.
    labels = label_segments([[0, 10]], [[0, 12], [0, 11]])
    assert labels.instance.tolist() == [1]
    np.testing.assert_allclose(labels.overlap, [10 / 11])


def test_a_positive_segment_does_not_change_to_an_instance_whose_best_it_is():
    # The segment is 10/11 of instance 0 and 10/16 = .625 of instance 1, whose best it is too.
    labels = label_segments([[0, 10]], [[0, 11], [0, 16]])
    assert labels.instance.tolist() == [0]
    np.testing.assert_allclose(labels.overlap, [10 / 11])


def test_the_best_segment_of_two_instances_belongs_to_the_larger_tiou():
    # 10/18 = .56 and 10/16 = .625, both over .5 and under .7, and there is no other segment.
    labels = label_segments([[0, 10]], [[0, 18], [0, 16]])
    assert labels.instance.tolist() == [1]
    np.testing.assert_allclose(labels.overlap, [0.625])


def test_background_does_not_intersect_ambiguous_intervals():
    segments = [[0, 16], [16, 32], [32, 48], [100, 116]]
    ambiguous = [[31, 33]]  # shares a frame with the second, and one with the third
    labels = label_segments(segments, np.empty([0, 2]), ambiguous)
    assert labels.background.tolist() == [True, False, False, True]
    # A positive segment stays positive.
    labels = label_segments(segments, [[16, 32]], ambiguous)
    assert labels.instance.tolist() == [-1, 0, -1, -1]
    assert labels.background.tolist() == [True, False, False, True]


def test_without_instances_all_segments_are_background():
    labels = label_segments([[0, 16], [4, 20]], np.empty([0, 2]))
    assert labels.instance.tolist() == [-1, -1]
    assert labels.background.tolist() == [True, True]


def test_no_segments_have_no_labels():
    labels = label_segments(np.empty([0, 2]), [[0, 10]], [[3, 5]])
    assert [len(field) for field in labels] == [0, 0, 0, 0]


SPANS = st.lists(SPAN, max_size=6)


@settings(deadline=None)
@given(st.lists(SPAN, max_size=20), SPANS, SPANS)
def test_labels_agree_with_tiou(segments, instances, ambiguous):
    labels = label_segments(segments, instances, ambiguous)
    for segment, instance, overlap, positive, background in zip(segments, *labels, strict=True):
        overlaps = [tiou([segment], [i])[0, 0] for i in instances]
        if instance >= 0:
            assert 0.25 <= overlap == overlaps[instance]
        else:
            assert overlap == 1
            assert max(overlaps, default=0) < 0.25
        if positive:
            assert not background
            assert 0.5 < overlap
        else:
            assert max(overlaps, default=0) <= 0.7
        if background:
            assert max(overlaps, default=0) < 0.3
            assert not any(tiou([segment], [i])[0, 0] for i in ambiguous)


def thumos14_validation(data_dir) -> dict[str, tuple[float, np.ndarray]]:
    """Returns video → its duration and its instances [M, 2], in seconds."""
    folder = data_dir / "thumos14"
    instances = defaultdict(list)
    with open(folder / "thumos14_gt_val.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["ambiguous"] == "0":
                instances[row["video"]].append((float(row["start_s"]), float(row["end_s"])))
    lines = (folder / "official_txt" / "validation_durations.txt").read_text().split()
    durations = dict(zip(lines[::2], map(float, lines[1::2]), strict=True))
    return {k: (durations[f"{k}.mp4"], np.array(v)) for k, v in instances.items()}


def count_positives(videos, convention) -> tuple[list[int], int]:
    """Counts positive segments over .7 by length, and those that are only an instance's best."""
    longest = max(duration for duration, _ in videos.values())
    all_windows = np.array(sliding_windows(int(longest * 30) + 600))
    counts, best = Counter(), 0
    for duration, instances in videos.values():
        past_the_end, spans, instances = convention(all_windows, instances)
        inside = all_windows.sum(axis=1) <= int(duration * 30) + past_the_end
        labels = label_segments(spans[inside], instances)
        over = labels.overlap > 0.7
        counts.update(all_windows[inside, 1][labels.positive & over].tolist())
        best += int((labels.positive & ~over).sum())
    return [counts[length] for length in WINDOW_FRAMES], best


@given(SPANS, SPANS)
def test_labels_do_not_depend_on_the_size_of_blocks(instances, ambiguous):
    windows = np.array([(w.start, w.end) for w in sliding_windows(120, (16, 32))])
    labels = [label_segments(windows, instances, ambiguous)]
    for block in (1, 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("scnn_tf.segments.labels._BLOCK", block)
            labels.append(label_segments(windows, instances, ambiguous))
    for other in labels[1:]:
        for field, expected in zip(other, labels[0], strict=True):
            np.testing.assert_array_equal(field, expected)


@pytest.mark.data
def test_positives_of_thumos14(data_dir):
    videos = thumos14_validation(data_dir)
    assert len(videos) == 200
    assert sum(len(instances) for _, instances in videos.values()) == 3007

    # The authors' frames are numbered from 1, a window is [start + 1, start + length], both
    # inclusive and taken as the seconds number/30, and windows may pass the end of the video.
    def authors(windows, instances):
        return 600, np.stack([windows[:, 0] + 1, windows.sum(axis=1)], axis=1) / 30, instances

    assert count_positives(videos, authors) == ([235, 728, 1110, 1165, 782, 74], 11)

    # Ours are half-open, [start, start + length), in frames, and end where the video ends. Some
    # tIoU here are .7 exactly, and 4 of the 4203 are above it only by their last bit.
    def ours(windows, instances):
        return 0, np.stack([windows[:, 0], windows.sum(axis=1)], axis=1), instances * 30

    assert count_positives(videos, ours) == ([231, 816, 1140, 1161, 781, 74], 12)
