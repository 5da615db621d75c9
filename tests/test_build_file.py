"""What the packaging files repeat from the code is the truth."""

import ast
import difflib
import re
import runpy
from pathlib import Path

import scnn_tf

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    """The text of a file at the top of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_build_file_agrees_with_the_imports():
    build_text = runpy.run_path(str(ROOT / "tools" / "update_build.py"))["build_text"]
    written, real = read("BUILD").splitlines(), build_text(ROOT).splitlines()
    difference = difflib.unified_diff(written, real, "BUILD", "the imports", n=4, lineterm="")
    assert written == real, "\n".join(["run `make build-file`: it would change", *difference])


def test_every_binary_is_installed_as_a_console_script():
    (names,) = (
        node.value
        for node in ast.parse(read("setup.py")).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "BINARIES"
    )
    binaries = re.findall(r'py_binary\(\n    name = "pipelines/(\w+)"', read("BUILD"))
    assert sorted(ast.literal_eval(names)) == binaries


def test_bazel_module_has_the_version_of_the_package():
    assert f'version = "{scnn_tf.__version__}"' in read("MODULE.bazel")
