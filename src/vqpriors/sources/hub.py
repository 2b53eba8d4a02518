"""Data sets of the Hugging Face Hub, or local folders in the Hub's layout.

Pictures are columns of type Image, structs with a field `bytes`, plain binary, or base64 text, as
in JSON and CSV. A folder of `Dataset.save_to_disk` is read as well. Paths and addresses are never
opened, so picture files beside a table belong to the source imagefolder.
"""

import base64
import binascii
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqpriors.core.params import Section
from vqpriors.publish.hub_errors import explain, is_full_disk, is_of_hub, naming_param
from vqpriors.sources.base.hashing import content_hash
from vqpriors.sources.base.source import Record, with_label
from vqpriors.sources.base.text_values import NotTextError, captions_of

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_TYPE = "data set"
_TIMEOUT = 10  # seconds to wait for the Hub
_ONLY_PATH = "a path without bytes is not opened; for a folder of picture files use data.folder"
_BATCH = 1000  # rows read at a time
_BINARY = ("binary", "large_binary", "binary_view")
_TEXT = ("string", "large_string", "string_view")
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")  # first bytes of PNG, JPEG and WebP


class Config(Section):
    """Location of the data set, and its columns of images, captions, labels and attributes."""

    location: str
    revision: str
    config: str | None
    image_column: str
    caption_column: str | None
    label_column: str | None
    attribute_columns: list[str]


class HubDataset:
    """A loaded data set; pictures stay encoded."""

    notes: Sequence[str] = ()

    def __init__(
        self,
        config: Config,
        splits: "Mapping[str, Dataset]",
        provenance: dict[str, Any],
        *,
        param: str,
    ) -> None:
        self._config, self._param = config, param
        self._splits = splits
        self.provenance = provenance

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows of each split."""
        return {split: len(rows) for split, rows in self._splits.items()}

    def records(self, split: str, rows: Sequence[int]) -> Iterator[Record]:
        """Yield the records at the given rows of a split."""
        chosen = self._splits[split].select(rows)
        features = chosen.features  # once, since every access copies them
        position = 0
        for batch in chosen.iter(batch_size=_BATCH):
            columns: dict[str, list[Any]] = dict(batch)
            for values in zip(*columns.values(), strict=True):
                row = dict(zip(columns, values, strict=True))
                yield self._record(f"{split}-{rows[position]:07d}", row, features)
                position += 1

    def _record(self, row_id: str, row: Mapping[str, Any], features: Mapping[str, Any]) -> Record:
        config = self._config

        def texts(key: str, column: str | None) -> tuple[str, ...]:
            if column is None:
                return ()
            try:
                return _texts(features[column], row[column])
            except NotTextError as error:
                problem = f"row {row_id}, column {column!r}: {error}"
                raise ValueError(f"{self._param}.{key}: {problem}") from None

        def text(key: str, column: str | None) -> str | None:
            return next(iter(texts(key, column)), None)

        captions = texts("caption_column", config.caption_column)
        label = text("label_column", config.label_column)
        attributes = {name: text("attribute_columns", name) for name in config.attribute_columns}
        found = {name: value for name, value in attributes.items() if value is not None}
        image = _image_bytes(row[config.image_column])
        return Record(
            id=row_id,
            image=image,
            caption=captions[0] if captions else None,
            label=label,
            attributes=with_label(found, label) if config.attribute_columns else {},
            other_captions=captions[1:],
            problem=_ONLY_PATH if image is None and _has_path(row[config.image_column]) else None,
        )


def build(config: Config, *, seed: int, param: str) -> HubDataset:
    """Load a data set from the Hub or a folder.

    Args:
        config: Location and columns.
        seed: Unused; nothing here is random.
        param: The config's dotted path, such as "data.mnist.hub", for errors.

    Raises:
        ValueError: If the Hub can't be reached, or the folder, data set, revision, configuration
            or a column does not exist.
    """
    splits, provenance = _load(config, param)
    prepared = {split: _select_columns(data, config, param) for split, data in splits.items()}
    return HubDataset(config, prepared, provenance, param=param)


def _load(config: Config, param: str) -> "tuple[dict[str, Dataset], dict[str, Any]]":
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    folder = Path(config.location).expanduser().resolve()
    location, revision = str(folder), None
    if folder.is_dir() and set("[]*?") & {*location}:
        raise ValueError(
            f"{param}.location: {location!r} has one of [ ] * ?, which `datasets` takes as a "
            "pattern; rename the folder"
        )
    if not folder.is_dir():
        location, revision = config.location, _commit(config, param)
    try:
        if _is_saved(folder):
            loaded = _read_saved(folder)
        else:
            loaded = datasets.load_dataset(location, config.config, revision=revision)
    except Exception as error:
        if is_full_disk(error):
            raise
        raise ValueError(_load_error(error, config, param, is_folder=not revision)) from None
    assert isinstance(loaded, datasets.DatasetDict)
    splits = {str(split): data for split, data in loaded.items()}
    if revision:
        return splits, {"location": config.location, "commit": revision}
    return splits, {"sha256": _hash_folder(folder, config)}


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _read_saved(folder: Path) -> "DatasetDict":
    """Read a folder of `save_to_disk`; a single data set is the split "train"."""
    import datasets

    loaded = datasets.load_from_disk(str(folder))
    if isinstance(loaded, datasets.Dataset):
        return datasets.DatasetDict({str(loaded.split or "train"): loaded})
    return loaded


def _hash_folder(folder: Path, config: Config) -> str:
    import datasets

    if _is_saved(folder):
        return content_hash(folder, [path for path in folder.rglob("*") if path.is_file()])
    builder = datasets.load_dataset_builder(str(folder), config.config)
    files = [Path(path) for paths in (builder.config.data_files or {}).values() for path in paths]
    return content_hash(folder, files)


def _commit(config: Config, param: str) -> str | None:
    """Resolve the revision to a commit, which provenance records and `_load` loads."""
    from huggingface_hub import HfApi

    with naming_param(param, config.location, config.revision, repo_type=_TYPE):
        found = HfApi().dataset_info(config.location, revision=config.revision, timeout=_TIMEOUT)
    return found.sha


def _load_error(error: Exception, config: Config, param: str, *, is_folder: bool) -> str:
    if not is_folder and is_of_hub(error):
        return explain(error, param, config.location, config.revision, repo_type=_TYPE)
    reason = " ".join(str(error.__cause__ or error).split())
    if "BuilderConfig" in reason or "Config name is missing" in reason:
        return f"{param}.config: no configuration {config.config!r} ({reason})"
    problem = f"{param}.location: {config.location!r} can't be loaded ({reason})"
    return f"{problem}; check that it is complete and in the Hub's layout"


def _select_columns(data: "Dataset", config: Config, param: str) -> "Dataset":
    """Select the configured columns, with pictures as encoded bytes."""
    import datasets

    for key, column in _columns(config):
        if column not in data.features:
            known = ", ".join(data.features)
            raise ValueError(f"{param}.{key}: no column {column!r}; choose one of {known}")
        feature = data.features[column]
        is_text = _is_text(feature) or (key == "caption_column" and _is_list_of_text(feature))
        if key == "image_column":
            _check_pictures(data, column, f"{param}.{key}")
        elif not is_text:
            raise ValueError(
                f"{param}.{key}: column {column!r} has type {feature}; choose another column"
            )
    used = data.select_columns(list(dict.fromkeys(column for _, column in _columns(config))))
    if isinstance(data.features[config.image_column], datasets.Image):
        return used.cast_column(config.image_column, datasets.Image(decode=False))
    return used


def _check_pictures(data: "Dataset", column: str, key: str) -> None:
    """Check that a column can hold encoded pictures."""
    import datasets

    feature = data.features[column]
    if isinstance(feature, Mapping):
        feature = feature.get("bytes", feature)
    kind = getattr(feature, "dtype", None)
    if isinstance(feature, datasets.Image) or kind in _BINARY:
        return
    problem = f"column {column!r} has type {data.features[column]}"
    if kind not in _TEXT:
        raise ValueError(f"{key}: {problem}; choose a column with the bytes of pictures")
    texts = data.select_columns([column]).select(range(min(len(data), _BATCH)))[column]
    given = (_content(value) for value in texts)
    sample = next((str(text) for text in given if text), "")
    if not (_from_base64(sample) or b"").startswith(_MAGIC):
        shown = f"{sample[:40]}..." if len(sample) > 40 else sample
        problem = f"{problem}, with text such as {shown!r}, not the bytes of pictures"
        fix = "choose another column, or read files with the source imagefolder (data.folder)"
        raise ValueError(f"{key}: {problem}; {fix}")


def _image_bytes(value: Any) -> bytes | None:
    """Return a picture's encoded bytes from a cell; None if it has none, perhaps only a path."""
    content = _content(value)
    return _from_base64(content) if isinstance(content, str) else content


def _content(value: Any) -> Any:
    return value.get("bytes") if isinstance(value, Mapping) else value


def _has_path(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value.get("path"))


def _from_base64(text: str) -> bytes | None:
    """Decode base64, perhaps after `data:image/png;base64,`; None if it is other text."""
    try:
        return base64.b64decode("".join(text.rpartition(",")[2].split()), validate=True)
    except (binascii.Error, ValueError):  # the latter for characters beyond ASCII
        return None


def _columns(config: Config) -> Iterator[tuple[str, str]]:
    for key in ("image_column", "caption_column", "label_column"):
        if (column := getattr(config, key)) is not None:
            yield key, column
    for column in config.attribute_columns:
        yield "attribute_columns", column


def _is_text(feature: Any) -> bool:
    """Return whether a column has classes, text or numbers, and no booleans, dates or bytes."""
    dtype = str(getattr(feature, "dtype", ""))
    is_value = dtype.endswith("string") or dtype.startswith(("int", "uint", "float"))
    return hasattr(feature, "int2str") or is_value


def _is_list_of_text(feature: Any) -> bool:
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return str(getattr(inner, "dtype", "")).endswith("string")


def _texts(feature: Any, value: Any) -> tuple[str, ...]:
    """Return a class as its name and other values as text; class -1 means no label."""
    if hasattr(feature, "int2str"):
        return () if value is None or value < 0 else (feature.int2str(value),)
    return captions_of(value)
