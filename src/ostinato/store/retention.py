"""Which records compacting keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.arguments import as_int
from ostinato.errors import UsageError
from ostinato.results import program_keys

_CHOICES = ("newest", "best_per_program", "max_age_s")
_BEST = np.dtype([("tir_hash", "V32"), ("cycles", "<u8"), ("id", "<i8")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """A retention policy: a record stays if any of these says so.

    Args:
        newest: the so many with the latest timestamps, of equals those with the highest ids.
        best_per_program: of each program the so many valid, measured results without fallback with the fewest clock_cycles, of
            equals the oldest.
        max_age_s: those whose timestamp is at most so many seconds before now.
    Raises:
        UsageError: all are None, or one is no int >= 0.
    """

    newest: int | None = None
    best_per_program: int | None = None
    max_age_s: int | None = None

    def __post_init__(self) -> None:
        for name in _CHOICES:
            value = getattr(self, name)
            number = as_int(value)
            if value is not None and not (number is not None and 0 <= number < 2**63):
                raise UsageError(f"expected an int >= 0, got {value!r}", name)
            object.__setattr__(self, name, number)  # numpy's ints overflow
        if all(getattr(self, name) is None for name in _CHOICES):
            raise UsageError(f"expected at least one of {', '.join(_CHOICES)}", "keep")


# all records in parts, (ids, RECORD rows), as often as they are asked for
Everything = Callable[[], Iterable[tuple[NDArray[np.int64], NDArray[np.void]]]]


class Kept:
    """A policy at work: it looks at all records, some passes over them, and then says `of` each part what stays.

    Memory: 48 bytes for each result that is kept for being a program's best, and two numbers; of `newest` 16 bytes a record of
    those with the timestamp at which the line is drawn.
    """

    def __init__(self, keep: Keep, now: int, everything: Everything) -> None:
        self._keep = keep
        self._oldest = max(0, now - keep.max_age_s) if keep.max_age_s is not None else None
        self._line = _newest_line(keep.newest, everything) if keep.newest is not None else None
        self._best = best_ids(keep.best_per_program, everything) if keep.best_per_program else None

    def of(self, ids: NDArray[np.int64], rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """bool[n]: which of these records stay."""
        out = np.zeros(len(ids), np.bool_)
        stamps = rows["timestamp"]
        if self._oldest is not None:
            out |= stamps >= np.uint64(self._oldest)
        if self._line is not None:
            stamp, identity = self._line
            out |= (stamps > np.uint64(stamp)) | ((stamps == np.uint64(stamp)) & (ids >= identity))
        if self._best is not None and len(self._best):
            k = np.minimum(np.searchsorted(self._best, ids), len(self._best) - 1)
            out |= self._best[k] == ids
        return out


def _newest_line(n: int, everything: Everything) -> tuple[int, int]:
    """(timestamp, id) of the n-th newest record: two bytes of the timestamp a pass, so that memory is constant."""
    if n == 0:
        return 2**64 - 1, 2**63 - 1
    low, fixed = 0, 0  # the timestamp's upper bits that are known, and how many
    wanted = n
    for shift in (48, 32, 16, 0):
        counts = np.zeros(1 << 16, np.int64)
        for _, rows in everything():
            stamps = rows["timestamp"]
            if fixed:
                stamps = stamps[stamps >> np.uint64(64 - fixed) == np.uint64(low >> (64 - fixed))]
            counts += np.bincount(
                ((stamps >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64), minlength=1 << 16
            )
        above = np.cumsum(counts[::-1])[::-1]  # with a digit of at least this
        if above[0] < wanted:
            return 0, 0  # there are fewer
        digit = int(np.flatnonzero(above >= wanted)[-1])
        wanted -= int(above[digit + 1]) if digit < 0xFFFF else 0
        low |= digit << shift
        fixed += 16
    ids = np.concatenate([ids[rows["timestamp"] == np.uint64(low)] for ids, rows in everything()])
    return low, int(np.sort(ids)[-wanted])


def best_ids(k: int, everything: Everything) -> NDArray[np.int64]:
    """The ids, rising, of each program's k best."""
    best = np.empty(0, _BEST)
    waiting: list[NDArray[np.void]] = []
    count = 0
    for ids, rows in everything():
        good = rows["valid"] & rows["measured"] & ~rows["fallback_used"]
        some = np.empty(int(good.sum()), _BEST)
        some["tir_hash"] = program_keys(rows["tir_hash"][good])
        some["cycles"], some["id"] = rows["clock_cycles"][good], ids[good]
        waiting.append(_first(some, k))
        count += len(waiting[-1])
        if count > max(len(best), 1 << 20):  # merged when it pays
            best, waiting, count = _first(np.concatenate([best, *waiting]), k), [], 0
    return np.sort(_first(np.concatenate([best, *waiting]), k)["id"])


def _first(some: NDArray[np.void], k: int) -> NDArray[np.void]:
    """Of each program the k first by cycles, then by id."""
    if not len(some):
        return some
    words = np.ascontiguousarray(some["tir_hash"]).view("<u8").reshape(-1, 4)
    order = np.lexsort((some["id"], some["cycles"], *words.T))
    some, words = some[order], words[order]
    begins = np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)])
    starts = np.flatnonzero(begins)
    place = np.arange(len(some)) - np.repeat(starts, np.diff(np.append(starts, len(some))))
    return some[place < k]
