"""CFTN v2, BiHemisphericBrain: an image tower and a text tower, joined by gated cross-attention.

If one modality is fully given, its tower does not attend to the other, so its hidden states are
computed once and reused at every decoding step; with `two_way`, each tower attends to the other, so
both run in every step.

References:
    Swerdlow et al. 2025, UniDisc, arXiv:2503.20853 (masked pictures and captions together);
    Chang et al. 2022, MaskGIT, arXiv:2202.04200.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.hardware import send
from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.attention import Context, grid_rope
from vqpriors.nn.blocks import initialise
from vqpriors.nn.linear import Linear
from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.masked import estimate_bound, fill
from vqpriors.priors.base.masking import MaskSchedule
from vqpriors.priors.base.prior import Batch
from vqpriors.priors.cftn2.code_stem import CodeStem
from vqpriors.priors.cftn2.latent import Latent
from vqpriors.priors.cftn2.losses import TASKS, Scalars, Task
from vqpriors.priors.cftn2.tasks import Draws, draw_sizes, split_batch, task_shares
from vqpriors.priors.cftn2.towers import (
    Tower,
    cache_context,
    forward_joint,
    forward_with_context,
    init_bridge_outputs,
    make_bridges,
    mean_gates,
)


class Config(Section):
    """`prior.cftn2` of params.yaml."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    positions: Literal["rope", "learned"]
    two_way: bool
    dropout: float = Field(ge=0, lt=1)
    mask_schedule: MaskSchedule
    full_mask_prob: float = Field(ge=0, le=1)
    full_caption_mask_prob: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    stem_depth: int = Field(ge=0)
    latent_width: int = Field(ge=1)
    latent_depth: int = Field(ge=0)
    flow_layers: int = Field(ge=0)
    free_nats: float = Field(ge=0)
    phases: dict[str, Phase] = Field(min_length=1)


@dataclass
class DecodingState:
    """The given modality, and the latent.

    Attributes:
        contexts: The given modality's keys and values for each bridge; empty with `two_way`.
        latent: A vector for all cells, (B, 1, D).
        given: With `two_way`, the given modality's embedded tokens, (B, L, D), and its padding
            mask, (B, L) bool.
    """

    contexts: list[Context]
    latent: Tensor | None = None
    given: tuple[Tensor, Tensor] | None = None


class CFTN2(nn.Module):
    """Two masked transformers, for pictures and for captions; a `MaskedPrior` and `Captioner`."""

    primitive = "masked"
    is_captioner = True
    is_exact = False
    latent: Latent

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        codebook_size: int,
        text: TextShape,
        width: int,
        depth: int,
        heads: int,
        positions: str,
        two_way: bool,
        dropout: float,
        mask_schedule: MaskSchedule,
        full_mask_prob: float,
        full_caption_mask_prob: float,
        label_smoothing: float,
        stem_depth: int,
        latent_width: int,
        latent_depth: int,
        flow_layers: int,
        free_nats: float,
    ):
        super().__init__()
        _check(width=width, heads=heads, positions=positions, text=text)
        self.grid, self.length, self.text_length = grid, grid[0] * grid[1], text.length
        self.mask_token, self.text_mask_token = codebook_size, text.vocabulary
        self.mask_schedule: MaskSchedule = mask_schedule
        self.full_mask_prob, self.full_caption_mask_prob = full_mask_prob, full_caption_mask_prob
        self.label_smoothing, self.latent_width = label_smoothing, latent_width
        self.free_nats, self.two_way = free_nats, two_way
        self.draw_sizes = draw_sizes(
            latent_width=latent_width, length=self.length, text_length=self.text_length
        )
        self.num_draws = sum(self.draw_sizes)
        self.measured: dict[str, Tensor] = {}
        sizes = {"width": width, "heads": heads, "dropout": dropout}
        rope = grid_rope(*grid, width // heads)[:, 1:] if positions == "rope" else None
        self.image = Tower(
            num_tokens=codebook_size, length=self.length, depth=depth, rope=rope, **sizes
        )
        self.text = Tower(num_tokens=text.vocabulary, length=text.length, depth=depth, **sizes)
        has_features = text.feature_width > 0
        self.project = Linear(text.feature_width, width) if has_features else None
        self.to_image, self.to_text = make_bridges(depth, **sizes), make_bridges(depth, **sizes)
        self.code_stem = CodeStem(grid=grid, num_codes=codebook_size, width=width, depth=stem_depth)
        self.latent = Latent(
            latent_width=latent_width,
            width=width,
            depth=latent_depth,
            flow_layers=flow_layers,
            heads=heads,
        )
        initialise(self, depth=2 * depth)
        init_bridge_outputs(self.to_image)
        init_bridge_outputs(self.to_text)
        self.latent.flow.init_identity()
        self.begin_phase()

    def begin_phase(
        self,
        *,
        caption_share: float = 0.25,
        joint_share: float = 0.25,
        latent_share: float = 0.25,
    ) -> None:
        """Set the share of each training task in a batch; the rest trains caption -> picture.

        Args:
            caption_share: Picture -> caption.
            joint_share: Masked pictures and captions together.
            latent_share: Caption and latent -> all codes in one step.

        Raises:
            ValueError: If a share is negative, or their sum exceeds 1.
        """
        self.shares = task_shares(caption=caption_share, joint=joint_share, latent=latent_share)

    @property
    def idle(self) -> tuple[str, ...]:
        """Submodules that no training task of the current phase uses."""
        tasks = {name for name, share in self.shares.items() if share > 0}
        given = {
            "latent": {"latent"},
            "code_stem": {"caption"},
            **({} if self.project is None else {"project": {"generate", "latent"}}),
            **self._written_by("image", {"generate", "latent", "joint"}),
            **self._written_by("text", {"caption", "joint"}),
        }
        return tuple(name for name, users in given.items() if not users & tasks)

    def _written_by(self, name: str, tasks: set[str]) -> dict[str, set[str]]:
        """Return what only tasks use that predict tokens of a tower, and these tasks."""
        last = len(self.to_image) - 1
        bridges = f"to_{name}.{last}" if self.two_way else f"to_{name}"
        parts = (f"{name}.norm", f"{name}.head", f"{name}.blocks.{last}", bridges)
        return dict.fromkeys(parts, tasks)

    def losses(self, batch: Batch) -> Scalars:
        """Return the losses of each training task of the phase, in nats.

        Returns:
            "masked_nats": mean cross-entropy at masked codes, given the caption; "caption_nats": at
            masked caption tokens, given the picture; "joint_code_nats" and "joint_caption_nats":
            at masked codes and tokens, given what is left of both; "one_step_nats": at all codes,
            given the caption and the latent; "latent_nats": an estimate of the KL divergence of
            the latent's posterior from its prior, per code, at least `free_nats` a picture.
        """
        self.measured = {}
        losses: Scalars = {}
        for task, part, draws in self._tasks(batch):
            found, metrics = task.losses(self, part, draws)
            losses |= found
            self.measured |= metrics
        self.measured |= mean_gates(self.to_image, "gate_to_image")
        self.measured |= mean_gates(self.to_text, "gate_to_text")
        return losses

    @torch.no_grad()
    def num_targets(self, batch: Batch) -> Scalars:
        """Return the number of targets that each loss and each accuracy is a mean over."""
        counts: Scalars = {}
        for task, part, draws in self._tasks(batch):
            counts |= task.num_targets(self, part, draws)
        return counts

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Estimate an upper bound on the negative log-likelihood; see `Prior.nats`."""
        return estimate_bound(self, codes, text, noise)

    def fill(self, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
        """Replace masked codes by the likeliest ones, in one pass; see `Prior.fill`."""
        return fill(self, codes, mask, text)

    def start(self, text: TextInput, latent: Tensor | None = None) -> DecodingState:
        """Encode the captions, once, and sample the latent; see `MaskedPrior.start`."""
        if latent is None:
            states = [self._embed_text(text)] if self.two_way else self.text_states(text)
            return self.drawing_state(states, text)
        states = self.text_states(text)
        own = slice(len(latent))
        sampled = self.latent.flow.rsample(latent, states[-1][own], text.text_mask[own])
        return self.drawing_state(states, text, sampled.repeat(len(text.tokens) // len(latent), 1))

    def text_states(self, text: TextInput) -> list[Tensor]:
        """Return the input of each block of the text tower without the picture, (B, L, D) each."""
        return self.text.hidden_states(self._embed_text(text), text.text_mask)

    def drawing_state(
        self, states: list[Tensor], text: TextInput, latent: Tensor | None = None
    ) -> DecodingState:
        """Return the state of `start`, given `text_states` and latents, (B, latent_width).

        With `two_way`, the first of the states is enough.
        """
        vector = None if latent is None else self.latent(latent)
        if self.two_way:
            return DecodingState([], vector, (states[0], text.text_mask))
        return DecodingState(cache_context(self.to_image, states, text.text_mask), vector)

    def logits(self, tokens: Tensor, state: DecodingState, cells: Cells) -> Tensor:
        """Return the logits of some cells, (M, K) float; see `MaskedPrior.logits`."""
        x = self.image.embed(tokens, state.latent)
        if state.given is None:
            x = forward_with_context(self.image, x, self.to_image, state.contexts)
        else:
            text, text_mask = state.given
            towers, bridges = (self.image, self.text), (self.to_image, self.to_text)
            x, _ = forward_joint(towers, (x, text), bridges, (None, text_mask))
        return self.image.predict(x, cells)

    def set_codebook(self, codebook: Tensor) -> None:
        """Store the tokenizer's codebook; see `Captioner.set_codebook`."""
        self.code_stem.set_codebook(codebook)

    def start_caption(self, codes: Tensor) -> DecodingState:
        """Encode the pictures, once; see `Captioner.start_caption`."""
        embedded = self.code_stem(codes, self.image.embed(codes))
        everywhere = torch.ones_like(codes, dtype=torch.bool)
        if self.two_way:
            return DecodingState([], given=(embedded, everywhere))
        states = self.image.hidden_states(embedded)
        return DecodingState(cache_context(self.to_text, states, everywhere))

    def caption_logits(self, tokens: Tensor, state: DecodingState, cells: Cells) -> Tensor:
        """Return the logits of some tokens, (M, V) float; see `Captioner.caption_logits`."""
        x = self.text.embed(tokens)
        if state.given is None:
            x = forward_with_context(self.text, x, self.to_text, state.contexts)
        else:
            towers, bridges = (self.text, self.image), (self.to_text, self.to_image)
            x, _ = forward_joint(towers, (x, state.given[0]), bridges)
        return self.text.predict(x, cells)

    def _embed_text(self, text: TextInput) -> Tensor:
        extra = None
        if self.project is not None and text.features is not None:
            extra = self.project(text.features)
        return self.text.embed(text.tokens, extra)

    def _tasks(self, batch: Batch) -> Iterator[tuple[Task, Batch, Draws]]:
        """Yield each task of the phase, its part of the batch, and the draws of this part."""
        rows = split_batch(batch, self.shares, is_training=self.training)
        for name, task_rows in rows.items():
            part = {key: value[task_rows] for key, value in batch.items()}
            given = part["draws"], send(part["draws"], part["codes"].device)
            on_cpu, on_device = (draws.split(self.draw_sizes, dim=1) for draws in given)
            yield TASKS[name], part, Draws(*on_cpu[:2], *on_device[2:])


def _check(*, width: int, heads: int, positions: str, text: TextShape) -> None:
    if text.length == 0:
        raise ValueError(
            "text.encoder: cftn2 needs captions, got none; choose another encoder, such as "
            "wordpiece, or another prior.arch"
        )
    if width % heads or (positions == "rope" and width // heads % 4):
        into = " into heads of a multiple of 4 for rope" if positions == "rope" else ""
        raise ValueError(
            f"prior.cftn2.heads: must divide width{into}, "
            f"got heads={heads}, width={width}; change one of them in params.yaml"
        )


def build(config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape) -> CFTN2:
    """Build the prior that a config describes.

    Raises:
        ValueError: If there are no captions, or the heads do not fit the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return CFTN2(grid=grid, codebook_size=codebook_size, text=text, **settings)
