import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import NO_TEXT, captions, no_captions, randomised, transformer
from vqpriors.core.hardware import autocast
from vqpriors.data.text_inputs import TextInput
from vqpriors.nn.stepping import CachedBlocks, FastBlocks, StaticBlocks, make_steps

TEXT = captions([2, 3, 4], [], [5])


SIZES = {"small": {}, "packed": {"width": 256, "heads": 4, "codebook_size": 600, "depth": 1}}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("positions", ["learned", "rope"])
@pytest.mark.parametrize("has_text", [True, False])
@torch.inference_mode()
def test_all_forms_of_a_step_agree(size, rows, positions, has_text):
    torch.manual_seed(0)
    changes = SIZES[size] if has_text else SIZES[size] | {"text": NO_TEXT}
    prior = transformer(positions=positions, **changes)
    if size == "small":
        randomised(prior)
    for gain in prior.parameters():
        if gain.ndim == 1:
            gain.data.uniform_(0.5, 1.5)
    text = TextInput(*(part[:rows] for part in TEXT[:2]), None) if has_text else no_captions(rows)
    contexts = prior.eval().contexts(text, for_cache=True)
    kinds = (FastBlocks, StaticBlocks, CachedBlocks)
    fast, static, cached = (kind(prior, contexts, batch=rows) for kind in kinds)
    generator = torch.Generator().manual_seed(0)
    outputs = []
    for position in range(prior.length):
        assert fast.position == static.position == cached.position == position
        x = torch.randn(rows, prior.embedding.weight.shape[1], generator=generator)
        outputs.append(fast(x))
        expected = cached(x)
        assert_close(outputs[-1], expected, rtol=1e-4, atol=1e-5)
        assert_close(static(x), expected, rtol=1e-4, atol=1e-5)
    assert fast.head.is_packed == (size == "packed" and rows > 1)
    assert (outputs[0] - outputs[1]).abs().max() > 0.1


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("has_text", [True, False])
@torch.inference_mode()
def test_fast_blocks_in_bfloat16_are_as_near_to_float32_as_cached_blocks(rows, has_text):
    torch.manual_seed(0)
    prior = transformer(**({} if has_text else {"text": NO_TEXT}), width=64, depth=3)
    randomised(prior)
    for gain in prior.parameters():
        if gain.ndim == 1:
            gain.data.uniform_(0.5, 1.5)
    prior.eval()
    text = TextInput(*(part[:rows] for part in TEXT[:2]), None) if has_text else no_captions(rows)
    tokens = torch.randint(prior.begin, (prior.length, rows))

    def steps(kind, precision):
        with autocast(precision, torch.device("cpu")):
            blocks = kind(prior, prior.contexts(text, for_cache=True), batch=rows)
            found = [prior.step(token, blocks) for token in tokens]
        return torch.stack(found)

    exact = steps(CachedBlocks, "no")
    fast, cached = steps(FastBlocks, "bf16"), steps(CachedBlocks, "bf16")
    assert fast.dtype == cached.dtype == torch.bfloat16
    error, expected = (fast - exact).square().mean(), (cached - exact).square().mean()
    assert 0 < error < 2 * expected < 0.01 * exact.square().mean()


class AttentionDtypes(TorchDispatchMode):
    """Collects the dtype of the keys in each call of fused attention."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "attention" in str(func):
            self.found.append(args[1].dtype)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_attention_of_fast_blocks_is_in_float32_under_autocast():
    prior = transformer(depth=2).eval()
    with autocast("bf16", torch.device("cpu")):
        blocks = FastBlocks(prior, prior.contexts(TEXT, for_cache=True), batch=3)
        with AttentionDtypes() as dtypes:
            prior.step(torch.tensor([prior.begin] * 3), blocks)
    assert dtypes.found == [torch.float32] * 4  # to codes and to the caption, in 2 blocks


def kind_of(prior):
    return type(make_steps(prior, prior.contexts(TEXT, for_cache=True), batch=3))


def test_fast_blocks_are_for_float32_and_bfloat16_without_gradients():
    prior = transformer().eval()
    assert kind_of(prior) is CachedBlocks
    with torch.no_grad():
        assert kind_of(prior) is FastBlocks
        with autocast("bf16", torch.device("cpu")):
            assert kind_of(prior) is FastBlocks
        with autocast("fp16", torch.device("cpu")):
            assert kind_of(prior) is CachedBlocks
