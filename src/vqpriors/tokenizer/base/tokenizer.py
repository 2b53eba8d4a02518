"""Contract of tokenizers: maps between pictures and grids of codes.

To add a tokenizer, add one module or folder to `vqpriors.tokenizer` and its params as the section
`tokenizer.<module>` of params.yaml. The module exports:

    Config: a `Section` with the keys of that section. It has a field `phases: dict[str, Phase]`,
        the phases of training; if it is empty, the tokenizer is not trained.
    build(config, *, image_size, channels, quantizer) -> Tokenizer: an `nn.Module`, for square
        pictures of `image_size` pixels. A tokenizer with its own codebook ignores `quantizer`.

If `build` fetches a pretrained network, the tokenizer also has an attribute `adopted`, JSON values
which are saved with it, and the module exports:

    restore(config, *, adopted, image_size, channels) -> Tokenizer: builds the same network without
        fetching it; the saved weights are loaded afterwards.

A tokenizer may define `begin_phase(**options)`, which is called with the `options` of each phase.
If a phase has the option `sharpen`, `add_discriminator(width=...)` is called before training; the
weights of its submodule `discriminator` are not in model.safetensors. Training keeps the last
weights of a phase if `keeps_last` is true, otherwise the best, and freezes the submodules `idle`.
"""

from typing import Protocol

from torch import Tensor


class Tokenizer(Protocol):
    """A trainable module that maps pictures in -1..1 to codes in raster order and back."""

    rows: int
    """Rows of the code grid."""
    columns: int
    """Columns of the code grid."""
    num_codes: int
    """Codebook size K, at most 65536."""

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return scalar losses by name for `batch["images"]`, (B, C, H, W) float in -1..1."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (B, N) int64, of (B, C, H, W) float images in -1..1."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images, (B, C, H, W) float in -1..1, of (B, N) int64 codes."""
        ...

    def codebook(self) -> Tensor:
        """Return the codebook, (K, V) float32: the vector of each code."""
        ...
