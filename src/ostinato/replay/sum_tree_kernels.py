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

from ostinato.kernels import F32, F64, I64, float_bits, float_of, kernel, prefetch


@kernel
def _log2(x: Any) -> Any:
    """log2 of x > 0, to about 1e-15 absolute beside the whole part."""
    bits = float_bits(x)
    whole = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF)) - 1023
    if whole == -1023:  # subnormal
        bits = float_bits(x * 18014398509481984.0)  # 2**54
        whole = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF)) - 1077
    mantissa = float_of((bits & np.uint64(0xFFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000))
    if mantissa > 1.4142135623730951:
        mantissa *= 0.5
        whole += 1
    s = (mantissa - 1.0) / (mantissa + 1.0)  # log(mantissa) = 2 atanh(s), |s| < 0.172
    z = s * s
    series = 1.0 / 25.0
    for k in range(11, -1, -1):
        series = series * z + 1.0 / (2 * k + 1)
    return whole + 2.8853900817779268 * s * series  # the factor is 2 / log(2)


@kernel
def power(x: Any, exponent: Any) -> Any:
    """x**exponent for x > 0, to about 1e-14, by additions, multiplications and divisions alone.

    Those are the same on every machine, as libraries' powers are not: a leaf that differs in its last bit
    would in the end draw another record.
    """
    if exponent == 1.0:
        return x
    y = exponent * _log2(x)
    if y > 1024.0:
        return math.inf
    if y < -1080.0:
        return 0.0
    nearest = np.int64(math.floor(y + 0.5))
    f = (y - nearest) * 0.6931471805599453  # |f| < 0.347
    out = 1.0
    for k in range(14, 0, -1):
        out = 1.0 + (f * (1.0 / k)) * out
    half = nearest >> 1  # in two steps: 2**nearest itself may be beyond float64
    out *= float_of(np.uint64(half + 1023) << np.uint64(52))
    return out * float_of(np.uint64(nearest - half + 1023) << np.uint64(52))


@kernel
def powers(values: F64, exponent: Any, out: F64) -> Any:
    """out[i] = values[i]**exponent, values > 0."""
    for i in range(len(values)):
        out[i] = power(values[i], exponent)


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
    total = nodes[at]
    for k in range(1, 8):  # in this order, as the descent adds them
        total += nodes[at + k]
    return total


@kernel
def _least_of_eight(values: F64, at: Any) -> Any:
    least = math.inf
    for k in range(8):
        if 0.0 < values[at + k] < least:
            least = values[at + k]
    return least


@kernel
def _parent(nodes: F64, sums: F64, mins: F64, levels: I64, level: Any, place: Any) -> Any:
    """Recompute a place above level 0 from the eight below it."""
    below = levels[level - 1] + 8 * place
    at = levels[level] + place
    nodes[at] = sum_of_eight(nodes, below) if level == 1 else sums[below + 7]
    if len(mins):
        mins[at] = _least_of_eight(nodes if level == 1 else mins, below)


@kernel
def _running(nodes: F64, sums: F64, first: Any) -> Any:
    """The running sums of the eight from `first` on."""
    total = 0.0
    for k in range(first, first + 8):
        total += nodes[k]
        sums[k] = total


@kernel
def leaf(slot: Any, values: F64, alpha: Any, factor: F64, count: Any) -> Any:
    """factor * value**alpha, each where there are any; 0 where there is no record, and for a value of 0."""
    if slot >= count:
        return 0.0
    out = 1.0
    if len(values):
        if not values[slot] > 0.0:
            return 0.0
        out = power(values[slot], alpha)
    return out * factor[slot] if len(factor) else out


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
    places = np.empty(len(slots), np.int64)
    for i in range(len(slots)):
        prefetch(nodes, slots[i])
        prefetch(values, slots[i])
    for i in range(len(slots)):
        nodes[slots[i]] = leaf(slots[i], values, alpha, factor, count)
        places[i] = slots[i] >> 3
    for level in range(1, len(levels)):
        last = -1
        for i in range(len(places)):
            place = places[i]
            if place != last:
                _parent(nodes, sums, mins, levels, level, place)
                last = place
        last = -1
        for i in range(len(places)):
            place = places[i] >> 3
            if place != last:
                _running(nodes, sums, levels[level] + 8 * place)
                last = place
            places[i] = place


@kernel
def sum_build(
    nodes: F64, sums: F64, mins: F64, levels: I64, values: F64, alpha: Any, factor: F64, count: Any
) -> Any:
    """All leaves and all their ancestors."""
    end = levels[1] if len(levels) > 1 else len(nodes)
    for slot in range(end):
        nodes[slot] = leaf(slot, values, alpha, factor, count)
    width = count
    for level in range(1, len(levels)):
        width = (width + 7) >> 3
        end = levels[level + 1] if level + 1 < len(levels) else len(nodes)
        for place in range(end - levels[level]):
            if place < width:
                _parent(nodes, sums, mins, levels, level, place)
            else:
                nodes[levels[level] + place] = 0.0
                if len(mins):
                    mins[levels[level] + place] = math.inf
        for first in range(levels[level], end, 8):
            _running(nodes, sums, first)


@kernel
def sum_find(nodes: F64, sums: F64, levels: I64, rest: F64, slots: I64, leaves: F64) -> Any:
    """For each rest[i] in [0, total): the slot in whose share it falls, and its leaf.

    All draws go down one level together, so that their cache misses overlap. A zero leaf is never chosen.
    """
    n = len(rest)
    for i in range(n):
        slots[i] = 0
    for level in range(len(levels) - 1, 0, -1):
        below = levels[level - 1]
        for i in range(n):
            at = levels[level] + 8 * slots[i]
            wanted = rest[i]
            if wanted >= sums[at + 7]:  # rounding left nothing to the right: the last share serves
                wanted = np.nextafter(sums[at + 7], 0.0)
            child: Any = 0
            for k in range(8):
                child += np.int64(sums[at + k] <= wanted)
            rest[i] = wanted - sums[at + child - 1] if child > 0 else wanted
            place = 8 * slots[i] + child
            slots[i] = place
            prefetch(nodes if level == 1 else sums, below + 8 * place)
    for i in range(n):
        at = 8 * slots[i]
        wanted = rest[i]
        through = 0.0  # the sum of the leaves up to here
        child = 0
        for k in range(8):
            value = nodes[at + k]
            # the last leaf that has a share at all serves when rounding leaves nothing to its right
            if value > 0.0 and through <= wanted:
                child = k
            through += value
        slots[i] = at + child
        leaves[i] = nodes[at + child]


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

    Weights are divided by that of the leaf `least`, or where that is 0 by the largest of these.
    """
    n = len(numbers)
    below = np.nextafter(total, 0.0)
    for i in range(n):
        share = (i + numbers[i]) / n if stratified else numbers[i]
        numbers[i] = min(share * total, below)
    sum_find(nodes, sums, levels, numbers, slots, probability)
    largest = 0.0
    for i in range(n):
        probability[i] /= total
        numbers[i] = power(count * probability[i], -beta)
        largest = max(largest, numbers[i])
    if least > 0.0:
        largest = power(count * (least / total), -beta)
    for i in range(n):
        weight[i] = numbers[i] / largest
