"""The table's hot loops: ids to slots, taking records in and giving them up, the arena of tokens, gathering a batch.

An entry of the index is (low 31 bits of the id) << 32 | slot, -1 where it is free, so that a search reads the index
alone. What will be read is asked for some records ahead, so that cache misses overlap.

While slots are taken in turn, id i is in slot (i + turn) % capacity, and the index that a kernel is given is empty.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U8, U64, copy, get, kernel, load_u64, prefetch, put, store_u64
from ostinato.results import BASELINE_AT, CLOCK_AT, FALLBACK_AT, MEASURED_AT, ROW_BYTES, VALID_AT
from ostinato.rewards import FALLBACK, INVALID

# Columns of the table's counters
VALID, TOKENS, USED, DEAD, GONE, GONE_AGE, GONE_TIMES, GONE_NEVER = range(8)

COUNT_BITS = 28  # a block's place is start << 28 | count; a list of 2**28 is beyond what an archive holds
COUNT_MASK = (1 << COUNT_BITS) - 1
# 2**64 / golden ratio: spreads consecutive numbers evenly (Knuth 6.4)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = 0x7FFFFFFF  # ids and slots in an entry, which stays positive
_AHEAD = 8  # records between what is asked for and what is worked on
# a block of the arena is whole grains of so many cells, so that a dead one fits others
_GRAIN_BITS = 2
GRAIN = 1 << _GRAIN_BITS
SPARE = 256  # dead blocks of fewer grains are kept in lists, one a size, to be used again


@kernel
def _home(low: Any, index: I64) -> Any:
    """Where an id's search begins: eight consecutive ids share a cache line, consecutive eights are spread evenly."""
    spread = (np.uint64(low >> 3) * _GOLDEN) >> np.uint64(32)
    line = np.int64((spread * np.uint64(len(index) >> 3)) >> np.uint64(32))
    return line << 3 | (low & 7)


@kernel
def turn_slot(identity: Any, turn: Any, capacity: Any) -> Any:
    """The slot of an id >= 0 while slots are taken in turn."""
    return np.int64((np.uint64(identity) + np.uint64(turn)) % np.uint64(capacity))


@kernel
def _index_put(index: I64, identity: Any, slot: Any) -> Any:
    low = identity & _LOW
    place = _home(low, index)
    while get(index, place) >= 0:
        place = (place + 1) & (len(index) - 1)
    put(index, place, low << 32 | slot)


@kernel
def _index_take(index: I64, identity: Any, slot: Any) -> Any:
    """Take an entry out and close the gap, so that no marks of removed ones pile up (Knuth 6.4, algorithm R)."""
    mask = len(index) - 1
    low = identity & _LOW
    entry = low << 32 | slot
    gap = _home(low, index)
    while get(index, gap) != entry:
        gap = (gap + 1) & mask
    place = gap
    while True:
        place = (place + 1) & mask
        moving = get(index, place)
        if moving < 0:
            break
        home = _home(moving >> 32, index)
        if ((place - home) & mask) >= ((place - gap) & mask):
            put(index, gap, moving)
            gap = place
    put(index, gap, np.int64(-1))


@kernel
def index_build(index: I64, ids: I64, count: Any) -> Any:
    index[:] = -1
    for slot in range(count):
        _index_put(index, ids[slot], slot)


@kernel
def follows(slot: Any, identity: Any, slot_before: Any, identity_before: Any, capacity: Any) -> Any:
    """Is it this slot's turn, if it was the other's? A division less; of ids far apart it may say no."""
    further = slot - slot_before - (identity - identity_before)
    return (further == 0) | (further == -capacity)


@kernel
def _turn_find(
    ids: I64, count: Any, priority: F64, newest: Any, turn: Any, capacity: Any, wanted: I64, slots: I64
) -> Any:
    """As index_find, while slots are taken in turn."""
    last = turn_slot(max(newest - 1, 0), turn, capacity)
    for i in range(len(wanted)):
        away = newest - 1 - get(wanted, i)
        if 0 <= away < capacity:  # nearly always, and then no division is needed
            slot = last - away
            slot += capacity if slot < 0 else 0
        else:
            slot = turn_slot(max(get(wanted, i), 0), turn, capacity)
        prefetch(ids, slot)
        prefetch(priority, slot)
        put(slots, i, slot)
    for i in range(len(wanted)):
        slot, identity = get(slots, i), get(wanted, i)
        if identity < 0 or slot >= count or get(ids, slot) != identity:
            put(slots, i, np.int64(-1))


@kernel
def index_find(
    index: I64,
    ids: I64,
    count: Any,
    recent: I64,
    newest: Any,
    priority: F64,
    turn: Any,
    capacity: Any,
    wanted: I64,
    slots: I64,
) -> Any:
    """slots[i] of each wanted id, -1 for one that is not here. `recent` remembers where the last draws were.

    `newest` is the next id: while that is well within 31 bits, an entry says all, and `ids` need not be read.
    """
    if len(index) == 0:
        _turn_find(ids, count, priority, newest, turn, capacity, wanted, slots)
        return
    if count == 0:
        slots[:] = -1
        return
    mask = len(index) - 1
    whole = newest <= _LOW - (1 << 20)  # beyond `newest` are at most those that are just coming in
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
        while get(index, place) >= 0:
            entry = get(index, place)
            slot = entry & _LOW
            if entry >> 32 == low and (whole or get(ids, slot) == identity):
                put(slots, i, slot if identity <= _LOW or not whole else np.int64(-1))
                prefetch(priority, slot)  # will be written, or read
                break
            place = (place + 1) & mask


@kernel
def _grains(count: Any) -> Any:
    """Of a block with so many tokens."""
    return (count + 2 + GRAIN - 1) >> _GRAIN_BITS


@kernel
def _counts_as_valid(rows: U8, slot: Any) -> Any:
    at = slot * ROW_BYTES
    return np.int64((get(rows, at + VALID_AT) != 0) & (get(rows, at + FALLBACK_AT) == 0))


@kernel
def set_priorities(
    index: I64,
    ids: I64,
    count: Any,
    recent: I64,
    newest: Any,
    priority: F64,
    turn: Any,
    capacity: Any,
    wanted: I64,
    given: F64,
    slots: I64,
) -> Any:
    """Give records new priorities, all or none; returns (how many, -1) or (0, i of the first that is no priority).

    The slots of those that are here come first in `slots`.
    """
    n = len(wanted)
    for i in range(n):
        if not 0.0 <= get(given, i) < np.inf:
            return 0, i
    index_find(index, ids, count, recent, newest, priority, turn, capacity, wanted, slots)
    here: Any = 0
    for i in range(n):
        slot = get(slots, i)
        if slot >= 0:
            put(priority, slot, get(given, i))
            put(slots, here, slot)
            here += 1
    return here, -1


@kernel
def seed_rewards(rows: U8, out: F64) -> Any:
    """out[i] = ostinato.rewards.reward of each row, to the last bit."""
    for i in range(len(rows)):
        at = i * ROW_BYTES
        clock, baseline = load_u64(rows, at + CLOCK_AT), load_u64(rows, at + BASELINE_AT)
        saving = baseline - min(clock, baseline) if rows[i, MEASURED_AT] else np.uint64(0)
        value = 1.0 + np.float64(saving) / np.float64(max(baseline, np.uint64(1)))
        value = np.float64(FALLBACK) if rows[i, FALLBACK_AT] else value
        value = value if rows[i, VALID_AT] else np.float64(INVALID)
        out[i] = value


@kernel
def turn_holds(ids: I64, count: Any, first_id: Any, first_slot: Any, slots: I64) -> Any:
    """Are the ids from first_id on in consecutive slots (the first again after the last)? Then those, in `slots`."""
    slot = first_slot
    for k in range(len(slots)):
        if slot >= count or ids[slot] != first_id + k:
            return False
        slots[k] = slot
        slot = slot + 1 if slot + 1 < count else 0
    return True


@kernel
def place_in_turn(
    ids: I64, priority: F64, ring: I64, new_ids: I64, new_priority: F64, slots: I64, removed: I64
) -> Any:
    """Put new records into these slots in turn, over and over; removed[k] is the id that each found there."""
    turn: Any = 0
    for k in range(len(new_ids)):
        slot = get(ring, turn)
        put(slots, k, slot)
        put(removed, k, get(ids, slot))
        put(ids, slot, get(new_ids, k))
        put(priority, slot, get(new_priority, k))
        turn = turn + 1 if turn + 1 < len(ring) else 0


@kernel
def _forget(
    index: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    spare: I32,
    times: I32,
    counters: I64,
    slot: Any,
    identity: Any,
    newest: Any,
) -> Any:
    """A record leaves: out of the index and the counts, its block dead, and spare if there is a list for its size."""
    if len(index):
        _index_take(index, identity, slot)
    counters[VALID] -= _counts_as_valid(rows, slot)
    block = get(blocks, slot)
    at = (block >> COUNT_BITS) - 2
    count = block & COUNT_MASK
    grains = _grains(count)
    put(arena, at, np.int32(-1))  # a dead block is nobody's
    if grains < SPARE and at >> _GRAIN_BITS <= _LOW:  # a link is an int32
        put(arena, at + 2, get(spare, grains))
        put(spare, grains, np.int32(at >> _GRAIN_BITS))
        spare[1, grains] += 1
    counters[TOKENS] -= count
    counters[DEAD] += GRAIN * grains
    counters[GONE] += 1
    counters[GONE_AGE] += newest - identity
    counters[GONE_TIMES] += get(times, slot)
    counters[GONE_NEVER] += np.int64(get(times, slot) == 0)


@kernel
def give_up(
    index: I64,
    ids: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    spare: I32,
    times: I32,
    counters: I64,
    slots: I64,
    removed: I64,
    new_ids: I64,
    offsets: I64,
) -> Any:
    """First half of taking in: forget the records that the remover gave up.

    Returns (cells that the new ones need beyond the arena's end, cells of dead blocks that they will use again).

    The remover has written the new ids to `ids` already, so that ids[slot] says who keeps a slot that several
    new records were given one after the other.
    """
    n = len(slots)
    cells: Any = 0
    reused: Any = 0
    first = new_ids[0]
    # the last first: of ids that lie side by side in the index, that leaves no gap to be closed
    for k in range(n - 1, -1, -1):
        if k >= 2 * _AHEAD:
            ahead = max(get(slots, k - 2 * _AHEAD), 0)
            prefetch(blocks, ahead)
            prefetch(times, ahead)
            prefetch(rows, ahead * ROW_BYTES + VALID_AT)
            prefetch(index, _home(max(get(removed, k - 2 * _AHEAD), 0) & _LOW, index))
        if k >= _AHEAD:
            prefetch(arena, (get(blocks, max(get(slots, k - _AHEAD), 0)) >> COUNT_BITS) - 2)
        gone = get(removed, k)
        if 0 <= gone < first:
            _forget(index, rows, blocks, arena, spare, times, counters, slots[k], gone, new_ids[k])
        elif gone >= 0:  # came and went within this call
            counters[GONE] += 1
            counters[GONE_AGE] += new_ids[k] - gone
            counters[GONE_NEVER] += 1
    left = spare[1].copy()
    for k in range(n):
        if slots[k] >= 0 and ids[slots[k]] == new_ids[k]:
            grains = _grains(offsets[k + 1] - offsets[k])
            if grains < SPARE and left[grains] > 0:
                left[grains] -= 1
                reused += GRAIN * grains
            else:
                cells += GRAIN * grains
    return cells, reused


@kernel
def take_in(
    index: I64,
    ids: I64,
    rows: U8,
    blocks: I64,
    arena: I32,
    spare: I32,
    times: I32,
    counters: I64,
    slots: I64,
    new_ids: I64,
    new_rows: U8,
    tokens: I32,
    offsets: I64,
    turn: Any,
    capacity: Any,
) -> Any:
    """Second half: copy the new records and their tokens to their slots and the arena, which has room.

    A block is its slot, its size in cells, its tokens. A dead one of the same size is used again if there is one.
    Returns whether, without an index, all went to the slots whose turn it was.
    """
    n = len(slots)
    indexed = len(index) > 0
    in_turn = True
    before: Any = -1
    for k in range(n):
        if k + _AHEAD < n:
            prefetch(index, _home(new_ids[k + _AHEAD] & _LOW, index))
            prefetch(rows, max(slots[k + _AHEAD], 0) * ROW_BYTES)
        slot = slots[k]
        if slot < 0 or ids[slot] != new_ids[k]:
            continue
        if indexed:
            _index_put(index, new_ids[k], slot)
        else:
            if before < 0:
                in_turn = slot == turn_slot(new_ids[k], turn, capacity)
            else:
                in_turn &= follows(slot, new_ids[k], slots[before], new_ids[before], capacity)
            before = k
        copy(rows, slot * ROW_BYTES, new_rows, k * ROW_BYTES, ROW_BYTES)
        count = offsets[k + 1] - offsets[k]
        grains = _grains(count)
        if grains < SPARE and spare[1, grains] > 0:
            at = np.int64(spare[0, grains]) * GRAIN
            spare[0, grains] = arena[at + 2]
            spare[1, grains] -= 1
            counters[DEAD] -= GRAIN * grains
        else:
            at = counters[USED]
            counters[USED] = at + GRAIN * grains
        arena[at] = slot
        arena[at + 1] = GRAIN * grains
        copy(arena, at + 2, tokens, offsets[k], count)
        blocks[slot] = ((at + 2) << COUNT_BITS) | count
        times[slot] = 0
        counters[TOKENS] += count
        counters[VALID] += _counts_as_valid(rows, slot)
    return in_turn


@kernel
def take_out(
    index: I64,
    ids: I64,
    priority: F64,
    rows: U8,
    blocks: I64,
    arena: I32,
    spare: I32,
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
        _forget(index, rows, blocks, arena, spare, times, counters, slot, ids[slot], newest)
        count -= 1
        if slot != count:
            if len(index):
                _index_take(index, ids[count], count)
                _index_put(index, ids[count], slot)
            copy(rows, slot * ROW_BYTES, rows, count * ROW_BYTES, ROW_BYTES)
            ids[slot], priority[slot], blocks[slot] = ids[count], priority[count], blocks[count]
            times[slot] = times[count]
            if len(seen):
                seen[slot], lowest[slot], highest[slot] = seen[count], lowest[count], highest[count]
            arena[(blocks[slot] >> COUNT_BITS) - 2] = slot
        times[count] = 0
    return count


@kernel
def compact(blocks: I64, arena: I32, spare: I32, counters: I64) -> Any:
    """Slide the living blocks together; the dead ones are gone.

    Blocks say their own size, so that where the next one begins need not wait for `blocks[slot]`.
    """
    spare[0, :] = -1
    spare[1, :] = 0
    at: Any = 0
    to: Any = 0
    while at < counters[USED]:
        slot = arena[at]
        size = np.int64(arena[at + 1])
        if slot < 0:
            at += size
            continue
        if to != at:
            for k in range(0, size, 2):  # two cells at once, to the left: what is read is not yet overwritten
                store_u64(arena, to + k, load_u64(arena, at + k))
            blocks[slot] = ((to + 2) << COUNT_BITS) | (blocks[slot] & COUNT_MASK)
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
    count: Any,
    recent: I64,
    once: Any,
    slots: I64,
    out_rows: U8,
    offsets: I64,
    out_ids: I64,
    out_priority: F64,
    out_times: I32,
) -> Any:
    """Copies of these slots' records; returns the tokens, one list after the other, and in `offsets` where each begins;
    offsets[0] is -1, and nothing done, if a slot is none.

    Adds `once` to the times each record was sampled, and remembers in `recent` where it is.
    """
    n = len(slots)
    outside = False
    for i in range(n):
        slot = get(slots, i)
        outside |= (slot < 0) | (slot >= count)
        prefetch(blocks, slot)
        prefetch(rows, slot * ROW_BYTES)
        prefetch(times, slot)
    if outside:
        offsets[0] = -1
        return np.empty(0, np.int32)
    for i in range(n):
        slot = get(slots, i)
        prefetch(arena, get(blocks, slot) >> COUNT_BITS)
        prefetch(ids, slot)
        prefetch(priority, slot)
    total: Any = 0
    offsets[0] = 0
    for i in range(n):
        slot = get(slots, i)
        block = get(blocks, slot)
        prefetch(arena, (block >> COUNT_BITS) + 16)
        total += block & COUNT_MASK
        put(offsets, i + 1, total)
        copy(out_rows, i * ROW_BYTES, rows, slot * ROW_BYTES, ROW_BYTES)
        identity = get(ids, slot)
        put(out_ids, i, identity)
        put(out_priority, i, get(priority, slot))
        used = np.int64(get(times, slot))
        put(times, slot, np.int32(min(used + once, 0x7FFFFFFF)))
        if once:
            put(recent, identity & (len(recent) - 1), slot)
    for i in range(n):
        put(out_times, i, get(times, get(slots, i)))
    tokens = np.empty(total, np.int32)
    for i in range(n):
        if i + _AHEAD < n:
            ahead = get(blocks, get(slots, i + _AHEAD))
            for t in range(0, ahead & COUNT_MASK, 16):
                prefetch(arena, (ahead >> COUNT_BITS) + t)
        start = get(offsets, i)
        copy(tokens, start, arena, get(blocks, get(slots, i)) >> COUNT_BITS, get(offsets, i + 1) - start)
    return tokens


@kernel
def pad(tokens: I32, offsets: I64, out: I32, mask: U8) -> Any:
    """Rows of out[n, length] from ragged lists; out is filled with the pad already, mask with 0."""
    length = out.shape[1]
    for i in range(len(out)):
        start = offsets[i]
        count = min(length, offsets[i + 1] - start)
        copy(out, i * length, tokens, start, count)
        mask[i, :count] = 1


@kernel
def first_places(slots: I64, places: I64) -> Any:
    """Where each slot comes for the first time, rising; returns how many there are."""
    size = 16
    while size < 2 * len(slots):
        size *= 2
    seen = np.full(size, -1, np.int64)
    count: Any = 0
    for i in range(len(slots)):
        slot = get(slots, i)
        place = np.int64((np.uint64(slot) * _GOLDEN) >> np.uint64(32)) & (size - 1)
        while get(seen, place) >= 0 and get(seen, place) != slot:
            place = (place + 1) & (size - 1)
        put(places, count, np.int64(i))
        count += np.int64(get(seen, place) != slot)
        put(seen, place, slot)
    return count
