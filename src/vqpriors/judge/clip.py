"""CLIP as a matcher of pictures and captions, from the Hub or a folder; by default not trained.

Reference:
    Radford et al. 2021, CLIP, arXiv:2103.00020.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.images import ImageSet
from vqpriors.judge.base.contrastive import contrastive_loss
from vqpriors.text.base.pretrained import TOKENIZER_FILES, WEIGHTS, Pretrained, quiet
from vqpriors.text.base.token_rows import TokenRows, without_special_tokens

IS_AUTOMATIC = False

START, END = "<|startoftext|>", "<|endoftext|>"
# Of the pictures that CLIP was trained on, by channel, in 0..1.
MEAN, DEVIATION = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)


class Config(Section):
    """`judge.clip` of params.yaml.

    Attributes:
        location: A Hub id or a local folder, with image and text tower.
        revision: Commit, tag or branch on the Hub.
        shift: Maximum random shift of a training picture, pixels.
        phases: Training phases, in order; none to use CLIP as it is.
    """

    location: str
    revision: str
    shift: int = Field(ge=0)
    phases: dict[str, Phase]


class ClipJudge(nn.Module):
    """CLIP's two towers and their common space; a `Matcher`.

    Args:
        network: CLIP's configuration, as `CLIPConfig.to_dict` returns it.
        tokenizer: CLIP's tokenizer as JSON text, without special tokens of its own.
    """

    is_matcher = True
    is_colorless = False

    def __init__(self, *, network: Mapping[str, Any], tokenizer: str) -> None:
        from transformers import CLIPConfig, CLIPModel

        super().__init__()
        self.settings: dict[str, Any] = {"network": dict(network), "tokenizer": tokenizer}
        self.classes: dict[str, list[str]] = {}
        with quiet():
            self.clip: CLIPModel = CLIPModel(CLIPConfig.from_dict(dict(network)))
        config: Any = self.clip.config
        self.num_shape_features = config.projection_dim
        self.image_size: int = config.vision_config.image_size
        length = config.text_config.max_position_embeddings
        special = (START, END)
        self.rows = TokenRows(
            Tokenizer.from_str(tokenizer),
            length=length,
            start=START,
            pad=END,
            end=END,
            special=special,
        )
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Map pictures, (B, C, H, W) float32 in -1..1, to (B, F) float32: CLIP's embeddings."""
        pixels = (images.expand(-1, 3, -1, -1) + 1) / 2
        pixels = F.interpolate(
            pixels, size=(self.image_size, self.image_size), mode="bicubic", antialias=True
        ).clamp(0, 1)
        pixels = (pixels - self.mean) / self.deviation
        pooled = self.clip.vision_model(pixel_values=pixels).pooler_output
        return self.clip.visual_projection(pooled).float()

    def predict(self, features: Tensor) -> Tensor:
        """Return no class, (B, 0) int64: this judge has no attributes."""
        return torch.zeros(len(features), 0, dtype=torch.int64, device=features.device)

    def match(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the cosine similarity of B pictures and M captions, (B, M) float32."""
        tokens, _ = self.rows.encode(captions)
        chunks = tokens.to(features.device).split(256)
        embedded = torch.cat([self._embed_captions(chunk) for chunk in chunks])
        return F.normalize(features, dim=1) @ embedded.T

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "contrastive"; see `contrastive_loss`.

        Args:
            batch: "images", (B, C, H, W) float32 in -1..1, and "tokens", (B, L) int64.
        """
        pictures = F.normalize(self.features(batch["images"]), dim=1)
        captions, scale = self._embed_captions(batch["tokens"]), self.clip.logit_scale.exp()
        return {"contrastive": contrastive_loss(pictures, captions, batch["tokens"], scale)}

    def _embed_captions(self, tokens: Tensor) -> Tensor:
        # Needs no padding mask: attention is causal, and the first end token is read.
        pooled = self.clip.text_model(input_ids=tokens).pooler_output
        return F.normalize(self.clip.text_projection(pooled).float(), dim=1)


def can_judge(training: ImageSet) -> bool:
    """Return whether there are different captions."""
    return len(set(training.captions)) > 1


def build(config: Config, *, training: ImageSet) -> ClipJudge:
    """Fetch CLIP.

    Raises:
        ValueError: If the Hub can't be reached, or `location` is not a CLIP model with both towers
            in safetensors.
    """
    from transformers import CLIPModel, CLIPTokenizer

    files = ("config.json", *TOKENIZER_FILES, *WEIGHTS, "model-*.safetensors")
    source = Pretrained(config.location, config.revision, files=files, param="judge.clip")
    fix = "choose a CLIP model, such as openai/clip-vit-base-patch32"
    if not source.has("config.json"):
        raise source.location_error("has no config.json", fix)
    source.check_type("clip")
    options = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    clip, report = source.read(CLIPModel, **options)
    if report["missing_keys"]:
        raise source.location_error("lacks weights of a tower", fix)
    tokenizer = without_special_tokens(source.read(CLIPTokenizer).backend_tokenizer)
    if not {START, END} <= tokenizer.get_vocab().keys():
        raise source.location_error("has another kind of tokenizer", fix)
    judge = ClipJudge(network=clip.config.to_dict(), tokenizer=tokenizer.to_str())
    judge.clip.load_state_dict(clip.state_dict())
    return judge


def targets(judge: ClipJudge, images: ImageSet) -> dict[str, Tensor]:
    """Return "tokens", the encoded captions; see `ClipJudge.losses`."""
    return {"tokens": judge.rows.encode(images.captions)[0]}


def restore(settings: Mapping[str, Any]) -> ClipJudge:
    """Build a judge again from its settings; its weights are random."""
    return ClipJudge(**settings)
