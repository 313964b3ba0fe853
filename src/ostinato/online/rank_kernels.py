"""How likely is a child right? A linear model of what it changes in its parent; the kernels that follow the stack and learn.

Rule of this file: a feature is a place in a table of weights; what the words mean is not known, only where words of the stack
come from.

For each word of the stack a mask: bits 0 to 31 say which of the words given it depends on, bits 32 to 63 which kinds of
instructions made it.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U64, get, inlined, put, threaded_kernel

WIDTH = 17  # words that a token may give where it only moves words
FEATURES = 1 << 13
MOST = 192  # features of a child
_COUNTS, _LOST, _MADE, _NUMBERS, _PAIRS = 0, 1024, 1152, 1280, 2048
SHARED, OWN = 0.1, 0.3  # how fast the model learns
_STACK = 64  # words that are followed


@inlined
def _follow(
    tokens: I32, begin: Any, end: Any, first: Any, need: I32, change: I32, kind: I32, skips: I32, wired: I32,
    source: I32, stack: U64, old: U64,
) -> Any:  # fmt: skip
    """Masks of the stack that a list leaves in stack[: depth], the lowest first; the last one is that of words that were taken
    and gave nothing. The depth, or -1."""
    depth = first
    for i in range(first):
        put(stack, i, np.uint64(1) << np.uint64(i & 31))
    sink = np.uint64(0)
    under = np.uint64(0)
    for k in range(begin, end):
        token = np.int64(get(tokens, k))
        takes = np.int64(get(need, token))
        gives = takes + np.int64(get(change, token))
        low = depth - takes
        if low < 0 or low + gives > _STACK - 2:
            return -1
        if get(wired, token):
            for j in range(takes):
                put(old, j, get(stack, depth - 1 - j))
            for j in range(gives):
                put(stack, low + gives - 1 - j, get(old, np.int64(get(source, WIDTH * token + j))) | under)
        else:
            mask = under | (np.uint64(1) << np.uint64(32 + (get(kind, token) & 31)))
            for j in range(low, depth):
                mask |= get(stack, j)
            if gives == 0:
                sink |= mask
            for j in range(low, low + gives):
                put(stack, j, mask)
        under = np.uint64(0)
        if get(skips, token):
            under = sink
        depth = low + gives
    put(stack, depth, sink)
    return depth


@inlined
def _ones(word: Any) -> Any:
    """How many bits are set."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inlined
def _features(
    tokens: I32, begin: Any, end: Any, other: I32, other_begin: Any, other_end: Any, first: Any, need: I32,
    change: I32, kind: I32, skips: I32, wired: I32, source: I32, counts: I64, mine: U64, theirs: U64, old: U64,
    depth: Any, out: I64,
) -> Any:  # fmt: skip
    """Features of a child beside its parent, whose masks are `theirs`; how many."""
    size = 0
    for k in range(other_begin, other_end):
        put(counts, np.int64(get(kind, np.int64(get(other, k)))), np.int64(0))
    for k in range(begin, end):
        put(counts, np.int64(get(kind, np.int64(get(tokens, k)))), np.int64(0))
    for k in range(other_begin, other_end):
        one = np.int64(get(kind, np.int64(get(other, k))))
        put(counts, one, get(counts, one) - 1)
    for k in range(begin, end):
        one = np.int64(get(kind, np.int64(get(tokens, k))))
        put(counts, one, get(counts, one) + 1)
    for turn in range(2):
        source_list = other if turn == 0 else tokens
        low, high = (other_begin, other_end) if turn == 0 else (begin, end)
        for k in range(low, high):
            one = np.int64(get(kind, np.int64(get(source_list, k))))
            by = min(3, max(-3, get(counts, one)))
            if by != 0 and size < MOST - 80:
                put(out, size, _COUNTS + 8 * (one & 127) + by + 3)
                size += 1
            put(counts, one, np.int64(0))
    left = _follow(tokens, begin, end, first, need, change, kind, skips, wired, source, mine, old)
    wrong = missing = more = 0
    lost = made = np.uint64(0)
    if left == depth:
        for j in range(depth + 1):
            a, b = get(mine, j), get(theirs, j)
            low_a, low_b = a & np.uint64(0xFFFFFFFF), b & np.uint64(0xFFFFFFFF)
            wrong += low_a != low_b
            missing += _ones(low_b & ~low_a)
            more += _ones(low_a & ~low_b)
            lost |= (b & ~a) >> np.uint64(32)
            made |= (a & ~b) >> np.uint64(32)
    for j in range(32):
        if (lost >> np.uint64(j)) & np.uint64(1):
            put(out, size, _LOST + j)
            size += 1
        if (made >> np.uint64(j)) & np.uint64(1):
            put(out, size, _MADE + j)
            size += 1
    gain = min(9, max(-4, (other_end - other_begin) - (end - begin))) + 4
    put(out, size, _NUMBERS + min(5, wrong))
    put(out, size + 1, _NUMBERS + 8 + min(5, missing))
    put(out, size + 2, _NUMBERS + 16 + min(5, more))
    put(out, size + 3, _NUMBERS + 32 + gain)
    put(out, size + 4, _NUMBERS + 64 + 4 * min(3, wrong) + min(3, _ones(lost)))
    put(out, size + 5, _NUMBERS + 96 + 4 * min(3, _ones(made)) + min(3, _ones(lost)))
    put(out, size + 6, _NUMBERS + 128)
    size += 7
    before = np.int64(0)
    for k in range(begin, end + 1):
        one = np.int64(127)
        if k < end:
            one = np.int64(get(kind, np.int64(get(tokens, k)))) & 127
        if size < MOST:
            put(out, size, _PAIRS + (before * 131 + one * 7919 + 17) % (FEATURES - _PAIRS))
            size += 1
        before = one + 1
    return size


@threaded_kernel
def score(
    tokens: I32, offsets: I64, parent: I64, parents: I32, starts: I64, first: Any, need: I32, change: I32, kind: I32,
    skips: I32, wired: I32, source: I32, weights: F64, squares: F64, own: F64, own_squares: F64, labels: F64, learn: Any, out: F64,
) -> None:  # fmt: skip
    """out[i]: how likely child i is right. If `learn`, the model learns labels f64[n] (0 or 1) on the way, by AdaGrad:
    what holds everywhere and, faster, what is this program's own."""
    counts = np.zeros(4096, np.int64)
    mine, theirs, old = np.zeros(_STACK, np.uint64), np.zeros(_STACK, np.uint64), np.zeros(_STACK, np.uint64)
    chosen = np.zeros(MOST + 8, np.int64)
    known = depth = np.int64(-1)
    for i in range(len(offsets) - 1):
        mother = get(parent, i)
        low, high = get(starts, mother), get(starts, mother + 1)
        if mother != known:
            known = mother
            depth = _follow(parents, low, high, first, need, change, kind, skips, wired, source, theirs, old)
        size = _features(
            tokens, get(offsets, i), get(offsets, i + 1), parents, low, high, first, need, change, kind, skips, wired,
            source, counts, mine, theirs, old, depth, chosen,
        )  # fmt: skip
        total = 0.0
        for k in range(size):
            total += get(weights, get(chosen, k)) + get(own, get(chosen, k))
        chance = 1.0 / (1.0 + np.exp(-total))
        put(out, i, chance)
        if learn:
            slope = chance - get(labels, i)
            for k in range(size):
                at = get(chosen, k)
                put(squares, at, get(squares, at) + slope * slope)
                put(weights, at, get(weights, at) - SHARED * slope / np.sqrt(1.0 + get(squares, at)))
                put(own_squares, at, get(own_squares, at) + slope * slope)
                put(own, at, get(own, at) - OWN * slope / np.sqrt(1.0 + get(own_squares, at)))
