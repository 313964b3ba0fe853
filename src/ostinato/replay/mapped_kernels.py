"""The mapped table's hot loops: records that come, go and are drawn, of which a table holds three numbers and a bit."""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U8, get, kernel, put
from ostinato.replay.runs_kernels import run_of
from ostinato.replay.table_kernels import (
    GONE,
    GONE_AGE,
    GONE_NEVER,
    GONE_TIMES,
    VALID,
    _counts_as_valid,
    _index_put,
    _index_take,
    follows,
    turn_slot,
)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio


@kernel
def _bit(bits: U8, slot: Any) -> Any:
    return np.int64((get(bits, slot >> 3) >> np.uint8(slot & 7)) & np.uint8(1))


@kernel
def _set_bit(bits: U8, slot: Any, value: Any) -> Any:
    byte = np.int64(get(bits, slot >> 3)) & ~(1 << (slot & 7))
    put(bits, slot >> 3, np.uint8(byte | (value << (slot & 7))))


@kernel
def _recent_place(record: Any, recent: I64) -> Any:
    """Where a record's slot is remembered; the low bits of ids are alike in all journals, so they are spread."""
    return np.int64((np.uint64(record) * _GOLDEN) >> np.uint64(32)) & (len(recent) - 1)


@kernel
def _forget(index: I64, valid: U8, times: I32, counters: I64, slot: Any, identity: Any, newest: Any) -> Any:
    if len(index):
        _index_take(index, identity, slot)
    counters[VALID] -= _bit(valid, slot)
    counters[GONE] += 1
    counters[GONE_AGE] += newest - identity
    counters[GONE_TIMES] += get(times, slot)
    counters[GONE_NEVER] += np.int64(get(times, slot) == 0)


@kernel
def take_in(
    index: I64,
    ids: I64,
    valid: U8,
    times: I32,
    counters: I64,
    slots: I64,
    removed: I64,
    new_ids: I64,
    new_rows: U8,
    turn: Any,
    capacity: Any,
) -> Any:
    """New records where the remover has placed them, as the table's give_up and take_in.

    Returns whether, without an index, all went to the slots whose turn it was.
    """
    n = len(slots)
    indexed = len(index) > 0
    in_turn = True
    before: Any = -1
    first = new_ids[0]
    for k in range(n - 1, -1, -1):
        gone = get(removed, k)
        if 0 <= gone < first:
            _forget(index, valid, times, counters, slots[k], gone, new_ids[k])
        elif gone >= 0:  # came and went within this call
            counters[GONE] += 1
            counters[GONE_AGE] += new_ids[k] - gone
            counters[GONE_NEVER] += 1
    for k in range(n):
        slot = get(slots, k)
        if slot < 0 or get(ids, slot) != get(new_ids, k):
            continue
        if indexed:
            _index_put(index, new_ids[k], slot)
        else:
            if before < 0:
                in_turn = slot == turn_slot(new_ids[k], turn, capacity)
            else:
                in_turn &= follows(slot, new_ids[k], slots[before], new_ids[before], capacity)
            before = k
        put(times, slot, np.int32(0))
        good = _counts_as_valid(new_rows, k)
        _set_bit(valid, slot, good)
        counters[VALID] += good
    return in_turn


@kernel
def take_out(
    index: I64,
    ids: I64,
    priority: F64,
    valid: U8,
    times: I32,
    counters: I64,
    slots: I64,
    count: Any,
    newest: Any,
) -> Any:
    """Remove the records in these slots, which fall; the last record moves into each hole. Returns the new count."""
    for i in range(len(slots)):
        slot = slots[i]
        _forget(index, valid, times, counters, slot, ids[slot], newest)
        count -= 1
        if slot != count:
            if len(index):
                _index_take(index, ids[count], count)
                _index_put(index, ids[count], slot)
            ids[slot], priority[slot], times[slot] = ids[count], priority[count], times[count]
            _set_bit(valid, slot, _bit(valid, count))
        times[count] = 0
    return count


@kernel
def set_valid(valid: U8, counters: I64, slots: I64, rows: U8) -> Any:
    """These slots' records are these now."""
    for i in range(len(slots)):
        good = _counts_as_valid(rows, i)
        counters[VALID] += good - _bit(valid, slots[i])
        _set_bit(valid, slots[i], good)


@kernel
def count_draws(
    ids: I64,
    priority: F64,
    times: I32,
    recent: I64,
    once: Any,
    slots: I64,
    record_ids: I64,
    out_priority: F64,
    out_times: I32,
) -> Any:
    """Add `once` to the times each was sampled, copy that and the priority, and remember where each is."""
    for i in range(len(slots)):
        slot = get(slots, i)
        put(out_priority, i, get(priority, slot))
        put(times, slot, np.int32(min(np.int64(get(times, slot)) + once, 0x7FFFFFFF)))
        if once:
            put(recent, _recent_place(get(record_ids, i), recent), slot)
    for i in range(len(slots)):
        put(out_times, i, get(times, get(slots, i)))


@kernel
def find_recent(
    ids: I64, count: Any, first: I64, store: I64, used: Any, recent: I64, record_ids: I64, slots: I64
) -> Any:
    """slots[i] of the records that were drawn lately, -1 of all others; returns how many those are."""
    missing: Any = 0
    for i in range(len(record_ids)):
        record = get(record_ids, i)
        slot = get(recent, _recent_place(record, recent))
        found = np.int64(-1)
        if slot < count:
            arrival = get(ids, slot)
            k = run_of(first, used, arrival)
            if get(store, k) + arrival - get(first, k) == record:
                found = slot
        put(slots, i, found)
        missing += np.int64(found < 0)
    return missing
