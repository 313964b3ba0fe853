"""KeepBest at work: the order of its inner rule, with protected records last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ostinato.replay.groups import PROGRAM, Members
from ostinato.replay.removers import Ids, Order, Placed
from ostinato.replay.table import Table, as_bytes
from ostinato.replay.trees import Numbers, OrderTree, Slots, Waiting
from ostinato.results import RECORD, Results, packed_rows

_NOT_GOOD = np.uint64(2**64 - 1)
_PROTECTED = 2.0**1023  # as in keep_kernels, which needs numba
_LARGEST = float(np.nextafter(_PROTECTED, 0))


class KeepBestIndex:
    """Who is protected is known at all times; the kernels keep it while records come and go."""

    def __init__(self, table: Table, order: Order, keep: int) -> None:
        self._table = table
        self._order = order
        self._keep = keep
        self._members = Members(table, PROGRAM)
        self._champions = np.empty((0, keep), np.int32)
        self._base, self._cost = np.empty(0), np.empty(0, np.uint64)
        self._stale = Waiting(table)  # whose key of the inner rule has changed
        self.forced = 0
        # signs: keys are made to rise, so that protected ones are last
        self.tree = OrderTree(table, 1, order.sign_id, self._shown)

    def _shown(self, slots: Slots) -> Numbers:
        """The keys of slots: the largest for those that are protected."""
        groups = self._members.group_of[slots]
        alone = self._members.size[groups] == 1
        champion = (self._champions[groups] == slots[:, None]).any(1)
        return np.where(alone | champion, _protected_keys(self._table.ids[slots]), self._base[slots])

    def _grow(self) -> None:
        self._members.grow()
        more = self._table.room - len(self._base)
        if more > 0:
            self._base = np.concatenate([self._base, np.empty(more)])
            self._cost = np.concatenate([self._cost, np.empty(more, np.uint64)])
        groups = len(self._members.head)
        if groups > len(self._champions):
            new = np.full((groups - len(self._champions), self._keep), -1, np.int32)
            self._champions = np.concatenate([self._champions, new])

    def place(self, results: Results, priority: Numbers, ids: Ids) -> Placed:
        from ostinato.replay import keep_kernels as kernels

        table, members = self._table, self._members
        self._settle_stale()
        self._drop_dead_programs()
        rows = packed_rows(results)
        groups = members.numbering.of(as_bytes(rows), np.arange(len(rows)), len(rows))
        self._grow()
        self.tree.refresh()
        keys = np.minimum(self._order.sign_key * self._order.new_keys(priority, ids), _LARGEST)
        slots, removed = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
        table.count, forced = kernels.keep_place(
            *self.tree.arrays(), table.capacity, self._base, self._cost, self._champions, *members.lists,
            keys, _costs(rows), groups, ids, slots, removed,
        )  # fmt: skip
        self.forced += forced
        stays = slots >= 0
        table.priority[slots[stays]] = priority[stays]  # of those given one slot, the last
        return slots, removed

    def changed(self, slots: Slots) -> None:
        if self._order.keys is None:
            self._stale.add(slots)

    def sampled(self, slots: Slots) -> None:
        if self._order.by_use:
            self._stale.add(slots)

    def _settle_stale(self) -> None:
        if not self._stale:
            return
        slots = self._stale.slots()
        slots = slots[slots < self._table.count]
        self._base[slots] = self._inner_keys(slots)
        self.tree.changed(slots)
        self._stale.clear()

    def _inner_keys(self, slots: Slots) -> Numbers:
        keys = self._table.priority[slots] if self._order.keys is None else self._order.keys(slots)
        return np.minimum(self._order.sign_key * keys, _LARGEST)

    def moved(self, slots: Slots) -> None:
        from ostinato.replay import keep_kernels as kernels

        self._settle_stale()
        table, members = self._table, self._members
        groups = members.numbering.of_table(table, slots)
        self._grow()
        here = slots < table.count
        keys, costs = np.full(len(slots), np.nan), np.full(len(slots), _NOT_GOOD)
        keys[here] = self._inner_keys(slots[here])
        costs[here] = self._costs_at(slots[here])
        touched = np.empty(2 * len(slots), np.int32)
        kernels.keep_moved(self._base, self._cost, *members.lists, slots, keys, costs, groups, touched)
        self._settle(np.unique(touched[touched >= 0]))
        self.tree.changed(slots)

    def _costs_at(self, slots: Slots) -> NDArray[np.uint64]:
        parts = [
            _costs(rows.reshape(-1).view(RECORD)[places])
            for _, rows, places, _ in self._table.row_parts(slots)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint64), *parts])

    def _settle(self, groups: NDArray[np.int32]) -> None:
        """Champions of these programs anew, and the keys of their records."""
        from ostinato.replay import keep_kernels as kernels

        members = self._members
        kernels.keep_settle(self._table.ids, self._cost, self._champions, members.after, members.head, groups)
        listed = members.of(groups.astype(np.int64))
        if len(self.tree.key) == self._table.room:  # else all keys will be asked for anyway
            self.tree.changed(listed[self.tree.key[listed] != self._shown(listed)])

    def _drop_dead_programs(self) -> None:
        members = self._members
        groups = len(members.numbering)
        if groups > 4096 and groups > 4 * np.count_nonzero(members.size[:groups]):
            members.rebuild()
            self._champions = np.empty((0, self._keep), np.int32)
            self._grow()
            self._settle(np.arange(len(members.numbering), dtype=np.int32))

    def first(self, n: int) -> Slots:
        self._settle_stale()
        slots = self.tree.first(n)
        # up to the second of any program: who of it would be next depends on the first having gone
        repeats = np.ones(len(slots), np.bool_)
        repeats[np.unique(self._members.group_of[slots], return_index=True)[1]] = False
        return slots[: int(np.argmax(repeats))] if repeats.any() else slots

    def protected(self, slots: Slots) -> NDArray[np.bool_]:
        """bool[n]: which of these would leave only if nothing else could."""
        return np.asarray(self._shown(slots) >= _PROTECTED)

    def check(self) -> None:
        """State every invariant; for tests."""
        self._settle_stale()
        self.tree.check()
        self._members.check()
        table = self._table
        slots = np.arange(table.count)
        costs = self._costs_at(slots)
        assert (self._cost[: table.count] == costs).all()
        assert (self._base[: table.count] == self._inner_keys(slots)).all()
        for group in range(len(self._members.numbering)):
            listed = self._members.of(np.array([group]))
            good = listed[costs[listed] != _NOT_GOOD]
            order = good[np.lexsort((table.ids[good], costs[good]))][: self._keep]
            champions = self._champions[group]
            assert champions[champions >= 0].tolist() == order.tolist()


def _protected_keys(ids: Ids) -> Numbers:
    """As `protected_key` of the kernels."""
    bits = np.uint64(0x7FE0000000000000) + np.minimum(ids, (1 << 52) - 1).astype(np.uint64)
    return bits.view(np.float64)


def _costs(rows: NDArray[np.void]) -> NDArray[np.uint64]:
    """clock_cycles of results that can be a program's best, else what says that they cannot.

    A cost of 2**64 - 1 itself counts as none.
    """
    good = rows["valid"] & rows["measured"] & ~rows["fallback_used"]
    return np.where(good, rows["clock_cycles"], _NOT_GOOD)
