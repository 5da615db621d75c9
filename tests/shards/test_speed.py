"""Windows of stretches that are shown faster than they are."""

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models.recipes import ShardRecipe
from scnn_tf.segments.labels import label_segments
from scnn_tf.shards.speed import WindowTargets, at_rate, random_rate

SHARDS = ShardRecipe(stretch_windows=13, positive_tiou=0.5, background_tiou=0.5)
WINDOWS = 4.0 * np.arange(13)[:, None] + [0, 16]  # in samples


def targets(*actions) -> WindowTargets:
    """The targets of all windows; the first action is of class 1, the next of class 2."""
    labels = label_segments(WINDOWS, np.array(actions), None, 0.5, 0.5)
    label = np.where(labels.positive, labels.instance + 1, np.where(labels.background, 0, -1))
    offsets = (np.array(actions, float)[labels.instance] - WINDOWS) / 16
    offsets[labels.instance < 0] = 0
    return WindowTargets(
        tf.constant(label),
        tf.constant(labels.overlap, tf.float32),
        tf.constant(offsets, tf.float32),
    )


def test_longer_windows_by_hand():
    # The action is [20, 44). At 1.5 times the speed, windows of 24 samples begin every 6.
    found = at_rate(targets((20, 44)), tf.constant(1.5), tf.constant(2.0), 4, SHARDS)
    # [2, 26) has a tIoU of 6 / 42, [8, 32) of 12 / 36, [14, 38) of 18 / 30, and [20, 44) of 1. The
    # window nearest to the third is [16, 32), with 12 / 28: which class it is, it does not say.
    assert found.labels.numpy().tolist() == [0, 0, -1, 1]
    np.testing.assert_allclose(found.overlaps, [1, 1 / 3, 0.6, 1], rtol=1e-6)
    np.testing.assert_allclose(found.offsets[1:], [[0.5, 0.5], [0.25, 0.25], [0, 0]], atol=1e-6)


def test_a_margin_counts_as_window():
    shards = ShardRecipe(stretch_windows=13, positive_tiou=0.5, background_tiou=0.5, margin=0.25)
    # Windows of 24 samples, with 6 on either side: [2, 38) has a tIoU of 18 / 42 with [20, 44).
    found = at_rate(targets((20, 44)), tf.constant(1.5), tf.constant(8.0), 1, shards)
    np.testing.assert_allclose(found.overlaps, [18 / 42], rtol=1e-6)


def test_what_is_neither_stays_neither():
    stored = targets((20, 44))._replace(labels=tf.fill([13], tf.constant(-1, tf.int64)))
    found = at_rate(stored, tf.constant(2.0), tf.constant(0.0), 3, SHARDS)
    assert found.labels.numpy().tolist() == [-1, -1, -1]


def test_each_class_has_windows_of_its_own():
    one, other = targets((20, 44)), targets((0, 8))
    both = WindowTargets(*(tf.stack(each, axis=1) for each in zip(one, other, strict=True)))
    found = at_rate(both, tf.constant(1.5), tf.constant(2.0), 4, SHARDS)
    for column, stored in enumerate((one, other)):
        alone = at_rate(stored, tf.constant(1.5), tf.constant(2.0), 4, SHARDS)
        for values, expected in zip(found, alone, strict=True):
            np.testing.assert_array_equal(values[:, column], expected)


@pytest.mark.parametrize("rate", [1.0, 1.00001])
@pytest.mark.parametrize("first", [0.0, 4.0, 36.0])
def test_at_their_own_speed_windows_have_their_own_targets(first, rate):
    stored = targets((20, 45), (50, 60))
    found = at_rate(stored, tf.constant(rate), tf.constant(first), 4, SHARDS)
    window = int(first) // 4
    labels, overlaps, offsets = (each[window : window + 4] for each in stored)
    shows, atol = overlaps.numpy() < 1, 0 if rate == 1 else 1e-3
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.overlaps, overlaps, atol=atol)
    np.testing.assert_allclose(found.offsets[shows], offsets[shows], atol=atol)


def test_half_of_the_rates_are_one_and_the_logarithms_of_the_others_uniform():
    seeds = tf.stack([tf.range(4000), tf.fill([4000], 7)], axis=1)
    rates = tf.map_fn(lambda seed: random_rate(2.0, seed), seeds, fn_output_signature=tf.float32)
    rates = rates.numpy()
    faster = np.log2(rates[rates > 1])
    assert len(faster) == pytest.approx(2000, abs=130)  # SD 32
    assert (faster <= 1).all()
    np.testing.assert_allclose(np.quantile(faster, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)
    assert (random_rate(1, tf.constant([1, 2])) == 1).numpy()  # a whole number, as JSON may have it
