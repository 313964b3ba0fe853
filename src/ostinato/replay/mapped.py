"""MappedTable: a table of records that stay where they lie, in buffers that somebody else maps.

A slot holds an arrival number (`ids`, the table's own: they rise as records come), a priority, a count and a bit
(is it valid?): 20 bytes. What a record is called and where it lies is in runs; its fields and instructions are
read when they are asked for. Record ids are what users hold; arrivals are what removers and samplers see.

Rule of this file: what cannot be read never stops who asks for fields in bulk. It counts as a row of zeros, and its
arrival is noted in `hurt`, so that the buffer can let it go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import Buffers, DamagedPlaces
from ostinato.errors import UsageError
from ostinato.replay.runs import Runs
from ostinato.replay.table import (
    GONE,
    GONE_AGE,
    GONE_NEVER,
    GONE_TIMES,
    VALID,
    DamagedSlots,
    Gathered,
    RowPart,
    Table,
    as_bytes,
)
from ostinato.results import RECORD, Results
from ostinato.text import CHUNK, Text
from ostinato.vocabulary import Vocabulary

Ints = NDArray[np.int64]
_SPANS = 1024  # records whose text is copied at once


class MappedTable(Table):
    """Records in slots, as `Table`; see the module.

    Attributes:
        runs: arrivals to record ids and places. hurt: arrivals found damaged that the buffer has not seen to.

    Memory: 20.2 bytes a slot, up to 21 more once records left in another way than in turn, and 32 to 64 a run.
    """

    may_differ = True

    def __init__(self, capacity: int, words: Vocabulary, buffers: Buffers) -> None:
        super().__init__(capacity, words)
        self._columns = ("ids", "priority", "times_sampled")
        self._buffers = buffers
        self._valid = np.empty(0, np.uint8)  # a bit a slot
        self.runs = Runs()
        self.hurt: list[int] = []

    @property
    def nbytes(self) -> int:
        """Bytes in use for all of this, the vocabulary aside."""
        return super().nbytes + self._valid.nbytes + self.runs.nbytes

    def make_room(self, new: int) -> None:
        """Have slots for `new` more records, up to the capacity. Doubles, so O(1) amortised."""
        super().make_room(new)
        if self.room > 8 * len(self._valid):
            valid = np.zeros((self.room + 7) // 8, np.uint8)
            valid[: len(self._valid)] = self._valid
            self._valid = valid

    # --- coming and going -----------------------------------------------------------------------------------

    def put(
        self,
        rows: NDArray[np.void],
        record_ids: Ints,
        places: Ints,
        new_ids: Ints,
        slots: Ints,
        removed: Ints,
    ) -> Ints:
        """Store new records where the remover has placed them; returns the slots that changed.

        Args:
            rows: RECORD[m], their fields. record_ids, places: int64[m]. new_ids, slots, removed: as for `take_in`.
        """
        from ostinato.replay import mapped_kernels as kernels

        self.runs.append(new_ids, record_ids, places, self.ids[: self.count])
        in_turn = kernels.take_in(
            self._index, self.ids, self._valid, self.times_sampled, self.counters,
            slots, removed, new_ids, as_bytes(rows), self._turn, self.capacity,
        )  # fmt: skip
        if not in_turn:
            self._make_index()
        return slots if slots.min(initial=0) >= 0 else slots[slots >= 0]

    def begin_anew(self, skipped: int) -> None:
        """All records that are here leave, and so many new ones come and leave, each when `capacity` more had come.

        Only while slots are taken in turn. Then comes `fill` for up to `capacity` records, and `end_anew`; in
        between, slots that are still to be filled hold nothing.
        """
        used = self.times_sampled[: self.count]
        gone = self.count + skipped
        self.counters[VALID] = 0
        self.counters[GONE] += gone
        self.counters[GONE_AGE] += gone * self.capacity
        self.counters[GONE_TIMES] += int(used.sum())
        self.counters[GONE_NEVER] += int((used == 0).sum()) + skipped
        used[:] = 0
        self._valid[:] = 0
        self.next_id += skipped
        self.count = self.capacity
        self.runs.clear()

    def fill(
        self, rows: NDArray[np.void], record_ids: Ints, places: Ints, priority: NDArray[np.float64]
    ) -> None:
        """The next records go to the slots whose turn it is."""
        ids = np.arange(self.next_id, self.next_id + len(rows))
        slots = (ids + self._turn) % self.capacity
        self.runs.append(ids, record_ids, places, ids)
        self.ids[slots], self.priority[slots] = ids, priority
        self._set_valid(slots, rows)
        self.next_id += len(rows)

    def end_anew(self, n: int) -> int:
        """So many records were filled in; returns the slot of the first. If that is not all slots, it is moved to 0."""
        first = self.next_id - n
        slot = (first + self._turn) % self.capacity
        if n == self.capacity:
            return slot
        slots = (slot + np.arange(n)) % self.capacity
        bits = np.unpackbits(self._valid, bitorder="little")[slots]
        priority = self.priority[slots]
        self.ids[:n], self.priority[:n] = np.arange(first, first + n), priority
        self._valid[:] = 0
        self._valid[: (n + 7) // 8] = np.packbits(bits, bitorder="little")
        self.count = n
        self._turn = -first % self.capacity
        return 0

    @property
    def in_turn(self) -> bool:
        """Are slots still taken in turn?"""
        return self._in_turn

    def take_out(self, slots: Ints) -> Ints:
        """Remove the records in these slots; the last ones move into the holes. Returns the slots that changed.

        Slots from `count` on are among those: they hold nothing any more.
        """
        from ostinato.replay import mapped_kernels as kernels

        falling = np.unique(slots)[::-1]
        if not len(falling):
            return falling
        before = self.count
        self.count = kernels.take_out(
            self._index, self.ids, self.priority, self._valid, self.times_sampled, self.counters,
            np.ascontiguousarray(falling), before, self.next_id - 1,
        )  # fmt: skip
        self._moved(falling)
        return np.union1d(falling, np.arange(self.count, before))

    def become(
        self,
        arrivals: Ints,
        record_ids: Ints,
        places: Ints,
        priority: NDArray[np.float64],
        times_sampled: NDArray[np.int32],
        next_id: int,
        counters: Ints,
    ) -> None:
        """Fill an empty table: record i goes to slot i, as a state has it; places may be -1, of records that are gone."""
        n = len(arrivals)
        self.make_room(n)
        self.ids[:n], self.priority[:n], self.times_sampled[:n] = arrivals, priority, times_sampled
        self.count, self.next_id = n, next_id
        order = np.argsort(arrivals)
        self.runs.append(arrivals[order], record_ids[order], places[order], arrivals)
        if n:
            self._turn = -int(arrivals[0]) % self.capacity
            if ((arrivals + self._turn) % self.capacity != np.arange(n)).any():
                self._make_index()
        self.counters[GONE:] = counters[GONE:]
        for first in range(0, n, CHUNK):
            self.content_changed(np.arange(first, min(first + CHUNK, n)))

    def content_changed(self, slots: Ints) -> None:
        """The records in these slots have other fields now."""
        self._set_valid(slots, self.rows_at(slots))

    def _set_valid(self, slots: Ints, rows: NDArray[np.void]) -> None:
        from ostinato.replay import mapped_kernels as kernels

        kernels.set_valid(self._valid, self.counters, slots, as_bytes(rows))

    def relocate(self, old: Ints, record_ids: Ints, places: Ints) -> Ints:
        """Buffers `old` are left: records in them lie at these places now, and those without one are gone.

        Returns the slots of those; they are to be taken out before anything is read.
        Cost: O(log n) for each record in those buffers.
        """
        inside = self.runs.inside(old)
        order = np.argsort(record_ids, kind="stable")
        known = record_ids[order]
        moved, targets, lost = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for arrivals in self.runs.expand(inside):
            wanted, _ = self.runs.locate(arrivals)
            at = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
            found = known[at] == wanted if len(known) else np.zeros(len(wanted), np.bool_)
            moved.append(arrivals[found])
            targets.append(places[order[at[found]]])
            lost.append(arrivals[~found])
        if inside.any():
            self.runs.move(np.concatenate(moved), np.concatenate(targets), inside)
        slots = self.find(np.concatenate(lost))
        return slots[slots >= 0]

    def amend(self, slots: Ints, places: Ints) -> None:
        """The records in these slots, each once, lie elsewhere and have other fields."""
        arrivals = self.ids[slots]
        order = np.argsort(arrivals)
        self.runs.move(arrivals[order], places[order])
        self.content_changed(slots)

    # --- finding --------------------------------------------------------------------------------------------

    def slots_of(self, ids: Ints) -> Ints:
        """int64[n]: the slot of each record id, -1 where it is gone. About 10 ns each of those drawn last.

        Others are looked up among the runs, and cost a sort of the runs after some have come.
        """
        slots = np.full(len(ids), -1, np.int64)
        if not self.count or not len(ids):
            return slots
        from ostinato.replay import mapped_kernels as kernels

        runs = self.runs
        missing = kernels.find_recent(
            self.ids, self.count, runs.first, runs.store, runs.used, self._recent, ids, slots
        )
        if missing:
            rest = np.flatnonzero(slots < 0)
            slots[rest] = self.find(runs.arrivals_of(ids[rest]))
        return slots

    def record_ids(self, slots: Ints) -> Ints:
        """int64[n]: what the records in these slots are called."""
        return self.runs.locate(self.ids[slots])[0]

    def places(self, slots: Ints) -> Ints:
        """int64[n]: where the records in these slots lie."""
        return self.runs.locate(self.ids[slots])[1]

    def set_priorities(self, ids: Ints, priorities: NDArray[np.float64]) -> tuple[Ints, int]:
        """Give records new priorities; as `Table.set_priorities`, by record ids."""
        good = (priorities >= 0) & (priorities < np.inf)
        if not good.all():
            return np.empty(0, np.int64), int(np.argmin(good))
        slots = self.slots_of(ids)
        here = slots >= 0
        if not here.all():
            slots, priorities = slots[here], priorities[here]
        self.priority[slots] = priorities
        return slots, -1

    # --- reading --------------------------------------------------------------------------------------------

    @property
    def rows(self) -> NDArray[np.void]:
        """RECORD[count]: a copy of all fields, 64 bytes a record. `row_parts` does with less."""
        return self.rows_at(np.arange(self.count))

    def rows_at(self, slots: Ints) -> NDArray[np.void]:
        """RECORD[n]: copies of the fields of the records in these slots; zeros for one that cannot be read."""
        arrivals = self.ids[slots]
        places = self.runs.locate(arrivals)[1]
        read, good = self._buffers.readable_rows(places)
        if good.all():
            return read
        self.hurt += arrivals[~good].tolist()
        rows = np.zeros(len(slots), RECORD)
        rows[good] = read
        return rows

    def column_at(self, name: str, slots: Ints) -> NDArray[Any]:
        """One field of the records in these slots."""
        out = np.empty(len(slots), RECORD[name])
        for first in range(0, len(slots), CHUNK):
            out[first : first + CHUNK] = self.rows_at(slots[first : first + CHUNK])[name]
        return out

    def row_parts(self, slots: Ints) -> Iterator[RowPart]:
        """The fields of these slots for kernels, a part of them at a time."""
        for first in range(0, len(slots), CHUNK):
            part = slots[first : first + CHUNK]
            here = part < self.count
            count = int(np.count_nonzero(here))
            places = np.full(len(part), count, np.int64)
            places[here] = np.arange(count)
            rows = as_bytes(self.rows_at(part[here]))
            yield RowPart(slice(first, first + len(part)), rows, places, count)

    def view(self, slots: Ints) -> Results:
        """Results of these slots: rows are copied, text stays where it lies.

        Raises:
            DamagedSlots: some cannot be read. DamagedPlaces: later, for text.
        """
        return self._view(slots, self.places(slots))

    def _view(self, slots: Ints, places: Ints) -> Results:
        try:
            return self._buffers.results(places)
        except DamagedPlaces as damage:
            raise DamagedSlots(damage.cause, slots[damage.bad]) from damage

    def gather(self, slots: Ints, *, sampled: bool = False) -> Gathered:
        """Copies of the records in these slots, `ids` being record ids; `sampled` counts it as a draw.

        Raises:
            UsageError: a slot is not in use. DamagedSlots: some cannot be read. Nothing is counted then.
        """
        from ostinato.replay import mapped_kernels as kernels

        slots = np.ascontiguousarray(slots, np.int64)
        if len(slots) and not 0 <= slots.min() <= slots.max() < self.count:
            raise UsageError(f"expected slots in [0, {self.count}), got others", "slots")
        record_ids, places = self.runs.locate(self.ids[slots])
        results = self._view(slots, places)
        tokens, bad = tokens_of(results.generated_tasm, self.words)
        if bad.any():
            raise DamagedSlots(f"the text of {int(bad.sum())} records cannot be read", slots[bad])
        priority, times = np.empty(len(slots)), np.empty(len(slots), np.int32)
        kernels.count_draws(
            self.ids, self.priority, self.times_sampled, self._recent, int(sampled), slots, record_ids,
            priority, times,
        )  # fmt: skip
        offsets = results.generated_tasm.offsets()
        return Gathered(results._rows, tokens, offsets, record_ids, priority, times)

    def check(self) -> None:
        """State every invariant; for tests."""
        self._check_columns()
        self.runs.check()
        count = self.count
        slots = np.arange(count)
        record_ids = self.record_ids(slots)
        assert len(np.unique(record_ids)) == count
        assert (self.slots_of(record_ids) == slots).all()
        assert 8 * len(self._valid) >= self.room
        bits = np.unpackbits(self._valid, bitorder="little")[:count].astype(np.bool_)
        assert int(bits.sum()) == self.valid_count
        hurt = len(self.hurt)
        rows = self.rows
        unread = np.isin(self.ids[:count], self.hurt[hurt:])
        del self.hurt[hurt:]
        assert ((rows["valid"] & ~rows["fallback_used"]) == bits)[~unread].all()


def tokens_of(text: Text, words: Vocabulary) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(int32[k], bool[n]): the instructions' ids, and which lists cannot be read; those have none."""
    bad = np.zeros(len(text), np.bool_)
    parts: list[NDArray[np.int32]] = []
    for first in range(0, len(text), _SPANS):
        end = min(first + _SPANS, len(text))
        try:
            parts.append(words.tokens_of_spans(*text.spans(first, end)))
        except DamagedPlaces as damage:
            bad[first:end] = damage.bad
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts]), bad


def read_whole(buffers: Buffers, places: Ints) -> tuple[Results, NDArray[np.bool_]]:
    """(results[m], bool[n]): those that can be read, instructions included, and which those are. Costs as much as copying them."""
    good = buffers.readable_rows(places)[1]
    while True:
        results = buffers.results(places[good])
        bad = np.zeros(len(results), np.bool_)
        for first in range(0, len(results), _SPANS):
            part = slice(first, min(first + _SPANS, len(results)))
            try:
                results.generated_tasm.spans(part.start, part.stop)
            except DamagedPlaces as damage:
                bad[part] = damage.bad
        if not bad.any():
            return results, good
        good[np.flatnonzero(good)[bad]] = False
