"""What the tests of the binaries share."""

import importlib
import sys

import pytest


@pytest.fixture
def run_binary(capfd, monkeypatch):
    """Runs a binary in this process, so that TensorFlow is loaded once for all of them.

    `run_binary("train", "--stage=proposal", …)` gives (exit code, stdout, stderr).
    """
    from absl import flags

    def run(name, *arguments):
        module = importlib.import_module(f"pipelines.{name}")
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as exited:
                module.run()
        finally:
            # Binaries define flags of the same names: none may outlive its run.
            for flag in list(flags.FLAGS.flags_by_module_dict()[module.__name__]):
                delattr(flags.FLAGS, flag.name)
            flags.FLAGS.unparse_flags()
            del sys.modules[module.__name__]
        return exited.value.code or 0, *capfd.readouterr()

    return run
