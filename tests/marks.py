"""Marks of tests that need more than Python."""

import shutil

import pytest
import torch

from vqpriors.core.compiler import COMPILERS, avx512_problem

needs_c_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="needs a C compiler"
)


def _skip_if(problem):
    return pytest.mark.skipif(problem is not None, reason=f"code in C: {problem}")


needs_fast_bfloat16 = _skip_if(avx512_problem(torch.device("cpu"), "bf16"))
needs_avx512 = _skip_if(avx512_problem(torch.device("cpu"), "no"))
