"""The contract of a tokenizer: pictures to a grid of codes and back.

A tokenizer module exports `Config` (a `Section`) and
`build(config, *, image_size, channels, quantizer) -> Tokenizer`. If its network comes from
elsewhere, the tokenizer tells of it in `adopted` (JSON values), and the module also exports
`restore(config, *, adopted, image_size, channels)`, which builds it again without that source.
"""

from typing import Protocol

from torch import Tensor


class Tokenizer(Protocol):
    """A trainable module between pictures in -1..1 and codes in raster order."""

    rows: int
    columns: int
    num_codes: int

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return named scalar losses of `batch["images"]`, (B, C, H, W) float in -1..1."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (B, N) int64, of (B, C, H, W) float images in -1..1."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images, (B, C, H, W) float, of (B, N) int64 codes."""
        ...

    def codebook(self) -> Tensor:
        """Return the vectors that codes stand for, (K, V) float32."""
        ...
