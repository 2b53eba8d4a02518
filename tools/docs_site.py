"""Hook of mkdocs: the site mirrors the repository, so that links work as they are written.

README.md is the start page. Pages are at their paths in the repository, with the pictures and other
files that they link to. Links to folders become plain text.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Replace the files below docs/ by the pages of the repository and the files they link to."""
    docs = ROOT / "docs"
    theme = [file for file in files if not Path(file.abs_src_path or "").is_relative_to(docs)]
    found = sorted({*PAGES, *(name for page in PAGES for name in linked_files(page))})
    own = [File.generated(config, name, abs_src_path=str(ROOT / name)) for name in found]
    return Files([*theme, *own])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to folders by their text, since the site has only files."""

    def replaced(link: re.Match[str]) -> str:
        return link[1] if _target(page.file.src_uri, link[2]).is_dir() else link[0]

    return LINK.sub(replaced, markdown)


def linked_files(page: str) -> list[str]:
    """Return the files of the repository that a page links to, other than pages."""
    targets = (_target(page, link[2]) for link in LINK.finditer((ROOT / page).read_text()))
    files = (str(path.relative_to(ROOT)) for path in targets if path.is_file())
    return [name for name in files if not name.endswith(".md")]


def _target(page: str, link: str) -> Path:
    return (ROOT / page).parent.joinpath(link).resolve()
