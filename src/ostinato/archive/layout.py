"""Where each byte of an archive stands: the one place reader and writer share. FORMAT.md says it in words."""

from __future__ import annotations

import struct

import numpy as np

ROOT = struct.Struct("<iI")  # offset of entry 0 from here, number of entries; the last 8 bytes
ROOT_BYTES = ROOT.size
ENTRY_BYTES = 96
STRING_BYTES = 8  # a string record: the bytes themselves, or packed length u32 and offset i32
INLINE_BYTES = 8  # the longest string that stands in its own record
LIST_FIELD = 32  # where in an entry the offset (i32) and count (u32) of its instruction list stand
LIST_ALIGN = 4
ENTRY_ALIGN = 8

ENTRY = np.dtype(
    {
        "names": [
            "tir_hash",
            "list_offset",
            "list_count",
            "valid",
            "measured",
            "clock_cycles",
            "compiler_cycles",
            "fallback_used",
            "timestamp",
            "model_version",
        ],
        "formats": [("u1", 32), "<i4", "<u4", "?", "?", "<u8", "<u8", "?", "<u8", "<u4"],
        "offsets": [0, LIST_FIELD, 36, 40, 48, 56, 64, 72, 80, 88],
        "itemsize": ENTRY_BYTES,
    }
)

STRING_END = 2**30  # a string has fewer bytes than this
ARCHIVE_END = 2**31  # our writer stays below, so that no 32-bit offset can overflow
# whatever lies further in front of the root than three offsets reach cannot be part of an archive
READ_END = 3 * 2**31 + ROOT_BYTES


def pack_length(length: int) -> int:
    """The u32 that stands first in an out-of-line string record: bits 7..6 of its first byte are 10."""
    return (length & 0x3F) | 0x80 | ((length & ~0x3F) << 2)
