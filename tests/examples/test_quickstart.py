from pathlib import Path

import pytest

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_chance_guesses_on_every_window(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from quickstart import chance

    instances = (Instance("run", 0, 1), Instance("jump", 2, 3), Instance(AMBIGUOUS, 3, 4))
    videos = {
        name: VideoAnnotation(name, "test", seconds, None, instances)
        for name, seconds in (("a", 8.0), ("b", 4.0))
    }
    guessed = chance(videos, (16, 32), frame_rate=25.0, seed=1)
    # 8 s are 200 frames: 16 at 0, 4 … 184: 47; 32 at 0, 8 … 168: 22. 4 s are 100: 22 and 9.
    assert [int(sum(guessed.video == name)) for name in "ab"] == [69, 31]
    assert guessed.window_frames.tolist().count(32) == 31
    assert guessed.end[0] == 16 / 25
    assert set(guessed.label) == {"jump", "run"}
    assert (guessed.label == "run").mean() == pytest.approx(0.5, abs=0.2)
    assert 0 <= guessed.score.min() < 0.1 and 0.9 < guessed.score.max() < 1
    again = chance(videos, (16, 32), frame_rate=25.0, seed=1)
    assert again.score.tolist() == guessed.score.tolist()
    other = chance(videos, (16, 32), frame_rate=25.0, seed=2)
    assert other.score.tolist() != guessed.score.tolist()
