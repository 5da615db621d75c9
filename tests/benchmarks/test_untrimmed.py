import numpy as np
import pytest

from benchmarks import untrimmed
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.localization.run import ModelFolder


@pytest.mark.slow
def test_the_naive_way_finds_the_same_segments_as_localize(tiny_models, tiny_dataset):
    networks = ModelFolder(tiny_models, proposal_threshold=0.5).open()
    videos = read_annotations(tiny_dataset / "annotations.json", "test")
    figures = untrimmed.compare({"ours": networks}, videos, tiny_dataset / "videos", repeats=1)
    ours, naive = figures["ours"], figures["naive"]
    assert figures["videos"] == 1 and ours["windows"] == naive["windows"] == 26
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


@pytest.mark.slow
def test_one_network_counts_shared_products_once(tiny_joint, tiny_dataset):
    networks = ModelFolder(tiny_joint, proposal_threshold=0.0).open()
    videos = read_annotations(tiny_dataset / "annotations.json", "test")
    figures = untrimmed.compare({"ours": networks}, videos, tiny_dataset / "videos", repeats=1)
    assert list(figures) == ["videos", "seconds", "ours"]
    assert figures["ours"]["kept"] == 1 and figures["ours"]["times_faster"] == 1
