"""The tokenizer against other packages: a training step, encoding, and the nearest-code search.

The peers are diffusers' `VQModel`, with channels for about as many parameters as ours;
vector-quantize-pytorch, a quantizer that is benchmarked in our network in torch's default memory
layout; and, from a checkout, rosinality's vq-vae-2-pytorch with one level of codes.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed import checkouts, ours
from benchmarks.speed.benchmark import Benchmark, Implementation, Size, installed
from vqpriors.core.compiler import compiling
from vqpriors.core.hardware import Precision, autocast
from vqpriors.data.images import decode_pixels, encode_png
from vqpriors.data.pixels import to_unit_range
from vqpriors.tokenizer.base.coding import encode_pixels

DIFFUSERS, VECTOR_QUANTIZE = "diffusers", "vector-quantize-pytorch"
VQ_VAE_2 = checkouts.VQ_VAE_2
NAMES = {
    DIFFUSERS: "VQModel",
    VECTOR_QUANTIZE: "VectorQuantize in the same network",
    VQ_VAE_2: "VQVAE with one level",
}
QUANTIZERS = {
    "vqpriors": "ema",
    DIFFUSERS: "VectorQuantizer",
    VECTOR_QUANTIZE: "VectorQuantize",
}
COMMITMENT, DECAY = 0.25, 0.97
RESET_PEAK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux only
WARM_UP = 64  # vectors


def step(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of a training step on random pictures."""
    images = torch.rand(size.pictures, 3, size.pixels, size.pixels) * 2 - 1
    for precision in precisions:
        model = ours.tokenizer(size)
        own, *others = ours.compiled_and_plain(
            "vqvae with ema",
            partial(ours.training, model, {"images": images}, precision),
            ours.num_parameters(model),
            is_compiled=ours.has_avx512(),
        )
        peers = {peer: partial(_train, peer, size, images, precision) for peer in PEERS}
        yield Benchmark(
            work="tokenizer-step",
            size=_network(size, f"{size.pictures} pictures of {size.pixels} px"),
            unit="images/s",
            amount=size.pictures,
            precision=precision,
            ours=own,
            peers=others + installed(peers),
        )


def encode(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of encoding PNG files in memory to codes."""
    pngs = _random_pngs(size)
    for precision in precisions:
        model = ours.tokenizer(size).eval().requires_grad_(False)
        own, *others = ours.compiled_and_plain(
            "vqvae with ema",
            partial(_encoding, model, pngs, size, precision),
            ours.num_parameters(model),
            is_compiled=ours.has_avx512(),
        )
        peers = {peer: partial(_encode, peer, size, pngs, precision) for peer in PEERS}
        yield Benchmark(
            work="encode",
            size=_network(size, f"{len(pngs)} PNG files of {size.pixels} px in memory"),
            unit="images/s",
            amount=len(pngs),
            precision=precision,
            ours=own,
            peers=others + installed(peers),
        )


def nearest_code(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield a benchmark of time and, on Linux, one of peak memory; all compute in float32."""
    peers = {peer: partial(_search, peer, size) for peer in (DIFFUSERS, VECTOR_QUANTIZE)}
    quantizer = _quantizer("vqpriors", size)
    own, *others = ours.compiled_and_plain(
        QUANTIZERS["vqpriors"],
        partial(_quantization, "vqpriors", quantizer, size, size.vectors),
        ours.num_parameters(quantizer),
        is_compiled=ours.has_avx512(),
    )
    speed = Benchmark(
        work="nearest-code",
        size=f"{size.vectors:,} vectors of {size.code_width} among {size.num_codes:,}",
        unit="vectors/s",
        amount=size.vectors,
        precision="no",
        ours=own,
        peers=others + installed(peers),
    )
    yield speed
    if RESET_PEAK.exists() and torch.get_default_device().type == "cpu":
        own, *others = (_memory_of(each, size) for each in (speed.ours, *speed.peers))
        yield replace(speed, unit="MB", ours=own, peers=others, returns_value=True)


class VQModelNet(nn.Module):
    """A VQModel without attention, like our network."""

    def __init__(self, size: Size):
        super().__init__()
        from diffusers.models.autoencoders.vq_model import VQModel

        width = size.hidden // 4
        self.model: Any = VQModel(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(width, width, 2 * width),
            latent_channels=size.code_width,
            num_vq_embeddings=size.num_codes,
            norm_num_groups=width,
            mid_block_add_attention=False,
        )

    def loss(self, images: Tensor) -> Tensor:
        """Return squared error plus commitment loss of (B, 3, H, W) float images in -1..1."""
        out = self.model(images)
        return F.mse_loss(out.sample.float(), images) + out.commit_loss

    def restore(self, images: Tensor) -> Tensor:
        """Encode and decode images, (B, 3, H, W) float in -1..1."""
        return self.model(images).sample

    def codes(self, images: Tensor) -> Tensor:
        """Return the codes, (B h w,) int64."""
        return self.model.quantize(self.model.encode(images).latents)[2][2]


class VectorQuantizeNet(nn.Module):
    """Our encoder and decoder with the quantizer of vector-quantize-pytorch."""

    def __init__(self, size: Size):
        super().__init__()
        network = ours.tokenizer(size).to(memory_format=torch.contiguous_format)
        self.encoder, self.decoder = network.encoder, network.decoder
        self.quantizer = vector_quantize(size, accept_image_fmap=True, kmeans_init=True)

    def loss(self, images: Tensor) -> Tensor:
        """Return squared error plus commitment loss of (B, 3, H, W) float images in -1..1."""
        vectors, _, commitment = self.quantizer(self.encoder(images))
        return F.mse_loss(self.decoder(vectors).float(), images) + commitment.sum()

    def restore(self, images: Tensor) -> Tensor:
        """Encode and decode images, (B, 3, H, W) float in -1..1."""
        return self.decoder(self.quantizer(self.encoder(images))[0])

    def codes(self, images: Tensor) -> Tensor:
        """Return the codes, (B, h, w) int64."""
        return self.quantizer(self.encoder(images))[1]


class OneLevelNet(nn.Module):
    """Encoder, quantizer and decoder of vq-vae-2-pytorch, in our widths."""

    def __init__(self, size: Size):
        super().__init__()
        module = checkouts.load(VQ_VAE_2, "vqvae")
        sizes = {"channel": size.hidden, "n_res_channel": size.residual_width}
        sizes |= {"n_res_block": 2, "stride": 4}
        self.encoder = module.Encoder(3, **sizes)
        self.to_vectors = nn.Conv2d(size.hidden, size.code_width, 1)
        self.quantizer = module.Quantize(size.code_width, size.num_codes, decay=DECAY)
        self.decoder = module.Decoder(size.code_width, 3, **sizes)

    def loss(self, images: Tensor) -> Tensor:
        """Return squared error plus commitment loss of (B, 3, H, W) float images in -1..1."""
        vectors, commitment, _ = self._quantize(images)
        restored = self.decoder(vectors.permute(0, 3, 1, 2))
        return F.mse_loss(restored.float(), images) + COMMITMENT * commitment

    def codes(self, images: Tensor) -> Tensor:
        """Return the codes, (B, h, w) int64."""
        return self._quantize(images)[2]

    def _quantize(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vectors = self.to_vectors(self.encoder(images)).permute(0, 2, 3, 1)
        return self.quantizer(vectors.float())


PEERS = {DIFFUSERS: VQModelNet, VECTOR_QUANTIZE: VectorQuantizeNet, VQ_VAE_2: OneLevelNet}


def vector_quantize(size: Size, **options: Any) -> Any:
    """Build the quantizer of vector-quantize-pytorch with our decay and commitment weight."""
    from vector_quantize_pytorch import VectorQuantize

    settings = {"decay": DECAY, "commitment_weight": COMMITMENT, **options}
    return VectorQuantize(dim=size.code_width, codebook_size=size.num_codes, **settings)


def vq_model_quantizer(size: Size) -> Any:
    """Build the quantizer of diffusers' VQModel."""
    from diffusers.models.autoencoders.vae import VectorQuantizer

    return VectorQuantizer(size.num_codes, size.code_width, beta=COMMITMENT)


def _network(size: Size, pictures: str) -> str:
    return f"{pictures}, hidden {size.hidden}, {size.num_codes:,} codes of {size.code_width}"


def _random_pngs(size: Size) -> list[bytes]:
    shape = (4 * size.pictures, 3, size.pixels, size.pixels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return [encode_png(each) for each in pixels]


def _decoded(pngs: list[bytes]) -> np.ndarray:
    return np.stack([decode_pixels(png) for png in pngs])


def _train(peer: str, size: Size, images: Tensor, precision: Precision) -> Implementation:
    model = PEERS[peer](size)
    run = ours.peer_training(model, lambda: model.loss(images), precision)
    return Implementation(NAMES[peer], run, ours.num_parameters(model), peer)


def _encode(peer: str, size: Size, pngs: list[bytes], precision: Precision) -> Implementation:
    model = PEERS[peer](size).eval().requires_grad_(False)
    run = partial(_encode_peer, model, pngs, size, precision)
    return Implementation(NAMES[peer], run, ours.num_parameters(model), peer)


def _encoding(
    model: Any, pngs: list[bytes], size: Size, precision: Precision, *, is_compiled: bool
) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        with compiling(is_compiled):
            pixels = _decoded(pngs)
            return encode_pixels(model, pixels, batch_size=size.pictures, precision=precision)

    return run


@torch.inference_mode()
def _encode_peer(model: Any, pngs: list[bytes], size: Size, precision: Precision) -> np.ndarray:
    chunks = torch.from_numpy(_decoded(pngs)).split(size.pictures)
    device = ours.device_of(model)
    with autocast(precision, device):
        codes = [model.codes(to_unit_range(chunk.to(device))).flatten() for chunk in chunks]
    return torch.cat(codes).cpu().numpy().astype(np.uint16)


def _search(package: str, size: Size) -> Implementation:
    quantizer = _quantizer(package, size)
    run = _quantization(package, quantizer, size, size.vectors)
    return Implementation(QUANTIZERS[package], run, ours.num_parameters(quantizer), package)


def _memory_of(search: Implementation, size: Size) -> Implementation:
    is_compiled = search.counted is not None
    return replace(search, run=partial(_peak_in_new_process, search.package, size, is_compiled))


def _peak_in_new_process(package: str, size: Size, is_compiled: bool) -> float:
    """Measure the peak memory of a search in MB, in a process without memory to reuse."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, package, size, is_compiled).result()


def _peak(package: str, size: Size, is_compiled: bool) -> float:
    quantizer = _quantizer(package, size)
    _quantization(package, quantizer, size, WARM_UP, is_compiled=is_compiled)()
    run = _quantization(package, quantizer, size, size.vectors, is_compiled=is_compiled)
    RESET_PEAK.write_text("5")
    before = _kilobytes("VmRSS")
    run()
    return (_kilobytes("VmHWM") - before) * 1024 / 1e6


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _quantizer(package: str, size: Size) -> nn.Module:
    builders = {DIFFUSERS: vq_model_quantizer, VECTOR_QUANTIZE: vector_quantize}
    if package in builders:
        return builders[package](size).eval()
    return ours.tokenizer(size).quantizer.eval()


def _quantization(
    package: str, quantizer: Any, size: Size, count: int, *, is_compiled: bool = False
) -> Callable[[], Any]:
    """Return a call of a quantizer on random vectors in the shape that it requires."""
    vectors = torch.randn(count, size.code_width)
    if package == DIFFUSERS:
        vectors = vectors.T.contiguous()[None, :, :, None]  # (1, D, M, 1)
    elif package == VECTOR_QUANTIZE:
        vectors = vectors[None]  # (1, M, D)

    @torch.inference_mode()
    def run() -> Any:
        with compiling(is_compiled):
            return quantizer(vectors)

    return run
