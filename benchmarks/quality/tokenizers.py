"""The run's tokenizer and those of other packages: reconstructions of the test pictures.

The peers are those of `benchmarks.speed.tokenizers`: diffusers' `VQModel`, and our network with the
quantizer of vector-quantize-pytorch.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality.table import Row
from benchmarks.quality.training import train
from benchmarks.speed.benchmark import FULL, Size
from benchmarks.speed.ours import num_parameters
from benchmarks.speed.tokenizers import DIFFUSERS, NAMES, PEERS, VECTOR_QUANTIZE
from vqpriors.core.hardware import Precision
from vqpriors.core.params import Params, Seed
from vqpriors.data.images import read_images
from vqpriors.data.pixels import to_uint8, to_unit_range
from vqpriors.tokenizer.base.loading import load_tokenizer
from vqpriors.tokenizer.base.metrics import measure_tokenization
from vqpriors.training.image_examples import ImageExamples

IMAGES = Path("data/images")
SPLIT = "test"
NETWORKS = {"vqmodel": DIFFUSERS, "vector-quantize": VECTOR_QUANTIZE}


def own_row(params: Params, trained: Mapping[str, Any]) -> Row:
    """Return the row of the run's tokenizer.

    Args:
        params: The run's params.
        trained: Its metrics/train_tokenizer/metrics.json.
    """
    model, _ = load_tokenizer(Path("data/tokenizer"), torch.device("cpu"))
    phases = params.raw("tokenizer.vqvae.phases").values()
    return {
        "model": "vqvae",
        "package": "vqpriors",
        "parameters": num_parameters(model),
        "minutes": trained["train_minutes"],
        "epochs": sum(phase["epochs"] for phase in phases),
        **trained[SPLIT],
    }


def peer_row(params: Params, name: str, *, minutes: float, lr: float) -> Row:
    """Train a tokenizer of another package on the run's pictures, and measure it.

    Raises:
        ValueError: If the run's tokenizer is not a `vqvae` of colour pictures with stride 4 and the
            quantizer `ema`.
    """
    package, size, seed = NETWORKS[name], _size(params), params.value("seed", Seed)
    torch.manual_seed(seed)
    model: Any = PEERS[package](size)
    epochs = train(
        model,
        lambda batch: model.loss(batch["images"]),
        ImageExamples(read_images(IMAGES, "train").pixels),
        seconds=minutes * 60,
        batch_size=params.value("tokenizer.train.batch_size", int),
        lr=lr,
        precision=params.value("train.precision", Precision),
        seed=seed,
    )
    originals = read_images(IMAGES, SPLIT).pixels
    restored, codes = _reconstruct(model, originals)
    return {
        "model": NAMES[package],
        "package": package,
        "version": version(package),
        "parameters": num_parameters(model),
        "minutes": minutes,
        "epochs": round(epochs, 1),
        **measure_tokenization(originals, restored, codes, codebook_size=size.num_codes),
    }


@torch.inference_mode()
def _reconstruct(model: Any, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures via the tokenizer, (M, C, H, W) uint8, and their codes, (M, N) int64."""
    restored, codes = [], []
    for chunk in torch.from_numpy(pixels).split(250):
        images = to_unit_range(chunk)
        restored.append(to_uint8(model.restore(images)))
        codes.append(model.codes(images).view(len(chunk), -1).numpy())
    return np.concatenate(restored), np.concatenate(codes)


def _size(params: Params) -> Size:
    stride = params.value("tokenizer.vqvae.stride", int)
    name = params.value("data.name", str)
    image = params.raw(f"data.{name}.image")
    is_known = params.value("tokenizer.arch", str) == "vqvae" and stride == 4
    if not is_known or image["channels"] != 3 or params.raw("tokenizer.quantizer") != "ema":
        problem = "peers are built only for a vqvae of colour pictures with stride 4 and ema"
        raise ValueError(f"tokenizer: {problem}")
    return replace(
        FULL,
        pixels=image["size"],
        hidden=params.value("tokenizer.vqvae.width", int),
        residual_width=params.value("tokenizer.vqvae.residual_width", int),
        code_width=params.value("tokenizer.ema.dim", int),
        num_codes=params.value("tokenizer.ema.num_codes", int),
    )
