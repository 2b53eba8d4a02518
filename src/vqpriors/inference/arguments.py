"""Checks of the arguments of a generator's methods, with errors of one line."""

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from reprlib import repr as short
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from PIL import Image

from vqpriors.core.hardware import best_device
from vqpriors.data.decoding import BadImageError, decode
from vqpriors.inference.limits import MAX_PIXELS

Given = Image.Image | str | Path
"""A picture, or the path of a picture file, such as PNG, JPEG or WebP."""

P = ParamSpec("P")
R = TypeVar("R")


def public(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Wrap a method, so that errors in its arguments give its public name and a suggestion.

    Args:
        name: How a user writes the method, such as "generator.inpaint".
    """

    def wrap(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)
        known = list(signature.parameters)[1:]  # without `self`

        @wraps(method)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if unknown := next((each for each in kwargs if each not in known), None):
                close = get_close_matches(unknown, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
                raise TypeError(f"{name}: no argument {unknown!r}; {hint}")
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
            return method(*args, **kwargs)

        return checked

    return wrap


def to_integer(name: str, value: Any) -> int:
    """Return a number as int; a ValueError names the argument if it is not an integer."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name}: must be an integer, got {short(value)}")
    return int(value)


def to_number(name: str, value: Any) -> float:
    """Return a number as float; a ValueError names the argument if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name}: must be a number, got {short(value)}")
    return float(value)


def to_texts(name: str, value: str | Sequence[str]) -> list[str]:
    """Return a text or texts as a list; a ValueError names the argument if they are not texts."""
    found: list[Any]
    try:
        found = [value] if isinstance(value, str) else list(value)
    except TypeError:
        found = [value]
    for each in found:
        if not isinstance(each, str):
            raise ValueError(f"{name}: must be a text or a list of texts, got {short(each)}")
    return found


def to_text(name: str, value: Any) -> str:
    """Return a text; a ValueError names the argument if it is not one."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: must be one text here, got {short(value)}")
    return value


def to_codes(name: str, value: Any, *, length: int, codebook_size: int) -> np.ndarray:
    """Return codes as an array; a ValueError names the argument if they are not codes.

    Args:
        name: The argument.
        value: An array, or lists, of (M, N) integers.
        length: Number of codes N of a picture.
        codebook_size: Number of codes K.
    """
    codes = np.asarray(value)
    if codes.ndim != 2 or codes.shape[1] != length or codes.dtype.kind not in "iu":
        kind = f"shape {codes.shape} of {codes.dtype}"
        raise ValueError(f"{name}: must be integers of shape (M, {length}), got {kind}")
    if codes.size and not 0 <= codes.min() <= codes.max() < codebook_size:
        found = f"{codes.min()} to {codes.max()}"
        raise ValueError(f"{name}: must be 0 to {codebook_size - 1}, got {found}")
    return codes


def to_path(name: str, value: Any) -> Path:
    """Return a path, with `~` as the home; a ValueError names the argument if it is no path."""
    if not isinstance(value, (str, Path)):
        raise ValueError(f"{name}: must be a path, got {short(value)}")
    return Path(value).expanduser()


def to_flag(name: str, value: Any) -> bool:
    """Return a bool; a ValueError names the argument if it is not one."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: must be True or False, got {short(value)}")
    return value


def read_picture(name: str, given: Given) -> Image.Image:
    """Return a picture, or decode the one at a path.

    Raises:
        ValueError: If it is neither, or the file can't be decoded; names the argument.
        OSError: If the file can't be read.
    """
    if isinstance(given, Image.Image):
        return given
    if not isinstance(given, (str, Path)):
        problem = f"must be a PIL picture or the path of one, got {type(given).__name__}"
        raise ValueError(f"{name}: {problem}")
    try:
        return decode(to_path(name, given).read_bytes(), max_pixels=MAX_PIXELS)
    except BadImageError as error:
        raise ValueError(f"{name}: {given}: {error}") from None


def read_pictures(name: str, given: Given | Sequence[Given]) -> list[Image.Image]:
    """Return one or several pictures as a list; at least one. Errors are those of `read_picture`.

    Raises:
        ValueError: Also if there is none.
    """
    single = isinstance(given, (Image.Image, str, bytes, Path)) or not hasattr(given, "__iter__")
    pictures = [read_picture(name, each) for each in ([given] if single else given)]  # pyright: ignore[reportGeneralTypeIssues]
    if not pictures:
        raise ValueError(f"{name}: none given; give at least one")
    return pictures


def to_device(device: str | torch.device | None) -> torch.device:
    """Return a device; None for `best_device`.

    Raises:
        ValueError: If it is not available on this machine.
    """
    if device is None:
        return best_device()
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError):
        fix = "use 'cpu', or 'cuda' where there is a GPU"
        raise ValueError(f"device: {short(device)} can't be used on this machine; {fix}") from None
    return found
