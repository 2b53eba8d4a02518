"""GPT over the codes in raster order, with cross-attention to the caption."""

from vqpriors.priors.transformer.model import Config, build

__all__ = ["Config", "build"]
