"""Our implementations: models with the params of params.yaml and the size of a benchmark."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from benchmarks.speed.benchmark import Implementation, Size
from vqpriors.core.compiler import avx512_problem, compiling
from vqpriors.core.hardware import Precision, autocast, autocast_once
from vqpriors.core.params import Params
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.sampling.base.choosing import choose_sampler
from vqpriors.sampling.base.sampler import PictureRandom
from vqpriors.training.config import StageTrainConfig
from vqpriors.training.examples import ON_CPU
from vqpriors.training.gradients import end_update
from vqpriors.training.losses import Objective, weighted_sum
from vqpriors.training.optimizers import make_optimizer

ROOT = Path(__file__).resolve().parents[2]
LR = 1e-4
NO_TEXT = TextShape(length=0, vocabulary=0, feature_width=0)
LSTM_DEPTH = 2
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16}


def params(changes: Mapping[str, Any]) -> Params:
    """Return params.yaml with some values changed, given by dotted keys."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in changes.items():
        *path, last = key.split(".")
        section = values
        for part in path:
            section = section[part]
        assert last in section, f"params.yaml has no {key}"
        section[last] = value
    return Params(values)


def tokenizer(size: Size) -> Any:
    """Build a VQ-VAE with an EMA codebook."""
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
    """Return the shape of captions given as token ids."""
    return TextShape(size.text_length, size.vocabulary, 0)


def captions(count: int, shape: TextShape, *, is_empty: bool = False) -> TextInput:
    """Return random captions of full length, or empty captions, which have a single token."""
    tokens = torch.randint(max(shape.vocabulary, 1), (count, shape.length))
    text_mask = torch.ones_like(tokens, dtype=torch.bool)
    if is_empty:
        text_mask[:, 1:] = False
    return TextInput(tokens, text_mask, None)


def prior_batch(prior: Any, size: Size, shape: TextShape) -> dict[str, Tensor]:
    """Return a random training batch."""
    text = captions(size.batch, shape)
    batch = {
        "codes": torch.randint(size.num_codes, (size.batch, size.length)),
        "draws": torch.rand(size.batch, prior.num_draws),
        "text_tokens": text.tokens,
        "text_mask": text.text_mask,
        "text_is_empty": torch.zeros(size.batch, dtype=torch.bool),
        "place": torch.arange(size.batch),
        "batch_size": torch.full((size.batch,), size.batch),
    }
    return {name: value.cpu() if name in ON_CPU else value for name, value in batch.items()}


def training(
    model: nn.Module,
    batch: dict[str, Tensor],
    precision: Precision,
    *,
    is_compiled: bool = False,
) -> Callable[[], None]:
    """Return our training step: the loss and AdamW with the settings of params.yaml.

    `is_compiled` is `train.compile_layers`.
    """
    config = params({"prior.train.optimizer": "adamw"}).section("prior.train", StageTrainConfig)
    objective = Objective(model.train())
    optimizer = make_optimizer(model, lr=LR, config=config)
    update = step(model, lambda: weighted_sum(objective(batch), {}), optimizer, precision)

    def run() -> None:
        with compiling(is_compiled):
            update()
        end_update(model)

    return run


def peer_training(
    model: nn.Module, loss: Callable[[], Tensor], precision: Precision
) -> Callable[[], None]:
    """Return a training step of another model, with the same fused AdamW."""
    model.train()
    return step(model, loss, AdamW(model.parameters(), lr=LR, fused=True), precision)


def step(
    model: nn.Module, loss: Callable[[], Tensor], optimizer: Optimizer, precision: Precision
) -> Callable[[], None]:
    """Return a function that makes an update: forward, backward, optimizer."""
    device = device_of(model)

    def update() -> None:
        with autocast(precision, device):
            total = loss()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def sampling(
    prior: Any,
    *,
    count: int,
    text: TextShape,
    precision: Precision,
    guidance: float = 1.0,
    steps: int = 1,
    is_compiled: bool = False,
) -> Callable[[], Tensor]:
    """Return a function that samples the codes of some pictures like the `sample` stage.

    Stepwise priors sample from the whole distribution, as the peers do. `is_compiled` is
    `sample.compile`.
    """
    unrestricted = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    found = params({f"sample.autoregressive.{key}": value for key, value in unrestricted.items()})
    found.values["sample"]["sampler"] = choose_sampler("auto", prior.primitive)
    kind = found.kind("sample.sampler", "vqpriors.sampling")
    sampler = kind.module.build(kind.config)
    prior.eval().requires_grad_(False)
    given, null = captions(count, text), captions(count, text, is_empty=True)
    device = device_of(prior)

    def draw() -> Tensor:
        random = PictureRandom(range(count), seed=0, device=device)
        with autocast_once(prior, precision), compiling(is_compiled):
            return sampler(prior, given, null, guidance=guidance, steps=steps, random=random)

    return draw


def compiled_and_plain(
    name: str,
    run_of: Callable[..., Callable[[], Any]],
    parameters: int,
    *,
    is_compiled: bool,
    num_read: int = 0,
) -> list[Implementation]:
    """Return our implementation, compiled if that changes something, then also the plain one.

    Args:
        name: Its name without "compiled".
        run_of: Returns its function, given whether it `is_compiled`.
        parameters: As in `Implementation`.
        is_compiled: Whether compiling changes something.
        num_read: As in `Implementation`.
    """
    plain = Implementation(name, run_of(is_compiled=False), parameters, num_read=num_read)
    if not is_compiled:
        return [plain]
    run = run_of(is_compiled=True)
    compiled = replace(plain, name=f"{name} compiled", run=run, counted=plain.run)
    return [compiled, replace(plain, name=f"{name} not compiled")]


def has_avx512(precision: Precision = "bf16") -> bool:
    """Return whether compiling layers in a precision, or the search for codes, does something."""
    return avx512_problem(torch.get_default_device(), precision) is None


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's weights."""
    return next(model.parameters()).device


def num_parameters(model: nn.Module) -> int:
    """Count parameters, including a codebook that is a buffer."""
    ours_and_peers = ("codebook", "codebook.embed", "quantizer.embed")
    codebooks = [value for name, value in model.named_buffers() if name.endswith(ours_and_peers)]
    return sum(value.numel() for value in [*model.parameters(), *codebooks])
