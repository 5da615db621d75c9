"""Converted video ResNets, compared with torchvision's own networks of random weights."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.models import BACKBONES, VideoResNet
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.training.video_resnet_weights import read_video_resnet

KINDS = ("r3d_18", "mc3_18", "r2plus1d_18", "r2plus1d_34")
PATH = Path("file.pth")
MEAN, DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


def frames() -> np.ndarray:
    """Returns a random segment, uint8 `[1, 16, 36, 44, 3]`."""
    return np.random.default_rng(0).integers(0, 256, (1, 16, 36, 44, 3), np.uint8)


def converted(result) -> VideoResNet:
    """The backbone that a conversion describes, with its weights."""
    arguments = result.recipe.backbone_arguments() | {"frame_shape": (36, 44)}
    backbone = BACKBONES[result.recipe.backbone](**arguments)
    assert result.weights.keys() == {layer.name for layer in backbone.layers if layer.weights}
    for name, arrays in result.weights.items():
        backbone.get_layer(name).set_weights(arrays)
    return backbone


# Against torchvision.


def network_of_torchvision(kind: str):
    """The network with random weights and statistics; IG-65M's as its authors describe it."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    video = pytest.importorskip("torchvision.models.video", reason="torchvision is not installed")
    torch.manual_seed(0)
    if kind == "r2plus1d_34":
        resnet = video.resnet
        model = resnet.VideoResNet(
            resnet.BasicBlock, [resnet.Conv2Plus1D] * 4, [3, 4, 6, 3], resnet.R2Plus1dStem
        )
        for layer, planes in ((model.layer2, 128), (model.layer3, 256), (model.layer4, 512)):
            layer[0].conv2[0] = resnet.Conv2Plus1D(planes, planes, 9 * planes // 4)
    else:
        model = getattr(video, kind)(weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.eps = 1e-3 if kind == "r2plus1d_34" else 1e-5
    return model.eval()


def outputs_of_torchvision(model, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of the stages, with Keras's axes, and the logits."""
    import torch

    found = {}
    for name in ("stem", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: found.__setitem__(name, output)
        )
    pixels = (inputs / 255 - MEAN) / DEVIATION
    with torch.no_grad():
        model(torch.tensor(pixels.transpose(0, 4, 1, 2, 3), dtype=torch.float32))
    return {
        name: np.moveaxis(output.numpy(), 1, -1) if output.ndim == 5 else output.numpy()
        for name, output in found.items()
    }


@pytest.mark.parametrize("kind", [*KINDS[:3], pytest.param("r2plus1d_34", marks=pytest.mark.slow)])
def test_every_stage_and_the_logits_are_those_of_torchvision(kind):
    model = network_of_torchvision(kind)
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    result = read_video_resnet(PATH, tensors)
    assert (result.recipe.backbone, result.recipe.width) == (kind, 1)
    backbone = converted(result)
    parameters = sum(np.prod(weight.shape) for weight in backbone.trainable_weights)
    fc = 512 * 400 + 400
    assert parameters + fc == sum(parameter.numel() for parameter in model.parameters())

    inputs = frames()  # halved to 18 × 22, 9 × 11, 5 × 6, 3 × 3
    expected = outputs_of_torchvision(model, inputs)
    layers = {
        f"layer{number}": f"layer{number}.{len(getattr(model, f'layer{number}')) - 1}.relu"
        for number in (1, 2, 3, 4)
    }
    layers |= {"stem": f"stem.{len(model.stem) - 1}", "avgpool": "windows"}
    outputs = {stage: backbone.get_layer(name).output for stage, name in layers.items()}
    found = keras.Model(backbone.input, outputs)({"frames": inputs}, training=False)
    found = {stage: output.numpy() for stage, output in found.items()}
    if kind != "mc3_18":  # layer4 has the steps that torchvision's skips, too
        found["layer4"] = found["layer4"][:, ::2]
    kernel, bias = result.head
    found["fc"] = found["avgpool"][:, 0] @ kernel + bias
    expected["avgpool"] = expected["avgpool"].reshape(1, 1, 512)
    assert found.keys() == expected.keys()
    for stage, output in expected.items():
        assert found[stage].shape == output.shape
        tolerance = 1e-4 * np.abs(output).max()
        np.testing.assert_allclose(found[stage], output, rtol=0, atol=tolerance, err_msg=stage)


# Files as they are found.


def state_dict(kind: str, prefix: str = "", classes: int = 5) -> dict[str, np.ndarray]:
    """The tensors of a network of width 1/16, random: names and axes of PyTorch."""
    tensors = backbone_tensors(kind)
    if classes:
        random = np.random.default_rng(1)
        tensors = {
            **tensors,
            "fc.weight": random.normal(size=[classes, 32]).astype(np.float32),
            "fc.bias": random.normal(size=[classes]).astype(np.float32),
        }
    return {prefix + key: array for key, array in tensors.items()}


@functools.cache
def backbone_tensors(kind: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    tensors = {}
    for layer in BACKBONES[kind](width=1 / 16).layers:
        if isinstance(layer, keras.layers.Conv3D):
            *window, inputs, filters = layer.kernel.shape
            kernel = random.normal(0, 0.1, [filters, inputs, *window])
            tensors[f"{layer.name}.weight"] = kernel.astype(np.float32)
        elif isinstance(layer, keras.layers.BatchNormalization):
            for part in ("weight", "bias", "running_mean", "running_var"):
                vector = random.uniform(0.5, 2, layer.gamma.shape)
                tensors[f"{layer.name}.{part}"] = vector.astype(np.float32)
            tensors[f"{layer.name}.num_batches_tracked"] = np.array(7)
    return tensors


@pytest.mark.parametrize("kind", KINDS)
def test_kind_and_width_follow_from_the_tensors(kind):
    result = read_video_resnet(PATH, state_dict(kind))
    recipe = result.recipe
    assert (recipe.name, recipe.backbone, recipe.width) == ("converted", kind, 1 / 16)
    # As torchvision prepares its frames.
    assert (recipe.normalization, recipe.crop) == ("kinetics", 112)
    assert (recipe.shards.frame_height, recipe.shards.frame_width) == (128, 171)
    assert converted(result)({"frames": frames()}, training=False).shape == (1, 1, 32)


def test_axes_are_in_the_order_of_keras():
    tensors = state_dict("r3d_18")
    result = read_video_resnet(PATH, tensors)
    (kernel,) = result.weights["stem.0"]
    assert kernel.shape == (3, 7, 7, 3, 4)
    assert kernel[1, 2, 3, 0, 3] == tensors["stem.0.weight"][3, 0, 1, 2, 3]
    parts = ("weight", "bias", "running_mean", "running_var")
    for array, part in zip(result.weights["layer2.0.downsample.1"], parts, strict=True):
        np.testing.assert_array_equal(array, tensors[f"layer2.0.downsample.1.{part}"])
    kernel, bias = result.head
    np.testing.assert_array_equal(kernel, tensors["fc.weight"].T)
    np.testing.assert_array_equal(bias, tensors["fc.bias"])


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
def test_names_may_have_a_prefix(prefix):
    # What is next to the backbone is another network's, such as the projection of a contrast.
    tensors = {**state_dict("mc3_18", prefix=prefix, classes=0), "projection.weight": np.ones(3)}
    result = read_video_resnet(PATH, tensors)
    assert result.recipe.backbone == "mc3_18" and result.head is None


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"conv1a.weight": np.ones([4, 3, 3, 3, 3])},
        {"stem.0.weight": np.ones([4, 3, 7, 7])},  # of pictures
        {"layer1.0.conv1.0.weight": np.ones([4, 4, 3, 3])},
        {"layer1.0.conv1.conv.weight": np.ones([4, 4, 3, 3, 3])},  # MMAction2's ResNet3d
    ],
)
def test_other_networks_are_none(tensors):
    assert read_video_resnet(PATH, tensors) is None


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("stem.0.weight", None, "stem.0.weight is missing. Found: stem.1.weight, "),
        ("layer3.1.conv2.1.running_var", None, "layer3.1.conv2.1.running_var is missing"),
        ("layer4.0.downsample.0.weight", None, "layer4.0.downsample.0.weight is missing"),
        ("fc.bias", None, "fc.bias is missing"),
        (
            "stem.0.weight",
            np.ones([5, 3, 3, 7, 7]),
            r"stem.0.weight of shape \(4, 3, 3, 7, 7\). Found: \(5, 3, 3, 7, 7\)",
        ),
        (
            "layer4.0.downsample.0.weight",
            np.ones([32]),
            r"layer4.0.downsample.0.weight of shape \(None, None, 1, 1, 1\). Found: \(32,\)",
        ),
        ("fc.weight", np.ones([5, 7]), r"fc.weight of shape \(None, 32\). Found: \(5, 7\)"),
        ("stem.1.bias", np.full(4, np.nan), "stem.1.bias to hold finite numbers"),
        ("stem.1.bias", np.ones(4, np.int64), "stem.1.bias to be float16, .*int64"),
        (
            "layer1.0.conv1.0.bias",
            np.ones(4),
            "no tensors but those of r3d_18. Found: layer1.0.conv1.0.bias$",
        ),
        (
            "layer3.2.conv1.0.weight",
            np.ones([16, 16, 3, 3, 3]),
            "blocks of r3d_18, .*Found: 2, 2, 3, 2 blocks in layer1 to layer4, of 3×3×3 conv",
        ),
        (
            "layer4.0.downsample.0.weight",
            np.ones([5000, 1, 1, 1, 1]),
            "the network in it is too large .*width cannot be 9.7",
        ),
    ],
)
def test_what_is_wrong_is_named(name, array, message):
    tensors = state_dict("r3d_18")
    if array is None:
        del tensors[name]
    else:
        tensors[name] = array
    with pytest.raises(InputError, match=f"^file.pth: .*{message}"):
        read_video_resnet(PATH, tensors)


def test_two_networks_are_refused():
    tensors = {**state_dict("r3d_18", prefix="rgb."), **state_dict("r3d_18", prefix="flow.")}
    with pytest.raises(InputError, match="expected one video ResNet. Found: flow., rgb.; keep one"):
        read_video_resnet(PATH, tensors)


def test_errors_have_the_names_of_the_file():
    tensors = state_dict("r2plus1d_18", prefix="module.")
    del tensors["module.layer2.0.conv1.0.3.weight"]
    with pytest.raises(InputError, match="module.layer2.0.conv1.0.3.weight is missing"):
        read_video_resnet(PATH, tensors)
    # IG-65M's network with torchvision's planes.
    tensors = state_dict("r2plus1d_34")
    tensors["layer2.0.conv2.0.0.weight"] = np.ones([14, 8, 1, 3, 3])
    with pytest.raises(InputError, match=r"layer2.0.conv2.0.0.weight of shape \(18, .*\(14, "):
        read_video_resnet(PATH, tensors)


def test_training_starts_from_a_video_resnet_of_torchvision(
    run_binary, tiny_dataset, caplog, tmp_path
):
    tensors = state_dict("r3d_18")  # of width 1/16
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    path, folder = tmp_path / "r3d_18.pth", tmp_path / "kinetics"
    safetensors.save_file(tensors, path)
    code, out, err = run_binary("convert_weights", f"--weights={path}", f"--output_dir={folder}")
    assert code == 0, err
    assert out.startswith("r3d_18 of width 0.0625, ")
    assert "fc is left out" in caplog.text

    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        '{"base": "small", "backbone": "r3d_18", "width": 0.0625, "normalization": "kinetics",'
        ' "window_input": false, "batch_size": 2, "average": 0.0,'
        ' "shards": {"frame_height": 32, "frame_width": 32}, "crop": 32,'
        ' "joint": {"steps": 2, "learning_rate": 1e-12}}'
    )
    code, _, err = run_binary(
        "build_tfrecords", f"--annotations={tiny_dataset / 'annotations.json'}",
        f"--video_dir={tiny_dataset / 'videos'}", f"--recipe={recipe}",
        f"--output_dir={tmp_path / 'shards'}",
    )  # fmt: skip
    assert code == 0, err
    code, _, err = run_binary(
        "train", f"--start_from={folder}", f"--recipe={recipe}",
        f"--data_dir={tmp_path / 'shards'}", f"--model_dir={tmp_path / 'models'}",
    )  # fmt: skip
    assert code == 0, err
    model, _ = load_stage(tmp_path / "models" / "joint")
    (kernel,) = model.get_layer("layer3.0.conv1.0").get_weights()
    expected = tensors["layer3.0.conv1.0.weight"].transpose(2, 3, 4, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-6)
