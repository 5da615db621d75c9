"""The notebook own_video.ipynb runs from its first cell to its last."""

import json
from pathlib import Path

import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.localization.formats import read_detections
from tests.serving_stand_in.server import StandIn, read_config

NOTEBOOK = Path(__file__).parents[2] / "examples" / "own_video.ipynb"


@pytest.fixture(params=["synthetic", "own"])
def settings(request, tmp_path):
    """Values for names in the notebook's first cell: its own videos, or a folder and a table."""
    if request.param == "synthetic":
        return {"STEPS": 1}
    data = request.getfixturevalue("tiny_dataset")
    recipe = request.getfixturevalue("tiny_stretches") / "recipe.json"
    rows = [
        f"{video.file},{action.label},{action.start},{action.end}\n"
        for video in read_annotations(data / "annotations.json").values()
        for action in video.actions
    ]
    labels = tmp_path / "labels.csv"
    labels.write_text("video,label,start,end\n" + "".join(rows))
    return {
        "VIDEOS": str(data / "videos"),
        "LABELS": str(labels),
        "RECIPE": {"base": str(recipe)},
        "STEPS": 2,
    }


@pytest.mark.slow
def test_every_cell_runs(settings, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # not in the home folder
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first, *_, ask, serve = (cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = with_settings(first.source, settings)
    folder = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=900, resources=folder)
    written = tmp_path / "runs" / "own_video"
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)  # an error in the cell is raised here
        assert "the same detections: True" in printed(ask)
        assert f'-v "{written}/saved_models:/models"' in printed(serve)
        with StandIn(read_config(written / "saved_models" / "models.config")) as server:
            serve.source = f"SERVER = {server.address!r}\n{serve.source}"
            client.execute_cell(serve, number)
    test = read_annotations(written / "annotations.json", "test")
    found = read_detections(written / "found" / "detections.json")
    assert set(found.video) == set(test)
    _, best, *_ = printed(serve).splitlines()
    assert best.split()[-1] == next(iter(test))
    results = [data for cell in notebook.cells for data in shown(cell)]
    assert ["image/png" in data for data in results].count(True) == 1
    assert "page.html" in "".join(data.get("text/html", "") for data in results)
    assert "My videos" in (written / "page.html").read_text(encoding="utf-8")


def with_settings(source: str, settings: dict) -> str:
    """Returns the source of a cell, with other values for some of the names that it assigns."""
    lines = source.splitlines()
    for name, value in settings.items():
        (place,) = (n for n, line in enumerate(lines) if line.startswith(f"{name} = "))
        lines[place] = f"{name} = {value!r}"
    return "\n".join(lines)


def printed(cell) -> str:
    """Returns the text that a cell has printed."""
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def shown(cell) -> list[dict]:
    """Returns the results that a cell shows, each in all its forms by MIME type."""
    return [output.data for output in cell.get("outputs", ()) if "data" in output]


def test_the_repository_holds_the_notebook_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
