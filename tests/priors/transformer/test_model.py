import pytest
import torch

from tests.tiny import captions, randomised, transformer


@pytest.mark.parametrize(("heads", "width"), [(3, 8), (4, 8)])
def test_heads_that_do_not_fit_are_refused(heads, width):
    problem = rf"prior.transformer.heads: .*got heads={heads}, width={width}; change one"
    with pytest.raises(ValueError, match=problem):
        transformer(heads=heads, width=width)


def test_cache_on_cpu_is_float32_under_autocast():
    prior = randomised(transformer())
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        state = prior.start(captions([2, 3], []))
        logits = prior.step(torch.tensor([prior.begin] * 2), state)
    keys, values, _ = state.blocks[0].context
    cached = [state.blocks[0].cache, keys, values]
    assert [part.dtype for part in cached] == [torch.float32] * 3
    assert logits.dtype == torch.bfloat16
