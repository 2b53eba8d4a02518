import os
import subprocess
import sys

import pytest

from tests.imports import ROOT
from vqpriors.core.environment import prepare_environment


def test_operators_that_apples_gpu_lacks_run_on_the_cpu(monkeypatch):
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    prepare_environment()
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "0")
    prepare_environment()
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "0"


@pytest.mark.parametrize(
    ("module", "given", "expected"),
    [
        ("stages", None, "PASSIVE"),
        ("vqpriors.__main__", None, "PASSIVE"),
        ("stages", "ACTIVE", "ACTIVE"),
    ],
)
def test_threads_of_torch_wait_without_spinning_unless_the_user_says_so(module, given, expected):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    variables |= {"OMP_DISPLAY_ENV": "TRUE", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    if given is not None:
        variables["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import {module}, sys; assert 'torch' not in sys.modules; import torch",
        ],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = [line for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line]
    if not shown:
        pytest.skip("this build of torch has no OpenMP that displays its settings")
    assert all(f"'{expected}'" in line for line in shown), shown
