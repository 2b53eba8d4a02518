"""Networks of other packages as priors over the codes of a run, conditioned on its captions.

GPT-2 of transformers and a decoder of x-transformers read the caption's tokens before the codes,
and their `generate` draws them. aMUSEd of diffusers attends to vectors of the caption's tokens, and
its scheduler draws the codes.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks import NUM_MICRO, gpt2, uvit, x_transformer
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.sampling.autoregressive import Config as StepwiseConfig

RES_BLOCKS = 3  # as in aMUSEd


class Peer(nn.Module, ABC):
    """A network of another package, trained on codes and captions.

    Attributes:
        name: The name of the network.
        package: The package.
    """

    name: str
    package: str

    @abstractmethod
    def loss(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the training loss, nats per code; () float.

        Args:
            codes: (B, N) int64.
            text: Captions, or empty ones for guidance.
        """

    @abstractmethod
    def sample(self, text: TextInput, empty: TextInput, *, guidance: float) -> Tensor:
        """Draw the codes of a picture for each caption, (B, N) int64, with torch's random numbers.

        Args:
            text: Captions.
            empty: Empty captions.
            guidance: Guidance scale on the logits; 1 for none.
        """


class Stepwise(Peer):
    """A decoder over a caption's tokens, a start token and the codes; only codes are predicted.

    Attributes:
        num_tokens: Tokens in all: codes, then words, then the start token.
        max_length: Tokens of a caption, the start token and the codes of a picture.
        is_exact: True, since `nats` is the likelihood and not a bound.
    """

    is_exact = True

    def __init__(self, *, grid: tuple[int, int], codebook_size: int, text: TextShape):
        super().__init__()
        self.length, self.num_codes = grid[0] * grid[1], codebook_size
        self.begin = codebook_size + text.vocabulary
        self.num_tokens = self.begin + 1
        self.max_length = text.length + 1 + self.length

    @abstractmethod
    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each, (B, T, num_tokens) float."""

    def loss(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the mean negative log-likelihood of a code."""
        return self._nats(codes, text).mean()

    @torch.inference_mode()
    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Return the negative log-likelihood of each picture, (B,) float; `noise` is not used."""
        return self._nats(codes, text).sum(1)

    def prompt(self, text: TextInput) -> Tensor:
        """Return the caption's tokens and the start token, (B, L + 1) int64."""
        begin = torch.full_like(text.tokens[:, :1], self.begin)
        return torch.cat([text.tokens + self.num_codes, begin], dim=1)

    def _nats(self, codes: Tensor, text: TextInput) -> Tensor:
        prompt = self.prompt(text)
        tokens = torch.cat([prompt, codes[:, :-1]], dim=1)
        logits = self.logits(tokens)[:, prompt.shape[1] - 1 :, : self.num_codes].float()
        return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none")


class GPT2(Stepwise):
    """GPT-2 of transformers."""

    name, package = "GPT2LMHeadModel", "transformers"

    def __init__(
        self, *, width: int, depth: int, heads: int, settings: StepwiseConfig, **shapes: Any
    ):
        super().__init__(**shapes)
        self.settings = settings
        sizes = {"width": width, "depth": depth, "heads": heads}
        self.net = gpt2(num_tokens=self.num_tokens, max_length=self.max_length, **sizes)

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each, (B, T, num_tokens) float."""
        return self.net(tokens).logits

    @torch.inference_mode()
    def sample(self, text: TextInput, empty: TextInput, *, guidance: float) -> Tensor:
        """Draw with `generate`, in the run's temperature, top-k and top-p."""
        prompt = self.prompt(text)
        guided: dict[str, Any] = {}
        if guidance != 1:
            guided = {"guidance_scale": guidance, "negative_prompt_ids": self.prompt(empty)}
        tokens = self.net.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            temperature=self.settings.temperature,
            top_k=self.settings.top_k,
            top_p=self.settings.top_p,
            min_new_tokens=self.length,
            max_new_tokens=self.length,
            suppress_tokens=list(range(self.num_codes, self.num_tokens)),
            pad_token_id=self.begin,
            **guided,
        )
        return tokens[:, prompt.shape[1] :]


class XTransformer(Stepwise):
    """A decoder of x-transformers with rotary positions; its sampler has no guidance."""

    name, package = "AutoregressiveWrapper", "x-transformers"

    def __init__(
        self, *, width: int, depth: int, heads: int, settings: StepwiseConfig, **shapes: Any
    ):
        super().__init__(**shapes)
        self.settings = settings
        sizes = {"width": width, "depth": depth, "heads": heads}
        self.wrapper = x_transformer(
            num_tokens=self.num_tokens, max_length=self.max_length, **sizes
        )

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each, (B, T, num_tokens) float."""
        return self.wrapper.net(tokens)

    @torch.inference_mode()
    def sample(self, text: TextInput, empty: TextInput, *, guidance: float) -> Tensor:
        """Draw with `generate`, in the run's temperature and top-p."""
        from x_transformers.autoregressive_wrapper import top_p

        def likely_codes(logits: Tensor) -> Tensor:
            logits[:, self.num_codes :] = -torch.inf
            return top_p(logits, thres=self.settings.top_p)

        settings = {"temperature": self.settings.temperature, "filter_logits_fn": likely_codes}
        return self.wrapper.generate(self.prompt(text), self.length, **settings)


class Amused(Peer):
    """aMUSEd's network with its masked loss, its scheduler, and trained vectors of captions."""

    name, package = "UVit2DModel (aMUSEd)", "diffusers"

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
        self.grid, self.mask, self.steps = grid, codebook_size, steps
        self.words = nn.Embedding(text.vocabulary, width)
        nn.init.normal_(self.words.weight, std=0.02)
        sizes = {"width": width, "depth": depth, "heads": heads, "res_blocks": RES_BLOCKS}
        self.net = uvit(num_codes=codebook_size, edge=grid[0], **sizes)

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
        micro = torch.zeros(len(codes), NUM_MICRO)  # all pictures are alike in size and score
        return self.net(self._square(codes), vectors, pooled, micro)

    def _square(self, codes: Tensor) -> Tensor:
        return codes.view(-1, *self.grid)
