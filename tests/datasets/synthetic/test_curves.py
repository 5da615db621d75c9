import numpy as np

from scnn_tf.datasets.synthetic.curves import blended, reflected, step


def test_a_path_turns_back_at_the_walls():
    path, direction = reflected(np.array([2.0, 9.0, 11.0, 19.0, 21.0]), 0, 10)
    np.testing.assert_allclose(path, [2, 9, 9, 1, 1])
    np.testing.assert_array_equal(direction, [1, 1, -1, -1, 1])


def test_a_step_is_half_way_at_its_time():
    times = np.array([0.0, 0.75, 1.0, 1.25, 2.0])
    # A quarter of the way up: 3 / 16 - 2 / 64 = 5 / 32.
    np.testing.assert_allclose(step(times, 1.0, 1.0), [0, 5 / 32, 0.5, 27 / 32, 1])


def test_poses_are_blended_and_a_missing_value_is_rest():
    poses = [{"lean": np.array([1.0, 1.0])}, {"lean": np.array([3.0, 3.0]), "lift": np.ones(2)}]
    pose = blended(poses, [np.array([1.0, 0.5]), np.array([0.0, 0.5])])
    np.testing.assert_allclose(pose["lean"], [1, 2])
    np.testing.assert_allclose(pose["lift"], [0, 0.5])
