"""Our side of the contests: models as params.yaml builds them, at a benchmark's size."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from benchmarks.speed.sizes import Size
from vqpriors.core.hardware import Precision, autocast, autocast_once
from vqpriors.core.params import Params
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.sampling.base.choosing import choose_sampler
from vqpriors.sampling.base.sampler import Noise
from vqpriors.training.optimisation import TrainConfig, make_optimizer, weigh
from vqpriors.training.run import Objective

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
LR = 1e-4
NO_TEXT = TextShape(length=0, vocabulary=0, feature_width=0)
LSTM_DEPTH = 2
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16}


def params(changes: Mapping[str, Any]) -> Params:
    """Return params.yaml with other values at some dotted keys."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in changes.items():
        *path, last = key.split(".")
        section = values
        for part in path:
            section = section[part]
        assert last in section, f"{key} is gone from params.yaml"
        section[last] = value
    return Params(values)


def tokenizer(size: Size) -> Any:
    """Build the VQ-VAE with a codebook of moving averages."""
    found = params(
        {
            "tokenizer.vqvae.width": size.hidden,
            "tokenizer.vqvae.stride": 4,
            "tokenizer.vqvae.residual_blocks": 2,
            "tokenizer.vqvae.residual_width": size.residual_width,
            "tokenizer.ema.num_codes": size.num_codes,
            "tokenizer.ema.dim": size.code_width,
        }
    )
    arch = found.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = found.kind("tokenizer.quantizer", "vqpriors.quantizers")
    built = quantizer.module.build(quantizer.config)
    model = arch.module.build(arch.config, image_size=size.pixels, channels=3, quantizer=built)
    nn.init.normal_(built.codebook)
    return model


def prior(kind: str, size: Size, text: TextShape) -> Any:
    """Build a prior without dropout."""
    is_lstm = kind == "lstm"
    width, depth = (size.lstm_width, LSTM_DEPTH) if is_lstm else (size.width, size.depth)
    sizes = {"width": width, "depth": depth, "heads": size.heads, "text_depth": 2, "dropout": 0.0}
    sizes |= {"positions": "rope", "latent_width": 64, "latent_depth": 1}
    section = params({}).values["prior"][kind]
    changes = {f"prior.{kind}.{key}": sizes[key] for key in sizes if key in section}
    arch = params(changes | {"prior.arch": kind}).kind("prior.arch", "vqpriors.priors")
    grid = (size.edge, size.edge)
    return arch.module.build(arch.config, grid=grid, codebook_size=size.num_codes, text=text)


def text_shape(size: Size) -> TextShape:
    """Return the sizes of captions given as token ids."""
    return TextShape(size.text_length, size.vocabulary, 0)


def captions(count: int, shape: TextShape, *, is_empty: bool = False) -> TextInput:
    """Draw captions that fill their length, or the empty one, of which one token is real."""
    tokens = torch.randint(max(shape.vocabulary, 1), (count, shape.length))
    text_mask = torch.ones_like(tokens, dtype=torch.bool)
    if is_empty:
        text_mask[:, 1:] = False
    return TextInput(tokens, text_mask, None)


def prior_batch(prior: Any, size: Size, shape: TextShape) -> dict[str, Tensor]:
    """Draw a batch such as the training data gives."""
    text = captions(size.batch, shape)
    return {
        "codes": torch.randint(size.num_codes, (size.batch, size.length)),
        "draws": torch.rand(size.batch, prior.num_draws),
        "text_tokens": text.tokens,
        "text_mask": text.text_mask,
        "text_is_empty": torch.zeros(size.batch, dtype=torch.bool),
    }


def training(
    model: nn.Module, batch: dict[str, Tensor], precision: Precision
) -> Callable[[], None]:
    """Return our training step: the objective, and AdamW as it stands in params.yaml."""
    config = params({"prior.train.optimizer": "adamw"}).section("prior.train", TrainConfig)
    objective = Objective(model.train())
    optimizer = make_optimizer(model, lr=LR, config=config)
    return step(lambda: weigh(objective(batch), {}), optimizer, precision)


def peer_training(
    model: nn.Module, loss: Callable[[], Tensor], precision: Precision
) -> Callable[[], None]:
    """Return a peer's training step, with the same fused AdamW."""
    model.train()
    return step(loss, AdamW(model.parameters(), lr=LR, fused=True), precision)


def step(
    loss: Callable[[], Tensor], optimizer: Optimizer, precision: Precision
) -> Callable[[], None]:
    """Return what makes one update: forward, backward, optimizer."""

    def update() -> None:
        with autocast(precision, CPU):
            total = loss()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def drawing(
    prior: Any,
    *,
    count: int,
    text: TextShape,
    precision: Precision,
    guidance: float = 1.0,
    steps: int = 1,
) -> Callable[[], Tensor]:
    """Return what draws the codes of some pictures, as the `sample` stage does.

    Stepwise priors draw from all codes as likely as they say, since that is what peers do.
    """
    plain = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    found = params({f"sample.autoregressive.{key}": value for key, value in plain.items()})
    found.values["sample"]["sampler"] = choose_sampler("auto", prior.primitive)
    kind = found.kind("sample.sampler", "vqpriors.sampling")
    sampler = kind.module.build(kind.config)
    prior.eval().requires_grad_(False)
    given, null = captions(count, text), captions(count, text, is_empty=True)

    def draw() -> Tensor:
        noise = Noise(range(count), seed=0, device=CPU)
        with autocast_once(prior, precision):
            return sampler(prior, given, null, guidance=guidance, steps=steps, noise=noise)

    return draw


def num_parameters(model: nn.Module) -> int:
    """Count what a model has learned: its parameters, and a codebook that is a buffer."""
    ours_and_peers = ("codebook", "codebook.embed")
    codebooks = [value for name, value in model.named_buffers() if name.endswith(ours_and_peers)]
    return sum(value.numel() for value in [*model.parameters(), *codebooks])
