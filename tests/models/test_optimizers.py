import keras
import numpy as np
import pytest

from scnn_tf.models.optimizers import LayerwiseAdam, LayerwiseSGD


def variable(path: str, value) -> keras.Variable:
    """A variable of a layer, such as "fc8/bias"."""
    layer, name = path.split("/")
    with keras.name_scope("net"), keras.name_scope(layer):
        return keras.Variable(value, dtype="float32", name=name)


def after(optimizer, variables, *gradients) -> list:
    """Returns the variables after a step with each of the gradients."""
    for gradient in gradients:
        optimizer.apply([gradient] * len(variables), variables)
    return [v.numpy() for v in variables]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # Rate .1, momentum .9, decay .5, gradient 1, from 2.
        # g + .5·2 = 2, m = −.2, w = 1.8; g + .5·1.8 = 1.9, m = −.18 − .19 = −.37.
        ("fc7/kernel", [1.8, 1.43]),
        # Twice the rate, no decay: m = −.2, b = 1.8; m = −.18 − .2 = −.38.
        ("fc7/bias", [1.8, 1.42]),
        # 100 × the rate: m = −10·2, w = −18; g − 9 = −8, m = −18 + 80 = 62.
        ("fc8/kernel", [-18, 44]),
        # 200 × the rate, no decay: m = −20, b = −18; m = −18 − 20 = −38.
        ("fc8/bias", [-18, -56]),
        # A batch normalisation's: the rate, no decay: m = −.1, w = 1.9; m = −.09 − .1 = −.19.
        ("bn1/gamma", [1.9, 1.71]),
        ("bn1/beta", [1.9, 1.71]),
        # The name is the whole name.
        ("fc80/kernel", [1.8, 1.43]),
    ],
)
def test_two_steps_by_hand(path, expected):
    weight = variable(path, 2.0)
    optimizer = LayerwiseSGD(0.1, momentum=0.9, l2=0.5)
    np.testing.assert_allclose(after(optimizer, [weight], 1.0), expected[:1], rtol=1e-6)
    np.testing.assert_allclose(after(optimizer, [weight], 1.0), expected[1:], rtol=1e-6)


def test_the_papers_settings_are_the_defaults():
    config = LayerwiseSGD().get_config()
    assert config["learning_rate"] == pytest.approx(1e-4)
    assert (config["momentum"], config["l2"]) == (0.9, 5e-4)
    assert config["layer_factors"] == {"fc8": 100}


def test_schedule_and_another_fast_layer():
    # .1, then .05; momentum 0, no decay: 2 − 10·.1 − 10·.05; the other 2 − .1 − .05.
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5, staircase=True)
    optimizer = LayerwiseSGD(schedule, momentum=0.0, l2=0.0, layer_factors={"top": 10})
    weights = [variable("top/kernel", 2.0), variable("fc8/kernel", 2.0)]
    np.testing.assert_allclose(after(optimizer, weights, 1.0, 1.0), [0.5, 1.85], rtol=1e-6)


def restated(weights, gradients, rates, decays, momentum):
    """Caffe's solver: V ← μV + rate·(g + decay·W), W ← W − V."""
    weights = [w.astype(np.float64) for w in weights]
    steps = [np.zeros_like(w) for w in weights]
    for gradient in gradients:
        for i, g in enumerate(gradient):
            steps[i] = momentum * steps[i] + rates[i] * (g + decays[i] * weights[i])
            weights[i] = weights[i] - steps[i]
    return weights


def test_many_steps_equal_those_of_caffe():
    random = np.random.default_rng(0)
    paths = ("fc7/kernel", "fc7/bias", "fc8/kernel", "fc8/bias")
    shapes = ((3, 4), (4,), (4, 2), (2,))
    start = [random.normal(size=shape) for shape in shapes]
    gradients = [[random.normal(size=shape) for shape in shapes] for _ in range(20)]
    expected = restated(start, gradients, (1e-3, 2e-3, 1e-2, 2e-2), (0.1, 0, 0.1, 0), 0.8)

    variables = [variable(path, value) for path, value in zip(paths, start, strict=True)]
    optimizer = LayerwiseSGD(1e-3, momentum=0.8, l2=0.1, layer_factors={"fc8": 10})
    for gradient in gradients:
        optimizer.apply([g.astype(np.float32) for g in gradient], variables)
    for v, e in zip(variables, expected, strict=True):
        np.testing.assert_allclose(v.numpy(), e, rtol=1e-4, atol=1e-5)


def test_layers_learn_at_their_rates_in_fit():
    """Inside a compiled step a variable may not be what it is outside."""
    model = keras.Sequential(
        [
            keras.Input([1]),
            keras.layers.Dense(1, kernel_initializer="ones", name="fc7"),
            keras.layers.Dense(1, kernel_initializer="ones", name="fc8"),
        ]
    )
    model.compile(LayerwiseSGD(0.001, momentum=0.0, l2=0.0), loss="mse")
    # y = 1, wanted 3: the gradient is 2·(1 − 3) = −4 for each of the four.
    model.train_on_batch(np.ones([1, 1]), np.full([1, 1], 3.0))
    weights = [float(w.numpy().squeeze()) for w in model.trainable_variables]
    np.testing.assert_allclose(weights, [1.004, 0.008, 1.4, 0.8], rtol=1e-5)


def test_from_config_rebuilds_the_optimizer():
    optimizer = LayerwiseSGD(
        keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True),
        momentum=0.5,
        l2=0.25,
        layer_factors={"top": 7.0},
        clipnorm=3.0,
    )
    for copy in (
        LayerwiseSGD.from_config(optimizer.get_config()),
        keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)),
    ):
        assert type(copy) is LayerwiseSGD
        assert copy.get_config() == optimizer.get_config()
        assert (copy.l2, copy.layer_factors) == (0.25, {"top": 7.0})


def test_adam_at_the_rates_of_the_layers():
    """The first step of Adam is the rate, whatever the gradient."""
    optimizer = LayerwiseAdam(0.1, {"conv1a": 0.5})
    weights = [variable("conv1a/kernel", 2.0), variable("fc8/kernel", 2.0)]
    np.testing.assert_allclose(after(optimizer, weights, 3.0), [1.95, 1.9], rtol=1e-5)
    copy = LayerwiseAdam.from_config(optimizer.get_config())
    assert copy.layer_factors == {"conv1a": 0.5}
