import pytest
import torch

from tests.tiny import captions, lively, transformer


@pytest.mark.parametrize(("heads", "width"), [(3, 8), (4, 8)])
def test_heads_that_do_not_fit_are_refused(heads, width):
    problem = rf"prior.transformer.heads: .*got heads={heads}, width={width}; change one"
    with pytest.raises(ValueError, match=problem):
        transformer(heads=heads, width=width)


def test_cache_takes_the_precision_of_autocast():
    prior = lively(transformer())
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        state = prior.start(captions([2, 3], []))
    assert state.caches[0].keys.dtype == torch.bfloat16
