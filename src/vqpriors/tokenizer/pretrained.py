"""A pretrained `VQModel` of diffusers, used unchanged or fine-tuned.

It has its own codebook, so `tokenizer.quantizer` is ignored. `build` reads it from the Hub or a
folder once; a saved tokenizer has all weights, and `restore` builds it without that source.

Reference:
    Rombach et al. 2022, Latent Diffusion Models, arXiv:2112.10752 (its VQ-regularised autoencoder).
"""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.publish.hub_errors import naming_param
from vqpriors.tokenizer.base.quantizer import Quantizer

if TYPE_CHECKING:
    from diffusers import VQModel  # pyright: ignore[reportPrivateImportUsage]

WEIGHTS = "diffusion_pytorch_model"  # diffusers' name of weight files
MAX_CODES = 65536  # codes are stored as uint16
CHUNK = 16384  # vectors compared with the codebook at a time, to bound memory
TIMEOUT = 10  # seconds to wait for the Hub
KEY = "tokenizer.pretrained"
COLLAPSE_FIX = f"choose another {KEY}.location, or fine-tune it with a phase in {KEY}.phases"


class Config(Section):
    """`tokenizer.pretrained` of params.yaml."""

    location: str
    revision: str
    subfolder: str | None
    value_range: list[float] = Field(min_length=2, max_length=2)
    phases: dict[str, Phase]

    @field_validator("value_range")
    @classmethod
    def _check(cls, value_range: list[float]) -> list[float]:
        if value_range[0] >= value_range[1]:
            raise ValueError(f"must be [lowest, highest] with lowest < highest, got {value_range}")
        return value_range


class PretrainedVQ(nn.Module):
    """A `VQModel` of diffusers as a tokenizer: pictures in -1..1, codes in raster order.

    Attributes:
        rows: Rows of the code grid.
        columns: Columns of the code grid.
        num_codes: Codebook size K.
        adopted: The network's config and the commit of the model, for `restore`; JSON values.
    """

    def __init__(
        self,
        network: "VQModel",
        *,
        image_size: int,
        value_range: list[float],
        commit: str | None,
    ):
        super().__init__()
        # Otherwise `network.decode` would expect codes in some models and vectors in others.
        network.register_to_config(lookup_from_codebook=False)
        self.network: Any = network
        self.rows = self.columns = image_size // _stride(network)
        self.num_codes: int = network.config["num_vq_embeddings"]
        self.scale = (value_range[1] - value_range[0]) / 2
        self.middle = (value_range[1] + value_range[0]) / 2
        settings = {name: v for name, v in network.config.items() if not name.startswith("_")}
        self.adopted = {"network": settings, "commit": commit}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the reconstruction loss, and the commitment loss of diffusers.

        Args:
            batch: "images": (B, C, H, W) float in -1..1.

        Returns:
            "reconstruction": mean squared error; "commitment": squared distance between vectors and
            their codes' vectors, with gradients for both.
        """
        images = batch["images"]
        vectors, commitment, _ = self._quantize(self._encode_images(images))
        restored = self._decode_vectors(vectors)
        return {"reconstruction": F.mse_loss(restored, images), "commitment": commitment}

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (B, N) int64, of (B, C, H, W) float images in -1..1."""
        length = self.rows * self.columns
        chunks = self._encode_images(images).split(max(1, CHUNK // length))
        codes = [self._quantize(chunk)[2][2].view(len(chunk), length) for chunk in chunks]
        return torch.cat(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images, (B, C, H, W) float clamped to -1..1, of (B, N) int64 codes."""
        quantizer = self.network.quantize
        shape = (len(codes), self.rows, self.columns, quantizer.vq_embed_dim)
        return self._decode_vectors(quantizer.get_codebook_entry(codes, shape)).clamp(-1, 1)

    def codebook(self) -> Tensor:
        """Return the codebook, (K, V) float32: the vector of each code."""
        return self.network.quantize.embedding.weight.detach().float()

    def _encode_images(self, images: Tensor) -> Tensor:
        with self._autocast(images):
            return self.network.encode(images * self.scale + self.middle).latents

    def _quantize(self, vectors: Tensor) -> Any:
        with torch.autocast(vectors.device.type, enabled=False):
            return self.network.quantize(vectors.float())

    def _decode_vectors(self, vectors: Tensor) -> Tensor:
        with self._autocast(vectors):
            restored = self.network.decode(vectors, force_not_quantize=True).sample
        return (restored.float() - self.middle) / self.scale

    def _autocast(self, like: Tensor) -> torch.autocast:
        """Disable float16 autocast if the model's config says that it overflows."""
        kind = like.device.type
        dtype, is_on = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        overflows = self.network.config["force_upcast"] and dtype == torch.float16
        return torch.autocast(kind, dtype=dtype, enabled=is_on and not overflows)


def build(config: Config, *, image_size: int, channels: int, quantizer: Quantizer) -> PretrainedVQ:
    """Load the model at the config's `location`, from the Hub or a folder.

    Args:
        config: Location of the model.
        image_size: Edge of a picture, pixels.
        channels: Channels of a picture.
        quantizer: Unused; the model has its own.

    Raises:
        ValueError: If the Hub can't be reached, there is no such model or it has no safetensors, or
            it does not fit the pictures.
    """
    folder, commit = _folder(config)
    network = _load(folder, config)
    _require_fit(network, config, image_size=image_size, channels=channels)
    return PretrainedVQ(
        network, image_size=image_size, value_range=config.value_range, commit=commit
    )


def restore(
    config: Config, *, adopted: dict[str, Any], image_size: int, channels: int
) -> PretrainedVQ:
    """Build a saved tokenizer with random weights, without the source that it came from.

    Args:
        config: For `value_range`.
        adopted: As `PretrainedVQ.adopted`.
        image_size: Edge of a picture, pixels.
        channels: Unused; the network's config has it.
    """
    from diffusers import VQModel  # pyright: ignore[reportPrivateImportUsage]

    return PretrainedVQ(
        VQModel(**adopted["network"]),
        image_size=image_size,
        value_range=config.value_range,
        commit=adopted["commit"],
    )


def _stride(network: "VQModel") -> int:
    return 2 ** (len(network.config["block_out_channels"]) - 1)  # pixels per code along an edge


def _require_fit(network: "VQModel", config: Config, *, image_size: int, channels: int) -> None:
    settings, stride = network.config, _stride(network)
    inputs, outputs = settings["in_channels"], settings["out_channels"]
    if (inputs, outputs) != (channels, channels):
        found = f"in_channels={inputs} and out_channels={outputs}"
        problem = f"has {found}, but pictures have {channels} channels"
    elif image_size % stride:
        problem = (
            f"has one code per {stride} x {stride} pixels, which does not divide {image_size} px"
        )
    elif settings["num_vq_embeddings"] > MAX_CODES:
        problem = (
            f"has {settings['num_vq_embeddings']} codes, but at most {MAX_CODES} are supported"
        )
    else:
        return
    raise _location_error(
        config, problem, "choose another model, or change the data set's image section"
    )


def _load(folder: Path, config: Config) -> "VQModel":
    from diffusers import VQModel  # pyright: ignore[reportPrivateImportUsage]
    from diffusers.utils.logging import set_verbosity

    set_verbosity(logging.CRITICAL)  # errors are reported below, in one line
    _require_vq_model(folder, config)
    try:
        loaded: Any = VQModel.from_pretrained(
            str(folder), use_safetensors=True, torch_dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # unreadable weights raise many types
        reason = " ".join(str(error).split())
        raise _location_error(
            config, f"can't be loaded ({reason})", "check that it is complete"
        ) from None
    network, report = loaded
    if missing := report["missing_keys"]:
        raise _location_error(
            config, f"has no weights for {missing[0]!r}", "check that it is complete"
        )
    return network


def _require_vq_model(folder: Path, config: Config) -> None:
    where = f"in {config.subfolder!r}" if config.subfolder else "at its top level"
    try:
        kind = json.loads((folder / "config.json").read_text())["_class_name"]
    except OSError:
        fix = f"change it or {KEY}.subfolder"
        raise _location_error(config, f"has no config.json {where}", fix) from None
    except (ValueError, KeyError, TypeError):
        fix = "choose a model saved by diffusers"
        raise _location_error(
            config, f"has a config.json {where} that names no class", fix
        ) from None
    if kind != "VQModel":
        raise _location_error(config, f"holds a {kind} {where}", "choose a VQModel")
    names = (f"{WEIGHTS}.safetensors", f"{WEIGHTS}.safetensors.index.json")
    if not any((folder / name).is_file() for name in names):
        fix = "save it with safetensors, since pickled weights can run arbitrary code"
        raise _location_error(config, f"has no {names[0]} {where}", fix)


def _location_error(config: Config, problem: str, fix: str) -> ValueError:
    return ValueError(f"{KEY}.location: {config.location!r} {problem}; {fix}")


def _folder(config: Config) -> tuple[Path, str | None]:
    """Return the model's folder and, from the Hub, the commit of the revision."""
    folder, commit = Path(config.location).expanduser(), None
    if not folder.is_dir():
        folder, commit = _download(config)
    return folder / (config.subfolder or ""), commit


def _download(config: Config) -> tuple[Path, str | None]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    prefix = f"{config.subfolder}/" if config.subfolder else ""
    files = ["config.json", f"{WEIGHTS}.safetensors*", f"{WEIGHTS}-*-of-*.safetensors"]
    disable_progress_bars()
    with naming_param(KEY, config.location, config.revision, repo_type="model"):
        found = HfApi().model_info(config.location, revision=config.revision, timeout=TIMEOUT)
        patterns = [prefix + file for file in files]
        folder = snapshot_download(config.location, revision=found.sha, allow_patterns=patterns)
    return Path(folder), found.sha
