import numpy as np
import pytest

from scnn_tf.datasets import synthetic_films as films
from scnn_tf.datasets.annotations import Instance
from scnn_tf.datasets.synthetic_actions import ACTIONS, BLOB_ACTIONS, FIGURE_ACTIONS
from scnn_tf.datasets.synthetic_sets import CAMERAS, LIGHTS, TEXTURES, View, draw_background

TIMES = np.arange(50) / 25


def frames(seed, instances=(), count=40):
    return np.stack(list(films.film(np.random.default_rng(seed), instances, count, 25.0)))


def test_a_plan_has_background_around_every_instance_of_one_kind_of_actor():
    labels = []
    for seed in range(300):
        instances = films.plan(np.random.default_rng(seed), 25.0)
        edges = [0.0, *(t for i in instances for t in (i.start, i.end)), 25.0]
        assert not instances or np.diff(edges)[::2].min() >= 0.399
        names = {i.label for i in instances}
        assert names <= FIGURE_ACTIONS.keys() or names <= BLOB_ACTIONS.keys()
        labels += [i.label for i in instances]
    counts = [labels.count(name) for name in ACTIONS]
    assert min(counts) > 0.5 * np.mean(counts)


@pytest.mark.parametrize("seed", range(6))
def test_a_film_has_its_number_of_frames_whether_it_is_edited_or_not(seed):
    instances = (Instance("walk", 0.4, 0.9), Instance("jack", 1.0, 1.5))
    images = frames(seed, instances)
    assert images.shape == (40, films.HEIGHT, films.WIDTH, 3) and images.dtype == np.uint8


def test_the_seed_decides_on_a_film():
    instances = (Instance("bend", 0.0, 1.6),)
    np.testing.assert_array_equal(frames(3, instances), frames(3, instances))
    assert (frames(3, instances) != frames(4, instances)).mean() > 0.5


@pytest.mark.parametrize("name", ["run", "jack", "wave2", "expand", "sway"])
def test_an_action_moves_more_than_idling(name, monkeypatch):
    for setting, value in (("_EDITED", 0), ("_EXTRAS", (1, 0, 0)), ("_NOISE", (0, 0))):
        monkeypatch.setattr(films, setting, value)
    monkeypatch.setattr(films, "CAMERAS", {"static": (1, CAMERAS["static"][1])})

    def changed(instances):
        """Share of the pixels that change within a fifth of a second; median of 12 films."""
        shares = []
        for seed in range(12):
            images = frames(seed, instances).astype(int)
            shares.append((np.abs(images[20:35] - images[15:30]).max(-1) > 40).mean())
        return np.median(shares)

    assert changed((Instance(name, 0.5, 1.6),)) > 4 * changed(()) + 0.002


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
    return View.drawn(rng, camera, TIMES, np.full(50, way), (films.HEIGHT, films.WIDTH))


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("way", [-70, 70])
def test_a_camera_sees_only_the_background_and_places_keep_to_it(camera, way):
    rng = np.random.default_rng(0)
    background = draw_background(rng, films.HEIGHT, films.WIDTH)
    background[:] = 100
    # A dot in the middle of the neutral view, which is the middle of the background.
    row, column = (n // 2 for n in background.shape[:2])
    background[row - 2 : row + 2, column - 2 : column + 2] = 255
    seen = view(camera, way)
    canvas = seen.canvas(background, slice(20, 22))
    assert canvas.shape == (3, 2, films.HEIGHT, films.WIDTH)
    assert canvas.min() > 99
    x, y = (place[20] for place in seen.seen(films.WIDTH / 2, films.HEIGHT / 2))
    if 3 < x < films.WIDTH - 3:
        rows, columns = np.nonzero(canvas[0, 0] > 180)
        assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((x, y), abs=0.7)


def test_a_static_camera_shows_places_where_they_are():
    x, y = view("static").seen(np.full(50, 12.0), 34.0)
    np.testing.assert_array_equal(x, np.full(50, 12.0))
    np.testing.assert_array_equal(y, np.full(50, 34.0))


def test_a_following_camera_keeps_the_actor_in_the_picture():
    for seed in range(20):
        x, _ = view("following", way=60.0, seed=seed).seen(np.full(50, films.WIDTH / 2 + 60), 0)
        assert 0 < x.min() and x.max() < films.WIDTH
