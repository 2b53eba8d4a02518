"""The layout of a saved generator, and the one that comes with the package."""

from pathlib import Path

PARTS = ("tokenizer", "text", "prior")
CARD, SETTINGS = "README.md", "settings.json"
CHECKOUT_FILES = ("params.yaml", "dvc.lock", "metrics/evaluate/metrics.json")  # beside data/
DEFAULT, DEFAULT_MODEL = "default", Path(__file__).parents[1] / "default_model"


def local_folder(source: str | Path) -> Path:
    """Return the folder of a source: that of the package's model for "default", else the source."""
    try:
        folder = Path(source).expanduser()
    except RuntimeError:
        raise ValueError(f"{source}: no such user; correct the path") from None
    return DEFAULT_MODEL if source == DEFAULT and not folder.is_dir() else folder
