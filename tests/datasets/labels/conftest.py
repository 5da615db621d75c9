"""Fixtures for the tests of all forms: write an export and read it; the logged warnings."""

import json

import pytest
from absl import logging

from scnn_tf.datasets.label_tools import read_labels


@pytest.fixture
def read(tmp_path):
    """Writes an export and reads it."""

    def run(name, content, attribute=None):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_labels(tmp_path / name, attribute)

    return run


@pytest.fixture
def warnings(monkeypatch):
    """The warnings that were logged."""
    logged = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: logged.append(text % args))
    return logged
