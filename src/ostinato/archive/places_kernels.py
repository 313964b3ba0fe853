"""Hot loops over places: entries in many buffers, read and checked where they lie.

A place is number << 32 | position // 8. The buffers that are here stand in columns, by rising number; all but `in_columns` take
column << 32 | position // 8. Rule of this file: whatever a place or the bytes say, nothing outside the buffers is
read; a block that has a checksum and has not been compared with it yet is asked for before what it says is
believed.
"""

from typing import Any

import numpy as np

from ostinato.archive.archive_kernels import OK, _signed, _strings
from ostinato.kernels import (
    I32,
    I64,
    U8,
    U64,
    bytes_at,
    copy,
    get,
    kernel,
    load_u64,
    prefetch,
    put,
    store_u64,
)
from ostinato.results import (
    BASELINE_AT,
    CLOCK_AT,
    FALLBACK_AT,
    MEASURED_AT,
    ROW_BYTES,
    TIMESTAMP_AT,
    VALID_AT,
    VERSION_AT,
)

BLOCK_BITS = 12
UNKNOWN, WANTED, GOOD, BAD = range(4)  # what is known of a block
_ENTRY = 96
_POSITION = 0xFFFFFFFF
_AHEAD = 8


@kernel
def in_columns(numbers: I64, places: I64, out: I64) -> Any:
    """The same places by the columns that their buffers stand in; -1 where there is none. There is a column."""
    column: Any = 0
    for i in range(len(places)):
        number = places[i] >> 32
        if numbers[column] != number:
            column = 0
            left: Any = len(numbers)
            while left > 1:  # without a branch that depends on what is found
                half = left >> 1
                column += half if numbers[column + half] <= number else 0
                left -= half
        out[i] = (column << 32) | (places[i] & _POSITION) if numbers[column] == number else -1


@kernel
def _ask(states: I64, blocks: I64, number: Any, low: Any, high: Any, todo: I64, asked: Any) -> Any:
    """Ask for the blocks of bytes low .. high-1 that are unknown; returns (asked, is one of them bad?).

    todo[asked] = number << 32 | block; what does not fit is asked for in the next round.
    """
    bad = False
    if states[number] == 0 or high <= low:
        return asked, bad
    state = bytes_at(states[number], blocks[number])
    for block in range(low >> BLOCK_BITS, ((high - 1) >> BLOCK_BITS) + 1):
        if block >= blocks[number]:
            return asked, True
        known = get(state, block)
        if known == BAD:
            bad = True
        elif known == UNKNOWN and asked < len(todo):
            put(state, block, np.uint8(WANTED))
            put(todo, asked, (number << 32) | block)
            asked += 1
    return asked, bad


@kernel
def read_rows(
    bases: I64, sizes: I64, states: I64, blocks: I64, places: I64, rows: U8, counts: I64, bad: U8, todo: I64
) -> Any:
    """Copy the fields of these entries to zeroed rows, the lengths of their lists to counts; returns how many blocks it asks
    for: compare those, and call again. bad[i] is set where an entry cannot be read.
    """
    asked: Any = 0
    for i in range(len(places)):
        number, at = places[i] >> 32, (places[i] & _POSITION) << 3
        bad[i] = 1
        counts[i] = 0
        if number < 0 or number >= len(bases) or bases[number] == 0 or at + _ENTRY > sizes[number]:
            continue
        data = bytes_at(bases[number], sizes[number])
        asked, wrong = _ask(states, blocks, number, at, at + _ENTRY, todo, asked)
        if i + _AHEAD < len(places):
            ahead = places[i + _AHEAD]
            if ahead >> 32 == number:
                prefetch(data, (ahead & _POSITION) << 3)
        head = load_u64(data, at + 32)
        begin, count = at + 32 + _signed(head), np.int64(head >> np.uint64(32))
        flags = (get(data, at + 40) <= 1) & (get(data, at + 48) <= 1) & (get(data, at + 72) <= 1)
        if wrong or not flags or begin < 0 or begin & 3 != 0 or begin + 8 * count > at:
            continue
        row = i * ROW_BYTES
        copy(rows, row, data, at, 32)
        measured = get(data, at + 48)
        store_u64(rows, row + CLOCK_AT, load_u64(data, at + 56) if measured else np.uint64(0))
        store_u64(rows, row + BASELINE_AT, load_u64(data, at + 64))
        store_u64(rows, row + TIMESTAMP_AT, load_u64(data, at + 80))
        copy(rows, row + VERSION_AT, data, at + 88, 4)
        put(rows, row + VALID_AT, get(data, at + 40))
        put(rows, row + MEASURED_AT, measured)
        put(rows, row + FALLBACK_AT, get(data, at + 72))
        counts[i] = count
        bad[i] = 0
    return asked


@kernel
def read_stamps(bases: I64, sizes: I64, places: I64, stamps: U64) -> Any:
    """The timestamps of these entries, unchecked against sums; 0 where a place is none."""
    for i in range(len(places)):
        number, at = places[i] >> 32, (places[i] & _POSITION) << 3
        inside = 0 <= number < len(bases) and at + _ENTRY <= sizes[number]
        put(stamps, i, load_u64(bytes_at(bases[number], sizes[number]), at + 80) if inside else np.uint64(0))


@kernel
def _ask_ahead(bases: I64, sizes: I64, place: Any) -> Any:
    """Have the memory bring what stands about a list's beginning: its strings before, its records after."""
    number, at = place >> 32, (place & _POSITION) << 3
    if 0 <= number < len(bases) and at + _ENTRY <= sizes[number]:
        data = bytes_at(bases[number], sizes[number])
        begin = at + 32 + _signed(load_u64(data, at + 32))
        prefetch(data, begin - 64)
        prefetch(data, begin)
        prefetch(data, begin + 64)


@kernel
def locate_text(
    bases: I64, sizes: I64, states: I64, blocks: I64, places: I64, counts: I64,
    starts: I64, lengths: I32, bad: U8, todo: I64, report: I64,
) -> Any:  # fmt: skip
    """Where the strings of these entries' lists lie, each in its own buffer, all checked (bounds, order, UTF-8).

    counts are those that read_rows gave; starts and lengths hold their sum. report i64[7] is scratch.
    Returns (blocks asked for, bytes of all strings).
    """
    asked: Any = 0
    done: Any = 0
    total: Any = 0
    for i in range(len(places)):
        if i + _AHEAD < len(places):
            _ask_ahead(bases, sizes, places[i + _AHEAD])
        number, at = places[i] >> 32, (places[i] & _POSITION) << 3
        count = counts[i]
        bad[i] = 1
        for k in range(done, done + count):
            lengths[k] = 0
        if number < 0 or number >= len(bases) or bases[number] == 0 or at + _ENTRY > sizes[number]:
            done += count
            continue
        data = bytes_at(bases[number], sizes[number])
        head = load_u64(data, at + 32)
        begin = at + 32 + _signed(head)
        if np.int64(head >> np.uint64(32)) != count or begin < 0 or begin + 8 * count > at:
            done += count
            continue
        asked, wrong = _ask(states, blocks, number, begin, begin + 8 * count, todo, asked)
        outcome = _strings(data, begin, count, 0, begin, starts, lengths, done, report)
        if outcome == OK and not wrong:
            low: Any = begin
            for k in range(done, done + count):
                low = min(low, starts[k])
                total += lengths[k]
            if states[number] != 0:
                asked, wrong = _ask(states, blocks, number, low, begin, todo, asked)
            bad[i] = 1 if wrong else 0
        done += count
    return asked, total


@kernel
def copy_text(bases: I64, sizes: I64, places: I64, counts: I64, starts: I64, lengths: I32, out: U8) -> Any:
    """Copy the located strings end to end; starts become positions in `out`, which has 24 bytes more than they need."""
    done: Any = 0
    used: Any = 0
    for i in range(len(places)):
        number = places[i] >> 32
        data = bytes_at(bases[number], sizes[number])
        for k in range(done, done + counts[i]):
            start, length = get(starts, k), np.int64(get(lengths, k))
            if length <= 24 and start + 24 <= len(data):
                store_u64(out, used, load_u64(data, start))
                store_u64(out, used + 8, load_u64(data, start + 8))
                store_u64(out, used + 16, load_u64(data, start + 16))
            else:
                copy(out, used, data, start, length)
            put(starts, k, used)
            used += length
        done += counts[i]
    return used


@kernel
def lists_in_order(data: U8, entries: Any, begin: Any, end: Any, low: Any) -> Any:
    """Do the lists of entries begin .. end-1 lie one after the other, none before `low`, all before the entries?

    Returns where the last one ends, or -1 - i for the first that does not. With it, no byte of a list belongs to two, so that
    all text of a file is bounded by the file.
    """
    for i in range(begin, end):
        at = entries + _ENTRY * i
        head = load_u64(data, at + 32)
        start, count = at + 32 + _signed(head), np.int64(head >> np.uint64(32))
        if start < low or start + 8 * count > entries:
            return -1 - i
        low = start + 8 * count
    return low
