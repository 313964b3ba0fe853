"""The two indexes over a table's slots: a tree of sums to draw from, a tree of firsts to keep an order.

Both have eight children a node: eight float64 are one cache line, and a million records are seven levels.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.replay.table import Table

Slots = NDArray[np.int64]


def _levels(width: int, top: int) -> tuple[NDArray[np.int64], int]:
    """Where each level begins, each filled up to a multiple of 8, from `width` places to `top` or fewer."""
    begins = []
    size = 0
    while True:
        begins.append(size)
        size += width + -width % 8
        if width <= top:
            return np.array(begins, np.int64), size
        width = (width + 7) // 8


class _Tree(abc.ABC):
    """What both trees share: changes are noted, and carried out together before the next use."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._room = -1
        self._changed: list[Slots] = []
        self._changes = 0

    def changed(self, slots: Slots) -> None:
        """These slots have another record or priority. O(1)."""
        if not len(slots):
            return  # or empty lists would pile up where nobody draws
        self._changes += len(slots)
        if self._changes > self._room // 16:
            self._changed.clear()  # everything will be built anew, which is cheaper by then
        else:
            self._changed.append(slots)

    def _refresh(self) -> None:
        if self._room != self._table.room:
            self._room = self._table.room
            self._allocate(self._room)
            self._build()
        elif self._changes > self._room // 16:
            self._build()
        else:
            for slots in self._changed:
                self._set(slots)
        self._changed.clear()
        self._changes = 0

    @abc.abstractmethod
    def _allocate(self, room: int) -> None:
        """Have nodes for this many slots."""

    @abc.abstractmethod
    def _build(self) -> None:
        """Compute every node."""

    @abc.abstractmethod
    def _set(self, slots: Slots) -> None:
        """Compute the nodes above these slots."""


class SumTree(_Tree):
    """priority**alpha of each slot, and the sums above: finds where a number falls in O(log8 N).

    Memory: 9.2 bytes a slot.
    """

    def __init__(self, table: Table, alpha: float) -> None:
        super().__init__(table)
        self._alpha = alpha
        self._levels, self._nodes = np.empty(0, np.int64), np.empty(0)

    def _allocate(self, room: int) -> None:
        from ostinato.kernels import aligned

        self._levels, size = _levels(room, 8)
        self._nodes = aligned(size, np.float64)

    def _build(self) -> None:
        from ostinato.replay import sum_tree_kernels as kernels

        table = self._table
        kernels.sum_build(self._nodes, self._levels, table.priority, self._alpha, table.count)

    def _set(self, slots: Slots) -> None:
        from ostinato.replay import sum_tree_kernels as kernels

        table = self._table
        kernels.sum_set(self._nodes, self._levels, slots, table.priority, self._alpha, table.count)

    def total(self) -> float:
        """The sum of all leaves."""
        self._refresh()
        total = 0.0
        for node in self._nodes[self._levels[-1] :].tolist():
            total += node  # in order, as the kernels add
        return total

    def find(self, numbers: NDArray[np.float64]) -> tuple[Slots, NDArray[np.float64]]:
        """(slots, leaves) in whose shares of [0, total) the numbers fall; never a zero leaf."""
        from ostinato.replay import sum_tree_kernels as kernels

        self._refresh()
        slots = np.empty(len(numbers), np.int64)
        leaves = np.empty(len(numbers))
        kernels.sum_find(self._nodes, self._levels, numbers.copy(), slots, leaves)
        return slots, leaves

    def check(self) -> None:
        """State every invariant; for tests."""
        self._refresh()
        nodes, levels, table = self._nodes, self._levels, self._table
        leaves = np.where(table.priority > 0, table.priority**self._alpha, 0.0)
        leaves[table.count :] = 0
        np.testing.assert_allclose(nodes[: table.room], leaves, rtol=1e-13)
        np.testing.assert_allclose(self.total(), leaves.sum(), rtol=1e-12)
        for level in range(1, len(levels)):
            end = levels[level + 1] if level + 1 < len(levels) else len(nodes)
            width = end - levels[level]
            below = nodes[levels[level - 1] : levels[level]].reshape(-1, 8)
            np.testing.assert_allclose(nodes[levels[level] : end][: len(below)], below.sum(1), rtol=1e-14)
            assert (nodes[levels[level] : end][len(below) :] == 0).all(), width


class OrderTree(_Tree):
    """Which slot comes first by priority, and of equals by id: each in the direction of its sign (1 rising).

    Memory: 2.9 bytes a slot.
    """

    def __init__(self, table: Table, sign_priority: int, sign_id: int) -> None:
        super().__init__(table)
        self._signs = (sign_priority, sign_id)
        self._levels, self._best = np.empty(0, np.int64), np.empty(0, np.int32)
        self._lead_p, self._lead_i = np.empty(0), np.empty(0, np.int64)

    def _arrays(self) -> tuple[Any, ...]:
        table = self._table
        nodes = self._best, self._lead_p, self._lead_i, self._levels
        return *nodes, table.priority, table.ids, table.count, *self._signs

    def _allocate(self, room: int) -> None:
        from ostinato.kernels import aligned

        self._levels, size = _levels((room + 7) // 8, 1)
        self._best = np.full(size, -1, np.int32)
        self._lead_p, self._lead_i = aligned(size, np.float64), aligned(size, np.int64)

    def _build(self) -> None:
        from ostinato.replay import order_tree_kernels as kernels

        kernels.order_build(*self._arrays())

    def _set(self, slots: Slots) -> None:
        from ostinato.replay import order_tree_kernels as kernels

        best, lead_p, lead_i, levels, *rest = self._arrays()
        kernels.order_set(best, lead_p, lead_i, levels, slots, *rest)

    def first(self, n: int) -> Slots:
        """The first n slots (or all there are), in order. O(n log N)."""
        from ostinato.replay import order_tree_kernels as kernels

        table = self._table
        n = min(n, table.count)
        if 8 * n >= table.count:
            order: Slots = np.lexsort(
                (self._signs[1] * table.ids[: table.count], self._signs[0] * table.priority[: table.count])
            )
            return order[:n]
        self._refresh()
        slots = np.empty(n, np.int64)
        kernels.order_first(*self._arrays(), slots)  # type: ignore[call-arg]
        return slots

    def replace(
        self, priority: NDArray[np.float64], ids: NDArray[np.int64]
    ) -> tuple[Slots, NDArray[np.int64]]:
        """Put new records into a full table one by one, each pushing out what then comes first of all.

        Returns (slots, removed): where each goes (-1: itself pushed out) and the id that went.
        Cost: O(log8 N) each, about 150 ns at a million.
        """
        from ostinato.replay import order_tree_kernels as kernels

        self._refresh()
        slots = np.empty(len(ids), np.int64)
        removed = np.empty(len(ids), np.int64)
        kernels.order_replace(*self._arrays(), priority, ids, slots, removed)  # type: ignore[call-arg]
        return slots, removed

    def check(self) -> None:
        """State every invariant; for tests."""
        self._refresh()
        from ostinato.replay import order_tree_kernels as kernels

        nodes = self._best.copy(), self._lead_p.copy(), self._lead_i.copy()
        kernels.order_build(*nodes, *self._arrays()[3:])
        for anew, kept in zip(nodes, self._arrays()[:3], strict=True):
            assert (anew == kept).all()
