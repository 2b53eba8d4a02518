"""The contract of a prior: a distribution over the codes of a picture, given its caption.

A prior module exports `Config` (a `Section` with `phases`) and
`build(config, *, grid, codebook_size, text) -> Prior`. A prior does not sample: it offers a
primitive, and samplers own the loop, so that a change of temperature retrains nothing.
"""

from typing import Any, Protocol

from torch import Tensor

from vqpriors.data.text_inputs import TextInput

Batch = dict[str, Tensor]


class Prior(Protocol):
    """A distribution over the codes of a picture, given its caption.

    Attributes:
        primitive: What it offers to samplers: "stepwise" or "masked".
        is_captioner: Whether it also writes captions; then it is a `Captioner`, too.
        length: Number of tokens N.
        is_exact: Whether `nats` is the negative log-likelihood; else it estimates a bound on it.
        num_draws: Uniform draws an example that `losses` takes.
    """

    primitive: str
    is_captioner: bool
    length: int
    is_exact: bool
    num_draws: int

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar losses of a batch.

        What else is worth a curve, such as an accuracy, may stand in the attribute `measured`
        afterwards: scalars by name, without gradients.

        Args:
            batch: "codes", (B, N) int64; "draws", (B, num_draws) float, uniform in 0..1, all the
                randomness besides dropout; the captions, see `text_of`; and "text_is_empty",
                (B,) bool, whether a caption was dropped or there was none.
        """
        ...

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Return each picture's negative log-likelihood, or an estimate of a bound on it.

        Args:
            codes: (B, N) int64.
            text: The captions.
            noise: What an estimate draws, if it is one; (B, 1 + N) float, uniform in 0..1.

        Returns:
            (B,) float32, nats.
        """
        ...

    def fill(self, codes: Tensor, is_hidden: Tensor, text: TextInput) -> Tensor:
        """Return codes, (B, N) int64, whose hidden cells, (N,) bool, are the likeliest ones.

        A quick look at what a prior knows, for watching it train; samplers do better.
        """
        ...


class StepwisePrior(Prior, Protocol):
    """A prior that writes one code after the other, in raster order.

    Attributes:
        begin: The token that stands before the first code.
    """

    begin: int

    def start(self, text: TextInput) -> Any:
        """Return the state before the first step; the text side is computed here, once."""
        ...

    def step(self, token: Tensor, state: Any) -> Tensor:
        """Take the token before, (B,) int64, and return the next one's logits, (B, K) float.

        The state is changed in place.
        """
        ...


class MaskedPrior(Prior, Protocol):
    """A prior that guesses any codes from any others, all at once.

    Attributes:
        mask: The token that stands for a code to guess.
        grid: Rows and columns of codes.
        latent_width: Width of the latent that `start` may take; 0 for none.
    """

    mask: int
    grid: tuple[int, int]
    latent_width: int

    def start(self, text: TextInput, latent: Tensor | None = None) -> Any:
        """Return what all passes over a picture share; the text side is computed here, once.

        Args:
            text: The captions.
            latent: What one pass is to agree on where there is no other code to agree with;
                (B, latent_width) float, standard normal. Captions may be several times as many, as
                for guidance: then each latent is its picture's with the first B of them, and the
                same with the others. None for none.
        """
        ...

    def logits(self, tokens: Tensor, state: Any, is_wanted: Tensor) -> Tensor:
        """Return the logits of some cells.

        Args:
            tokens: Codes, and `mask` where they are unknown; (B, N) int64.
            state: What `start` returned.
            is_wanted: Cells to guess, (B, N) bool.

        Returns:
            (M, K) float, in the order of `tokens[is_wanted]`.
        """
        ...


class Captioner(Protocol):
    """A prior that also writes captions for pictures, in the tokens that it reads.

    Attributes:
        text_length: Number of tokens L of a caption, padding included.
        text_mask: The token that stands for one to guess.
    """

    text_length: int
    text_mask: int

    def set_codebook(self, codebook: Tensor) -> None:
        """Store the tokenizer's codebook, (K, V) float, before training; saved with the weights.

        So codes that stand for similar patches have similar embeddings from the first step on.
        """
        ...

    def start_caption(self, codes: Tensor) -> Any:
        """Return what all passes share; the picture, (B, N) int64, is looked at here, once."""
        ...

    def caption_logits(self, tokens: Tensor, state: Any, is_wanted: Tensor) -> Tensor:
        """Return the logits of some tokens of a caption, (M, V) float; as `MaskedPrior.logits`."""
        ...


def text_of(batch: Batch) -> TextInput:
    """Return the captions of a batch."""
    return TextInput(batch["text_tokens"], batch["text_is_real"], batch.get("text_features"))
