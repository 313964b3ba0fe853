"""The sum tree's hot loops: eight children a node, one cache line of float64.

Layout: level 0 has a place for each slot, level k + 1 one for each eight places of level k; the top level has at
most eight. `levels[k]` is where level k begins in the flat array; each level is filled up to a multiple of eight.

Rule of this file: parents are always recomputed from their children, never adjusted by a difference, and powers are
made of basic arithmetic, so that the same calls give the same draws on every machine.
"""

import math
from typing import Any

import numpy as np

from ostinato.kernels import F64, I64, kernel


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
