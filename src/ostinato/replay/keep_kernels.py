"""KeepBest's hot loop: an order tree in which protected records come last.

A record is protected, its key PROTECTED or more (it rises with the id), while it is among the `keep` best of its
program (`champions`, best first, of equals the oldest) or the program's only one. `base[slot]` is the key it has
otherwise; keys rise, the first goes. `cost[slot]` is its clock_cycles, NOT_GOOD for one that cannot be a champion.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U64, float_of, kernel
from ostinato.replay.group_kernels import link, unlink
from ostinato.replay.order_tree_kernels import before, order_raise

NOT_GOOD = np.uint64(0xFFFFFFFFFFFFFFFF)
PROTECTED = 8.98846567431158e307  # 2**1023: keys of protected records begin here, all others are below
_PROTECTED_BITS = np.uint64(0x7FE0000000000000)


@kernel
def protected_key(identity: Any) -> Any:
    """Where a protected record stands in the order: after all others, of those by id. Finite: it can be first."""
    return float_of(_PROTECTED_BITS + np.uint64(min(identity, (1 << 52) - 1)))


@kernel
def _better(cost: U64, ids: I64, a: Any, b: Any) -> Any:
    return cost[a] < cost[b] or (cost[a] == cost[b] and ids[a] < ids[b])


@kernel
def _place_of(champions: I32, group: Any, slot: Any) -> Any:
    """Which champion a slot is, -1 for none."""
    for k in range(champions.shape[1]):
        if champions[group, k] == slot:
            return k
        if champions[group, k] < 0:
            break
    return -1


@kernel
def _admit(champions: I32, cost: U64, ids: I64, group: Any, slot: Any) -> Any:
    """Put a slot among the champions if it is one; returns who is none any more for it, -1 for nobody."""
    if cost[slot] == NOT_GOOD:
        return -1
    keep = champions.shape[1]
    out = np.int64(champions[group, keep - 1])
    if out >= 0 and not _better(cost, ids, slot, out):
        return -1
    k = keep - 1
    while k > 0 and (
        champions[group, k - 1] < 0 or _better(cost, ids, slot, np.int64(champions[group, k - 1]))
    ):
        champions[group, k] = champions[group, k - 1]
        k -= 1
    champions[group, k] = slot
    return out


@kernel
def _dismiss(champions: I32, cost: U64, ids: I64, after: I32, head: I32, group: Any, slot: Any) -> Any:
    """Take a slot from the champions, if it is one; the best of the program's others takes the last place."""
    k = _place_of(champions, group, slot)
    if k < 0:
        return
    keep = champions.shape[1]
    full = champions[group, keep - 1] >= 0
    for j in range(k, keep - 1):
        champions[group, j] = champions[group, j + 1]
    champions[group, keep - 1] = -1
    if not full:
        return  # there were no others
    best = np.int64(-1)
    member = np.int64(head[group])
    while member >= 0:
        good = member != slot and cost[member] != NOT_GOOD and _place_of(champions, group, member) < 0
        if good and (best < 0 or _better(cost, ids, member, best)):
            best = member
        member = np.int64(after[member])
    champions[group, keep - 1] = best


@kernel
def _protect(
    key: F64, base: F64, ids: I64, champions: I32, head: I32, size: I32, group_of: I32, slot: Any
) -> Any:
    """Set a slot's key by what it is now."""
    group = np.int64(group_of[slot])
    kept = size[group] == 1 or _place_of(champions, group, slot) >= 0
    key[slot] = protected_key(ids[slot]) if kept else base[slot]


@kernel
def keep_place(
    best: I32,
    lead_p: F64,
    lead_i: I64,
    levels: I64,
    key: F64,
    ids: I64,
    count: Any,
    sign_p: Any,
    sign_i: Any,
    capacity: Any,
    base: F64,
    cost: U64,
    champions: I32,
    group_of: I32,
    after: I32,
    prior: I32,
    head: I32,
    size: I32,
    new_keys: F64,
    new_costs: U64,
    new_groups: I32,
    new_ids: I64,
    slots: I64,
    removed: I64,
) -> Any:
    """Put new records in one after the other, each time removing what then comes first; as order_replace.

    Returns (count, how many protected records had to go because nothing else was left).
    """
    top = levels[len(levels) - 1]
    forced: Any = 0
    keep = champions.shape[1]
    for k in range(len(new_ids)):
        group = np.int64(new_groups[k])
        removed[k] = -1
        if count < capacity:
            slot = count
            count += 1
        else:
            # who would be unprotected if the new one came in
            last = np.int64(champions[group, keep - 1])
            good = new_costs[k] != NOT_GOOD
            champion = good and (last < 0 or new_costs[k] < cost[last])
            freed = np.int64(-1)
            if size[group] == 1:
                only = np.int64(head[group])
                # the only one stays protected if it is, and stays, a champion
                if _place_of(champions, group, only) < 0 or (champion and only == last):
                    freed = only
            elif champion:
                freed = last
            if freed >= 0:
                key[freed] = base[freed]
                order_raise(best, lead_p, lead_i, levels, freed, key, ids, count, sign_p, sign_i)
            first = np.int64(best[top])
            kept = champion or size[group] == 0
            mine = protected_key(new_ids[k]) if kept else new_keys[k]
            if before(mine, new_ids[k], key[first], ids[first], sign_p, sign_i):
                slots[k] = -1
                removed[k] = new_ids[k]
                forced += np.int64(kept)
                if freed >= 0:
                    key[freed] = protected_key(ids[freed])
                    order_raise(best, lead_p, lead_i, levels, freed, key, ids, count, sign_p, sign_i)
                continue
            forced += np.int64(key[first] >= PROTECTED)
            slot = first
            removed[k] = ids[slot]
            other = np.int64(group_of[slot])
            unlink(group_of, after, prior, head, size, slot)
            was = np.int64(champions[other, keep - 1])
            _dismiss(champions, cost, ids, after, head, other, slot)
            rises = np.int64(champions[other, keep - 1])
            if rises >= 0 and rises != was:
                _protect(key, base, ids, champions, head, size, group_of, rises)
                order_raise(best, lead_p, lead_i, levels, rises, key, ids, count, sign_p, sign_i)
            if size[other] == 1:
                only = np.int64(head[other])
                _protect(key, base, ids, champions, head, size, group_of, only)
                order_raise(best, lead_p, lead_i, levels, only, key, ids, count, sign_p, sign_i)
        slots[k] = slot
        ids[slot] = new_ids[k]
        base[slot] = new_keys[k]
        cost[slot] = new_costs[k]
        link(group_of, after, prior, head, size, slot, group)
        out = _admit(champions, cost, ids, group, slot)
        _protect(key, base, ids, champions, head, size, group_of, slot)
        order_raise(best, lead_p, lead_i, levels, slot, key, ids, count, sign_p, sign_i)
        if out >= 0:
            _protect(key, base, ids, champions, head, size, group_of, out)
            order_raise(best, lead_p, lead_i, levels, out, key, ids, count, sign_p, sign_i)
        if size[group] == 2:  # the one that was alone
            only = np.int64(after[slot])
            _protect(key, base, ids, champions, head, size, group_of, only)
            order_raise(best, lead_p, lead_i, levels, only, key, ids, count, sign_p, sign_i)
    return count, forced


@kernel
def keep_moved(
    base: F64,
    cost: U64,
    group_of: I32,
    after: I32,
    prior: I32,
    head: I32,
    size: I32,
    slots: I64,
    new_keys: F64,
    new_costs: U64,
    new_groups: I32,
    touched: I32,
) -> Any:
    """These slots hold other records, or none (group -1). touched: the programs that changed, -1 for none."""
    for i in range(len(slots)):
        touched[2 * i] = group_of[slots[i]]
        touched[2 * i + 1] = new_groups[i]
        unlink(group_of, after, prior, head, size, slots[i])
    for i in range(len(slots)):
        base[slots[i]], cost[slots[i]] = new_keys[i], new_costs[i]
        if new_groups[i] >= 0:
            link(group_of, after, prior, head, size, slots[i], np.int64(new_groups[i]))


@kernel
def keep_settle(ids: I64, cost: U64, champions: I32, after: I32, head: I32, groups: I32) -> Any:
    """The champions of these programs anew."""
    for i in range(len(groups)):
        group = np.int64(groups[i])
        champions[group, :] = -1
        member = np.int64(head[group])
        while member >= 0:
            _admit(champions, cost, ids, group, member)
            member = np.int64(after[member])
