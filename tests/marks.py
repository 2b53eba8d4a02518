"""Marks of tests that need more than Python."""

import shutil

import pytest
import torch

from vqpriors.nn import compiled_layers
from vqpriors.nn.compiler import COMPILERS

needs_c_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="needs a C compiler"
)
_PROBLEM = compiled_layers.problem(torch.device("cpu"), "bf16")
needs_fast_bfloat16 = pytest.mark.skipif(_PROBLEM is not None, reason=f"layers in C: {_PROBLEM}")
