"""The two trees over a table's slots: sums to draw from, firsts to keep an order.

Both have eight children a node: eight float64 are one cache line, and a million records are seven levels.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.replay.table import Table

Slots = NDArray[np.int64]
Numbers = NDArray[np.float64]
_NONE = np.empty(0)


class Scope(Protocol):
    """Which records a sampler may draw, and how gladly: what a window gives to the sampler inside it.

    Attributes:
        factor: float64[room], >= 0, of each slot; 0 where it may not be drawn.
        count: how many records have a factor above 0.
    """

    @property
    def factor(self) -> Numbers: ...
    @property
    def count(self) -> int: ...


def levels_of(width: int, top: int) -> tuple[NDArray[np.int64], int]:
    """Where each level begins, each filled up to a multiple of 8, from `width` places to `top` or fewer."""
    begins = []
    size = 0
    while True:
        begins.append(size)
        size += width + -width % 8
        if width <= top:
            return np.array(begins, np.int64), size
        width = (width + 7) // 8


class Waiting:
    """Slots that changed and have not been seen to: a set, which takes no more room than a few tables."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._parts: list[Slots] = []
        self._noted = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, slots: Slots) -> None:
        """O(1) amortised."""
        if not len(slots):
            return  # or empty lists would pile up where nobody draws
        self._parts.append(slots)
        self._noted += len(slots)
        if self._noted > 2 * max(self._table.room, 1024):  # nobody sees to them: the same again and again
            self.become(self.slots())

    def slots(self) -> Slots:
        """Each once, rising."""
        if not self._parts:
            return np.empty(0, np.int64)
        noted = np.concatenate(self._parts)
        if len(noted) < self._table.room // 8:
            return np.unique(noted)
        marked = np.zeros(int(noted.max()) + 1, np.bool_)
        marked[noted] = True
        return np.flatnonzero(marked)

    def become(self, slots: Slots) -> None:
        """These and no others."""
        self._parts = [slots] if len(slots) else []
        self._noted = len(slots)

    def clear(self) -> None:
        """They have been seen to."""
        self.become(np.empty(0, np.int64))


class Tree(abc.ABC):
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

    def refresh(self) -> None:
        """Carry out what was noted."""
        try:
            if self._room != self._table.room:
                self._allocate(self._table.room)
                self._room = self._table.room
                self._build()
            elif self._changes > self._room // 16:
                self._build()
            else:
                for slots in self._changed:
                    self._set(slots)
        except BaseException:
            self._room = -1  # an interrupt, or no memory: all anew at the next use
            raise
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


class SumTree(Tree):
    """priority**alpha of each slot, and the sums above: finds where a number falls in O(log8 N).

    Args:
        scope: the leaves are its factors times that. alpha: None leaves the priorities out.
        least: keep the smallest positive leaf as well.

    Memory: 10.3 bytes a slot, 11.4 with `least`.
    """

    def __init__(
        self, table: Table, alpha: float | None, scope: Scope | None = None, *, least: bool = False
    ) -> None:
        super().__init__(table)
        self._alpha = 1.0 if alpha is None else alpha
        self._by_priority = alpha is not None
        self._scope = scope
        self._least = least
        self._levels, self._nodes, self._sums, self._mins = np.empty(0, np.int64), _NONE, _NONE, _NONE

    def _allocate(self, room: int) -> None:
        from ostinato.kernels import aligned

        self._levels, size = levels_of(room, 8)
        self._nodes, self._sums = aligned(size, np.float64), aligned(size, np.float64)
        if self._least:
            self._mins = aligned(size, np.float64)

    def _leaves(self, count: int) -> tuple[Any, ...]:
        values = self._table.priority if self._by_priority else _NONE
        factor = _NONE if self._scope is None else self._scope.factor
        return values, self._alpha, factor, count

    def _build(self) -> None:
        from ostinato.replay import sum_tree_kernels as kernels

        nodes = self._nodes, self._sums, self._mins, self._levels
        kernels.sum_build(*nodes, *self._leaves(self._table.count))

    def _set(self, slots: Slots) -> None:
        from ostinato.replay import sum_tree_kernels as kernels

        nodes = self._nodes, self._sums, self._mins, self._levels
        kernels.sum_set(*nodes, slots, *self._leaves(self._table.count))

    def put(self, slots: Slots, leaves: Numbers) -> None:
        """Give these slots these leaves; given their own back, the tree is as it was to the last bit."""
        from ostinato.replay import sum_tree_kernels as kernels

        kernels.sum_put(self._nodes, self._sums, self._mins, self._levels, slots, leaves)

    def total(self) -> float:
        """The sum of all leaves."""
        self.refresh()
        if len(self._levels) > 1:
            return float(self._sums[self._levels[-1] + 7])
        total = 0.0
        for node in self._nodes.tolist():
            total += node  # in order, as the kernels add
        return total

    def least(self) -> float:
        """The smallest positive leaf; infinite where there is none."""
        self.refresh()
        top = (self._mins if len(self._levels) > 1 else self._nodes)[self._levels[-1] :]
        return float(np.min(top, where=top > 0, initial=np.inf))

    def leaves(self, slots: Slots) -> Numbers:
        """float64[n]: the leaves of these slots."""
        self.refresh()
        found: Numbers = self._nodes[slots]
        return found

    def find(self, numbers: Numbers) -> tuple[Slots, Numbers]:
        """(slots, leaves) in whose shares of [0, total) the numbers fall; never a zero leaf."""
        from ostinato.replay import sum_tree_kernels as kernels

        self.refresh()
        slots = np.empty(len(numbers), np.int64)
        leaves = np.empty(len(numbers))
        kernels.sum_find(self._nodes, self._sums, self._levels, numbers.copy(), slots, leaves)
        return slots, leaves

    def draw(
        self, numbers: Numbers, total: float, *, stratified: bool, beta: float, count: int, least: float
    ) -> tuple[Slots, Numbers, NDArray[np.float32], float]:
        """(slots, leaf / total, weights, their scale) by uniform numbers, which are used up; see `sum_draw`."""
        from ostinato.replay import sum_tree_kernels as kernels

        n = len(numbers)
        slots, probability, weight = np.empty(n, np.int64), np.empty(n), np.empty(n, np.float32)
        scale = kernels.sum_draw(
            self._nodes, self._sums, self._levels, numbers, stratified, total, count, beta, least,
            slots, probability, weight,
        )  # fmt: skip
        return slots, probability, weight, scale

    def check(self) -> None:
        """State every invariant; for tests."""
        self.refresh()
        nodes, sums, levels, table = self._nodes, self._sums, self._levels, self._table
        leaves = np.ones(table.room)
        if self._by_priority:
            leaves = np.where(table.priority > 0, table.priority**self._alpha, 0.0)
        if self._scope is not None:
            leaves = leaves * self._scope.factor
        leaves[table.count :] = 0
        np.testing.assert_allclose(nodes[: table.room], leaves, rtol=1e-13)
        np.testing.assert_allclose(self.total(), leaves.sum(), rtol=1e-12)
        if self._least:
            assert self.least() == np.min(nodes[: table.room], where=leaves > 0, initial=np.inf)
        for level in range(1, len(levels)):
            end = levels[level + 1] if level + 1 < len(levels) else len(nodes)
            width = end - levels[level]
            below = nodes[levels[level - 1] : levels[level]].reshape(-1, 8)
            here = nodes[levels[level] : end]
            np.testing.assert_allclose(here[: len(below)], below.sum(1), rtol=1e-14)
            assert (here[len(below) :] == 0).all(), width
            assert (sums[levels[level] : end].reshape(-1, 8) == np.cumsum(here.reshape(-1, 8), 1)).all()


Keys = Callable[[Slots], Numbers]


class OrderTree(Tree):
    """Which slot comes first by a key, and of equals by id: each in the direction of its sign (1 rising).

    Args:
        keys: the keys of some slots; None orders by priority. sign_key: 0 leaves the id alone to decide.
        scope: leave out what it leaves out; others' keys are multiplied by their factors.

    Memory: 2.9 bytes a slot, 8 more unless by priority alone.
    """

    def __init__(
        self,
        table: Table,
        sign_key: int,
        sign_id: int,
        keys: Keys | None = None,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(table)
        self._signs = (sign_key, sign_id)
        self._scope = scope
        self._keys: Keys | None = keys
        self._own = keys is not None or scope is not None  # an array of keys beside table.priority
        self._key = _NONE
        self._levels, self._best = np.empty(0, np.int64), np.empty(0, np.int32)
        self._lead_p, self._lead_i = _NONE, np.empty(0, np.int64)

    @property
    def key(self) -> Numbers:
        """float64[room]: what orders."""
        return self._key if self._own else self._table.priority

    def arrays(self) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any, Any]:
        """What the order tree's kernels take first: nodes, keys, ids, count, signs."""
        nodes = self._best, self._lead_p, self._lead_i, self._levels
        return *nodes, self.key, self._table.ids, self._table.count, *self._signs

    def _allocate(self, room: int) -> None:
        from ostinato.kernels import aligned

        self._levels, size = levels_of((room + 7) // 8, 1)
        self._best = np.full(size, -1, np.int32)
        self._lead_p, self._lead_i = aligned(size, np.float64), aligned(size, np.int64)
        if self._own:
            self._key = aligned(room, np.float64)

    def _fill_keys(self, slots: Slots) -> None:
        slots = slots[slots < self._table.count]
        keys = self._table.priority[slots] if self._keys is None else self._keys(slots)
        if self._scope is not None:
            factor = self._scope.factor[slots]
            # infinite is never first: left out
            keys = np.where(factor > 0, keys * factor, np.inf * (self._signs[0] or 1))
        self._key[slots] = keys

    def _build(self) -> None:
        from ostinato.replay import order_tree_kernels as kernels

        if self._own:
            self._fill_keys(np.arange(self._table.count))
        kernels.order_build(*self.arrays())

    def _set(self, slots: Slots) -> None:
        from ostinato.replay import order_tree_kernels as kernels

        if self._own:
            self._fill_keys(slots)
        best, lead_p, lead_i, levels, *rest = self.arrays()
        kernels.order_set(best, lead_p, lead_i, levels, slots, *rest)

    def first(self, n: int) -> Slots:
        """The first n slots (or all there are), in order. O(n log N)."""
        from ostinato.replay import order_tree_kernels as kernels

        table = self._table
        n = min(n, table.count if self._scope is None else self._scope.count)
        if 8 * n >= table.count:
            if self._own:
                self.refresh()
            ids, key = table.ids[: table.count], self.key[: table.count]
            order: Slots = np.lexsort((self._signs[1] * ids, self._signs[0] * key))
            return order[:n]
        self.refresh()
        slots = np.empty(n, np.int64)
        kernels.order_first(*self.arrays(), slots)
        return slots

    def replace(self, keys: Numbers, ids: NDArray[np.int64]) -> tuple[Slots, NDArray[np.int64]]:
        """Put new records into a full table one by one, each pushing out what then comes first of all.

        Writes table.ids and `key`. Returns (slots, removed): where each goes (-1: itself pushed out) and the
        id that went. Cost: O(log8 N) each, about 150 ns at a million.
        """
        from ostinato.replay import order_tree_kernels as kernels

        self.refresh()
        slots = np.empty(len(ids), np.int64)
        removed = np.empty(len(ids), np.int64)
        kernels.order_replace(*self.arrays(), keys, ids, slots, removed)
        return slots, removed

    def check(self) -> None:
        """State every invariant; for tests."""
        self.refresh()
        from ostinato.replay import order_tree_kernels as kernels

        if self._own:
            kept = self._key[: self._table.count].copy()
            self._fill_keys(np.arange(self._table.count))
            assert (kept == self._key[: self._table.count]).all()
        nodes = self._best.copy(), self._lead_p.copy(), self._lead_i.copy()
        kernels.order_build(*nodes, *self.arrays()[3:])
        for anew, was in zip(nodes, self.arrays()[:3], strict=True):
            assert (anew == was).all()
