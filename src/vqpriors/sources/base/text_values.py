"""Conversion of values of data sets to text: captions, class names and values of attributes."""

import ast
import json
import math
from contextlib import suppress
from typing import Any

_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"  # zero-width spaces and joiners


class NotTextError(ValueError):
    """A value that is no text; the message is the problem and the fix."""


def text_of(value: Any) -> str | None:
    """Convert a value to text.

    Returns:
        Text unchanged, a whole number without decimals, another number as Python writes it; None
        for None, NaN and text without a visible character.

    Raises:
        NotTextError: If it is anything else, such as a boolean, a list or an infinite number.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _checked(value) if value.strip().strip(_INVISIBLE) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    raise NotTextError(f"{_shortened(value)} is {_kind(value)}; write text or a number")


def captions_of(value: Any) -> tuple[str, ...]:
    """Convert a caption or a list of captions to text, without empty ones.

    Raises:
        NotTextError: As `text_of`.
    """
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(text for each in values if (text := text_of(each)) is not None)


def _checked(text: str) -> str:
    if _is_written_list(text):
        raise NotTextError(f"{_shortened(text)} is a list or an object as text; write one text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotTextError(
            f"{_shortened(text)} has half of a surrogate pair; write the whole character"
        ) from None
    return text


def _is_written_list(text: str) -> bool:
    """Return whether a text is a list or object of JSON or Python, such as "['a', 'b']"."""
    text = text.strip()
    if text[0] + text[-1] in ("[]", "{}"):
        for parse in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                parse(text)
                return True
    return False


def _number(value: float) -> str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise NotTextError(f"{value} is no finite number; write text or a number")
    return str(int(value) if value == int(value) else value)


def _kind(value: Any) -> str:
    kinds = {bool: "a boolean", list: "a list", tuple: "a list", dict: "an object"}
    return kinds.get(type(value), f"of type {type(value).__name__}")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
