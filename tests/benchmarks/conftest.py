"""Fixtures that make small videos whose pictures and times are known."""

from fractions import Fraction

import av
import numpy as np
import pytest


def _pictures(count: int, size: int = 32) -> np.ndarray:
    """Grey pictures, each 5 brighter than the one before."""
    grey = 40 + 5 * np.arange(count, dtype=np.uint8)
    return np.tile(grey[:, None, None, None], (1, size, size, 3))


def _write_at(path, milliseconds: list[int]):
    """Writes `_pictures` that are shown at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(milliseconds, _pictures(len(milliseconds)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def pictures():
    """The function that makes grey pictures."""
    return _pictures


@pytest.fixture
def write_at():
    """The function that writes a video with given display times."""
    return _write_at
