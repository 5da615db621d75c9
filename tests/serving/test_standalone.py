import importlib.util
import inspect
import subprocess
import sys

import pytest

from scnn_tf.localization.postprocess import nms
from scnn_tf.segments.stretches import stream_parts
from scnn_tf.serving import edge_runtime
from scnn_tf.serving.standalone import standalone


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(name, text)` imports a module as one of scnn_tf."""

    def make(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(f"scnn_tf.{name}", path)
        made = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, made)
        spec.loader.exec_module(made)
        return made

    return make


def test_used_definitions_are_copied_before_their_use_and_others_are_not(module):
    module("first", "import math\n\n# Half a turn.\nHALF = math.pi\n\nUNUSED = 1\n")
    second = module(
        "second", '"""Turns."""\n\nfrom scnn_tf.first import HALF\n\nTURN = 2 * HALF\n"""Docs."""\n'
    )
    text = standalone(second)
    code = text.split('"""', 2)[2]
    assert text.startswith('"""Turns.\n')
    assert code.split("\n\n\n")[1:] == [
        "import math", "# Half a turn.\nHALF = math.pi", 'TURN = 2 * HALF\n"""Docs."""\n',
    ]  # fmt: skip


def test_two_used_definitions_of_a_name_are_refused(module):
    module("first", "def _half(x):\n    return x / 2\n\n\ndef a(x):\n    return _half(x)\n")
    second = module(
        "second",
        "from scnn_tf.first import a\n\n\ndef _half(x):\n    return x // 2\n\n\n"
        "def b(x):\n    return a(_half(x))\n",
    )
    with pytest.raises(ValueError, match="two definitions of _half"):
        standalone(second)


def test_the_runtime_is_the_code_of_the_library_and_needs_only_numpy(tmp_path):
    text = standalone(edge_runtime)
    for function in (nms, stream_parts, edge_runtime.EdgeModel):
        assert inspect.getsource(function) in text
    (tmp_path / "scnn_edge.py").write_text(text)
    code = "import scnn_edge, sys; print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not set(loaded.stdout.split()) & {"scnn_tf", "tensorflow", "keras", "av", "fsspec"}
