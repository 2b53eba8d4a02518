"""Marks of tests that need more than Python."""

import shutil

import pytest
import torch

from vqpriors.core.compiler import COMPILERS, bfloat16_problem

needs_c_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="needs a C compiler"
)
_PROBLEM = bfloat16_problem(torch.device("cpu"))
needs_fast_bfloat16 = pytest.mark.skipif(_PROBLEM is not None, reason=f"code in C: {_PROBLEM}")
