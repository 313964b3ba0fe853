"""Groups of a table's records: by program, by model version, by outcome.

Numbering   a number for each program or version, as they first appear
Members     which records are in a group, as linked lists
Forest      a sum tree for each group, and one over the groups
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.replay.state import Reader
from ostinato.replay.table import Table
from ostinato.replay.trees import Numbers, Scope, Slots, Waiting, levels_of
from ostinato.result import HASH_BYTES
from ostinato.results import VERSION_AT

_CHUNK = 65_536
_NONE = np.empty(0)
PROGRAM, MODEL_VERSION = (0, HASH_BYTES), (VERSION_AT, 4)  # begin and size of the key in a row
OUTCOMES = ("invalid", "fallback", "valid", "improved")


class Numbering:
    """Numbers of programs or model versions. Memory: 45 to 80 bytes a program."""

    def __init__(self, kind: tuple[int, int]) -> None:
        self._begin, self._size = kind
        self._secret = np.array(
            [secrets.randbits(64), secrets.randbits(64)], np.uint64
        )  # no effect on numbers
        self.clear()

    def clear(self) -> None:
        """Forget all groups."""
        self._keys = np.empty((16, self._size), np.uint8)
        self._index = np.zeros(32, np.uint64)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def size(self) -> int:
        """Bytes of a key."""
        return self._size

    @property
    def keys(self) -> NDArray[np.uint8]:
        """uint8[groups, size]."""
        return self._keys[: self._used]

    def restore(self, keys: NDArray[np.uint8]) -> None:
        """Number these keys, uint8[groups, size], in this order."""
        self.clear()
        self._make_room(len(keys))
        self._keys[: len(keys)] = keys
        self._used = len(keys)
        self._reindex(len(self._index))

    def of(self, rows: NDArray[np.uint8], slots: Slots, count: int) -> NDArray[np.int32]:
        """int32[n]: the groups of these rows, -1 from `count` on; new ones are numbered."""
        from ostinato.replay import group_kernels as kernels

        out = np.empty(len(slots), np.int32)
        for first in range(0, len(slots), _CHUNK):
            part = slots[first : first + _CHUNK]
            self._make_room(len(part))
            self._used = kernels.number(
                rows, part, count, self._begin, self._size, self._keys, self._index, self._used, self._secret,
                out[first : first + len(part)],
            )  # fmt: skip
        return out

    def of_table(self, table: Table, slots: Slots) -> NDArray[np.int32]:
        """The same of a table's slots."""
        parts = [self.of(rows, places, count) for _, rows, places, count in table.row_parts(slots)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])

    def _make_room(self, new: int) -> None:
        wanted = self._used + new
        if wanted > len(self._keys):
            keys = np.empty((max(wanted, 2 * len(self._keys)), self._size), np.uint8)
            keys[: self._used] = self._keys[: self._used]
            self._keys = keys
        if 2 * wanted > len(self._index):
            size = len(self._index)
            while size < 2 * wanted:
                size *= 2
            self._reindex(size)

    def _reindex(self, size: int) -> None:
        from ostinato.replay import group_kernels as kernels

        self._index = np.zeros(size, np.uint64)
        kernels.index_groups(self._index, self._keys, self._used, self._secret)


class Members:
    """Linked lists of the slots of each group. Memory: 12 bytes a slot, 8 a group, and the numbering."""

    def __init__(self, table: Table, kind: tuple[int, int]) -> None:
        self._table = table
        self.numbering = Numbering(kind)
        self.group_of, self.after, self.before = (np.empty(0, np.int32) for _ in range(3))
        self.head, self.size = np.empty(0, np.int32), np.empty(0, np.int32)

    def grow(self) -> None:
        """Have room for all slots of the table and all groups."""
        more = self._table.room - len(self.group_of)
        if more > 0:
            for name in ("group_of", "after", "before"):
                setattr(self, name, np.concatenate([getattr(self, name), np.full(more, -1, np.int32)]))
        groups = len(self.numbering)
        if groups > len(self.head):
            room = max(2 * groups, 64)
            head, size = np.full(room, -1, np.int32), np.zeros(room, np.int32)
            head[: len(self.head)], size[: len(self.size)] = self.head, self.size
            self.head, self.size = head, size

    @property
    def lists(self) -> tuple[Any, Any, Any, Any, Any]:
        """What the kernels of linked lists take."""
        return self.group_of, self.after, self.before, self.head, self.size

    def set(self, slots: Slots) -> None:
        """Put slots into the groups that their records belong to now."""
        from ostinato.replay import group_kernels as kernels

        numbers = self.numbering.of_table(self._table, slots)
        self.grow()
        kernels.regroup(*self.lists, slots, numbers)

    def rebuild(self) -> None:
        """Everything anew, with numbers for the groups that are there alone."""
        self.numbering.clear()
        self.group_of, self.head = np.empty(0, np.int32), np.empty(0, np.int32)
        self.after, self.before, self.size = self.group_of, self.group_of, self.head
        self.set(np.arange(self._table.count))

    def of(self, groups: NDArray[np.int64]) -> Slots:
        """The slots of these groups."""
        from ostinato.replay import group_kernels as kernels

        out = np.empty(int(self.size[groups].sum()), np.int64)
        kernels.members_of(self.after, self.head, groups, out)
        return out

    def check(self) -> None:
        """State every invariant; for tests."""
        table = self._table
        slots = np.arange(len(self.group_of))
        assert (self.group_of[table.count :] == -1).all()
        numbers = self.numbering.of_table(table, slots)
        assert (numbers == self.group_of).all()
        for g in range(len(self.numbering)):
            listed = self.of(np.array([g]))
            assert sorted(listed.tolist()) == np.flatnonzero(self.group_of == g).tolist()


class Forest:
    """A sum tree over each group's records, and one over the groups: a group, then a record, in O(log N).

    Args:
        kind: PROGRAM, or None for outcomes. alpha, scope: the leaves, as in SumTree.
        exponent: a group's weight is its number of records with a positive leaf to this power.

    Which record a number gives depends on the order of a group's members, and that on nothing but which slots
    changed between one `refresh` and the next: never on how much room there was. Memory: 24 to 50 bytes a slot, and
    about 200 a program.
    """

    def __init__(
        self,
        table: Table,
        kind: tuple[int, int] | None,
        alpha: float | None,
        exponent: float,
        scope: Scope | None = None,
    ) -> None:
        self._table = table
        self._numbering = None if kind is None else Numbering(kind)
        self._alpha, self._exponent, self._scope = alpha, exponent, scope
        self._waiting = Waiting(table)
        self._laid_out = False
        self._nodes, self._members = np.empty(0), np.empty(0, np.int32)
        self._group_of, self._place = np.empty(0, np.int32), np.empty(0, np.int32)
        self._used = np.zeros(2, np.int64)  # cells, living groups
        self._no_groups()

    def _no_groups(self) -> None:
        self._start, self._cap, self.size = (
            np.empty(0, np.int64),
            np.empty(0, np.int32),
            np.empty(0, np.int32),
        )
        self.totals, self._drawable, self._weights = np.empty(0), np.empty(0, np.int32), np.empty(0)
        self._levels, self._top, self._sums = np.empty(0, np.int64), np.empty(0), np.empty(0)

    def changed(self, slots: Slots) -> None:
        """These slots have another record or priority. O(1)."""
        self._waiting.add(slots)

    def refresh(self) -> None:
        """Carry out what was noted."""
        try:
            self._refresh()
        except BaseException:  # an interrupt, or no memory: all anew at the next use
            self._forget()
            raise

    def _forget(self) -> None:
        if self._numbering is not None:
            self._numbering.clear()
        self._group_of, self._place = np.empty(0, np.int32), np.empty(0, np.int32)
        self._waiting.become(np.arange(self._table.count))
        self._laid_out = False

    def _refresh(self) -> None:
        if not self._laid_out:
            self._lay_out_again()
            self._laid_out = True
        if not self._waiting:
            return
        slots = self._waiting.slots()
        self._waiting.clear()
        numbers = self._numbers(slots)
        self._grow()
        self._put(slots, numbers)
        if self._group_count() > 2 * int(self._used[1]) + 1024:  # mostly dead ones
            if self._numbering is not None:
                self._numbering.clear()
            self._group_of[:] = -1
            everything = np.arange(self._table.count)
            self._lay_out(everything, self._numbers(everything))

    def _numbers(self, slots: Slots) -> NDArray[np.int32]:
        from ostinato.replay import group_kernels as kernels

        if self._numbering is not None:
            return self._numbering.of_table(self._table, slots)
        out = np.empty(len(slots), np.int32)
        for part, rows, places, count in self._table.row_parts(slots):
            kernels.outcomes(rows, places, count, out[part])
        return out

    def _group_count(self) -> int:
        return len(OUTCOMES) if self._numbering is None else len(self._numbering)

    def _grow(self) -> None:
        """Have places for all slots and groups; the tree over the groups is made anew when it grows."""
        from ostinato.kernels import aligned

        more = self._table.room - len(self._group_of)
        if more > 0:
            self._group_of = np.concatenate([self._group_of, np.full(more, -1, np.int32)])
            self._place = np.concatenate([self._place, np.zeros(more, np.int32)])
        groups = self._group_count()
        if groups <= len(self._start):
            return
        room = max(2 * groups, 64)
        for name in ("_start", "_cap", "size", "totals", "_drawable", "_weights"):
            old = getattr(self, name)
            larger = np.zeros(room, old.dtype)
            larger[: len(old)] = old
            setattr(self, name, larger)
        self._levels, cells = levels_of(room, 8)
        self._top, self._sums = aligned(cells, np.float64), aligned(cells, np.float64)
        self._build_top()

    def _build_top(self) -> None:
        from ostinato.replay import sum_tree_kernels as kernels

        top = self._top, self._sums, _NONE, self._levels
        kernels.sum_build(*top, self._weights, 1.0, _NONE, len(self._weights))

    def _lay_out(self, slots: Slots, numbers: NDArray[np.int32]) -> None:
        """All trees anew, each group's records in the order given."""
        from ostinato.kernels import aligned
        from ostinato.replay import group_kernels as kernels

        self._no_groups()
        self._grow()
        groups = self._group_count()
        sizes = np.bincount(numbers, minlength=groups).astype(np.int64)
        caps = np.maximum(8, (sizes + sizes // 4 + 7) & ~7)
        known, inverse = np.unique(caps, return_inverse=True)
        cells = np.array([kernels.tree_cells(int(cap)) for cap in known], np.int64)[inverse]
        ends = np.cumsum(cells)
        total = int(ends[-1]) if groups else 0
        room = total + total // 2 + 4096
        self._nodes, self._members = aligned(room, np.float64), aligned(room, np.int32)
        self._start[:groups], self._cap[:groups] = ends - cells, caps
        self._used[:] = total, 0
        self._group_of[:] = -1
        self._put(slots, numbers)

    def _lay_out_again(self) -> None:
        """The same members in the same order, with room for more."""
        listed = np.flatnonzero(self._group_of >= 0)
        order = listed[np.lexsort((self._place[listed], self._group_of[listed]))]
        self._lay_out(order, self._group_of[order])

    def _put(self, slots: Slots, numbers: NDArray[np.int32]) -> None:
        """Give slots their groups and leaves, one after the other."""
        from ostinato.replay import group_kernels as kernels

        table = self._table
        values = _NONE if self._alpha is None else table.priority
        factor = _NONE if self._scope is None else self._scope.factor
        touched = np.empty(2 * len(slots), np.int32)
        many = len(slots) > len(self._group_of) // 16  # then sums are cheaper made all at once
        done = kernels.forest_set(
            self._nodes, self._members, self._start, self._cap, self.size, self.totals, self._drawable,
            self._used, self._group_of, self._place, slots, numbers,
            values, self._alpha or 0.0, factor, table.count, touched, not many,
        )  # fmt: skip
        if done < len(slots):  # no cells left: more, in the order that is
            self._lay_out_again()
            self._put(slots[done:], numbers[done:])
            return
        if many:
            groups = np.arange(self._group_count(), dtype=np.int32)
            kernels.forest_sums(self._nodes, self._start, self._cap, self.totals, groups)
        else:
            groups = np.unique(touched)
            groups = groups[groups >= 0]
        kernels.group_weights(groups, self.totals, self._drawable, self._exponent, self._weights)
        if many:
            self._build_top()
        else:
            self._set_top(groups.astype(np.int64))

    def _set_top(self, groups: NDArray[np.int64]) -> None:
        from ostinato.replay import sum_tree_kernels as kernels

        top = self._top, self._sums, _NONE, self._levels
        kernels.sum_set(*top, groups, self._weights, 1.0, _NONE, len(self._weights))

    def total(self) -> float:
        """The sum of the groups' weights."""
        self.refresh()
        total = 0.0
        for node in self._top[self._levels[-1] :].tolist() if len(self._levels) else ():
            total += node
        return total

    def choose(self, numbers: Numbers) -> NDArray[np.int64]:
        """Groups by their weights, from stratified uniform numbers, which are used up."""
        from ostinato.replay import sum_tree_kernels as kernels

        n = len(numbers)
        groups = np.empty(n, np.int64)
        kernels.sum_draw(
            self._top, self._sums, self._levels, numbers, True, self.total(), 1, 0.0, 0.0,
            groups, np.empty(n), np.empty(n, np.float32),
        )  # fmt: skip
        return groups

    def find(self, groups: NDArray[np.int64], numbers: Numbers) -> tuple[Slots, Numbers]:
        """A record of each group by a uniform number: (slots, share of the record in its group)."""
        from ostinato.replay import group_kernels as kernels

        slots, shares = np.empty(len(groups), np.int64), np.empty(len(groups))
        kernels.forest_find(
            self._nodes, self._members, self._start, self._cap, self.totals, groups, numbers, slots, shares
        )
        return slots, shares

    def group_of(self, slots: Slots) -> NDArray[np.int64]:
        """The group of each slot."""
        self.refresh()
        return self._group_of[slots].astype(np.int64)

    def weight(self, groups: NDArray[np.int64]) -> Numbers:
        """The weight of each group among all."""
        found: Numbers = self._weights[groups]
        return found

    def shares(self, slots: Slots) -> Numbers:
        """The share of each record in its group."""
        groups = self.group_of(slots)
        found: Numbers = self._nodes[self._start[groups] + self._place[slots]] / self.totals[groups]
        return found

    def state(self) -> dict[str, NDArray[Any]]:
        """What a draw depends on and the table does not say: the order of each group's members, and what waits."""
        end = int(np.flatnonzero(self._group_of >= 0)[-1]) + 1 if (self._group_of >= 0).any() else 0
        out: dict[str, NDArray[Any]] = {
            "group_of": self._group_of[:end].copy(),
            "place": self._place[:end].copy(),
            "waiting": self._waiting.slots(),
        }
        if self._numbering is not None:
            out["keys"] = self._numbering.keys.copy()
        return out

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from a state; the table has been restored already.

        Raises:
            DamageError: it does not fit the table.
        """
        reader = Reader(state)
        table = self._table
        group_of = reader.take("group_of", np.int32, None)
        place = reader.take("place", np.int32, len(group_of))
        waiting = reader.take("waiting", np.int64, None)
        for name, array, end in (
            ("group_of", group_of, table.capacity),
            ("waiting", waiting, 2 * table.capacity),
        ):
            reader.require(len(array) <= end, name, f"expected {end} at most, got {len(array)}")
        inside = len(waiting) == 0 or (waiting[0] >= 0 and waiting[-1] < table.capacity)
        reader.require(inside and (np.diff(waiting) > 0).all(), "waiting", "expected slots that rise")
        if self._numbering is not None:
            keys = reader.take("keys", np.uint8, None, self._numbering.size)
            reader.require(len(np.unique(keys, axis=0)) == len(keys), "keys", "expected groups that differ")
            self._numbering.restore(keys)
        end = max(table.room, len(group_of), *(waiting[-1:] + 1).tolist())
        self._group_of, self._place = np.full(end, -1, np.int32), np.zeros(end, np.int32)
        self._group_of[: len(group_of)], self._place[: len(place)] = group_of, place
        settled = np.ones(end, np.bool_)
        settled[waiting[waiting < end]] = False
        slots = np.flatnonzero(settled)
        groups = self._group_count()
        known = ((group_of >= -1) & (group_of < groups)).all()
        fits = (self._numbers(slots) == self._group_of[slots]).all() and self._group_count() == groups
        if not (known and fits) and table.may_differ:
            self._forget()
            return
        reader.require(known and fits, "group_of", "records are in other groups than they say")
        self._waiting.become(waiting.copy())
        self._laid_out = False

    def check(self) -> None:
        """State every invariant; for tests."""
        self.refresh()
        table = self._table
        slots = np.arange(table.count)
        numbers = self._numbers(slots)
        assert (self._group_of[: table.count] == numbers).all()
        assert (self._group_of[table.count :] == -1).all()
        assert (self._members[self._start[numbers] + self._place[: table.count]] == slots).all()
        sizes = np.bincount(numbers, minlength=len(self.size))
        assert (sizes == self.size).all()
        assert (self.size <= np.maximum(self._cap, 0)).all()
        leaves = np.ones(table.count)
        if self._alpha is not None:
            priority = table.priority[: table.count]
            leaves = np.where(priority > 0, priority**self._alpha, 0.0)
        if self._scope is not None:
            leaves = leaves * self._scope.factor[: table.count]
        np.testing.assert_allclose(
            self._nodes[self._start[numbers] + self._place[: table.count]], leaves, 1e-13
        )
        sums = np.bincount(numbers, leaves, minlength=len(self.totals))
        np.testing.assert_allclose(self.totals, sums, rtol=1e-12)
        drawable = np.bincount(numbers, leaves > 0, minlength=len(self.totals))
        assert (drawable == self._drawable).all()
        weights = np.where(sums > 0, drawable**self._exponent, 0.0)
        np.testing.assert_allclose(self._weights, weights, rtol=1e-13)
        np.testing.assert_allclose(self.total(), weights.sum(), rtol=1e-12)
