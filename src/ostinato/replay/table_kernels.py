"""The table's hot loops: ids to slots, taking records in, the arena of tokens, gathering a batch."""

from typing import Any

import numpy as np

from ostinato.kernels import I32, I64, U8, kernel, load_u64, store_u64

# Columns of the table's counters
VALID, USED, DEAD = range(3)

_ROW_BYTES = 64
_IS_VALID, _IS_FALLBACK = 60, 62
COUNT_BITS = 28  # a block's place is start << 28 | count; a list of 2**28 is beyond what an archive holds
_COUNT_MASK = (1 << COUNT_BITS) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads consecutive ids (Knuth 6.4)


@kernel
def _home(identity: Any, index: I32) -> Any:
    mixed = np.uint64(identity) * _GOLDEN
    return np.int64((mixed >> np.uint64(32)) & np.uint64(len(index) - 1))


@kernel
def _index_place(index: I32, ids: I64, identity: Any) -> Any:
    """Where in the index this id stands, or the free place where it would."""
    place = _home(identity, index)
    while index[place] >= 0 and ids[index[place]] != identity:
        place = (place + 1) & (len(index) - 1)
    return place


@kernel
def _index_remove(index: I32, ids: I64, identity: Any) -> Any:
    """Take an id out and close the gap, so that no markers of removed ids pile up (Knuth 6.4, algorithm R)."""
    mask = len(index) - 1
    gap = _index_place(index, ids, identity)
    place = gap
    while True:
        place = (place + 1) & mask
        if index[place] < 0:
            break
        home = _home(ids[index[place]], index)
        if ((place - home) & mask) >= ((place - gap) & mask):
            index[gap] = index[place]
            gap = place
    index[gap] = -1


@kernel
def index_build(index: I32, ids: I64, count: Any) -> Any:
    index[:] = -1
    for slot in range(count):
        index[_index_place(index, ids, ids[slot])] = slot


@kernel
def index_find(index: I32, ids: I64, wanted: I64, slots: I64) -> Any:
    """slots[i] of each wanted id, -1 for one that is not here."""
    for i in range(len(wanted)):
        slots[i] = index[_index_place(index, ids, wanted[i])] if wanted[i] >= 0 else -1


@kernel
def remove_replaced(
    index: I32,
    ids: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    counters: I64,
    slots: I64,
    removed: I64,
    new_ids: I64,
) -> Any:
    """First half of taking in: forget the old records that the remover gave up, in the order it did.

    The remover has written new ids over old ones already; they are put back until the index is clean.
    """
    first = new_ids[0]
    for k in range(len(slots)):
        if 0 <= removed[k] < first:
            ids[slots[k]] = removed[k]
    for k in range(len(slots)):
        if 0 <= removed[k] < first:
            slot = slots[k]
            _index_remove(index, ids, removed[k])
            if rows[slot, _IS_VALID] and not rows[slot, _IS_FALLBACK]:
                counters[VALID] -= 1
            size = blocks[slot] & _COUNT_MASK
            arena[(blocks[slot] >> COUNT_BITS) - 2] = -1  # a dead block is nobody's
            counters[DEAD] += size + 2


@kernel
def take_in(
    index: I32,
    ids: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    counters: I64,
    slots: I64,
    new_ids: I64,
    new_rows: U8,
    kept: I64,
    tokens: I32,
    offsets: I64,
) -> Any:
    """Second half: copy the records new_rows[kept[i]] and their tokens to their slots and the arena.

    The arena has room. A block is its slot, its length, then its tokens.
    """
    for k in range(len(slots)):
        if slots[k] >= 0:
            ids[slots[k]] = new_ids[k]  # in order: the last to take a slot keeps it
    for i in range(len(kept)):
        k = kept[i]
        slot = slots[k]
        index[_index_place(index, ids, new_ids[k])] = slot
        row = rows[slot]
        for b in range(0, _ROW_BYTES, 8):
            store_u64(row, b, load_u64(new_rows[k], b))
        count = offsets[k + 1] - offsets[k]
        used = counters[USED]
        arena[used] = slot
        arena[used + 1] = count
        for t in range(count):
            arena[used + 2 + t] = tokens[offsets[k] + t]
        blocks[slot] = ((used + 2) << COUNT_BITS) | count
        counters[USED] = used + 2 + count
        if row[_IS_VALID] and not row[_IS_FALLBACK]:
            counters[VALID] += 1


@kernel
def compact(blocks: I64, arena: I32, counters: I64) -> Any:
    """Slide the living blocks together; the dead ones are gone.

    Blocks say their own length, so that where the next one begins need not wait for `blocks[slot]`.
    """
    at: Any = 0
    to: Any = 0
    while at < counters[USED]:
        slot = arena[at]
        size = np.int64(arena[at + 1]) + 2
        if slot < 0:
            at += size
            continue
        if to != at:
            k = 0
            while k + 2 <= size:  # two cells at once, to the left: what is read is not yet overwritten
                store_u64(arena, to + k, load_u64(arena, at + k))
                k += 2
            if k < size:
                arena[to + k] = arena[at + k]
            blocks[slot] = ((to + 2) << COUNT_BITS) | (size - 2)
        at += size
        to += size
    counters[USED] = to
    counters[DEAD] = 0


@kernel
def gather(rows: U8, blocks: I64, arena: I32, slots: I64, offsets: I64, tokens: I32, out_rows: U8) -> Any:
    """Copy these slots' rows, and their tokens one after the other (tokens has offsets[-1])."""
    for i in range(len(slots)):
        row = rows[slots[i]]
        for b in range(0, _ROW_BYTES, 8):
            store_u64(out_rows[i], b, load_u64(row, b))
    for i in range(len(slots)):
        start = blocks[slots[i]] >> COUNT_BITS
        for t in range(offsets[i + 1] - offsets[i]):
            tokens[offsets[i] + t] = arena[start + t]


@kernel
def count_tokens(blocks: I64, slots: I64, offsets: I64) -> Any:
    """offsets[i + 1] = instructions of the first i + 1 slots."""
    total: Any = 0
    offsets[0] = 0
    for i in range(len(slots)):
        total += blocks[slots[i]] & _COUNT_MASK
        offsets[i + 1] = total
