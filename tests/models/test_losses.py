import keras
import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.models.losses import (
    BoundaryLoss,
    ClassLoss,
    MultiLabelLoss,
    OverlapLoss,
    ProposalLoss,
    SegmentLoss,
    pack_targets,
    unpack_targets,
    with_counts,
)

# Scores .5, .25, .25, whatever is added to all logits.
LOGITS = np.log([0.5, 0.25, 0.25]) + 3
LN2, LN4 = np.log(2), np.log(4)


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def value_and_gradient(loss, targets, logits) -> tuple[np.ndarray, np.ndarray]:
    """A loss, and its gradient with respect to the logits."""
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(np.asarray(targets, np.float32), logits)
    return value.numpy(), tape.gradient(value, logits).numpy()


def random_batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets `[64, 2]` and logits `[64, 21]`; about a third is background."""
    random = np.random.default_rng(seed)
    labels = random.integers(1, 21, 64) * (random.random(64) < 0.7)
    overlaps = np.where(labels > 0, random.uniform(0.5, 1, 64), 1)
    return np.stack([labels, overlaps], axis=1), random.normal(0, 3, [64, 21])


def test_overlap_loss_by_hand():
    # v^α = .0625^.25 = .5. k = 0: nothing. k = 1, P = .25: ½·(.0625/.5 − 1) = −.4375;
    # with v = 1: ½·(.0625 − 1) = −.46875.
    targets = np.array([[0, 1], [1, 0.0625], [2, 1]], np.float32)
    logits = np.tile(LOGITS, [3, 1])
    terms = OverlapLoss(alpha=0.25, reduction="none")(targets, logits)
    np.testing.assert_allclose(terms, [0, -0.4375, -0.46875], rtol=1e-5)
    # N is the whole batch, background included: −.90625 / 3.
    np.testing.assert_allclose(OverlapLoss()(targets, logits), -0.90625 / 3, rtol=1e-5)


def test_the_overlap_has_no_effect_if_alpha_is_zero():
    terms = OverlapLoss(alpha=0.0, reduction="none")(
        np.array([[1, 0.5], [1, 1.0]], np.float32), np.tile(LOGITS, [2, 1])
    )
    np.testing.assert_allclose(terms, [-0.46875, -0.46875], rtol=1e-5)


def test_segment_loss_by_hand():
    # Softmax: −ln .5, −ln .25; overlap as above: 0, −.4375. λ = 2.
    targets = np.array([[0, 1], [1, 0.0625]], np.float32)
    terms = SegmentLoss(2.0, 0.25, reduction="none")(targets, np.tile(LOGITS, [2, 1]))
    np.testing.assert_allclose(terms, [LN2, LN4 - 0.875], rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.25, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_equations_5_and_6(alpha, seed):
    targets, logits = random_batch(seed)
    labels, overlaps = targets[:, 0].astype(int), targets[:, 1]
    scores = softmax(logits)
    of_class = np.take_along_axis(scores, labels[:, None], axis=1)
    factor = of_class**2 / overlaps[:, None] ** alpha / len(labels)
    is_class = np.arange(21) == labels[:, None]
    expected = factor * np.where(is_class, 1 - of_class, -scores)  # equation 5, equation 6
    expected[labels == 0] = 0

    _, gradient = value_and_gradient(OverlapLoss(alpha), targets, logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 / len(labels), rtol=1e-5)
    assert not gradient[labels == 0].any()

    # The softmax term's is (P − [i = k]) / N; λ weighs the other.
    _, gradient = value_and_gradient(SegmentLoss(0.5, alpha), targets, logits)
    both = (scores - is_class) / len(labels) + 0.5 * expected
    np.testing.assert_allclose(gradient, both, atol=1e-5 / len(labels), rtol=1e-5)


@pytest.mark.parametrize(
    ("overlap", "alpha", "score"),
    [(0.7, 0.25, 0.9564), (0.7, 1.0, 0.8367), (0.5, 0.25, 0.9170)],  # √(v^α)
)
def test_the_minimum_is_at_the_root_of_the_overlap(overlap, alpha, score):
    scores = np.linspace(0.5, 0.9999, 5000)
    logits = np.log(np.stack([1 - scores, scores], axis=1))
    targets = np.tile([1, overlap], [5000, 1]).astype(np.float32)
    terms = SegmentLoss(1.0, alpha, reduction="none")(targets, logits).numpy()
    # So flat is the valley that float32 knows the place to 1e-3 only.
    assert scores[terms.argmin()] == pytest.approx(score, abs=1e-3)
    # There the gradient vanishes.
    least = np.log([[1 - score, score]])
    _, gradient = value_and_gradient(SegmentLoss(1.0, alpha), [[1, overlap]], least)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


@pytest.mark.parametrize("loss", [OverlapLoss(), SegmentLoss()])
@pytest.mark.parametrize("overlap", [1.0, 0.5, 1e-30])
def test_finite_for_any_score(loss, overlap):
    logits = [[1e4, -1e4, 0], [-1e4, 1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]]
    for label in range(3):
        value, gradient = value_and_gradient(loss, [[label, overlap]] * 4, logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("overlap", [0.0, -0.5, -np.inf, np.nan])
@pytest.mark.parametrize("label", [0, 3])
def test_an_unusable_overlap_has_no_term_and_no_gradient(overlap, label):
    targets, logits = random_batch(0)
    poisoned = targets.copy()
    poisoned[5] = label, overlap
    terms = OverlapLoss(reduction="none")(poisoned, logits).numpy()
    assert terms[5] == 0
    assert np.isfinite(terms).all()

    _, clean = value_and_gradient(OverlapLoss(), targets, logits)
    _, gradient = value_and_gradient(OverlapLoss(), poisoned, logits)
    assert not gradient[5].any()
    others = np.arange(64) != 5
    np.testing.assert_array_equal(gradient[others], clean[others])

    # Of the sum, the softmax term stays.
    _, gradient = value_and_gradient(SegmentLoss(), poisoned, logits)
    softmax_term = softmax(logits[5:6])[0] - (np.arange(21) == label)
    np.testing.assert_allclose(gradient[5], softmax_term / 64, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("seed", range(2))
def test_segment_loss_is_softmax_plus_overlap(seed):
    targets, logits = random_batch(seed)
    softmax_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    softmax_term = softmax_loss(targets[:, 0], logits)
    np.testing.assert_allclose(SegmentLoss(0.0)(targets, logits), softmax_term, rtol=1e-5)
    for weight, alpha in ((1.0, 0.25), (0.3, 1.0)):
        np.testing.assert_allclose(
            SegmentLoss(weight, alpha)(targets, logits),
            softmax_term + weight * OverlapLoss(alpha)(targets, logits),
            rtol=1e-5,
        )


def test_losses_of_the_proposal_network():
    # Label 1, P = .25: −ln .25.
    value = SegmentLoss(0.0)(np.array([[1, 0.6]], np.float32), np.log([[0.75, 0.25]]))
    assert float(value) == pytest.approx(LN4, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        OverlapLoss(alpha=0.5, reduction="sum", name="mine"),
        SegmentLoss(overlap_weight=0.3, alpha=0.7, reduction="sum", name="mine"),
        ProposalLoss(reduction="sum", name="mine"),
        ClassLoss(overlap_weight=0.3, alpha=0.7, reduction="sum", name="mine"),
        BoundaryLoss(delta=0.2, reduction="sum", name="mine"),
    ],
)
def test_from_config_rebuilds_the_loss(loss):
    targets, logits = random_batch(0)
    if isinstance(loss, (ProposalLoss, ClassLoss, BoundaryLoss)):  # of windows with boundaries
        targets = np.concatenate([targets, targets / 9], axis=-1)[None]
        logits = logits[None, :, : 21 if isinstance(loss, ClassLoss) else 2]
    for copy in (
        type(loss).from_config(loss.get_config()),
        keras.losses.deserialize(keras.losses.serialize(loss)),
    ):
        assert type(copy) is type(loss)
        assert copy.get_config() == loss.get_config()
        np.testing.assert_array_equal(copy(targets, logits), loss(targets, logits))


# A stretch of four windows: background, class 1, neither, class 2; its overlaps and its offsets.
STRETCH = pack_targets(
    np.array([[0, 1, -1, 2]]),
    np.array([[1, 0.0625, 1, 1]]),
    np.array([[[0, 0], [0.25, -0.05], [9, 9], [0, 1]]]),
)
NONE = pack_targets(-np.ones([1, 4]), np.ones([1, 4]), np.zeros([1, 4, 2]))
SHAPES = [(ProposalLoss(), 2), (ClassLoss(), 3), (BoundaryLoss(), 2)]


def test_targets_are_packed_and_unpacked():
    assert STRETCH.shape == (1, 4, 4) and STRETCH.dtype == "float32"
    assert STRETCH[0, 1].numpy().tolist() == [1, 0.0625, 0.25, np.float32(-0.05)]
    label, overlap = unpack_targets(STRETCH)
    assert label.dtype == "int32" and label.numpy().tolist() == [[0, 1, -1, 2]]
    assert overlap.numpy().tolist() == [[1, 0.0625, 1, 1]]
    assert pack_targets([2], [0.5]).numpy().tolist() == [[2, 0.5]]


def test_proposal_loss_by_hand():
    # Scores of action: .5 for the background, .75 and .25 for the actions; the third window does
    # not count. Background: −ln .5. Actions: (−ln .75 − ln .25) / 2 = ½ ln 16/3. Half of both.
    action = np.array([0.5, 0.75, 0.999, 0.25])
    logits = np.log(np.stack([1 - action, action], axis=-1))[None] + 7
    expected = (LN2 + np.log(16 / 3) / 2) / 2
    np.testing.assert_allclose(ProposalLoss()(STRETCH, logits), expected, rtol=1e-5)
    # However many backgrounds there are: three times the same ones.
    more = np.concatenate([STRETCH, STRETCH[:, :1], STRETCH[:, :1]], axis=1)
    logits = np.concatenate([logits, logits[:, :1], logits[:, :1]], axis=1)
    np.testing.assert_allclose(ProposalLoss()(more, logits), expected, rtol=1e-5)
    # Over a batch, the means are over all its windows.
    rows, outputs = more.reshape(3, 2, 4), logits.reshape(3, 2, 2)
    np.testing.assert_allclose(ProposalLoss()(rows, outputs), expected, rtol=1e-5)


def test_class_loss_by_hand():
    # K = 2. Scores .5, .25, .25: background −ln .5, both actions −ln .25; background counts 1/K:
    # (ln 4 + ½ ln 2) / (1 + ½). Overlap terms, as above: −.4375 and −.46875, mean −.453125.
    logits = np.tile(LOGITS, [1, 4, 1])
    softmax_terms = (LN4 + LN2 / 2) / 1.5
    for weight in (0.0, 1.0, 2.0):
        expected = softmax_terms - weight * 0.453125
        np.testing.assert_allclose(ClassLoss(weight)(STRETCH, logits), expected, rtol=1e-5)
    # With α = 0 the terms are ½·(.0625 − 1) = −.46875 each.
    value = ClassLoss(1.0, alpha=0.0)(STRETCH, logits)
    np.testing.assert_allclose(value, softmax_terms - 0.46875, rtol=1e-5)


def test_multi_label_loss_by_hand():
    # Two windows of two classes. Scores of the positive pairs: .75 and .25; of the one background
    # pair .5; the fourth pair is neither. Overlap terms with √v = .5 and 1, α = ½:
    # ½·(.5625/.5 − 1) = .0625 and ½·(.0625 − 1) = −.46875, mean −.203125.
    targets = pack_targets([[[1, 0], [-1, 2]]], [[[0.25, 1], [1, 1]]], np.zeros([1, 2, 2, 2]))
    logits = np.log([[[3.0, 1.0], [9.0, 1 / 3]]])
    classes = (np.log(16 / 3) / 2 + LN2) / 2
    for weight in (0.0, 1.0, 2.0):
        expected = classes - weight * 0.203125
        value = MultiLabelLoss(weight, alpha=0.5)(targets, logits)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    # The pair that is neither has no gradient; no logit gives a loss that is not finite.
    _, gradient = value_and_gradient(MultiLabelLoss(), targets, logits)
    assert (gradient == 0).tolist() == [[[False, False], [True, False]]]
    value, gradient = value_and_gradient(MultiLabelLoss(), targets, [[[-1e4, 1e4], [1e4, -1e4]]])
    assert np.isfinite(value) and np.isfinite(gradient).all()
    # Of each class the boundaries: errors of .1 and .2 at the start of two of four pairs.
    offsets = np.zeros([1, 2, 2, 2])
    offsets[0, :, :, 0] = [[0.1, 7], [7, 0.2]]
    np.testing.assert_allclose(BoundaryLoss()(targets, offsets), (0.005 + 0.015) / 2, rtol=1e-5)


def test_the_mean_of_the_devices_is_the_loss_of_the_whole_batch():
    """Each device has one of two rows: the first has all actions, the second none."""
    rows = np.concatenate([STRETCH, np.where([1, 0, 0, 0], -1, STRETCH)], axis=0).astype("float32")
    rows[1, 0] = [0, 1, 0, 0]  # but for one background window
    outputs = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    halves = with_counts(rows, devices=2)
    # Two actions and two background windows; half as many for each device.
    assert halves.shape == (2, 4, 6) and np.unique(halves[..., 4:]).tolist() == [1.0]
    for loss, columns in SHAPES:
        whole = loss(rows, outputs[..., :columns])
        np.testing.assert_allclose(
            loss(with_counts(rows), outputs[..., :columns]), whole, rtol=1e-6
        )
        devices = [loss(halves[k : k + 1], outputs[k : k + 1, :, :columns]) for k in range(2)]
        np.testing.assert_allclose(np.mean(devices), whole, rtol=1e-6)


def test_the_weight_of_the_overlap_term_may_be_a_function():
    """Which is called each time, also inside a compiled step."""
    logits = tf.constant(np.tile(LOGITS, [1, 4, 1]), tf.float32)
    weight = tf.Variable(0.0)
    loss = ClassLoss(lambda: weight)
    step = tf.function(lambda: loss(STRETCH, logits))
    values = []
    for now in (0.0, 1.0, 3.0):
        weight.assign(now)
        values.append(float(step()))
    np.testing.assert_allclose(np.diff(values), [-0.453125, 2 * -0.453125], rtol=1e-4)


def test_boundary_loss_by_hand():
    # δ = .1. Window 1: errors .25 − .05 = .2, so .1·(.2 − .05) = .015, and −.05 − 0, so .05²/2 =
    # .00125. Window 3: errors 0, and 1 − .9 = .1, so .1²/2 = .005. Mean (.01625 + .005) / 2.
    outputs = np.array([[[5, 5], [0.05, 0], [0, 0], [0, 0.9]]], np.float32)
    np.testing.assert_allclose(BoundaryLoss()(STRETCH, outputs), 0.010625, rtol=1e-4)
    # δ = 1: squares only, (.2² + .05²)/2 and .1²/2.
    expected = (0.02125 + 0.005) / 2
    np.testing.assert_allclose(BoundaryLoss(delta=1.0)(STRETCH, outputs), expected, rtol=1e-4)


def test_gradient_of_the_boundary_loss():
    """The error where it is smaller than δ, and ±δ where it is larger; half, of two windows."""
    outputs = np.array([[[5, 5], [0.05, 0], [0, 0], [0, 0.95]]], np.float32)
    _, gradient = value_and_gradient(BoundaryLoss(), STRETCH, outputs)
    expected = np.array([[0, 0], [-0.1, 0.05], [0, 0], [0, -0.05]]) / 2
    np.testing.assert_allclose(gradient[0], expected, atol=1e-6)


@pytest.mark.parametrize(("loss", "columns"), SHAPES)
def test_windows_that_are_neither_have_no_gradient(loss, columns):
    logits = np.random.default_rng(0).normal(size=[1, 4, columns])
    value, gradient = value_and_gradient(loss, STRETCH, logits)
    assert not gradient[0, 2].any() and gradient[0, 1].any()
    other = logits.copy()
    other[0, 2] += [100, -100, 50][:columns]
    assert value_and_gradient(loss, STRETCH, other)[0] == value


@pytest.mark.parametrize(("loss", "columns"), SHAPES)
def test_a_batch_without_action_and_background_has_no_loss(loss, columns):
    value, gradient = value_and_gradient(loss, NONE, np.ones([1, 4, columns]))
    assert value == 0 and not gradient.any()
    # Of background alone, only the boundaries have none.
    alone = pack_targets(np.zeros([1, 4]), np.ones([1, 4]), np.zeros([1, 4, 2]))
    value, gradient = value_and_gradient(loss, alone, np.ones([1, 4, columns]))
    assert (value > 0) == gradient.any() == (not isinstance(loss, BoundaryLoss))


@pytest.mark.parametrize(("loss", "columns"), SHAPES)
def test_losses_of_stretches_are_finite_for_any_output(loss, columns):
    for scale in (1e4, -1e4):
        logits = scale * np.linspace(-1, 1, 4 * columns).reshape(1, 4, columns)
        value, gradient = value_and_gradient(loss, STRETCH, logits)
        assert np.isfinite(value) and np.isfinite(gradient).all()
