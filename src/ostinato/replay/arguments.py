"""What a buffer's callers give it, checked: each error names the argument."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato.errors import UsageError


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
