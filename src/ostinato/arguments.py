"""Ints that callers give: Python's, numpy's, whatever says that it is one; bools are not."""

from __future__ import annotations

import contextlib
import math
import operator
from typing import Any

from ostinato.errors import UsageError


def as_int(value: Any) -> int | None:
    """The int that this is; None if it is none."""
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            return operator.index(value)
    return None


def integer(value: Any, name: str, low: int, end: int | None) -> int:
    """An int in [low, end), or >= low where there is no end.

    Raises:
        UsageError: it is none; names the argument.
    """
    number = as_int(value)
    if number is None or number < low or (end is not None and number >= end):
        raise UsageError(f"expected an int {_allowed(low, end)}, got {value!r}", name)
    return number


def optional_integer(value: Any, name: str, low: int, end: int | None = None) -> int | None:
    """The same, or None."""
    return None if value is None else integer(value, name, low, end)


def _allowed(low: int, end: int | None) -> str:
    if end is None:
        return f">= {low}"
    power = end.bit_length() - 1
    return f"in [{low}, {f'2**{power}' if end == 1 << power else end})"


def seconds(value: Any, name: str) -> float:
    """How long to wait: a finite or infinite number; below 0 is 0.

    Raises:
        UsageError: it is none; names the argument.
    """
    number = math.nan
    if not isinstance(value, bool | str | bytes):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            number = float(value)
    if math.isnan(number):
        raise UsageError(f"expected a number of seconds, got {value!r}", name)
    return max(0.0, number)
