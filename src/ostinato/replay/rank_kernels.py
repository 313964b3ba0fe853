"""The ranking's hot loops: sorted blocks of at most BLOCK entries, in a sequence.

An entry is (key, slot); smaller keys come first, of equals the smaller slot. `sequence[:used[0]]` lists the blocks in
order; block b's entries are keys[b * BLOCK ...] and slots[b * BLOCK ...], counts[b] of them, never 0 for a block of
the sequence. `stack[:used[1]]` are the blocks that are free. `key_of[slot]` is the key under which a slot stands,
NaN where it does not.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F32, F64, I32, I64, copy, get, kernel, prefetch, put
from ostinato.replay.sum_tree_kernels import importance, power, spread

BLOCK = 256
FILL = 192  # entries a block gets when all are made anew
LAST = 2**31  # after every slot


@kernel
def _block_of(keys: F64, slots: I32, counts: I32, sequence: I32, used: I64, key: Any, slot: Any) -> Any:
    """The place in the sequence of the last block that begins at or before this entry, 0 at least."""
    low: Any = 0
    high = used[0]
    while high - low > 1:
        middle = (low + high) >> 1
        at = np.int64(get(sequence, middle)) * BLOCK
        found = get(keys, at)
        reached = (found < key) | ((found == key) & (np.int64(get(slots, at)) <= slot))
        low, high = (middle, high) if reached else (low, middle)
    return low


@kernel
def _place_in(keys: F64, slots: I32, first: Any, count: Any, key: Any, slot: Any) -> Any:
    """How many of a block's entries come before this one."""
    low: Any = 0
    high = count
    while low < high:
        middle = (low + high) >> 1
        found = get(keys, first + middle)
        earlier = (found < key) | ((found == key) & (np.int64(get(slots, first + middle)) < slot))
        low, high = (middle + 1, high) if earlier else (low, middle)
    return low


@kernel
def _take(
    keys: F64, slots: I32, counts: I32, sequence: I32, stack: I32, used: I64, key: Any, slot: Any
) -> Any:
    where = _block_of(keys, slots, counts, sequence, used, key, slot)
    block = np.int64(sequence[where])
    first = block * BLOCK
    counts[block] -= 1
    at = first + _place_in(keys, slots, first, counts[block] + 1, key, slot)
    behind = first + counts[block] - at
    copy(keys, at, keys, at + 1, behind)
    copy(slots, at, slots, at + 1, behind)
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
        copy(keys, upper * BLOCK, keys, block * BLOCK + half, half)
        copy(slots, upper * BLOCK, slots, block * BLOCK + half, half)
        counts[block], counts[upper] = half, half
        at = upper * BLOCK
        if keys[at] < key or (keys[at] == key and slots[at] <= slot):
            block = upper
    first = block * BLOCK
    at = first + _place_in(keys, slots, first, counts[block], key, slot)
    behind = first + counts[block] - at
    copy(keys, at + 1, keys, at, behind)
    copy(slots, at + 1, slots, at, behind)
    keys[at], slots[at] = key, slot
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
def _first_rank(
    keys: F64, slots: I32, counts: I32, sequence: I32, used: I64, before: I64, key: Any, slot: Any
) -> Any:
    """How many entries come before (key, slot)."""
    where = _block_of(keys, slots, counts, sequence, used, key, slot)
    block = np.int64(get(sequence, where))
    return get(before, where) + _place_in(keys, slots, block * BLOCK, np.int64(get(counts, block)), key, slot)


@kernel
def _ties(
    keys: F64, slots: I32, counts: I32, sequence: I32, used: I64, before: I64, where: Any, place: Any
) -> Any:
    """(low, high): ranks low .. high - 1 have the key of entry `place` of the block at `where` of the sequence."""
    block = np.int64(get(sequence, where))
    first = block * BLOCK
    count = np.int64(get(counts, block))
    key = get(keys, first + place)
    start = get(before, where)
    low = start + place
    high = low + 1
    if get(keys, first) == key:  # perhaps they begin in an earlier block
        low = _first_rank(keys, slots, counts, sequence, used, before, key, -1)
    elif get(keys, first + place - 1) == key:
        low = start + _place_in(keys, slots, first, count, key, -1)
    if get(keys, first + count - 1) == key:
        high = _first_rank(keys, slots, counts, sequence, used, before, key, LAST)
    elif get(keys, first + place + 1) == key:
        high = start + _place_in(keys, slots, first, count, key, LAST)
    return low, high


@kernel
def _mean_shares(low: I64, high: I64, n: Any, sums: F64, alpha: Any, total: Any, out: F64) -> Any:
    """out[i] = the mean of rank**-alpha over ranks low[i] .. high[i] - 1, counted from 0, over the total."""
    for i in range(n):  # two loops, which are vector code
        put(out, i, power(np.float64(get(low, i) + 1), -alpha))
    for i in range(n):
        first, end = get(low, i), get(high, i)
        if end - first > 1:
            through = get(sums, end - 1) - (get(sums, first - 1) if first > 0 else 0.0)
            # where sums have no digits left for a difference, a mean still lies between the ends
            mean = min(through / (end - first), get(out, i))
            put(out, i, max(mean, power(np.float64(end), -alpha)))
    for i in range(n):
        put(out, i, get(out, i) / total)


@kernel
def rank_draw(
    keys: F64,
    slots: I32,
    counts: I32,
    sequence: I32,
    used: I64,
    before: I64,
    sums: F64,
    alpha: Any,
    beta: Any,
    numbers: F64,
    stratified: Any,
    largest: Any,
    drawn: I64,
    probability: F64,
    weight: F32,
) -> Any:
    """A whole draw from uniform numbers: slots, mean share of their ties / total, and (count * that)**-beta.

    sums[r] is the sum of rank**-alpha up to rank r + 1. Weights are divided by the last rank's if `largest`, else by
    the largest of these; returns which.
    """
    n = len(numbers)
    count = len(sums)
    total = sums[count - 1]
    low, high = np.empty(n, np.int64), np.empty(n, np.int64)
    spread(numbers, stratified, total)
    # the first rank whose sum is above the number: all look at one place together, so that their cache misses overlap
    step: Any = 1
    while step < count:
        step *= 2
    drawn[:] = 0
    while step > 0:
        for i in range(n):
            rank = get(drawn, i)
            middle = min(rank + step, count) - 1
            passed = (rank + step < count) & (get(sums, middle) <= get(numbers, i))
            put(drawn, i, rank + step if passed else rank)
        step >>= 1
    for i in range(n):
        rank = get(drawn, i)
        where = _where(before, used, rank)
        put(low, i, where)
        cell = np.int64(get(sequence, where)) * BLOCK + rank - get(before, where)
        prefetch(keys, cell - 1)
        prefetch(keys, cell + 1)
        prefetch(slots, cell)
    for i in range(n):
        rank = get(drawn, i)
        where = get(low, i)
        if i > 0 and low[i - 1] <= rank < high[i - 1]:
            low[i], high[i] = low[i - 1], high[i - 1]
        else:
            place = rank - get(before, where)
            low[i], high[i] = _ties(keys, slots, counts, sequence, used, before, where, place)
        size = high[i] - low[i]
        if size > 1:  # where in its ties' common share a number falls says which of them it is
            start = get(sums, low[i] - 1) if low[i] > 0 else 0.0
            part = (get(numbers, i) - start) / (get(sums, high[i] - 1) - start)
            rank = low[i] + min(max(np.int64(size * part), 0), size - 1)
            where = _where(before, used, rank)
        cell = np.int64(get(sequence, where)) * BLOCK + rank - get(before, where)
        put(drawn, i, np.int64(get(slots, cell)))
    _mean_shares(low, high, n, sums, alpha, total, probability)
    for i in range(n):
        put(numbers, i, count * get(probability, i))
    top = np.empty(1 if largest else 0)
    if largest:
        where = used[0] - 1
        place = np.int64(counts[sequence[where]]) - 1
        low[0], high[0] = _ties(keys, slots, counts, sequence, used, before, where, place)
        _mean_shares(low, high, 1, sums, alpha, total, top)
        top[0] *= count
    return importance(numbers, beta, top, np.empty(n), weight)


@kernel
def _where(before: I64, used: I64, rank: Any) -> Any:
    """The place in the sequence of the block that holds a rank."""
    low: Any = 0
    high = used[0]
    while high - low > 1:
        middle = (low + high) >> 1
        inside = get(before, middle) <= rank
        low, high = (middle, high) if inside else (low, middle)
    return low


@kernel
def rank_probability(
    keys: F64,
    slots: I32,
    counts: I32,
    sequence: I32,
    used: I64,
    before: I64,
    key_of: F64,
    sums: F64,
    alpha: Any,
    wanted: I64,
    out: F64,
) -> Any:
    """out[i] = the probability of each wanted slot in one draw, 0 for one left out; before[k] entries lie before
    block sequence[k].
    """
    n = len(wanted)
    low, high = np.zeros(n, np.int64), np.ones(n, np.int64)
    for i in range(n):
        key = key_of[wanted[i]]
        if not np.isnan(key):
            low[i] = _first_rank(keys, slots, counts, sequence, used, before, key, -1)
            high[i] = _first_rank(keys, slots, counts, sequence, used, before, key, LAST)
    _mean_shares(low, high, n, sums, alpha, sums[len(sums) - 1], out)
    for i in range(n):
        if np.isnan(key_of[wanted[i]]):
            out[i] = 0.0
