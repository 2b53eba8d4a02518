"""Figures: sheets of pictures, text drawn as images, and animations."""
