import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance
from scnn_tf.datasets.synthetic import films
from scnn_tf.datasets.synthetic.actions import ACTIONS, BLOB_ACTIONS, FIGURE_ACTIONS
from scnn_tf.datasets.synthetic.sets import CAMERAS


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
