"""Marks of tests that need more than Python."""

import shutil

import pytest

from vqpriors.nn.compiler import COMPILERS

needs_c_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="needs a C compiler"
)
