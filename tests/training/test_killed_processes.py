"""If one of two processes is killed both end, and the next two end as an uninterrupted run."""

import pytest
import torch

from tests.training.test_processes import launch, made

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    launch("tokenizer", folder, count=2)
    return made(folder, 0)


@pytest.mark.parametrize(("rank", "fatal"), [(0, 4), (0, 40), (0, 90), (0, 150), (1, 0)])
def test_killed_processes_resume_and_end_as_uninterrupted_ones(
    uninterrupted, tmp_path, rank, fatal
):
    folder = tmp_path / "run"
    with pytest.raises(AssertionError, match="Signal 9"):
        launch("tokenizer", folder, count=2, FATAL=f"{rank}:{fatal}")
    launch("tokenizer", folder, count=2)
    states, history = made(folder, 0)
    for kind, state in uninterrupted[0].items():
        for name, value in state.items():
            assert torch.equal(states[kind][name], value), name
    assert history == uninterrupted[1]
