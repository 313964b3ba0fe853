"""The ranking's hot loops: sorted blocks of at most BLOCK entries, in a sequence.

An entry is (key, slot); smaller keys come first, of equals the smaller slot. `sequence[:used[0]]` lists the blocks in
order; block b's entries are keys[b * BLOCK ...] and slots[b * BLOCK ...], counts[b] of them, never 0 for a block of
the sequence. `stack[:used[1]]` are the blocks that are free. `key_of[slot]` is the key under which a slot stands,
NaN where it does not.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, kernel

BLOCK = 512
FILL = 384  # entries a block gets when all are made anew


@kernel
def _block_of(keys: F64, slots: I32, counts: I32, sequence: I32, used: I64, key: Any, slot: Any) -> Any:
    """The place in the sequence of the last block that begins at or before this entry, 0 at least."""
    low: Any = 0
    high = used[0]
    while high - low > 1:
        middle = (low + high) >> 1
        at = np.int64(sequence[middle]) * BLOCK
        if keys[at] < key or (keys[at] == key and slots[at] <= slot):
            low = middle
        else:
            high = middle
    return low


@kernel
def _place_in(keys: F64, slots: I32, first: Any, count: Any, key: Any, slot: Any) -> Any:
    """How many of a block's entries come before this one."""
    low: Any = 0
    high = count
    while low < high:
        middle = (low + high) >> 1
        at = first + middle
        if keys[at] < key or (keys[at] == key and slots[at] < slot):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _take(
    keys: F64, slots: I32, counts: I32, sequence: I32, stack: I32, used: I64, key: Any, slot: Any
) -> Any:
    where = _block_of(keys, slots, counts, sequence, used, key, slot)
    block = np.int64(sequence[where])
    first = block * BLOCK
    counts[block] -= 1
    for k in range(_place_in(keys, slots, first, counts[block] + 1, key, slot), counts[block]):
        keys[first + k], slots[first + k] = keys[first + k + 1], slots[first + k + 1]
    if counts[block] == 0:
        used[0] -= 1
        for k in range(where, used[0]):
            sequence[k] = sequence[k + 1]
        stack[used[1]] = block
        used[1] += 1


@kernel
def _new_block(counts: I32, sequence: I32, stack: I32, used: I64, where: Any) -> Any:
    used[1] -= 1
    block = np.int64(stack[used[1]])
    for k in range(used[0], where, -1):
        sequence[k] = sequence[k - 1]
    used[0] += 1
    sequence[where] = block
    counts[block] = 0
    return block


@kernel
def _put(
    keys: F64, slots: I32, counts: I32, sequence: I32, stack: I32, used: I64, key: Any, slot: Any
) -> Any:
    where = 0 if used[0] else -1
    if where < 0:
        block = _new_block(counts, sequence, stack, used, 0)
    else:
        where = _block_of(keys, slots, counts, sequence, used, key, slot)
        block = np.int64(sequence[where])
    if counts[block] == BLOCK:
        upper = _new_block(counts, sequence, stack, used, where + 1)
        half = BLOCK // 2
        for k in range(half):
            keys[upper * BLOCK + k] = keys[block * BLOCK + half + k]
            slots[upper * BLOCK + k] = slots[block * BLOCK + half + k]
        counts[block], counts[upper] = half, half
        at = upper * BLOCK
        if keys[at] < key or (keys[at] == key and slots[at] <= slot):
            block = upper
    first = block * BLOCK
    place = _place_in(keys, slots, first, counts[block], key, slot)
    for k in range(counts[block], place, -1):
        keys[first + k], slots[first + k] = keys[first + k - 1], slots[first + k - 1]
    keys[first + place], slots[first + place] = key, slot
    counts[block] += 1


@kernel
def rank_set(
    keys: F64,
    slots: I32,
    counts: I32,
    sequence: I32,
    stack: I32,
    used: I64,
    key_of: F64,
    changed: I64,
    new: F64,
) -> Any:
    """Give slots new keys, NaN to leave one out; returns how many were done before blocks ran out."""
    for i in range(len(changed)):
        slot = changed[i]
        if key_of[slot] == new[i] or (np.isnan(key_of[slot]) and np.isnan(new[i])):
            continue
        if not np.isnan(new[i]) and used[1] == 0:
            return i
        if not np.isnan(key_of[slot]):
            _take(keys, slots, counts, sequence, stack, used, key_of[slot], slot)
        if not np.isnan(new[i]):
            _put(keys, slots, counts, sequence, stack, used, new[i], slot)
        key_of[slot] = new[i]
    return len(changed)


@kernel
def rank_build(
    keys: F64,
    slots: I32,
    counts: I32,
    sequence: I32,
    stack: I32,
    used: I64,
    key_of: F64,
    order: I64,
) -> Any:
    """Everything anew from the slots in order, those left out not among them."""
    n = len(order)
    blocks = (n + FILL - 1) // FILL
    for k in range(n):
        at = (k // FILL) * BLOCK + k % FILL
        slots[at] = order[k]
        keys[at] = key_of[order[k]]
    for b in range(len(counts)):
        counts[b] = min(FILL, max(0, n - b * FILL))
        sequence[b] = b
        stack[b] = len(counts) - 1 - b  # those of the sequence are above the top
    used[0] = blocks
    used[1] = len(counts) - blocks


@kernel
def rank_of(
    keys: F64,
    slots: I32,
    counts: I32,
    sequence: I32,
    used: I64,
    before: I64,
    key_of: F64,
    wanted: I64,
    ranks: I64,
) -> Any:
    """ranks[i], from 0, of each wanted slot, -1 for one left out; before[k] entries lie before block sequence[k]."""
    for i in range(len(wanted)):
        slot = wanted[i]
        key = key_of[slot]
        if np.isnan(key):
            ranks[i] = -1
            continue
        where = _block_of(keys, slots, counts, sequence, used, key, slot)
        block = np.int64(sequence[where])
        ranks[i] = before[where] + _place_in(keys, slots, block * BLOCK, counts[block], key, slot)
