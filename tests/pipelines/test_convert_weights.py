import math

import numpy as np
import pytest

from scnn_tf.models.checkpoints import load_stage

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


@pytest.fixture
def port(tmp_path):
    """A PyTorch port of C3D in a thirty-second of its width, fc6 and fc7 of 8, 487 sports."""
    filters = {"conv1": 2, "conv2": 4, "conv3a": 8, "conv3b": 8}
    filters |= dict.fromkeys(("conv4a", "conv4b", "conv5a", "conv5b"), 16)
    shapes, inputs = {}, 3
    for name, outputs in filters.items():
        shapes[name], inputs = (outputs, inputs, 3, 3, 3), outputs
    shapes |= {"fc6": (8, 16 * inputs), "fc7": (8, 8), "fc8": (487, 8)}
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in shapes.items():
        scale = math.prod(shape[1:]) ** -0.5
        tensors[f"{name}.weight"] = random.normal(0, scale, shape).astype(np.float32)
        tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    path = tmp_path / "port.safetensors"
    safetensors.save_file(tensors, path)
    return path, tensors


@pytest.mark.slow
def test_training_starts_from_converted_weights(run_binary, port, tiny_dataset, caplog, tmp_path):
    path, tensors = port
    folder = tmp_path / "sports1m"
    code, out, err = run_binary("convert_weights", f"--weights={path}", f"--output_dir={folder}")
    count = sum(array.size for key, array in tensors.items() if not key.startswith("fc8"))
    assert (code, out) == (0, f"c3d of width 0.03125, {count:,} parameters → {folder}\n"), err
    for message in ("fc8.weight is left out", "no mean volume was given"):
        assert message in caplog.text

    recipe = tmp_path / "fine_tuning.json"
    recipe.write_text(
        '{"base": "thumos14", "width": 0.03125, "hidden": 8, "batch_size": 1,'
        ' "classification": {"steps": 1, "learning_rate": 1e-12}}'
    )
    code, _, err = run_binary(
        "build_tfrecords", f"--annotations={tiny_dataset / 'annotations.json'}",
        f"--video_dir={tiny_dataset / 'videos'}", f"--recipe={recipe}",
        f"--output_dir={tmp_path / 'shards'}",
    )  # fmt: skip
    assert code == 0, err
    code, _, err = run_binary(
        "train", "--stage=classification", f"--start_from={folder}", f"--recipe={recipe}",
        f"--data_dir={tmp_path / 'shards'}", f"--model_dir={tmp_path / 'models'}",
    )  # fmt: skip
    assert code == 0, err
    assert f"{folder}: fc8 start from fresh weights" in caplog.text
    model, _ = load_stage(tmp_path / "models" / "classification")
    assert model.output_shape == (None, None, 3)
    kernel = model.get_layer("conv3b").kernel.numpy()
    expected = tensors["conv3b.weight"].transpose(2, 3, 4, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-6)

    # A recipe with another pooling is not that network.
    both = tmp_path / "both"
    code, _, err = run_binary(
        "convert_weights", f"--weights={path}", f"--output_dir={both}", "--pool5=both",
    )  # fmt: skip
    assert code == 0, err
    code, _, err = run_binary(
        "train", "--stage=classification", f"--start_from={both}", f"--recipe={recipe}",
        f"--data_dir={tmp_path / 'shards'}", f"--model_dir={tmp_path / 'others'}",
    )  # fmt: skip
    assert code == 1
    assert f'{both}: expected a network whose pool5 is "far", as in this recipe' in err


@pytest.mark.slow
def test_unusable_files_are_reported_in_one_sentence(run_binary, port, tmp_path):
    path, tensors = port

    def fails(message, *flags):
        code, out, err = run_binary("convert_weights", f"--output_dir={tmp_path / 'o'}", *flags)
        assert (code, out) == (1, "")
        (line,) = err.splitlines()
        assert line.startswith("error: ") and message in line

    fails("none: cannot be read (No such file", f"--weights={tmp_path / 'none'}")
    fails("none: cannot be read", f"--weights={path}", f"--mean={tmp_path / 'none'}")
    path.write_bytes(path.read_bytes()[:-1])
    fails("cannot be read as .safetensors", f"--weights={path}")
    safetensors.save_file({"conv1.weight": tensors["conv1.weight"]}, path)
    fails("expected a C3D or a video ResNet. Found: conv1", f"--weights={path}")


def test_help_shows_a_command_and_the_flags(run_binary):
    code, out, _ = run_binary("convert_weights", "--help")
    assert code == 0
    assert "python -m pipelines.convert_weights --weights=" in out
    for flag in ("--mean:", "--pool5:", "--trained_on:", "--licence:"):
        assert flag in out
