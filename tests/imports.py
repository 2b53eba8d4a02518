"""Which files of the project a module runs: its imports, followed from file to file."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"stages": ROOT / "stages", "vqpriors": ROOT / "src" / "vqpriors"}


def closure(module: str) -> set[str]:
    """Return the paths below the root of a module and of all that it imports of ours."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        path = _path(name)
        if path is None or path in seen:
            continue
        seen.add(path)
        todo += _parents(name) + _imported(ROOT / path)
    return seen


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _path(name: str) -> str | None:
    top, *rest = name.split(".")
    if top not in SOURCES:
        return None
    base = SOURCES[top].joinpath(*rest)
    for path in (base.with_suffix(".py") if rest else base, base / "__init__.py"):
        if path.is_file():
            return path.relative_to(ROOT).as_posix()
    return None


def _imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
