"""Benchmarks: `python -m benchmarks.NAME`."""

from importlib import import_module

import_module("stages")  # puts this checkout's `src` first on the path
