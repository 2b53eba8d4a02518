"""Caption templates such as "a handwritten digit {label}", for rows without a caption."""

from collections.abc import Mapping
from string import Formatter


class MissingFieldError(ValueError):
    """A template has a field that a row lacks; the message names it and the row's fields."""


def parse(template: str) -> list[tuple[str, str | None]]:
    """Parse a template to pairs of literal text and the name of the field after it, or None.

    Fields are looked up, never evaluated: `{label.__class__}` is the field named "label.__class__".

    Raises:
        ValueError: If braces don't match, or a field is empty or has a format or conversion; the
            message is to follow the params key.
    """
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"is not a valid template ({error})") from None
    for _, field, form, conversion in pieces:
        if field == "" or form or conversion:
            raise ValueError("has a field that is not a plain name such as {label}")
    return [(text, field) for text, field, _, _ in pieces]


def caption(template: str, fields: Mapping[str, str]) -> str:
    """Fill a template with the values of fields.

    Raises:
        MissingFieldError: If it has a field that is not in `fields`.
    """
    return "".join(text + _field(name, fields) for text, name in parse(template))


def _field(name: str | None, fields: Mapping[str, str]) -> str:
    if name is None:
        return ""
    if name not in fields:
        raise MissingFieldError(f"no field {{{name}}}, this row has {', '.join(fields) or 'none'}")
    return fields[name]
