"""Count of the files that are on disk but not used."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from vqpriors.data.decoding import endings
from vqpriors.sources.imagefolder.files import METADATA, Files
from vqpriors.sources.imagefolder.pictures import CAPTION_ENDINGS

_TABLES = (".csv", ".jsonl", ".tsv", ".parquet", ".xlsx")
_NUM_NAMED = 5  # endings or folders that are named; the others are counted


def count_unused(
    files: Files, pictures: Collection[Path], described_by: Sequence[Path]
) -> list[str]:
    """Say how many files are not used, and why.

    Args:
        files: All files.
        pictures: The pictures that are used.
        described_by: Metadata or caption files that are used.

    Returns:
        One line such as "used 4 of 6 files: 2 .tga of no supported ending"; none if all are used.
    """
    used = {*pictures, *described_by}
    unused = [path for path in files.paths if path not in used]
    if not unused:
        return []
    metadata = {path.name for path in described_by} & {*METADATA}
    stems = {path.with_suffix("") for path in files.pictures()}
    num_used = sum(path.is_file() for path in pictures)
    parts, beside, by_ending, others = [], Counter[str](), Counter[str](), Counter[str]()
    for path in unused:
        if files.split(path) is None:
            name = path.relative_to(files.folder).parts[0]
            beside[name if path.parent == files.folder else f"{name}/"] += 1
        elif reason := _reason(path, metadata, stems):
            others[reason] += 1
        else:
            by_ending[path.suffix.lower() or "without ending"] += 1
    parts = [f"{count:,} {reason}" for reason, count in sorted(others.items())]
    if beside:
        splits = ", ".join(f"{root.name}/" for root in files.roots.values())
        parts.append(f"{beside.total():,} beside {splits} ({_listed(list(beside))})")
    if by_ending:
        listed = _listed([f"{count:,} {ending}" for ending, count in by_ending.most_common()])
        parts.append(f"{listed} of no supported ending")
    total = num_used + len(unused)
    return [f"used {num_used:,} of {total:,} files: {', '.join(parts)}"]


def _reason(path: Path, metadata: Collection[str], stems: Collection[Path]) -> str | None:
    """Return why a file in a split is not used; None for its ending."""
    suffix = path.suffix.lower()
    if path.is_symlink() and not path.exists():
        return "broken links"
    if suffix in endings():
        return f"not in {' or '.join(sorted(metadata))}"
    if suffix in _TABLES:
        return f"{path.name} (read are only {' and '.join(METADATA)})"
    if suffix in CAPTION_ENDINGS:
        is_beside = bool(metadata) or path.with_suffix("") in stems
        where = "not used as captions" if is_beside else "not beside a picture of the same name"
        return f"{suffix} {where}"
    return None


def _listed(names: list[str]) -> str:
    rest = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {rest} more kinds" if rest > 0 else "")
