"""Children of parents, a batch at once: edits, a repair of the depth, and a check that the stack is never too shallow.

Rule of this file: the same seed gives the same children. What an instruction does is not known here, only how the stack
grows and which word an argument names.
"""

from typing import Any

import numpy as np

from ostinato.kernels import F64, I32, I64, U64, get, inlined, put, threaded_kernel

# what an edit does; `weights` has one for each, in this order
(
    DELETE, INSERT, REPLACE, ARGUMENT, MOVE, EXCHANGE, WINDOW, CLOSE, TAKE, FRAGMENT, CROSS, SCRATCH, PAIR, EDITS,
) = range(14)  # fmt: skip
_DRAWS = 6  # for a word that fits
SLOTS = 256  # of a table of words


@inlined
def _next(rng: U64) -> Any:
    """64 random bits (splitmix64)."""
    rng[0] += np.uint64(0x9E3779B97F4A7C15)
    z = rng[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def _below(rng: U64, end: Any) -> Any:
    """A number in [0, end), end < 2**31."""
    return np.int64(((_next(rng) >> np.uint64(32)) * np.uint64(end)) >> np.uint64(32))


@inlined
def _unit(rng: U64) -> Any:
    return np.float64(_next(rng) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inlined
def _drawn(rng: U64, tables: I32, fitting: I64, kind: I32, before: Any, depth: Any) -> Any:
    """A word from the table of whatever word stands before (-1: none) that this depth allows, or -1."""
    row = 0 if before < 0 else 1 + np.int64(get(kind, before))
    depths = len(fitting) // (len(tables) // SLOTS)
    count = get(fitting, depths * row + min(depth, depths - 1))
    return np.int64(get(tables, SLOTS * row + _below(rng, count))) if count else np.int64(-1)


@inlined
def _depth_at(code: I64, place: Any, change: I32, depth: Any) -> Any:
    for k in range(place):
        depth += get(change, get(code, k))
    return depth


@inlined
def _remove(code: I64, size: Any, place: Any, count: Any) -> Any:
    for k in range(place, size - count):
        put(code, k, get(code, k + count))
    return size - count


@inlined
def _open(code: I64, size: Any, place: Any, count: Any) -> Any:
    """Room for so many words."""
    for k in range(size - 1, place - 1, -1):
        put(code, k + count, get(code, k))
    return size + count


@inlined
def _renumber(
    code: I64,
    start: Any,
    end: Any,
    above: Any,
    beyond: Any,
    by: Any,
    change: I32,
    register: I32,
    sibling: I32,
) -> None:
    """Registers in code[start:end] that name a word at least `beyond` below the level at `start` move by `by`; `above` words
    have been pushed over that level."""
    for k in range(start, end):
        token = get(code, k)
        named = np.int64(get(register, token))
        if named >= 0 and named - above >= beyond and 0 <= named + by < 16:
            other = np.int64(get(sibling, 16 * token + named + by))
            if other >= 0:
                put(code, k, other)
        above += get(change, token)


@inlined
def _drawn_at(
    rng: U64, tables: I32, fitting: I64, kind: I32, code: I64, place: Any, change: I32, first: Any
) -> Any:
    """A word for that place of the code, or -1."""
    before = get(code, place - 1) if place else -1
    return _drawn(rng, tables, fitting, kind, before, _depth_at(code, place, change, first))


@inlined
def _fill(
    rng: U64, code: I64, size: Any, place: Any, count: Any, depth: Any, end: Any, tables: I32, fitting: I64, kind: I32,
    change: I32,
) -> Any:  # fmt: skip
    """Put in so many words, fewer if nothing fits; the last one shall leave the depth at `end`. The new size."""
    for k in range(place, place + count):
        before = get(code, k - 1) if k > 0 else -1
        token = np.int64(-1)
        for _ in range(3):
            token = _drawn(rng, tables, fitting, kind, before, depth)
            if token < 0 or k + 1 < place + count or depth + get(change, token) == end:
                break
        if token < 0:
            break
        size = _open(code, size, k, 1)
        put(code, k, token)
        depth += get(change, token)
    return size


@inlined
def _edit(
    rng: U64, what: Any, code: I64, size: Any, limit: Any, first: Any, tables: I32, fitting: I64, kind: I32,
    change: I32, register: I32, sibling: I32, like_starts: I64, like: I32, fragments: I32, fragment_starts: I64,
) -> Any:  # fmt: skip
    """One edit in place; the new size, or -1 if it does not apply here, and nothing has changed."""
    if what == INSERT:
        if size >= limit:
            return -1
        place = _below(rng, size + 1)
        token = _drawn_at(rng, tables, fitting, kind, code, place, change, first)
        if token < 0:
            return -1
        _open(code, size, place, 1)
        put(code, place, token)
        return size + 1
    if what == FRAGMENT:
        if len(fragment_starts) < 2:
            return -1
        which = _below(rng, len(fragment_starts) - 1)
        begin = get(fragment_starts, which)
        count = get(fragment_starts, which + 1) - begin
        place = _below(rng, size + 1)
        gone = min(_below(rng, 6), size - place)
        if size - gone + count > limit + 4:
            return -1
        _remove(code, size, place, gone)
        _open(code, size - gone, place, count)
        for k in range(count):
            put(code, place + k, np.int64(get(fragments, begin + k)))
        return size - gone + count
    if what == WINDOW:
        place = _below(rng, size + 1)
        gone = min(1 + _below(rng, 5), size - place)
        count = _below(rng, gone + 1)
        if _below(rng, 4) == 0:
            count = min(count + 1, 5)
        depth = _depth_at(code, place, change, first)
        end = _depth_at(code, place + gone, change, first)
        _remove(code, size, place, gone)
        return _fill(rng, code, size - gone, place, count, depth, end, tables, fitting, kind, change)
    if size == 0:
        return -1
    place = _below(rng, size)
    token = get(code, place)
    if what == DELETE:
        return _remove(code, size, place, 1)
    if what == REPLACE:
        other = _drawn_at(rng, tables, fitting, kind, code, place, change, first)
        if other < 0:
            return -1
        put(code, place, other)
        return size
    if what == ARGUMENT:
        begin = get(like_starts, token)
        count = get(like_starts, token + 1) - begin
        if count < 1:
            return -1
        put(code, place, np.int64(get(like, begin + _below(rng, count))))
        return size
    if what == MOVE:
        _remove(code, size, place, 1)
        to = _below(rng, size)
        _open(code, size - 1, to, 1)
        put(code, to, token)
        return size
    if what == EXCHANGE:
        if place + 1 >= size:
            return -1
        put(code, place, get(code, place + 1))
        put(code, place + 1, token)
        return size
    if what == CLOSE:  # delete it, and let later registers reach what they reached
        _remove(code, size, place, 1)
        by = -get(change, token)
        _renumber(code, place, size - 1, 0, max(0, by), by, change, register, sibling)
        return size - 1
    if (
        what == TAKE
    ):  # use the word itself where a copy of it was used: `dup i` becomes another kind with that register
        for _ in range(_DRAWS):
            if get(register, token) >= 0 and get(change, token) == 1:
                break
            place = _below(rng, size)
            token = get(code, place)
        named = np.int64(get(register, token))
        if named < 0 or get(change, token) != 1:
            return -1
        other = np.int64(-1)
        for _ in range(4):  # a word of the same register that leaves the depth
            candidate = np.int64(get(tables, _below(rng, SLOTS)))
            wanted = np.int64(get(sibling, 16 * candidate + named)) if get(register, candidate) >= 0 else -1
            if wanted >= 0 and get(change, wanted) == 0:
                other = wanted
                break
        if other >= 0:
            put(code, place, other)
        elif named == 0:
            size = _remove(code, size, place, 1)
            place -= 1
        else:
            return -1
        _renumber(code, place + 1, size, 1, named, -1, change, register, sibling)
        return size
    # PAIR: delete two words, each with what follows renumbered
    if size < 2:
        return -1
    second = _below(rng, size - 1)
    second += second >= place
    low, high = min(place, second), max(place, second)
    one = get(code, low)
    _remove(code, size, high, 1)
    _remove(code, size - 1, low, 1)
    by = -get(change, one)
    _renumber(code, low, high - 1, 0, max(0, by), by, change, register, sibling)
    return size - 2


@inlined
def _repair(
    rng: U64, code: I64, size: Any, off: Any, change: I32, mend_starts: I64, mend: I32, tables: I32,
    fitting: I64, kind: I32, first: Any,
) -> Any:  # fmt: skip
    """The depth is too large by `off`: change an argument, delete a word, or insert one; the new size."""
    if size and _below(rng, 4):
        start = _below(rng, size) if _below(rng, 2) else size - 1
        for step in range(size):
            k = start - step if step <= start else start - step + size
            token = get(code, k)
            delta = np.int64(get(change, token))
            if delta == off and _below(rng, 2):
                return _remove(code, size, k, 1)
            for at in range(get(mend_starts, token), get(mend_starts, token + 1)):
                other = np.int64(get(mend, at))
                if get(change, other) == delta - off:
                    put(code, k, other)
                    return size
    for _ in range(4):
        place = size if _below(rng, 2) else _below(rng, size + 1)
        token = _drawn_at(rng, tables, fitting, kind, code, place, change, first)
        if token >= 0 and get(change, token) == -off:
            _open(code, size, place, 1)
            put(code, place, token)
            return size + 1
    return size


@inlined
def _end(code: I64, size: Any, first: Any, change: I32, need: I32, skips: I32) -> Any:
    """The depth in the end, or -1 if the stack is not always deep enough, or not whatever is skipped."""
    depth = first
    skipped = False
    for k in range(size):
        token = get(code, k)
        if get(need, token) > depth:
            return -1
        if skipped and (get(change, token) != 0 or get(skips, token)):
            return -1
        skipped = get(skips, token) != 0
        depth += get(change, token)
    return -1 if skipped else depth


@inlined
def _hash(tokens: Any, begin: Any, end: Any, salt: Any) -> Any:
    """A 64-bit number for a list; never 0."""
    word = np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x632BE59BD9B4E019)
    for k in range(begin, end):
        word = (word ^ np.uint64(get(tokens, k) + 1)) * np.uint64(0xBF58476D1CE4E5B9)
        word ^= word >> np.uint64(29)
    word *= np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(32)
    return word | np.uint64(1)


@inlined
def _slot(word: Any, table: U64) -> Any:
    """The one place that a number has in a table, whose length is a power of two."""
    return np.int64((word >> np.uint64(7)) & np.uint64(len(table) - 1))


@threaded_kernel
def propose(
    tokens: I32, starts: I64, count: Any, turns: Any, seed: Any, weights: F64, again: Any, limit: Any, first: Any,
    last: Any, tables: I32, fitting: I64, kind: I32, change: I32, need: I32, register: I32, skips: I32, sibling: I32,
    like_starts: I64, like: I32, mend_starts: I64, mend: I32, fragments: I32, fragment_starts: I64, salt: Any,
    tried: U64, batch: U64, out: I32, offsets: I64, parent: I64, how: I64,
) -> Any:  # fmt: skip
    """Children of tokens[starts[i] : starts[i + 1]], each in turn; how many were made, at most `count`
    by at most so many edits.

    weights f64[EDITS], of sum 1; `again` is the chance of one more edit. A child has at most `limit` words and takes the depth
    from `first` to `last`. tables i32[1 + kinds, SLOTS], flat: words to put in, by the kind of the word before, those that
    need little first; fitting i64[1 + kinds, depths], flat: how many of them each depth allows. sibling
    i32[words, 16], flat. like: words that differ in their argument, by word; mend: those of them that also change the depth
    otherwise. tried, batch: hashes of what is no child any more; children join the second. how: bit k is set where edit k was made.
    """
    rng = np.zeros(1, np.uint64)
    rng[0] = np.uint64(seed)
    parents = len(starts) - 1
    longest = 0
    for i in range(parents):
        longest = max(longest, get(starts, i + 1) - get(starts, i))
    code = np.zeros(2 * (longest + limit) + 64, np.int64)
    made = at = mother = 0
    size = np.int64(-1)
    used = np.int64(0)
    put(offsets, 0, 0)
    for _ in range(turns):
        if made == count:
            break
        if size < 0:
            mother = mother + 1 if mother + 1 < parents else 0
            begin = get(starts, mother)
            size = get(starts, mother + 1) - begin
            for k in range(size):
                put(code, k, np.int64(get(tokens, begin + k)))
            used = np.int64(0)
        draw = _unit(rng)
        what = 0
        while what < EDITS - 1 and draw >= get(weights, what):
            draw -= get(weights, what)
            what += 1
        if what == SCRATCH:
            words = _below(rng, min(limit, 7) + 1)
            new = _fill(rng, code, 0, 0, words, first, last, tables, fitting, kind, change)
        elif what == CROSS:
            other = _below(rng, parents)
            length = get(starts, other + 1) - get(starts, other)
            cut = _below(rng, size + 1)
            # mostly at about the same place
            resume = min(length, max(0, cut + _below(rng, 5) - 2))
            for k in range(resume, length):
                put(code, cut + k - resume, np.int64(get(tokens, get(starts, other) + k)))
            new = cut + length - resume
        else:
            new = _edit(
                rng, what, code, size, limit, first, tables, fitting, kind, change, register, sibling, like_starts,
                like, fragments, fragment_starts,
            )  # fmt: skip
        if new < 0:
            continue
        size = new
        used |= np.int64(1) << np.int64(what)
        if size <= limit + 8 and _unit(rng) < again:
            continue
        depth = _end(code, size, first, change, need, skips)
        if depth >= 0 and depth != last:
            size = _repair(
                rng, code, size, depth - last, change, mend_starts, mend, tables, fitting, kind, first
            )
            depth = _end(code, size, first, change, need, skips)
        if depth != last or size > limit:
            size = np.int64(-1)
            continue
        word = _hash(code, 0, size, salt)
        if get(tried, _slot(word, tried)) == word or get(batch, _slot(word, batch)) == word:
            continue  # what was tried is edited once more
        put(batch, _slot(word, batch), word)
        for k in range(size):
            put(out, at + k, np.int32(get(code, k)))
        at += size
        put(parent, made, mother)
        put(how, made, used)
        made += 1
        put(offsets, made, at)
        size = np.int64(-1)
    return made


@threaded_kernel
def unseen(tokens: I32, offsets: I64, salt: Any, tried: U64, table: U64, fresh: Any) -> None:
    """fresh[i]: was list i in neither table? It is in the second now, in place of whatever had its slot."""
    for i in range(len(offsets) - 1):
        word = _hash(tokens, get(offsets, i), get(offsets, i + 1), salt)
        slot = _slot(word, table)
        fresh[i] = get(tried, _slot(word, tried)) != word and get(table, slot) != word
        put(table, slot, word)


@threaded_kernel
def take(tokens: I32, offsets: I64, chosen: Any, out: I32, starts: I64, index: I64) -> Any:
    """The chosen lists, end to end, and which they were; how many."""
    count = at = 0
    for i in range(len(offsets) - 1):
        if chosen[i]:
            begin, end = get(offsets, i), get(offsets, i + 1)
            for k in range(begin, end):
                put(out, at + k - begin, get(tokens, k))
            at += end - begin
            put(index, count, i)
            count += 1
            put(starts, count, at)
    return count


@threaded_kernel
def matches(tokens: I32, starts: I64, words: I32, word_starts: I64, heads: I64, out: I64) -> Any:
    """(list, place, pattern) i64[n, 3], flat, wherever words[word_starts[p] : word_starts[p + 1]], not empty, occurs; how many.

    heads i64[vocabulary + 1]: patterns are in order of their first word; those that begin with t are heads[t] .. heads[t + 1].
    """
    count = 0
    for i in range(len(starts) - 1):
        for place in range(get(starts, i), get(starts, i + 1)):
            token = np.int64(get(tokens, place))
            for p in range(get(heads, token), get(heads, token + 1)):
                begin, end = get(word_starts, p), get(word_starts, p + 1)
                if place + end - begin > get(starts, i + 1):
                    continue
                k = 1
                while k < end - begin and get(tokens, place + k) == get(words, begin + k):
                    k += 1
                if k < end - begin:
                    continue
                if 3 * count >= len(out):
                    return count
                put(out, 3 * count, i)
                put(out, 3 * count + 1, place - get(starts, i))
                put(out, 3 * count + 2, p)
                count += 1
    return count
