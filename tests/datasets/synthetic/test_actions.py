import numpy as np
import pytest

from scnn_tf.datasets.synthetic.actions import ACTIONS, FIGURE_ACTIONS, deck


def at(value):
    return np.array([float(value)])


@pytest.mark.parametrize("name", ACTIONS)
def test_a_movement_continues_smoothly_after_a_cycle(name):
    ends = np.array([-1e-6, 0.0, 1.0, 1 + 1e-6])
    for key, value in ACTIONS[name].movement(ends).items():
        if key not in ("yaw", "angle"):  # full turns count as none
            np.testing.assert_allclose(value, value[0], atol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", [n for n, action in ACTIONS.items() if action.whole])
def test_a_movement_of_whole_cycles_begins_nearly_at_rest(name):
    assert all(abs(value[0]) <= 0.3 for value in ACTIONS[name].movement(at(0)).values())


def test_an_instance_has_12_to_250_frames_and_a_cycle_at_least():
    rng = np.random.default_rng(0)
    for action in ACTIONS.values():
        seconds = [action.seconds(rng) for _ in range(200)]
        assert min(seconds) >= max(0.48, 1 / action.rate[1]) - 1e-9
        assert max(seconds) <= 10


def test_whole_cycles_end_where_they_began_whatever_the_duration():
    rng, bend = np.random.default_rng(0), FIGURE_ACTIONS["bend"]
    for _ in range(50):
        seconds = bend.seconds(rng)
        times = np.array([-1.0, 0.0, seconds, seconds + 1])
        np.testing.assert_allclose(bend.perform(rng, seconds, times)["lean"], 0, atol=1e-9)


def test_a_faster_walk_travels_faster():
    walk = FIGURE_ACTIONS["walk"]
    speeds = [walk.perform(np.random.default_rng(s), 2.0, at(0))["travel"][0] for s in range(100)]
    # 0.8 heights a cycle, and 0.65 to 1.3 cycles a second.
    assert 0.52 <= min(speeds) < 0.6 and 0.9 < max(speeds) <= 1.04


def test_a_deck_has_no_rare_class():
    cards = deck(np.random.default_rng(0), ["walk", "run", "bend"])
    assert sorted(next(cards) for _ in range(6)) == ["bend", "bend", "run", "run", "walk", "walk"]
