"""The archive's hot loops: checking, locating strings, and writing them.

Rule of this file: no read outside the buffer, whatever the bytes say; every position is checked before its
first use, also where the file was validated before, because a mapped file can change under us.
"""

from typing import Any

import numpy as np

from ostinato.kernels import I32, I64, U8, U64, get, kernel, load_u64, put, store_u64, threaded_kernel

OK, OVERRUN, UNALIGNED, TOO_SHORT, BAD_UTF8, BAD_BOOL, BAD_TAG = range(7)

_HIGH_BITS = np.uint64(0x8080808080808080)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def _signed(half: Any) -> Any:
    """A 32-bit two's complement number, in the low half of a u64, as i64."""
    value = np.int64(half & _LOW_HALF)
    return value - 4294967296 if value >= 2147483648 else value


@kernel
def _length(word: Any) -> Any:
    """The length in an out-of-line record; its inverse is layout.pack_length."""
    packed = np.int64(word & _LOW_HALF)
    return (packed & 0x3F) | ((packed & 0xFFFFFF00) >> 2)


@kernel
def _offset(word: Any) -> Any:
    """The signed 32-bit offset in an out-of-line record's upper half."""
    return np.int64(word) >> 32


@kernel
def _is_outside(word: Any) -> Any:
    return (word & np.uint64(0xC0)) == np.uint64(0x80)


@kernel
def _is_plain_inline(word: Any) -> Any:
    """Is the record inline and are its bytes before the first ff all ASCII? No branches: see _next_low."""
    high = word & _HIGH_BITS
    lowest = high & (~high + _ONE)  # top bit of the first byte >= 0x80, or 0
    byte = (lowest << _ONE) - (lowest >> np.uint64(7))  # that byte's eight bits, or 0
    return (word & byte) == byte


@kernel
def _inline_length(buffer: U8, at: Any) -> Any:
    for i in range(8):
        if buffer[at + i] == 0xFF:
            return i
    return 8


@kernel
def _is_utf8(buffer: U8, start: Any, length: Any) -> Any:
    """Strict UTF-8 (RFC 3629): no surrogates, no overlong forms, nothing above U+10FFFF, nothing cut."""
    end = start + length
    i = start
    while i + 8 <= end and load_u64(buffer, i) & _HIGH_BITS == 0:
        i += 8
    while i < end:
        first = buffer[i]
        i += 1
        if first < 0x80:
            continue
        low, high = 0x80, 0xBF  # what the second byte may be
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                low = 0xA0
            elif first == 0xED:
                high = 0x9F
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                low = 0x90
            elif first == 0xF4:
                high = 0x8F
        else:
            return False
        if i + more > end or buffer[i] < low or buffer[i] > high:
            return False
        for k in range(1, more):
            if buffer[i + k] & 0xC0 != 0x80:
                return False
        i += more
    return True


@kernel
def _strings(
    buffer: U8, at: Any, count: Any, low: Any, high: Any, starts: I64, lengths: I32, done: Any, report: I64
) -> Any:
    """Check the `count` records at `at`, which lie in the buffer; strings elsewhere must lie in [low, high).

    Where `starts` has room, the spans are written from `done` on. Returns OK or what is wrong.
    """
    keep = len(starts) > 0
    for j in range(count):
        record = at + 8 * j
        word = load_u64(buffer, record)
        start = record
        if not _is_plain_inline(word):
            if _is_outside(word):
                length = _length(word)
                start = record + _offset(word)
                report[2] = j
                if length <= 8:
                    return TOO_SHORT
                if start < low or start + length > high:
                    report[3], report[4], report[5], report[6] = start, length, low, high
                    return OVERRUN
                low = start + length
                if not _is_utf8(buffer, start, length):
                    return BAD_UTF8
            else:
                length = _inline_length(buffer, record)
                if not _is_utf8(buffer, record, length):
                    report[2] = j
                    return BAD_UTF8
            if keep:
                starts[done + j] = start
                lengths[done + j] = length
        elif keep:
            starts[done + j] = record
            lengths[done + j] = _inline_length(buffer, record)
    return OK


@kernel
def _is_ascii(buffer: U8, start: Any, end: Any) -> Any:
    seen = np.uint64(0)
    whole = (end - start) & ~7
    for i in range(start, start + whole, 8):
        seen |= load_u64(buffer, i)
    for i in range(start + whole, end):
        seen |= np.uint64(buffer[i])
    return seen & _HIGH_BITS == 0


@kernel
def _next_low(buffer: U8, at: Any, count: Any, low: Any) -> Any:
    """Where the strings of an ordinary list end, or -1 if it must be looked at string by string.

    Ordinary is what a writer of ASCII makes. There are no branches in the loop, because whether an instruction is
    longer than 8 bytes cannot be predicted, and a wrong guess costs more than all of this.
    """
    odd = not _is_ascii(buffer, low, at)
    for record in range(at, at + 8 * count, 8):
        word = load_u64(buffer, record)
        plain, outside = _is_plain_inline(word), _is_outside(word)
        length = _length(word)
        start = record + _offset(word)
        end = start + length
        wrong = (length <= 8) | (start < low) | (end > at)
        odd |= (outside & wrong) | (not (plain | outside))
        low = end if outside else low
    return -1 if odd else low


@kernel
def _flags(buffer: U8, entry: Any, report: I64) -> Any:
    """Are `valid`, the measured tag and `fallback_used` all 0 or 1?"""
    if buffer[entry + 40] <= 1 and buffer[entry + 48] <= 1 and buffer[entry + 72] <= 1:
        return OK
    for field in (40, 48, 72):
        if buffer[entry + field] > 1:
            report[1], report[2], report[3] = field, -1, buffer[entry + field]
            return BAD_TAG if field == 48 else BAD_BOOL
    return OK


@threaded_kernel
def scan(buffer: U8, entries: Any, begin: Any, end: Any, report: I64) -> Any:
    """rkyv's checked access (FORMAT.md, "What is accepted"), of entries begin .. end-1, which lie in bounds.

    Where the window of entry `begin` opens is where the list before ends, so parts can be checked at once: if the
    entry before is wrong, the part before says so.

    report i64[7] gets: record, field's place in the entry, string, then pointer, size, low, high or the byte.
    """
    none_starts = np.empty(0, np.int64)
    none_lengths = np.empty(0, np.int32)
    low: Any = np.int64(0)
    if begin > 0:
        before = entries + 96 * (begin - 1) + 32
        head = load_u64(buffer, before)
        low = before + _signed(head) + 8 * np.int64(head >> np.uint64(32))
        low = max(low, 0)  # whatever it claims, nothing in front of the buffer is read
    for i in range(begin, end):
        entry = entries + 96 * i
        head = load_u64(buffer, entry + 32)
        at = entry + 32 + _signed(head)
        strings = np.int64(head >> np.uint64(32))
        if at < low or at + 8 * strings > entries:
            report[0], report[1], report[2] = i, 32, -1
            report[3], report[4], report[5], report[6] = at, 8 * strings, low, entries
            return OVERRUN
        if at % 4 != 0:
            report[0], report[1], report[2] = i, 32, -1
            report[3], report[4] = at, 4
            return UNALIGNED
        if _next_low(buffer, at, strings, low) < 0:
            report[0], report[1] = i, 32
            wrong = _strings(buffer, at, strings, low, at, none_starts, none_lengths, 0, report)
            if wrong != OK:
                return wrong
        low = at + 8 * strings
        wrong = _flags(buffer, entry, report)
        if wrong != OK:
            report[0] = i
            return wrong
    return OK


@kernel
def _plain_length(word: Any) -> Any:
    """The length of a plain inline string: the place of its first byte >= 0x80, which is ff, or 8."""
    high = word & _HIGH_BITS
    one = (high & (~high + _ONE)) >> np.uint64(7)  # 1 << 8 * place, or 0
    return np.int64((one * np.uint64(0x0001020304050607)) >> np.uint64(56)) + (8 if high == 0 else 0)


@kernel
def locate(
    buffer: U8, places: I64, offsets: I64, counts: Any, starts: I64, lengths: I32, check: Any, report: I64
) -> Any:
    """Spans of all strings of the entries at places[i], whose lists lie offsets[i] from their list field.

    Bounds are checked always; UTF-8, flags, and the order of strings in a list if `check` says so; the order of
    lists not at all. `starts` holds sum(counts). Returns OK or what is wrong.
    """
    done: Any = 0
    size = len(buffer)
    for i in range(len(places)):
        entry = places[i]
        at, count = entry + 32 + offsets[i], np.int64(counts[i])
        if at < 0 or at + 8 * count > size or done + count > len(starts):
            report[0], report[1], report[2] = i, 32, -1
            report[3], report[4], report[5], report[6] = at, 8 * count, 0, size
            return OVERRUN
        if check:
            wrong = _strings(buffer, at, count, 0, at, starts, lengths, done, report)
            if wrong == OK:
                wrong = _flags(buffer, entry, report)
            else:
                report[1] = 32
            if wrong != OK:
                report[0] = i
                return wrong
            done += count
            continue
        for j in range(count):
            record = at + 8 * j
            word = load_u64(buffer, record)
            far = _is_outside(word)
            length = _length(word) if far else _plain_length(word)
            start = record + _offset(word) if far else record
            outside = (start < 0) | (start + length > at) | (length <= 8)
            if (far and outside) or not (far or _is_plain_inline(word)):
                wrong = _strings(buffer, record, 1, 0, at, starts, lengths, done, report)
                if wrong != OK:
                    report[0], report[1], report[2] = i, 32, j
                    return wrong
            else:
                starts[done] = start
                lengths[done] = length
            done += 1
    return OK


SLACK = 24  # bytes beyond what it says it needs that encode may touch


@kernel
def _copy(source: U8, start: Any, length: Any, out: U8, at: Any) -> Any:
    """Copy length bytes; up to 24 of them in three stores that may write beyond, where that is in reach."""
    if length <= 24 and start + 24 <= len(source):
        store_u64(out, at, load_u64(source, start))
        store_u64(out, at + 8, load_u64(source, start + 8))
        store_u64(out, at + 16, load_u64(source, start + 16))
    else:
        for i in range(length):
            out[at + i] = source[start + i]


@kernel
def _inline_word(buffer: U8, start: Any, length: Any) -> Any:
    """The record of a string of length <= 8 bytes: the bytes, then ff; nonsense for what is longer."""
    at = min(start, len(buffer) - 8)  # a clamp, not a branch: then the loop over records is vectorized
    word = load_u64(buffer, at) >> np.uint64(8 * (start - at) & 63)
    half = np.uint64(4 * (length & 15))  # shifted twice, because 64 at once is undefined
    return word | ((_ALL << half) << half)


@kernel
def measure(lengths: I32) -> Any:
    """(bytes of all strings longer than 8, longest string)."""
    outside: Any = 0
    longest: Any = 0
    for i in range(len(lengths)):
        length = np.int64(lengths[i])
        outside += length if length > 8 else 0
        longest = max(longest, length)
    return outside, longest


@kernel
def encode(buffer: U8, starts: I64, lengths: I32, counts: Any, base: Any, out: U8, positions: I64) -> Any:
    """Write instruction lists as a file's bytes from `base` (a multiple of 4) on; returns the bytes used.

    `buffer` has 8 bytes or more; `out` has room for every string over 8 bytes, 8 bytes a record, 3 bytes a list, and SLACK.
    positions[i] gets the position, in the file, of list i.
    """
    used: Any = 0
    span: Any = 0
    longest: Any = 0
    for i in range(len(counts)):
        longest = max(longest, counts[i])
    outside = np.empty(longest + 1, np.int64)  # the list's strings over 8 bytes
    for i in range(len(counts)):
        count = np.int64(counts[i])
        text: Any = used  # where this list's first out-of-line string goes
        found = 0
        for j in range(span, span + count):
            outside[found] = j
            found += lengths[j] > 8
        for k in range(found):
            j = outside[k]
            _copy(buffer, starts[j], np.int64(lengths[j]), out, used)
            used += lengths[j]
        while used & 3:
            out[used] = 0
            used += 1
        positions[i] = base + used
        for j in range(span, span + count):
            length = np.int64(lengths[j])
            far = length > 8
            packed = (length & 0x3F) | 0x80 | ((length >> 6) << 8)
            record = np.uint64(packed) | (np.uint64(text - used) << np.uint64(32))
            inline = _inline_word(buffer, starts[j], length)
            store_u64(out, used, record if far else inline)
            text += length if far else 0
            used += 8
        span += count
    return used


@kernel
def token_forms(buffer: U8, ends: I64, first: Any, forms: U64) -> Any:
    """forms[t]: the string record of word t, for t >= first: of one over 8 bytes its packed length, and no offset yet."""
    for t in range(first, len(forms)):
        length = ends[t + 1] - ends[t]
        if length > 8:
            forms[t] = np.uint64((length & 0x3F) | 0x80 | ((length >> 6) << 8))
        else:
            forms[t] = _inline_word(buffer, ends[t], length)


@kernel
def measure_tokens(tokens: I32, forms: U64) -> Any:
    """Bytes of all strings over 8 bytes."""
    outside: Any = 0
    for k in range(len(tokens)):
        word = get(forms, get(tokens, k))
        outside += _length(word) if _is_outside(word) else 0
    return outside


@kernel
def encode_tokens(
    tokens: I32, counts: Any, buffer: U8, ends: I64, forms: U64, base: Any, out: U8, positions: I64
) -> Any:
    """What `encode` does, of token ids: a word's record is looked up, not made anew."""
    used: Any = 0
    span: Any = 0
    longest: Any = 0
    for i in range(len(counts)):
        longest = max(longest, counts[i])
    outside = np.empty(longest + 1, np.int64)  # the list's strings over 8 bytes
    for i in range(len(counts)):
        count = np.int64(counts[i])
        text: Any = used
        found: Any = 0
        for j in range(span, span + count):
            put(outside, found, j)
            found += np.int64(_is_outside(get(forms, get(tokens, j))))
        for k in range(found):
            token = tokens[outside[k]]
            length = ends[token + 1] - ends[token]
            _copy(buffer, ends[token], length, out, used)
            used += length
        while used & 3:
            out[used] = 0
            used += 1
        positions[i] = base + used
        if found:
            for j in range(span, span + count):
                word = get(forms, get(tokens, j))
                far = _is_outside(word)
                store_u64(out, used, word | (np.uint64(text - used) << np.uint64(32)) if far else word)
                text += _length(word) if far else 0
                used += 8
        else:
            for j in range(span, span + count):
                store_u64(out, used, get(forms, get(tokens, j)))
                used += 8
        span += count
    return used
