"""Ranking: which record has the k-th highest priority, exactly, while priorities change."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.replay.table import Table
from ostinato.replay.trees import Numbers, Scope, Slots, Tree

_BLOCK, _FILL = 256, 192  # as in rank_kernels, which needs numba


class Ranking(Tree):
    """Slots in order of falling priority, in sorted blocks of up to 256; of equals the lower slot first.

    A change costs two binary searches and moves half a block, about 1 us; when a sixteenth has changed at once,
    everything is sorted anew. Memory: 24 to 45 bytes a slot.
    """

    def __init__(self, table: Table, scope: Scope | None = None) -> None:
        super().__init__(table)
        self._scope = scope
        self._keys, self._slots = np.empty(0), np.empty(0, np.int32)
        self._counts, self._sequence, self._stack = (np.empty(0, np.int32) for _ in range(3))
        self._used = np.zeros(2, np.int64)
        self._key_of = np.empty(0)
        self._before: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        self.refresh()
        return int(self._starts()[-1])

    def _starts(self) -> NDArray[np.int64]:
        """How many come before each block of the sequence, and at the end all."""
        if self._before is None:
            blocks = self._sequence[: self._used[0]]
            self._before = np.zeros(len(blocks) + 1, np.int64)
            np.cumsum(self._counts[blocks], out=self._before[1:])
        return self._before

    def _new_keys(self, slots: Slots) -> Numbers:
        """The negated priority of each slot, NaN where it is left out."""
        table = self._table
        inside = slots < table.count
        keys = np.full(len(slots), np.nan)
        keys[inside] = -table.priority[slots[inside]]
        if self._scope is not None:
            factor = self._scope.factor[slots]
            keys = np.where(factor > 0, keys * factor, np.nan)
        return keys

    def _allocate(self, room: int) -> None:
        from ostinato.kernels import aligned

        blocks = 2 * (room // _FILL) + 16
        self._keys, self._slots = aligned(blocks * _BLOCK, np.float64), aligned(blocks * _BLOCK, np.int32)
        self._counts, self._sequence, self._stack = (np.zeros(blocks, np.int32) for _ in range(3))
        self._key_of = aligned(room, np.float64)

    def _build(self) -> None:
        from ostinato.replay import rank_kernels as kernels

        self._before = None
        self._key_of[:] = self._new_keys(np.arange(self._room))
        ranked = np.flatnonzero(~np.isnan(self._key_of))
        order = ranked[np.argsort(self._key_of[ranked], kind="stable")]
        kernels.rank_build(
            self._keys,
            self._slots,
            self._counts,
            self._sequence,
            self._stack,
            self._used,
            self._key_of,
            order,
        )

    def _set(self, slots: Slots) -> None:
        from ostinato.replay import rank_kernels as kernels

        self._before = None
        done = kernels.rank_set(
            self._keys, self._slots, self._counts, self._sequence, self._stack, self._used, self._key_of,
            slots, self._new_keys(slots),
        )  # fmt: skip
        if done < len(slots):
            self._build()  # blocks ran out: many are nearly empty

    def _blocks(self) -> tuple[Any, Any, Any, Any, Any, Any]:
        """What the kernels that look take first."""
        return self._keys, self._slots, self._counts, self._sequence, self._used, self._starts()

    def draw(
        self, numbers: Numbers, sums: Numbers, alpha: float, beta: float, *, stratified: bool, largest: bool
    ) -> tuple[Slots, Numbers, NDArray[np.float32], float]:
        """(slots, probabilities, weights, their scale) by uniform numbers, which are used up; see `rank_draw`.

        Args:
            sums: float64[len]: of rank**-alpha up to each rank.
        """
        from ostinato.replay import rank_kernels as kernels

        self.refresh()
        n = len(numbers)
        slots, probability, weight = np.empty(n, np.int64), np.empty(n), np.empty(n, np.float32)
        scale = kernels.rank_draw(
            *self._blocks(), sums, alpha, beta, numbers, stratified, largest, slots, probability, weight
        )
        return slots, probability, weight, scale

    def probability(self, slots: Slots, sums: Numbers, alpha: float) -> Numbers:
        """Of each of these slots in one draw; 0 for one left out."""
        from ostinato.replay import rank_kernels as kernels

        self.refresh()
        out = np.empty(len(slots))
        kernels.rank_probability(*self._blocks(), self._key_of, sums, alpha, slots, out)
        return out

    def check(self) -> None:
        """State every invariant; for tests."""
        n = len(self)
        keys = self._new_keys(np.arange(self._room))
        np.testing.assert_array_equal(keys, self._key_of)
        ranked = np.flatnonzero(~np.isnan(keys))
        order = ranked[np.argsort(keys[ranked], kind="stable")]
        blocks = self._sequence[: self._used[0]]
        counts = self._counts[blocks]
        listed = [
            self._slots[b * _BLOCK : b * _BLOCK + c]
            for b, c in zip(blocks.tolist(), counts.tolist(), strict=True)
        ]
        assert [slot for part in listed for slot in part.tolist()] == order.tolist()
        assert n == 0 or ((counts > 0).all() and counts.max() <= _BLOCK)
        live = {*self._sequence[: self._used[0]].tolist(), *self._stack[: self._used[1]].tolist()}
        assert live == set(range(len(self._counts)))
