"""CFTN v2, BiHemisphericBrain: a tower over pictures and one over captions, joined by bridges.

A side that is known as a whole does not listen to the other one. So a caption is read once for a
picture that is drawn in many steps, and a picture once for a caption.

References:
    Swerdlow et al. 2025, UniDisc, arXiv:2503.20853 (masked pictures and captions together);
    Chang et al. 2022, MaskGIT, arXiv:2202.04200.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.attention import grid_rotation
from vqpriors.nn.blocks import initialise
from vqpriors.priors.base.masked import bound, fill
from vqpriors.priors.base.masking import Schedule, guessed, lowest, mask_counts, mask_ratio
from vqpriors.priors.base.prior import Batch, text_of
from vqpriors.priors.cftn2.code_stem import Eyes
from vqpriors.priors.cftn2.latent import Latent, normal
from vqpriors.priors.cftn2.towers import (
    Bridge,
    Side,
    Tower,
    bridges,
    converse,
    listen,
    sides,
    speak_up,
)

Losses = dict[str, Tensor]


class Config(Section):
    """`prior.cftn2` of params.yaml."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    positions: Literal["rope", "learned"]
    dropout: float = Field(ge=0, lt=1)
    mask_schedule: Schedule
    full_mask_prob: float = Field(ge=0, le=1)
    full_caption_mask_prob: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    stem_depth: int = Field(ge=0)
    latent_width: int = Field(ge=1)
    latent_depth: int = Field(ge=0)
    flow_layers: int = Field(ge=0)
    phases: dict[str, Phase] = Field(min_length=1)


@dataclass
class State:
    """What all passes share: what the known side says at each layer, and the latent."""

    heard: list[Side]
    latent: Tensor | None = None


@dataclass(frozen=True)
class Draws:
    """A batch's randomness, a row an example: uniform in 0..1, and which captions are empty."""

    ratio: Tensor
    whole: Tensor
    latent: Tensor
    codes: Tensor
    text: Tensor
    is_empty: Tensor


class CFTN2(nn.Module):
    """Both directions between captions and pictures; see `MaskedPrior` and `Captioner`."""

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
        dropout: float,
        mask_schedule: Schedule,
        full_mask_prob: float,
        full_caption_mask_prob: float,
        label_smoothing: float,
        stem_depth: int,
        latent_width: int,
        latent_depth: int,
        flow_layers: int,
    ):
        super().__init__()
        _check(width=width, heads=heads, positions=positions, text=text)
        self.grid, self.length, self.text_length = grid, grid[0] * grid[1], text.length
        self.mask, self.text_mask = codebook_size, text.vocabulary
        self.mask_schedule: Schedule = mask_schedule
        self.whole, self.label_smoothing = (full_mask_prob, full_caption_mask_prob), label_smoothing
        self.latent_width = latent_width
        self.parts = (2, 2, latent_width, self.length, self.text_length)
        self.num_draws = sum(self.parts)
        self.measured: dict[str, Tensor] = {}
        sizes = {"width": width, "heads": heads, "dropout": dropout}
        turns = grid_rotation(*grid, width // heads)[:, 1:] if positions == "rope" else None
        self.image = Tower(
            num_tokens=codebook_size, length=self.length, depth=depth, turns=turns, **sizes
        )
        self.text = Tower(num_tokens=text.vocabulary, length=text.length, depth=depth, **sizes)
        has_features = text.feature_width > 0
        self.project = nn.Linear(text.feature_width, width, bias=False) if has_features else None
        self.to_image, self.to_text = bridges(depth, **sizes), bridges(depth, **sizes)
        self.eyes = Eyes(grid=grid, num_codes=codebook_size, width=width, depth=stem_depth)
        self.latent = Latent(
            latent_width=latent_width,
            width=width,
            depth=latent_depth,
            couplings=flow_layers,
            heads=heads,
        )
        initialise(self, depth=2 * depth)
        speak_up(self.to_image)
        speak_up(self.to_text)
        self.latent.expectation.silence()
        self.begin_phase()

    def begin_phase(
        self,
        *,
        caption_share: float = 0.25,
        joint_share: float = 0.25,
        latent_share: float = 0.25,
    ) -> None:
        """Share out each batch among what there is to learn; what is left draws codes by captions.

        Args:
            caption_share: To write captions for whole pictures.
            joint_share: To guess both sides from what is left of them.
            latent_share: To draw all codes at once, given a latent.

        Raises:
            ValueError: If a share is negative or they exceed the batch.
        """
        shares = {"caption": caption_share, "joint": joint_share, "latent": latent_share}
        left = 1 - sum(shares.values())
        if min(*shares.values(), left + 1e-6) < 0:
            raise ValueError(
                "prior.cftn2.phases: shares must be at least 0 and add up to at most 1, "
                f"got {shares}; change `options` in params.yaml"
            )
        self.shares = shares | {"generate": left if left > 1e-6 else 0.0}

    def losses(self, batch: Batch) -> Losses:
        """Return the mean surprise, in nats, of each thing that the phase has to learn.

        Returns:
            "masked_nats": at masked codes, given the caption; "caption_nats": at masked tokens of
            captions, given the picture; "joint_nats": at both, given what is left of both;
            "one_step_nats": at all codes given a latent; "latent_nats": a code's part of the
            latent's distance from what the caption lets expect.
        """
        self.measured = {}
        tasks = {
            "generate": self._learn_codes,
            "caption": self._learn_captions,
            "joint": self._learn_both,
            "latent": self._learn_one_step,
        }
        losses: Losses = {}
        for name, rows in self._rows(len(batch["codes"])).items():
            part = {key: value[rows] for key, value in batch.items()}
            parts = part["draws"].split(self.parts, dim=1)
            draws = Draws(*parts, is_empty=part["text_is_empty"])
            losses |= tasks[name](part["codes"], text_of(part), draws)
        for name, layers in (("image", self.to_image), ("text", self.to_text)):
            for i, bridge in enumerate(layers):
                openness = cast(Bridge, bridge).openness.detach()
                self.measured[f"gate_to_{name}_{i}"] = openness.abs().mean()
        return losses

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Return an estimate of each picture's bound, (B,) float32 nats; see `Prior.nats`."""
        return bound(self, codes, text, noise)

    def fill(self, codes: Tensor, is_hidden: Tensor, text: TextInput) -> Tensor:
        """Guess hidden cells in one pass; see `Prior.fill`."""
        return fill(self, codes, is_hidden, text)

    def start(self, text: TextInput, latent: Tensor | None = None) -> State:
        """Read the captions, once; see `MaskedPrior.start`."""
        states = self._read(text)
        told = None
        if latent is not None:
            own = slice(len(latent))
            drawn = self.latent.expectation.draw(latent, states[-1][own], text.is_real[own])
            told = self.latent(drawn).repeat(len(text.tokens) // len(latent), 1, 1)
        return State(sides(self.to_image, states, text.is_real), told)

    def _read(self, text: TextInput) -> list[Tensor]:
        extra = None
        if self.project is not None and text.features is not None:
            extra = self.project(text.features)
        return self.text.alone(self.text.embed(text.tokens, extra), text.is_real)

    def logits(self, tokens: Tensor, state: State, is_wanted: Tensor) -> Tensor:
        """Return the logits of wanted cells, (M, K) float; see `MaskedPrior.logits`."""
        x = listen(self.image, self.image.embed(tokens, state.latent), self.to_image, state.heard)
        return self.image.predict(x, is_wanted)

    def set_codebook(self, codebook: Tensor) -> None:
        """Store the tokenizer's codebook; see `Captioner.set_codebook`."""
        self.eyes.learn(codebook)

    def start_caption(self, codes: Tensor) -> State:
        """Look at the pictures, once; see `Captioner.start_caption`."""
        states = self.image.alone(self.eyes(codes, self.image.embed(codes)))
        return State(sides(self.to_text, states, torch.ones_like(codes, dtype=torch.bool)))

    def caption_logits(self, tokens: Tensor, state: State, is_wanted: Tensor) -> Tensor:
        """Return the logits of wanted tokens, (M, V) float; see `Captioner.caption_logits`."""
        x = listen(self.text, self.text.embed(tokens), self.to_text, state.heard)
        return self.text.predict(x, is_wanted)

    def _learn_codes(self, codes: Tensor, text: TextInput, draws: Draws) -> Losses:
        is_masked = self._mask(draws.codes, draws, side=0)
        tokens = codes.masked_fill(is_masked, self.mask)
        logits = self.logits(tokens, self.start(text), is_masked)
        loss, self.measured["visual_accuracy"] = self._guessed(logits, codes[is_masked])
        return {"masked_nats": loss}

    def _learn_captions(self, codes: Tensor, text: TextInput, draws: Draws) -> Losses:
        is_masked = self._mask(draws.text, draws, side=1) & ~draws.is_empty[:, None]
        tokens = text.tokens.masked_fill(is_masked, self.text_mask)
        logits = self.caption_logits(tokens, self.start_caption(codes), is_masked)
        loss, self.measured["caption_accuracy"] = self._guessed(logits, text.tokens[is_masked])
        return {"caption_nats": loss}

    def _learn_both(self, codes: Tensor, text: TextInput, draws: Draws) -> Losses:
        is_hidden = self._mask(draws.codes, draws, side=0)
        is_unsaid = self._mask(draws.text, draws, side=1) & ~draws.is_empty[:, None]
        image = self.image.embed(codes.masked_fill(is_hidden, self.mask))
        words = self.text.embed(text.tokens.masked_fill(is_unsaid, self.text_mask))
        listening = (self.to_image, self.to_text)
        image, words = converse((self.image, self.text), (image, words), listening)
        code_loss, _ = self._guessed(self.image.predict(image, is_hidden), codes[is_hidden])
        text_loss, _ = self._guessed(self.text.predict(words, is_unsaid), text.tokens[is_unsaid])
        return {"joint_nats": code_loss + text_loss}

    def _learn_one_step(self, codes: Tensor, text: TextInput, draws: Draws) -> Losses:
        everywhere = torch.ones_like(codes, dtype=torch.bool)
        states = self._read(text)
        found = self.latent.read(self.image.embed(codes), turns=self.image.turns)
        latent = found.draw(normal(draws.latent))
        surprise = self.latent.expectation.surprise(latent, states[-1], text.is_real)
        distance = (surprise - found.entropy()).mean()
        state = State(sides(self.to_image, states, text.is_real), self.latent(latent))
        logits = self.logits(codes.masked_fill(everywhere, self.mask), state, everywhere)
        loss, self.measured["one_step_accuracy"] = self._guessed(logits, codes.flatten())
        return {"one_step_nats": loss, "latent_nats": distance / self.length}

    def _mask(self, keys: Tensor, draws: Draws, *, side: int) -> Tensor:
        ratio = mask_ratio(draws.ratio[:, side], self.mask_schedule)
        ratio = ratio.masked_fill(draws.whole[:, side] < self.whole[side], 1.0)
        return lowest(keys, mask_counts(ratio, keys.shape[1]))

    def _guessed(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return guessed(logits, targets, smoothing=self.label_smoothing if self.training else 0.0)

    def _rows(self, batch: int) -> dict[str, slice]:
        """Cut a batch in training; in evaluation, every task that has a share has all rows."""
        active = {name: share for name, share in self.shares.items() if share > 0}
        if not self.training:
            return dict.fromkeys(active, slice(None))
        if batch < len(active):
            raise ValueError(
                f"prior.train.batch_size: must be at least {len(active)} a process, one example "
                f"for each thing that cftn2 learns, got {batch}; raise it in params.yaml"
            )
        rows, start, total = {}, 0, 0.0
        for place, (name, share) in enumerate(active.items(), start=1):
            total += share
            end = round(total * batch)
            end = min(max(end, start + 1), batch - len(active) + place)  # none goes without
            rows[name], start = slice(start, end), end
        return rows


def _check(*, width: int, heads: int, positions: str, text: TextShape) -> None:
    if text.length == 0:
        raise ValueError(
            "text.encoder: cftn2 reads and writes captions, got none; choose another encoder, "
            "such as wordpiece, or another prior.arch"
        )
    if width % heads or (positions == "rope" and width // heads % 4):
        raise ValueError(
            "prior.cftn2.heads: must divide width into heads of a multiple of 4, "
            f"got heads={heads}, width={width}; change one of them in params.yaml"
        )


def build(config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape) -> CFTN2:
    """Build the prior that a config describes.

    Raises:
        ValueError: If there are no captions, or the heads do not fit the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return CFTN2(grid=grid, codebook_size=codebook_size, text=text, **settings)
