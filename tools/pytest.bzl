"""The rule that runs a folder of tests."""

load("@rules_python//python:defs.bzl", "py_test")

def pytest_test(name, deps, data = []):
    """Runs the test files next to the BUILD file in one process, which loads TensorFlow once.

    Args:
        name: Name of the target.
        deps: The package under test, and what else tests/conftest.py does not depend on.
        data: Files that the tests read.
    """
    py_test(
        name = name,
        size = "large",
        srcs = native.glob(["*.py"], exclude = ["run_pytest.py"]) + ["//tests:run_pytest.py"],
        args = [native.package_name()],
        data = data,
        main = "//tests:run_pytest.py",
        deps = deps + ["//tests:conftest"],
    )
