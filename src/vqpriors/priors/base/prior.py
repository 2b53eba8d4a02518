"""The contract of a prior: a distribution over the codes of a picture, given its caption.

A prior module exports `Config` (a `Section` with `phases`) and
`build(config, *, grid, codebook_size, text) -> Prior`. A prior does not sample: it has a primitive,
`step` or `logits`, and samplers own the loop. So sampling options change without training again.
"""

from typing import Any, Protocol

from torch import Tensor

from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.cells import Cells

Batch = dict[str, Tensor]


class Prior(Protocol):
    """A distribution over the codes of a picture, given its caption.

    Attributes:
        primitive: "stepwise" for a `StepwisePrior`, "masked" for a `MaskedPrior`.
        is_captioner: Whether the prior is also a `Captioner`.
        length: Number of codes N.
        is_exact: Whether `nats` is the exact negative log-likelihood; otherwise it estimates an
            upper bound.
        num_draws: Uniform draws per example that `losses` takes.
    """

    primitive: str
    is_captioner: bool
    length: int
    is_exact: bool
    num_draws: int

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar losses of a batch.

        Other quantities to log, such as accuracies, may be stored in the attribute `measured`:
        scalars by name, without gradients. If some of either are means over a number of targets
        that varies, `num_targets(batch)` returns that number by name, see `vqpriors.training.loop`.

        Args:
            batch: "codes", (B, N) int64; "draws", (B, num_draws) float, uniform in 0..1, all the
                randomness apart from dropout; the captions, see `text_of`; "text_is_empty",
                (B,) bool, True where a caption is empty or was dropped; "place" and "batch_size",
                (B,) int64, see `TokenExamples.batch`: the examples may be a part of a batch. All
                are on the prior's device but those of `vqpriors.training.examples.ON_CPU`, which
                may be on the CPU.
        """
        ...

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Return each picture's negative log-likelihood, or an estimate of an upper bound on it.

        Args:
            codes: (B, N) int64.
            text: The captions.
            noise: Draws for the estimate, unused if `is_exact`; (B, 1 + N) float, uniform in 0..1.

        Returns:
            (B,) float32, nats.
        """
        ...

    def fill(self, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
        """Replace masked codes by the likeliest ones.

        A cheap preview of a prior during training; samplers give better pictures.

        Args:
            codes: (B, N) int64.
            mask: Cells to predict, the same in every picture; (N,) bool.
            text: The captions.

        Returns:
            (B, N) int64, equal to `codes` where not masked.
        """
        ...


class StepwisePrior(Prior, Protocol):
    """An autoregressive prior over codes in raster order.

    Attributes:
        begin: The start token, which comes before the first code.
    """

    begin: int

    def start(self, text: TextInput) -> Any:
        """Encode the captions, once, and return the state before the first step."""
        ...

    def step(self, token: Tensor, state: Any) -> Tensor:
        """Return the logits of the next code, (B, K) float, and update the state in place.

        Args:
            token: The token before, (B,) int64.
            state: From `start`.
        """
        ...


class MaskedPrior(Prior, Protocol):
    """A masked-token prior: it predicts any codes from any others, all at once.

    Attributes:
        mask_token: The token that stands for a masked code.
        grid: Rows and columns of codes.
        latent_width: Width of the latent that `start` may take; 0 for none.
    """

    mask_token: int
    grid: tuple[int, int]
    latent_width: int

    def start(self, text: TextInput, latent: Tensor | None = None) -> Any:
        """Encode the captions, once, and return the state that all decoding steps share.

        Args:
            text: The captions. With a latent, there may be several times B, as for guidance: the
                first B determine the latents, which are repeated for the others.
            latent: Noise for a one-step decode, which makes the codes of a picture agree with one
                another; (B, latent_width) float, standard normal. None for several steps.
        """
        ...

    def logits(self, tokens: Tensor, state: Any, cells: Cells) -> Tensor:
        """Return the logits of some cells.

        Args:
            tokens: Codes, and `mask_token` where they are unknown; (B, N) int64.
            state: From `start`.
            cells: M cells to predict.

        Returns:
            (M, K) float.
        """
        ...


class Captioner(Protocol):
    """A prior that also predicts captions from pictures, as tokens of its text encoder.

    Attributes:
        text_length: Number of tokens L of a caption, padding included.
        text_mask_token: The token that stands for a masked one.
    """

    text_length: int
    text_mask_token: int

    def set_codebook(self, codebook: Tensor) -> None:
        """Store the tokenizer's codebook, (K, V) float, before training; saved with the weights.

        Codes of similar patches then have similar features from the first step of training.
        """
        ...

    def start_caption(self, codes: Tensor) -> Any:
        """Encode the pictures, (B, N) int64, once, and return the state of all decoding steps."""
        ...

    def caption_logits(self, tokens: Tensor, state: Any, cells: Cells) -> Tensor:
        """Return the logits of some caption tokens, (M, V) float; see `MaskedPrior.logits`."""
        ...


def text_of(batch: Batch) -> TextInput:
    """Return the captions of a batch."""
    return TextInput(batch["text_tokens"], batch["text_mask"], batch.get("text_features"))
