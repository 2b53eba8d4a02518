"""Stacked LSTM over the grid of codes in raster order, with a view of the row above."""

from vqpriors.priors.lstm.model import Config, build

__all__ = ["Config", "build"]
