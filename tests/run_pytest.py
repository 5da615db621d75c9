"""Runs pytest on the files given: the program of every py_test in BUILD."""

import sys

import pytest

if __name__ == "__main__":
    code = pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]])
    # Where `-m` leaves out every test of a file, it has still been imported.
    sys.exit(0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code)
