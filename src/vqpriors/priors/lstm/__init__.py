"""Stacked LSTM over the codes in raster order, with inputs from the row above."""

from vqpriors.priors.lstm.model import Config, build

__all__ = ["Config", "build"]
