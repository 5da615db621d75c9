"""The rules of docs/architecture.md: the import order, and the libraries that an import loads."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pipelines
import scnn_tf

PACKAGE = Path(scnn_tf.__file__).parent
PIPELINES = Path(pipelines.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# A package imports only what stands in an earlier line.
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
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}

# Earlier packages that would draw in the trainer or a network.
FORBIDDEN = {
    "serving": {"training", "evaluation"},
    "report": {"training", "models", "shards", "jobs"},
}

# Reading, labelling, post-processing and evaluating must not wait for a network's library.
NO_KERAS = {
    *("errors", "jobs", "segments", "datasets", "evaluation", "report"),
    *("localization.tables", "localization.formats", "localization.postprocess"),
    *("models.recipes", "models.checkpoints"),
}


def parsed(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imported(module: Path) -> set[str]:
    """The dotted names in a module's import statements, inside functions too."""
    names = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages_of(module: Path) -> set[str]:
    """The packages of scnn_tf that a module imports; `errors` is one of them."""
    names = {name.split(".")[1] for name in imported(module) if name.startswith("scnn_tf.")}
    return names - {"__version__"}


def loaded_after(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_package_imports_only_earlier_packages(module):
    own = module.parts[0].removesuffix(".py")
    others = packages_of(module) - {own}
    assert others <= {name for name in LEVEL if LEVEL[name] < LEVEL.get(own, 0)}
    assert not others & FORBIDDEN.get(own, set())
    assert not {name.split(".")[0] for name in imported(module)} & {"pipelines", "benchmarks"}


@pytest.mark.parametrize("package", sorted(LEVEL.keys() - {"errors"}))
def test_a_build_file_names_the_packages_that_are_imported(package):
    build = PACKAGE / package / "BUILD"
    if not build.is_file():
        pytest.skip("Bazel's sandbox holds no BUILD files")
    deps = "".join(re.findall(r"deps = \[(.*?)\]", build.read_text(), re.DOTALL))
    named = set(re.findall(r'"//scnn_tf[/:](\w+)', deps))
    modules = [module for module in MODULES if module.parts[0] == package]
    assert named == set().union(*map(packages_of, modules)) - {package}


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] != "io"], ids=str)
def test_only_io_knows_a_url(module):
    """Others ask `io.files`: they neither look for a scheme nor take a URL apart."""
    assert not {"urlsplit", "urlparse"} & {name.split(".")[-1] for name in imported(module)}
    texts = [node.value for node in ast.walk(parsed(module)) if isinstance(node, ast.Constant)]
    assert [text for text in texts if isinstance(text, str) and text.endswith("://")] == []


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] == "models"], ids=str)
def test_networks_do_not_import_tensorflow(module):
    assert "tensorflow" not in {name.split(".")[0] for name in imported(module)}


def test_importing_scnn_tf_loads_nothing_heavy():
    heavy = {"absl", "av", "keras", "matplotlib", "numpy", "tensorflow", "tensorflow_io"}
    assert not heavy & loaded_after("import scnn_tf")


def test_packages_that_need_no_network_load_neither_keras_nor_tensorflow():
    names = [".".join(module.with_suffix("").parts) for module in MODULES]
    names = [name for name in names if {name, name.split(".")[0]} & NO_KERAS]
    modules = ", ".join(f"scnn_tf.{name}" for name in names)
    assert not {"keras", "tensorflow"} & loaded_after(f"import {modules}")


@pytest.mark.parametrize("name", sorted(p.stem for p in PIPELINES.glob("[a-z]*.py")))
def test_a_binary_loads_no_slow_library_before_its_main(name):
    assert not {"keras", "matplotlib", "tensorflow"} & loaded_after(f"import pipelines.{name}")
