"""The transitive imports of the project's modules, from their syntax trees."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"stages": ROOT / "stages", "vqpriors": ROOT / "src" / "vqpriors"}


def closure(modules: Iterable[str], *, skipped: tuple[str, ...] = ()) -> set[str]:
    """Return the files of modules and of all project modules that they import, directly or not.

    Args:
        modules: Dotted names.
        skipped: Folders to leave out, with what they import.
    """
    seen: set[str] = set()
    todo = [*modules]
    while todo:
        name = todo.pop()
        path = _path(name)
        if path is None or path in seen or path.startswith(skipped or "-"):
            continue
        seen.add(path)
        todo += _parents(name) + _imported(ROOT / path)
    return seen


def graph() -> dict[str, set[str]]:
    """Return the files that each file of the library imports, without imports for types only."""
    files = sorted((SOURCES["vqpriors"]).rglob("*.py"))
    return {
        file.relative_to(ROOT).as_posix(): {
            path for name in _imported(file, at_run_time=True) if (path := _path(name)) is not None
        }
        for file in files
    }


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


def _imported(path: Path, *, at_run_time: bool = False) -> list[str]:
    names, tree = [], ast.parse(path.read_text())
    ignored = {id(n) for b in _type_checking(tree) for n in ast.walk(b)} if at_run_time else set()
    for node in ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield node
