"""Hot loops over groups of records: their numbers, linked lists of their members, forests of sum trees.

A group's key is some bytes of a record's row: its program (32 from 0) or model version (4 from 56). Groups are numbered
as they first appear. `index` is open addressing by SipHash: (high half of the hash) << 32 | number + 1, 0 where free.

A tree of the forest takes the cells start .. start + tree_cells(cap) of `nodes`: cap leaves (a multiple of 8), then a
level of an eighth as many, filled up to 8, and so on to a level of eight. `members` has the leaves' slots in the same
cells. place[slot] is a slot's leaf in its tree.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U8, U64, get, inlined, kernel, load_u64, prefetch, put
from ostinato.replay.sum_tree_kernels import power, sum_of_eight
from ostinato.results import BASELINE_AT, CLOCK_AT, FALLBACK_AT, MEASURED_AT, VALID_AT
from ostinato.vocabulary_kernels import siphash

INVALID, FALLBACK, VALID, IMPROVED = range(4)  # outcomes


@kernel
def _leaf(slot: Any, values: F64, alpha: Any, factor: F64, count: Any) -> Any:
    """factor * value**alpha, each where there are any; 0 where there is no record, and for a value of 0."""
    if slot >= count:
        return 0.0
    out = power(values[slot], alpha) if len(values) else 1.0
    return out * factor[slot] if len(factor) else out


@kernel
def number(
    rows: U8,
    slots: I64,
    count: Any,
    begin: Any,
    size: Any,
    keys: U8,
    index: U64,
    used: Any,
    secret: U64,
    numbers: I32,
) -> Any:
    """numbers[i] = the group of each slot, -1 from `count` on; returns how many groups there are then.

    `keys` and the index have room for as many new groups as slots.
    """
    mask = np.uint64(len(index) - 1)
    high = np.uint64(0xFFFFFFFF00000000)
    for i in range(len(slots)):
        if slots[i] >= count:
            numbers[i] = -1
            continue
        row = rows[slots[i]]
        hashed = siphash(row, begin, size, secret)
        place = hashed & mask
        while True:
            entry = index[place]
            if entry == 0:
                for b in range(size):
                    keys[used, b] = row[begin + b]
                used += 1
                index[place] = (hashed & high) | np.uint64(used)
                numbers[i] = used - 1
                break
            if entry & high == hashed & high:
                found = np.int64(entry & ~high) - 1
                same = True
                for b in range(size):
                    same &= keys[found, b] == row[begin + b]
                if same:
                    numbers[i] = found
                    break
            place = (place + np.uint64(1)) & mask
    return used


@kernel
def index_groups(index: U64, keys: U8, used: Any, secret: U64) -> Any:
    """The index anew, after it grew."""
    mask = np.uint64(len(index) - 1)
    for k in range(used):
        hashed = siphash(keys[k], 0, keys.shape[1], secret)
        place = hashed & mask
        while index[place] != 0:
            place = (place + np.uint64(1)) & mask
        index[place] = (hashed & np.uint64(0xFFFFFFFF00000000)) | np.uint64(k + 1)


@kernel
def outcomes(rows: U8, slots: I64, count: Any, numbers: I32) -> Any:
    """The outcome of each slot, -1 from `count` on."""
    for i in range(len(slots)):
        if slots[i] >= count:
            numbers[i] = -1
            continue
        row = rows[slots[i]]
        valid, measured, fallback = row[VALID_AT], row[MEASURED_AT], row[FALLBACK_AT]
        if not valid:
            numbers[i] = INVALID
        elif fallback:
            numbers[i] = FALLBACK
        elif measured and load_u64(row, CLOCK_AT) < load_u64(row, BASELINE_AT):
            numbers[i] = IMPROVED
        else:
            numbers[i] = VALID


# --- linked lists -------------------------------------------------------------------------------------------


@kernel
def unlink(group_of: I32, after: I32, before: I32, head: I32, size: I32, slot: Any) -> Any:
    """Take a slot out of its group's list, if it is in one."""
    group = group_of[slot]
    if group < 0:
        return
    if before[slot] >= 0:
        after[before[slot]] = after[slot]
    else:
        head[group] = after[slot]
    if after[slot] >= 0:
        before[after[slot]] = before[slot]
    size[group] -= 1
    group_of[slot] = -1


@kernel
def link(group_of: I32, after: I32, before: I32, head: I32, size: I32, slot: Any, group: Any) -> Any:
    """Put a slot that is in no list at the head of a group's."""
    group_of[slot] = group
    before[slot] = -1
    after[slot] = head[group]
    if head[group] >= 0:
        before[head[group]] = slot
    head[group] = slot
    size[group] += 1


@kernel
def regroup(group_of: I32, after: I32, before: I32, head: I32, size: I32, slots: I64, numbers: I32) -> Any:
    """Give slots their groups, -1 for none."""
    for i in range(len(slots)):
        if group_of[slots[i]] != numbers[i]:
            unlink(group_of, after, before, head, size, slots[i])
            if numbers[i] >= 0:
                link(group_of, after, before, head, size, slots[i], np.int64(numbers[i]))


@kernel
def members_of(after: I32, head: I32, groups: I64, out: I64) -> Any:
    """All slots of these groups, one group after the other; `out` has their sizes' sum."""
    done = 0
    for i in range(len(groups)):
        slot = head[groups[i]]
        while slot >= 0:
            out[done] = slot
            done += 1
            slot = after[slot]


# --- the forest ---------------------------------------------------------------------------------------------


@inlined
def _above(width: Any) -> Any:
    """Cells of the level above one of so many, a multiple of 8."""
    return (((width + 7) >> 3) + 7) & ~7


@kernel
def tree_cells(cap: Any) -> Any:
    """Cells of a tree with this many leaves, a multiple of 8."""
    total = cap
    width = cap
    while width > 8:
        width = _above(width)
        total += width
    return total


@kernel
def _raise(nodes: F64, start: Any, cap: Any, place: Any) -> Any:
    """Recompute the ancestors of a leaf; returns the tree's sum."""
    begin = start
    width = cap
    while width > 8:
        above = begin + width
        place >>= 3
        nodes[above + place] = sum_of_eight(nodes, begin + 8 * place)
        begin = above
        width = _above(width)
    return sum_of_eight(nodes, begin)


@kernel
def _put_leaf(
    nodes: F64,
    start: I64,
    cap: I32,
    totals: F64,
    drawable: I32,
    group: Any,
    place: Any,
    value: Any,
    raising: Any,
) -> Any:
    at = start[group] + place
    drawable[group] += np.int32(value > 0.0) - np.int32(nodes[at] > 0.0)
    nodes[at] = value
    if raising:
        totals[group] = _raise(nodes, start[group], np.int64(cap[group]), place)


@kernel
def _grow(nodes: F64, members: I32, start: I64, cap: I32, used: I64, group: Any) -> Any:
    """Move a full tree to the end, with twice the leaves; False where there is no room."""
    old: Any = np.int64(cap[group])
    new: Any = max(8, 2 * old)
    cells = tree_cells(new)
    if used[0] + cells > len(nodes):
        return False
    source, target = start[group], used[0]
    nodes[target : target + cells] = 0.0
    for k in range(old):
        nodes[target + k] = nodes[source + k]
        members[target + k] = members[source + k]
    start[group], cap[group] = target, new
    used[0] += cells
    for place in range(0, old, 8):
        _raise(nodes, target, new, place)
    return True


@kernel
def forest_set(
    nodes: F64,
    members: I32,
    start: I64,
    cap: I32,
    size: I32,
    totals: F64,
    drawable: I32,
    used: I64,
    group_of: I32,
    place: I32,
    slots: I64,
    numbers: I32,
    values: F64,
    alpha: Any,
    factor: F64,
    count: Any,
    touched: I32,
    raising: Any,
) -> Any:
    """Give slots their groups (-1 for none) and leaves; returns how many were done before cells ran out.

    Unless `raising`, sums are left to `forest_sums`. touched[2 * i] and touched[2 * i + 1] are the groups that
    changed, -1 for none. used: cells, living groups.
    """
    for i in range(len(slots)):
        slot = slots[i]
        old, new = np.int64(group_of[slot]), np.int64(numbers[i])
        touched[2 * i], touched[2 * i + 1] = -1, new
        if (
            old != new
            and new >= 0
            and size[new] == cap[new]
            and not _grow(nodes, members, start, cap, used, new)
        ):
            return i
        if old != new and old >= 0:
            touched[2 * i] = old
            last = np.int64(size[old]) - 1
            here = np.int64(place[slot])
            if here != last:
                moved = members[start[old] + last]
                members[start[old] + here] = moved
                place[moved] = here
                value = nodes[start[old] + last]
                _put_leaf(nodes, start, cap, totals, drawable, old, here, value, raising)
            _put_leaf(nodes, start, cap, totals, drawable, old, last, 0.0, raising)
            size[old] = last
            used[1] -= np.int64(last == 0)
            group_of[slot] = -1
        if new < 0:
            continue
        if old != new:
            here = np.int64(size[new])
            used[1] += np.int64(here == 0)
            size[new] = here + 1
            members[start[new] + here] = slot
            place[slot] = here
            group_of[slot] = new
        value = _leaf(slot, values, alpha, factor, count)
        if value != nodes[start[new] + place[slot]]:
            _put_leaf(nodes, start, cap, totals, drawable, new, np.int64(place[slot]), value, raising)
    return len(slots)


@kernel
def forest_sums(nodes: F64, start: I64, cap: I32, totals: F64, groups: I32) -> Any:
    """All sums of these groups' trees."""
    for i in range(len(groups)):
        g = groups[i]
        begin, width = start[g], np.int64(cap[g])
        while width > 8:
            above = begin + width
            wide = (width + 7) >> 3
            for place in range(wide):
                put(nodes, above + place, sum_of_eight(nodes, begin + 8 * place))
            begin, width = above, (wide + 7) & ~7
        totals[g] = sum_of_eight(nodes, begin) if width > 0 else 0.0


@kernel
def group_weights(groups: I32, totals: F64, drawable: I32, exponent: Any, out: F64) -> Any:
    """out[g] = (drawable records of g)**exponent for these groups, 0 where there is nothing to draw."""
    for i in range(len(groups)):
        g = groups[i]
        n = np.float64(drawable[g])
        out[g] = power(n, exponent) if n > 0.0 and totals[g] > 0.0 else 0.0


@kernel
def forest_find(
    nodes: F64,
    members: I32,
    start: I64,
    cap: I32,
    totals: F64,
    groups: I64,
    numbers: F64,
    slots: I64,
    shares: F64,
) -> Any:
    """A record of each group by a uniform number: its slot, and its share of its group's sum."""
    n = len(groups)
    first, place, depth = np.empty(n, np.int64), np.zeros(n, np.int64), np.empty(n, np.int64)
    rest = np.empty(n)
    for i in range(n):
        prefetch(totals, get(groups, i))
        prefetch(start, get(groups, i))
        prefetch(cap, get(groups, i))
    deepest: Any = 0
    for i in range(n):
        g = get(groups, i)
        total = get(totals, g)
        wanted = get(numbers, i) * total
        rest[i] = wanted if wanted < total else np.nextafter(total, 0.0)
        begin, width, levels = get(start, g), np.int64(get(cap, g)), 0
        while width > 8:
            begin += width
            width = _above(width)
            levels += 1
        first[i], depth[i] = begin, levels  # of the top
        deepest = max(deepest, levels)
    # all that are as deep go down one level together, so that their cache misses overlap
    for level in range(deepest, -1, -1):
        for i in range(n):
            if get(depth, i) < level:
                continue
            at = get(first, i) + 8 * get(place, i)
            wanted = get(rest, i)
            through = 0.0
            before = 0.0
            child: Any = 0
            for k in range(8):
                value = get(nodes, at + k)
                # the last that has a share serves when rounding leaves nothing to its right
                mine = (value > 0.0) & (through <= wanted)
                child = k if mine else child
                before = through if mine else before
                through += value
            put(rest, i, wanted - before)
            put(place, i, 8 * get(place, i) + child)
            if level > 0:  # the level below ends where this one begins
                g = get(groups, i)
                begin, width = get(start, g), np.int64(get(cap, g))
                for _ in range(level - 1):
                    begin += width
                    width = _above(width)
                put(first, i, begin)
                prefetch(nodes, begin + 8 * get(place, i))
            else:
                prefetch(members, get(first, i) + get(place, i))
    for i in range(n):
        at = get(first, i) + get(place, i)
        put(slots, i, np.int64(get(members, at)))
        put(shares, i, get(nodes, at) / get(totals, get(groups, i)))
