"""The sum tree's hot loops: eight children a node, one cache line of float64.

Layout: level 0 has a place for each slot, its leaf; level k + 1 one for each eight places of level k, their sum; the
top level has at most eight. `levels[k]` is where level k begins in the flat array `nodes`; each level is filled up to a
multiple of eight. `sums` has the same places: above level 0, the running sums within each eight of `nodes`, so that the
way down is a count of those that are not above a number, which takes no branch and two vector comparisons.
`mins`, where it has places at all, keeps the smallest positive leaf below each.

Rule of this file: parents are always recomputed from their children, never adjusted by a difference, and powers are
made of basic arithmetic, so that the same calls give the same draws on every machine.
"""

import math
from typing import Any

import numpy as np

from ostinato.kernels import F32, F64, I64, float_bits, float_of, get, inlined, kernel, prefetch, put

_ROUND = (
    6755399441055744.0  # 1.5 * 2**52: what is added to it is rounded to a whole number, in its lowest bits
)
_SUBNORMAL = 2.2250738585072014e-308  # below are numbers with fewer bits


@inlined
def _log2(x: Any) -> Any:
    """log2 of x > 0, to about 1e-15 absolute beside the whole part."""
    small = x < _SUBNORMAL
    bits = float_bits(x * 18014398509481984.0 if small else x)  # 2**54
    whole = float_of((bits >> np.uint64(52)) | np.uint64(0x4330000000000000)) - (4503599627370496.0 + 1023.0)
    whole = whole - 54.0 if small else whole
    mantissa = float_of((bits & np.uint64(0xFFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000))
    high = mantissa > 1.4142135623730951
    mantissa = mantissa * 0.5 if high else mantissa
    whole = whole + 1.0 if high else whole
    s = (mantissa - 1.0) / (mantissa + 1.0)  # log(mantissa) = 2 atanh(s), |s| < 0.172
    z = s * s
    series = 1 / 25
    series = series * z + 1 / 23
    series = series * z + 1 / 21
    series = series * z + 1 / 19
    series = series * z + 1 / 17
    series = series * z + 1 / 15
    series = series * z + 1 / 13
    series = series * z + 1 / 11
    series = series * z + 1 / 9
    series = series * z + 1 / 7
    series = series * z + 1 / 5
    series = series * z + 1 / 3
    series = series * z + 1.0
    return whole + 2.8853900817779268 * s * series  # the factor is 2 / log(2)


@inlined
def power(x: Any, exponent: Any) -> Any:
    """x**exponent for x > 0, to about 1e-14, by additions, multiplications and divisions alone; 0 for x = 0.

    Those are the same on every machine, as libraries' powers are not: a leaf that differs in its last bit
    would in the end draw another record. No branch, so that a loop of these is vector code.
    """
    y = exponent * _log2(x)
    nothing = y < -1080.0
    y = min(max(y, -1080.0), 1025.0)
    nearest = (y + _ROUND) - _ROUND
    f = (y - nearest) * 0.6931471805599453  # |f| < 0.347; exp(f) by its series
    out = 1.0 + f * (1 / 14)
    out = 1.0 + (f * (1 / 13)) * out
    out = 1.0 + (f * (1 / 12)) * out
    out = 1.0 + (f * (1 / 11)) * out
    out = 1.0 + (f * (1 / 10)) * out
    out = 1.0 + (f * (1 / 9)) * out
    out = 1.0 + (f * (1 / 8)) * out
    out = 1.0 + (f * (1 / 7)) * out
    out = 1.0 + (f * (1 / 6)) * out
    out = 1.0 + (f * (1 / 5)) * out
    out = 1.0 + (f * (1 / 4)) * out
    out = 1.0 + (f * (1 / 3)) * out
    out = 1.0 + (f * (1 / 2)) * out
    out = 1.0 + f * out
    half = (nearest * 0.5 + _ROUND) - _ROUND  # in two steps: 2**nearest itself may be beyond float64
    out *= float_of(float_bits(half + (_ROUND + 1023.0)) << np.uint64(52))
    out *= float_of(float_bits((nearest - half) + (_ROUND + 1023.0)) << np.uint64(52))
    out = 0.0 if nothing else out
    out = x if exponent == 1.0 else out
    return out if x > 0.0 else 0.0


@kernel
def powers(values: F64, exponent: Any, out: F64) -> Any:
    """out[i] = values[i]**exponent, 0 for a value of 0. `out` may be `values`."""
    for i in range(len(values)):
        put(out, i, power(get(values, i), exponent))


@kernel
def importance(relative: F64, beta: Any, least: F64, raw: F64, weight: F32) -> Any:
    """weight[i] = relative[i]**-beta, over the largest of these or that of least[0] if there is one; returns which.

    `raw` gives room to work, elsewhere: only then is the loop vector code. A power beyond 1e300 counts as that.
    """
    n = len(relative)
    for i in range(n):
        put(raw, i, min(power(get(relative, i), -beta), 1e300))
    largest = 0.0
    for i in range(n):
        largest = max(largest, get(raw, i))
    if len(least):
        largest = min(power(least[0], -beta), 1e300)
    for i in range(n):
        put(weight, i, np.float32(get(raw, i) / largest))
    return largest


@kernel
def sigmoids(values: F64, out: F64) -> Any:
    """out[i] = 1 / (1 + exp(-values[i]))."""
    for i in range(len(values)):
        x = min(max(values[i], -700.0), 700.0)
        out[i] = 1.0 / (1.0 + power(math.e, -x))


@kernel
def race(leaves: F64, rest: Any, numbers: F64) -> Any:
    """When, in a race of exponential clocks with these rates, the clock after the last of these would ring.

    leaves[j] came in j-th; `rest` is the sum of the others, > 0; numbers: len(leaves) + 1 uniform ones.
    """
    running = rest
    time = 0.0
    for j in range(len(leaves), -1, -1):
        if j < len(leaves):
            running += leaves[j]
        wait = -0.6931471805599453 * _log2(1.0 - numbers[j]) if numbers[j] > 0.0 else 0.0
        time += wait / running
    return time


@kernel
def rung(leaves: F64, time: Any, out: F64) -> Any:
    """out[i] = 1 - exp(-leaves[i] * time): had the clock with this rate rung by then?"""
    for i in range(len(leaves)):
        x = leaves[i] * time
        if x < 0.5:
            series = 1.0
            for k in range(16, 1, -1):
                series = 1.0 - (x * (1.0 / k)) * series
            out[i] = x * series
        else:
            out[i] = 1.0 - power(math.e, -x) if x < 700.0 else 1.0


@kernel
def sum_of_eight(nodes: F64, at: Any) -> Any:
    total = get(nodes, at)
    for k in range(1, 8):  # in this order, as the descent adds them
        total += get(nodes, at + k)
    return total


@kernel
def _least_of_eight(values: F64, at: Any) -> Any:
    least = math.inf
    for k in range(8):
        value = get(values, at + k)
        if 0.0 < value < least:
            least = value
    return least


@kernel
def _running(nodes: F64, sums: F64, first: Any) -> Any:
    """The running sums of the eight from `first` on."""
    total = 0.0
    for k in range(first, first + 8):
        total += get(nodes, k)
        put(sums, k, total)


@kernel
def _parents(nodes: F64, sums: F64, mins: F64, levels: I64, level: Any, places: I64, n: Any) -> Any:
    """Recompute these places of a level above 0 from the eight below each, their running sums excepted."""
    here, below = levels[level], levels[level - 1]
    if level == 1:
        for i in range(n):
            place = get(places, i)
            put(nodes, here + place, sum_of_eight(nodes, below + 8 * place))
    else:
        for i in range(n):
            place = get(places, i)
            put(nodes, here + place, get(sums, below + 8 * place + 7))
    if len(mins):
        for i in range(n):
            place = get(places, i)
            put(mins, here + place, _least_of_eight(nodes if level == 1 else mins, below + 8 * place))


@kernel
def _ancestors(places: I64, n: Any, out: I64) -> Any:
    """The places above these, equal neighbours once; returns how many. `out` may be `places`."""
    m: Any = 0
    last: Any = -1
    for i in range(n):
        place = get(places, i) >> 3
        put(out, m, place)  # a place that is the last one's again is written over by the next
        m += np.int64(place != last)
        last = place
    return m


@kernel
def _leaves(slots: I64, n: Any, values: F64, alpha: Any, factor: F64, count: Any, out: F64) -> Any:
    """factor * value**alpha of each, each where there are any; 0 where there is no record, and for a value of 0."""
    if len(values):
        for i in range(n):
            put(out, i, get(values, get(slots, i)))
        for i in range(n):
            put(out, i, power(get(out, i), alpha))
    else:
        out[:n] = 1.0
    if len(factor):
        for i in range(n):
            put(out, i, get(out, i) * get(factor, get(slots, i)))
    for i in range(n):
        if get(slots, i) >= count:
            put(out, i, 0.0)


@kernel
def sum_set(
    nodes: F64,
    sums: F64,
    mins: F64,
    levels: I64,
    slots: I64,
    values: F64,
    alpha: Any,
    factor: F64,
    count: Any,
) -> Any:
    """Leaves of these slots from their values (0 beyond count), then their ancestors."""
    n = len(slots)
    leaves = np.empty(n)
    near = min(3, len(levels))  # levels that are not in the cache anyway
    last: Any = -1
    for i in range(n):
        slot = get(slots, i)
        if slot >> 3 != last:
            last = slot >> 3
            prefetch(values, slot)
            prefetch(nodes, slot)
            for level in range(1, near):
                prefetch(nodes, get(levels, level) + (slot >> (3 * level)))
                prefetch(sums, get(levels, level) + (slot >> (3 * level)))
    _leaves(slots, n, values, alpha, factor, count, leaves)
    sum_put(nodes, sums, mins, levels, slots, leaves)


@kernel
def sum_put(nodes: F64, sums: F64, mins: F64, levels: I64, slots: I64, leaves: F64) -> Any:
    """These leaves for these slots, then their ancestors."""
    places = np.empty(len(slots), np.int64)
    for i in range(len(slots)):
        put(nodes, get(slots, i), get(leaves, i))
    n = _ancestors(slots, len(slots), places)
    for level in range(1, len(levels)):
        _parents(nodes, sums, mins, levels, level, places, n)
        here = levels[level]
        end = levels[level + 1] if level + 1 < len(levels) else len(nodes)
        n = _ancestors(places, n, places)
        if (end - here) >> 3 <= n:  # fewer groups than changes: all of them, each once
            n = (end - here) >> 3
            for place in range(n):
                put(places, place, place)
        for i in range(n):
            _running(nodes, sums, here + 8 * get(places, i))


@kernel
def sum_build(
    nodes: F64, sums: F64, mins: F64, levels: I64, values: F64, alpha: Any, factor: F64, count: Any
) -> Any:
    """All leaves and all their ancestors."""
    some = np.empty(512, np.int64)
    leaves = np.empty(512)
    end = levels[1] if len(levels) > 1 else len(nodes)
    for first in range(0, end, 512):
        n = min(512, max(0, count - first))
        for k in range(n):
            put(some, k, first + k)
        _leaves(some, n, values, alpha, factor, count, leaves)
        for k in range(min(512, end - first)):
            put(nodes, first + k, leaves[k] if k < n else 0.0)
    width = count
    for level in range(1, len(levels)):
        width = (width + 7) >> 3
        here = levels[level]
        end = levels[level + 1] if level + 1 < len(levels) else len(nodes)
        for first in range(0, end - here, 512):
            n = min(512, max(0, width - first))
            for k in range(n):
                put(some, k, first + k)
            _parents(nodes, sums, mins, levels, level, some, n)
            for k in range(n, min(512, end - here - first)):
                put(nodes, here + first + k, 0.0)
                if len(mins):
                    put(mins, here + first + k, math.inf)
        for first in range(here, end, 8):
            _running(nodes, sums, first)


@kernel
def sum_find(nodes: F64, sums: F64, levels: I64, rest: F64, slots: I64, leaves: F64) -> Any:
    """For each rest[i] in [0, total): the slot in whose share it falls, and its leaf.

    All draws go down one level together, so that their cache misses overlap. A zero leaf is never chosen.
    """
    n = len(rest)
    for i in range(n):
        put(slots, i, 0)
    for level in range(len(levels) - 1, 0, -1):
        here, below = levels[level], levels[level - 1]
        for i in range(n):
            first = 8 * get(slots, i)
            at = here + first
            wanted = get(rest, i)
            whole = get(sums, at + 7)
            if wanted >= whole:  # rounding left nothing to the right: the last share serves
                wanted = np.nextafter(whole, 0.0)
            child: Any = 0
            for k in range(8):
                child += np.int64(get(sums, at + k) <= wanted)
            before = get(sums, at + max(child, 1) - 1)
            put(rest, i, wanted - (before if child > 0 else 0.0))
            put(slots, i, first + child)
            prefetch(nodes if level == 1 else sums, below + 8 * (first + child))
    for i in range(n):
        at = 8 * get(slots, i)
        wanted = get(rest, i)
        through = 0.0  # the sum of the leaves up to here
        last: Any = 0
        for k in range(8):
            value = get(nodes, at + k)
            # the last leaf that has a share at all serves when rounding leaves nothing to its right
            last = k if (value > 0.0) & (through <= wanted) else last
            through += value
        put(slots, i, at + last)
        put(leaves, i, get(nodes, at + last))


@kernel
def spread(numbers: F64, stratified: Any, total: Any) -> Any:
    """Uniform numbers to [0, total), one in each of as many equal shares if `stratified`."""
    n = len(numbers)
    below = np.nextafter(total, 0.0)
    if stratified:
        for i in range(n):
            put(numbers, i, (np.float64(i) + get(numbers, i)) / np.float64(n))
    for i in range(n):
        number = get(numbers, i) * total
        put(numbers, i, number if number < below else below)


@kernel
def sum_draw(
    nodes: F64,
    sums: F64,
    levels: I64,
    numbers: F64,
    stratified: Any,
    total: Any,
    count: Any,
    beta: Any,
    least: Any,
    slots: I64,
    probability: F64,
    weight: F32,
) -> Any:
    """A whole draw with replacement, from uniform numbers: slots, leaf / total, and (count * that)**-beta.

    Weights are divided by that of the leaf `least`, or where that is 0 by the largest of these; returns which.
    """
    n = len(numbers)
    spread(numbers, stratified, total)
    sum_find(nodes, sums, levels, numbers, slots, probability)
    for i in range(n):
        share = get(probability, i) / total
        put(probability, i, share)
        put(numbers, i, count * share)
    top = np.empty(1 if least > 0.0 else 0)
    if least > 0.0:
        top[0] = count * (least / total)
    return importance(numbers, beta, top, np.empty(n), weight)
