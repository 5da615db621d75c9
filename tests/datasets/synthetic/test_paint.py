import numpy as np
import pytest

from scnn_tf.datasets.synthetic.paint import Blob, Capsules, paint_blob, paint_capsules


def canvas(frames=1):
    return np.zeros((3, frames, 40, 60), np.float32)


def capsules(ends, radius, depth=(0,), color=((255, 255, 255),), contrast=0.0):
    """Returns capsules in one frame."""
    return Capsules(
        ends=np.array([ends], float),
        radius=np.array([radius], float),
        depth=np.array([depth], float),
        color=np.array(color, float),
        stripes=np.tile([contrast, 1.0], (len(color), 1)),
    )


def area(images):
    """Number of white pixels of the first frame; pixels of an edge count in part."""
    return images[0, 0].sum() / 255


def test_a_capsule_covers_a_line_and_two_half_discs():
    images = canvas()
    paint_capsules(images, capsules([[(15, 20), (35, 20)]], [(5, 5)]))
    assert area(images) == pytest.approx(20 * 10 + np.pi * 25, rel=0.01)
    rows, columns = np.nonzero(images[0, 0] > 127)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((20, 25))


def test_a_capsule_tapers():
    images = canvas()
    paint_capsules(images, capsules([[(15, 20), (35, 20)]], [(6, 2)]))
    height = (images[0, 0] / 255).sum(0)
    assert height[15] == pytest.approx(12, abs=0.5) and height[34] == pytest.approx(4, abs=0.5)


def test_a_capsule_of_no_length_is_a_disc():
    images = canvas()
    paint_capsules(images, capsules([[(20, 20), (20, 20)]], [(8, 8)]))
    assert area(images) == pytest.approx(np.pi * 64, rel=0.01)


def test_stripes_make_a_capsule_brighter_and_darker_along_its_line():
    images = canvas()
    grey = capsules([[(10, 20), (50, 20)]], [(5, 5)], color=((100, 100, 100),), contrast=30)
    paint_capsules(images, grey)
    # One wave: brightest after a quarter of the line, darkest after three quarters.
    assert images[0, 0, 20, 20] == pytest.approx(130, abs=1)
    assert images[0, 0, 20, 40] == pytest.approx(70, abs=1)


def test_the_capsule_of_greater_depth_is_in_front_in_each_frame_by_itself():
    images = canvas(2)
    ends = np.full((2, 2, 2, 2), 20.0)
    red_and_green = np.array([[255.0, 0, 0], [0, 255.0, 0]])
    paint_capsules(
        images,
        Capsules(
            ends,
            np.full((2, 2, 2), 5.0),
            np.array([[0, 1], [1, 0]]),
            red_and_green,
            np.zeros((2, 2)),
        ),
    )
    np.testing.assert_array_equal(images[:, :, 20, 20], [[0, 255], [255, 0], [0, 0]])


@pytest.mark.parametrize("x", [-30, 90])
def test_a_capsule_outside_the_picture_is_not_seen(x):
    images = canvas()
    paint_capsules(images, capsules([[(x, 20), (x, 20)]], [(5, 5)]))
    assert not images.any()


def blob(**changes):
    values = {"radius": [8.0], "angle": [0.0], "stretch": [1.0], "opacity": [1.0], **changes}
    return Blob(
        center=np.array([[30.0, 20.0]]),
        **{name: np.array(value) for name, value in values.items()},
        waves=np.zeros((1, 2)),
        color=np.array([255.0, 255, 255]),
        stripes=(0, 1),
    )


def test_a_blob_without_waves_is_a_disc():
    images = canvas()
    paint_blob(images, blob())
    assert area(images) == pytest.approx(np.pi * 64, rel=0.01)


def test_a_stretched_and_turned_blob_is_as_large_but_tall():
    images = canvas()
    paint_blob(images, blob(stretch=[2.0], angle=[np.pi / 2]))
    assert area(images) == pytest.approx(np.pi * 64, rel=0.03)
    rows, columns = np.nonzero(images[0, 0] > 127)
    assert np.ptp(rows) + 1 == pytest.approx(32, abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(8, abs=1)


def test_a_blob_is_seen_through_by_its_opacity():
    images = canvas()
    paint_blob(images, blob(opacity=[0.4]))
    assert images[0, 0, 20, 30] == pytest.approx(0.4 * 255)
