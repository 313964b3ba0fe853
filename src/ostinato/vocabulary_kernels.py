"""The vocabulary's hash table: SipHash-1-3 (Aumasson and Bernstein 2012) over spans, linear probing.

A table entry is (high half of the hash) << 32 | id + 1; 0 is free. At most half of the table is used.
"""

from typing import Any

import numpy as np

from ostinato.kernels import I32, I64, U8, U64, kernel, load_u64


@kernel
def _rotate(x: Any, bits: Any) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@kernel
def _sip_round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 += v1
    v2 += v3
    v1 = _rotate(v1, 13) ^ v0
    v3 = _rotate(v3, 16) ^ v2
    v0 = _rotate(v0, 32)
    v2 += v1
    v0 += v3
    v1 = _rotate(v1, 17) ^ v2
    v3 = _rotate(v3, 21) ^ v0
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


@kernel
def _tail(buffer: U8, start: Any, length: Any) -> Any:
    """The last length < 8 bytes as a little-endian number; reads nothing beside them."""
    word = np.uint64(0)
    for i in range(length):
        word |= np.uint64(buffer[start + i]) << np.uint64(8 * i)
    return word


@kernel
def siphash(buffer: U8, start: Any, length: Any, key: U64) -> Any:
    v0 = key[0] ^ np.uint64(0x736F6D6570736575)
    v1 = key[1] ^ np.uint64(0x646F72616E646F6D)
    v2 = key[0] ^ np.uint64(0x6C7967656E657261)
    v3 = key[1] ^ np.uint64(0x7465646279746573)
    whole = length & ~7
    for i in range(0, whole, 8):
        m = load_u64(buffer, start + i)
        v3 ^= m
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0 ^= m
    m = (np.uint64(length & 255) << np.uint64(56)) | _tail(buffer, start + whole, length - whole)
    v3 ^= m
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0 ^= m
    v2 ^= np.uint64(255)
    for _ in range(3):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def _same(a: U8, start_a: Any, b: U8, start_b: Any, length: Any) -> Any:
    i = 0
    while i + 8 <= length:
        if load_u64(a, start_a + i) != load_u64(b, start_b + i):
            return False
        i += 8
    while i < length:
        if a[start_a + i] != b[start_b + i]:
            return False
        i += 1
    return True


@kernel
def _first_eight(buffer: U8, start: Any, length: Any) -> Any:
    """The first eight bytes, or all there are, of a buffer of eight or more."""
    if length >= 8:
        return load_u64(buffer, start)
    at = min(start, len(buffer) - 8)
    word = load_u64(buffer, at) >> np.uint64(8 * (start - at) & 63)
    return word & ~(np.uint64(0xFFFFFFFFFFFFFFFF) << np.uint64(8 * length))


@kernel
def intern(
    buffer: U8,
    starts: I64,
    lengths: I32,
    ids: I32,
    done: Any,
    words: U8,
    ends: I64,
    table: U64,
    key: U64,
    count: Any,
    add: Any,
    missing: Any,
    recent: U64,
) -> Any:
    """Fill ids[done:]; returns (done, count, short): stopped early when a new word needs room.

    short > 0: bytes missing in `words`; 0: `ends` (and the table) must grow. Then call again.

    recent u64[n, 3] remembers words of up to 16 bytes (first eight, last eight, length and id) where a cheap
    hash of them says; it saves the SipHash for words that come again and again.
    """
    mask = np.uint64(len(table) - 1)
    while done < len(starts):
        start = starts[done]
        length = np.int64(lengths[done])
        quick = np.uint64(0)
        first_eight = np.uint64(0)
        last_eight = np.uint64(0)
        if length <= 16:
            first_eight = _first_eight(buffer, start, length)
            last_eight = load_u64(buffer, start + length - 8) if length > 8 else np.uint64(0)
            mixed = (first_eight ^ _rotate(last_eight, 29) ^ np.uint64(length)) * np.uint64(
                0x9E3779B97F4A7C15
            )
            quick = (mixed >> np.uint64(40)) & np.uint64(len(recent) - 1)
            known = recent[quick]
            if (
                known[0] == first_eight
                and known[1] == last_eight
                and known[2] >> np.uint64(32) == np.uint64(length + 1)
            ):
                ids[done] = np.int32(known[2] & np.uint64(0xFFFFFFFF))
                done += 1
                continue
        full_hash = siphash(buffer, start, length, key)
        tag = full_hash >> np.uint64(32)
        slot = full_hash & mask
        found: Any = -1
        while table[slot] != 0:
            entry = table[slot]
            if entry >> np.uint64(32) == tag:
                i = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
                if ends[i + 1] - ends[i] == length and _same(buffer, start, words, ends[i], length):
                    found = i
                    break
            slot = (slot + np.uint64(1)) & mask
        if found < 0 and add:
            if count + 1 >= len(ends) or 2 * count + 2 > len(table):
                return done, count, 0
            used = ends[count]
            if used + length > len(words):
                return done, count, used + length - len(words)
            for k in range(length):
                words[used + k] = buffer[start + k]
            table[slot] = (tag << np.uint64(32)) | np.uint64(count + 1)
            ends[count + 1] = used + length
            found = count
            count += 1
        if found >= 0 and length <= 16:
            recent[quick, 0] = first_eight
            recent[quick, 1] = last_eight
            recent[quick, 2] = (np.uint64(length + 1) << np.uint64(32)) | np.uint64(found)
        ids[done] = found if found >= 0 else missing
        done += 1
    return done, count, 0


@kernel
def rebuild(words: U8, ends: I64, count: Any, key: U64, size: Any) -> Any:
    table = np.zeros(size, np.uint64)
    mask = np.uint64(size - 1)
    for i in range(count):
        full_hash = siphash(words, ends[i], ends[i + 1] - ends[i], key)
        slot = full_hash & mask
        while table[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = ((full_hash >> np.uint64(32)) << np.uint64(32)) | np.uint64(i + 1)
    return table
