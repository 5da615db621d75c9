import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models.layers import (
    FrameNormalization,
    MaxPool,
    WindowEnds,
    WindowLengthEncoding,
    WithLength,
)
from tests.models.small import frames


def test_mean_normalization_by_hand():
    # (30, 20, 10), as B, G, R, minus (90.25, 97.66, 101.41).
    pixels = np.full([1, 16, 2, 3, 3], [10, 20, 30], np.uint8)
    normalized = FrameNormalization("mean")(pixels)
    np.testing.assert_allclose(
        normalized, np.broadcast_to([-60.25, -77.66, -91.41], pixels.shape), rtol=1e-6
    )


def test_mean128_normalization_by_hand():
    # (30, 20, 10), as B, G, R, minus 128.
    pixels = np.full([1, 16, 2, 3, 3], [10, 20, 30], np.uint8)
    normalized = FrameNormalization("mean128")(pixels)
    np.testing.assert_array_equal(
        normalized, np.broadcast_to([-98, -108, -118], pixels.shape).astype(np.float32)
    )


def test_kinetics_normalization_by_hand():
    # White is (1 - .43216) / .22803, black -.43216 / .22803, in the order R, G, B.
    pixels = np.full([1, 16, 1, 2, 3], 255, np.uint8)
    pixels[..., 1, :] = 0
    normalized = FrameNormalization("kinetics")(pixels)[0, 0, 0]
    np.testing.assert_allclose(normalized[0], [2.49020, 2.73349, 2.87364], rtol=1e-5)
    np.testing.assert_allclose(normalized[1], [-1.89519, -1.78219, -1.73488], rtol=1e-5)


def test_mean_normalization_by_a_mean_of_each_pixel():
    layer = FrameNormalization("mean")
    pixels = np.full([2, 16, 2, 3, 3], [10, 20, 30], np.uint8)
    layer(pixels)
    mean = np.arange(16 * 2 * 3 * 3, dtype=np.float32).reshape(16, 2, 3, 3) / 2
    layer.set_weights([mean])
    assert not layer.trainable_weights
    np.testing.assert_array_equal(layer(pixels)[1], np.float32([30, 20, 10]) - mean)


def test_motion_normalization_by_hand():
    # A pixel is 100 in 12 frames and 164 in 4: mean 116; (100 − 116)/32 = −.5, (164 − 116)/32 =
    # 1.5. The other stands still: 0. Colours stay in their order.
    pixels = np.full([1, 16, 1, 2, 3], 250, np.uint8)
    pixels[0, :, 0, 0, 0] = [100] * 12 + [164] * 4
    normalized = FrameNormalization("motion")(pixels).numpy()
    np.testing.assert_allclose(normalized[0, :, 0, 0, 0], [-0.5] * 12 + [1.5] * 4)
    normalized[0, :, 0, 0, 0] = 0
    assert not normalized.any()


def test_local_motion_normalization_by_hand():
    """Minus the mean of the frames from three before to three after, divided by 32."""
    # Of 20 frames, one pixel is 160 in frames 2 and 16 only, 0 elsewhere.
    pixels = np.zeros([1, 20, 1, 2, 3], np.uint8)
    pixels[0, [2, 16], 0, 0, 0] = 160
    pixels[0, :, 0, 1] = 200  # stands still
    normalized = FrameNormalization("local_motion")(pixels).numpy()
    expected = np.zeros(20)
    # Frame 2 is among the frames around 0 … 5, which are fewer at the start (around frame 0: four,
    # 0 … 3); frame 16 is among those around 13 … 19, fewer at the end (around 17: six, 14 … 19).
    counts = {0: 4, 1: 5, 2: 6, 3: 7, 4: 7, 5: 7,
              13: 7, 14: 7, 15: 7, 16: 7, 17: 6, 18: 5, 19: 4}  # fmt: skip
    for frame, count in counts.items():
        expected[frame] = -160 / count / 32
    expected[[2, 16]] += 160 / 32
    np.testing.assert_allclose(normalized[0, :, 0, 0, 0], expected, atol=1e-6)
    normalized[0, :, 0, 0, 0] = 0
    assert not normalized.any()


def test_local_motion_does_not_depend_on_where_a_stretch_begins():
    stretch = frames(1, (4, 6), windows=10)
    whole = FrameNormalization("local_motion")(stretch).numpy()
    part = FrameNormalization("local_motion")(stretch[:, 9:45]).numpy()
    np.testing.assert_array_equal(part[:, 3:-3], whole[:, 12:42])  # to the bit
    assert (part[:, 2] != whole[:, 11]).any() and (part[:, -3] != whole[:, 42]).any()


def test_local_motion_of_a_long_bright_stretch_is_exact():
    """Sums over thousands of frames, which float32 would round."""
    pixels = np.full([1, 80_000, 1, 1, 3], 255, np.uint8)
    pixels[0, -1] = 254
    normalized = FrameNormalization("local_motion")(pixels).numpy()
    # The last frame is among those around the last four; its mean is of four frames.
    assert not normalized[0, :-4].any() and normalized[0, -4].any()
    np.testing.assert_allclose(normalized[0, -1], (254 - (3 * 255 + 254) / 4) / 32, rtol=1e-5)


@pytest.mark.parametrize("windows", [1, 2, 5])
def test_the_mean_of_a_stretch_is_the_mean_over_time(windows):
    """One window: each frame minus its own mean; more: minus the mean of all 16 means."""
    layer = FrameNormalization("mean")
    pixels = np.full([2, 16 + 4 * (windows - 1), 2, 3, 3], [10, 20, 30], np.uint8)
    layer(pixels)
    mean = np.arange(16 * 2 * 3 * 3, dtype=np.float32).reshape(16, 2, 3, 3)
    layer.set_weights([mean])
    expected = np.float32([30, 20, 10]) - (mean if windows == 1 else mean.mean(axis=0))
    np.testing.assert_allclose(layer(pixels)[1], np.broadcast_to(expected, pixels.shape[1:]))


def test_still_normalization_by_hand():
    # Frame 8 of 16, every time: 0 is −1, 255 is 1, 102 is 102/127.5 − 1 = −.2.
    pixels = np.full([1, 16, 1, 1, 3], 77, np.uint8)
    pixels[0, 8, 0, 0] = [0, 255, 102]
    normalized = FrameNormalization("still")(pixels)
    np.testing.assert_allclose(normalized, np.broadcast_to([-1, 1, -0.2], pixels.shape), atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "mean128", "kinetics", "motion", "local_motion", "still"])
def test_normalization_subtracts_in_float32(mode):
    # bfloat16 has 8 bits: the mean must be subtracted before they are all there is.
    pixels = frames(1)
    exact = FrameNormalization(mode)(pixels).numpy()
    rounded = FrameNormalization(mode, dtype="mixed_bfloat16")(pixels)
    assert rounded.dtype == "bfloat16"
    np.testing.assert_array_equal(rounded, tf.cast(exact, tf.bfloat16))


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        # The greatest of 2 × 2 pixels is 4, 1, 3, 2 and 0 in the five frames.
        (None, [4, 1, 3, 2, 0]),
        (1, [4, 3, 3, 2]),
        (2, [4, 2, 3]),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_pooling_of_frames_apart_by_hand(training, apart, expected):
    x = np.zeros([2, 5, 2, 2, 1], np.float32)
    x[:, range(5), [0, 1, 0, 1, 0], [0, 0, 1, 1, 0], 0] = [4, 1, 3, 2, 0]
    pool = MaxPool(apart=apart)
    for row in pool(x, training=training).numpy():
        assert row.shape[1:] == (1, 1, 1)
        assert row.ravel().tolist() == expected
    assert pool.compute_output_shape((2, 5, 2, 2, 1)) == (2, len(expected), 1, 1, 1)
    assert pool.compute_output_shape((None, None, 7, 2, 1)) == (None, None, 4, 1, 1)
    assert MaxPool.from_config(pool.get_config()).apart == apart


@pytest.mark.parametrize("training", [True, False])
def test_pooling_of_pairs_counts_an_odd_border(training):
    x = np.arange(4 * 3 * 5, dtype=np.float32).reshape(1, 4, 3, 5, 1)
    pooled = MaxPool(time=2)(x, training=training).numpy()
    # The second frame of a pair is greater: 15 + 5 · row + column, at the far corner of 2 × 2.
    first = [[21, 23, 24], [26, 28, 29]]
    assert pooled[0, :, :, :, 0].tolist() == [first, (np.array(first) + 30).tolist()]


@pytest.mark.parametrize("training", [True, False])
def test_pooling_with_padding_on_both_sides_by_hand(training):
    # 3 × 4 pixels with zeros around them: rows (·, 0), (1, 2); columns (·, 0), (1, 2), (3, ·).
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4, 1)
    pool = MaxPool(both_sides=True)
    assert pool(x, training=training).numpy()[0, 0, :, :, 0].tolist() == [[1, 3, 4], [9, 11, 12]]
    assert pool.compute_output_shape(x.shape) == (1, 1, 2, 3, 1)
    assert MaxPool.from_config(pool.get_config()).both_sides


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_gradient_of_pooling_goes_to_the_greatest(dtype):
    # Frames 4, 1, 3, 2 of one pixel: the pairs (4, 1), (1, 3), (3, 2) have 4, 3 and 3.
    x = tf.reshape(tf.constant([4.0, 1.0, 3.0, 2.0]), [1, 4, 1, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.cast(MaxPool(apart=1, dtype=dtype)(x), tf.float32)
        total = tf.reduce_sum(outputs * tf.reshape([1.0, 10.0, 100.0], [1, 3, 1, 1, 1]))
    assert tape.gradient(total, x).numpy().ravel().tolist() == [1, 0, 110, 0]


def test_window_ends_by_hand():
    # Five steps are two windows, [0, 1, 2, 3] and [1, 2, 3, 4], of which the first and third count.
    steps = np.array([[[0, 10], [1, 11], [2, 12], [3, 13], [4, 14]]], np.float32)
    assert WindowEnds()(steps).numpy().tolist() == [[[0, 10, 2, 12], [1, 11, 3, 13]]]
    assert WindowEnds().compute_output_shape((None, 5, 2)) == (None, 2, 4)
    assert WindowEnds().compute_output_shape((None, None, 2)) == (None, None, 4)


def test_a_length_is_appended_to_each_window():
    features = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
    lengths = np.array([[0, 1, 0], [1, 0, 0]], np.float32)
    assert WithLength()([features, lengths]).numpy().tolist() == [
        [[1, 2, 0, 1, 0], [3, 4, 0, 1, 0]], [[5, 6, 1, 0, 0], [7, 8, 1, 0, 0]]
    ]  # fmt: skip
    assert WithLength().compute_output_shape([(None, None, 2), (None, 3)]) == (None, None, 5)


def test_window_length_encoding_by_hand():
    # 24 is log2(24/16) = .58496 of the way from 16 to 32; 8 and 1000 are off the scale.
    encoding = WindowLengthEncoding()(np.array([16, 32, 512, 24, 8, 1000])).numpy()
    unit = np.eye(6)
    expected = [
        *(unit[0], unit[1], unit[5]),
        0.41504 * unit[0] + 0.58496 * unit[1],
        *(unit[0], unit[5]),
    ]
    np.testing.assert_allclose(encoding, expected, atol=1e-5)


def test_window_length_encoding_is_a_monotonic_partition_of_one():
    encoding = WindowLengthEncoding()(np.arange(1, 2000)).numpy()
    np.testing.assert_allclose(encoding.sum(axis=1), 1, atol=1e-5)
    assert encoding.min() >= 0
    assert ((encoding > 0).sum(axis=1) <= 2).all()
    # Longer is further along the scale.
    assert (np.diff(encoding @ np.arange(6)) >= -1e-6).all()
