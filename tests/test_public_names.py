"""The Python API: every public name has a docstring with an example, and the example runs."""

import doctest
import inspect
import shutil

import pytest

import scnn_tf
from tests.serving_stand_in.server import StandIn, read_config


class Outputs(doctest.OutputChecker):
    """Compares the outputs that an example shows; where it shows none, any output is right."""

    def check_output(self, want, got, flags):
        return not want or super().check_output(want, got, flags)


@pytest.fixture(scope="module")
def folder(tiny_dataset, tiny_models, tmp_path_factory):
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples") / "work"
    shutil.copytree(tiny_dataset, folder)
    shutil.copytree(tiny_models, folder / "model")
    shutil.copy(folder / "videos" / "cat.mp4", folder / "video.mp4")
    scnn_tf.localize_videos([folder / "video.mp4"], folder / "model", folder / "found")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """The address of a server that has the model."""
    scnn_tf.export_scnn(scnn_tf.load_scnn(folder / "model"), folder / "served" / "scnn")
    with StandIn(read_config(folder / "served" / "models.config")) as server:
        yield server.address


@pytest.mark.parametrize("name", scnn_tf.__all__)
def test_the_example_of_a_public_name_runs(name, folder, monkeypatch, request):
    monkeypatch.chdir(folder)
    text = inspect.getdoc(getattr(scnn_tf, name))
    if "localhost:8500" in text:
        text = text.replace("localhost:8500", request.getfixturevalue("address"))
    examples = doctest.DocTestParser().get_doctest(text, {"scnn_tf": scnn_tf}, name, None, None)
    assert "Example:" in text and examples.examples
    output: list[str] = []
    failed, _ = doctest.DocTestRunner(Outputs(), verbose=False).run(examples, out=output.append)
    assert not failed, "".join(output)


def test_public_names_are_listed_and_found():
    assert 20 <= len(scnn_tf.__all__) <= 26
    for name in scnn_tf.__all__:
        assert getattr(scnn_tf, name).__name__ == name
        assert name in dir(scnn_tf)


def test_packages_are_found_by_the_name_of_the_library_alone():
    assert scnn_tf.models.C3D.__name__ == "C3D"
    assert scnn_tf.models.losses.OverlapLoss.__name__ == "OverlapLoss"


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="scnn_tf.*no_such_name"):
        scnn_tf.no_such_name  # noqa: B018
