"""The replay buffer's hot loops: two trees of eight children a node, the table of records, the token arena.

Rule of this file: float64 sums, parents always recomputed from their children (never adjusted by a
difference), ties always broken by id, so that the same calls give the same draws on every machine.

Tree layout: level 0 has a place for each slot, level k + 1 one for each eight places of level k, and
so on. The top level has at most eight places in a sum tree, one in an order tree (whose level 0 is the
table itself). `levels[k]` is where level k begins in the flat array.
"""

import math
from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U8, kernel, load_u64, store_u64

# Columns of the table's counters
VALID, USED, DEAD = range(3)

_ROW_BYTES = 64
_IS_VALID, _IS_FALLBACK = 60, 62
COUNT_BITS = 28  # a block's place is start << 28 | count; a list of 2**28 is beyond what an archive holds
_COUNT_MASK = (1 << COUNT_BITS) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads consecutive ids (Knuth 6.4)


# --- sum tree -----------------------------------------------------------------------------------------------


@kernel
def _sum_of_eight(nodes: F64, at: Any) -> Any:
    total = nodes[at]
    for k in range(1, 8):  # in this order, as the descent adds them
        total += nodes[at + k]
    return total


@kernel
def power(x: Any, exponent: Any) -> Any:
    """x**exponent for x > 0, to about 1e-14, by additions, multiplications and divisions alone.

    Those are the same on every machine, as libraries' powers are not: a leaf that differs in its last bit
    would in the end draw another record.
    """
    if exponent == 1.0:
        return x
    mantissa, whole = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        whole -= 1
    s = (mantissa - 1.0) / (mantissa + 1.0)  # log(mantissa) = 2 atanh(s), |s| < 0.172
    z = s * s
    series = 1.0 / 25.0
    for k in range(11, -1, -1):
        series = series * z + 1.0 / (2 * k + 1)
    y = exponent * (whole + 2.8853900817779268 * s * series)  # log2 of the result; the factor is 2 / log(2)
    if y > 1024.0:
        return math.inf
    if y < -1080.0:
        return 0.0
    nearest = math.floor(y + 0.5)
    f = (y - nearest) * 0.6931471805599453  # |f| < 0.347
    out = 1.0
    for k in range(14, 0, -1):
        out = 1.0 + f * out / k
    return math.ldexp(out, int(nearest))


@kernel
def powers(values: F64, exponent: Any, out: F64) -> Any:
    """out[i] = values[i]**exponent, values > 0."""
    for i in range(len(values)):
        out[i] = power(values[i], exponent)


@kernel
def sum_set(nodes: F64, levels: I64, slots: I64, priority: F64, alpha: Any, count: Any) -> Any:
    """Leaves of these slots from their priorities (0 beyond count), then their ancestors."""
    places = np.empty(len(slots), np.int64)
    for i in range(len(slots)):
        slot = slots[i]
        p = priority[slot] if slot < count else 0.0
        nodes[slot] = power(p, alpha) if p > 0.0 else 0.0
        places[i] = slot >> 3
    for level in range(1, len(levels)):
        last = -1
        for i in range(len(places)):
            place = places[i]
            if place != last:
                nodes[levels[level] + place] = _sum_of_eight(nodes, levels[level - 1] + 8 * place)
                last = place
            places[i] = place >> 3


@kernel
def sum_build(nodes: F64, levels: I64, priority: F64, alpha: Any, count: Any) -> Any:
    """All leaves and all their ancestors."""
    for slot in range(count):
        p = priority[slot]
        nodes[slot] = power(p, alpha) if p > 0.0 else 0.0
    end = levels[1] if len(levels) > 1 else len(nodes)
    for slot in range(count, end):
        nodes[slot] = 0.0
    width = count
    for level in range(1, len(levels)):
        width = (width + 7) >> 3
        end = levels[level + 1] if level + 1 < len(levels) else len(nodes)
        for place in range(end - levels[level]):
            inside = place < width
            total = _sum_of_eight(nodes, levels[level - 1] + 8 * place) if inside else 0.0
            nodes[levels[level] + place] = total


@kernel
def sum_find(nodes: F64, levels: I64, rest: F64, slots: I64, leaves: F64) -> Any:
    """For each rest[i] in [0, total): the slot in whose share it falls, and its leaf.

    All draws go down one level together, so that their cache misses overlap. A zero leaf is never chosen.
    """
    for i in range(len(rest)):
        slots[i] = 0
    for level in range(len(levels) - 1, -1, -1):
        for i in range(len(rest)):
            at = levels[level] + 8 * slots[i]
            wanted = rest[i]
            through = 0.0  # the sum of the children up to here
            before = 0.0  # the sum of those left of the chosen one
            child = 0
            for k in range(8):
                value = nodes[at + k]
                # the last child that has a share at all serves when rounding leaves nothing to its right
                if value > 0.0 and through <= wanted:
                    child = k
                    before = through
                through += value
            rest[i] = wanted - before
            slots[i] = 8 * slots[i] + child
    for i in range(len(rest)):
        leaves[i] = nodes[slots[i]]


# --- order tree ---------------------------------------------------------------------------------------------


@kernel
def _before(p: Any, i: Any, q: Any, j: Any, sign_p: Any, sign_i: Any) -> Any:
    """Does (priority p, id i) come before (q, j)? Signs of -1 turn an order round."""
    if p != q:
        return sign_p * p < sign_p * q
    return sign_i * i < sign_i * j


@kernel
def _order_parent(
    best: I32,
    lead_p: F64,
    lead_i: I64,
    levels: I64,
    level: Any,
    place: Any,
    priority: F64,
    ids: I64,
    count: Any,
    sign_p: Any,
    sign_i: Any,
) -> Any:
    """(slot, signed priority, signed id) of who comes first among a place's eight children; -1 for nobody."""
    first: Any = -1
    p: Any = np.inf
    i: Any = np.int64(0)
    below = 8 * place
    if level == 0:
        for slot in range(below, min(below + 8, count)):
            q, j = sign_p * priority[slot], sign_i * ids[slot]
            comes = (q < p) | ((q == p) & (j < i))  # no branch: who comes first cannot be predicted
            first, p, i = (slot, q, j) if comes else (first, p, i)
        return first, p, i
    at = levels[level - 1] + below
    for k in range(at, at + 8):
        q, j = lead_p[k], lead_i[k]
        comes = (q < p) | ((q == p) & (j < i))
        first, p, i = (np.int64(best[k]), q, j) if comes else (first, p, i)
    return first, p, i


@kernel
def _order_raise(
    best: I32,
    lead_p: F64,
    lead_i: I64,
    levels: I64,
    slot: Any,
    priority: F64,
    ids: I64,
    count: Any,
    sign_p: Any,
    sign_i: Any,
) -> Any:
    place = slot
    for level in range(len(levels)):
        place >>= 3
        node = levels[level] + place
        first, p, i = _order_parent(
            best, lead_p, lead_i, levels, level, place, priority, ids, count, sign_p, sign_i
        )
        if first == best[node] and p == lead_p[node] and i == lead_i[node]:
            return  # then nothing above has changed either
        best[node], lead_p[node], lead_i[node] = first, p, i


@kernel
def order_set(
    best: I32,
    lead_p: F64,
    lead_i: I64,
    levels: I64,
    slots: I64,
    priority: F64,
    ids: I64,
    count: Any,
    sign_p: Any,
    sign_i: Any,
) -> Any:
    """Recompute the ancestors of these slots."""
    for k in range(len(slots)):
        _order_raise(best, lead_p, lead_i, levels, slots[k], priority, ids, count, sign_p, sign_i)


@kernel
def order_build(
    best: I32,
    lead_p: F64,
    lead_i: I64,
    levels: I64,
    priority: F64,
    ids: I64,
    count: Any,
    sign_p: Any,
    sign_i: Any,
) -> Any:
    """Recompute everything. Level k of the nodes has a place for each eight of what lies below."""
    best[:] = -1
    lead_p[:] = np.inf
    lead_i[:] = 0
    width = count
    for level in range(len(levels)):
        width = (width + 7) >> 3
        for place in range(width):
            node = levels[level] + place
            best[node], lead_p[node], lead_i[node] = _order_parent(
                best, lead_p, lead_i, levels, level, place, priority, ids, count, sign_p, sign_i
            )


@kernel
def order_replace(
    best: I32,
    lead_p: F64,
    lead_i: I64,
    levels: I64,
    priority: F64,
    ids: I64,
    count: Any,
    sign_p: Any,
    sign_i: Any,
    new_priority: F64,
    new_ids: I64,
    slots: I64,
    removed: I64,
) -> Any:
    """Put new records in, one after the other, each time removing what then comes first of all.

    slots[k] is where record k goes, -1 if it is itself what is removed; removed[k] is the id that goes.
    """
    top = levels[len(levels) - 1]
    for k in range(len(new_ids)):
        first = best[top]
        if _before(new_priority[k], new_ids[k], priority[first], ids[first], sign_p, sign_i):
            slots[k] = -1
            removed[k] = new_ids[k]
            continue
        slots[k] = first
        removed[k] = ids[first]
        priority[first] = new_priority[k]
        ids[first] = new_ids[k]
        _order_raise(best, lead_p, lead_i, levels, first, priority, ids, count, sign_p, sign_i)


@kernel
def order_first(
    best: I32,
    lead_p: F64,
    lead_i: I64,
    levels: I64,
    priority: F64,
    ids: I64,
    count: Any,
    sign_p: Any,
    sign_i: Any,
    slots: I64,
) -> Any:
    """The first len(slots) slots in order: best-first search with a binary heap of subtrees. O(n log N)."""
    n = len(slots)
    size = 0
    # a subtree is level << 40 | place; level 0 is a slot itself
    heap = np.empty(7 * (n + 1) * len(levels) + 16, np.int64)
    lead = np.empty(len(heap), np.int32)  # the slot that comes first in it
    heap[0] = np.int64(len(levels)) << 40
    lead[0] = best[levels[len(levels) - 1]]
    size = 1
    done = 0
    while done < n and size > 0:
        node, slot = heap[0], lead[0]
        level, place = node >> 40, node & 0xFFFFFFFFFF
        size -= 1
        heap[0], lead[0] = heap[size], lead[size]
        at = 0
        while True:
            child = 2 * at + 1
            if child >= size:
                break
            if child + 1 < size and _before(
                priority[lead[child + 1]],
                ids[lead[child + 1]],
                priority[lead[child]],
                ids[lead[child]],
                sign_p,
                sign_i,
            ):
                child += 1
            if not _before(
                priority[lead[child]], ids[lead[child]], priority[lead[at]], ids[lead[at]], sign_p, sign_i
            ):
                break
            heap[at], heap[child] = heap[child], heap[at]
            lead[at], lead[child] = lead[child], lead[at]
            at = child
        # go straight down to the leaf that leads, leaving its siblings on the heap
        slots[done] = slot
        done += 1
        while level > 0:
            level -= 1
            for k in range(8):
                below = 8 * place + k
                if level == 0:
                    candidate = below if below < count else -1
                else:
                    candidate = best[levels[level - 1] + below]
                if candidate < 0 or candidate == slot:
                    continue
                at = size
                size += 1
                heap[at] = (np.int64(level) << 40) | below
                lead[at] = candidate
                while at > 0:
                    parent = (at - 1) >> 1
                    if not _before(
                        priority[lead[at]],
                        ids[lead[at]],
                        priority[lead[parent]],
                        ids[lead[parent]],
                        sign_p,
                        sign_i,
                    ):
                        break
                    heap[at], heap[parent] = heap[parent], heap[at]
                    lead[at], lead[parent] = lead[parent], lead[at]
                    at = parent
            place = slot >> (3 * level)
    return done


# --- table: id -> slot --------------------------------------------------------------------------------------


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


# --- table: taking in ---------------------------------------------------------------------------------------


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
