"""Networks of other packages as priors over the codes of a run, conditioned on its captions.

GPT-2 of transformers reads the caption's tokens before the codes, and its `generate` draws them.
aMUSEd of diffusers attends to vectors of the caption's tokens, and its scheduler draws the codes.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.sampling.autoregressive import Config as StepwiseConfig

NUM_MICRO, MICRO_WIDTH = 5, 32  # micro-conditions of aMUSEd: sizes and scores; here all are 0


class Peer(Protocol):
    """A network of another package, trained on codes and captions.

    Attributes:
        name: The network and its package.
        package: The package.
        is_exact: Whether `nats` is the likelihood and not a bound.
    """

    name: str
    package: str
    is_exact: bool

    def loss(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the training loss, nats per code; () float.

        Args:
            codes: (B, N) int64.
            text: Captions, or empty ones for guidance.
        """
        ...

    def sample(self, text: TextInput, empty: TextInput, *, guidance: float) -> Tensor:
        """Draw the codes of a picture for each caption, (B, N) int64, with torch's random numbers.

        Args:
            text: Captions.
            empty: Empty captions.
            guidance: Guidance scale on the logits; 1 for none.
        """
        ...


class GPT2(nn.Module):
    """GPT-2 over a caption's tokens, a start token and the codes; only codes are predicted."""

    name, package, is_exact = "GPT2LMHeadModel", "transformers", True

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        codebook_size: int,
        text: TextShape,
        width: int,
        depth: int,
        heads: int,
        settings: StepwiseConfig,
    ):
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        self.length, self.num_codes, self.settings = grid[0] * grid[1], codebook_size, settings
        self.num_words, self.begin = text.vocabulary, codebook_size + text.vocabulary
        untied: dict[str, Any] = {"attn_implementation": "sdpa", "tie_word_embeddings": False}
        config = GPT2Config(
            vocab_size=self.begin + 1,
            n_positions=text.length + 1 + self.length,
            n_embd=width,
            n_layer=depth,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=self.begin,
            eos_token_id=None,
            **untied,
        )
        self.net: Any = GPT2LMHeadModel(config)

    def loss(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the mean negative log-likelihood of a code."""
        return self._nats(codes, text).mean()

    @torch.inference_mode()
    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Return the negative log-likelihood of each picture, (B,) float; `noise` is not used."""
        return self._nats(codes, text).sum(1)

    @torch.inference_mode()
    def sample(self, text: TextInput, empty: TextInput, *, guidance: float) -> Tensor:
        """Draw with `generate`, in the run's temperature, top-k and top-p."""
        prompt, words = self._prompt(text), range(self.num_codes, self.begin + 1)
        guided: dict[str, Any] = {}
        if guidance != 1:
            guided = {"guidance_scale": guidance, "negative_prompt_ids": self._prompt(empty)}
        tokens = self.net.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            temperature=self.settings.temperature,
            top_k=self.settings.top_k,
            top_p=self.settings.top_p,
            min_new_tokens=self.length,
            max_new_tokens=self.length,
            suppress_tokens=list(words),
            pad_token_id=self.begin,
            **guided,
        )
        return tokens[:, prompt.shape[1] :]

    def _nats(self, codes: Tensor, text: TextInput) -> Tensor:
        prompt = self._prompt(text)
        tokens = torch.cat([prompt, codes[:, :-1]], dim=1)
        logits = self.net(tokens).logits[:, prompt.shape[1] - 1 :, : self.num_codes].float()
        return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none")

    def _prompt(self, text: TextInput) -> Tensor:
        """Return the caption's tokens and the start token, (B, L + 1) int64."""
        begin = torch.full_like(text.tokens[:, :1], self.begin)
        return torch.cat([text.tokens + self.num_codes, begin], dim=1)


class Amused(nn.Module):
    """aMUSEd's network with its masked loss, its scheduler, and trained vectors of captions."""

    name, package, is_exact = "UVit2DModel (aMUSEd)", "diffusers", False

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        codebook_size: int,
        text: TextShape,
        width: int,
        depth: int,
        heads: int,
        steps: int,
    ):
        super().__init__()
        from diffusers.models.unets.uvit_2d import UVit2DModel

        self.grid, self.mask, self.steps = grid, codebook_size, steps
        self.words = nn.Embedding(text.vocabulary, width)
        nn.init.normal_(self.words.weight, std=0.02)
        self.net: Any = UVit2DModel(
            hidden_size=width,
            cond_embed_dim=width,
            micro_cond_encode_dim=MICRO_WIDTH,
            micro_cond_embed_dim=NUM_MICRO * MICRO_WIDTH,
            encoder_hidden_size=width,
            vocab_size=codebook_size + 1,
            codebook_size=codebook_size,
            in_channels=width,
            block_out_channels=width,
            block_num_heads=heads,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=width * 11 // 4,
            sample_size=grid[0],
        )

    def loss(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the cross-entropy of masked codes; the share of masks follows a cosine."""
        ratio = (torch.rand(len(codes), 1) * torch.pi / 2).cos()
        mask = torch.rand(codes.shape) < ratio
        mask[:, 0] |= ~mask.any(1)
        logits = self._logits(codes.masked_fill(mask, self.mask), text)
        return F.cross_entropy(logits.float(), self._square(codes.masked_fill(~mask, -100)))

    @torch.inference_mode()
    def sample(self, text: TextInput, empty: TextInput, *, guidance: float) -> Tensor:
        """Draw with aMUSEd's scheduler and its defaults, in the run's number of steps."""
        from diffusers.schedulers.scheduling_amused import AmusedScheduler

        scheduler: Any = AmusedScheduler(mask_token_id=self.mask)
        scheduler.set_timesteps(self.steps)
        codes = torch.full((len(text.tokens), self.grid[0] * self.grid[1]), self.mask)
        for timestep in scheduler.timesteps:
            logits = self._logits(codes, text)
            if guidance != 1:
                unconditional = self._logits(codes, empty)
                logits = unconditional + guidance * (logits - unconditional)
            codes = scheduler.step(logits, timestep, self._square(codes)).prev_sample.flatten(1)
        return codes

    def _logits(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return (B, K, rows, columns) float."""
        vectors = self.words(text.tokens)
        weights = text.text_mask[..., None].to(vectors.dtype)
        pooled = (vectors * weights).sum(1) / weights.sum(1)
        micro = torch.zeros(len(codes), NUM_MICRO)
        return self.net(self._square(codes), vectors, pooled, micro)

    def _square(self, codes: Tensor) -> Tensor:
        return codes.view(-1, *self.grid)
