import pytest
from accelerate.state import AcceleratorState, GradientState


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Forget the process-wide precision, which a test may change."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
