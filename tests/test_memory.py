import subprocess
import sys
from platform import libc_ver

import pytest

COUNT_FAULTS = """
import resource
import torch
from stages import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)
before = faults()
for _ in range(20):
    torch.ones(2**24)
print(faults() - before)
"""


def faults_of(call):
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS.format(call=call)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_reused_without_page_faults():
    assert faults_of("keep_freed_memory()") < faults_of("pass") / 2
