import dataclasses
import json

import numpy as np
import pytest

from scnn_tf import training
from scnn_tf.dataset_builder import WINDOW_PRIOR
from scnn_tf.priors import WindowPrior, write_prior
from scnn_tf.recipes import get_recipe
from scnn_tf.results import read_detections, read_segments
from scnn_tf.segments import WINDOW_FRAMES
from scnn_tf.training import StageInfo
from scnn_tf.video import write_video


@pytest.fixture(scope="module")
def models(tiny_dataset, tmp_path_factory):
    """A folder of stages as `train` leaves it, with random networks."""
    folder = tmp_path_factory.mktemp("models")
    recipe = get_recipe(str(tiny_dataset / "recipe.json"))
    weights = np.full((2, len(WINDOW_FRAMES)), 1 / len(WINDOW_FRAMES))
    prior = WindowPrior(("left", "right"), WINDOW_FRAMES, np.ones(weights.shape, int), weights)
    for stage in ("proposal", "localization"):
        info = StageInfo(stage, ("left", "right"), WINDOW_FRAMES, 25.0, 0, recipe)
        (folder / stage).mkdir()
        fields = json.dumps(dataclasses.asdict(info))
        (folder / stage / training.MODEL_JSON).write_text(fields)
        model = info.build()
        if stage == "localization":  # so that not everything is background
            model.get_layer("fc8").bias.assign([-9.0, 0.0, 0.0])
        model.save_weights(folder / stage / training.WEIGHTS)
        write_prior(folder / stage / WINDOW_PRIOR, prior)
    return folder


@pytest.fixture
def localize(run_binary, models, tmp_path):
    def run(*arguments, **changes):
        options = {"model_dir": models, "output_dir": tmp_path / "found", **changes}
        named = [f"--{name}={value}" for name, value in options.items()]
        return run_binary("localize", *named, "--proposal_threshold=0", *arguments)

    return run


def failures(folder) -> list[str]:
    lines = (folder / "failures.jsonl").read_text().splitlines()
    return [json.loads(line)["video"] for line in lines]


def test_it_localizes(localize, tiny_dataset, tmp_path):
    videos = [tiny_dataset / "videos" / f"{name}.mp4" for name in ("cat", "clip")]
    code, out, err = localize(*videos)
    assert code == 0, err
    found = tmp_path / "found"
    segments = read_segments(found / "segments.csv")
    # 80 frames: 16 at 0, 4 … 64: 17; 32 at 0, 8 … 48: 7; 64 at 0, 16: 2. 40: 7 and 2.
    assert [int(sum(segments.video == name)) for name in ("cat", "clip")] == [26, 9]
    detections = read_detections(found / "detections.json")
    assert 0 < len(detections) <= 35
    lines = out.splitlines()
    assert lines[-1] == f"{len(detections)} detections in 2 videos → {found}"
    # The best twenty at most are shown, the best one first.
    assert len(lines) - 1 == min(20, len(detections))
    assert lines[0].startswith(f"{detections.score.max():.3f}")
    assert failures(found) == []


def test_bad_videos_and_the_exit_code(localize, tiny_dataset, tmp_path):
    good = tiny_dataset / "videos" / "clip.mp4"
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video" * 99)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:500])
    write_video(tmp_path / "single.mp4", [np.zeros((16, 16, 3), np.uint8)], 25)
    bad = [tmp_path / name for name in ("empty.mp4", "text.mp4", "cut.mp4", "none.mp4")]
    videos = [bad[0], good, *bad[1:], tmp_path / "single.mp4", tmp_path]
    code, out, err = localize(*videos)
    assert code == 1 and "Traceback" not in err
    assert f"detections in 2 videos → {tmp_path / 'found'}" in out
    listed = [line for line in err.splitlines() if line.startswith("not used: ")]
    assert len(listed) == 5
    for path, line in zip([*bad, tmp_path], listed, strict=True):
        assert line.startswith(f"not used: {path}: ")
    assert failures(tmp_path / "found") == [str(path) for path in [*bad, tmp_path]]
    segments = read_segments(tmp_path / "found" / "segments.csv")
    assert set(segments.video) == {"clip", "single"}
    assert localize("--max_failures=5", *videos)[0] == 0
    # A later run without a failure leaves no list of old ones.
    assert localize(good)[0] == 0
    assert failures(tmp_path / "found") == []


def test_text_for_thumos(localize, tiny_dataset, tmp_path):
    video = tiny_dataset / "videos" / "clip.mp4"
    assert localize("--detections_file=found.txt", "--nms_threshold=0", video)[0] == 0
    found = read_detections(tmp_path / "found" / "found.txt")
    assert set(found.video) == {"clip"} and set(found.label) <= {"left", "right"}


def test_mistakes_are_told_in_one_sentence(localize, tiny_dataset, models, tmp_path):
    video = tiny_dataset / "videos" / "clip.mp4"
    (tmp_path / "file").touch()

    def fails(message, *arguments, **changes):
        code, _, err = localize(*arguments, **changes)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    fails("give one or more video files after the flags")
    fails("two videos are named 'clip'", video, video)
    fails("none/localization: no network here", video, model_dir=tmp_path / "none")
    fails("classification: no network here", video, scorer="classification")
    fails("proposal network has no classes", video, scorer="proposal")
    fails("cannot be written", video, output_dir=tmp_path / "file")
    fails("detections are .json, .csv", video, detections_file="found.xml")


def test_flags_that_cannot_be(localize, tmp_path):
    for flag in ("--nms_threshold=2", "--proposal_threshold=-1", "--nms_threshold=much", "--x"):
        code, _, err = localize(flag, "v.mp4")
        assert code == 2 and err.startswith("error: "), err
