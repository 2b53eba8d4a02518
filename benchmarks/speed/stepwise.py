"""Stepwise priors against other packages: a training step, and sampling code by code.

The peers are GPT-2 of transformers, a decoder of x-transformers and, from a checkout, LlamaGen for
`transformer`, and a loop over torch's LSTM cells for `lstm`. All transformers use torch's fused
attention, cache keys and values, and sample from the whole distribution. In bfloat16 the peers
sample with weights that were cast once. No model has captions, since most peers do not support
them; LlamaGen gets a class, the same for all pictures.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks import gpt2, llama_gen, x_transformer
from benchmarks.speed import checkouts, ours
from benchmarks.speed.benchmark import Benchmark, Implementation, Size, installed
from vqpriors.core.hardware import Precision

TRANSFORMERS, X_TRANSFORMERS = "transformers", "x-transformers"
LLAMA_GEN = checkouts.LLAMA_GEN
NAMES = {
    TRANSFORMERS: "GPT2LMHeadModel",
    X_TRANSFORMERS: "AutoregressiveWrapper",
    LLAMA_GEN: "Transformer",
}
BUILDERS = {TRANSFORMERS: gpt2, X_TRANSFORMERS: x_transformer, LLAMA_GEN: llama_gen}


def step(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of a training step on random codes."""
    for precision in precisions:
        prior = ours.prior("transformer", size, ours.NO_TEXT)
        batch = ours.prior_batch(prior, size, ours.NO_TEXT)
        own, *others = ours.compiled_and_plain(
            "transformer",
            partial(ours.training, prior, batch, precision),
            ours.num_parameters(prior),
            is_compiled=ours.has_avx512(precision),
        )
        yield Benchmark(
            work="prior-step",
            size=f"{_codes(size, size.batch)}, {size.depth} layers of width {size.width}",
            unit="codes/s",
            amount=size.batch * size.length,
            precision=precision,
            ours=own,
            peers=others
            + installed({peer: partial(_train, peer, size, precision) for peer in NAMES}),
        )


def sampling(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of sampling one picture, and several."""
    for precision in precisions:
        for count in size.stepwise:
            peers = {peer: partial(_sample, peer, size, count, precision) for peer in NAMES}
            is_on_cpu = torch.get_default_device().type == "cpu"
            own, *others = _own("transformer", size, count, precision, is_compiled=is_on_cpu)
            yield Benchmark(
                work="stepwise-sampling",
                size=f"{_codes(size, count)}, {size.depth} layers of width {size.width}",
                unit="codes/s",
                amount=count * size.length,
                precision=precision,
                ours=own,
                peers=others + installed(peers),
            )


def lstm_sampling(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks against LSTM cells of the same width, and of about as many parameters."""
    count, width = size.stepwise[-1], size.lstm_width
    for precision in precisions:
        yield Benchmark(
            work="lstm-sampling",
            size=f"{_codes(size, count)}, {ours.LSTM_DEPTH} layers of width {width}",
            unit="codes/s",
            amount=count * size.length,
            precision=precision,
            ours=_own("lstm", size, count, precision, is_compiled=False)[0],
            peers=[_cell_loop(each, size, count, precision) for each in (width, width * 21 // 16)],
        )


def _own(
    kind: str, size: Size, count: int, precision: Precision, *, is_compiled: bool
) -> list[Implementation]:
    prior = ours.prior(kind, size, ours.NO_TEXT)
    parameters = ours.num_parameters(prior)
    weights = parameters - prior.embedding.weight.numel()
    # Of the cache, half on average: it holds the codes so far.
    cached = count * size.depth * size.width * size.length if kind == "transformer" else 0
    return ours.compiled_and_plain(
        kind,
        partial(ours.sampling, prior, count=count, text=ours.NO_TEXT, precision=precision),
        parameters,
        is_compiled=is_compiled,
        num_read=size.length * (weights + cached),
    )


def _codes(size: Size, count: int) -> str:
    pictures = f"{count} picture{'s' * (count > 1)}"
    return f"{pictures} of {size.length:,} codes of {size.num_codes:,}"


def _build(peer: str, size: Size) -> Any:
    sizes = {"width": size.width, "depth": size.depth, "heads": size.heads}
    return BUILDERS[peer](num_tokens=size.num_codes + 1, max_length=size.length + 1, **sizes)


def _train(peer: str, size: Size, precision: Precision) -> Implementation:
    model = _build(peer, size)
    tokens = torch.randint(size.num_codes, (size.batch, size.length + 1))

    def loss() -> Tensor:
        if peer == X_TRANSFORMERS:
            return model(tokens)
        if peer == LLAMA_GEN:  # the class takes the place of the start token
            codes = tokens[:, 1:].contiguous()
            return model(codes[:, :-1], torch.zeros_like(codes[:, 0]), targets=codes)[1]
        logits = model(tokens[:, :-1]).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

    run = ours.peer_training(model, loss, precision)
    return Implementation(NAMES[peer], run, ours.num_parameters(model), peer)


def _sample(peer: str, size: Size, count: int, precision: Precision) -> Implementation:
    model = _build(peer, size).eval().requires_grad_(False).to(ours.DTYPES[precision])
    if peer == LLAMA_GEN:
        generate = checkouts.load(LLAMA_GEN, "autoregressive.models.generate").generate
        draw = partial(generate, model, torch.zeros(count, dtype=torch.int64), size.length)
    else:
        begin = torch.full((count, 1), size.num_codes)
        draw = partial(model.generate, begin, **_settings(peer, size.length))
    run = torch.inference_mode()(draw)
    return Implementation(NAMES[peer], run, ours.num_parameters(model), peer)


def _settings(peer: str, length: int) -> dict[str, Any]:
    if peer == X_TRANSFORMERS:
        return {"seq_len": length, "filter_logits_fn": lambda logits: logits}
    settings = {"do_sample": True, "top_k": 0, "use_cache": True, "pad_token_id": 0}
    return settings | {"min_new_tokens": length, "max_new_tokens": length}


class CellLoop(nn.Module):
    """A plain LSTM over codes: embedding, stacked cells, output layer."""

    def __init__(self, *, num_codes: int, width: int, depth: int):
        super().__init__()
        self.width, self.begin = width, num_codes
        self.embedding = nn.Embedding(num_codes + 1, width)
        self.cells = nn.ModuleList(nn.LSTMCell(width, width) for _ in range(depth))
        self.head = nn.Linear(width, num_codes, bias=False)

    @torch.inference_mode()
    def sample(self, count: int, length: int) -> Tensor:
        """Sample the codes of `count` pictures, (B, N) int64."""
        zeros = self.head.weight.new_zeros(count, self.width)
        states = [(zeros, zeros) for _ in self.cells]
        token, codes = torch.full((count,), self.begin, device=zeros.device), []
        for _ in range(length):
            x = self.embedding(token)
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(x, states[layer])
                x = states[layer][0]
            token = self.head(x).float().softmax(-1).multinomial(1)[:, 0]
            codes.append(token)
        return torch.stack(codes, dim=1)


def _cell_loop(width: int, size: Size, count: int, precision: Precision) -> Implementation:
    model = CellLoop(num_codes=size.num_codes, width=width, depth=ours.LSTM_DEPTH)
    model = model.to(ours.DTYPES[precision])
    run = partial(model.sample, count, size.length)
    name = f"loop over LSTMCell, width {width}"
    return Implementation(name, run, ours.num_parameters(model), "torch")
