"""Runs: where the records of a buffer lie, and what they are called, in the order in which they arrived.

Records mostly come as they lie in a file: then an arrival more is a record id more and a place STEP more. So four numbers
say it for all of a run (its first arrival, record id and place, and its size), and a million records may need one
run. In the worst case, journals of single appends, each record is a run of its own.

Rule of this file: what a run says was once so. Records in it may have left, and nobody asks for those; but none of
it is in another run, since a record that left does not come again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
_ROOM = 1024  # runs, with which it begins
_SHARE = 64  # records a run, from which on runs are looked through before more memory is taken
_EXPANDED = 65_536  # arrivals handed out at once
_NAMES = ("first", "store", "place", "size")


class Runs:
    """Arrivals, which rise, to record ids and places, and back.

    Attributes:
        first, store, place, size: int64[room]: the first arrival, record id and place of each run, and how many
            records it has. used: how many runs.

    Memory: 32 bytes a run, up to a half more unused, and 16 once records were looked for.
    """

    def __init__(self) -> None:
        self.first, self.store, self.place, self.size = (np.empty(_ROOM, np.int64) for _ in _NAMES)
        self._order, self._begins = np.empty(0, np.int64), np.empty(0, np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.used = 0
        self._sorted = False

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(array.nbytes for array in (*self._arrays(), self._order, self._begins))

    def append(self, arrivals: Numbers, record_ids: Numbers, places: Numbers, living: Numbers) -> None:
        """More records, the arrivals rising. `living` are all arrivals still wanted, in any order.

        Cost: 2 ns each; once in a while all of the living are looked through, which is O(log runs) each, amortised
        O(1) a run.
        """
        from ostinato.replay import runs_kernels as kernels

        if not len(arrivals):
            return
        done = 0
        before = self.used
        while True:
            self.used, done = kernels.append(*self._arrays(), self.used, arrivals, record_ids, places, done)
            if done == len(arrivals):
                break
            self._make_room(living)
            before = -1
        self._sorted = self._sorted and self.used == before

    def _arrays(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        return self.first, self.store, self.place, self.size

    def _make_room(self, living: Numbers) -> None:
        if self.used >= max(_ROOM, len(living) // _SHARE):
            self._forget_dead(living)
        room = len(self.first)
        if 3 * self.used > 2 * room:
            for name in _NAMES:
                larger = np.empty(room + room // 2, np.int64)
                larger[: self.used] = getattr(self, name)[: self.used]
                setattr(self, name, larger)

    def _forget_dead(self, living: Numbers) -> None:
        from ostinato.replay import runs_kernels as kernels

        marks = np.zeros(self.used, np.uint8)
        marks[-1] = 1  # others of the call that needs room are behind it
        kernels.mark(self.first, self.used, living, marks)
        self.used = kernels.keep(*self._arrays(), self.used, marks)
        self._sorted = False

    def locate(self, arrivals: Numbers) -> tuple[Numbers, Numbers]:
        """(record ids, places), int64[n] each, -1 for an arrival that no run has. O(log runs) each."""
        from ostinato.replay import runs_kernels as kernels

        record_ids, places = np.empty(len(arrivals), np.int64), np.empty(len(arrivals), np.int64)
        if len(arrivals):
            kernels.locate(*self._arrays(), self.used, arrivals, record_ids, places)
        return record_ids, places

    def arrivals_of(self, record_ids: Numbers) -> Numbers:
        """int64[n]: the arrivals of records, -1 where no run has one. O(log runs) each, and a sort after runs have changed."""
        from ostinato.replay import runs_kernels as kernels

        arrivals = np.full(len(record_ids), -1, np.int64)
        if not self.used or not len(record_ids):
            return arrivals
        if not self._sorted:
            self._order = np.argsort(self.store[: self.used], kind="stable")
            self._begins = self.store[self._order]
            self._sorted = True
        kernels.arrivals_of(self.first, self.size, self.used, self._order, self._begins, record_ids, arrivals)
        return arrivals

    def inside(self, numbers: Numbers) -> NDArray[np.bool_]:
        """bool[used]: which runs lie in these buffers."""
        return np.isin(self.place[: self.used] >> 32, numbers)

    def expand(self, which: NDArray[np.bool_]) -> Iterator[Numbers]:
        """All arrivals of some runs, rising, a part at a time."""
        begins, sizes = self.first[: self.used][which], self.size[: self.used][which]
        total = np.cumsum(sizes)
        for low in range(0, int(total[-1]) if len(total) else 0, _EXPANDED):
            numbers = np.arange(low, min(low + _EXPANDED, int(total[-1])))
            run = np.searchsorted(total, numbers, side="right")
            yield begins[run] + numbers - (total - sizes)[run]

    def move(self, arrivals: Numbers, places: Numbers, drop: NDArray[np.bool_] | None = None) -> None:
        """These arrivals, which rise, lie at other places now; what else is in the runs of `drop` is forgotten. O(runs + n)."""
        from ostinato.replay import runs_kernels as kernels

        flags = np.zeros(self.used, np.uint8) if drop is None else drop.view(np.uint8)
        new = [np.empty(self.used + 2 * len(arrivals), np.int64) for _ in _NAMES]
        used = kernels.move(*self._arrays(), self.used, flags, arrivals, places, *new)
        room = max(_ROOM, used + used // 4)
        if 2 * room < len(new[0]):  # nearly all have become one
            new = [np.concatenate([array[:used], np.empty(room - used, np.int64)]) for array in new]
        elif len(new[0]) < room:
            new = [np.concatenate([array, np.empty(room - len(array), np.int64)]) for array in new]
        self.first, self.store, self.place, self.size = new
        self.used, self._sorted = used, False

    def check(self) -> None:
        """State every invariant; for tests."""
        first, store, place, size = (array[: self.used] for array in self._arrays())
        assert (size > 0).all()
        assert (first[1:] >= (first + size)[:-1]).all()
        together = (first[1:] - first[:-1] == size[:-1]) & (store[1:] - store[:-1] == size[:-1])
        assert not (together & (place[1:] - place[:-1] == 12 * size[:-1])).any()
