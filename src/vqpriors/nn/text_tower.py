"""The caption encoder of a prior: maps tokens or features to vectors of the prior's width."""

from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.blocks import Block
from vqpriors.nn.linear import Linear
from vqpriors.nn.norm import RMSNorm


class TextTower(nn.Module):
    """Bidirectional transformer over the tokens of a caption."""

    def __init__(self, *, shape: TextShape, width: int, depth: int, heads: int, dropout: float):
        super().__init__()
        has_features = shape.feature_width > 0
        self.project = Linear(shape.feature_width, width) if has_features else None
        self.embedding = None if has_features else nn.Embedding(shape.vocabulary, width)
        self.positions = nn.Embedding(shape.length, width)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, has_text=False) for _ in range(depth)
        )
        self.norm = RMSNorm(width)

    def forward(self, text: TextInput) -> Tensor:
        """Encode B captions of L tokens as vectors, (B, L, width)."""
        if self.embedding is not None:
            x = self.embedding(text.tokens)
        else:
            assert self.project is not None
            assert text.features is not None
            x = self.project(text.features)
        x = (x + self.positions.weight[: x.shape[1]]).to(working_dtype(x))
        for block in self.blocks:
            x = block(x, is_causal=False, padding_mask=text.text_mask)
        return self.norm(x)
