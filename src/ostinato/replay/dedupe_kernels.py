"""Hot loops of Dedupe: the hash of a record's content, and an index from it to the slot.

An entry of the index is (high half of the hash) << 32 | slot + 1, 0 where it is free; its home is that high half,
so that an entry can move without the hash at hand.
"""

from typing import Any

import numpy as np

from ostinato.kernels import I32, I64, U8, U64, kernel, load_u64
from ostinato.replay.table_kernels import COUNT_BITS, COUNT_MASK
from ostinato.results import VALID_AT
from ostinato.vocabulary_kernels import siphash

_HIGH = np.uint64(0xFFFFFFFF00000000)
_LOW = np.uint64(0xFFFFFFFF)


@kernel
def _home(entry: Any, index: U64) -> Any:
    return np.int64((entry >> np.uint64(32)) & np.uint64(len(index) - 1))


@kernel
def hash_new(
    rows: U8, token_bytes: U8, offsets: I64, by_program: Any, by_code: Any, secret: U64, out: U64
) -> Any:
    """out[k] = hash of what makes new record k the same as another."""
    chained = secret.copy()
    for k in range(len(out)):
        hashed = secret[0]
        if by_program:
            hashed = siphash(rows[k], 0, 32, secret)
        if by_code:
            chained[0] = hashed
            hashed = siphash(token_bytes, 4 * offsets[k], 4 * (offsets[k + 1] - offsets[k]), chained)
        out[k] = hashed


@kernel
def hash_stored(
    rows: U8,
    blocks: I64,
    arena_bytes: U8,
    slots: I64,
    count: Any,
    by_program: Any,
    by_code: Any,
    secret: U64,
    out: U64,
) -> Any:
    """The same of records in slots; those from `count` on are left as they are."""
    chained = secret.copy()
    for i in range(len(slots)):
        slot = slots[i]
        if slot >= count:
            continue
        hashed = secret[0]
        if by_program:
            hashed = siphash(rows[slot], 0, 32, secret)
        if by_code:
            chained[0] = hashed
            start, size = blocks[slot] >> COUNT_BITS, blocks[slot] & COUNT_MASK
            hashed = siphash(arena_bytes, 4 * start, 4 * size, chained)
        out[i] = hashed


@kernel
def index_move(index: U64, entry_of: U64, slots: I64, count: Any, hashes: U64) -> Any:
    """These slots hold other records, or from `count` on none. entry_of[slot] is the slot's entry, 0 for none."""
    mask = len(index) - 1
    for i in range(len(slots)):
        entry = entry_of[slots[i]]
        if entry == 0:
            continue
        entry_of[slots[i]] = 0
        gap = _home(entry, index)
        while index[gap] != entry:
            gap = (gap + 1) & mask
        place = gap
        while True:  # close the gap (Knuth 6.4, algorithm R)
            place = (place + 1) & mask
            if index[place] == 0:
                break
            if ((place - _home(index[place], index)) & mask) >= ((place - gap) & mask):
                index[gap] = index[place]
                gap = place
        index[gap] = 0
    for i in range(len(slots)):
        slot = slots[i]
        if slot >= count or entry_of[slot] != 0:
            continue
        entry = (hashes[i] & _HIGH) | np.uint64(slot + 1)
        entry_of[slot] = entry
        place = _home(entry, index)
        while index[place] != 0:
            place = (place + 1) & mask
        index[place] = entry


@kernel
def _same_program(a: U8, b: U8) -> Any:
    same = True
    for k in range(0, 32, 8):
        same &= load_u64(a, k) == load_u64(b, k)
    return same


@kernel
def _same_code(a: I32, start_a: Any, b: I32, start_b: Any, size: Any) -> Any:
    same = True
    for t in range(size):
        if a[start_a + t] != b[start_b + t]:
            same = False
            break
    return same


@kernel
def match(
    index: U64,
    rows: U8,
    blocks: I64,
    arena: I32,
    new_rows: U8,
    tokens: I32,
    offsets: I64,
    hashes: U64,
    by_program: Any,
    by_code: Any,
    own: U64,
    into: I64,
    against: I64,
) -> Any:
    """What each new record repeats: into[k] = slot, or -2 - j for new record j, or -1 for nothing.

    against[k] is the same for one with the same content and another verdict. own: an empty index for the new ones.
    """
    for k in range(len(hashes)):
        into[k], against[k] = -1, -1
        row = new_rows[k]
        start, size = offsets[k], offsets[k + 1] - offsets[k]
        tag = hashes[k] & _HIGH
        for new in range(2):
            where = own if new else index
            mask = len(where) - 1
            place = _home(tag, where)
            while where[place] != 0 and into[k] == -1:
                entry = where[place]
                place = (place + 1) & mask
                if entry & _HIGH != tag:
                    continue
                other = np.int64(entry & _LOW) - 1
                if new:
                    first, length = offsets[other], offsets[other + 1] - offsets[other]
                    same = (not by_program or _same_program(row, new_rows[other])) and (
                        not by_code or (length == size and _same_code(tokens, start, tokens, first, size))
                    )
                    verdict = new_rows[other, VALID_AT]
                else:
                    first, length = blocks[other] >> COUNT_BITS, blocks[other] & COUNT_MASK
                    same = (not by_program or _same_program(row, rows[other])) and (
                        not by_code or (length == size and _same_code(tokens, start, arena, first, size))
                    )
                    verdict = rows[other, VALID_AT]
                if same:
                    named = -2 - other if new else other
                    if verdict == row[VALID_AT]:
                        into[k] = named
                    else:
                        against[k] = named
        if into[k] == -1:
            mask = len(own) - 1
            place = _home(tag, own)
            while own[place] != 0:
                place = (place + 1) & mask
            own[place] = tag | np.uint64(k + 1)
