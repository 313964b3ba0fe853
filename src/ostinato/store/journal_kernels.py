"""Journals' hot loops: frames checked one after the other, and looked for after damage.

Rule of this file: no read outside the buffer, whatever the bytes say; and whatever they say, the work is bounded.
"""

from typing import Any

import numpy as np

from ostinato.archive.archive_kernels import OK, _signed, scan
from ostinato.kernels import I64, U8, kernel, load_u64

GOOD, SHORT, NO_MARK, BEYOND, BAD_CRC, MALFORMED, REPEATED, BAD_ARCHIVE = range(8)
POSITION, KIND, FIRST, COUNT, ENTRIES, END = range(6)  # columns of what is said of a frame

_FRAME = 24
_INDEX_END = 1 << 24


def _crc_tables() -> np.ndarray[Any, Any]:
    """[16, 256]: the CRC of a byte followed by 0 .. 15 zeros (Kounavis and Berry 2005, "slicing")."""
    tables = np.zeros((16, 256), np.uint32)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
        tables[0, byte] = value
    for k in range(1, 16):
        tables[k] = (tables[k - 1] >> 8) ^ tables[0][tables[k - 1] & 0xFF]
    return tables


_TABLES = _crc_tables()


@kernel
def crc32(data: U8, start: Any, end: Any, value: Any) -> Any:
    """zlib.crc32 of data[start:end], going on from `value`. About 2 GB/s."""
    crc = np.uint32(value) ^ np.uint32(0xFFFFFFFF)
    at = start
    while at + 16 <= end:
        a = load_u64(data, at) ^ np.uint64(crc)
        b = load_u64(data, at + 8)
        crc = (
            _TABLES[15, a & np.uint64(0xFF)]
            ^ _TABLES[14, (a >> np.uint64(8)) & np.uint64(0xFF)]
            ^ _TABLES[13, (a >> np.uint64(16)) & np.uint64(0xFF)]
            ^ _TABLES[12, (a >> np.uint64(24)) & np.uint64(0xFF)]
            ^ _TABLES[11, (a >> np.uint64(32)) & np.uint64(0xFF)]
            ^ _TABLES[10, (a >> np.uint64(40)) & np.uint64(0xFF)]
            ^ _TABLES[9, (a >> np.uint64(48)) & np.uint64(0xFF)]
            ^ _TABLES[8, a >> np.uint64(56)]
            ^ _TABLES[7, b & np.uint64(0xFF)]
            ^ _TABLES[6, (b >> np.uint64(8)) & np.uint64(0xFF)]
            ^ _TABLES[5, (b >> np.uint64(16)) & np.uint64(0xFF)]
            ^ _TABLES[4, (b >> np.uint64(24)) & np.uint64(0xFF)]
            ^ _TABLES[3, (b >> np.uint64(32)) & np.uint64(0xFF)]
            ^ _TABLES[2, (b >> np.uint64(40)) & np.uint64(0xFF)]
            ^ _TABLES[1, (b >> np.uint64(48)) & np.uint64(0xFF)]
            ^ _TABLES[0, b >> np.uint64(56)]
        )
        at += 16
    while at < end:
        crc = (crc >> np.uint32(8)) ^ _TABLES[0, (crc ^ np.uint32(data[at])) & np.uint32(0xFF)]
        at += 1
    return crc ^ np.uint32(0xFFFFFFFF)


@kernel
def _u32(data: U8, at: Any) -> Any:
    return np.int64(load_u64(data, at - 4) >> np.uint64(32))  # there are 8 bytes before each that we read


@kernel
def check_frame(data: U8, at: Any, salt: Any, extras_bytes: Any, index: Any, frame: I64, report: I64) -> Any:
    """Is there a good frame at `at`, whose first index is `index` or more? If so `frame` says where and what."""
    if at + _FRAME > len(data):
        return SHORT
    if load_u64(data, at) != salt ^ np.uint64(at):
        return NO_MARK
    length = _u32(data, at + 8)
    count = _u32(data, at + 12)
    word = _u32(data, at + 16)
    first, kind = word & (_INDEX_END - 1), word >> 24
    payload = at + _FRAME
    end = payload + length
    frame[POSITION], frame[KIND], frame[FIRST], frame[COUNT], frame[END] = at, kind, first, count, end
    frame[ENTRIES] = payload
    if end > len(data):
        return BEYOND
    if length & 7 or count == 0:
        return MALFORMED
    if crc32(data, payload, end, crc32(data, at, at + 20, 0)) != _u32(data, at + 20):
        return BAD_CRC
    if kind > 1 or (kind == 1 and count != 1) or first + count > _INDEX_END:
        return MALFORMED
    if first < index:
        return REPEATED
    if kind == 1:
        return GOOD
    archive = payload + length - ((extras_bytes * count + 7) & ~7)
    if archive - 8 < payload:
        return MALFORMED
    root = load_u64(data, archive - 8)
    entries = archive - 8 + _signed(root)
    if np.int64(root >> np.uint64(32)) != count or entries != archive - 8 - 96 * count or entries < payload:
        return MALFORMED
    if scan(data[payload:archive], entries - payload, 0, count, report) != OK:
        return BAD_ARCHIVE
    frame[ENTRIES] = entries
    return GOOD


@kernel
def scan_frames(data: U8, at: Any, salt: Any, extras_bytes: Any, index: Any, frames: I64) -> Any:
    """Good frames from `at` on, one after the other; stops where there is none, or at the last row of `frames`.

    Returns (how many, where it stopped, the index that comes next, what is wrong there).
    """
    report = np.zeros(7, np.int64)
    found = 0
    while found < len(frames):
        wrong = check_frame(data, at, salt, extras_bytes, index, frames[found], report)
        if wrong != GOOD:
            return found, at, index, wrong
        index = frames[found, FIRST] + frames[found, COUNT]
        at = frames[found, END]
        found += 1
    return found, at, index, GOOD


@kernel
def find_frame(data: U8, at: Any, salt: Any, extras_bytes: Any, index: Any, budget: Any) -> Any:
    """Where the next good frame begins, at a multiple of 8 from `at` on; -1 if there is none, -2 if the budget is spent.

    False marks are made by who knows the salt alone. What is read behind them costs the budget, in bytes.
    Returns (where, what is left of the budget).
    """
    frame, report = np.zeros(6, np.int64), np.zeros(7, np.int64)
    for place in range(at, len(data) - _FRAME + 1, 8):
        if load_u64(data, place) != salt ^ np.uint64(place):
            continue
        wrong = check_frame(data, place, salt, extras_bytes, index, frame, report)
        if wrong == GOOD:
            return place, budget
        if wrong >= BAD_CRC:
            budget -= frame[END] - place
            if budget < 0:
                return -2, budget
    return -1, budget
