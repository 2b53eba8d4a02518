"""Limits of a generator's call, and an example prompt; no imports, so that `--help` is fast."""

EXAMPLE_PROMPT = "a small red seven on a white background"
MAX_PROMPT_LENGTH = 2000  # characters
MAX_PICTURES = 1024  # drawn in a call
MAX_STEPS = 1024  # decoding steps
MAX_PIXELS = 2**24  # of a given picture
