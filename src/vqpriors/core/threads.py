"""How threads of one process wait for each other."""

import os


def wait_without_spinning() -> None:
    """Have OpenMP's threads sleep while they wait; call before torch is imported.

    By default they spin. Beside other busy processes a spinning thread takes the processor from the
    one that it waits for, and a training step takes about ten times as long. A value of
    OMP_WAIT_POLICY that is set already is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
