"""README and docs name only files, sections, commands, flags and Python names that exist."""

import json
import re
from pathlib import Path

import pytest

import scnn_tf

ROOT = Path(scnn_tf.__file__).parents[1]
PAGES = [
    path.relative_to(ROOT)
    for pattern in ("README.md", "docs/*.md", "[a-z]*/README.md")
    for path in sorted(ROOT.glob(pattern))
]
FLAG = re.compile(r"DEFINE_\w+\(\s*\"(\w+)\"")
# Placeholders, and flags of other programs: pip, TensorFlow Serving, Beam.
FOREIGN = re.compile(
    r"NAME|--no-deps|--enable_batching|--batching_parameters_file|_config_file|job_server_jar"
)

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").is_file(), reason="README.md is not next to the library"
)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


def commands(page: Path) -> list[str]:
    """Command lines of the shell blocks, continued lines joined, prompts and outputs removed."""
    found = []
    for language, text in blocks(page):
        lines = text.replace("\\\n", " ").splitlines()
        if language == "console":
            lines = [line[2:] for line in lines if line.startswith(("$ ", "  "))]
        found += lines if language in ("sh", "console") else []
    return found


def flags_of(program: Path) -> set[str]:
    """Names of the flags that a program defines, itself or by the shared command line."""
    text = program.read_text()
    names = set(FLAG.findall(text))
    if "RunnerFlags" in text:
        names |= set(FLAG.findall((ROOT / "pipelines/_cli.py").read_text()))
    if program.parent.name == "benchmarks":
        names |= set(FLAG.findall((ROOT / "benchmarks/measure.py").read_text()))
    return names | {"help"} | {f"no{name}" for name in names}


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, section = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if section:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
            assert section in map(anchor, headings), target


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_and_their_flags_exist(page):
    for line in commands(page):
        for module, name, rest in re.findall(
            r"python (?:-m (pipelines|benchmarks)\.|examples/)([a-z]\w*)(?:\.py)?([^|;&#<]*)", line
        ):
            program = ROOT / (module or "examples") / f"{name}.py"
            assert program.is_file(), line
            used = {m for m in re.findall(r"(?<!=)--(\w+)", rest)}
            assert used <= flags_of(program), (line, used - flags_of(program))
        for target in re.findall(r"(?:^|&& )make ([a-z-]+)", line):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), line


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_flags_in_the_text_exist(page):
    programs = [
        path
        for folder in ("pipelines", "benchmarks", "examples")
        for path in (ROOT / folder).glob("*.py")
    ]
    known = set.union(*map(flags_of, programs))
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for code in re.findall(r"`([^`]+)`", text):
        if not FOREIGN.search(code):
            assert set(re.findall(r"(?<![\w=-])--(\w+)", code)) <= known, code


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_programs_and_python_names_in_the_text_exist(page):
    text = (ROOT / page).read_text()
    for module, name in re.findall(r"\b(pipelines|benchmarks|examples)[./]([a-z]\w*)\b", text):
        folder = ROOT / module
        assert any((folder / f"{name}.{kind}").is_file() for kind in ("py", "json", "ipynb")), name
    for name in re.findall(r"\bscnn_tf\.([A-Za-z]\w*)", text):
        assert hasattr(scnn_tf, name), name


def test_python_examples_compile():
    for page in PAGES:
        for language, text in blocks(page):
            if language == "python":
                compile(text, str(page), "exec")


def test_the_page_of_the_notebook_has_its_cells():
    cells = json.loads((ROOT / "examples/own_video.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    page = blocks(Path("docs/own_video.md"))
    assert [text.rstrip("\n") for language, text in page if language == "python"] == code


def packages() -> dict[str, set[str]]:
    """The packages of the library, like `datasets/synthetic`, and the modules of each."""
    library = ROOT / "scnn_tf"
    return {
        path.parent.relative_to(library).as_posix(): {
            module.stem for module in path.parent.glob("*.py") if module != path
        }
        for path in library.glob("*/**/__init__.py")
    }


def test_the_tree_in_the_architecture_is_the_tree_of_the_library():
    (tree,) = (text for _, text in blocks(Path("docs/architecture.md")) if "scnn_tf/" in text)
    listed: dict[str, set[str]] = {}
    for name, modules in re.findall(r"^  ([\w/]+)/ +((?:.|\n {5,})*)$", tree, re.M):
        listed[name] = set(re.findall(r"\w+", modules))
    assert listed == packages()


def test_the_table_of_programs_has_every_program():
    text = (ROOT / "docs/architecture.md").read_text()
    table = text[text.index("| program |") :].split("\n\n")[0]
    programs = {path.stem for path in (ROOT / "pipelines").glob("[a-z]*.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == programs


@pytest.mark.parametrize("page", ["README.md", "scnn_tf/README.md"])
def test_every_package_is_in_the_map(page):
    rows = "".join(re.findall(r"^\|.*\n", (ROOT / page).read_text(), re.M))
    for name in {package.split("/")[0] for package in packages()}:
        assert re.search(rf"[`\[]{name}[`\]]", rows), name
