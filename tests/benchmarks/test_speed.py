"""The benchmarks measure what they say; how fast it is, is no matter here."""

import numpy as np
import pytest

from benchmarks import data, evaluation, growth, measure, network, untrimmed
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.localization.run import NetworksAt
from scnn_tf.models import C3D
from scnn_tf.models.recipes import get_recipe
from scnn_tf.segments.windows import sliding_windows


def test_calls_are_made_in_turn():
    calls = []
    seconds = measure.in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
    assert "".join(calls) == "ababab"  # the first of each is not counted
    assert set(seconds) == {"a", "b"}
    assert "keras" in measure.machine()["versions"]


def test_multiply_adds_by_hand():
    """Of the convolutions: pixels × 27 × channels in × out; pools halve the picture, then time."""
    model = network.network("proposal", 20, C3D(width=1 / 32, hidden=4, frame_shape=(16, 16)))
    frames, side, channels = 16, 16, 3
    total = 0
    # Filters at width 1/32: 2, 4, 8, 8, 16, 16, 16, 16.
    for filters, pool in zip((2, 4, 8, 8, 16, 16, 16, 16), (1, 2, 0, 2, 0, 2, 0, 2), strict=True):
        total += frames * side * side * 27 * channels * filters
        channels = filters
        if pool:
            frames, side = frames // pool, -(-side // 2)
    total += frames * side * side * 16 * 4 + 4 * 4 + 4 * 2
    assert network.multiply_adds(model) == total


def test_shares_of_the_matmul_rate(monkeypatch):
    """A network whose clip takes half a second each, where a matrix multiplication takes 1 s."""
    monkeypatch.setattr(network, "multiply_adds", lambda model: 10**9)
    monkeypatch.setattr(network, "_model", lambda: None)
    seconds = {"matmul": {"scnn_tf": 1.0, "pytorch": 2.0}}

    def taken(which, *args):
        return seconds.get(which) or {"scnn_tf": args[2] / 2, "pytorch": args[2] * 1.0}

    figures = network._figures(taken, (1, 4), (2,), ("float32",))
    assert figures["matmul_gflops"] == {"float32": round(2 * 4096**3 / 1e9)}
    assert figures["inference"][1] == {
        "precision": "float32", "batch": 4, "scnn_tf_clips_per_s": 2.0, "pytorch_clips_per_s": 1.0,
        "ratio": 2.0, "gflops": 4, "of_matmul_rate": round(4 / 137, 2),
    }  # fmt: skip
    assert figures["training"][0]["gflops"] == 12  # three times as much to multiply


def test_the_naive_way_gives_the_rows_of_localize(tiny_models, tiny_dataset):
    networks = NetworksAt(tiny_models, proposal_threshold=0.5).open()
    videos = read_annotations(tiny_dataset / "annotations.json", "test")
    figures = untrimmed.compare({"ours": networks}, videos, tiny_dataset / "videos", repeats=1)
    assert figures["windows"] == 26 and figures["frames"] == 80
    ours, naive = figures["ours"], figures["naive"]
    assert ours["map"] == naive["map"] and ours["kept"] == naive["kept"]
    assert ours["gflop"] <= naive["gflop"]
    path = tiny_dataset / "videos" / "cat.mp4"
    for ours, theirs in zip(
        *(
            vars(segments).values()
            for segments in (
                networks.score_video(path, "cat"),
                untrimmed.naive(networks, path, "cat"),
            )
        ),
        strict=True,
    ):
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_the_loop_over_rows_gives_the_same_ap():
    pytest.importorskip("pandas")
    figures = evaluation.compare(num_videos=6, num_classes=3, num_detections=300)  # or it raises
    assert set(figures["seconds"]) == {"thumos14", "activitynet", "pandas loop"}
    videos, found = evaluation.random_case(6, 3, 300)
    ap = evaluation.evaluate(videos, found, (0.5,), "activitynet").ap
    assert 0.1 < ap.mean() < 0.9  # neither all nor nothing is right


def test_reading_and_building(tiny_dataset, monkeypatch):
    monkeypatch.setattr(data, "_BATCHES", 2)
    monkeypatch.setattr(data, "STAGES", ("proposal",))
    recipe = get_recipe(str(tiny_dataset / "recipe.json"))
    rows = data.reading(str(tiny_dataset / "shards"), recipe)
    assert all(value > 0 for value in rows["proposal"].values())
    monkeypatch.setattr(data, "_LENGTH", 1.3)
    figures = data.building(tiny_dataset / "videos" / "ann.mp4", copies=2)
    assert figures["frames"] == 200 and figures["times_ffmpeg"]["ffmpeg"] == 1.0


def test_a_straight_line():
    rows = [{"videos": n, "seconds": 2.0 * n + 1} for n in (1, 2, 5)]
    assert growth._line(rows, "videos") == {"seconds_each": 2.0, "seconds_at_0": 1.0, "r2": 1.0}


def test_growth_is_measured_for_each_size(monkeypatch):
    monkeypatch.setattr(growth, "MINUTES", ())
    monkeypatch.setattr(growth, "CLASSES", ())
    monkeypatch.setattr(growth, "VIDEOS", (2, 20))
    monkeypatch.setattr(growth, "_line", lambda rows, name: None)
    rows = growth.measure()["videos"]["rows"]
    assert [row["videos"] for row in rows] == [2, 20] and all(row["mb"] > 50 for row in rows)


def test_growth_runs_all_windows_through_both_networks():
    networks = growth._networks(3)
    segments = growth.score_frames(networks, growth._frames(networks.info.recipe, 40), "video")
    assert len(segments) == len(sliding_windows(40))
