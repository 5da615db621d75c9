"""Programs that measure speed, memory and robustness: `python -m benchmarks.SUITE --help`."""

from pipelines import _cli  # noqa: F401  (sets TensorFlow's environment before a suite loads it)
