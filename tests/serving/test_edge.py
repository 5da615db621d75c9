"""Exports for devices give what the trained networks give, without them and without TensorFlow."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.io.video import read_frames, write_video
from scnn_tf.localization.scnn import load_scnn
from scnn_tf.serving import edge_runtime
from scnn_tf.serving.edge import TOLERANCES, export_edge

pytestmark = pytest.mark.slow  # the conversions are

DOCS = Path(__file__).parents[2] / "docs" / "edge.md"
FORMATS = (("onnx", "float32"), ("tflite", "float32"), ("tflite", "float16"), ("tflite", "int8"))
PART = 40  # windows of a part, of which 16 on either side are context


@pytest.fixture(scope="module", autouse=True)
def packages():
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 32 × 32, of several parts at the shortest length; its noise changes speed."""
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (32, 32, 3), np.uint8)
    moved = [np.roll(noise, i * i // 60, axis=1) // (1 + i // 40 % 2) for i in range(300)]
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    write_video(path, moved, 25)
    return path


@pytest.fixture(scope="module")
def frames(video):
    return np.stack(list(read_frames(video, 25.0, 32, 32)))


@pytest.fixture(scope="module")
def joint(tiny_joint):
    """A network with three heads whose weights tell windows apart."""
    model = load_scnn(tiny_joint, mirror=False, proposal_threshold=0.4)
    keras.utils.set_random_seed(2)
    model = dataclasses.replace(model, network=model.info.build())
    random = np.random.default_rng(0)
    for name, scale in (("boundaries", 0.05), ("classes", 0.3), ("proposal", 0.3)):
        kernel = model.network.get_layer(name).kernel
        kernel.assign(random.normal(scale=scale, size=kernel.shape))
    return model


@pytest.fixture(scope="module")
def exported(joint, tiny_stretches, tmp_path_factory):
    """`exported(format, precision)` is the folder of the joint network in a form."""
    folder, made = tmp_path_factory.mktemp("edge"), {}

    def export(format, precision="float32"):
        name = f"{format}_{precision}"
        if name not in made:
            made[name] = export_edge(
                joint,
                folder / name,
                format=format,
                precision=precision,
                data_dir=tiny_stretches / "shards",
                stretch_windows=PART,
            )
        return made[name]

    return export


@pytest.mark.parametrize(("format", "precision"), FORMATS)
def test_an_export_scores_windows_like_the_trained_network(
    exported, joint, frames, format, precision
):
    model = edge_runtime.load(exported(format, precision))
    allowed = TOLERANCES[precision]
    # Without a threshold all windows are rows, in the same order.
    every = dataclasses.replace(joint.inference, proposal_threshold=0.0)
    expected = dataclasses.replace(joint, inference=every).score_frames(frames, "video")
    model.sequences = dataclasses.replace(model.sequences, proposal_threshold=0.0)
    found = model.score_frames(iter(frames))
    assert len(expected) > 2 * PART
    for column in ("start", "end", "window_frames"):
        np.testing.assert_array_equal(getattr(found, column), getattr(expected, column))
    length = expected.window_frames / 25
    for column, scale in (("score", 1), ("action_start", length), ("action_end", length)):
        apart = np.abs(getattr(found, column) - getattr(expected, column)) / scale
        assert apart.mean() <= allowed.mean and apart.max() <= allowed.largest, column


def test_an_export_in_float32_finds_the_same_actions(exported, joint, frames):
    expected = joint.detections(joint.score_frames(frames, "video"))
    assert len(expected) > 3
    for format in ("onnx", "tflite"):
        found = edge_runtime.load(exported(format)).localize(frames)
        assert found.label.tolist() == expected.label.tolist()
        for column in ("start", "end", "score"):
            np.testing.assert_allclose(getattr(found, column), getattr(expected, column), atol=1e-4)


def test_a_multi_label_network_has_boundaries_for_each_class(joint, frames, tmp_path):
    shards = dataclasses.replace(joint.info.recipe.shards, multi_label=True)
    recipe = dataclasses.replace(joint.info.recipe, shards=shards)
    info = dataclasses.replace(joint.info, recipe=recipe)
    keras.utils.set_random_seed(3)
    several = dataclasses.replace(joint, network=info.build(), info=info)
    kernel = several.network.get_layer("boundaries").kernel
    kernel.assign(np.random.default_rng(0).normal(scale=0.05, size=kernel.shape))
    folder = export_edge(several, tmp_path / "scnn", format="onnx", stretch_windows=PART)
    model = edge_runtime.load(folder)
    every = dataclasses.replace(joint.inference, proposal_threshold=0.0)
    expected = dataclasses.replace(several, inference=every).score_frames(frames, "video")
    model.sequences = dataclasses.replace(model.sequences, proposal_threshold=0.0)
    found = model.score_frames(frames)
    assert len(set(expected.label)) == 2
    assert found.label.tolist() == expected.label.tolist()
    for column in ("score", "action_start", "action_end"):
        np.testing.assert_allclose(getattr(found, column), getattr(expected, column), atol=1e-4)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_the_papers_networks_are_two_files(tiny_models, frames, tmp_path, format):
    trained = load_scnn(tiny_models, proposal_threshold=0.0, mirror=True)
    folder = export_edge(trained, tmp_path / "scnn", format=format)
    files = {"card.json", "scnn_edge.py", f"proposal.{format}", f"localization.{format}"}
    assert {path.name for path in folder.iterdir()} == files
    model = edge_runtime.load(folder)
    expected = trained.score_frames(frames, "video")
    assert len(expected) > 3
    found = model.score_frames(frames)
    assert found.label.tolist() == expected.label.tolist()
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    np.testing.assert_array_equal(found.action_end, expected.end)
    model.sequences = dataclasses.replace(model.sequences, proposal_threshold=1.0)
    assert len(model.score_frames(frames)) == 0  # the proposal network decides


def test_the_card_describes_the_export(exported):
    folder = exported("tflite", "int8")
    card = json.loads((folder / "card.json").read_text())
    assert card["class_names"] == ["left", "right"] and card["frame_rate"] == 25.0
    assert (card["frame_height"], card["frame_width"]) == (32, 32)
    assert card["window_frames"] == [16, 32, 64] and card["part_windows"] == PART
    network = card["networks"]["joint"]
    assert network["bytes"] == (folder / network["file"]).stat().st_size
    assert card["difference"]["mean"] <= card["tolerance"]["mean"] == TOLERANCES["int8"].mean
    assert card["checked_on"].endswith("records of shards")
    size = (exported("tflite") / "joint.tflite").stat().st_size
    assert network["bytes"] < size


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_the_program_in_the_docs_runs_without_tensorflow(
    exported, joint, frames, video, tmp_path, format
):
    (program,) = re.findall(r"```python\n(import subprocess.*?)```", DOCS.read_text(), re.DOTALL)
    shutil.copytree(exported(format), tmp_path / "edge" / "scnn")
    shutil.copy(video, tmp_path / "video.mp4")
    blocked = ["tensorflow", "keras", "scnn_tf"]
    block = f"import sys\nsys.modules.update(dict.fromkeys({blocked}))\n"
    done = subprocess.run(
        [sys.executable, "-c", block + program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = edge_runtime.load(exported(format)).localize(frames)
    assert len(done.stdout.splitlines()) >= len(expected) // 2 > 0  # ffmpeg scales otherwise
    assert re.match(r"(left|right)  \d+\.\d – \d+\.\d s  \(0\.\d\d\)\n", done.stdout)


def test_mistakes_are_reported_in_one_sentence(
    joint, exported, tiny_stretches, tiny_dataset, tmp_path, monkeypatch
):
    def fails(message, folder=tmp_path / "new", **arguments):
        with pytest.raises(InputError, match=message):
            export_edge(joint, folder, **{"format": "tflite", **arguments})
        assert not (tmp_path / "new").exists() and not list(tmp_path.glob("partial*"))

    fails("format must be one of tflite, onnx", format="pb")
    fails("precision of onnx must be one of float32. Received: 'int8'", format="onnx",
          precision="int8")  # fmt: skip
    fails("int8 takes the ranges of its feature maps from real video", precision="int8")
    fails("exists already", folder=exported("onnx"))
    fails("stretch_windows must be more than 32", stretch_windows=32)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    fails("needs tf2onnx, which is not installed; run pip install", format="onnx")


def test_shards_of_other_frames_are_refused(joint, tiny_stretches, tmp_path):
    shards = dataclasses.replace(joint.info.recipe.shards, frame_width=40)
    recipe = dataclasses.replace(joint.info.recipe, shards=shards)
    other = dataclasses.replace(joint, info=dataclasses.replace(joint.info, recipe=recipe))
    with pytest.raises(InputError, match="expected shards of frames of 32 × 40 pixels"):
        export_edge(other, tmp_path / "new", format="tflite", data_dir=tiny_stretches / "shards")


def test_an_export_that_differs_too_much_is_not_written(joint, tmp_path, monkeypatch):
    monkeypatch.setitem(TOLERANCES, "float32", TOLERANCES["float32"]._replace(mean=0.0))
    with pytest.raises(InputError, match="by at most 0.0 in the mean"):
        export_edge(joint, tmp_path / "new", format="tflite")
    assert not list(tmp_path.iterdir())


def test_a_damaged_folder_is_reported(exported, tmp_path, monkeypatch):
    folder = tmp_path / "scnn"
    shutil.copytree(exported("onnx"), folder)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(InputError, match="joint.onnx needs onnxruntime; run pip install"):
            edge_runtime.load(folder)
    (folder / "joint.onnx").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match="joint.onnx: expected the file of card.json"):
        edge_runtime.load(folder)
    (folder / "card.json").write_text("{}")
    with pytest.raises(InputError, match="expected an exported model, card.json"):
        edge_runtime.load(folder)
    with pytest.raises(InputError, match="expected an exported model, card.json"):
        edge_runtime.load(tmp_path / "none")


def test_frames_of_another_form_are_refused(exported, frames):
    model = edge_runtime.load(exported("onnx"))
    with pytest.raises(InputError, match=r"frames of uint8 \[32, 32, 3\]. Received: uint8 \[16"):
        model.localize(frames[:, :16])
    with pytest.raises(InputError, match="Received: float32 .* as frame 1"):
        model.localize([frames[0], frames[1].astype("float32")])


def test_a_video_without_a_window_is_one_segment(exported, joint, frames):
    model = edge_runtime.load(exported("onnx"))
    assert len(model.localize([])) == 0
    found, expected = (each.score_frames(frames[:9], "v") for each in (model, joint))
    assert found.window_frames.tolist() == expected.window_frames.tolist()
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5)
