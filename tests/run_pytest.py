"""Runs pytest on the folders given: the program of every `pytest_test` in the BUILD files."""

import sys

import pytest

if __name__ == "__main__":
    code = pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]])
    # Where `-m` leaves out every test, the files have still been imported.
    sys.exit(0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code)
