"""Cursor: how far a reader has come, as ranges of ids; it outlives sealing and compacting."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError

_RANGES_END = 1 << 22


class Cursor:
    """The ids seen so far: rising ranges [start, end), apart. Immutable; `Cursor()` has seen nothing.

    A journal whose records are sealed is seen whole, so that a cursor has a range for each writer at work, and a few more.

    >>> Cursor.of([(0, 5), (5, 7)]).to_json()
    '[[0,7]]'
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: NDArray[np.int64] = np.empty(0, np.int64)
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> Cursor:
        """A cursor that has seen these ranges of ids, [start, end) each."""
        merged: list[list[int]] = []
        for start, end in sorted(ranges):
            if not 0 <= start <= end < 2**63:
                raise UsageError(f"expected 0 <= start <= end < 2**63, got {start}, {end}", "cursor")
            if start == end:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        cursor = cls()
        cursor._starts = np.array([a for a, _ in merged], np.int64)
        cursor._ends = np.array([b for _, b in merged], np.int64)
        return cursor

    def ranges(self) -> list[tuple[int, int]]:
        """[start, end) each, rising."""
        return list(zip(self._starts.tolist(), self._ends.tolist(), strict=True))

    def union(self, ranges: Iterable[tuple[int, int]]) -> Cursor:
        """A cursor that has seen these too."""
        return Cursor.of([*self.ranges(), *ranges])

    def seen(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: which of the ids were seen. O(n log ranges)."""
        if not len(self._starts):
            return np.zeros(len(ids), np.bool_)
        place = np.searchsorted(self._starts, ids, side="right") - 1
        return np.asarray((place >= 0) & (ids < self._ends[place]))

    def has_none(self, start: int, end: int) -> bool:
        """Is no id of [start, end) seen?"""
        place = int(np.searchsorted(self._ends, start, side="right"))
        return place == len(self._starts) or int(self._starts[place]) >= end

    def to_json(self) -> str:
        """Text, for who goes on another time."""
        return json.dumps(self.ranges(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Cursor:
        """The inverse.

        Raises:
            UsageError: it is none.
        """
        try:
            value = json.loads(text)
            if not isinstance(value, list):
                raise ValueError("expected a list of pairs of ids")
            pairs = [(a, b) for a, b in value]
            if len(pairs) > _RANGES_END or not all(type(x) is int for pair in pairs for x in pair):
                raise ValueError("ranges are pairs of ids")
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(f"no cursor: {error}", "cursor") from None
        return cls.of(pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursor) and self.ranges() == other.ranges()

    def __hash__(self) -> int:
        return hash(tuple(self.ranges()))

    def __repr__(self) -> str:
        return f"Cursor.of({self.ranges()})"
