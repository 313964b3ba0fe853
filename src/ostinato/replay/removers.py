"""Removers: which record leaves when a full buffer takes in another.

A remover is its settings; `attach` makes the index that does the work for one table. The seam is
`RemoverIndex`: whoever implements it can be given to a ReplayBuffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.replay.table import Table
from ostinato.replay.trees import Keys, Numbers, OrderTree, Slots
from ostinato.results import Results

_FAR = 65_536
_NONE = np.empty(0, np.int64)
Ids = NDArray[np.int64]
Placed = tuple[Slots, Ids]


class RemoverIndex(Protocol):
    """A remover at work on one table.

    One that keeps the count of records it gave up against its own rule bears it as `forced`.
    """

    def place(self, results: Results, priority: Numbers, ids: Ids) -> Placed:
        """Give new records slots, one after the other, as if each came alone.

        Writes table.priority, table.ids and table.count. Slots below `table.room` are there; a record
        may be given a slot that is in use only when count has reached the capacity.

        Returns:
            slots int64[m]: where each goes, -1 where it is itself removed at once;
            removed int64[m]: the id that each pushes out, its own if it is itself removed, -1 for none.
        """

    def changed(self, slots: Slots) -> None:
        """These slots have another priority."""

    def sampled(self, slots: Slots) -> None:
        """These slots were drawn; `table.times_sampled` says how often."""

    def moved(self, slots: Slots) -> None:
        """Records left for another reason: these slots hold other records now, or from `table.count` on none."""

    def first(self, n: int) -> Slots:
        """The first n (or all there are) in the order in which they would leave.

        At least one, and perhaps fewer than n: as far as that order does not depend on who has left.
        """


class Remover(Protocol):
    """A remover's settings."""

    @property
    def save_order(self) -> Literal["priority", "age"]:
        """The order in which a saved file keeps what this remover would keep when it is loaded."""

    def attach(self, table: Table) -> RemoverIndex:
        """The index for one table."""


class Order(NamedTuple):
    """The order in which records leave: by a key, of equals by id, each rising (1) or falling (-1)."""

    sign_key: int
    sign_id: int
    keys: Keys | None  # of slots; None is the priority
    new_keys: Callable[[Numbers, Ids], Numbers]  # of records to come, by priority and id
    by_use: bool = False  # does the key change when a record is drawn?


@dataclass(frozen=True, slots=True)
class LowestPriority:
    """The record with the lowest priority leaves, be it the new one; of equals, the oldest or the newest.

    `ties="newest"` is the rule of Trident's own buffer, to the byte. Cost: O(log N) a record.
    """

    ties: Literal["oldest", "newest"] = "oldest"

    def __post_init__(self) -> None:
        if self.ties not in ("oldest", "newest"):
            raise UsageError(f"expected 'oldest' or 'newest', got {self.ties!r}", "ties")

    @property
    def save_order(self) -> Literal["priority", "age"]:
        return "priority"

    def order(self, table: Table) -> Order:
        """Rising priority."""
        return Order(1, 1 if self.ties == "oldest" else -1, None, lambda priority, ids: priority)

    def attach(self, table: Table) -> RemoverIndex:
        return _OrderedIndex(table, self.order(table))


@dataclass(frozen=True, slots=True)
class Oldest:
    """The record that came first leaves: a sliding window. Cost: O(1) a record."""

    @property
    def save_order(self) -> Literal["priority", "age"]:
        return "age"

    def order(self, table: Table) -> Order:
        """Rising id."""
        return Order(1, 1, lambda slots: np.zeros(len(slots)), lambda priority, ids: np.zeros(len(ids)))

    def attach(self, table: Table) -> RemoverIndex:
        return OldestIndex(table)


@dataclass(frozen=True, slots=True)
class LeastUseful:
    """The record that was drawn most often leaves, of equals the oldest: what is left is still to be learned from.

    Cost: O(log N) a record that comes or is drawn. Memory: 11 bytes a record.
    """

    @property
    def save_order(self) -> Literal["priority", "age"]:
        return "age"

    def order(self, table: Table) -> Order:
        """Falling number of times sampled."""
        return Order(
            -1, 1, lambda slots: table.times_sampled[slots].astype(np.float64),
            lambda priority, ids: np.zeros(len(ids)), by_use=True,
        )  # fmt: skip

    def attach(self, table: Table) -> RemoverIndex:
        return _OrderedIndex(table, self.order(table))


@dataclass(frozen=True, slots=True)
class Reservoir:
    """What stays is a uniform sample, without replacement, of all that was ever pushed.

    Each id has a random number, made of it and the seed; the largest leave (bottom-k sampling, Cohen and Kaplan
    2007; the sets that algorithm R of Vitter 1985 gives have the same distribution). So a new record may be
    removed at once. Cost: O(log N) a record. Memory: 11 bytes a record.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.seed, (int, np.integer)) or isinstance(self.seed, bool) or self.seed < 0:
            raise UsageError(f"expected an int >= 0, got {self.seed!r}", "seed")

    @property
    def save_order(self) -> Literal["priority", "age"]:
        return "age"

    def order(self, table: Table) -> Order:
        """Falling random number."""
        seed = int(self.seed) % 2**64
        return Order(
            -1,
            1,
            lambda slots: _random_of(table.ids[slots], seed),
            lambda priority, ids: _random_of(ids, seed),
        )

    def attach(self, table: Table) -> RemoverIndex:
        return _OrderedIndex(table, self.order(table))


@dataclass(frozen=True, slots=True)
class KeepBest:
    """Never removes the best results of a program, nor its last record, while anything else can go.

    Protected are, for each tir_hash, the `per_program` results with the fewest clock_cycles among the valid,
    measured ones without fallback, of equals the oldest, and any record that is the only one of its program.
    The inner rule orders the rest. When only protected records are left, the oldest of them goes, and is counted
    in `stats().forced`. A capacity in bytes removes in the same order; a limit of age and `max_times_sampled`
    remove whatever they hit.

    Args:
        inner: LowestPriority, Oldest, LeastUseful or Reservoir.
        per_program: how many, >= 1 and not above the capacity.

    Cost: O(log N) a record; when a protected one leaves, the program's records are looked through. Memory: 45
    bytes a record and 70 to 100 (and 8 * per_program) a program.
    """

    inner: LowestPriority | Oldest | LeastUseful | Reservoir
    per_program: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.inner, (LowestPriority, Oldest, LeastUseful, Reservoir)):
            raise UsageError(
                f"expected a remover with an order such as Oldest(), got {self.inner!r}", "inner"
            )
        k = self.per_program
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
            raise UsageError(f"expected an int >= 1, got {k!r}", "per_program")

    @property
    def save_order(self) -> Literal["priority", "age"]:
        return self.inner.save_order

    def attach(self, table: Table) -> RemoverIndex:
        if self.per_program > table.capacity:
            raise UsageError(
                f"{self.per_program} records of a program do not fit into a capacity of {table.capacity}",
                "per_program",
            )
        from ostinato.replay.keep_best import KeepBestIndex

        return KeepBestIndex(table, self.inner.order(table), int(self.per_program))


def _random_of(ids: Ids, seed: int) -> Numbers:
    """A number in [0, 1) of each id: SplitMix64 (Steele et al. 2014), its upper 53 bits."""
    with np.errstate(over="ignore"):
        x = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + _mix(np.uint64(seed))
        return np.asarray((_mix(x) >> np.uint64(11)) * 2.0**-53, np.float64)


def _mix(x: np.uint64 | NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))


def _fill(table: Table, priority: Numbers, ids: Ids) -> Slots:
    """Put as many as fit into free slots."""
    free = min(table.capacity - table.count, len(ids))
    slots = np.arange(table.count, table.count + free)
    table.priority[slots] = priority[:free]
    table.ids[slots] = ids[:free]
    table.count += free
    return slots


class _OrderedIndex:
    """What comes first in an order leaves."""

    def __init__(self, table: Table, order: Order) -> None:
        self._table = table
        self._order = order
        self.tree = OrderTree(table, order.sign_key, order.sign_id, order.keys)

    def place(self, results: Results, priority: Numbers, ids: Ids) -> Placed:
        filled = _fill(self._table, priority, ids)
        self.tree.changed(filled)
        free = len(filled)
        if free == len(ids):
            return filled, np.full(free, -1, np.int64)
        slots, removed = self.tree.replace(self._order.new_keys(priority, ids)[free:], ids[free:])
        if self._order.keys is not None:
            stays = slots >= 0
            self._table.priority[slots[stays]] = priority[free:][stays]  # of those given one slot, the last
        return np.concatenate([filled, slots]), np.concatenate([np.full(free, -1, np.int64), removed])

    def changed(self, slots: Slots) -> None:
        if self._order.keys is None:
            self.tree.changed(slots)

    def sampled(self, slots: Slots) -> None:
        if self._order.by_use:
            self.tree.changed(slots)

    def moved(self, slots: Slots) -> None:
        self.tree.changed(slots)

    def first(self, n: int) -> Slots:
        return self.tree.first(n)


class OldestIndex:
    """Ids rise in time: the oldest is the first id, from where we were, that is still here."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._next = 0  # no id below is here
        self._guess = 0  # the slot of that id, if slots were taken over in turn

    def begin(self, identity: int, slot: int) -> None:
        """All records are others: the oldest has this id, and is in this slot."""
        self._next, self._guess = identity, slot

    def first(self, n: int) -> Slots:
        table = self._table
        n = min(n, table.count)
        if not n:
            return np.empty(0, np.int64)
        from ostinato.replay import table_kernels as kernels

        turn = np.empty(n, np.int64)
        if kernels.turn_holds(table.ids, table.count, self._next, self._guess, turn):
            return turn
        found: list[Slots] = []
        missing = n
        at = begin = self._next
        width = missing + 64
        while missing > 0:
            if at - begin > 4 * table.count + _FAR:  # most of those ids are gone
                order = np.argsort(table.ids[: table.count])
                self._next, self._guess = int(table.ids[order[0]]), int(order[0])
                return order[:n]
            slots = table.find(np.arange(at, at + width))
            places = np.flatnonzero(slots >= 0)[:missing]
            if not found:  # what was passed before the first is gone for good
                self._next = at + (int(places[0]) if len(places) else width)
                self._guess = int(slots[places[0]]) if len(places) else 0
            if len(places):
                found.append(slots[places])
            missing -= len(places)
            at += width
            width *= 2
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def place(self, results: Results, priority: Numbers, ids: Ids) -> Placed:
        table = self._table
        before = table.count
        need = len(ids) - min(table.capacity - before, len(ids))
        leaving = self.first(min(need, before)) if need else np.empty(0, np.int64)
        slots, removed = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
        free = len(ids) - need
        filled = _NONE
        if free:
            filled = _fill(table, priority, ids)
            slots[:free], removed[:free] = filled, -1
        if not need:
            return slots, removed
        from ostinato.replay import table_kernels as kernels

        # after all that were here, the new ones leave in their turn, from the slots they were given
        ring = leaving if need <= before else np.concatenate([leaving, filled])
        kernels.place_in_turn(
            table.ids, table.priority, ring, ids[free:], priority[free:], slots[free:], removed[free:]
        )
        if need < before:
            self._next += need
            self._guess = (self._guess + need) % table.count
        return slots, removed

    def changed(self, slots: Slots) -> None:
        pass

    def sampled(self, slots: Slots) -> None:
        pass

    def moved(self, slots: Slots) -> None:
        pass
