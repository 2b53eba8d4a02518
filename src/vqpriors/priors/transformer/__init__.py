"""GPT over the grid of codes in raster order; the caption comes in by cross-attention."""

from vqpriors.priors.transformer.model import Config, build

__all__ = ["Config", "build"]
