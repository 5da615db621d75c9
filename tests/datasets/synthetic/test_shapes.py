import hashlib

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance
from scnn_tf.datasets.synthetic import shapes

TIMES = np.arange(200) / 25


def unwrapped(states: np.ndarray) -> np.ndarray:
    """Undoes the modulo of positions that move less than half a turn from frame to frame."""
    return np.unwrap(states, axis=0, period=1)


@pytest.mark.parametrize("action", shapes.ACTIONS)
def test_an_action_goes_steadily_its_way_and_about_once_around(action):
    instance = Instance(action, 2.0, 6.0)
    states = shapes.motion(np.random.default_rng(0), (instance,), TIMES)
    steps = np.diff(unwrapped(states[(TIMES >= 2) & (TIMES < 6)]), axis=0)
    # 0.9 to 1.2 turns in its 4 s, at 25 frames a second.
    turns = np.abs(steps[0]).max() * 25 * 4
    assert 0.9 - 1e-6 <= turns <= 1.2 + 1e-6
    way = np.array(shapes.ACTIONS[action]) * turns / (25 * 4)
    np.testing.assert_allclose(steps, np.tile(way, (len(steps), 1)), atol=1e-9)


def test_background_motion_leads_nowhere():
    travelled = []
    for seed in range(200):
        states = unwrapped(shapes.motion(np.random.default_rng(seed), (), TIMES[:75]))
        travelled.append(states[-1] - states[0])
    assert np.abs(np.mean(travelled, axis=0)).max() < 0.05
    assert np.abs(travelled).max() < 1.2


@pytest.mark.parametrize("action", [*shapes.ACTIONS, None])
def test_single_frames_are_distributed_alike_for_all_actions(action):
    """Place and size in any frame are uniform, whatever happens."""
    instances = (Instance(action, 1.0, 4.0),) if action else ()
    states = np.array(
        [shapes.motion(np.random.default_rng(s), instances, TIMES)[70] for s in range(1000)]
    )
    # 1000 draws in 5 equal bins: 200 each, with a standard deviation of √(1000·.2·.8) = 12.6.
    for axis in range(3):
        counts, _ = np.histogram(states[:, axis], bins=5, range=(0, 1))
        assert np.abs(counts - 200).max() < 4 * 12.6


def test_a_plan_has_background_around_every_instance():
    lengths, labels = [], []
    for seed in range(200):
        instances = shapes.plan(np.random.default_rng(seed), 25.0)
        edges = [0.0, *(t for i in instances for t in (i.start, i.end)), 25.0]
        gaps = np.diff(edges)[::2]
        assert not instances or gaps.min() >= 0.499
        lengths += [i.end - i.start for i in instances]
        labels += [i.label for i in instances]
    assert 0.63 <= min(lengths) and max(lengths) <= 5.13
    # Spread over windows of 16, 32, 64 and 128 frames at 25 a second: halfway between them are
    # 0.91, 1.81 and 3.62 s. Log-uniform lengths put .17, .33, .33 and .17 there; long ones find
    # a place at the end of a video less often.
    shares = np.histogram(lengths, bins=[0, 0.91, 1.81, 3.62, 7])[0] / len(lengths)
    assert shares.min() > 0.12
    counts = [labels.count(action) for action in shapes.ACTIONS]
    assert min(counts) > 0.8 * max(counts)


def test_some_videos_are_without_any_instance():
    empty = [not shapes.plan(np.random.default_rng(s), 25.0) for s in range(300)]
    assert 0 < np.mean(empty) < 0.15


@pytest.mark.parametrize("shape", shapes._SHAPES)
def test_shapes_are_drawn_where_they_should_and_over_the_edge(shape):
    images = np.zeros((2, shapes.HEIGHT, shapes.WIDTH, 3), np.float32)
    place = np.array([[0.5, 0.5], [0.0, 0.0]])
    shapes._draw(images, shape, place, np.array([10.0, 10.0]), np.array([255, 255, 255]))
    middle, corner = images[..., 0] > 127
    rows, columns = np.nonzero(middle)
    assert (rows.mean(), columns.mean()) == pytest.approx((48, 64), abs=0.1)
    # A disc of radius 10 covers 314 pixels; the others are not far from it.
    assert 200 <= middle.sum() <= 330
    # At the corner the same shape is cut into quarters, one in each corner of the picture.
    np.testing.assert_array_equal(corner, np.roll(middle, (-48, -64), axis=(0, 1)))


def test_the_actor_is_seen_at_its_size_and_place():
    states = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.999]])
    small, large = shapes.render(np.random.default_rng(0), states, 25)
    changed = np.abs(small.astype(int) - large).max(-1) > 60
    rows, columns = np.nonzero(changed)
    assert (rows.mean(), columns.mean()) == pytest.approx((48, 64), abs=2)
    assert 500 < changed.sum() < 2500


def test_the_frames_of_a_seed_never_change():
    """The figures of the quickstart depend on them."""
    rng = np.random.default_rng(0)
    states = shapes.motion(rng, shapes.plan(rng, 20.0), np.arange(500) / 25)
    digest = hashlib.sha256()
    for frame in shapes.render(rng, states[:64], 25.0):
        digest.update(frame)
    assert digest.hexdigest().startswith("13a034d0740d930e")
