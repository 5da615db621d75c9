import dataclasses

import numpy as np
import pytest

from scnn_tf.datasets.synthetic import gaits
from scnn_tf.datasets.synthetic.actions import FIGURE_ACTIONS
from scnn_tf.datasets.synthetic.figures import _LENGTHS, Figure

CYCLE = np.linspace(0, 1, 64, endpoint=False)
GROUND = [f"{joint}_{side}" for joint in ("ankle", "toe") for side in "lr"]
WHITE = np.full(3, 255.0)


@pytest.fixture
def figure():
    """A figure of mean proportions, 100 pixels tall and without stripes."""
    drawn = Figure.drawn(np.random.default_rng(0), 64, WHITE)
    return dataclasses.replace(drawn, height=100, lengths=_LENGTHS, stripes=0 * drawn.stripes)


def at(value):
    return np.array([float(value)])


def test_a_figure_at_rest_stands_upright_on_the_ground(figure):
    joints = figure.joints({"lean": at(0)})
    left = {name: place[0] for name, place in joints.items() if not name.endswith("_r")}
    np.testing.assert_allclose(left["ankle_l"], [0.05, 0, 0], atol=1e-12)
    np.testing.assert_allclose(left["toe_l"], [0.05, 0, 0.08], atol=1e-12)
    np.testing.assert_allclose(left["hip_l"], [0.05, 0.48, 0], atol=1e-12)
    np.testing.assert_allclose(left["head"], [0, 0.86, 0], atol=1e-12)
    np.testing.assert_allclose(left["wrist_l"], [0.1, 0.48 + 0.2755 - 0.325, 0], atol=1e-12)


def test_limbs_turn_at_their_joints(figure):
    quarter = at(np.pi / 2)
    joints = figure.joints({"arm_l": quarter, "arm_out_r": quarter, "leg_l": quarter})
    shoulders, hips = 0.48 + 0.2755, 0.48
    np.testing.assert_allclose(joints["wrist_l"][0], [0.1, shoulders, 0.325], atol=1e-12)
    np.testing.assert_allclose(joints["wrist_r"][0], [-0.425, shoulders, 0], atol=1e-12)
    np.testing.assert_allclose(joints["knee_l"][0], [0.05, hips, 0.24], atol=1e-12)
    # A bent knee moves the foot back, a bent elbow moves the hand forward.
    joints = figure.joints({"knee_l": quarter, "elbow_l": quarter})
    assert joints["ankle_l"][0, 2] == pytest.approx(-0.24)
    assert joints["wrist_l"][0, 2] == pytest.approx(0.16)


@pytest.mark.parametrize("name", FIGURE_ACTIONS)
def test_the_lowest_foot_is_on_the_ground_or_as_high_as_the_jump(figure, name):
    pose = FIGURE_ACTIONS[name].movement(CYCLE)
    joints = figure.joints(pose)
    lowest = np.min([joints[n][:, 1] for n in GROUND], axis=0)
    np.testing.assert_allclose(lowest, pose.get("lift", 0 * CYCLE), atol=1e-12)


def test_a_walk_puts_one_foot_before_the_other_and_lifts_it_on_its_way(figure):
    joints = figure.joints(gaits.walk(CYCLE))
    left, right = (joints[f"ankle_{side}"] for side in "lr")
    np.testing.assert_allclose(left[:, 2], np.roll(right[:, 2], 32), atol=1e-12)
    assert np.ptp(left[:, 2]) > 0.3
    forward = np.gradient(left[:, 2]) > 0.005
    assert left[forward, 1].mean() > 2 * left[~forward, 1].mean()


def test_a_jack_raises_the_hands_above_the_head_with_the_legs_apart(figure):
    joints = figure.joints(gaits.jack(np.array([0.0, 0.5])))
    assert joints["wrist_l"][0, 1] < joints["hip_l"][0, 1]
    assert joints["wrist_l"][1, 1] > joints["head"][1, 1] + 0.1
    apart = joints["ankle_l"][:, 0] - joints["ankle_r"][:, 0]
    assert apart[1] > apart[0] + 0.3


def test_a_bend_brings_the_hands_near_the_ground(figure):
    joints = figure.joints(gaits.bend(np.array([0.0, 0.5])))
    assert joints["head"][1, 1] < joints["hip_l"][1, 1]
    assert joints["wrist_l"][1, 1] < 0.2
    assert joints["wrist_l"][1, 2] > 0.1  # before the feet


def test_a_mirrored_pose_moves_the_other_side_to_the_other_side(figure):
    joints = figure.joints(gaits.wave1(at(0.2)))
    mirrored = figure.joints(gaits.mirrored(gaits.wave1(at(0.2))))
    np.testing.assert_allclose(joints["wrist_l"] * (-1, 1, 1), mirrored["wrist_r"], atol=1e-12)


@pytest.mark.parametrize(("yaw", "columns"), [(0, (-13, 12)), (np.pi / 2, (-6, 9))])
def test_a_figure_is_painted_as_tall_as_it_is_and_as_its_yaw_shows_it(figure, yaw, columns):
    images = np.full((3, 1, 120, 80), 255, np.float32)
    pose = {"yaw": at(yaw), "lean": at(0)}
    dark = dataclasses.replace(figure, color=0 * figure.color, thickness=1)
    dark.paint(images, pose, at(40), at(110), at(1))
    seen = np.nonzero(images[0, 0] < 127)
    # From the soles, 2.4 pixels under the ankles, to the top of the head at .92 heights. From the
    # front, the shoulders reach 13.4 pixels to each side; from the side, the toes reach 9.8 to the
    # right, and the back 6 to the left.
    assert (seen[0].min(), seen[0].max()) == pytest.approx((110 - 92, 111), abs=1)
    assert seen[1].min() - 40 == pytest.approx(columns[0], abs=1)
    assert seen[1].max() - 40 == pytest.approx(columns[1], abs=1)
