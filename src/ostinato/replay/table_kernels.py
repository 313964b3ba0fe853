"""The table's hot loops: ids to slots, taking records in and giving them up, the arena of tokens, gathering a batch.

An entry of the index is (low 31 bits of the id) << 32 | slot, -1 where it is free, so that a search reads the index
alone. What will be read is asked for some records ahead, so that cache misses overlap.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U8, U64, kernel, load_u64, prefetch, store_u64

# Columns of the table's counters
VALID, USED, DEAD, GONE, GONE_AGE, GONE_TIMES, GONE_NEVER = range(7)

_ROW_BYTES = 64
_IS_VALID, _IS_FALLBACK = 60, 62
COUNT_BITS = 28  # a block's place is start << 28 | count; a list of 2**28 is beyond what an archive holds
_COUNT_MASK = (1 << COUNT_BITS) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads consecutive numbers (Knuth 6.4)
_LOW = 0x7FFFFFFF  # ids and slots in an entry, which stays positive
_AHEAD = 8  # records between what is asked for and what is worked on


@kernel
def _home(low: Any, index: I64) -> Any:
    return np.int64((np.uint64(low) * _GOLDEN) >> np.uint64(32)) & (len(index) - 1)


@kernel
def _index_put(index: I64, identity: Any, slot: Any) -> Any:
    low = identity & _LOW
    place = _home(low, index)
    while index[place] >= 0:
        place = (place + 1) & (len(index) - 1)
    index[place] = low << 32 | slot


@kernel
def _index_take(index: I64, identity: Any, slot: Any) -> Any:
    """Take an entry out and close the gap, so that no marks of removed ones pile up (Knuth 6.4, algorithm R)."""
    mask = len(index) - 1
    low = identity & _LOW
    entry = low << 32 | slot
    gap = _home(low, index)
    while index[gap] != entry:
        gap = (gap + 1) & mask
    place = gap
    while True:
        place = (place + 1) & mask
        if index[place] < 0:
            break
        home = _home(index[place] >> 32, index)
        if ((place - home) & mask) >= ((place - gap) & mask):
            index[gap] = index[place]
            gap = place
    index[gap] = -1


@kernel
def index_build(index: I64, ids: I64, count: Any) -> Any:
    index[:] = -1
    for slot in range(count):
        _index_put(index, ids[slot], slot)


@kernel
def index_find(index: I64, ids: I64, count: Any, recent: I64, wanted: I64, slots: I64) -> Any:
    """slots[i] of each wanted id, -1 for one that is not here. `recent` remembers where the last draws were."""
    mask = len(index) - 1
    for i in range(len(wanted)):
        slot = recent[wanted[i] & (len(recent) - 1)]
        prefetch(ids, slot)
        prefetch(index, _home(max(wanted[i], 0) & _LOW, index))
        slots[i] = slot
    for i in range(len(wanted)):
        identity = wanted[i]
        slot = slots[i]
        if identity < 0 or (slot < count and ids[slot] == identity):
            slots[i] = slot if identity >= 0 else -1
            continue
        slots[i] = -1
        low = identity & _LOW
        place = _home(low, index)
        while index[place] >= 0:
            if index[place] >> 32 == low and ids[index[place] & _LOW] == identity:
                slots[i] = index[place] & _LOW
                break
            place = (place + 1) & mask


@kernel
def _forget(
    index: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    times: I32,
    counters: I64,
    slot: Any,
    identity: Any,
    newest: Any,
) -> Any:
    """A record leaves: out of the index and the counts, its tokens dead."""
    _index_take(index, identity, slot)
    if rows[slot, _IS_VALID] and not rows[slot, _IS_FALLBACK]:
        counters[VALID] -= 1
    arena[(blocks[slot] >> COUNT_BITS) - 2] = -1  # a dead block is nobody's
    counters[DEAD] += (blocks[slot] & _COUNT_MASK) + 2
    counters[GONE] += 1
    counters[GONE_AGE] += newest - identity
    counters[GONE_TIMES] += times[slot]
    counters[GONE_NEVER] += np.int64(times[slot] == 0)


@kernel
def give_up(
    index: I64,
    ids: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    times: I32,
    counters: I64,
    slots: I64,
    removed: I64,
    new_ids: I64,
    offsets: I64,
) -> Any:
    """First half of taking in: forget the records that the remover gave up; returns the cells that the new need.

    The remover has written the new ids to `ids` already, so that ids[slot] says who keeps a slot that several
    new records were given one after the other.
    """
    n = len(slots)
    cells: Any = 0
    first = new_ids[0]
    for k in range(n):
        if k + 2 * _AHEAD < n:
            ahead = max(slots[k + 2 * _AHEAD], 0)
            prefetch(blocks, ahead)
            prefetch(times, ahead)
            prefetch(rows, ahead * _ROW_BYTES + _IS_VALID)
            prefetch(index, _home(max(removed[k + 2 * _AHEAD], 0) & _LOW, index))
        if k + _AHEAD < n:
            prefetch(arena, (blocks[max(slots[k + _AHEAD], 0)] >> COUNT_BITS) - 2)
        if 0 <= removed[k] < first:
            _forget(index, rows, blocks, arena, times, counters, slots[k], removed[k], new_ids[k])
        elif removed[k] >= 0:  # came and went within this call
            counters[GONE] += 1
            counters[GONE_AGE] += new_ids[k] - removed[k]
            counters[GONE_NEVER] += 1
        if slots[k] >= 0 and ids[slots[k]] == new_ids[k]:
            cells += 2 + offsets[k + 1] - offsets[k]
    return cells


@kernel
def take_in(
    index: I64,
    ids: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    times: I32,
    counters: I64,
    slots: I64,
    new_ids: I64,
    new_rows: U8,
    tokens: I32,
    offsets: I64,
) -> Any:
    """Second half: copy the new records and their tokens to their slots and the arena, which has room.

    A block is its slot, its length, its tokens.
    """
    n = len(slots)
    for k in range(n):
        if k + _AHEAD < n:
            prefetch(index, _home(new_ids[k + _AHEAD] & _LOW, index))
            prefetch(rows, max(slots[k + _AHEAD], 0) * _ROW_BYTES)
        slot = slots[k]
        if slot < 0 or ids[slot] != new_ids[k]:
            continue
        _index_put(index, new_ids[k], slot)
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
        times[slot] = 0
        counters[USED] = used + 2 + count
        if row[_IS_VALID] and not row[_IS_FALLBACK]:
            counters[VALID] += 1


@kernel
def take_out(
    index: I64,
    ids: I64,
    priority: F64,
    rows: U8,
    blocks: I64,
    arena: I32,
    times: I32,
    seen: I32,
    lowest: U64,
    highest: U64,
    counters: I64,
    slots: I64,
    count: Any,
    newest: Any,
) -> Any:
    """Remove the records in these slots, which fall; the last record moves into each hole. Returns the new count.

    seen, lowest and highest have no places where repeats are not merged.
    """
    for i in range(len(slots)):
        slot = slots[i]
        _forget(index, rows, blocks, arena, times, counters, slot, ids[slot], newest)
        count -= 1
        if slot != count:
            _index_take(index, ids[count], count)
            _index_put(index, ids[count], slot)
            for b in range(0, _ROW_BYTES, 8):
                store_u64(rows[slot], b, load_u64(rows[count], b))
            ids[slot], priority[slot], blocks[slot] = ids[count], priority[count], blocks[count]
            times[slot] = times[count]
            if len(seen):
                seen[slot], lowest[slot], highest[slot] = seen[count], lowest[count], highest[count]
            arena[(blocks[slot] >> COUNT_BITS) - 2] = slot
        times[count] = 0
    return count


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
def gather(
    rows: U8,
    blocks: I64,
    arena: I32,
    ids: I64,
    priority: F64,
    times: I32,
    recent: I64,
    once: Any,
    slots: I64,
    out_rows: U8,
    offsets: I64,
    out_ids: I64,
    out_priority: F64,
    out_times: I32,
) -> Any:
    """First half of a batch: everything but the tokens, and where each list of tokens will begin.

    Adds `once` to the times each record was sampled, and remembers in `recent` where it is.
    """
    n = len(slots)
    for i in range(n):
        prefetch(blocks, slots[i])
        prefetch(rows, slots[i] * _ROW_BYTES)
        prefetch(times, slots[i])
    for i in range(n):
        prefetch(arena, blocks[slots[i]] >> COUNT_BITS)
        prefetch(ids, slots[i])
        prefetch(priority, slots[i])
    total: Any = 0
    offsets[0] = 0
    for i in range(n):
        slot = slots[i]
        block = blocks[slot]
        prefetch(arena, (block >> COUNT_BITS) + 16)
        total += block & _COUNT_MASK
        offsets[i + 1] = total
        row = rows[slot]
        for b in range(0, _ROW_BYTES, 8):
            store_u64(out_rows[i], b, load_u64(row, b))
        out_ids[i], out_priority[i] = ids[slot], priority[slot]
        times[slot] += once
        if once:
            recent[ids[slot] & (len(recent) - 1)] = slot
    for i in range(n):
        out_times[i] = times[slots[i]]


@kernel
def gather_tokens(blocks: I64, arena: I32, slots: I64, offsets: I64, tokens: I32) -> Any:
    """Second half: the tokens, one list after the other (tokens has offsets[-1])."""
    n = len(slots)
    for i in range(n):
        if i + _AHEAD < n:
            ahead = blocks[slots[i + _AHEAD]]
            for t in range(0, ahead & _COUNT_MASK, 16):
                prefetch(arena, (ahead >> COUNT_BITS) + t)
        start = blocks[slots[i]] >> COUNT_BITS
        for t in range(offsets[i + 1] - offsets[i]):
            tokens[offsets[i] + t] = arena[start + t]


@kernel
def pad(tokens: I32, offsets: I64, out: I32, mask: U8) -> Any:
    """Rows of out[n, length] from ragged lists; out is filled with the pad already, mask with 0."""
    length = out.shape[1]
    for i in range(len(out)):
        start = offsets[i]
        for t in range(min(length, offsets[i + 1] - start)):
            out[i, t] = tokens[start + t]
            mask[i, t] = 1
