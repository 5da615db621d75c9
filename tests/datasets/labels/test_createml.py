"""Annotations of Create ML, as Apple describes them."""

import math

from tests.datasets.labels.spans import spans

LABELS = [
    {"video": "day 1/a.mov", "label": "jump", "start": 0, "end": 3.14},
    {"video": "day 1/a.mov", "label": "walk", "start": "01:03", "end": "1:01:03.5"},
    {"video": "b.mov", "label": "jump", "start": 1.5, "end": 2},
]


def test_labels_have_seconds_or_clock_times(read):
    first, second = read("annotations.json", LABELS)
    assert (first.file, spans(first)) == (
        "day 1/a.mov", [("jump", 0, 3.14), ("walk", 63, 3663.5)],
    )  # fmt: skip
    assert (second.file, spans(second)) == ("b.mov", [("jump", 1.5, 2)])


def test_a_label_that_cannot_be_read_costs_that_label(read):
    nameless = {"label": "jump", "start": 1, "end": 2}
    endless = {"video": "b.mov", "label": "jump", "start": "soon"}
    *problems, _, last = read("a.json", [3, nameless, *LABELS, endless])
    assert [video.problem for video in problems] == [
        'label 1: expected an object with a "video". Received: 3',
        'label 2: expected an object with a "video". Received: '
        "{'label': 'jump', 'start': 1, 'end': 2}",
    ]
    assert last.spans[1].problem == "expected two numbers. Received: 'soon' to None"
    assert math.isnan(last.spans[1].end)
