import pytest

from benchmarks import growth
from scnn_tf.segments.windows import sliding_windows


def test_least_squares_line_through_rows():
    rows = [{"videos": n, "seconds": 2.0 * n + 1} for n in (1, 2, 5)]
    assert growth._line(rows, "videos") == {"seconds_each": 2.0, "seconds_at_0": 1.0, "r2": 1.0}


@pytest.mark.slow
def test_growth_is_measured_for_each_size(monkeypatch):
    monkeypatch.setattr(growth, "_line", lambda rows, name: None)
    rows = growth.grow(minutes=(), classes=(), videos=(2, 20))["videos"]["rows"]
    assert [row["videos"] for row in rows] == [2, 20] and all(row["mb"] > 50 for row in rows)


def test_the_network_of_growth_keeps_every_window():
    network = growth._network(3)
    segments = network.score_frames(growth._frames(network.info.recipe, 40), "video")
    assert len(segments) == len(sliding_windows(40))
