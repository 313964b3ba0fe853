"""Table: the records a buffer holds, in slots.

Layout, one place per slot: `rows` (the fields, one cache line), `blocks` (where the tokens are), `ids`, `priority`,
`times_sampled`. Slots 0 .. count-1 are in use, always: a record that comes takes the slot of one that goes, and
where one goes alone the last one moves into its slot. Tokens lie in an arena of int32 blocks (slot, size,
tokens), each of whole grains of 4 cells; a dead block is used again by a record of the same size, and those that are
not are squeezed out before they take more than 6 cells a record, or 1/16. While slots are taken in turn, as they are
until a buffer is full and with `Oldest` after that, id i is in slot (i + turn) % capacity; from the first record that is
elsewhere on, an open-addressing index leads from id to slot.

Rule of this file: nothing here chooses. Removers write `priority`, `ids` and `count` when they place new
records; `take_in` then does the rest.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError, UsageError
from ostinato.results import RECORD, Results, packed_rows
from ostinato.text import Text, TokenText
from ostinato.vocabulary import Vocabulary

VALID, TOKENS, USED, DEAD, GONE, GONE_AGE, GONE_TIMES, GONE_NEVER = range(
    8
)  # as in table_kernels, which needs numba
_FIRST_ROOM = 1024
_FIRST_CELLS = 4096
_COUNT_BITS = 28  # as in table_kernels
_GRAIN, _SPARE = 4, 256  # the same
_RECENT = 4096  # places of records drawn lately, so that their updates need no search
_COLUMNS = ("ids", "priority", "times_sampled", "_rows", "_blocks")
_MERGED_COLUMNS = ("times_seen", "lowest", "highest")
# of a record that is here, tokens aside: its row, its places in the columns, index and arena
RECORD_BYTES = 116


class Gathered(NamedTuple):
    """Copies of n records' columns; `tokens` int32[k] lie one record after the other, from offsets[i] on."""

    rows: NDArray[np.void]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    priority: NDArray[np.float64]
    times_sampled: NDArray[np.int32]

    @classmethod
    def concat(cls, parts: list[Gathered]) -> Gathered:
        """One after the other."""
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in cls._fields
            if name != "offsets"
        }
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(offsets=np.concatenate([[0], np.cumsum(counts)]), **joined)


class RowPart(NamedTuple):
    """The fields of some slots: those at `part` of the slots asked for are rows[places], none from `end` on."""

    part: slice
    rows: NDArray[np.uint8]
    places: NDArray[np.int64]
    end: int


class DamagedSlots(DamageError):  # noqa: N818
    """Records of a table cannot be read where they lie.

    Attributes:
        slots: int64[n], theirs.
    """

    def __init__(self, cause: str, slots: NDArray[np.int64]) -> None:
        super().__init__(cause)
        self.slots = slots


class Table:
    """Records in slots; see the module. Read what is named here, do not write it.

    Attributes:
        capacity: slots at most. room: slots allocated so far. count: slots in use.
        ids: int64[room], never reused. priority: float64[room]. times_sampled: int32[room].
        times_seen: int32[room], lowest, highest: uint64[room], where repeats are merged: how often a record came,
            and the range of its measured clock_cycles (lowest above highest where there are none); else empty.
        next_id: the id that the next record gets. draws: batches drawn so far.
        words: the vocabulary of the stored tokens.
        may_differ: may records be others than they were when a state was saved? Then an order that does not fit
            them is made anew instead of refused.
    """

    may_differ = False

    def __init__(self, capacity: int, words: Vocabulary, *, merges: bool = False) -> None:
        self._columns: tuple[str, ...] = _COLUMNS + _MERGED_COLUMNS if merges else _COLUMNS
        self.capacity = capacity
        self.words = words
        self.count = 0
        self.room = 0
        self.next_id = 0
        self.draws = 0
        self.ids = np.empty(0, np.int64)
        self.priority = np.empty(0, np.float64)
        self.times_sampled = np.empty(0, np.int32)
        self.times_seen = np.empty(0, np.int32)
        self.lowest, self.highest = np.empty(0, np.uint64), np.empty(0, np.uint64)
        self._rows = np.empty(0, RECORD)
        self._row_bytes = as_bytes(self._rows)
        self._blocks = np.empty(0, np.int64)
        self._index = np.empty(0, np.int64)  # none while slots are taken in turn
        self._in_turn, self._turn = True, 0
        self._recent = np.zeros(_RECENT, np.int64)
        self._arena = np.empty(0, np.int32)
        self._touched = 0  # cells of the arena that memory has been given for
        # of each size in grains: where its first dead block begins, in grains (the next one's place stands in it), and
        # how many there are
        self._spare = np.zeros((2, _SPARE), np.int32)
        self._spare[0] = -1
        self.counters = np.zeros(8, np.int64)
        self._remaps: weakref.WeakKeyDictionary[Vocabulary, NDArray[np.int32]] = weakref.WeakKeyDictionary()

    @property
    def valid_count(self) -> int:
        """Records that are valid and no fallback. O(1)."""
        return int(self.counters[VALID])

    @property
    def rows(self) -> NDArray[np.void]:
        """RECORD[count]: a view of the fields."""
        return self._rows[: self.count]

    def rows_at(self, slots: NDArray[np.int64]) -> NDArray[np.void]:
        """RECORD[n]: copies of the fields of the records in these slots."""
        rows: NDArray[np.void] = self._rows[slots]
        return rows

    def column_at(self, name: str, slots: NDArray[np.int64]) -> NDArray[Any]:
        """One field of the records in these slots."""
        column: NDArray[Any] = self._rows[name][slots]
        return column

    def row_parts(self, slots: NDArray[np.int64]) -> Iterator[RowPart]:
        """The fields of these slots for kernels, a part of them at a time."""
        yield RowPart(slice(0, len(slots)), as_bytes(self.rows), slots, self.count)

    def content(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
        """(rows as bytes, blocks, arena), for kernels that compare contents."""
        return self._row_bytes, self._blocks, self._arena

    @property
    def nbytes(self) -> int:
        """Bytes in use for all of this, the vocabulary aside."""
        names = (*self._columns, "_index", "_recent")
        return sum(int(getattr(self, name).nbytes) for name in names) + 4 * self._touched

    @property
    def record_bytes(self) -> int:
        """RECORD_BYTES a record and 4 an instruction, of what is here now. O(1)."""
        return RECORD_BYTES * self.count + 4 * int(self.counters[TOKENS])

    def make_room(self, new: int) -> None:
        """Have slots for `new` more records, up to the capacity. Doubles, so O(1) amortised."""
        wanted = min(self.capacity, self.count + new)
        if wanted <= self.room:
            return
        from ostinato.kernels import aligned

        room = min(self.capacity, max(wanted, 2 * self.room, _FIRST_ROOM))
        for name in self._columns:
            old = getattr(self, name)
            larger = aligned(room, old.dtype)  # untouched pages cost no memory
            larger[: self.count] = old[: self.count]
            setattr(self, name, larger)
        self._row_bytes = as_bytes(self._rows)
        self.room = room
        if not self._in_turn:
            self._make_index()

    def _make_index(self) -> None:
        """An index of what is here, with room for what may come."""
        from ostinato.kernels import aligned
        from ostinato.replay import table_kernels as kernels

        self._in_turn = False
        size = 16
        while 3 * size < 4 * self.room:  # three quarters full at most
            size *= 2
        self._index = aligned(size, np.int64)
        kernels.index_build(self._index, self.ids, self.count)

    def take_in(
        self,
        results: Results,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        new_ids: NDArray[np.int64],
        slots: NDArray[np.int64],
        removed: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Store new records where the remover has placed them; returns the slots that changed.

        Args:
            tokens: int32[k], offsets: int64[m + 1], of all of them, from `translate`.
            new_ids: int64[m], rising. slots: int64[m], -1 for a record removed at once.
            removed: int64[m], the id each one pushed out, or -1.
        """
        from ostinato.replay import table_kernels as kernels

        columns = self._index, self.ids, self._row_bytes, self._blocks
        cells, reused = kernels.give_up(
            *columns,
            self._arena,
            self._spare,
            self.times_sampled,
            self.counters,
            slots,
            removed,
            new_ids,
            offsets,
        )
        self._reserve(cells, reused)
        in_turn = kernels.take_in(
            *columns, self._arena, self._spare, self.times_sampled, self.counters,
            slots, new_ids, as_bytes(packed_rows(results)), tokens, offsets, self._turn, self.capacity,
        )  # fmt: skip
        if not in_turn:
            self._make_index()
        placed = slots if slots.min(initial=0) >= 0 else slots[slots >= 0]
        if len(self.times_seen):
            rows = self._rows[placed]
            self.times_seen[placed] = 1
            self.lowest[placed] = np.where(rows["measured"], rows["clock_cycles"], np.uint64(2**64 - 1))
            self.highest[placed] = np.where(rows["measured"], rows["clock_cycles"], np.uint64(0))
        return placed

    def merge(self, slots: NDArray[np.int64], rows: NDArray[np.void]) -> NDArray[np.int64]:
        """Repeats of the records in these slots came: count them, keep the newest timestamp and the range of costs.

        A record that was unmeasured takes the first cost that was measured. Returns the slots of such.
        """
        np.add.at(self.times_seen, slots, 1)
        stamps = self._rows["timestamp"]
        np.maximum.at(stamps, slots, rows["timestamp"])
        new, at = rows[rows["measured"]], slots[rows["measured"]]
        unmeasured, first = np.unique(at[~self._rows["measured"][at]], return_index=True)
        if len(unmeasured):
            source = new[~self._rows["measured"][at]][first]
            self._rows["clock_cycles"][unmeasured] = source["clock_cycles"]
            self._rows["measured"][unmeasured] = True
        np.minimum.at(self.lowest, at, new["clock_cycles"])
        np.maximum.at(self.highest, at, new["clock_cycles"])
        return unmeasured

    def restore(
        self, gathered: Gathered, next_id: int, counters: NDArray[np.int64], merged: tuple[NDArray[Any], ...]
    ) -> None:
        """Fill an empty table: record i goes to slot i, as `gather` gave it; merged: times_seen, lowest, highest.

        Tokens stay as they are: `rename` makes them those of `words`.
        """
        n = len(gathered.ids)
        self.make_room(n)
        self.ids[:n], self.priority[:n] = gathered.ids, gathered.priority
        self.count = n
        text = TokenText.ragged(gathered.tokens, gathered.offsets, self.words)
        if n:
            none = np.full(n, -1, np.int64)
            self.take_in(
                Results(gathered.rows, text),
                gathered.tokens,
                gathered.offsets,
                gathered.ids,
                np.arange(n),
                none,
            )
        self.times_sampled[:n] = gathered.times_sampled
        for name, column in zip(_MERGED_COLUMNS, merged, strict=False):
            getattr(self, name)[:n] = column
        self.next_id = next_id
        self.counters[GONE:] = counters[GONE:]

    def rename(self, names: NDArray[np.int32], words: Vocabulary) -> None:
        """Word t of the vocabulary so far is names[t] of another, which takes its place."""
        starts, counts = _split(self._blocks[: self.count])
        ends = np.cumsum(counts)
        total = int(ends[-1]) if self.count else 0
        places = np.arange(total) + np.repeat(starts - (ends - counts), counts)
        self._arena[places] = names[self._arena[places]]
        self.words = words

    def take_out(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Remove the records in these slots; the last ones move into the holes. Returns the slots that changed.

        Slots from `count` on are among those: they hold nothing any more.
        """
        from ostinato.replay import table_kernels as kernels

        falling = np.unique(slots)[::-1]
        if not len(falling):
            return falling
        before = self.count
        self.count = kernels.take_out(
            self._index, self.ids, self.priority, self._row_bytes, self._blocks, self._arena, self._spare,
            self.times_sampled, self.times_seen, self.lowest, self.highest, self.counters,
            np.ascontiguousarray(falling), before, self.next_id - 1,
        )  # fmt: skip
        self._moved(falling)
        return np.union1d(falling, np.arange(self.count, before))

    def _moved(self, falling: NDArray[np.int64]) -> None:
        """These slots, which fall, were emptied: unless they were the last ones, others moved into them."""
        if self._in_turn and falling[-1] < self.count:
            self._make_index()

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[n]: the slot of each id, -1 where it is gone. About 30 ns each, 5 of those drawn last.

        In turn it is 5 ns, and where records are many a cache miss.
        """
        slots = np.full(len(ids), -1, np.int64)
        if self.count:
            from ostinato.replay import table_kernels as kernels

            kernels.index_find(*self._finding(), ids, slots)
        return slots

    def _finding(self) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
        """What the kernels that look for ids take first."""
        return (
            self._index, self.ids, self.count, self._recent, self.next_id, self.priority, self._turn, self.capacity,
        )  # fmt: skip

    def slots_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[n]: the slot of each id that the user holds, -1 where it is gone. Here those are `ids`."""
        return self.find(ids)

    def set_priorities(
        self, ids: NDArray[np.int64], priorities: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], int]:
        """Give records new priorities. Returns (slots of those that are here, the number of the first that is no
        priority or -1); if one is none, nothing is done.
        """
        from ostinato.replay import table_kernels as kernels

        slots = np.empty(len(ids), np.int64)
        here, wrong = kernels.set_priorities(*self._finding(), ids, priorities, slots)
        return slots[:here], wrong

    def gather(self, slots: NDArray[np.int64], *, sampled: bool = False) -> Gathered:
        """Copies of the records in these slots; `sampled` counts it as a draw.

        Raises:
            UsageError: a slot is not in use; nothing is counted.
        """
        from ostinato.replay import table_kernels as kernels

        slots = np.ascontiguousarray(slots, np.int64)
        n = len(slots)
        offsets = np.empty(n + 1, np.int64)
        rows = np.empty(n, RECORD)
        ids, priority, times = np.empty(n, np.int64), np.empty(n), np.empty(n, np.int32)
        tokens = kernels.gather(
            self._row_bytes, self._blocks, self._arena, self.ids, self.priority, self.times_sampled,
            self.count, self._recent, int(sampled), slots, as_bytes(rows), offsets, ids, priority, times,
        )  # fmt: skip
        if offsets[0] < 0:
            raise UsageError(f"expected slots in [0, {self.count}), got others", "slots")
        return Gathered(rows, tokens, offsets, ids, priority, times)

    def token_counts(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[n]: how many instructions each has."""
        return _split(self._blocks[slots])[1]

    def view(self, slots: NDArray[np.int64]) -> Results:
        """Results of these slots: rows are copied, tokens are not. Valid until the next record comes."""
        starts, counts = _split(self._blocks[slots])
        return Results(self._rows[slots], TokenText(self._arena, starts, counts, self.words))

    def _check_columns(self) -> None:
        count, ids = self.count, self.ids
        assert 0 <= count <= self.room <= self.capacity or self.room == 0
        assert len(np.unique(ids[:count])) == count
        assert (self.find(ids[:count]) == np.arange(count)).all()
        if self._in_turn:
            assert len(self._index) == 0
            assert ((ids[:count] + self._turn) % self.capacity == np.arange(count)).all()
        else:
            assert (self._index >= 0).sum() == count
        assert (self.times_sampled[:count] >= 0).all()
        assert not self.times_sampled[count:].any()
        assert count == 0 or int(ids[:count].max()) < self.next_id

    def check(self) -> None:
        """State every invariant; for tests."""
        self._check_columns()
        count = self.count
        rows = self._rows[:count]
        starts, counts = _split(self._blocks[:count])
        assert (self._arena[starts - 2] == np.arange(count)).all()
        sizes = -(-(counts + 2) // _GRAIN) * _GRAIN
        assert (self._arena[starts - 1] == sizes).all()
        assert int((rows["valid"] & ~rows["fallback_used"]).sum()) == self.valid_count
        assert int(counts.sum()) == int(self.counters[TOKENS])
        assert int(sizes.sum() + self.counters[DEAD]) == int(self.counters[USED]) <= len(self._arena)
        for grains in range(_SPARE):
            at = int(self._spare[0, grains])
            for _ in range(int(self._spare[1, grains])):
                assert self._arena[_GRAIN * at] == -1
                assert self._arena[_GRAIN * at + 1] == _GRAIN * grains
                at = int(self._arena[_GRAIN * at + 2])
            assert at == -1

    def _reserve(self, cells: int, reused: int) -> None:
        """Room in the arena for so many cells more, beside those of dead blocks that are used again.

        Dead blocks are squeezed out when the rest of them takes 6 cells a record, or 1/16 of what is used. A full arena
        grows (a large one doubles, which costs address space alone), and it is made anew when a quarter of
        what was ever touched is unused.
        """
        used, dead = int(self.counters[USED]), int(self.counters[DEAD])
        limit = max(6 * self.count, used // 16, _FIRST_CELLS)
        if dead - reused >= limit:
            from ostinato.replay import table_kernels as kernels

            kernels.compact(self._blocks, self._arena, self._spare, self.counters)
            used = int(self.counters[USED])
            cells += reused  # of those none is left
        wanted = used + cells
        too_large = 3 * self._touched > 4 * (wanted + limit)
        if wanted > len(self._arena) or too_large:
            from ostinato.kernels import MAPPED, aligned

            # what is mapped and not yet touched costs nothing
            arena = aligned(2 * wanted if 8 * wanted >= MAPPED else wanted + limit, np.int32)
            arena[:used] = self._arena[:used]
            self._arena = arena
            self._touched = used
        self._touched = max(self._touched, wanted)

    def translate(self, text: Text) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(tokens int32[k], offsets int64[n + 1]) of all lists, ids in `words`; new words are added.

        Raises:
            UsageError: a result has 2**28 instructions or more. DamageError: the text is damaged, or changed meanwhile.
        """
        offsets = text.offsets()
        if offsets[-1] >> _COUNT_BITS and int(np.diff(offsets).max()) >> _COUNT_BITS:
            raise UsageError(f"expected fewer than 2**{_COUNT_BITS} instructions", "generated_tasm")
        tokens = np.ascontiguousarray(self._translated(text))
        if len(tokens) != offsets[-1]:  # of a mapped file that somebody writes
            raise DamageError("the instructions changed while they were read", field="generated_tasm")
        return tokens, offsets

    def _translated(self, text: Text) -> NDArray[np.int32]:
        if not isinstance(text, TokenText):
            return text.tokens(self.words)
        if text.vocabulary is self.words:
            return text.flat()
        # another vocabulary: translate ids, and look at a word only when it is first seen
        theirs = text.vocabulary
        remap = self._remaps.get(theirs, np.empty(0, np.int32))
        if len(remap) < len(theirs):
            remap = np.concatenate([remap, np.full(len(theirs) - len(remap), -1, np.int32)])
            self._remaps[theirs] = remap
        flat = text.flat()
        tokens = remap[flat]
        if len(tokens) and tokens.min() < 0:
            new, first = np.unique(flat[tokens < 0], return_index=True)
            new = new[np.argsort(first)]  # ids in order of first appearance, whichever way words come in
            remap[new] = self.words.ids([theirs.word(t) for t in new.tolist()])
            tokens = remap[flat]
        return tokens


def _split(blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(starts, counts) of blocks in the arena."""
    return blocks >> _COUNT_BITS, blocks & ((1 << _COUNT_BITS) - 1)


def as_bytes(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(-1, RECORD.itemsize)


def seed_rewards(results: Results) -> NDArray[np.float64]:
    """float64[n]: `ostinato.reward` of each, by a kernel: a few ns a record."""
    from ostinato.replay import table_kernels as kernels

    out = np.empty(len(results))
    kernels.seed_rewards(as_bytes(packed_rows(results)), out)
    return out
