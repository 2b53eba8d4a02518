"""Pretrained tokenizers and models from the Hub or a local folder, without running their code."""

import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqpriors.publish.hub_errors import naming_param

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


class Pretrained:
    """The folder of a pretrained model, fetched from the Hub if `location` is not a folder.

    Args:
        location: A local folder or a Hub id.
        revision: Commit, tag or branch on the Hub.
        files: Patterns of the files to fetch.
        param: Dotted path of the section with `location`, for errors.

    Raises:
        ValueError: If there is no such folder, and the Hub can't be reached or has no such model.
    """

    def __init__(self, location: str, revision: str, *, files: Collection[str], param: str):
        self.location, self.param = location, param
        self.folder = Path(location).expanduser()
        if not self.folder.is_dir():
            self.folder = _fetch(location, revision, files=files, param=param)

    def location_error(self, problem: str, fix: str) -> ValueError:
        """Return an error that names the params key `location`, a problem and its fix."""
        return ValueError(f"{self.param}.location: {self.location!r} {problem}; {fix}")

    def has(self, *names: str) -> bool:
        """Return whether the folder has all the given files."""
        return all((self.folder / name).is_file() for name in names)

    def check_type(self, *types: str) -> None:
        """Check the model type in config.json; a folder without that file is accepted.

        Raises:
            ValueError: If the file can't be read, or its type is none of the given ones.
        """
        if not self.has("config.json"):
            return
        try:
            found = json.loads((self.folder / "config.json").read_text()).get("model_type")
        except (ValueError, AttributeError):
            raise self.location_error(
                "has a config.json that can't be read", "fetch it again"
            ) from None
        if found not in types:
            expected = " or ".join(types)
            raise self.location_error(
                f"is a model of type {found!r}", f"choose one of type {expected}"
            )

    def read(self, model_class: Any, **options: Any) -> Any:
        """Load a tokenizer or model from disk, without network access.

        Args:
            model_class: Its class in `transformers`.
            options: Keyword arguments of the class's `from_pretrained`.

        Raises:
            ValueError: If its files are damaged or of another class.
        """
        try:
            with quiet():
                return model_class.from_pretrained(self.folder, local_files_only=True, **options)
        except Exception as error:  # damaged files raise many types
            reason = " ".join(str(error).split()) or type(error).__name__
            fix = "check that it is complete and in the Hub's layout"
            raise self.location_error(f"can't be loaded ({reason})", fix) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars of `transformers` and its reports of unused weights."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def _fetch(location: str, revision: str, *, files: Collection[str], param: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    with naming_param(param, location, revision, repo_type="model"):
        found = snapshot_download(location, revision=revision, allow_patterns=list(files))
    return Path(found)
