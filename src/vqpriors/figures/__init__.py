"""Figures: sheets of pictures, text as images, animations."""
