"""How much work the benchmarks do."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Size:
    """The sizes of all contests; a picture has a code for each 4 x 4 pixels.

    Attributes:
        pixels: Edge of a picture.
        pictures: Of a tokenizer's step; it encodes four times as many.
        hidden: Channels of the tokenizer's hidden layers.
        residual_width: Channels inside its residual blocks, of which there are two.
        code_width: Width of a code.
        num_codes: Codebook size.
        vectors: To look up.
        width: Of priors.
        depth: Layers of priors.
        heads: Of priors.
        batch: Pictures of a prior's step.
        stepwise: Pictures that are drawn code by code, of each contest.
        lstm_width: Of the LSTM, which has two layers.
        masked: Pictures that are drawn in passes.
        text_length: Tokens of a caption.
        vocabulary: Token ids of captions.
    """

    pixels: int
    pictures: int
    hidden: int
    residual_width: int
    code_width: int
    num_codes: int
    vectors: int
    width: int
    depth: int
    heads: int
    batch: int
    stepwise: tuple[int, ...]
    lstm_width: int
    masked: int
    text_length: int
    vocabulary: int

    @property
    def edge(self) -> int:
        """Rows and columns of a picture's codes."""
        return self.pixels // 4

    @property
    def length(self) -> int:
        """Codes of a picture."""
        return self.edge**2


FULL = Size(
    pixels=128,
    pictures=16,
    hidden=128,
    residual_width=32,
    code_width=64,
    num_codes=4096,
    vectors=8192,
    width=256,
    depth=12,
    heads=8,
    batch=4,
    stepwise=(1, 8),
    lstm_width=512,
    masked=8,
    text_length=77,
    vocabulary=2048,
)
SMALL = replace(FULL, pixels=64, depth=6, masked=4)
