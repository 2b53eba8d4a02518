"""The grid and the codebook of codes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenSpec:
    """Grid and codebook of codes.

    Attributes:
        rows: Rows of the code grid.
        columns: Columns of the code grid.
        codebook_size: Number of codes K; codes are 0 to K - 1.
        fingerprint: Fingerprint of the tokenizer that encoded them; 64 hex digits.
    """

    rows: int
    columns: int
    codebook_size: int
    fingerprint: str

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the code grid."""
        return self.rows, self.columns

    @property
    def length(self) -> int:
        """Number of tokens N of a picture, in raster order."""
        return self.rows * self.columns
