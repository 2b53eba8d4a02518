"""Masked priors beside a peer: a training step, drawing in 12 passes, and in one.

The peer is aMUSEd of diffusers with the loop of its pipeline, without the convolutional blocks
around its layers, which would add to its time. It gets captions as vectors and so has no text side
to train or to compute; ours embeds tokens.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed import ours
from benchmarks.speed.contest import Contest, Side, installed
from benchmarks.speed.sizes import Size
from vqpriors.core.hardware import Precision

DIFFUSERS, NAME = "diffusers", "UVit2DModel (aMUSEd)"
STEPS, GUIDANCE = 12, 3.0
MASKED = 2 / torch.pi  # mean share of a cosine or arccos schedule
NUM_MICRO, MICRO_WIDTH = 5, 32  # numbers that aMUSEd takes besides the caption


def step(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests of one training step on random codes and captions."""
    text = ours.text_shape(size)
    for precision in precisions:
        prior = ours.prior("cftn", size, text)
        run = ours.training(prior, ours.prior_batch(prior, size, text), precision)
        yield Contest(
            work="masked-prior-step",
            size=_network(size, size.batch),
            unit="codes/s",
            amount=size.batch * size.length,
            precision=precision,
            ours=Side("cftn", run, ours.num_parameters(prior)),
            peers=installed({DIFFUSERS: partial(_step, size, precision)}),
        )


def sampling(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests of 12 passes, without guidance and with it."""
    for precision in precisions:
        for guidance in (1.0, GUIDANCE):
            prior = ours.prior("cftn", size, ours.text_shape(size))
            how = "without guidance" if guidance == 1 else "with guidance"
            yield Contest(
                work="masked-sampling",
                size=f"{_network(size, size.masked)}, {STEPS} passes {how}",
                unit="images/s",
                amount=size.masked,
                precision=precision,
                ours=_own("cftn", prior, size, precision, guidance=guidance, steps=STEPS),
                peers=installed({DIFFUSERS: partial(_draw, size, precision, guidance, STEPS)}),
            )


def one_step_sampling(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests of one pass with 12 of our own, and with one of the peer."""
    for precision in precisions:
        prior = ours.prior("cftn2", size, ours.text_shape(size))
        many = _own(f"cftn2 in {STEPS} passes", prior, size, precision, guidance=1.0, steps=STEPS)
        yield Contest(
            work="one-step-sampling",
            size=f"{_network(size, size.masked)}, 1 pass without guidance",
            unit="images/s",
            amount=size.masked,
            precision=precision,
            ours=_own("cftn2 with its latent", prior, size, precision, guidance=1.0, steps=1),
            peers=[many, *installed({DIFFUSERS: partial(_draw, size, precision, 1.0, 1)})],
        )


def uvit(size: Size) -> Any:
    """Build aMUSEd's network."""
    from diffusers.models.unets.uvit_2d import UVit2DModel

    width = size.width
    return UVit2DModel(
        hidden_size=width,
        cond_embed_dim=width,
        micro_cond_encode_dim=MICRO_WIDTH,
        micro_cond_embed_dim=NUM_MICRO * MICRO_WIDTH,
        encoder_hidden_size=width,
        vocab_size=size.num_codes + 1,
        codebook_size=size.num_codes,
        in_channels=width,
        block_out_channels=width,
        block_num_heads=size.heads,
        num_res_blocks=0,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=width * 11 // 4,  # as ours
        sample_size=size.edge,
    )


def conditions(size: Size, count: int) -> dict[str, Tensor]:
    """Draw captions as aMUSEd takes them: vectors of tokens and of the whole, and five numbers."""
    return {
        "encoder_hidden_states": torch.randn(count, size.text_length, size.width),
        "pooled_text_emb": torch.randn(count, size.width),
        "micro_conds": torch.full((count, NUM_MICRO), float(size.pixels)),
    }


def _network(size: Size, count: int) -> str:
    codes = f"{count} pictures of {size.length:,} codes of {size.num_codes:,}"
    network = f"{size.depth} layers of width {size.width}"
    return f"{codes}, {network}, {size.text_length} text tokens"


def _own(name: str, prior: Any, size: Size, precision: Precision, **how: Any) -> Side:
    text, count = ours.text_shape(size), size.masked
    run = ours.drawing(prior, count=count, text=text, precision=precision, **how)
    return Side(name, run, ours.num_parameters(prior))


def _step(size: Size, precision: Precision) -> Side:
    model, given = uvit(size), conditions(size, size.batch)
    codes = torch.randint(size.num_codes, (size.batch, size.edge, size.edge))
    is_masked = torch.rand(codes.shape) < MASKED
    tokens = codes.masked_fill(is_masked, size.num_codes)
    targets = codes.masked_fill(~is_masked, -100)

    def loss() -> Tensor:
        return F.cross_entropy(model(tokens, **given).float(), targets)

    run = ours.peer_training(model, loss, precision)
    return Side(NAME, run, ours.num_parameters(model), DIFFUSERS)


def _draw(size: Size, precision: Precision, guidance: float, steps: int) -> Side:
    model = uvit(size).eval().requires_grad_(False)
    nn.Module.to(model, ours.DTYPES[precision])  # diffusers' own `to` warns of layers it has not
    run = _pipeline(model, size, guidance=guidance, steps=steps)
    return Side(NAME, run, ours.num_parameters(model), DIFFUSERS)


def _pipeline(model: Any, size: Size, *, guidance: float, steps: int) -> Callable[[], Tensor]:
    """Return the loop of aMUSEd's pipeline."""
    from diffusers.schedulers.scheduling_amused import AmusedScheduler

    scheduler: Any = AmusedScheduler(mask_token_id=size.num_codes)
    num_branches = 1 if guidance == 1 else 2
    given = conditions(size, num_branches * size.masked)
    given = {name: value.to(model.dtype) for name, value in given.items()}

    @torch.inference_mode()
    def draw() -> Tensor:
        scheduler.set_timesteps(steps)
        codes = torch.full((size.masked, size.edge, size.edge), size.num_codes)
        for timestep in scheduler.timesteps:
            logits = model(codes.repeat(num_branches, 1, 1), **given)
            if num_branches == 2:
                unconditional, conditional = logits.chunk(2)
                logits = unconditional + guidance * (conditional - unconditional)
            codes = scheduler.step(logits, timestep, codes).prev_sample
        return codes

    return draw
