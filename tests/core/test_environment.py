import os
import re
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
    ("module", "given", "policy", "spins"),
    [
        ("stages", {}, "PASSIVE", "1000"),
        ("vqpriors.__main__", {}, "PASSIVE", "1000"),
        ("stages", {"GOMP_SPINCOUNT": "7"}, "PASSIVE", "7"),
        ("stages", {"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE", "0"),
        ("stages", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", "[0-9]{5,}"),
    ],
)
def test_threads_of_torch_spin_briefly_unless_the_user_says_otherwise(module, given, policy, spins):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    variables |= {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **given}
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
    shown = dict(re.findall(r"(OMP_WAIT_POLICY|GOMP_SPINCOUNT) = '(.*)'", done.stderr))
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("this build of torch has no GNU OpenMP")
    assert shown["OMP_WAIT_POLICY"] == policy
    assert re.fullmatch(spins, shown["GOMP_SPINCOUNT"])
