"""What the Makefile runs: verification, plans, the leaderboard, reports, tables of README.md."""

from importlib import import_module

import_module("stages")  # puts this checkout's `src` first on the path
