"""Networks of other packages as priors over the codes of a run, conditioned on its captions.

GPT-2 of transformers and a decoder of x-transformers read the caption's tokens before the codes,
and their `generate` draws them.
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


class Stepwise(nn.Module):
    """A decoder over a caption's tokens, a start token and the codes; only codes are predicted.

    Attributes:
        num_tokens: Tokens in all: codes, then words, then the start token.
        max_length: Tokens of a caption, the start token and the codes of a picture.
    """

    is_exact = True

    def __init__(self, *, grid: tuple[int, int], codebook_size: int, text: TextShape):
        super().__init__()
        self.length, self.num_codes = grid[0] * grid[1], codebook_size
        self.begin = codebook_size + text.vocabulary
        self.num_tokens = self.begin + 1
        self.max_length = text.length + 1 + self.length

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each, (B, T, num_tokens) float."""
        raise NotImplementedError

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
        from transformers import GPT2Config, GPT2LMHeadModel

        self.settings = settings
        untied: dict[str, Any] = {"attn_implementation": "sdpa", "tie_word_embeddings": False}
        config = GPT2Config(
            vocab_size=self.num_tokens,
            n_positions=self.max_length,
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
        from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

        self.settings = settings
        decoder = Decoder(
            dim=width,
            depth=depth,
            heads=heads,
            attn_dim_head=width // heads,
            attn_flash=True,
            rotary_pos_emb=True,
            rotary_emb_dim=width // heads,
        )
        net = TransformerWrapper(
            num_tokens=self.num_tokens,
            max_seq_len=self.max_length,
            use_abs_pos_emb=False,
            attn_layers=decoder,
        )
        self.wrapper: Any = AutoregressiveWrapper(net)

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
