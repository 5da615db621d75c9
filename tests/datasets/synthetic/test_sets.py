import numpy as np
import pytest

from scnn_tf.datasets.synthetic.sets import CAMERAS, LIGHTS, TEXTURES, View, draw_background

TIMES = np.arange(50) / 25
HEIGHT, WIDTH = 64, 80  # the picture, in pixels


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_is_between_about_minus_1_and_1(texture):
    rows, columns = np.linspace(0, 1, 30)[:, None], np.linspace(0, 1, 40)[None]
    image = TEXTURES[texture](np.random.default_rng(0), rows, columns)
    assert image.shape == (30, 40)
    assert np.abs(image).max() <= 1.01


@pytest.mark.parametrize("light", LIGHTS)
def test_a_light_stays_between_half_and_double(light):
    values = LIGHTS[light](np.random.default_rng(0), TIMES)
    assert values.shape == (50,) and np.abs(values).max() < np.log(2)


def view(camera, way=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return View.drawn(rng, camera, TIMES, np.full(50, way), (HEIGHT, WIDTH))


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("way", [-70, 70])
def test_a_camera_sees_only_the_background_and_places_keep_to_it(camera, way):
    rng = np.random.default_rng(0)
    background = draw_background(rng, HEIGHT, WIDTH)
    background[:] = 100
    # A dot in the middle of the neutral view, which is the middle of the background.
    row, column = (n // 2 for n in background.shape[:2])
    background[row - 2 : row + 2, column - 2 : column + 2] = 255
    seen = view(camera, way)
    canvas = seen.canvas(background, slice(20, 22))
    assert canvas.shape == (3, 2, HEIGHT, WIDTH)
    assert canvas.min() > 99
    x, y = (place[20] for place in seen.seen(WIDTH / 2, HEIGHT / 2))
    if 3 < x < WIDTH - 3:
        rows, columns = np.nonzero(canvas[0, 0] > 180)
        assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((x, y), abs=0.7)


def test_a_static_camera_shows_places_where_they_are():
    x, y = view("static").seen(np.full(50, 12.0), 34.0)
    np.testing.assert_array_equal(x, np.full(50, 12.0))
    np.testing.assert_array_equal(y, np.full(50, 34.0))


def test_a_following_camera_keeps_the_actor_in_the_picture():
    for seed in range(20):
        x, _ = view("following", way=60.0, seed=seed).seen(np.full(50, WIDTH / 2 + 60), 0)
        assert 0 < x.min() and x.max() < WIDTH
