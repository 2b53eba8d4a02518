"""Losses of masked priors as torch.compile traces them, with other numbers of masked codes."""

import pytest
import torch

from tests import tiny
from vqpriors.training.losses import Objective


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch's own, in tracing
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["cftn", "cftn2"])
def test_compiled_losses_are_the_plain_ones(arch):
    prior = getattr(tiny, arch)().train()
    objective = Objective(prior)
    objective.compile(backend="eager")  # traces as any backend, without its minutes of work
    for seed in range(3):
        codes, text = tiny.codes(4, seed=seed), tiny.captions([1, 2], [3], [], [4])
        batch = tiny.prior_batch(prior, codes, text, seed=seed)
        expected = prior.losses(batch)
        torch.testing.assert_close(objective(batch), expected)
