"""A second, slow and obvious reading of the archive format, to hold the real one against.

Rule of this file: written from the format's description alone, with `struct` and plain integers. It
shares nothing with the package, not even a constant, and prefers clarity to speed everywhere.
Records are dicts in the form of the golden `.jsonl` files (`tir_hash` in hex).
"""

from __future__ import annotations

import struct
from typing import Any

ENTRY = struct.Struct("<32s i I B7x B7x Q Q B7x Q I4x".replace(" ", ""))
HEADER = struct.Struct("<iI")  # a relative pointer and a count: the root, and each list of strings
STRING = struct.Struct("<Ii")  # the out-of-line form: packed length, relative pointer
ENTRY_SIZE, HEADER_SIZE, STRING_SIZE = 96, 8, 8
MAX_STRING = 2**30 - 1


class Refused(Exception):  # noqa: N818 - a verdict, and nobody's error
    """The archive is refused; `cause` is what rkyv's checked access says."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def read(data: bytes) -> list[dict[str, Any]]:
    """The records of an archive, or Refused with rkyv's words for the first thing that is wrong."""
    return _Reader(bytes(data)).root()


def write(records: list[dict[str, Any]]) -> bytes:
    """The one archive that rkyv writes for these records."""
    out = bytearray()
    lists = [_append_list(out, record["generated_tasm"]) for record in records]
    _pad(out, 8)
    entries_at = len(out)
    for record, list_at in zip(records, lists, strict=True):
        clock = record["clock_cycles"]
        out += ENTRY.pack(
            bytes.fromhex(record["tir_hash"]),
            list_at - (len(out) + 32),
            len(record["generated_tasm"]),
            1 if record["valid"] else 0,
            0 if clock is None else 1,
            0 if clock is None else clock,
            record["compiler_cycles"],
            1 if record["fallback_used"] else 0,
            record["timestamp"],
            record["model_version"],
        )
    return bytes(out) + HEADER.pack(entries_at - len(out), len(records))


def _append_list(out: bytearray, strings: list[str]) -> int:
    """Append the strings of one record and then their list; the list's position."""
    texts = [string.encode("utf-8") for string in strings]
    begins = []
    for text in texts:
        begins.append(len(out))
        if len(text) > 8:
            out += text
    _pad(out, 4)
    list_at = len(out)
    for text, begin in zip(texts, begins, strict=True):
        if len(text) <= 8:
            out += text + b"\xff" * (8 - len(text))
        elif len(text) <= MAX_STRING:
            length = len(text)
            packed = (length & 0x3F) | 0x80 | ((length & ~0x3F) << 2)
            out += STRING.pack(packed, begin - len(out))
        else:
            raise ValueError("String was too long for the archived representation")
    return list_at


def _pad(out: bytearray, alignment: int) -> None:
    while len(out) % alignment:
        out.append(0)


class _Reader:
    """Walks the archive once; `lo` and `hi` bound the window in which the next block must lie."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.lo, self.hi = 0, len(data)

    def enter(self, p: int, size: int, alignment: int) -> int:
        """Claim a block and narrow the window to what its own pointers may lead to."""
        if p < self.lo or p + size > self.hi:
            raise Refused(
                f"subtree pointer overran range: ptr base{p:+d} size {size}"
                f" in range base{self.lo:+d}..base{self.hi:+d}"
            )
        if p % alignment:
            raise Refused(f"unaligned pointer: ptr base{p:+d} unaligned for alignment {alignment}")
        outer = self.hi
        self.hi = p
        return outer

    def leave(self, end: int, outer: int) -> None:
        """The block ending at `end` is done: the next one lies between it and the outer bound."""
        self.lo, self.hi = end, outer

    def root(self) -> list[dict[str, Any]]:
        at = max(0, len(self.data) - HEADER_SIZE)
        self.enter(at, HEADER_SIZE, 4)
        offset, count = HEADER.unpack_from(self.data, at)
        first = at + offset
        self.enter(first, ENTRY_SIZE * count, 8)
        return [self.entry(first + ENTRY_SIZE * i) for i in range(count)]

    def entry(self, at: int) -> dict[str, Any]:
        (
            tir_hash,
            offset,
            count,
            valid,
            tag,
            clock,
            compiler,
            fallback,
            timestamp,
            version,
        ) = ENTRY.unpack_from(self.data, at)
        strings = self.strings(at + 32 + offset, count)
        _check_bool(valid)
        if tag > 1:
            raise Refused(f"invalid discriminant '{tag}' for enum 'ArchivedOption'")
        _check_bool(fallback)
        return {
            "tir_hash": tir_hash.hex(),
            "generated_tasm": strings,
            "valid": valid == 1,
            "clock_cycles": clock if tag else None,
            "compiler_cycles": compiler,
            "fallback_used": fallback == 1,
            "timestamp": timestamp,
            "model_version": version,
        }

    def strings(self, at: int, count: int) -> list[str]:
        outer = self.enter(at, STRING_SIZE * count, 4)
        strings = [self.string(at + STRING_SIZE * i) for i in range(count)]
        self.leave(at + STRING_SIZE * count, outer)
        return strings

    def string(self, at: int) -> str:
        if self.data[at] & 0xC0 != 0x80:
            return _utf8(self.data[at : at + 8].split(b"\xff")[0])
        packed, offset = STRING.unpack_from(self.data, at)
        length = (packed & 0x3F) | ((packed & ~0xFF) >> 2)
        if length <= 8:
            raise Refused("String representation was out-of-line but the length was too short")
        begin = at + offset
        outer = self.enter(begin, length, 1)
        text = _utf8(self.data[begin : begin + length])
        self.leave(begin + length, outer)
        return text


def _check_bool(value: int) -> None:
    if value > 1:
        raise Refused(f"bool set to invalid byte {value}, expected either 0 or 1")


def _utf8(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("invalid UTF-8") from None
