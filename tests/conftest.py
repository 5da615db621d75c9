"""Fixtures and settings of all tests."""

import fcntl
import importlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import absl.logging  # noqa: F401 (binds its handler to a stream that outlives a single test)
import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores; each with a thread per core would only wait for the others.
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(variable, "1")

# A shell in the background passes on that Ctrl-C is ignored, which tests of it must not inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, nothing else.
settings.register_profile(
    "untimed",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skips a test whose marker `needs` names a program that is not on PATH."""
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real annotations and videos, next to the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}")
    return folder


@pytest.fixture
def run_binary(capfd, monkeypatch):
    """Runs a binary in this process, so that TensorFlow is loaded once for all of them.

    `run_binary("train", "--stage=proposal", …)` runs `pipelines.train`, a name with a dot such as
    "benchmarks.growth" that module; both return (exit code, stdout, stderr).
    """
    from absl import app, flags

    app.define_help_flags()  # absl defines its own flags once a process: they must outlive a run

    def run(name, *arguments):
        known = set(flags.FLAGS)
        module = importlib.import_module(name if "." in name else f"pipelines.{name}")
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as exited:
                module.run()
        finally:
            # Binaries define flags of the same names: none may outlive its run.
            for flag in set(flags.FLAGS) - known:
                delattr(flags.FLAGS, flag)
            flags.FLAGS.unparse_flags()
            if module.__name__.startswith("pipelines."):
                del sys.modules[module.__name__]  # its next import defines the flags again
        return exited.value.code or 0, *capfd.readouterr()

    return run


class PowerCutDisk:
    """A file system of its own, ext4 with its defaults, whose power can be cut.

    Attributes:
        folder: Its folder.
    """

    def __init__(self, image: Path, folder: Path):
        self.folder, self._image = folder, image
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(64 << 20)
        self._run("mkfs.ext4", "-q", image)
        self.mount()

    def mount(self) -> None:
        self._run("mount", "-o", "loop", self._image, self.folder)

    def unmount(self) -> None:
        self._run("umount", "--lazy", self.folder)

    def cut_power(self) -> None:
        """Drops all that the disk has not got yet, like a power cut, and starts again."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        without_flush = struct.pack("I", 2)
        fcntl.ioctl(descriptor, 0x8004587D, without_flush)  # EXT4_IOC_SHUTDOWN
        os.close(descriptor)
        self.unmount()
        self.mount()

    def _run(self, *command) -> None:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system of its own can be mounted ({done.stderr.strip()})")


@pytest.fixture
def power_cut_disk(tmp_path):
    """A `PowerCutDisk`; skips, with the reason, where none can be mounted."""
    if shutil.which("mkfs.ext4") is None or shutil.which("mount") is None:
        pytest.skip("mkfs.ext4 or mount is not installed")
    disk = PowerCutDisk(tmp_path / "disk.img", tmp_path / "disk")
    yield disk
    disk.unmount()


@pytest.fixture
def small_disk(tmp_path):
    """`small_disk(bytes)` mounts a file system of that size; skips where none can be mounted."""
    folders = []

    def mount(size):
        folders.append(tmp_path / f"small_disk_{len(folders)}")
        folders[-1].mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folders[-1]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            folders.pop()
            pytest.skip(f"no file system of its own can be mounted ({done.stderr.strip()})")
        return folders[-1]

    yield mount
    for folder in folders:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """A dataset of seconds: `annotations.json`, `videos/`, and `shards/` of its subset train.

    `recipe.json` trains on it, a network that takes seconds too.

    Videos are 32 × 32 at 25 frames a second. Two to train on, each with an instance of "left" that
    is just the window 8+32 and one of "right" that is just 64+16; a trimmed clip of "left"; and
    one to test on.
    """
    import json

    import numpy as np

    from scnn_tf.datasets.annotations import Instance, VideoAnnotation
    from scnn_tf.datasets.formats import read_annotations, write_annotations
    from scnn_tf.io.video import write_video
    from scnn_tf.shards.build import build_shards

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
    write_annotations(folder / "annotations.json", videos)
    changes = {
        "shards": {
            "frame_height": 32, "frame_width": 32, "positive_tiou": 0.7, "background_ratio": 4,
        },
        "proposal": {"steps": 6}, "classification": {"steps": 6}, "localization": {"steps": 6},
        "crop": 16, "width": 1 / 32, "hidden": 8, "dropout": 0.0, "batch_size": 4,
        "average": 0.0, "min_scale": 1.0,
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps({"base": "small_paper", **changes}))
    build_shards(
        read_annotations(folder / "annotations.json"),
        video_dir=folder / "videos",
        output_dir=folder / "shards",
        recipe=folder / "recipe.json",
        num_shards=2,
    )
    return folder


@pytest.fixture(scope="session")
def tiny_models(tiny_dataset, tmp_path_factory) -> Path:
    """A folder of networks trained for a step on `tiny_dataset`: `proposal/`, `localization/`."""
    import dataclasses

    from scnn_tf.models.recipes import get_recipe
    from scnn_tf.training.train import train_stage

    folder = tmp_path_factory.mktemp("tiny_models")
    recipe = get_recipe(tiny_dataset / "recipe.json")
    inference = dataclasses.replace(recipe.inference, proposal_threshold=0.5)
    recipe = dataclasses.replace(recipe, inference=inference)
    for stage in ("proposal", "localization"):
        recipe = recipe.with_stage(stage, steps=1)
        train_stage(
            stage, data_dir=tiny_dataset / "shards", output_dir=folder / stage, recipe=recipe
        )
    return folder


@pytest.fixture(scope="session")
def tiny_stretches(tiny_dataset, tmp_path_factory) -> Path:
    """`shards/` of stretches of `tiny_dataset`, and `recipe.json` of a joint network for them."""
    import json

    from scnn_tf.datasets.formats import read_annotations
    from scnn_tf.shards.build import build_shards

    folder = tmp_path_factory.mktemp("tiny_stretches")
    changes = {
        "shards": {
            "frame_height": 32, "frame_width": 32, "window_frames": [16, 32, 64],
            "background_ratio": 4, "stretch_windows": 7,
        },
        "joint": {"steps": 6}, "crop": 16, "width": 1 / 32, "hidden": 8, "dropout": 0.0,
        "batch_size": 4, "train_windows": 3, "boundary_reach": 5, "average": 0.0, "min_scale": 1.0,
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps({"base": "small", **changes}))
    build_shards(
        read_annotations(tiny_dataset / "annotations.json"),
        video_dir=tiny_dataset / "videos",
        output_dir=folder / "shards",
        recipe=folder / "recipe.json",
        num_shards=2,
    )
    return folder


@pytest.fixture(scope="session")
def tiny_joint(tiny_stretches, tmp_path_factory) -> Path:
    """A folder with a joint network, trained on `tiny_stretches` for six steps: `joint/`."""
    from scnn_tf.training.train import train_stage

    folder = tmp_path_factory.mktemp("tiny_joint")
    train_stage(
        "joint",
        data_dir=tiny_stretches / "shards",
        output_dir=folder / "joint",
        recipe=tiny_stretches / "recipe.json",
    )
    return folder


def _write_noise(path: Path, num_frames: int = 100) -> None:
    """Writes a video, 32 × 32 at 25 frames a second, whose picture drifts; the name decides it."""
    import zlib

    import numpy as np

    from scnn_tf.io.video import write_video

    random = np.random.default_rng(zlib.crc32(path.name.encode()))
    noise = random.integers(0, 256, (32, 32, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, (np.roll(noise, shift, axis=1) for shift in range(num_frames)), 25)


@pytest.fixture(scope="session")
def miniature_thumos14(tmp_path_factory) -> Path:
    """THUMOS'14 as it ships, with 4 of its classes, 7 of its videos and 8 clips, of seconds.

    Names and forms are the challenge's, times are cut to videos of 4 s. `thumos14.json` next
    to them has durations. Do not write to it: copy it.
    """
    import json

    folder = tmp_path_factory.mktemp("thumos14")
    text = {
        "validation/CliffDiving_val": ["video_validation_0000161  0.3 1.6"],
        "validation/Diving_val": [
            "video_validation_0000161  0.3 1.6",
            "video_validation_0000161  2.6 3.2",
        ],
        "validation/HammerThrow_val": ["video_validation_0000311  0.0 1.5"],
        "validation/CricketShot_val": ["video_validation_0000171  2.6 3.2"],
        "validation/Ambiguous_val": ["video_validation_0000161  2.0 2.3"],
        "test/CliffDiving_test": ["video_test_0000131  0.3 1.6"],
        "test/Diving_test": ["video_test_0000131  0.3 1.6", "video_test_0000131  2.6 3.2"],
        # The second lies far behind its video, as in the challenge's own file.
        "test/HammerThrow_test": ["video_test_0000270  0.4 1.5", "video_test_0000270  187.3 193.4"],
        "test/CricketShot_test": ["video_test_0001496  2.6 3.2"],
        "test/Ambiguous_test": ["video_test_0001292  1.0 2.0", "video_test_0001496  0.3 0.9"],
    }
    videos = set()
    for name, lines in text.items():
        path = folder / f"temporal_annotations_{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        videos |= {(name.split("/")[0], line.split()[0]) for line in lines}
    for subset, video in videos:
        _write_noise(folder / subset / f"{video}.mp4")
    for label in ("CliffDiving", "CricketShot", "Diving", "HammerThrow"):
        for group in ("g01", "g25"):
            _write_noise(folder / "UCF101" / label / f"v_{label}_{group}_c01.avi", 40)
    # It lacks the video that has ambiguous intervals only, as the one in circulation does.
    database = {
        video: {"subset": subset.title(), "duration": 4.0, "fps": 25.0, "annotations": []}
        for subset, video in sorted(videos)
        if video != "video_test_0001292"
    }
    (folder / "thumos14.json").write_text(json.dumps({"database": database}))
    return folder


@pytest.fixture(scope="session")
def miniature_mexaction2(tmp_path_factory) -> Path:
    """MEXaction2 with 5 INA videos, 4 clips of YouTube and 2 of UCF101, of seconds.

    INA videos of the test set and the text's form are real, times are cut to videos of 4 s; the
    names of the others are made up. One test video has no instance. Do not write to it: copy it.
    """
    folder = tmp_path_factory.mktemp("mexaction2")
    bull, horse, empty = "FMVDD081880-AFP_VIS_01", "FPVDB06041505_VIS_01", "KMCAB960721_VIS_01"
    text = {
        "BullChargeCape_train": ["AAAAA000001_VIS_01 0.32 1.6"],
        "HorseRiding_train": ["AAAAA000001_VIS_01 2.56 3.2"],
        "BullChargeCape_val": ["BBBBB000002_VIS_01 0.32 1.6"],
        "HorseRiding_val": ["BBBBB000002_VIS_01 2.56 3.2"],
        "BullChargeCape_test": [f"{bull} 0.32 1.6", f"{bull} 2.56 3.2"],
        "HorseRiding_test": [f"{horse} 0.32 1.6"],
        # Left over from THUMOS'14, as in the text that S-CNN's authors evaluated with.
        "Ambiguous_test": ["video_test_0000278  0.0 1.4", ""],
        "test_videos": [f"{empty}.mp4", ""],
    }
    (folder / "annotations").mkdir()
    for name, lines in text.items():
        (folder / "annotations" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    for video in ("AAAAA000001_VIS_01", "BBBBB000002_VIS_01", bull, horse, empty):
        _write_noise(folder / "INA" / f"{video}.mp4")
    for label in ("BullChargeCape", "HorseRiding"):
        for number in (1, 2):
            _write_noise(folder / "YouTube" / label / f"clip_{number}.mp4", 40)
    for group in ("g01", "g25"):
        _write_noise(folder / "UCF101" / "HorseRiding" / f"v_HorseRiding_{group}_c01.avi", 40)
    return folder
