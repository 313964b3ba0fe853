"""The order tree's hot loops: who comes first, by priority and then by id, among eight children a node.

Layout: level 0 has a place for each eight slots, level k + 1 one for each eight places of level k; the top level has at
most one. `levels[k]` is where level k begins in the flat array; each level is filled up to a multiple of eight.

Rule of this file: ties are always broken by id, so that the same calls give the same order on every machine.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, kernel


@kernel
def before(p: Any, i: Any, q: Any, j: Any, sign_p: Any, sign_i: Any) -> Any:
    """Does (priority p, id i) come before (q, j)? Signs of -1 turn an order round."""
    if sign_p * p != sign_p * q:  # a sign of 0 leaves the id alone to decide
        return sign_p * p < sign_p * q
    return sign_i * i < sign_i * j


@kernel
def _ahead(a: Any, b: Any, priority: F64, ids: I64, sign_p: Any, sign_i: Any) -> Any:
    """Does slot a come before slot b?"""
    return before(priority[a], ids[a], priority[b], ids[b], sign_p, sign_i)


@kernel
def order_parent(
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
def order_raise(
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
        first, p, i = order_parent(
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
        order_raise(best, lead_p, lead_i, levels, slots[k], priority, ids, count, sign_p, sign_i)


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
            best[node], lead_p[node], lead_i[node] = order_parent(
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
        if before(new_priority[k], new_ids[k], priority[first], ids[first], sign_p, sign_i):
            slots[k] = -1
            removed[k] = new_ids[k]
            continue
        slots[k] = first
        removed[k] = ids[first]
        priority[first] = new_priority[k]
        ids[first] = new_ids[k]
        order_raise(best, lead_p, lead_i, levels, first, priority, ids, count, sign_p, sign_i)


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
            if child + 1 < size and _ahead(lead[child + 1], lead[child], priority, ids, sign_p, sign_i):
                child += 1
            if not _ahead(lead[child], lead[at], priority, ids, sign_p, sign_i):
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
                    if not _ahead(lead[at], lead[parent], priority, ids, sign_p, sign_i):
                        break
                    heap[at], heap[parent] = heap[parent], heap[at]
                    lead[at], lead[parent] = lead[parent], lead[at]
                    at = parent
            place = slot >> (3 * level)
    return done
