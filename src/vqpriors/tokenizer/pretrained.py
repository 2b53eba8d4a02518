"""A `VQModel` of diffusers, trained by others: adopted as it is, or trained on from there.

It brings its own codebook, so that `tokenizer.quantizer` does not apply. Where it comes from is
read once, by `build`; the artifact holds all of it, from which `restore` makes it again.

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

WEIGHTS = "diffusion_pytorch_model"  # the names that diffusers gives its files
MAX_CODES = 65536  # codes are stored as uint16
CHUNK = 16384  # vectors compared with the whole codebook at a time, which bounds memory
TIMEOUT = 10  # seconds to wait for the hub's first answer
KEY = "tokenizer.pretrained"


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
            raise ValueError(f"needs a lowest value, then a higher one, got {value_range}")
        return value_range


class PretrainedVQ(nn.Module):
    """A `VQModel` between pictures in -1..1 and codes in raster order.

    Attributes:
        rows: Rows of the code grid.
        columns: Columns of the code grid.
        num_codes: Codebook size K.
        adopted: What `restore` needs beside the config; JSON values.
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
        # Else `decode` would take codes for some models and vectors for others.
        network.register_to_config(lookup_from_codebook=False)
        self.network: Any = network
        self.rows = self.columns = image_size // _factor(network)
        self.num_codes: int = network.config["num_vq_embeddings"]
        self.scale = (value_range[1] - value_range[0]) / 2
        self.middle = (value_range[1] + value_range[0]) / 2
        kept = {name: v for name, v in network.config.items() if not name.startswith("_")}
        self.adopted = {"network": kept, "commit": commit}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the reconstruction's loss and the quantizer's, as diffusers defines it.

        Args:
            batch: "images": (B, C, H, W) float in -1..1.

        Returns:
            "reconstruction": mean squared error per channel value; "commitment": the distance
            between vectors and codes, from which both learn.
        """
        images = batch["images"]
        vectors, commitment, _ = self._quantize(self._vectors(images))
        restored = self._pictures(vectors)
        return {"reconstruction": F.mse_loss(restored, images), "commitment": commitment}

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (B, N) int64, of (B, C, H, W) float images in -1..1."""
        length = self.rows * self.columns
        chunks = self._vectors(images).split(max(1, CHUNK // length))
        codes = [self._quantize(chunk)[2][2].view(len(chunk), length) for chunk in chunks]
        return torch.cat(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images, (B, C, H, W) float clamped to -1..1, of (B, N) int64 codes."""
        quantizer = self.network.quantize
        shape = (len(codes), self.rows, self.columns, quantizer.vq_embed_dim)
        return self._pictures(quantizer.get_codebook_entry(codes, shape)).clamp(-1, 1)

    def codebook(self) -> Tensor:
        """Return the vectors that codes stand for, (K, V) float32."""
        return self.network.quantize.embedding.weight.detach().float()

    def _vectors(self, images: Tensor) -> Tensor:
        with self._precision(images):
            return self.network.encode(images * self.scale + self.middle).latents

    def _quantize(self, vectors: Tensor) -> Any:
        with torch.autocast(vectors.device.type, enabled=False):
            return self.network.quantize(vectors.float())

    def _pictures(self, vectors: Tensor) -> Tensor:
        with self._precision(vectors):
            restored = self.network.decode(vectors, force_not_quantize=True).sample
        return (restored.float() - self.middle) / self.scale

    def _precision(self, like: Tensor) -> torch.autocast:
        """Compute in float32 where half precision would overflow, by the model's own word."""
        kind = like.device.type
        dtype, is_on = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        overflows = self.network.config["force_upcast"] and dtype == torch.float16
        return torch.autocast(kind, dtype=dtype, enabled=is_on and not overflows)


def build(config: Config, *, image_size: int, channels: int, quantizer: Quantizer) -> PretrainedVQ:
    """Adopt the model that a config names, from the hub or from a folder.

    Args:
        config: Where it is.
        image_size: Edge of a picture, pixels.
        channels: Channels of a picture.
        quantizer: Unused; the model has its own.

    Raises:
        ValueError: If the hub can't be reached, there is no such model or none in safetensors, or
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
    """Make an adopted tokenizer again, without its weights; reads nothing from elsewhere."""
    from diffusers import VQModel  # pyright: ignore[reportPrivateImportUsage]

    return PretrainedVQ(
        VQModel(**adopted["network"]),
        image_size=image_size,
        value_range=config.value_range,
        commit=adopted["commit"],
    )


def _factor(network: "VQModel") -> int:
    return 2 ** (len(network.config["block_out_channels"]) - 1)  # pixels per code along an edge


def _require_fit(network: "VQModel", config: Config, *, image_size: int, channels: int) -> None:
    settings, factor = network.config, _factor(network)
    read, written = settings["in_channels"], settings["out_channels"]
    if (read, written) != (channels, channels):
        sides = f"in_channels={read} and out_channels={written}"
        problem = f"has {sides}, but pictures have {channels} channels"
    elif image_size % factor:
        problem = f"has one code for {factor} x {factor} pixels, which don't divide {image_size} px"
    elif settings["num_vq_embeddings"] > MAX_CODES:
        problem = f"has {settings['num_vq_embeddings']} codes, but at most {MAX_CODES} can be used"
    else:
        return
    raise _refusal(config, problem, "choose another model, or change the data set's image section")


def _load(folder: Path, config: Config) -> "VQModel":
    from diffusers import VQModel  # pyright: ignore[reportPrivateImportUsage]
    from diffusers.utils.logging import set_verbosity

    set_verbosity(logging.CRITICAL)  # what goes wrong is said in one line, below
    _require_vq_model(folder, config)
    try:
        loaded: Any = VQModel.from_pretrained(
            str(folder), use_safetensors=True, torch_dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # unreadable weights fail in many ways
        reason = " ".join(str(error).split())
        raise _refusal(config, f"can't be loaded ({reason})", "check that it is whole") from None
    network, report = loaded
    if missing := report["missing_keys"]:
        raise _refusal(config, f"has no weights for {missing[0]!r}", "check that it is whole")
    return network


def _require_vq_model(folder: Path, config: Config) -> None:
    where = f"below {config.subfolder!r}" if config.subfolder else "at its top"
    try:
        kind = json.loads((folder / "config.json").read_text())["_class_name"]
    except OSError:
        fix = f"correct it, or {KEY}.subfolder"
        raise _refusal(config, f"has no config.json {where}", fix) from None
    except (ValueError, KeyError, TypeError):
        fix = "choose one that diffusers wrote"
        raise _refusal(config, f"has a config.json {where} that names no model", fix) from None
    if kind != "VQModel":
        raise _refusal(config, f"holds a {kind} {where}", "choose a VQModel")
    names = (f"{WEIGHTS}.safetensors", f"{WEIGHTS}.safetensors.index.json")
    if not any((folder / name).is_file() for name in names):
        fix = "save it again with safetensors, since pickled weights could run any code"
        raise _refusal(config, f"has no {names[0]} {where}", fix)


def _refusal(config: Config, problem: str, fix: str) -> ValueError:
    return ValueError(f"{KEY}.location: {config.location!r} {problem}; {fix}")


def _folder(config: Config) -> tuple[Path, str | None]:
    """Find the model's folder; from the hub, with the commit that the revision stands for."""
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
    with naming_param(KEY, config.location, config.revision, kind="model"):
        found = HfApi().model_info(config.location, revision=config.revision, timeout=TIMEOUT)
        patterns = [prefix + file for file in files]
        folder = snapshot_download(config.location, revision=found.sha, allow_patterns=patterns)
    return Path(folder), found.sha
