"""The latency of a stream: what the method needs, and what was measured."""

from types import SimpleNamespace

import numpy as np

from benchmarks.live import latencies
from scnn_tf.localization.live_nms import LiveDetection


def test_latencies_are_those_from_the_end_of_an_action():
    def stream(frames, provisional):
        for number, _ in enumerate(frames, start=1):
            if number == 30:
                yield LiveDetection("v", "run", 0.0, 1.0, 0.5, "provisional", 16)
            if number == 45:
                yield LiveDetection("v", "run", 0.0, 1.0, 0.5, "final", 16)

    model = SimpleNamespace(info=SimpleNamespace(frame_rate=10.0), stream=stream)
    found = latencies(model, [np.zeros((1, 1, 3), np.uint8)] * 50, speed=10.0)
    assert set(found) == {"16"} and found["16"]["detections"] == 1
    assert found["16"]["provisional needed"] == [2.0, 2.0]
    assert found["16"]["final needed"] == [3.5, 3.5]
    # Ten times as fast, a tenth of a second of the machine is a second of the stream.
    assert 3.5 <= found["16"]["final measured"][0] < 20
