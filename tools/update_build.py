"""Writes BUILD from the imports, so that its graph is the real one.

    python tools/update_build.py

Every file has a target named by its path (`//:scnn_tf/nms`, `//:tests/test_nms`); a package
inside scnn_tf is one library; `//:scnn_tf` is the whole library. What a file imports, inside
functions too, it depends on. Tests depend on what they name in strings as well, since they
start programs (`python -m pipelines.train`), and `tests/pipelines/test_train.py` on
`pipelines/train.py`.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Import name → distribution name, as pip.parse in MODULE.bazel names its targets.
THIRD_PARTY = {
    "absl": "absl_py",
    "apache_beam": "apache_beam",
    "av": "av",
    "boto3": "boto3",
    "google": "protobuf",
    "grpc": "grpcio",
    "hypothesis": "hypothesis",
    "keras": "keras",
    "matplotlib": "matplotlib",
    "moto": "moto",
    "numpy": "numpy",
    "pandas": "pandas",
    "plotly": "plotly",
    "pytest": "pytest",
    "safetensors": "safetensors",
    "selenium": "selenium",
    "tenacity": "tenacity",
    "tensorboard": "tensorboard",
    "tensorflow": "tensorflow",
    "tensorflow_io": "tensorflow_io",
    "tensorflow_serving": "tensorflow_serving_api",
    "tqdm": "tqdm",
}

# Target → the folder of files that it reads when it runs.
DATA = {"scnn_tf/report": "scnn_tf/report_page"}

# Imported where they happen to be installed; not in requirements.lock.
OPTIONAL = ("torch",)

# A pytest file is no program: this one runs the file that the target's `args` name.
RUNNER = "tests/run_pytest.py"

# It reads the whole source tree, which no target holds.
OUTSIDE = "tests/test_build_file.py"

HEADER = '''\
"""The dependency graph, one target a file. Written by tools/update_build.py: do not edit."""

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

package(default_visibility = ["//visibility:public"])
'''


def build_text(root: Path) -> str:
    """What BUILD must hold for the Python files under `root`."""
    files = sorted(
        path.relative_to(root).as_posix()
        for folder in ("scnn_tf", "pipelines", "tests")
        for path in (root / folder).rglob("*.py")
    )
    files = [file for file in files if file not in (RUNNER, OUTSIDE)]
    sources: dict[str, list[str]] = {}
    for file in files:
        sources.setdefault(_target(file), []).append(file)

    library = [f":{target}" for target in sources if target.startswith("scnn_tf/")]
    rules = [HEADER, _rule("py_library", name="scnn_tf", deps=library)]
    for target, srcs in sources.items():
        deps = {label for file in srcs for label in _labels(root, file, files)} - {f":{target}"}
        if Path(target).name.startswith("test_"):
            folders = [folder.as_posix() for folder in Path(target).parents]
            deps |= {f":{folder}/conftest" for folder in folders} & {f":{t}" for t in sources}
            rule = _rule(
                "py_test",
                name=target,
                srcs=[RUNNER, *srcs],
                args=srcs,
                data=["pyproject.toml"],
                main=RUNNER,
                deps=deps | {"@pypi//pytest"},
            )
        elif '\nif __name__ == "__main__":' in (root / srcs[0]).read_text(encoding="utf-8"):
            rule = _rule("py_binary", name=target, srcs=srcs, main=srcs[0], deps=deps)
        else:
            files_of = sorted((root / DATA[target]).iterdir()) if target in DATA else []
            data = [path.relative_to(root).as_posix() for path in files_of]
            rule = _rule("py_library", name=target, srcs=srcs, data=data, deps=deps)
        rules.append(rule)
    return "\n".join(rules)


def _target(file: str) -> str:
    """The name of the target that holds `file`."""
    parts = file.removesuffix(".py").split("/")
    return "/".join(parts[:2] if parts[0] == "scnn_tf" else parts)


def _labels(root: Path, file: str, files: list[str]) -> Iterator[str]:
    """What `file` depends on, as labels."""
    for name in _imports(root, file):
        top, *rest = name.split(".")
        if top in THIRD_PARTY:
            yield f"@pypi//{THIRD_PARTY[top]}"
        elif top in ("scnn_tf", "pipelines", "tests"):
            # Importing a.b runs a/__init__.py too.
            paths = ["/".join([top, *rest[:depth]]) for depth in range(len(rest) + 1)]
            found = [f for p in paths for f in (f"{p}.py", f"{p}/__init__.py") if f in files]
            yield from (f":{_target(found_file)}" for found_file in found)
            if found == ["scnn_tf/__init__.py"] and rest != ["__version__"]:
                yield ":scnn_tf"  # a name that scnn_tf hands on from one of its modules
        elif top not in (*OPTIONAL, *sys.stdlib_module_names):
            raise SystemExit(f"error: {file} imports {top}: add it to THIRD_PARTY here.")


def _imports(root: Path, file: str) -> Iterator[str]:
    """The dotted names that `file` imports: `a.b` for `import a.b` and `from a import b`."""
    if file.startswith("tests/pipelines/test_"):
        yield f"pipelines.{Path(file).stem.removeprefix('test_')}"
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.ImportFrom():
                raise SystemExit(f"error: {file}, line {node.lineno}: import by the full name.")
            case ast.Constant(value=str(text)) if file.startswith("tests/"):
                yield from re.findall(r"\b(?:scnn_tf|pipelines)(?:\.\w+)+", text)


def _rule(kind: str, **attributes: str | Iterable[str]) -> str:
    """One rule as buildifier would print it."""
    lines = [f"{kind}("]
    for key, value in attributes.items():
        if isinstance(value, str):
            lines.append(f'    {key} = "{value}",')
        elif len(values := sorted(value)) == 1:
            lines.append(f'    {key} = ["{values[0]}"],')
        elif values:
            lines += [f"    {key} = [", *(f'        "{item}",' for item in values), "    ],"]
    return "\n".join([*lines, ")", ""])


if __name__ == "__main__":
    (ROOT / "BUILD").write_text(build_text(ROOT), encoding="utf-8")
