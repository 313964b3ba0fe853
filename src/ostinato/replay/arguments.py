"""What a buffer's callers give it, checked: each error names the argument."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato.errors import UsageError


def integer(value: Any, name: str, low: int, end: int | None) -> int:
    """An int in [low, end), or >= low where there is no end."""
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_int or value < low or (end is not None and value >= end):
        allowed = f">= {low}" if end is None else f"in [{low}, 2**{end.bit_length() - 1})"
        raise UsageError(f"expected an int {allowed}, got {value!r}", name)
    return int(value)


def optional_integer(value: Any, name: str, low: int) -> int | None:
    """The same, or None."""
    return None if value is None else integer(value, name, low, None)


def numbers(values: npt.ArrayLike, name: str) -> NDArray[np.float64]:
    """float64[n] of what a caller gave."""
    if np.ma.is_masked(values):
        raise UsageError("expected no masked values: an unmeasured cost is no number", name)
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"got {array.dtype}")
        return np.atleast_1d(array.astype(np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"expected numbers ({error})", name) from None


def check_count(priorities: NDArray[np.float64], ids: NDArray[np.int64], name: str) -> None:
    """Refuse another number of priorities than of ids."""
    if priorities.shape != ids.shape:
        raise UsageError(f"expected {len(ids)} priorities, got {list(priorities.shape)}", name)


def check_priorities(priorities: NDArray[np.float64], ids: NDArray[np.int64], name: str) -> None:
    """Refuse all of them if one is no finite number >= 0; the error names its record."""
    check_count(priorities, ids, name)
    good = np.isfinite(priorities) & (priorities >= 0)
    if not good.all():
        first = int(np.argmin(good))
        refuse_priority(priorities[first], ids[first], name)


def refuse_priority(priority: np.float64, identity: np.int64, name: str) -> NoReturn:
    """The error that names the record."""
    raise UsageError(f"expected a finite number >= 0, got {priority} for record {identity}", name)
