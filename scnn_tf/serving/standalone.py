"""Copies a module, and all that it uses of scnn_tf, into one file that needs no scnn_tf."""

import ast
import copy
import inspect
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from scnn_tf import __version__


def standalone(module: ModuleType) -> str:
    """Returns the source of a file that does what a module of scnn_tf does, by the same code.

    The file has the definitions of the module, and before them those of other modules of scnn_tf
    that they use, unchanged, with their comments.

    Args:
        module: A module whose imports are at its top, except for those of optional packages.

    Raises:
        ValueError: Two used definitions have the same name.
    """
    copied = _Copied()
    for name in _Source.of(module.__name__).definitions:
        copied.add(module.__name__, name)
    note = (
        f"A copy of {module.__name__} of scnn_tf {__version__} and of the definitions that it "
        "uses,\nmade by `export`: change them there."
    )
    header = f'"""{inspect.getdoc(module)}\n\n{note}\n"""'
    return "\n\n\n".join([header, "\n".join(sorted(copied.imports)), *copied.texts.values()]) + "\n"


class _Source(NamedTuple):
    """The top level of a module of scnn_tf.

    Attributes:
        definitions: Name → the statement that defines it.
        imports: Name → the statement that imports it, of that name only.
        lines: The text.
    """

    definitions: dict[str, ast.stmt]
    imports: dict[str, ast.Import | ast.ImportFrom]
    lines: list[str]

    @classmethod
    def of(cls, module: str) -> "_Source":
        """Parses a module."""
        text = inspect.getsource(import_module(module))
        definitions, imports, previous = {}, {}, None
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                for alias in statement.names:
                    only = copy.copy(statement)
                    only.names = [alias]
                    imports[alias.asname or alias.name] = only
            elif isinstance(statement, ast.Expr) and previous:  # the docstring of a constant
                previous.end_lineno = statement.end_lineno
            else:
                definitions |= dict.fromkeys(_defined(statement), statement)
            previous = statement
        return cls(definitions, imports, text.splitlines())

    def text(self, statement: ast.stmt) -> str:
        """Returns the text of a statement with the comments above it."""
        decorators = getattr(statement, "decorator_list", [])
        first = min(node.lineno for node in [statement, *decorators]) - 1
        while self.lines[first - 1].startswith("#"):
            first -= 1
        return "\n".join(self.lines[first : statement.end_lineno])


class _Copied:
    """The definitions that are copied so far, each after those that it uses.

    Attributes:
        imports: Import statements of other packages.
        texts: Name → text of the definition.
    """

    def __init__(self):
        self.imports: set[str] = set()
        self.texts: dict[str, str] = {}
        self._begun: set[tuple[str, str]] = set()
        self._source = cache(_Source.of)

    def add(self, module: str, name: str) -> None:
        """Copies a definition, or what imports it, if the module has it."""
        if (module, name) in self._begun:
            return
        self._begun.add((module, name))
        source = self._source(module)
        if imported := source.imports.get(name):
            if getattr(imported, "module", "").split(".")[0] == "scnn_tf":
                self.add(imported.module, imported.names[0].name)
            else:
                self.imports.add(ast.unparse(imported))
        elif statement := source.definitions.get(name):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name):
                    self.add(module, node.id)
            text = source.text(statement)
            if self.texts.setdefault(name, text) != text:
                raise ValueError(f"two definitions of {name} are used, the second in {module}")


def _defined(statement: ast.stmt) -> list[str]:
    """Returns the names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]
