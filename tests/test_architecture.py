"""The import order of docs/architecture.md: a package imports only what comes before it."""

import ast
from pathlib import Path

import pytest

import scnn_tf

PACKAGE = Path(scnn_tf.__file__).parent
ORDER = (
    {"errors"},
    {"io"},
    {"jobs", "segments"},
    {"models", "datasets"},
    {"shards"},
    {"training", "localization"},
    {"evaluation"},
    {"serving", "report"},
    {"experiments"},
)
# Packages that could be imported, but are not needed.
NOT_NEEDED = {
    "serving": {"training", "evaluation"},
    "report": {"training", "models", "shards", "jobs"},
}
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules that a file names in its import statements, wherever they are in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_package_imports_only_what_comes_before_it(module):
    own = module.parts[0].removesuffix(".py")
    for name in imported(PACKAGE / module):
        first, *rest = name.split(".")
        assert first not in ("pipelines", "benchmarks"), name
        if first == "scnn_tf" and own in LEVEL and rest[0] != own:
            assert LEVEL.get(rest[0], -1) < LEVEL[own], name


@pytest.mark.parametrize("package", NOT_NEEDED)
def test_serving_and_report_import_only_what_they_need(package):
    names = {name for path in (PACKAGE / package).glob("*.py") for name in imported(path)}
    packages = {name.split(".")[1] for name in names if name.startswith("scnn_tf.")}
    assert not packages & NOT_NEEDED[package]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_io_knows_a_url(module):
    """Others ask `io.files`: they neither look for a scheme nor take a URL apart."""
    if module.parts[0] == "io":
        return
    names = {name.split(".")[-1] for name in imported(PACKAGE / module)}
    assert not {"urlsplit", "urlparse"} & names
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert [text for text in texts if isinstance(text, str) and text.endswith("://")] == []


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_numpy_packages_and_models_import_no_tensorflow(module):
    banned = {
        "segments": {"tensorflow", "keras"},
        "datasets": {"tensorflow", "keras"},
        "evaluation": {"tensorflow", "keras"},
        "models": {"tensorflow"},
    }.get(module.parts[0], set())
    if module.parts[0] == "localization" and module.stem in ("tables", "formats", "postprocess"):
        banned = {"tensorflow", "keras"}
    assert not banned & {name.split(".")[0] for name in imported(PACKAGE / module)}
