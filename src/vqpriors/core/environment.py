"""Settings of torch that it reads from the environment when it is imported."""

import os

SPINS = "1000"  # of a loop that waits: about 20 microseconds


def prepare_environment() -> None:
    """Set torch's environment variables that are not set already; call before torch is imported.

    OMP_WAIT_POLICY, GOMP_SPINCOUNT: OpenMP's threads spin for a few microseconds while they wait,
    then sleep. By default they spin for long. Beside other busy processes a spinning thread takes
    the processor from the one that it waits for, and a training step takes about ten times as long.
    Sleeping at once makes a step up to a tenth slower on a quiet machine. GOMP_SPINCOUNT is read by
    GNU's OpenMP, which torch uses on Linux; without it, threads sleep at once.

    PYTORCH_ENABLE_MPS_FALLBACK: operators that Apple's GPU lacks run on the CPU.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
