"""Settings of torch that it reads from the environment when it is imported."""

import os


def prepare_environment() -> None:
    """Set torch's environment variables that are not set already; call before torch is imported.

    OMP_WAIT_POLICY: OpenMP's threads sleep while they wait. By default they spin. Beside other busy
    processes a spinning thread takes the processor from the one that it waits for, and a training
    step takes about ten times as long.

    PYTORCH_ENABLE_MPS_FALLBACK: operators that Apple's GPU lacks run on the CPU.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
