"""The layout of a saved generator: the folders of its parts and the files beside them."""

PARTS = ("tokenizer", "text", "prior")
CARD, SETTINGS = "README.md", "settings.json"
CHECKOUT_FILES = ("params.yaml", "dvc.lock", "metrics/evaluate/metrics.json")  # beside data/
