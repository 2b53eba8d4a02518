"""The layout of a saved generator: the folders of its parts and the files beside them."""

PARTS = ("tokenizer", "text", "prior")
CARD, SETTINGS = "README.md", "settings.json"
BESIDE = ("params.yaml", "dvc.lock", "metrics/evaluate/metrics.json")  # a checkout's data folder
