"""What all tests share."""

import importlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores; each with a thread per core would only wait for the others.
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(variable, "1")

# How long an example takes says how busy the machine is, nothing else.
settings.register_profile(
    "untimed",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real annotations and videos, beside the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}")
    return folder


@pytest.fixture
def run_binary(capfd, monkeypatch):
    """Runs a binary in this process, so that TensorFlow is loaded once for all of them.

    `run_binary("train", "--stage=proposal", …)` gives (exit code, stdout, stderr).
    """
    from absl import flags

    def run(name, *arguments):
        module = importlib.import_module(f"pipelines.{name}")
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as exited:
                module.run()
        finally:
            # Binaries define flags of the same names: none may outlive its run.
            for flag in list(flags.FLAGS.flags_by_module_dict()[module.__name__]):
                delattr(flags.FLAGS, flag.name)
            flags.FLAGS.unparse_flags()
            del sys.modules[module.__name__]
        return exited.value.code or 0, *capfd.readouterr()

    return run


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """A data set of seconds: `annotations.json`, `videos/`, and `shards/` of its subset train.

    `recipe.json` trains on it, a network that takes seconds too.

    Videos are 32 × 32 at 25 frames a second. Two to train on, each with an instance of "left" that
    is just the window 8+32 and one of "right" that is just 64+16; a trimmed clip of "left"; and
    one to test on.
    """
    import json

    import numpy as np

    from scnn_tf.annotations import (
        Instance,
        VideoAnnotation,
        read_annotations,
        write_activitynet,
    )
    from scnn_tf.dataset_builder import BuildRecipe, build
    from scnn_tf.video import write_video

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "videos").mkdir()
    actions = (Instance("left", 0.32, 1.6), Instance("right", 2.56, 3.2))
    videos = {}
    for name, subset, num_frames, instances in (
        ("ann", "train", 100, actions),
        ("bob", "train", 90, actions),
        ("clip", "train", 40, (Instance("left", 0.0, 1.6),)),
        ("cat", "test", 80, actions),
    ):
        trimmed, duration = name == "clip", num_frames / 25
        videos[name] = VideoAnnotation(
            name, subset, duration, 25.0, instances, trimmed, f"{name}.mp4"
        )
        noise = np.random.default_rng(len(videos)).integers(0, 256, (32, 32, 3), np.uint8)
        frames = (np.roll(noise, shift, axis=1) for shift in range(num_frames))
        write_video(folder / "videos" / f"{name}.mp4", frames, 25)
    write_activitynet(folder / "annotations.json", videos)
    changes = {
        "frame_height": 32, "frame_width": 32, "crop": 16, "width": 1 / 32, "hidden": 8,
        "dropout": 0.0, "batch_size": 4, "steps": [6, 6, 6], "average": 0.0, "min_scale": 1.0,
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps({"base": "small", **changes}))
    build(
        read_annotations(folder / "annotations.json", "train"),
        ("left", "right"),
        folder / "videos",
        folder / "shards",
        BuildRecipe(height=32, width=32, background_ratio=4, num_shards=2),
    )
    return folder


@pytest.fixture(scope="session")
def tiny_models(tiny_dataset, tmp_path_factory) -> Path:
    """A folder of networks trained for a step on `tiny_dataset`: `proposal/`, `localization/`."""
    import dataclasses

    from scnn_tf.recipes import get_recipe
    from scnn_tf.training import train_stage

    folder = tmp_path_factory.mktemp("tiny_models")
    recipe = dataclasses.replace(
        get_recipe(str(tiny_dataset / "recipe.json")), steps=(1, 1, 1), proposal_threshold=0.5
    )
    for stage in ("proposal", "localization"):
        train_stage(stage, str(tiny_dataset / "shards"), str(folder / stage), recipe)
    return folder
