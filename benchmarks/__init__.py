"""Benchmarks: `python -m benchmarks.NAME`."""

import stages  # noqa: F401 - puts this checkout's `src` first on the path
