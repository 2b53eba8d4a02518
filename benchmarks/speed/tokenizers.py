"""The tokenizer beside peers: a training step, and encoding."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed import ours
from benchmarks.speed.contest import Contest, Side, installed
from benchmarks.speed.sizes import Size
from benchmarks.speed.tokenizer_peers import NAMES, PEERS
from vqpriors.core.hardware import Precision, autocast
from vqpriors.data.images import decode_pixels, encode_png
from vqpriors.data.pixels import to_unit_range
from vqpriors.tokenizer.base.coding import encode_pixels

NAME = "vqvae with ema"


def step(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests of one training step on random pictures."""
    images = torch.rand(size.pictures, 3, size.pixels, size.pixels) * 2 - 1
    for precision in precisions:
        model = ours.tokenizer(size)
        run = ours.training(model, {"images": images}, precision)
        yield Contest(
            work="tokenizer-step",
            size=_network(size, f"{size.pictures} pictures of {size.pixels} px"),
            unit="images/s",
            amount=size.pictures,
            precision=precision,
            ours=Side(NAME, run, ours.num_parameters(model)),
            peers=installed(
                {peer: partial(_step, peer, size, images, precision) for peer in PEERS}
            ),
        )


def encode(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests of pictures, as PNG in memory, to codes."""
    pngs = _random_pngs(size)
    for precision in precisions:
        model = ours.tokenizer(size).eval().requires_grad_(False)
        run = partial(_run_ours, model, pngs, size, precision)
        yield Contest(
            work="encode",
            size=_network(size, f"{len(pngs)} PNG files of {size.pixels} px in memory"),
            unit="images/s",
            amount=len(pngs),
            precision=precision,
            ours=Side(NAME, run, ours.num_parameters(model)),
            peers=installed(
                {peer: partial(_encode, peer, size, pngs, precision) for peer in PEERS}
            ),
        )


def _network(size: Size, what: str) -> str:
    return f"{what}, hidden {size.hidden}, {size.num_codes:,} codes of {size.code_width}"


def _random_pngs(size: Size) -> list[bytes]:
    shape = (4 * size.pictures, 3, size.pixels, size.pixels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return [encode_png(each) for each in pixels]


def _decoded(pngs: list[bytes]) -> np.ndarray:
    return np.stack([decode_pixels(png) for png in pngs])


def _step(peer: str, size: Size, images: Tensor, precision: Precision) -> Side:
    model = PEERS[peer](size)
    run = ours.peer_training(model, lambda: model.loss(images), precision)
    return Side(NAMES[peer], run, ours.num_parameters(model), peer)


def _encode(peer: str, size: Size, pngs: list[bytes], precision: Precision) -> Side:
    model = PEERS[peer](size).eval().requires_grad_(False)
    run = partial(_run_peer, model, pngs, size, precision)
    return Side(NAMES[peer], run, ours.num_parameters(model), peer)


def _run_ours(model: Any, pngs: list[bytes], size: Size, precision: Precision) -> np.ndarray:
    return encode_pixels(model, _decoded(pngs), batch_size=size.pictures, precision=precision)


@torch.inference_mode()
def _run_peer(model: Any, pngs: list[bytes], size: Size, precision: Precision) -> np.ndarray:
    chunks = torch.from_numpy(_decoded(pngs)).split(size.pictures)
    with autocast(precision, ours.CPU):
        codes = [model.codes(to_unit_range(chunk)).flatten() for chunk in chunks]
    return torch.cat(codes).numpy().astype(np.uint16)
