"""Captions for rows that have none, from a template such as "a handwritten digit {label}"."""

from collections.abc import Mapping
from string import Formatter


class MissingFieldError(ValueError):
    """A template names a field that a row lacks; the message says which, and what it has."""


def parse(template: str) -> list[tuple[str, str | None]]:
    """Split a template into pieces of text, each with the name of the field after it or None.

    Names are only looked up, never evaluated: `{label.__class__}` is a field of that odd name.

    Raises:
        ValueError: If its braces don't match, or a field is empty or has a format or conversion.
    """
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"is not a template ({error})") from None
    for _, field, form, conversion in pieces:
        if field == "" or form or conversion:
            raise ValueError("has a field that isn't just a name in braces, such as {label}")
    return [(text, field) for text, field, _, _ in pieces]


def caption(template: str, fields: Mapping[str, str]) -> str:
    """Fill a template.

    Raises:
        MissingFieldError: If it names what is not in `fields`.
    """
    return "".join(text + _field(name, fields) for text, name in parse(template))


def _field(name: str | None, fields: Mapping[str, str]) -> str:
    if name is None:
        return ""
    if name not in fields:
        raise MissingFieldError(f"no field {{{name}}}, this row has {', '.join(fields) or 'none'}")
    return fields[name]
