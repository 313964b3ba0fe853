"""Table: the records a buffer holds, in slots.

Layout, one place per slot: `rows` (the fields, one cache line), `blocks` (where the tokens are), `ids`, `priority`.
Slots 0 .. count-1 are in use, always; a record that goes makes room for the one that comes. Tokens lie in
an arena of int32 blocks (slot, length, tokens); dead blocks are squeezed out before they take more than 6
cells a record, or 1/16. An open-addressing index of int32 leads from id to slot.

Rule of this file: nothing here chooses. Removers write `priority`, `ids` and `count` when they place new
records; `take_in` then does the rest.
"""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.results import COLUMNS, RECORD, Results
from ostinato.text import Text, TokenText
from ostinato.vocabulary import Vocabulary

VALID, USED, DEAD = range(3)  # as in table_kernels, which needs numba
_FIRST_ROOM = 1024
_FIRST_CELLS = 4096
_COUNT_BITS = 28  # as in table_kernels


class Table:
    """Records in slots; see the module. Read `priority`, `ids`, `count` and `room`, do not write them.

    Attributes:
        capacity: slots at most. room: slots allocated so far. count: slots in use.
        ids: int64[room], rising in time, never reused. priority: float64[room].
        words: the vocabulary of the stored tokens.
    """

    def __init__(self, capacity: int, words: Vocabulary) -> None:
        self.capacity = capacity
        self.words = words
        self.count = 0
        self.room = 0
        self.ids = np.empty(0, np.int64)
        self.priority = np.empty(0, np.float64)
        self._rows = np.empty(0, RECORD)
        self._blocks = np.empty(0, np.int64)
        self._index = np.empty(0, np.int32)
        self._arena = np.empty(0, np.int32)
        self._touched = 0  # cells of the arena that memory has been given for
        self._counters = np.zeros(3, np.int64)
        self._remaps: weakref.WeakKeyDictionary[Vocabulary, NDArray[np.int32]] = weakref.WeakKeyDictionary()

    @property
    def valid_count(self) -> int:
        """Records that are valid and no fallback. O(1)."""
        return int(self._counters[VALID])

    @property
    def nbytes(self) -> int:
        """Bytes in use for all of this, the vocabulary aside."""
        arrays = (self.ids, self.priority, self._rows, self._blocks, self._index)
        return sum(array.nbytes for array in arrays) + 4 * self._touched

    def make_room(self, new: int) -> None:
        """Have slots for `new` more records, up to the capacity. Doubles, so O(1) amortised."""
        wanted = min(self.capacity, self.count + new)
        if wanted <= self.room:
            return
        from ostinato.kernels import aligned
        from ostinato.replay import table_kernels as kernels

        room = min(self.capacity, max(wanted, 2 * self.room, _FIRST_ROOM))
        for name in ("ids", "priority", "_rows", "_blocks"):
            old = getattr(self, name)
            larger = aligned(room, old.dtype)  # untouched pages cost no memory
            larger[: self.count] = old[: self.count]
            setattr(self, name, larger)
        size = 16
        while size < 2 * room:
            size *= 2
        self._index = np.empty(size, np.int32)
        kernels.index_build(self._index, self.ids, self.count)
        self.room = room

    def take_in(
        self,
        results: Results,
        tokens: NDArray[np.int32],
        new_ids: NDArray[np.int64],
        slots: NDArray[np.int64],
        removed: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Store new records where the remover has placed them; returns the slots that changed.

        Args:
            tokens: int32[k], of all of them, from `translate`.
            new_ids: int64[m]. slots: int64[m], -1 for a record removed at once.
            removed: int64[m], the id each one pushed out, or -1.
        """
        from ostinato.replay import table_kernels as kernels

        rows = self._bytes()
        kernels.remove_replaced(
            self._index, self.ids, rows, self._blocks, self._arena, self._counters, slots, removed, new_ids
        )
        placed = np.flatnonzero(slots >= 0)
        # the last record to take a slot keeps it
        changed, from_end = np.unique(slots[placed][::-1], return_index=True)
        kept = np.sort(placed[len(placed) - 1 - from_end])
        offsets = np.zeros(len(results) + 1, np.int64)
        np.cumsum(results.instruction_counts, out=offsets[1:])
        self._reserve(2 * len(kept) + int((offsets[kept + 1] - offsets[kept]).sum()))
        new_rows = np.zeros(len(results), RECORD)
        for name in COLUMNS:
            new_rows[name] = results._rows[name]
        kernels.take_in(
            self._index, self.ids, rows, self._blocks, self._arena, self._counters,
            slots, new_ids, _as_bytes(new_rows), kept, tokens, offsets,
        )  # fmt: skip
        return changed

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[n]: the slot of each id, -1 where it is gone. About 30 ns each."""
        slots = np.full(len(ids), -1, np.int64)
        if self.count:
            from ostinato.replay import table_kernels as kernels

            kernels.index_find(self._index, self.ids, ids, slots)
        return slots

    def gather(
        self, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.void], NDArray[np.int32], NDArray[np.int64]]:
        """Copies: (rows RECORD[n], tokens int32[k], offsets int64[n + 1]) of these slots."""
        from ostinato.replay import table_kernels as kernels

        offsets = np.empty(len(slots) + 1, np.int64)
        kernels.count_tokens(self._blocks, slots, offsets)
        tokens = np.empty(int(offsets[-1]), np.int32)
        out = np.empty(len(slots), RECORD)
        kernels.gather(self._bytes(), self._blocks, self._arena, slots, offsets, tokens, _as_bytes(out))
        return out, tokens, offsets

    def view(self, slots: NDArray[np.int64]) -> Results:
        """Results of these slots: rows are copied, tokens are not. Valid until the next record comes."""
        starts, counts = _split(self._blocks[slots])
        return Results(self._rows[slots], TokenText(self._arena, starts, counts, self.words))

    def check(self) -> None:
        """State every invariant; for tests."""
        count, ids = self.count, self.ids
        assert 0 <= count <= self.room <= self.capacity or self.room == 0
        assert len(np.unique(ids[:count])) == count
        assert (self.find(ids[:count]) == np.arange(count)).all()
        assert (self._index >= 0).sum() == count
        rows = self._rows[:count]
        starts, counts = _split(self._blocks[:count])
        assert (self._arena[starts - 2] == np.arange(count)).all()
        assert (self._arena[starts - 1] == counts).all()
        assert int((rows["valid"] & ~rows["fallback_used"]).sum()) == self.valid_count
        alive = int(counts.sum()) + 2 * count
        assert alive + int(self._counters[DEAD]) == int(self._counters[USED]) <= len(self._arena)

    def _reserve(self, cells: int) -> None:
        """Room in the arena for so many cells more.

        Dead blocks are squeezed out when they take 6 cells a record, or 1/16 of what is used. A full arena
        grows (a large one doubles, which costs address space alone), and it is made anew when a quarter of
        what was ever touched is unused.
        """
        used, dead = int(self._counters[USED]), int(self._counters[DEAD])
        limit = max(6 * self.count, used // 16, _FIRST_CELLS)
        if dead >= limit:
            from ostinato.replay import table_kernels as kernels

            kernels.compact(self._blocks, self._arena, self._counters)
            used = int(self._counters[USED])
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

    def _bytes(self) -> NDArray[np.uint8]:
        return _as_bytes(self._rows)

    def translate(self, text: Text) -> NDArray[np.int32]:
        """All instructions' ids in `words`, int32[k]; new words are added.

        Raises:
            UsageError: a result has 2**28 instructions or more. DamageError: the text is damaged.
        """
        if len(text) and int(text.counts.max()) >> _COUNT_BITS:
            raise UsageError(f"expected fewer than 2**{_COUNT_BITS} instructions", "generated_tasm")
        if not isinstance(text, TokenText) or text.vocabulary is self.words:
            return text.tokens(self.words)
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


def _as_bytes(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(-1, RECORD.itemsize)
