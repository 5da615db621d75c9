"""The packaging files agree with the code."""

import ast
import re
from pathlib import Path

import scnn_tf

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    """The text of a file at the top of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_binary_is_installed_as_a_console_script():
    (names,) = (
        node.value
        for node in ast.parse(read("setup.py")).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "BINARIES"
    )
    files = {path.stem for path in (ROOT / "pipelines").glob("*.py")}
    assert set(ast.literal_eval(names)) == {name for name in files if name[0] != "_"}


def test_bazel_module_has_the_version_of_the_package():
    assert f'version = "{scnn_tf.__version__}"' in read("MODULE.bazel")


def test_the_lock_holds_every_package_that_bazel_takes_from_it():
    builds = "".join(path.read_text() for path in ROOT.glob("[a-z]*/**/BUILD"))
    lock = read("requirements.lock").lower().replace("-", "_")
    locked = set(re.findall(r"^\w+(?===)", lock, re.MULTILINE))
    assert set(re.findall(r"@pypi//(\w+)", builds)) <= locked
