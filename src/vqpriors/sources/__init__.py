"""Sources of pictures, each a kind; the `download` stage alone uses them."""
