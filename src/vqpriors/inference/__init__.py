"""The generator: trained parts that draw, redraw and caption pictures."""
