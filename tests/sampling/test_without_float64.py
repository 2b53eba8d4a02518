"""Training and sampling on a device without float64, such as Apple's GPU, emulated on the CPU."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests import tiny
from tests.sampling.masked import NAMES, encode
from vqpriors.core.hardware import widest_float
from vqpriors.priors.cftn2 import latent
from vqpriors.sampling.autoregressive import Autoregressive
from vqpriors.sampling.base import sampler
from vqpriors.sampling.base.logits import draw
from vqpriors.sampling.maskgit.sampler import MaskGIT

PRIORS = {name: getattr(tiny, name) for name in ("lstm", "transformer", "cftn", "cftn2")}
RANDOM = torch.ops.aten.rand.generator  # drawn on the CPU, before the numbers move to the device


class WithoutFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = function(*arguments, **(keywords or {}))
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64 and found.ndim:
            assert function is RANDOM, f"{function} in float64"
        return found


@pytest.fixture(autouse=True)
def widest(monkeypatch):
    for module in (sampler, latent):
        monkeypatch.setattr(module, "widest_float", lambda device: torch.float32)


def samplers(name):
    if name in ("lstm", "transformer"):
        return [(Autoregressive(temperature=t, top_k=3, top_p=0.9), 1) for t in (0.0, 1.0)]
    settings = {"temperature": 1.0, "temperature_schedule": "linear", "latent_steps": 1}
    settings |= {"guidance_schedule": "linear", "choice_temperature": 4.5, "remask": 0.3}
    settings |= {"latent_temperature": 0.5}
    orders = ("confidence", "halton", "random")
    return [(MaskGIT(order=order, **settings), steps) for order in orders for steps in (1, 3)]


@pytest.mark.parametrize("name", PRIORS)
def test_codes_are_drawn_and_losses_computed(name):
    prior = tiny.randomised(PRIORS[name]())
    batch = tiny.prior_batch(prior, tiny.codes(7), encode(NAMES))
    with WithoutFloat64():
        for sampling, steps in samplers(name):
            settings = {"guidance": 2.0, "steps": steps, "batch_size": 4, "seed": 0}
            settings |= {"encode": encode, "precision": "no"}
            codes = sampler.sample_codes(prior, sampling, NAMES, **settings)
            assert (codes.shape, codes.dtype) == ((7, 6), np.uint16)
            assert codes.max() < 7
        sum(prior.losses(batch).values()).backward()


def test_numbers_rounded_to_float32_stay_below_one(monkeypatch):
    one = 1 - 2.0**-53  # rounds to 1
    monkeypatch.setattr(
        torch, "rand", lambda count, dtype, **_: torch.full((count,), one, dtype=dtype)
    )
    random = sampler.PictureRandom(range(2), seed=0, device=torch.device("cpu"))
    uniform = random.uniform(5)
    assert uniform.dtype == torch.float32
    assert uniform.max() < 1
    logits = torch.randn(1000, 300, generator=torch.Generator().manual_seed(0))
    assert draw(logits, uniform[0, :1].expand(1000)).max() < 300
    assert random.normal(3).isfinite().all()


def test_only_apples_gpu_lacks_it():
    assert widest_float(torch.device("mps")) == torch.float32
    assert {widest_float(torch.device(name)) for name in ("cpu", "cuda")} == {torch.float64}
