"""Masked priors against aMUSEd of diffusers: a training step, sampling in 12 steps and in one.

The peer is aMUSEd's network with the sampling loop of its pipeline, without the convolutional
blocks around its layers, which would only slow it down. Its captions are given as vectors, so it
has no text tower to train or to run; ours embeds tokens.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks import NUM_MICRO, uvit
from benchmarks.speed import ours
from benchmarks.speed.benchmark import Benchmark, Implementation, Size, installed
from vqpriors.core.hardware import Precision

DIFFUSERS, NAME = "diffusers", "UVit2DModel (aMUSEd)"
STEPS, GUIDANCE = 12, 3.0
MASK_RATIO = 2 / torch.pi  # mean of a cosine or arccos schedule


def step(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of a training step on random codes and captions."""
    text = ours.text_shape(size)
    for precision in precisions:
        prior = ours.prior("cftn", size, text)
        own, *others = ours.compiled_and_plain(
            "cftn",
            partial(ours.training, prior, ours.prior_batch(prior, size, text), precision),
            ours.num_parameters(prior),
            is_compiled=ours.has_avx512(precision),
        )
        yield Benchmark(
            work="masked-prior-step",
            size=_network(size, size.batch),
            unit="codes/s",
            amount=size.batch * size.length,
            precision=precision,
            ours=own,
            peers=others + installed({DIFFUSERS: partial(_train, size, precision)}),
        )


def sampling(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of sampling in 12 steps, without and with guidance."""
    for precision in precisions:
        for guidance in (1.0, GUIDANCE):
            prior = ours.prior("cftn", size, ours.text_shape(size))
            own, *others = _own("cftn", prior, size, precision, guidance=guidance, steps=STEPS)
            name = "without guidance" if guidance == 1 else "with guidance"
            yield Benchmark(
                work="masked-sampling",
                size=f"{_network(size, size.masked)}, {STEPS} steps {name}",
                unit="images/s",
                amount=size.masked,
                precision=precision,
                ours=own,
                peers=others
                + installed({DIFFUSERS: partial(_sample, size, precision, guidance, STEPS)}),
            )


def one_step_sampling(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of `cftn2` in one step against itself in 12, and against aMUSEd in one."""
    for precision in precisions:
        prior = ours.prior("cftn2", size, ours.text_shape(size))
        own, *others = _own("cftn2 with its latent", prior, size, precision, guidance=1.0, steps=1)
        name = f"cftn2 in {STEPS} steps"
        many, *_ = _own(name, prior, size, precision, guidance=1.0, steps=STEPS)
        yield Benchmark(
            work="one-step-sampling",
            size=f"{_network(size, size.masked)}, 1 step without guidance",
            unit="images/s",
            amount=size.masked,
            precision=precision,
            ours=own,
            peers=[
                *others,
                many,
                *installed({DIFFUSERS: partial(_sample, size, precision, 1.0, 1)}),
            ],
        )


def _build(size: Size) -> Any:
    sizes = {"width": size.width, "depth": size.depth, "heads": size.heads}
    return uvit(num_codes=size.num_codes, edge=size.edge, res_blocks=0, **sizes)


def conditions(size: Size, count: int) -> dict[str, Tensor]:
    """Return random conditions of aMUSEd: token vectors, caption vectors, micro-conditions."""
    return {
        "encoder_hidden_states": torch.randn(count, size.text_length, size.width),
        "pooled_text_emb": torch.randn(count, size.width),
        "micro_conds": torch.full((count, NUM_MICRO), float(size.pixels)),
    }


def _network(size: Size, count: int) -> str:
    codes = f"{count} pictures of {size.length:,} codes of {size.num_codes:,}"
    network = f"{size.depth} layers of width {size.width}"
    return f"{codes}, {network}, {size.text_length} text tokens"


def _own(
    name: str, prior: Any, size: Size, precision: Precision, **options: Any
) -> list[Implementation]:
    given = {"count": size.masked, "text": ours.text_shape(size), "precision": precision}
    return ours.compiled_and_plain(
        name,
        partial(ours.sampling, prior, **given, **options),
        ours.num_parameters(prior),
        is_compiled=ours.has_avx512(precision),
    )


def _train(size: Size, precision: Precision) -> Implementation:
    model, given = _build(size), conditions(size, size.batch)
    codes = torch.randint(size.num_codes, (size.batch, size.edge, size.edge))
    mask = torch.rand(codes.shape) < MASK_RATIO
    tokens = codes.masked_fill(mask, size.num_codes)
    targets = codes.masked_fill(~mask, -100)

    def loss() -> Tensor:
        return F.cross_entropy(model(tokens, **given).float(), targets)

    run = ours.peer_training(model, loss, precision)
    return Implementation(NAME, run, ours.num_parameters(model), DIFFUSERS)


def _sample(size: Size, precision: Precision, guidance: float, steps: int) -> Implementation:
    model = _build(size).eval().requires_grad_(False)
    nn.Module.to(
        model, ours.DTYPES[precision]
    )  # diffusers' own `to` warns of layers that this model lacks
    run = _pipeline(model, size, guidance=guidance, steps=steps)
    return Implementation(NAME, run, ours.num_parameters(model), DIFFUSERS)


def _pipeline(model: Any, size: Size, *, guidance: float, steps: int) -> Callable[[], Tensor]:
    """Return the sampling loop of aMUSEd's pipeline."""
    from diffusers.schedulers.scheduling_amused import AmusedScheduler

    scheduler: Any = AmusedScheduler(mask_token_id=size.num_codes)
    num_branches = 1 if guidance == 1 else 2
    given = conditions(size, num_branches * size.masked)
    given = {name: value.to(model.dtype) for name, value in given.items()}

    @torch.inference_mode()
    def sample() -> Tensor:
        scheduler.set_timesteps(steps)
        shape = (size.masked, size.edge, size.edge)
        codes = torch.full(shape, size.num_codes, device=model.device)
        for timestep in scheduler.timesteps:
            logits = model(codes.repeat(num_branches, 1, 1), **given)
            if num_branches == 2:
                unconditional, conditional = logits.chunk(2)
                logits = unconditional + guidance * (conditional - unconditional)
            codes = scheduler.step(logits, timestep, codes).prev_sample
        return codes

    return sample
