"""Errors in the text of params.yaml, with the key and the line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def find_error(path: Path) -> str | None:
    """Find what makes a YAML file unreadable: a key that is there twice, or its syntax.

    Returns:
        A message of one line, "params.yaml:3: ...; ..."; None if the file can be read.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        node = YAML(pure=True).compose(path)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        return f"{path}{line}: not valid YAML ({' '.join(problem.split())}); correct it"
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        return f"{path}: not valid YAML ({' '.join(str(error).split())}); correct it"
    for key, first, second in _repeated(node, ""):
        return f"{path}:{second}: the key {key} is already in line {first}; remove one of them"
    return None


def _repeated(node: Any, path: str) -> Iterator[tuple[str, int, int]]:
    """Yield the dotted key and both lines of each key that a mapping has twice."""
    from ruamel.yaml.nodes import MappingNode, SequenceNode

    lines: dict[str, int] = {}
    if isinstance(node, MappingNode):
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines and name != "<<":
                yield f"{path}{name}", lines[name], line
            lines.setdefault(name, line)
            yield from _repeated(value, f"{path}{name}.")
    elif isinstance(node, SequenceNode):
        for i, value in enumerate(node.value):
            yield from _repeated(value, f"{path}{i}.")
