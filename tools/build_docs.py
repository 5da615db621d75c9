"""Builds the API reference from the docstrings: `make docs`.

    python tools/build_docs.py build/docs

A warning, such as a name that cannot be imported or a link that leads nowhere, is an error.
"""

import importlib
import pkgutil
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pdoc  # noqa: E402

import scnn_tf  # noqa: E402

# Sections that the docstring converter left in the text as they were: a wrong indentation.
_UNCONVERTED = re.compile(r"<p>(?:Args|Arguments|Attributes|Example|Returns|Raises|Yields):")


def main(folder: Path) -> None:
    """Writes a page for each module to a folder, and an index."""
    names = [module.name for module in pkgutil.walk_packages(scnn_tf.__path__, "scnn_tf.")]
    modules = {name: importlib.import_module(name) for name in ["scnn_tf", *names]}
    # pdoc neither loads a lazy name nor shows a module that its package's `__all__` lacks.
    for name, module in modules.items():
        if hasattr(module, "__all__"):
            vars(module).update({public: getattr(module, public) for public in module.__all__})
            module.__all__ += [n.rpartition(".")[2] for n in names if n.rpartition(".")[0] == name]
    warnings.simplefilter("error", UserWarning)  # pdoc's; importing TensorFlow causes others
    pdoc.render.configure(docformat="google", footer_text=f"scnn_tf {scnn_tf.__version__}")
    pdoc.pdoc("scnn_tf", output_directory=folder)
    for page in sorted(folder.rglob("*.html")):
        if found := _UNCONVERTED.search(page.read_text(encoding="utf-8")):
            raise SystemExit(f"error: {page}: unconverted section of a docstring, {found[0]!r}")
    print(f"{folder}/index.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
