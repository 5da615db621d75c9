import pytest

from benchmarks import network
from scnn_tf.models import C3D


@pytest.mark.parametrize("windows", [1, 3])
def test_multiply_adds_by_hand(windows):
    """A convolution: pixels × 27 × channels in × out; pools halve the picture, then time.

    The fourth makes one step less, and the fifth two less: one for each window.
    """
    model = network.network("proposal", 20, C3D(width=1 / 32, hidden=4, frame_shape=(16, 16)))
    frames, side, channels = 16 + 4 * (windows - 1), 16, 3
    quarter = frames // 4
    total = 0
    # Filters at width 1/32: 2, 4, 8, 8, 16, 16, 16, 16.
    pooled = (frames, frames // 2, 0, quarter, 0, quarter - 1, 0, windows)  # after each pool
    for filters, after in zip((2, 4, 8, 8, 16, 16, 16, 16), pooled, strict=True):
        total += frames * side * side * 27 * channels * filters
        channels = filters
        if after:
            frames, side = after, -(-side // 2)
    total += windows * (side * side * 16 * 4 + 4 * 4 + 4 * 2)
    assert network.multiply_adds(model, samples=16 + 4 * (windows - 1)) == total


def test_fractions_of_the_matmul_rate(monkeypatch):
    """A clip takes the network half a second, and a matrix multiplication 1 s."""
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
