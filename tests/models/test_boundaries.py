"""Boundaries that are looked for among the windows around a window, by hand."""

import keras
import numpy as np
import pytest

from scnn_tf.models.boundaries import ExpectedOffsets, boundaries_among

REACH = 8
COLUMNS = 2 * REACH + 2  # of a boundary: how much the window looks like it, and 17 distances


def offsets(starts, ends) -> np.ndarray:
    """Returns the offsets of windows, `[n, 2]`, by the logits of their starts and ends."""
    logits = np.concatenate([starts, ends], axis=-1)[None].astype(np.float32)
    return ExpectedOffsets(REACH)(logits).numpy()[0]


def test_untrained_it_gives_nearly_the_window_itself():
    nothing = np.zeros([5, COLUMNS])
    np.testing.assert_allclose(offsets(nothing, nothing), np.zeros([5, 2]), atol=2e-3)


def test_a_window_that_looks_like_a_boundary_is_one_for_all_around_it():
    """Window 6 looks like a start, window 13 like an end; windows are 1/4 length apart."""
    starts, ends = np.zeros([2, 20, COLUMNS])
    starts[6, 0] = ends[13, 0] = 40.0
    found = offsets(starts, ends)
    # The middle of window i is i / 4 lengths away, its start half a length before its middle.
    for window in range(6, 14):
        start, end = found[window]
        assert start == pytest.approx((6 - window) / 4 + 0.5, abs=1e-5)
        assert end == pytest.approx((13 - window) / 4 - 0.5, abs=1e-5)
    # Of windows more than `REACH` away, nothing is changed.
    assert np.abs(found[[15, 19], 0]).max() < 2e-3 and np.abs(found[:5, 1]).max() < 2e-3


def test_a_window_says_how_far_it_is_to_its_boundaries():
    starts, ends = np.zeros([2, 9, COLUMNS])
    starts[:, 1 + REACH - 4] = ends[:, 1 + REACH + 5] = 40.0  # 4 windows back, 5 windows on
    expected = np.broadcast_to([-4 / 4 + 0.5, 5 / 4 - 0.5], [9, 2])
    np.testing.assert_allclose(offsets(starts, ends), expected, atol=1e-5)


def test_a_boundary_between_two_middles_is_their_mean():
    starts, ends = np.zeros([2, 5, COLUMNS])
    # The logits fall by 1 from a window to the next one away from the window's own start, two
    # windows back: so those of one and four windows back are 1 and 2 behind it.
    starts[2, 1 + REACH - 1], starts[2, 1 + REACH - 4] = 40 + 1, 40 + 2
    assert offsets(starts, ends)[2, 0] == pytest.approx(-(1 + 4) / 2 / 4 + 0.5, abs=1e-5)


def test_what_windows_look_like_adds_to_how_likely_their_distances_are():
    starts, ends = np.zeros([2, 9, COLUMNS])
    starts[3, 0] = starts[5, 0] = 20.0  # two look like a start
    starts[:, 1 + REACH - 1] = 20.0  # one window back is likely
    found = offsets(starts, ends)[:, 0]
    assert found[4] == pytest.approx(-1 / 4 + 0.5, abs=1e-5)
    assert found[6] == pytest.approx(-1 / 4 + 0.5, abs=1e-5)


def test_actions_of_several_classes_are_apart():
    logits = np.zeros([1, 4, 3 * 2 * COLUMNS], np.float32)
    logits[..., 2 * COLUMNS + 1 + REACH] = 40.0  # the start of the second action: here
    found = ExpectedOffsets(REACH)(logits).numpy()
    assert found.shape == (1, 4, 6)
    np.testing.assert_allclose(found[0, :, 2], 0.5, atol=1e-5)
    np.testing.assert_allclose(np.delete(found[0], 2, axis=1), 0, atol=2e-3)


def test_the_head_of_a_network_is_saved_with_it(tmp_path):
    features = keras.Input([None, 4])
    model = keras.Model(features, boundaries_among(features, 3, actions=2, name="boundaries"))
    assert model.output_shape == (None, None, 4)
    kernel = model.get_layer("boundaries").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    model.save(tmp_path / "model.keras")
    values = np.random.default_rng(1).normal(size=[2, 6, 4]).astype(np.float32)
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(values), model(values))
    assert np.std(model(values)) > 0.1
