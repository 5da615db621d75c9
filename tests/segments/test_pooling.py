import numpy as np
import pytest

from scnn_tf.segments.pooling import pooled, pooled_size
from scnn_tf.segments.windows import Segment

VECTORS = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]])


def test_means_over_the_strides_of_a_window_and_around_it():
    """A vector each 8 frames; the window [8, 24) has strides of 4 frames, in halves of vectors."""
    (found,) = pooled(VECTORS, 8.0, [Segment(8, 16)])
    #                                  [4, 8) [8, 12) [12, 16) [16, 20) [20, 24) [24, 28)
    np.testing.assert_allclose(found[::2], [1, 2, 2, 4, 4, 8])
    np.testing.assert_allclose(found[1::2], [10, 20, 20, 40, 40, 80])
    assert found.dtype == np.float32 and len(found) == pooled_size(2) == 12


def test_strides_that_contain_several_vectors_and_parts_of_them():
    """The window [0, 24) of vectors each 4.5 frames: strides of 6 frames are 1⅓ vectors."""
    (found,) = pooled(VECTORS, 4.5, [Segment(0, 24)])
    third = 1 / 3
    expected = [
        1,  # before the video, the first vector holds
        (1 + third * 2) / (4 / 3),
        (2 * third * 2 + 2 * third * 4) / (4 / 3),
        (third * 4 + 8) / (4 / 3),
        8,  # after the last vector, it still holds
        8,
    ]
    np.testing.assert_allclose(found[::2], expected, rtol=1e-6)


@pytest.mark.parametrize("length", [16, 48, 512])
def test_constant_features_stay(length):
    windows = [Segment(start, length) for start in (0, 5, 1000)]
    found = pooled(np.full([3, 2], 7.0), 2.5, windows)
    np.testing.assert_allclose(found, np.full([3, 12], 7.0), rtol=1e-6)


def test_no_windows():
    assert pooled(VECTORS, 8.0, []).shape == (0, 12)
