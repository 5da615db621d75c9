"""The set-up of a process for files behind URLs, and the parts of their paths."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scnn_tf.io.files import as_path

ROOT = Path(__file__).parents[2]


def test_set_up_leaves_what_the_environment_says():
    program = (
        "import os; from scnn_tf.io.remote import set_up_process; set_up_process();"
        "print(os.environ['AWS_MAX_ATTEMPTS'], os.environ['S3_CONNECT_TIMEOUT_MSEC'])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3_"))}
    environment["AWS_MAX_ATTEMPTS"] = "7"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True
    )
    assert run.stdout == b"7 3000\n", run.stderr


@pytest.mark.parametrize("url", ["http://host/a", "gs://bucket/a"])
def test_making_a_path_leaves_the_environment_as_it_is(url):
    as_path("gs://bucket/b")  # TensorFlow, once it is imported, may set variables of its own
    before = dict(os.environ)
    as_path(url)
    assert dict(os.environ) == before


def test_a_url_has_the_parts_of_a_path():
    path = as_path("gs://bucket/folder/a.tar.gz/")
    assert (path.name, path.stem, path.suffix) == ("a.tar.gz", "a.tar", ".gz")
    assert str(path) == "gs://bucket/folder/a.tar.gz"
    assert path.parent == as_path("gs://bucket/folder") and path.with_name("b") == path.parent / "b"
    assert str(path.parent.parent) == "gs://bucket/" == str(path.parent.parent.parent)
