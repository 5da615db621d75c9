"""Checkpoints of a training that is under way."""

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.training import saving
from scnn_tf.training.saving import Checkpoints


@pytest.fixture
def model():
    """A model of one weight, with the state of its optimizer."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input([1]), layer])
    model.compile(keras.optimizers.Adam())
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def save(model):
    """`save(folder, *steps)` saves checkpoints of these steps; the weight is the step."""

    def run(folder, *steps):
        checkpoints = Checkpoints(model, folder)
        for step in steps:
            model.weights[0].assign([[step]])
            model.optimizer.iterations.assign(step)
            checkpoints.save(step, {"loss": 1 / step})
        return checkpoints

    return run


@pytest.fixture
def restored(model):
    """`restored(folder)` returns the weight, the step and the means that are restored."""

    def run(folder):
        model.weights[0].assign([[np.nan]])
        means = Checkpoints(model, folder).restore()
        return float(model.weights[0].numpy()[0, 0]), int(model.optimizer.iterations.numpy()), means

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def files_of(*steps):
    endings = ("data-00000-of-00001", "index", "json")
    return sorted(["checkpoint", *(f"ckpt-{step}.{end}" for step in steps for end in endings)])


def test_the_latest_checkpoint_is_restored_and_two_are_kept(save, restored, tmp_path):
    save(tmp_path, 2, 4, 100)
    assert restored(tmp_path) == (100, 100, {"loss": 0.01})
    assert names(tmp_path) == files_of(4, 100)


def test_without_checkpoints_nothing_is_restored(model, tmp_path):
    model.weights[0].assign([[3.0]])
    assert Checkpoints(model, tmp_path / "none").restore() == {}
    assert model.weights[0].numpy()[0, 0] == 3.0


@pytest.mark.parametrize("content", [b"", b"\0" * 30, b'model_checkpoint_path: "ckpt-', b"\xff"])
def test_a_damaged_list_of_checkpoints_does_not_matter(content, save, restored, tmp_path):
    save(tmp_path, 2, 4)
    (tmp_path / "checkpoint").write_bytes(content)
    assert restored(tmp_path) == (4, 4, {"loss": 0.25})


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001", "json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: bytes(len(data)),
        lambda data: data[:3] + bytes([data[3] ^ 0x80]) + data[4:],
        lambda data: b"5",
    ],
    ids=["empty", "cut", "zeroes", "flipped", "number"],
)
def test_the_checkpoint_before_a_damaged_one_is_restored(
    ending, damage, save, restored, caplog, tmp_path
):
    save(tmp_path, 2, 4)
    path = tmp_path / f"ckpt-4.{ending}"
    path.write_bytes(damage(path.read_bytes()))
    assert restored(tmp_path) == (2, 2, {"loss": 0.5})
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{tmp_path}/ckpt-4: damaged (") and "\n" not in warning


def test_a_checkpoint_without_one_of_its_files_is_not_restored(save, restored, tmp_path):
    save(tmp_path, 2, 4)
    (tmp_path / "ckpt-4.data-00000-of-00001").unlink()
    assert restored(tmp_path)[0] == 2


def test_without_a_whole_checkpoint_the_sentence_says_what_to_do(save, restored, tmp_path):
    save(tmp_path, 2, 4)
    for step in (2, 4):
        (tmp_path / f"ckpt-{step}.index").write_bytes(b"cut")
    with pytest.raises(InputError, match=f"{tmp_path}: the checkpoint cannot be read.*remove the"):
        restored(tmp_path)


def test_what_a_killed_or_damaged_save_left_goes_with_the_next(save, restored, model, tmp_path):
    save(tmp_path, 2, 4)
    (tmp_path / "ckpt-4.index").write_bytes(b"cut")
    (tmp_path / "ckpt-6_temp").mkdir()
    (tmp_path / "ckpt-6_temp" / "part-00000-of-00001.data").touch()
    checkpoints = Checkpoints(model, tmp_path)
    checkpoints.restore()
    model.weights[0].assign([[3.0]])
    checkpoints.save(3, {})
    assert names(tmp_path) == files_of(2, 3)
    assert restored(tmp_path)[0] == 3.0


def test_a_power_cut_after_a_save_leaves_the_checkpoint(save, restored, power_cut_disk):
    save(power_cut_disk.folder / "new" / "checkpoints", 2, 4, 6)
    power_cut_disk.cut_power()
    assert restored(power_cut_disk.folder / "new" / "checkpoints") == (6, 6, {"loss": 1 / 6})


def test_a_power_cut_in_a_save_leaves_the_checkpoint_before(
    save, restored, power_cut_disk, monkeypatch
):
    folder = power_cut_disk.folder / "checkpoints"
    checkpoints = save(folder, 2, 4)

    def cut(_):
        power_cut_disk.cut_power()
        raise KeyboardInterrupt

    monkeypatch.setattr(saving, "flush_tree", cut)  # the bytes are written, and not on the disk
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(6, {})
    assert restored(folder) == (4, 4, {"loss": 0.25})


@pytest.mark.needs("mount", "umount")
def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoints_before(
    save, restored, small_disk, monkeypatch
):
    """A checkpoint of this model takes four pages of memory, and its means are the last."""
    folder = small_disk(65_536) / "checkpoints"
    checkpoints = save(folder, 2, 4)
    room = folder.parent / "other_files"
    with pytest.raises(OSError), room.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)") as error:
        checkpoints.save(6, {})
    assert "\n" not in str(error.value)
    assert names(folder) == files_of(2, 4)
    room.unlink()
    assert restored(folder)[0] == 4
