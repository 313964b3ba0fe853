"""Hot loops over runs: arrivals to records and their places, and runs that change.

Run k is size[k] records: arrival first[k] is record store[k] at place[k]; an arrival more is a record more, and a place
STEP more.
"""

from typing import Any

import numpy as np

from ostinato.kernels import I64, U8, get, inlined, kernel, put

STEP = 12  # between the places of neighbours, as in archive.places


@inlined
def run_of(begins: I64, used: Any, number: Any) -> Any:
    """The last run that begins at `number` or before; 0 if none does. O(log runs)."""
    low: Any = 0
    width: Any = used
    while width > 1:
        half = width >> 1
        low += half if get(begins, low + half) <= number else 0
        width -= half
    return low


@kernel
def locate(
    first: I64, store: I64, place: I64, size: I64, used: Any, arrivals: I64, record_ids: I64, places: I64
) -> Any:
    """The records of these arrivals, and where they lie; -1 where no run has one."""
    for i in range(len(arrivals)):
        arrival = get(arrivals, i)
        k = run_of(first, used, arrival)
        away = arrival - get(first, k)
        inside = (away >= 0) & (away < get(size, k))
        put(record_ids, i, get(store, k) + away if inside else np.int64(-1))
        put(places, i, get(place, k) + STEP * away if inside else np.int64(-1))


@kernel
def arrivals_of(
    first: I64, size: I64, used: Any, order: I64, begins: I64, record_ids: I64, arrivals: I64
) -> Any:
    """The arrivals of these records, -1 for one that no run has; begins[j] is the first record of run order[j]."""
    for i in range(len(record_ids)):
        j = run_of(begins, used, get(record_ids, i))
        k = get(order, j)
        away = get(record_ids, i) - get(begins, j)
        inside = (away >= 0) & (away < get(size, k))
        put(arrivals, i, get(first, k) + away if inside else np.int64(-1))


@inlined
def _add(
    first: I64, store: I64, place: I64, size: I64, used: Any, arrival: Any, record: Any, at: Any, n: Any
) -> Any:
    """Put n records behind the last run, which may become longer; returns how many runs there are then."""
    k = used - 1
    if used:
        goes_on = (arrival - first[k] == size[k]) & (record - store[k] == size[k])
        if goes_on & (at - place[k] == STEP * size[k]):
            size[k] += n
            return used
    put(first, used, arrival)
    put(store, used, record)
    put(place, used, at)
    put(size, used, n)
    return used + 1


@kernel
def append(
    first: I64,
    store: I64,
    place: I64,
    size: I64,
    used: Any,
    arrivals: I64,
    record_ids: I64,
    places: I64,
    begin: Any,
) -> Any:
    """Put records behind the last run, from number `begin` on; returns (runs, how many are done).

    All are, unless there is no room.
    """
    for i in range(begin, len(arrivals)):
        if used == len(first):
            return used, i
        used = _add(first, store, place, size, used, get(arrivals, i), get(record_ids, i), get(places, i), 1)
    return used, len(arrivals)


@kernel
def mark(first: I64, used: Any, living: I64, marks: U8) -> Any:
    """marks[k] = 1 for runs of living records."""
    for i in range(len(living)):
        put(marks, run_of(first, used, get(living, i)), np.uint8(1))


@kernel
def keep(first: I64, store: I64, place: I64, size: I64, used: Any, marks: U8) -> Any:
    """Drop the runs that are not marked, and make one of those that go on; returns how many are left."""
    kept: Any = 0
    for k in range(used):
        if marks[k]:
            kept = _add(first, store, place, size, kept, first[k], store[k], place[k], size[k])
    return kept


@kernel
def move(
    first: I64,
    store: I64,
    place: I64,
    size: I64,
    used: Any,
    drop: U8,
    arrivals: I64,
    targets: I64,
    new_first: I64,
    new_store: I64,
    new_place: I64,
    new_size: I64,
) -> Any:
    """Runs in which these arrivals, which rise, lie at other places; what else is in runs marked by `drop` is in none.

    The new ones have room for those there are and two more an arrival. Returns how many they are.
    """
    made: Any = 0
    j: Any = 0
    for k in range(used):
        arrival = first[k]
        stop = arrival + size[k]
        while arrival < stop:
            following = min(arrivals[j], stop) if j < len(arrivals) else stop
            record, at = store[k] + arrival - first[k], place[k] + STEP * (arrival - first[k])
            n = following - arrival
            if n == 0:
                n, at = np.int64(1), targets[j]
                j += 1
            elif drop[k]:
                n = np.int64(0)
            if n:
                made = _add(new_first, new_store, new_place, new_size, made, arrival, record, at, n)
            arrival = max(following, arrival + n)
    return made
