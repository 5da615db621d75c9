import numpy as np
import pytest

from scnn_tf.localization.tables import Detection, Detections, RawSegments, concatenate

DETECTIONS = Detections(
    ["tour", "tour", "match"],
    [12.4, 1 / 3, 100.0],
    [15.0, 7.0, 102.5],
    ["walk", "jump high", "run"],
    [0.87, 0.3, 0.5],
)


def test_concatenate_and_take_keep_the_order_of_rows():
    both = concatenate([DETECTIONS, DETECTIONS.take([1])])
    rows = list(DETECTIONS.rows())
    assert list(both.rows()) == [*rows, rows[1]]
    assert list(DETECTIONS.take(np.array([True, False, True])).rows()) == [rows[0], rows[2]]


def test_columns_have_the_declared_types():
    segments = RawSegments(["v"], [16], [1], [2], ["run"], [1])
    assert segments.window_frames.dtype == np.int64 and segments.start.dtype == np.float64
    assert list(segments.rows()) == [("v", 16, 1.0, 2.0, "run", 1.0, 1.0, 2.0)]


def test_an_action_begins_and_ends_with_its_window_unless_it_is_given():
    segments = RawSegments(["v", "w"], [16, 16], [1, 2], [2, 3], ["run"] * 2, [1, 0.5])
    assert segments.action_start.tolist() == segments.start.tolist() == [1, 2]
    assert segments.action_end.tolist() == segments.end.tolist() == [2, 3]
    segments = RawSegments(["v"], [16], [1], [2], ["run"], [1], [0.75], [2.5])
    assert segments.action_start.dtype == np.float64
    assert list(segments.rows()) == [("v", 16, 1.0, 2.0, "run", 1.0, 0.75, 2.5)]
    both = concatenate([segments, segments])
    assert both.take([1]).action_end.tolist() == [2.5]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="equal length. Received: .*'score': 0"):
        Detections(["v"], [1.0], [2.0], ["run"], [])


def test_detections_are_iterated_row_by_row():
    rows = list(DETECTIONS)
    assert rows[0] == Detection("tour", "walk", 12.4, 15.0, 0.87)
    assert [row.label for row in rows] == ["walk", "jump high", "run"]
    assert isinstance(rows[0].start, float) and isinstance(rows[0].label, str)
    assert str(rows[0]) == "walk  12.4 – 15.0 s  (0.87)"
    assert list(Detections([], [], [], [], [])) == []


def test_detections_are_printed_as_an_aligned_table():
    assert str(DETECTIONS).splitlines() == [
        "0.870     12.40 –    15.00 s  walk       tour",
        "0.300      0.33 –     7.00 s  jump high  tour",
        "0.500    100.00 –   102.50 s  run        match",
    ]
    assert str(Detections([], [], [], [], [])) == ""


def test_a_long_table_counts_the_rows_that_it_does_not_print():
    many = concatenate([DETECTIONS] * 100)
    lines = str(many).splitlines()
    assert len(lines) == 51 and lines[-1] == "… and 250 more"
    assert many.table(max_rows=2).splitlines()[1:] == [
        "0.300      0.33 –     7.00 s  jump high  tour",
        "… and 298 more",
    ]
    assert len(many.table(max_rows=None).splitlines()) == 300


def test_a_name_with_control_characters_is_printed_on_one_line():
    found = Detections(["a\nb"], [1.0], [2.0], ["\x1b[31mrun"], [0.5])
    assert str(found) == r"0.500      1.00 –     2.00 s  \x1b[31mrun  a\nb"
    assert str(next(iter(found))) == r"\x1b[31mrun  1.0 – 2.0 s  (0.50)"
