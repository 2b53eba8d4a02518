"""Priors and tokenizer on a CUDA device, compared with the CPU; skipped without one."""

import pytest
import torch

from tests import tiny
from tests.parts import CAPTIONS, make_parts
from vqpriors.core.hardware import autocast_once, working_dtype
from vqpriors.inference.generator import Generator
from vqpriors.inference.settings import SamplingOptions
from vqpriors.nn.stepping import CachedBlocks, StaticBlocks

DEVICE = "cuda"
PRIORS = {
    "lstm": tiny.lstm,
    "transformer": tiny.transformer,
    "cftn": tiny.cftn,
    "cftn2": tiny.cftn2,
}

torch.backends.cudnn.allow_tf32 = False  # for comparisons with the CPU

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def losses_and_gradients(model, batch, *, precision):
    model.zero_grad()
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        losses = model.losses(batch)
    torch.stack([*losses.values()]).sum().backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients
    norm = torch.stack([gradient.float().norm() for gradient in gradients]).norm()
    return torch.stack([*(loss.detach().float() for loss in losses.values()), norm]).cpu()


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-3), ("bf16", 0.1)])
@pytest.mark.parametrize("arch", PRIORS)
def test_losses_and_gradients_are_near_those_of_the_cpu(arch, precision, tolerance):
    prior = tiny.randomised(PRIORS[arch](dropout=0.0)).train()
    text = tiny.captions([1, 2, 3], [2, 1], [3], [1, 1])
    batch = tiny.prior_batch(prior, tiny.codes(4), text)
    expected = losses_and_gradients(prior, batch, precision="no")
    found = losses_and_gradients(prior.to(DEVICE), batch, precision=precision)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("arch", PRIORS)
def test_likeliest_codes_and_their_pictures_are_those_of_the_cpu(arch, tmp_path):
    make_parts(tmp_path / "data", arch)
    generator = Generator.load(tmp_path / "data")
    assert next(generator.prior.parameters()).device.type == DEVICE
    options = SamplingOptions(temperature=0.0)
    codes = generator.sample_codes(CAPTIONS, options)
    pictures = generator.decode(codes).astype(int)
    generator.prior.cpu()
    generator.tokenizer.cpu()
    assert (codes == generator.sample_codes(CAPTIONS, options)).mean() > 0.9  # but for rounding
    assert abs(pictures - generator.decode(codes)).mean() < 1


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-4), ("bf16", 0.05)])
@torch.inference_mode()
def test_steps_of_a_graph_equal_the_blocks_with_caches(precision, tolerance):
    prior = tiny.randomised(tiny.transformer()).eval().to(DEVICE)
    text = tiny.captions([1, 2, 3], [], [3]).to(torch.device(DEVICE))
    with autocast_once(prior, precision):
        graph = prior.start(text)
        assert isinstance(graph, StaticBlocks)
        cached = CachedBlocks(prior, prior.contexts(text, for_cache=True), batch=3)
        torch.manual_seed(0)
        for _ in range(prior.length):
            x = torch.randn(3, prior.embedding.weight.shape[1], device=DEVICE)
            x = x.to(working_dtype(x))
            torch.testing.assert_close(graph(x), cached(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-4), ("bf16", 0.05)])
@torch.inference_mode()
def test_steps_of_the_graph_of_lstm_equal_the_full_pass(precision, tolerance):
    prior = tiny.randomised(tiny.lstm()).eval().to(DEVICE)
    text = tiny.captions([1, 2, 3], [], [3]).to(torch.device(DEVICE))
    with autocast_once(prior, precision):
        state, codes = prior.start(text), tiny.codes(3).to(DEVICE)
        assert state.replay is not None
        given = torch.cat([torch.full_like(codes[:, :1], prior.begin), codes[:, :-1]], dim=1)
        found = torch.stack([prior.step(token, state) for token in given.T], dim=1)
        torch.testing.assert_close(found, prior.logits(codes, text), rtol=tolerance, atol=tolerance)
