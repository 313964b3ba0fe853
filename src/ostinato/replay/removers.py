"""Removers: which record leaves when a full buffer takes in another.

A remover is its settings; `attach` makes the index that does the work for one table. The seam is
`RemoverIndex`: whoever implements it can be given to a ReplayBuffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.replay.table import Table
from ostinato.replay.trees import OrderTree, Slots
from ostinato.results import Results

Placed = tuple[Slots, NDArray[np.int64]]


class RemoverIndex(Protocol):
    """A remover at work on one table."""

    def place(self, results: Results, priority: NDArray[np.float64], ids: NDArray[np.int64]) -> Placed:
        """Give new records slots, one after the other, as if each came alone.

        Writes table.priority, table.ids and table.count. Slots below `table.room` are there; a record
        may be given a slot that is in use only when count has reached the capacity.

        Returns:
            slots int64[m]: where each goes, -1 for one that is itself removed at once;
            removed int64[m]: the id that each pushes out, its own if it is itself removed, -1 for none.
        """

    def changed(self, slots: Slots) -> None:
        """These slots have another priority."""


class Remover(Protocol):
    """A remover's settings."""

    @property
    def save_order(self) -> Literal["priority", "age"]:
        """The order in which a saved file keeps what this remover would keep when it is loaded."""

    def attach(self, table: Table) -> RemoverIndex:
        """The index for one table."""


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

    def attach(self, table: Table) -> RemoverIndex:
        return _LowestPriorityIndex(table, 1 if self.ties == "oldest" else -1)


@dataclass(frozen=True, slots=True)
class Oldest:
    """The record that came first leaves: a sliding window. Cost: O(1) a record."""

    @property
    def save_order(self) -> Literal["priority", "age"]:
        return "age"

    def attach(self, table: Table) -> RemoverIndex:
        return _OldestIndex(table)


def _fill(table: Table, priority: NDArray[np.float64], ids: NDArray[np.int64]) -> Slots:
    """Put as many as fit into free slots."""
    free = min(table.capacity - table.count, len(ids))
    slots = np.arange(table.count, table.count + free)
    table.priority[slots] = priority[:free]
    table.ids[slots] = ids[:free]
    table.count += free
    return slots


class _LowestPriorityIndex:
    def __init__(self, table: Table, sign_id: int) -> None:
        self._table = table
        self.tree = OrderTree(table, 1, sign_id)

    def place(self, results: Results, priority: NDArray[np.float64], ids: NDArray[np.int64]) -> Placed:
        filled = _fill(self._table, priority, ids)
        self.tree.changed(filled)
        free = len(filled)
        if free == len(ids):
            return filled, np.full(free, -1, np.int64)
        slots, removed = self.tree.replace(priority[free:], ids[free:])
        return np.concatenate([filled, slots]), np.concatenate([np.full(free, -1, np.int64), removed])

    def changed(self, slots: Slots) -> None:
        self.tree.changed(slots)


class _OldestIndex:
    """Slots are filled in order and then taken over in order: the oldest is always the next."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._next = 0

    def place(self, results: Results, priority: NDArray[np.float64], ids: NDArray[np.int64]) -> Placed:
        table = self._table
        filled = _fill(table, priority, ids)
        free = len(filled)
        removed = np.full(len(ids), -1, np.int64)
        turns = np.arange(len(ids) - free)
        over = (self._next + turns) % table.capacity
        self._next = (self._next + len(turns)) % table.capacity
        # one round of the ring at a time: within it no slot comes twice
        for first in range(0, len(over), table.capacity):
            part = over[first : first + table.capacity]
            into = slice(free + first, free + first + len(part))
            removed[into] = table.ids[part]
            table.ids[part] = ids[into]
            table.priority[part] = priority[into]
        return np.concatenate([filled, over]), removed

    def changed(self, slots: Slots) -> None:
        pass
